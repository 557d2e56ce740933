"""Kernels of one device: which are measured, on what data, and what becomes of those that do not fit."""

import dataclasses
import math
import types
from collections import Counter

import pytest

pytest.importorskip("torch")

import torch

from walltime.measure.devices import Device
from walltime.measure.kernel_rows import KernelRow, read_kernel_rows
from walltime.measure.kernels import pool as pools
from walltime.measure.kernels import run, survey
from walltime.measure.kernels.calls import attention_backend, calls
from walltime.measure.kernels.grid import KINDS, Heads, Layer, Sizes, flop, points, sizes
from walltime.measure.kernels.pool import Pool, torch_dtype
from walltime.measure.kernels.run import asked, data_bytes, supported
from walltime.measure.kernels.survey import KernelRequest
from walltime.measure.nvml import GpuState
from walltime.measure.ranks import Place
from walltime.measure.records import PowerReading
from walltime.problems import BadInput

CPU = Device("cpu", 0, "a CPU, 1 core")
TINY = Sizes(
    layers=[Layer(16, 16, 8, 32, 48)],
    tokens=(8,),
    gradient_tokens=(16,),
    others=[(5, 7, 3)],
    heads=[Heads(4, 2, 8, 8)],
    sequences=((1, 16), (2, 8)),
    memory_bytes=[2**13],
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A grid and a pool that take no time."""
    monkeypatch.setattr(survey, "sizes", lambda kind, quick: TINY)
    monkeypatch.setattr(pools, "pool_bytes", lambda device: 2**16)


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
@pytest.mark.parametrize("quick", [False, True])
def test_grids_have_no_point_twice_and_an_order_by_seed(kind, quick):
    grid = points(sizes(kind, quick=quick), KINDS, ["bf16", "fp32"])
    assert len(set(grid)) == len(grid) > 50
    assert grid == points(sizes(kind, quick=quick), KINDS, ["bf16", "fp32"])
    other = points(sizes(kind, quick=quick), KINDS, ["bf16", "fp32"], seed=1)
    assert other != grid
    assert set(other) == set(grid)


def test_a_quick_grid_is_part_of_the_whole_in_kind():
    whole, quick = (points(sizes("cuda", quick=quick), KINDS, ["bf16"]) for quick in (False, True))
    assert set(Counter(row.op for row in quick)) == set(Counter(row.op for row in whole))
    assert len(quick) < len(whole) / 3


def test_no_point_is_larger_than_asked():
    for point in points(sizes("cuda"), ["gemm", "attention"], ["bf16"], max_size=1024):
        assert max(size for size in (point.m, point.n, point.k, point.seq_len) if size) <= 1024


def test_eight_bit_products_have_sizes_that_the_device_takes():
    grid = points(sizes("cuda"), KINDS, ["fp8"])
    assert {row.op for row in grid} == {"gemm", "launch"}
    assert all(size % 16 == 0 for row in grid if row.op == "gemm" for size in (row.m, row.n, row.k))


def test_products_have_the_shapes_of_the_catalogs_layers():
    shapes = {(row.m, row.n, row.k) for row in points(sizes("cuda"), ["gemm"], ["bf16"])}
    assert {(4096, 6144, 4096), (4096, 14336, 4096), (4096, 4096, 14336), (4096, 128256, 4096)} <= shapes
    assert (14336, 4096, 8192) in shapes  # the gradient of a weight, over 8,192 tokens


def test_flop_are_counted_as_the_attention_kernel_counts_them():
    row = KernelRow(op="attention_forward", batch=2, seq_len=8, n_heads=3, qk_head_dim=5, v_head_dim=7, causal=False)
    assert flop(row) == 2 * 2 * 3 * 64 * (5 + 7)
    assert flop(dataclasses.replace(row, op="attention_backward")) == 2 * 2 * 3 * 64 * (3 * 5 + 2 * 7)
    assert flop(dataclasses.replace(row, causal=True)) == flop(row) / 2
    assert flop(KernelRow(op="gemm", m=2, n=3, k=5)) == 60
    assert flop(KernelRow(op="copy", m=2, n=3, num_bytes=24)) is None


def test_data_come_from_all_over_the_pool():
    copies = Pool(CPU, 0).copies([(8, 16), (3,)], "fp32")
    assert len(copies) == 2**14 // 1024
    places = [tensor.data_ptr() for copy in copies for tensor in copy]
    assert len(set(places)) == len(places)
    assert [tuple(tensor.shape) for tensor in copies[0]] == [(8, 16), (3,)]
    assert copies[0][0].std() > 0.5


@pytest.mark.parametrize("length", [512, 8192, 8704, 12288, 16384])
def test_data_that_a_cache_may_keep_a_part_of_are_there_twice(length):
    """The pool is of 16,384 numbers, twice the cache."""
    first, second, *_ = Pool(CPU, 0).copies([(length,)], "fp32")
    assert first[0].data_ptr() != second[0].data_ptr()


def test_a_pool_grows_for_what_is_larger():
    pool = Pool(CPU, 0)
    assert len(pool.copies([(300, 300)], "fp32")) == 1
    assert len(pool.copies([(100, 100)], "fp32")) == 8


def value(row):
    """What the first launch of a point computes."""
    return calls(row, Pool(CPU, 0))[0]()


def test_products_are_products():
    m, n, k = 8, 16, 24
    left, right, _ = Pool(CPU, 0).copies([(m, k), (n, k), (m, n)], "fp32")[0]
    torch.testing.assert_close(value(KernelRow(op="gemm", m=m, n=n, k=k, dtype="fp32", layout="TN")), left @ right.T)
    left, right, _ = Pool(CPU, 0).copies([(k, m), (k, n), (m, n)], "fp32")[0]
    torch.testing.assert_close(value(KernelRow(op="gemm", m=m, n=n, k=k, dtype="fp32", layout="NT")), left.T @ right)


def test_eight_bit_products_are_scaled_ones(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "_scaled_mm", lambda *factors, **options: seen.append((factors, options)), raising=False)
    launches = calls(KernelRow(op="gemm", m=16, n=32, k=48, dtype="fp8", layout="TN"), Pool(CPU, 0))
    launches[0]()
    (left, right), options = seen[0]
    assert left.shape == (16, 48)
    assert right.shape == (48, 32)
    assert right.stride() == (1, 48)  # columns first, as the library wants it
    assert left.dtype == torch.float8_e4m3fn
    assert options["out_dtype"] == torch.bfloat16
    assert options["use_fast_accum"]  # as in a forward pass of training


ATTENTION = KernelRow(
    op="attention_forward", dtype="fp32", batch=2, seq_len=8, n_heads=4, n_kv_heads=2, qk_head_dim=8, v_head_dim=8
)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_attention_and_its_backward_pass_gives_three_gradients(causal):
    forward = dataclasses.replace(ATTENTION, causal=causal)
    query, key, values, _ = Pool(CPU, 0).copies([(2, 4, 8, 8), (2, 2, 8, 8), (2, 2, 8, 8), (2, 4, 8, 8)], "fp32")[0]
    scores = query @ key.repeat_interleave(2, 1).transpose(-1, -2) / math.sqrt(8)
    if causal:
        scores = scores.masked_fill(torch.ones(8, 8).triu(1).bool(), -math.inf)
    expected = scores.softmax(-1) @ values.repeat_interleave(2, 1)
    torch.testing.assert_close(value(forward), expected, rtol=1e-4, atol=1e-5)
    backward = calls(dataclasses.replace(forward, op="attention_backward"), Pool(CPU, 0))[0]
    for _ in range(2):
        assert [tuple(gradient.shape) for gradient in backward()] == [(2, 4, 8, 8), (2, 2, 8, 8), (2, 2, 8, 8)]


def test_the_kernel_of_attention_is_named_where_pytorch_says():
    assert attention_backend(dataclasses.replace(ATTENTION, causal=True), Pool(CPU, 0)) in (
        "flash_attention",
        "math",
        "",
    )


@pytest.mark.parametrize("op", ["copy", "add", "rmsnorm"])
def test_memory_bound_kernels_do_what_they_are_called(op):
    left, right = Pool(CPU, 0).copies([(4, 1024)] * 2, "fp32")[0]
    expected = {"copy": left, "add": left + right, "rmsnorm": None}[op]
    found = value(KernelRow(op=op, m=4, n=1024, dtype="fp32", num_bytes=1))
    if op != "add":  # whose three tensors lie elsewhere in the pool
        assert found.shape == (4, 1024)
    if op == "copy":
        torch.testing.assert_close(found, expected)


def measured(request=None, budget_s=30.0):
    return survey.survey(request or KernelRequest(precisions=["fp32"], budget_s=budget_s), Place(), CPU)


def test_a_survey_measures_every_point_and_keeps_each(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_MOST_POINT_S", 0.01)
    path = tmp_path / "kernels.csv"
    request = KernelRequest(precisions=["fp32", "bf16"], budget_s=30.0, csv=path)
    found = measured(request)
    assert found.num_left == found.num_known == 0
    assert read_kernel_rows(path) == found.rows
    assert {row.op for row in found.rows} == {
        *("gemm", "attention_forward", "attention_backward", "copy", "add", "rmsnorm", "launch")
    }
    for row in found.rows:
        assert row.time_s > 0
        assert row.min_ms <= row.latency_ms
        assert row.environment == found.environment["id"]
        assert row.power_w is row.clock_mhz is row.temperature_c is None
        assert (row.tflops is not None) == (flop(row) is not None)
        assert (row.gb_per_s is not None) == (row.num_bytes is not None)
    assert (tmp_path / "environments.json").exists()
    again = measured(request)
    assert (again.rows, again.num_known) == ([], len(found.rows))
    more = measured(dataclasses.replace(request, precisions=["fp32", "fp16"]))
    assert {row.dtype for row in more.rows} == {"fp16"}


def test_what_is_left_when_the_budget_is_spent_is_said():
    found = measured(budget_s=1e-9)
    assert found.rows == []
    assert found.num_left > 10


def test_what_needs_more_than_the_host_has_is_a_result(monkeypatch):
    monkeypatch.setattr(run, "_MOST_POINT_S", 0.01)
    monkeypatch.setattr(run, "host_memory_bytes", lambda key: 4500)
    found = measured()
    out = [row for row in found.rows if row.status == "oom"]
    assert {row.op for row in out} >= {"copy", "gemm"}
    assert all(row.time_s is None and row.tflops is None for row in out)
    assert "4,500 B available" in out[0].notes
    assert found.num_left == 0
    assert any(row.status == "ok" for row in found.rows)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_what_the_device_has_no_memory_for_is_a_result(monkeypatch, error):
    def refuse(point, pool):
        raise error

    monkeypatch.setattr(run, "calls", refuse)
    found = measured()
    assert {row.status for row in found.rows} == {"oom"}
    assert str(error) in found.rows[0].notes


def test_other_errors_are_not_taken_for_it(monkeypatch):
    def fail(point, pool):
        raise RuntimeError("wrong shape")

    monkeypatch.setattr(run, "calls", fail)
    with pytest.raises(RuntimeError, match="wrong shape"):
        measured()


def test_power_and_clocks_stand_beside_each_kernel(monkeypatch):
    class Sampler:
        def __init__(self, device):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def reading(self):
            return PowerReading(512.0, 20)

        def state(self):
            return GpuState(1755.0, 2619.0, 61.0)

    held = []
    monkeypatch.setattr(run, "_MOST_POINT_S", 0.01)
    monkeypatch.setattr(run, "gpu_of", lambda device: "handle")
    monkeypatch.setattr(run, "hold", lambda launches, device, time_s, once_s: held.append(time_s))
    monkeypatch.setattr(run, "PowerSampler", Sampler)
    row = measured().rows[0]
    assert (row.power_w, row.clock_mhz, row.memory_clock_mhz, row.temperature_c) == (512, 1755, 2619, 61)
    assert held[:2] == [run._SETTLE_S, run._POWER_S]


def test_a_known_accelerator_has_its_peak_beside_its_rate():
    row = KernelRow(gpu="NVIDIA H100 80GB HBM3", op="gemm", m=8192, n=8192, k=8192, dtype="bf16")
    sampled = run.Sample(2e-3, 0.01, 10, True, 2e-3, 2e-3, 2e-3)
    found = run._filled(row, sampled, None, GpuState())
    assert found.peak_tflops_used == pytest.approx(989.4)
    assert found.efficiency_of_peak == pytest.approx(2 * 8192**3 / 2e-3 / 989.4e12)
    assert run._filled(dataclasses.replace(row, gpu="a CPU"), sampled, None, GpuState()).efficiency_of_peak is None


@pytest.mark.parametrize(
    ("capability", "hip", "formats"),
    [
        ((7, 0), None, ["fp16", "fp32"]),
        ((8, 0), None, ["bf16", "fp16", "fp32"]),
        ((9, 0), None, ["bf16", "fp16", "fp32", "fp8"]),
        ((9, 0), "6.2", ["bf16", "fp16", "fp32"]),
        ((9, 4), "6.2", ["bf16", "fp16", "fp32", "fp8"]),
    ],
)
def test_formats_are_those_of_the_device(monkeypatch, capability, hip, formats):
    cuda = types.SimpleNamespace(get_device_capability=lambda index: capability)
    torch_like = types.SimpleNamespace(cuda=cuda, version=types.SimpleNamespace(hip=hip))
    monkeypatch.setattr(run, "torch_module", lambda: torch_like)
    assert supported(Device("cuda", 0, "a GPU")) == formats


def test_mi300_has_eight_bits_of_its_own(monkeypatch):
    properties = types.SimpleNamespace(gcnArchName="gfx942:sramecc+", L2_cache_size=4 * 2**20)
    cuda = types.SimpleNamespace(get_device_properties=lambda index: properties)
    names = {"float8_e4m3fn": torch.float8_e4m3fn, "float8_e4m3fnuz": torch.float8_e4m3fnuz}
    for hip, expected in (("6.2", "float8_e4m3fnuz"), (None, "float8_e4m3fn")):
        there = types.SimpleNamespace(cuda=cuda, version=types.SimpleNamespace(hip=hip), **names)
        monkeypatch.setattr(pools, "torch_module", lambda there=there: there)
        assert torch_dtype("fp8") == names[expected]


def test_a_pool_is_larger_than_the_cache(monkeypatch):
    monkeypatch.undo()
    assert 0 < pools.pool_bytes(CPU) <= 2**28
    for cache, expected in ((50 * 2**20, 100 * 2**20), (0, 2**28)):
        properties = types.SimpleNamespace(L2_cache_size=cache)
        cuda = types.SimpleNamespace(get_device_properties=lambda index, properties=properties: properties)
        monkeypatch.setattr(pools, "torch_module", lambda cuda=cuda: types.SimpleNamespace(cuda=cuda))
        assert pools.pool_bytes(Device("cuda", 0, "a GPU")) == expected


@pytest.mark.parametrize("name", ["fp8", "fp9", "int8"])
def test_formats_that_the_device_has_not_are_refused(name):
    with pytest.raises(BadInput, match=name):
        measured(KernelRequest(precisions=[name]))


def test_the_bytes_of_a_kernels_data():
    assert data_bytes(KernelRow(op="gemm", m=2, n=3, k=5, dtype="bf16")) == 2 * (10 + 15 + 6)
    assert data_bytes(ATTENTION) == 4 * 2 * (2 * 8 * 6) * 16
    assert data_bytes(KernelRow(op="copy", num_bytes=64)) == 64
    assert data_bytes(asked(KernelRow(op="launch", dtype="fp32"), session())) == 0


def session():
    return run.Session(run.Together(Place(), CPU), "id", "walltime measure gemm", 1.0)
