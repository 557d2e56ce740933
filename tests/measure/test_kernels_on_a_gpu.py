"""The way of a measurement on a GPU, with a GPU that computes on the CPU: every call of the device but the kernels."""

import sys
import time
import types

import pytest

pytest.importorskip("torch")

import torch

from walltime.measure.devices import Device
from walltime.measure.kernel_rows import read_kernel_rows
from walltime.measure.kernels import pool as pools
from walltime.measure.kernels import run, survey
from walltime.measure.kernels.grid import Heads, Layer, Sizes
from walltime.measure.kernels.survey import KernelRequest
from walltime.measure.ranks import Place
from walltime.report.measured_kernels import kernels_text

TINY = Sizes(
    layers=[Layer(16, 16, 16, 32, 48)],
    tokens=(16,),
    gradient_tokens=(16,),
    others=[],
    heads=[Heads(4, 2, 8, 8)],
    sequences=((1, 16), (2, 8)),
    memory_bytes=[2**13],
)
PROPERTIES = types.SimpleNamespace(
    uuid="1234", total_memory=80 * 10**9, multi_processor_count=132, L2_cache_size=2**14, major=9, minor=0
)


class OnTheCpu(Device):
    """A GPU by every account, whose tensors lie in the host's memory."""

    @property
    def torch_name(self):
        return "cpu"


H100 = OnTheCpu("cuda", 0, "NVIDIA H100 80GB HBM3")


class Event:
    """An event that is recorded when it is asked for."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return (other.at - self.at) * 1e3


class Driver(types.ModuleType):
    """NVML with power, clocks and temperature that stand still; everything else it refuses."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __getattr__(self, name):
        if not name.startswith("nvml"):
            raise AttributeError(name)
        answers = {"nvmlInit": None, "nvmlDeviceGetHandleByUUID": "handle", "nvmlDeviceGetPowerUsage": 612_000}
        answers |= {"nvmlDeviceGetClockInfo": 1755, "nvmlDeviceGetTemperature": 61, "nvmlSystemGetDriverVersion": "580"}
        return lambda *arguments: answers[name]


@pytest.fixture
def gpu(monkeypatch):
    """Have PyTorch and NVML speak of an H100; return what it was asked to do."""
    asked = []
    cuda = {
        "Event": Event,
        "_sleep": lambda cycles: asked.append("sleep"),
        "synchronize": lambda: asked.append("synchronize"),
        "empty_cache": lambda: asked.append("empty_cache"),
        "get_device_properties": lambda index: PROPERTIES,
        "get_device_capability": lambda index: (9, 0),
    }
    for name, stand_in in cuda.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setitem(sys.modules, "pynvml", Driver("pynvml"))
    monkeypatch.setattr(survey, "sizes", lambda kind, quick: TINY)
    for name in ("_MOST_POINT_S", "_SETTLE_S", "_POWER_S"):
        monkeypatch.setattr(run, name, 0.005)
    monkeypatch.setattr(pools, "_MOST_COPIES", 8)
    return asked


def test_a_gpu_is_measured_in_all_its_formats_with_power_and_clocks(gpu, tmp_path):
    path = tmp_path / "kernels.csv"
    found = survey.survey(KernelRequest(budget_s=60.0, csv=path), Place(), H100)
    assert found.num_left == 0
    assert read_kernel_rows(path) == found.rows
    assert {row.dtype for row in found.rows if row.op == "gemm"} == {"bf16", "fp16", "fp32", "fp8"}
    assert {"sleep", "synchronize"} <= set(gpu)
    for row in found.rows:
        assert row.status == "ok"
        assert ("fast accumulation" in row.notes) == (row.dtype == "fp8" and row.op == "gemm")
        assert (row.power_w, row.clock_mhz, row.temperature_c) == (612, 1755, 61)
        if row.op == "gemm":
            assert row.peak_tflops_used == pytest.approx({"fp8": 1978.9, "fp32": 66.9}.get(row.dtype, 989.4))
    told = found.environment
    assert (told["driver"], told["gpu_cores"], told["compute_capability"]) == ("580", 132, "9.0")
    assert told["power_limit_w"] is told["ecc"] is None
    assert "power       612 to 612 W" in kernels_text(found, path)


def test_a_shape_that_the_gpu_has_no_memory_for_is_a_result(gpu, monkeypatch):
    real = run.calls

    def with_little_memory(point, pool):
        if point.op == "attention_backward":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64 GiB.")
        return real(point, pool)

    monkeypatch.setattr(run, "calls", with_little_memory)
    found = survey.survey(KernelRequest(precisions=["bf16"], budget_s=60.0), Place(), H100)
    out = [row for row in found.rows if row.status == "oom"]
    assert {row.op for row in out} == {"attention_backward"}
    assert "Tried to allocate" in out[0].notes
    assert "empty_cache" in gpu
    assert f"{len(out)} points ran out of memory." in kernels_text(found, None)
