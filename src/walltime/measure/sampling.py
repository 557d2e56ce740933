"""Timing one kernel: warm, with its data out of the caches, again and again until the time is known well enough.

The time of a kernel is the median of samples. On a machine that does other things too, what disturbs a kernel only
makes it slower, and a few such samples move a mean as far as they like but a median hardly. Its 95 % confidence
interval comes from the order of the samples alone, without a law of their distribution: for n samples, those of ranks
n/2 -+ 1.96 sqrt(n)/2.

A sample is the mean of several launches where one is too short for the clock. Launches take their data from different
places in turn (`calls`), of more bytes together than the cache holds: nothing has to be flushed in between.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from walltime.measure.devices import Device
from walltime.measure.requirements import torch_module

Call = Callable[[], Any]
"""One launch of a kernel."""
Agree = Callable[[bool], bool]
"""Whether all processes that measure together say yes; they must ask equally often."""

_Z = 1.96  # standard deviations of a normal distribution that hold 95 %
_QUANTILES = (0.1, 0.9)
_FEWEST = 6
"""Samples that a 95 % interval of a median needs: of five, all are on one side of it in one case of sixteen."""
_ROUND = 5
"""Samples between two looks at the interval: few, since the longest kernels take seconds."""
_SHORTEST_SAMPLE_S = {"cuda": 2e-4, "cpu": 1e-4}
"""CUDA events resolve about half a microsecond, a processor's clock far less; a thousandth of the first is lost in it,
and the second keeps the loop around the launches below a hundredth."""
_MOST_LAUNCHES = 256
"""Fewer than a GPU's queue holds, so that the host never waits for it inside a sample."""
_BETWEEN_WAITS_S = 0.05
"""A kernel that runs again and again is waited for so often: the gaps are a thousandth of the time."""
_WARMUP_CALLS = 3
_LONG_SHARE = 0.05
"""A kernel that takes more of the time there is than this gets no further warm-up, which it hardly needs either."""
_HEAD_START = 2.0
"""Times the host's launching for which a GPU is kept busy: a launch now and then takes longer than the quickest."""
_FASTEST_HZ = 3e9
"""Where the driver does not say how fast a GPU's clock can be: no accelerator of the catalog has a faster one."""


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Attributes
    ----------
    target
        Half of the confidence interval over the median that is good enough.
    time_s
        After which no more samples are taken, however well the time is known; one is always taken. [s]
    min_samples, max_samples
        At least and at most.
    """

    target: float = 0.01
    time_s: float = 1.0
    min_samples: int = 10
    max_samples: int = 1000


@dataclass(frozen=True)
class Sample:
    """How long a kernel takes.

    Attributes
    ----------
    time_s
        The median. [s]
    ci_relative
        Half of its 95 % confidence interval over the median; None of fewer samples than have one.
    num_samples
        How many samples.
    converged
        Whether the interval was small enough before the time was up.
    min_s, p10_s, p90_s
        The least, and the 10th and 90th percentile. [s]
    interruptions
        How often the system gave a processor of this process to somebody else, for each sample; None where it does not
        say. Much above nothing, the machine was busy with other work, and the time is that work's too.
    """

    time_s: float
    ci_relative: float | None
    num_samples: int
    converged: bool
    min_s: float
    p10_s: float
    p90_s: float
    interruptions: float | None = None


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of a median, by ranks; the extremes where there are few samples.

    Examples
    --------
    >>> median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    (2.0, 9.0)
    """
    ordered = sorted(samples)
    half_width = _Z * math.sqrt(len(ordered)) / 2
    low = max(0, math.floor(len(ordered) / 2 - half_width))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half_width) - 1)
    return ordered[low], ordered[high]


def summary(samples: Sequence[float], target: float) -> Sample:
    """Return what samples say. [s]"""
    median = float(np.median(samples))
    low, high = median_interval(samples)
    ci = max(high - median, median - low) / median if len(samples) >= _FEWEST else None
    p10, p90 = (float(value) for value in np.quantile(samples, _QUANTILES))
    return Sample(median, ci, len(samples), ci is not None and ci <= target, min(samples), p10, p90)


def sample(calls: Sequence[Call], device: Device, limits: Limits, agree: Agree = bool) -> Sample:
    """Time a kernel.

    Parameters
    ----------
    calls
        Launches of the same kernel on different data, taken in turn.
    device
        What they run on.
    limits
        When to stop.
    agree
        Asked after each round whether to stop, so that processes that measure together do as many.
    """
    turn = _Turn(calls)
    clock = _CudaClock(device) if device.kind == "cuda" else _host_clock
    once_s = clock(turn, 1)
    for _ in range(_WARMUP_CALLS if once_s < limits.time_s * _LONG_SHARE else 0):
        once_s = min(once_s, clock(turn, 1))
    launches = _launches(once_s, device)
    return _rounds(lambda: clock(turn, launches) / launches, limits, agree)


class _Turn:
    """Launches calls one after another, beginning where it stopped."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self._next = 0

    def launch(self, count: int) -> None:
        calls, number = self._calls, len(self._calls)
        for position in range(self._next, self._next + count):
            calls[position % number]()
        self._next = (self._next + count) % number


def _launches(time_s: float, device: Device) -> int:
    """Launches that make a sample long enough for the clock."""
    return max(1, min(_MOST_LAUNCHES, math.ceil(_SHORTEST_SAMPLE_S[device.kind] / max(time_s, 1e-9))))


def _rounds(take: Callable[[], float], limits: Limits, agree: Agree) -> Sample:
    """Take samples until everybody has enough, or the time or the most samples are over for anybody."""
    samples: list[float] = []
    started, before = time.perf_counter(), _interruptions()
    while True:
        samples += [take() for _ in range(_ROUND if samples else 1)]
        found = summary(samples, limits.target)
        over = time.perf_counter() - started >= limits.time_s or len(samples) >= limits.max_samples
        enough = len(samples) >= limits.min_samples and found.converged
        if agree(over or enough):
            after = _interruptions()
            rate = None if after is None or before is None else (after - before) / len(samples)
            return replace(found, interruptions=rate)


def _interruptions() -> int | None:
    """Return how often the threads of this process had to give way so far."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _host_clock(turn: _Turn, launches: int) -> float:
    started = time.perf_counter()
    turn.launch(launches)
    return time.perf_counter() - started


class _CudaClock:
    """A clock of events on the GPU.

    The GPU is first given idle work for longer than the host needs to launch, so that the launches queue up behind it:
    what is timed is then one kernel after another, not how fast the host launches them. How long a launch takes, each
    call shows, the first one without idle work; the quickest counts, since a host that waits for room in the queue
    says nothing of itself.
    """

    def __init__(self, device: Device) -> None:
        self._cuda = torch_module().cuda
        kilohertz = getattr(self._cuda.get_device_properties(device.index), "clock_rate", 0)
        self._hz = kilohertz * 1e3 or _FASTEST_HZ
        self._launch_s: float | None = None

    def __call__(self, turn: _Turn, launches: int) -> float:
        begin, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        if self._launch_s is not None:
            self._cuda._sleep(math.ceil(_HEAD_START * self._launch_s * launches * self._hz))
        started = time.perf_counter()
        begin.record()
        turn.launch(launches)
        end.record()
        launch_s = (time.perf_counter() - started) / launches
        self._launch_s = launch_s if self._launch_s is None else min(launch_s, self._launch_s)
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3


def launch_time_s(call: Call, device: Device, limits: Limits, agree: Agree = bool) -> Sample:
    """Return how often a host can launch the smallest kernel, one after another: time of each. [s]"""
    turn = _Turn([call])

    def take() -> float:
        started = time.perf_counter()
        turn.launch(_MOST_LAUNCHES)
        if device.kind == "cuda":
            torch_module().cuda.synchronize()
        return (time.perf_counter() - started) / _MOST_LAUNCHES

    take()
    return _rounds(take, limits, agree)


def hold(calls: Sequence[Call], device: Device, time_s: float, once_s: float) -> None:
    """Launch a kernel again and again for a while, so that power and clocks settle where it holds them.

    Parameters
    ----------
    calls, device
        As `sample`.
    time_s
        How long. [s]
    once_s
        What one launch takes, so that a GPU is waited for rarely, and not for long. [s]
    """
    turn = _Turn(calls)
    launches = max(1, min(_MOST_LAUNCHES, round(_BETWEEN_WAITS_S / max(once_s, 1e-9))))
    started = time.perf_counter()
    while time.perf_counter() - started < time_s:
        turn.launch(launches)
        if device.kind == "cuda":
            torch_module().cuda.synchronize()
