"""Matmul and attention kernels: limits, order, arrays as scalars, and the fit against the measured rows."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.physics.kernels import (
    AttentionKernel,
    AttentionPass,
    MatmulKernel,
    attention_time_s,
    grouped_matmul_time_s,
    matmul_time_s,
    unfused_attention_time_s,
)

PEAK, HBM = 1e15, 3e12
MATMUL = MatmulKernel(
    max_efficiency=0.8,
    max_hbm_fraction=0.75,
    half_k=100.0,
    tail_fraction=0.3,
    tail_k=8000.0,
    tile_m=128,
    tile_n=256,
    tile_step=64,
    small_tile_m=64,
    small_tile_n=128,
    small_tile_cost=0.31,
    num_cores=132,
    latency_s=3e-6,
    grouped_slowdown=1.1,
    grouped_gradient_slowdown=1.3,
)
ONE_TILE = replace(MATMUL, small_tile_cost=1.0)
FORWARD = AttentionPass(0.7, half_len=150.0, small_head_dim=50.0, wide_head_slowdown=1.05, idle_waves=0.8)
BACKWARD = AttentionPass(0.6, half_len=300.0, small_head_dim=25.0, wide_head_slowdown=1.2, idle_waves=0.5)
ATTENTION = AttentionKernel(FORWARD, BACKWARD, full_head_dim=128, block_len=128, num_cores=132, latency_s=3e-6)

GEMM = Path(__file__).parents[3] / "shared" / "measured" / "gemm.csv"

sizes = st.integers(1, 70_000)
kernels = st.sampled_from([MATMUL, ONE_TILE])


def matmul(m, n, k, kernel=MATMUL, peak=PEAK, hbm=HBM, **more):
    return matmul_time_s(m, n, k, kernel, peak, hbm, **more)


# ---- matmul ----


@given(sizes, sizes, sizes, kernels)
def test_a_matmul_takes_at_least_what_its_flop_and_bytes_take(m, n, k, kernel):
    time_s = matmul(m, n, k, kernel)
    assert time_s > kernel.latency_s
    assert time_s >= 2 * m * n * k / PEAK
    assert time_s >= 2 * (m * k + k * n + m * n) / HBM


@given(sizes, sizes, sizes, st.integers(0, 2), st.integers(1, 1000), kernels)
def test_a_larger_matmul_is_never_faster(m, n, k, grown, by, kernel):
    larger = [m, n, k]
    larger[grown] += by
    assert matmul(*larger, kernel) >= matmul(m, n, k, kernel) * (1 - 1e-12)


@given(sizes, sizes, sizes, st.floats(1, 10), st.floats(1, 10), kernels)
def test_more_peak_or_bandwidth_is_never_slower(m, n, k, faster, wider, kernel):
    assert matmul(m, n, k, kernel, PEAK * faster, HBM * wider) <= matmul(m, n, k, kernel)


def test_a_large_matmul_reaches_the_maximum_efficiency_and_no_more():
    m = n = k = 2**17
    efficiency = 2 * m * n * k / matmul(m, n, k) / PEAK
    assert 0.98 * MATMUL.max_efficiency < efficiency < MATMUL.max_efficiency


def test_one_wave_of_tiles_by_hand():
    """66 of 132 cores busy: half a wave of work, and the lost share of the other half."""
    m, n, k = 128 * 6, 256 * 11, 4096
    depth = 0.5 * (k + 100) + 0.3 * 0.5 * k
    expected_s = depth * 2 * 128 * 256 * 132 / (0.8 * PEAK) + 3e-6
    assert matmul(m, n, k, ONE_TILE) == pytest.approx(expected_s, rel=1e-12)


def test_a_long_sum_is_split_over_idle_cores():
    """Beyond the longest sum that a half-empty wave waits for, only the work grows."""
    m, n = 128 * 6, 256 * 11
    grown_s = matmul(m, n, 40_000, ONE_TILE) - matmul(m, n, 20_000, ONE_TILE)
    assert grown_s == pytest.approx(2 * m * n * 20_000 / (0.8 * PEAK), rel=1e-9)


def test_a_thin_matmul_is_bound_by_memory():
    m, n, k = 1, 8192, 8192
    expected_s = 2 * (m * k + k * n + m * n) / (0.75 * HBM) + 3e-6
    assert matmul(m, n, k) == pytest.approx(expected_s, rel=1e-12)


def test_the_small_tile_helps_where_the_large_one_would_be_half_empty():
    assert matmul(64, 4096, 4096) < matmul(64, 4096, 4096, ONE_TILE)
    assert matmul(2**15, 2**15, 4096) == pytest.approx(matmul(2**15, 2**15, 4096, ONE_TILE), rel=1e-12)


def test_accumulating_in_32_bits_costs_bandwidth_only():
    thin = {"m": 8192, "n": 8192, "k": 64}
    assert matmul(**thin, bytes_per_element_out=8) > 2 * matmul(**thin, bytes_per_element_out=2)
    assert matmul(8192, 8192, 8192, bytes_per_element_out=8) == matmul(8192, 8192, 8192, bytes_per_element_out=2)


def test_arrays_give_what_scalars_give():
    rng = np.random.default_rng(7)
    m, n, k, groups = rng.integers(1, 20_000, (4, 50)).astype(float)
    together = matmul(m, n, k, num_groups=groups)
    one_by_one = [matmul(*map(float, row[:3]), num_groups=float(row[3])) for row in zip(m, n, k, groups, strict=True)]
    np.testing.assert_array_equal(together, one_by_one)
    heads, lengths = m, n
    together = attention_time_s(heads, lengths, lengths, ATTENTION, PEAK, 128, 128)
    one_by_one = [
        attention_time_s(float(h), float(s), float(s), ATTENTION, PEAK, 128, 128)
        for h, s in zip(heads, lengths, strict=True)
    ]
    np.testing.assert_array_equal(together, one_by_one)


def test_grouped_matmuls_share_waves_but_not_tiles():
    """64 experts with 128 tokens: as many tiles as one matmul of all tokens, times the slowdown."""
    grouped_s = grouped_matmul_time_s(64, 128, 4096, 8192, ONE_TILE, PEAK, 1e15)
    together_s = matmul(64 * 128, 4096, 8192, ONE_TILE, hbm=1e15)
    assert grouped_s == pytest.approx(1.1 * together_s, rel=1e-12)
    gradient_s = grouped_matmul_time_s(64, 128, 4096, 8192, ONE_TILE, PEAK, 1e15, weight_gradient=True)
    assert gradient_s == pytest.approx(1.3 * together_s, rel=1e-12)
    assert grouped_matmul_time_s(64, 129, 4096, 8192, ONE_TILE, PEAK, 1e15) > 1.9 * grouped_s  # padded to two tiles


def test_grouped_matmuls_read_the_weights_of_every_expert():
    grouped_s = grouped_matmul_time_s(64, 16, 4096, 7168, MATMUL, PEAK, HBM)
    assert grouped_s > 64 * 2 * 4096 * 7168 / HBM > 5 * matmul(64 * 16, 4096, 7168)


# ---- attention ----


def attention(heads, length, *, d=128, causal=True, backward=False, kernel=ATTENTION, peak=PEAK):
    return attention_time_s(heads, length, length, kernel, peak, d, d, causal=causal, backward=backward)


@given(st.integers(1, 512), st.integers(64, 131_072), st.sampled_from([64, 96, 128, 256]), st.booleans(), st.booleans())
def test_attention_takes_at_least_what_its_flop_take(heads, length, d, causal, backward):
    flop = heads * length**2 * d * (10 if backward else 4) / (2 if causal else 1)
    time_s = attention(heads, length, d=d, causal=causal, backward=backward)
    assert time_s > flop / PEAK
    assert attention(heads + 1, length, d=d, causal=causal, backward=backward) > time_s
    assert attention(heads, length + 1, d=d, causal=causal, backward=backward) > time_s
    assert attention(heads, length, d=d, causal=causal, backward=backward, peak=2 * PEAK) < time_s


def test_attention_by_hand():
    heads, length = 32, 4096
    keys = length + 2 * 150 + 128
    queries = heads * length + 0.8 * 132 * 128
    expected_s = queries * keys * 4 * 128 / 2 / (0.7 * PEAK) + 3e-6
    assert attention(heads, length) == pytest.approx(expected_s, rel=1e-12)


def test_a_mask_saves_less_than_half_and_narrow_heads_cost_more_than_they_should():
    full_s, masked_s = attention(64, 4096, causal=False), attention(64, 4096)
    assert full_s / 2 < masked_s < full_s
    assert attention(128, 4096, d=64) > 1.3 * attention(64, 4096)
    assert attention(64, 2**17) / attention(64, 2**17, causal=False) == pytest.approx(0.5, abs=0.01)


def test_wide_query_heads_of_latent_attention_pay_their_slowdown():
    plain_s = attention_time_s(128, 4096, 4096, ATTENTION, PEAK, 128, 128, backward=True)
    wide_s = attention_time_s(128, 4096, 4096, ATTENTION, PEAK, 192, 128, backward=True)
    assert (wide_s - 3e-6) / (plain_s - 3e-6) == pytest.approx(1.2 * (3 * 192 + 2 * 128) / (5 * 128), rel=1e-12)


def test_unfused_attention_is_bound_by_its_scores():
    heads, length = 64, 4096
    scores = heads * length**2
    forward_s = unfused_attention_time_s(heads, length, length, MATMUL, PEAK, HBM, 128, 128, 9)
    backward_s = unfused_attention_time_s(heads, length, length, MATMUL, PEAK, HBM, 128, 128, 11, backward=True)
    least_s = scores * (2 + 9 + 2) / (0.75 * HBM)  # written by the first matmul, passed over, read by the second
    assert least_s < forward_s < 1.3 * least_s
    assert forward_s < backward_s < 3 * forward_s
    assert forward_s > 3 * attention(heads, length)


# ---- the fit ----


@pytest.fixture(scope="module")
def fitted():
    if not GEMM.is_file():
        pytest.skip("no measured matmuls beside this checkout (../shared/measured/gemm.csv)")
    pytest.importorskip("scipy", reason="fits need the [sci] extra")
    from walltime.calibrate.matmul import fit_all

    return fit_all(GEMM)


MEDIAN_AND_P90 = {  # of the absolute relative error on shapes held out
    ("a100-sxm-80gb", "bf16"): (0.04, 0.13),
    ("h100-sxm", "bf16"): (0.04, 0.11),
    ("h100-sxm", "fp8"): (0.03, 0.09),
    ("h200", "bf16"): (0.03, 0.09),
    ("b200", "bf16"): (0.055, 0.135),
    ("b200", "fp8"): (0.045, 0.105),
    ("gb200", "bf16"): (0.04, 0.105),
    ("gb200", "fp8"): (0.04, 0.095),
}


@pytest.mark.parametrize("case", MEDIAN_AND_P90, ids="-".join)
def test_the_fit_holds_on_shapes_held_out(fitted, case):
    accelerator, precision = case
    entry = fitted[accelerator][precision]
    median, p90 = MEDIAN_AND_P90[case]
    assert entry["held_out"]["median"] <= median
    assert entry["held_out"]["p90"] <= p90
    assert entry["rows"] > 1000
    assert 0 < entry["parameters"]["max_efficiency"] < 1
    assert math.isfinite(json.loads(json.dumps(entry))["parameters"]["tail_k"])


def test_every_measured_accelerator_is_fitted(fitted):
    assert {(a, p) for a, by_precision in fitted.items() for p in by_precision} == set(MEDIAN_AND_P90)
