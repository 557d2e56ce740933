"""Power and clocks: sampled where NVML tells them, and not measured, never zero, where it does not."""

import sys
import threading
import types

import pytest

from walltime.measure import environment, nvml
from walltime.measure.devices import Device
from walltime.measure.nvml import PowerSampler, gpu_of

GPU = Device("cuda", 1, "a GPU")
CPU = Device("cpu", 0, "a CPU")


class NvmlError(Exception):
    """As the library's own: without a base of ours."""


class Library(types.ModuleType):
    """A driver whose energy grows by a joule, and whose power by a watt, each time that it is asked."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU, NVML_FI_DEV_POWER_INSTANT = 1, 2, 0, 186

    def __init__(self, *, lacks=(), fails=()):
        super().__init__("pynvml")
        self.lacks, self.fails = lacks, fails
        self.mw, self.mj, self.asked_for = 299_000, 0, None

    def __getattribute__(self, name):
        if name.startswith("nvml") and name in super().__getattribute__("lacks"):
            raise AttributeError(name)
        if name.startswith("nvml") and name in super().__getattribute__("fails"):
            raise NvmlError("not supported")
        return super().__getattribute__(name)

    def nvmlInit(self):  # noqa: N802
        pass

    def nvmlDeviceGetHandleByUUID(self, name):  # noqa: N802
        self.asked_for = name
        return "handle"

    def nvmlDeviceGetFieldValues(self, handle, fields):  # noqa: N802
        self.mw += 1000
        value = types.SimpleNamespace(uiVal=self.mw)
        return [types.SimpleNamespace(nvmlReturn=0, value=value)]

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        return 500_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        self.mj += 1000
        return self.mj

    def nvmlDeviceGetClockInfo(self, handle, kind):  # noqa: N802
        return {1: 1755, 2: 2619}[kind]

    def nvmlDeviceGetMaxClockInfo(self, handle, kind):  # noqa: N802
        return {1: 1980, 2: 2619}[kind]

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        return 55

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return b"580.1"

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):  # noqa: N802
        return 650_000

    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle):  # noqa: N802
        return 700_000

    def nvmlDeviceGetEccMode(self, handle):  # noqa: N802
        return [1, 1]

    def nvmlDeviceGetPersistenceMode(self, handle):  # noqa: N802
        return 1


PROPERTIES = types.SimpleNamespace(
    uuid="1234-secret", total_memory=80 * 10**9, multi_processor_count=132, L2_cache_size=50 * 2**20, major=9, minor=0
)


@pytest.fixture
def driver(monkeypatch):
    """Have NVML be there, with gaps."""

    def there(**gaps):
        library = Library(**gaps)
        monkeypatch.setitem(sys.modules, "pynvml", library)
        cuda = types.SimpleNamespace(get_device_properties=lambda index: PROPERTIES)
        monkeypatch.setattr(nvml, "torch_module", lambda: types.SimpleNamespace(cuda=cuda))
        return library

    return there


def sampled(times=3):
    with PowerSampler(GPU, period_s=0.001) as sampler:
        waited = threading.Event()
        while len(sampler._samples) < times:
            waited.wait(0.001)
    return sampler


def test_power_is_the_mean_over_the_window(driver):
    library = driver()
    sampler = sampled()
    reading = sampler.reading()
    assert library.asked_for == "GPU-1234-secret"
    assert reading.num_samples >= 4
    assert 300 <= reading.mean_w <= library.mw / 1e3
    assert sampler.state() == (1755, 2619, 55)


def test_the_energy_of_a_window_too_short_for_its_counter_is_not_measured(driver, monkeypatch):
    driver()
    assert sampled().reading().energy_j is None
    monkeypatch.setattr(nvml, "_SHORTEST_ENERGY_S", 0.0)
    assert sampled().reading().energy_j == 1.0


def test_old_drivers_give_the_mean_of_the_last_second(driver):
    driver(fails=["nvmlDeviceGetFieldValues"])
    assert sampled().reading().mean_w == 500


def test_what_nvml_does_not_tell_is_none(driver):
    driver(
        lacks=["nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetTemperature"],
        fails=["nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetClockInfo"],
    )
    sampler = sampled()
    assert sampler.reading() is None
    assert sampler.state() == (None, None, None)


def test_a_counter_that_stands_still_says_nothing(driver, monkeypatch):
    library = driver()
    monkeypatch.setattr(library, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: 7, raising=False)
    monkeypatch.setattr(nvml, "_SHORTEST_ENERGY_S", 0.0)
    assert sampled().reading().energy_j is None


@pytest.mark.parametrize("gap", ["nvmlInit", "nvmlDeviceGetHandleByUUID"])
def test_without_a_driver_or_the_device_nothing_is_sampled(driver, gap):
    driver(fails=[gap])
    before = threading.active_count()
    with PowerSampler(GPU) as sampler:
        assert threading.active_count() == before
    assert sampler.reading() is None
    assert sampler.state() == (None, None, None)


def test_without_nvml_or_a_gpu_nothing_is_sampled(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    for device in (GPU, CPU):
        with PowerSampler(device) as sampler:
            pass
        assert sampler.reading() is None
        assert gpu_of(device) is None


def test_a_measurement_that_fails_ends_the_thread(driver):
    driver()
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), PowerSampler(GPU, period_s=0.001):
        _ = 1 / 0
    assert threading.active_count() == before


def test_each_stretch_of_time_weighs_as_long_as_it_lasted():
    assert nvml._mean_over_time([(0.0, 100.0), (1.0, 100.0), (1.1, 300.0), (1.2, 100.0)]) == pytest.approx(140 / 1.2)
    assert nvml._mean_over_time([(0.0, 100.0), (0.0, 300.0)]) == 200


def test_a_gpu_in_the_manifest(driver, monkeypatch):
    driver()
    monkeypatch.setattr(environment, "torch_module", nvml.torch_module)
    told = environment._accelerator(GPU)
    assert told == {
        "gpu_memory_bytes": 80 * 10**9,
        "gpu_cores": 132,
        "gpu_cache_bytes": 50 * 2**20,
        "compute_capability": "9.0",
        "driver": "580.1",
        "clock_mhz": 1755,
        "memory_clock_mhz": 2619,
        "max_clock_mhz": 1980,
        "max_memory_clock_mhz": 2619,
        "power_limit_w": 650,
        "default_power_limit_w": 700,
        "temperature_c": 55,
        "ecc": True,
        "persistence_mode": True,
    }
    assert "secret" not in str(told)
