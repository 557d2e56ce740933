"""Timing one kernel: how many samples, what they say, and what a GPU is asked for."""

import itertools
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.measure import sampling
from walltime.measure.devices import Device
from walltime.measure.sampling import Limits, hold, launch_time_s, median_interval, sample, summary

CPU = Device("cpu", 0, "a CPU")
GPU = Device("cuda", 0, "a GPU")
TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60)


UNSTEADY = [0.01 + 0.02 * (37 * i % 101) / 101 for i in range(101)]


class Clock:
    """A clock that stands still but for what is said to take time: the host's, and when a GPU is through its queue."""

    def __init__(self, monkeypatch, clock_rate=1_000_000):
        self.now = self.idle_at = 0.0
        self.slept_s = 0.0
        monkeypatch.setattr(sampling, "time", types.SimpleNamespace(perf_counter=lambda: self.now))
        properties = types.SimpleNamespace(**{} if clock_rate is None else {"clock_rate": clock_rate})
        cuda = types.SimpleNamespace(
            Event=self.event,
            _sleep=self.sleep,
            synchronize=lambda: self.wait(self.idle_at),
            get_device_properties=lambda index: properties,
        )
        monkeypatch.setattr(sampling, "torch_module", lambda: types.SimpleNamespace(cuda=cuda))

    def sleep(self, cycles):
        self.slept_s += cycles / 1e9
        self.queue(cycles / 1e9)

    def queue(self, time_s):
        """Give the GPU work, which it begins when it is through with what it has."""
        self.idle_at = max(self.now, self.idle_at) + time_s

    def wait(self, until):
        self.now = max(self.now, until)

    def event(self, enable_timing):
        assert enable_timing
        event = types.SimpleNamespace(at=None)
        event.record = lambda: setattr(event, "at", max(self.now, self.idle_at))
        event.synchronize = lambda: self.wait(event.at)
        event.elapsed_time = lambda other: (other.at - event.at) * 1e3
        return event

    def kernel(self, *times, launch_s=None):
        """A kernel that takes these times in turn: of the host, or of a GPU after the host took its time to launch."""
        turn = itertools.cycle(times)

        def run():
            self.now += next(turn) if launch_s is None else launch_s
            if launch_s is not None:
                self.queue(next(turn))

        return run


def kernel_on(device, clock, *times):
    return clock.kernel(*times, launch_s=None if device is CPU else 1e-6)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@given(TIMES)
def test_a_summary_is_in_order(times):
    found = summary(times, 0.01)
    low, high = median_interval(times)
    assert found.min_s <= found.p10_s <= found.time_s <= found.p90_s
    assert low <= found.time_s <= high
    assert found.converged == (found.ci_relative is not None and found.ci_relative <= 0.01)


def test_few_samples_have_no_interval():
    assert summary([1.0] * 5, 0.01).ci_relative is None
    assert not summary([1.0] * 5, 0.01).converged
    assert summary([1.0] * 6, 0.01).converged


def test_outliers_do_not_move_the_median():
    assert summary([1.0] * 30 + [1000.0] * 5, 0.01) == summary([1.0] * 35, 0.01).__class__(
        1.0, 0.0, 35, True, 1.0, 1.0, pytest.approx(1000.0)
    )


def test_the_interval_holds_the_median_of_the_law_in_19_of_20_cases():
    numpy = pytest.importorskip("numpy")
    draws = numpy.random.default_rng(1).exponential(size=(4000, 25))
    inside = [low <= numpy.log(2) <= high for low, high in map(median_interval, draws.tolist())]
    assert 0.94 < numpy.mean(inside) < 0.99


@pytest.mark.parametrize("device", [CPU, GPU], ids=lambda device: device.kind)
def test_a_steady_kernel_needs_few_samples(clock, device):
    found = sample([kernel_on(device, clock, 0.01)], device, Limits(time_s=10.0))
    assert found.converged
    assert found.time_s == pytest.approx(0.01)
    assert 10 <= found.num_samples <= 15


@pytest.mark.parametrize("device", [CPU, GPU], ids=lambda device: device.kind)
def test_an_unsteady_kernel_is_sampled_until_the_time_is_up(clock, device):
    found = sample([kernel_on(device, clock, *UNSTEADY)], device, Limits(time_s=1.0))
    assert not found.converged
    assert found.num_samples * 0.02 == pytest.approx(1.0, abs=0.2)


def test_a_kernel_longer_than_all_the_time_is_measured_once(clock):
    found = sample([clock.kernel(5.0)], CPU, Limits(time_s=1.0))
    assert (found.num_samples, found.time_s, found.ci_relative, found.converged) == (1, 5.0, None, False)
    assert clock.now == 10.0  # once to warm up


@pytest.mark.parametrize("device", [CPU, GPU], ids=lambda device: device.kind)
def test_launches_of_short_kernels_share_a_sample(clock, device):
    found = sample([kernel_on(device, clock, 1e-6)], device, Limits(time_s=10.0))
    assert found.time_s == pytest.approx(1e-6)
    assert clock.now / found.num_samples > 5e-5


@pytest.mark.parametrize("clock_rate", [1_000_000, None], ids=["clock told", "not told"])
@pytest.mark.parametrize("launch_s", [5e-6, 60e-6, 1e-3])
@pytest.mark.parametrize("kernel_s", [1e-6, 2e-5, 2.5e-4, 1e-2])
def test_what_the_host_takes_to_launch_is_not_in_the_time_of_a_kernel(monkeypatch, kernel_s, launch_s, clock_rate):
    clock = Clock(monkeypatch, clock_rate)
    found = sample([clock.kernel(kernel_s, launch_s=launch_s)], GPU, Limits(time_s=10.0, max_samples=20))
    assert found.time_s == pytest.approx(kernel_s)
    assert found.min_s == pytest.approx(kernel_s)


def test_a_gpu_does_not_idle_much_longer_than_the_host_launches(clock):
    found = sample([clock.kernel(1e-6, launch_s=1e-5)], GPU, Limits(time_s=10.0, max_samples=20))
    launching_s = found.num_samples * sampling._MOST_LAUNCHES * 1e-5
    assert launching_s < clock.slept_s < 3 * launching_s


def test_data_are_taken_in_turn(clock):
    seen = []
    sample([lambda i=i: (seen.append(i), clock.kernel(0.01)()) for i in range(3)], CPU, Limits(time_s=0.5))
    assert seen == [i % 3 for i in range(len(seen))]


def test_all_processes_stop_together(clock):
    answers = iter([False, False, False, True])
    found = sample([clock.kernel(0.01)], CPU, Limits(time_s=1e9), lambda mine: next(answers))
    assert found.num_samples == 16


def test_launching(clock):
    for device in (CPU, GPU):
        found = launch_time_s(kernel_on(device, clock, 3e-6), device, Limits(time_s=1.0))
        assert found.time_s == pytest.approx(3e-6, rel=0.01)


@pytest.mark.parametrize("once_s", [1e-4, 0.01, 0.3])
def test_holding_a_kernel(clock, once_s):
    hold([clock.kernel(once_s, launch_s=1e-6)], GPU, 1.0, once_s)
    assert 1.0 <= clock.now <= 1.0 + max(0.06, once_s)
