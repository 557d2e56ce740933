"""What an NVIDIA GPU says of itself while it works: power, energy, clocks, temperature, by NVML.

Whatever NVML does not tell is None: never zero, and never a reason for a measurement to fail. An AMD GPU, a CPU and a
slice of a GPU (MIG) have no reading here.
"""

import importlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

from walltime.measure.devices import Device
from walltime.measure.records import PowerReading
from walltime.measure.requirements import torch_module

PERIOD_S = 0.05
"""Between two samples: half of the tenth of a second after which the sensors of an A100 or H100 renew themselves
(Yang, Adamek & Armour 2023, arXiv 2312.02741; they look at a quarter of the time only, so short windows mislead)."""
_SHORTEST_ENERGY_S = 1.0
"""Over ten renewals: the counter of a shorter window is off by a tenth or more."""
_MILLI = 1e-3


@dataclass(frozen=True)
class Gpu:
    """A GPU as NVML knows it: the library, started, and the handle of the GPU."""

    library: Any
    handle: Any

    def ask(self, name: str, *arguments: Any) -> Any:
        """Return what a function of NVML says of the GPU, None where this GPU or driver does not know it."""
        return _answer(lambda: getattr(self.library, name)(self.handle, *arguments))

    def driver(self) -> str | None:
        """Version of the driver."""
        version = _answer(lambda: self.library.nvmlSystemGetDriverVersion())
        return version.decode() if isinstance(version, bytes) else version

    def power_w(self) -> float | None:
        """Power of the board now [W]; the mean of the last second where the driver offers nothing newer."""
        field = getattr(self.library, "NVML_FI_DEV_POWER_INSTANT", None)
        values = None if field is None else self.ask("nvmlDeviceGetFieldValues", [field])
        if values and values[0].nvmlReturn == 0:
            return float(values[0].value.uiVal) * _MILLI
        return _scaled(self.ask("nvmlDeviceGetPowerUsage"), _MILLI)

    def energy_j(self) -> float | None:
        """Energy since the driver was loaded [J]."""
        return _scaled(self.ask("nvmlDeviceGetTotalEnergyConsumption"), _MILLI)

    def clock_mhz(self, kind: str, *, greatest: bool = False) -> float | None:
        """Clock of ``SM`` or ``MEM`` now, or the greatest that it can have. [MHz]"""
        name = "nvmlDeviceGetMaxClockInfo" if greatest else "nvmlDeviceGetClockInfo"
        return _scaled(self.ask(name, getattr(self.library, f"NVML_CLOCK_{kind}", None)))

    def temperature_c(self) -> float | None:
        """Temperature of the chip now. [degrees Celsius]"""
        return _scaled(self.ask("nvmlDeviceGetTemperature", getattr(self.library, "NVML_TEMPERATURE_GPU", None)))


def _answer(question: Callable[[], Any]) -> Any:
    """Return an answer, None if the question cannot even be asked: old libraries lack functions, old GPUs answers."""
    try:
        return question()
    except Exception:  # NVML's own errors have no base that is importable without it
        return None


def _scaled(value: Any, scale: float = 1.0) -> float | None:
    return None if value is None else float(value) * scale


def gpu_of(device: Device) -> Gpu | None:
    """Return a device as NVML knows it, None where NVML or the device is not there.

    NVML counts all GPUs of the host, PyTorch those that it may see: what they share is the GPU's unique id, which is
    asked for here and kept nowhere.
    """
    if device.kind != "cuda":
        return None
    return _answer(lambda: _found(device))


def _found(device: Device) -> Gpu:
    library = importlib.import_module("pynvml")
    library.nvmlInit()
    identity = str(torch_module().cuda.get_device_properties(device.index).uuid)
    name = identity if identity.startswith("GPU-") else f"GPU-{identity}"
    return Gpu(library, library.nvmlDeviceGetHandleByUUID(name))


class GpuSample(NamedTuple):
    """A GPU at one moment: time by `time.perf_counter` [s], power [W], clocks [MHz], temperature [degrees Celsius]."""

    time_s: float
    power_w: float | None
    clock_mhz: float | None
    memory_clock_mhz: float | None
    temperature_c: float | None


class GpuState(NamedTuple):
    """Means over a window; None where they were not measured."""

    clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None


class PowerSampler:
    """Samples a device in a thread from the beginning to the end of a ``with`` block.

    >>> from walltime.measure.devices import Device
    >>> with PowerSampler(Device("cpu", 0, "CPU")) as sampler:
    ...     pass
    >>> sampler.reading() is None
    True

    Parameters
    ----------
    device
        What is measured; without NVML for it nothing is sampled and no thread is started.
    period_s
        Between samples. [s]
    """

    def __init__(self, device: Device, period_s: float = PERIOD_S) -> None:
        self._gpu = gpu_of(device)
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._samples: list[GpuSample] = []
        self._energy_j: list[float | None] = []
        self._window_s: list[float] = []

    def __enter__(self) -> "PowerSampler":
        self._stop.clear()
        self._samples, self._energy_j, self._window_s = [], [], []
        if self._gpu is not None:
            self._mark(self._gpu)
            self._thread = threading.Thread(target=self._run, args=(self._gpu,), name="power", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._gpu is not None and self._thread is not None:
            self._thread.join()
            self._mark(self._gpu)

    def _mark(self, gpu: Gpu) -> None:
        """Sample an end of the window, so that the samples span it."""
        self._energy_j.append(gpu.energy_j())
        self._window_s.append(time.perf_counter())
        self._samples.append(_sample(gpu))

    def _run(self, gpu: Gpu) -> None:
        while not self._stop.wait(self._period_s):
            self._samples.append(_sample(gpu))

    def reading(self) -> PowerReading | None:
        """What the device drew over the window; None if nobody could say."""
        known = [(sample.time_s, sample.power_w) for sample in self._samples if sample.power_w is not None]
        if not known:
            return None
        return PowerReading(_mean_over_time(known), len(known), self._energy())

    def _energy(self) -> float | None:
        if len(self._energy_j) < 2 or self._window_s[1] - self._window_s[0] < _SHORTEST_ENERGY_S:
            return None
        first, last = self._energy_j
        return None if first is None or last is None or last <= first else last - first

    def state(self) -> GpuState:
        """Clocks and temperature, means over the window."""
        return GpuState(*(_mean(getattr(sample, name) for sample in self._samples) for name in GpuState._fields))


def _sample(gpu: Gpu) -> GpuSample:
    power_w = gpu.power_w()
    clocks = (gpu.clock_mhz("SM"), gpu.clock_mhz("MEM"))
    return GpuSample(time.perf_counter(), power_w, *clocks, gpu.temperature_c())


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mean_over_time(known: list[tuple[float, float]]) -> float:
    """Mean of what was sampled, each stretch between two samples weighing as long as it lasted."""
    span_s = known[-1][0] - known[0][0]
    if span_s <= 0:
        return sum(value for _, value in known) / len(known)
    steps = itertools.pairwise(known)
    return sum((after - before) * (low + high) / 2 for (before, low), (after, high) in steps) / span_s
