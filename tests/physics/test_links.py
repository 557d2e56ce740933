"""Collectives on network levels: bytes are conserved, more of anything never hurts, measured rows are met."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import walltime as wt
from walltime.calibrate import collectives
from walltime.engines.calibration import calibration
from walltime.physics.links import (
    LinkLevel,
    all_gather_time_s,
    all_reduce_time_s,
    all_to_all_time_s,
    reduce_scatter_time_s,
    ring_path,
    send_time_s,
    tree_path,
)

REPO = Path(__file__).parents[2]
MEASURED = REPO.parent / "shared/measured/collectives.csv"
CLUSTER_OF = {
    "A100-SXM4-80GB": "a100-sxm-80gb",
    "H100-SXM-80GB": "h100-sxm",
    "H200-SXM-141GB": "h200",
    "B200-SXM": "b200",
    "B300-SXM": "b300",
    "GB200": "gb200-nvl72",
    "GB300": "gb300-nvl72",
}
TABLE = REPO / "src/walltime/data/published/fernandez2024_all_reduce.csv"

INNER = LinkLevel(
    bytes_per_s=450e9,
    efficiency=0.857,
    start_s=3.76e-6,
    hop_s=0.806e-6,
    tree_start_s=1.53e-6,
    tree_hop_s=1e-6,
    tree_efficiency=0.857,
    all_to_all_efficiency=0.888,
    send_efficiency=0.888,
    peer_s=0.86e-6,
    copy_share=0.294,
    relay_s=3.4e-6,
    multicast_efficiency=0.72,
)
OUTER = LinkLevel(
    bytes_per_s=50e9,
    efficiency=0.952,
    start_s=3.76e-6,
    hop_s=9.6e-6,
    tree_start_s=6.3e-6,
    tree_hop_s=20.2e-6,
    tree_efficiency=1.0,
    all_to_all_efficiency=0.9,
    send_efficiency=0.9,
    peer_s=1e-6,
)
LEVELS = (INNER, OUTER)
PLAIN = replace(INNER, copy_share=0.0, multicast_efficiency=0.0)
COLLECTIVES = (all_reduce_time_s, all_gather_time_s, reduce_scatter_time_s, all_to_all_time_s)
HUGE = 1e18

degrees = st.integers(0, 3).map(lambda power: 2.0**power)
nodes = st.integers(0, 9).map(lambda power: 2.0**power)
messages = st.floats(1e3, 1e11)
functions = st.sampled_from(COLLECTIVES)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_large_messages_move_what_nccl_tests_counts(n):
    bandwidth = PLAIN.efficiency * PLAIN.bytes_per_s
    gather = float(all_gather_time_s(HUGE, (PLAIN,), (n,)))
    assert gather * bandwidth / HUGE == pytest.approx((n - 1) / n, rel=1e-4)
    assert float(ring_path((PLAIN,), (n,), 2).time_s(HUGE)) * bandwidth / HUGE == pytest.approx(
        2 * (n - 1) / n, rel=1e-4
    )
    exchange = float(all_to_all_time_s(HUGE, (PLAIN,), (n,))) * PLAIN.all_to_all_efficiency * PLAIN.bytes_per_s
    assert exchange / HUGE == pytest.approx((n - 1) / n, rel=1e-4)


def test_switches_that_reduce_carry_the_message_and_a_share():
    moved = float(tree_path((INNER,), (8,)).time_s(HUGE)) * INNER.multicast_efficiency * INNER.bytes_per_s / HUGE
    assert moved == pytest.approx(9 / 8, rel=1e-4)


def test_all_ranks_of_a_node_share_the_traffic_between_nodes():
    eight = float(all_gather_time_s(HUGE, LEVELS, (8, 16)))
    one = float(all_gather_time_s(HUGE, LEVELS, (1, 16)))
    assert eight * 8 * OUTER.efficiency * OUTER.bytes_per_s / HUGE == pytest.approx(127 / 128, rel=1e-3)
    assert one * OUTER.efficiency * OUTER.bytes_per_s / HUGE == pytest.approx(15 / 16, rel=1e-3)
    few = replace(OUTER, max_rails=4.0)
    assert float(all_gather_time_s(HUGE, (INNER, few), (8, 16))) == pytest.approx(2 * eight, rel=1e-3)


def test_two_neighbours_exchange_once_and_more_twice():
    slow = replace(OUTER, bytes_per_s=1e9)
    two, many = (float(tree_path((INNER, slow), (8, h)).time_s(HUGE)) * 8e9 / HUGE for h in (2, 64))
    assert two == pytest.approx(1, rel=1e-3)
    assert many == pytest.approx(2, rel=1e-3)


def test_all_to_all_crosses_each_level_with_its_share():
    slow = replace(OUTER, bytes_per_s=1e9)
    moved = float(all_to_all_time_s(HUGE, (INNER, slow), (8, 4))) * slow.all_to_all_efficiency * 1e9 / HUGE
    assert moved == pytest.approx(24 / 32, rel=1e-3)


def test_a_mesh_uses_the_links_to_its_own_ranks():
    mesh = replace(PLAIN, mesh_ranks=8.0)
    pair, whole = (float(ring_path((mesh,), (n,), 1).s_per_byte) * n / (n - 1) for n in (2, 8))
    assert pair / whole == pytest.approx(7)
    assert float(send_time_s(HUGE, mesh)) == pytest.approx(7 * float(send_time_s(HUGE, PLAIN)), rel=1e-3)


@pytest.mark.parametrize("function", COLLECTIVES)
def test_one_rank_costs_nothing(function):
    assert function(1e9, LEVELS, (1, 1)) == 0


@given(functions, degrees, nodes)
def test_an_empty_send_is_free_and_a_level_of_one_changes_nothing(function, g, h):
    assert send_time_s(0.0, OUTER) == 0
    assert function(1e8, (INNER, INNER, OUTER), (g, 1.0, h)) == pytest.approx(function(1e8, LEVELS, (g, h)))


@given(functions, degrees, nodes, messages, st.floats(1.01, 10))
def test_larger_messages_take_longer_and_better_links_never(function, g, h, message, factor):
    base = float(function(message, LEVELS, (g, h)))
    assert math.isfinite(base)
    assert base >= 0
    assert float(function(message * factor, LEVELS, (g, h))) >= base
    faster = tuple(replace(level, bytes_per_s=factor * level.bytes_per_s) for level in LEVELS)
    assert float(function(message, faster, (g, h))) <= base
    for name in ("start_s", "hop_s", "tree_start_s", "tree_hop_s", "peer_s", "relay_s"):
        slower = tuple(replace(level, **{name: factor * getattr(level, name)}) for level in LEVELS)
        assert float(function(message, slower, (g, h))) >= base * (1 - 1e-12)


@given(degrees, nodes, messages)
def test_a_ring_all_reduce_is_a_reduce_scatter_and_an_all_gather(g, h, message):
    levels = (PLAIN, OUTER)
    both = float(reduce_scatter_time_s(message, levels, (g, h))) + float(all_gather_time_s(message, levels, (g, h)))
    ring = float(ring_path(levels, (g, h), 2).time_s(message))
    assert ring <= both * (1 + 1e-12)
    if message > 1e9 and h < 8:
        assert ring == pytest.approx(both, rel=0.05)


def test_latency_is_linear_in_a_ring_and_logarithmic_in_a_tree():
    tiny = 1.0
    gather = [float(all_gather_time_s(tiny, LEVELS, (8, h))) for h in (64, 128, 256)]
    reduce = [float(all_reduce_time_s(tiny, LEVELS, (8, h))) for h in (64, 128, 256)]
    assert (gather[2] - gather[1]) / (gather[1] - gather[0]) == pytest.approx(2, rel=1e-2)
    assert (reduce[2] - reduce[1]) / (reduce[1] - reduce[0]) == pytest.approx(1, rel=1e-2)


@given(functions, st.lists(st.tuples(degrees, nodes, messages), min_size=1, max_size=6))
def test_arrays_are_many_scalars(function, rows):
    g, h, message = (np.array(column) for column in zip(*rows, strict=True))
    together = function(message, LEVELS, (g, h))
    one_by_one = [float(function(m, LEVELS, (a, b))) for a, b, m in rows]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12)


def shipped(cluster):
    """The levels of a catalog cluster, with their fitted numbers."""
    return calibration(wt.cluster(cluster, 1024), "generic").links.levels


def test_the_published_table_is_met():
    rows = collectives.fernandez_rows(TABLE)
    errors = collectives.relative_errors(rows, shipped("h100-sxm"))
    assert len(rows) == 53
    assert np.median(np.abs(errors)) < 0.06
    assert np.max(np.abs(errors)) < 0.22, "of time"
    assert np.max(np.abs(1 / (1 + errors) - 1)) < 0.28, "of bandwidth"


@pytest.mark.skipif(not MEASURED.exists(), reason="../shared/measured/collectives.csv is not here")
@pytest.mark.parametrize("collective", ["all_gather", "reduce_scatter"])
@pytest.mark.parametrize(("gpu", "cluster"), CLUSTER_OF.items())
def test_gathers_and_scatters_are_met_on_each_cluster(collective, gpu, cluster):
    levels = shipped(cluster)
    size = wt.cluster(cluster, 1024).network.level_sizes[0]
    rows = collectives.measured_rows(MEASURED, lambda _row: size)
    rows = rows.where((rows.accelerator == gpu) & (rows.collective == collective))
    assert len(rows) >= 40
    assert np.median(np.abs(collectives.relative_errors(rows, levels))) < 0.15


@pytest.mark.skipif(not MEASURED.exists(), reason="../shared/measured/collectives.csv is not here")
def test_the_tree_between_nodes_is_what_the_rows_say():
    pytest.importorskip("scipy", reason="fits need SciPy, the extra [sci]")
    rows = collectives.measured_rows(MEASURED, lambda _row: 8)
    between_nodes = (rows.accelerator == "H100-SXM-80GB") & (rows.sizes[:, 1] > 1)
    rows = collectives.fernandez_rows(TABLE).joined(rows.where(between_nodes & (rows.message_bytes >= 2**20)))
    levels = shipped("h100-sxm")
    free = ("tree_efficiency", "tree_start_s", "tree_hop_s")
    found = collectives.fitted(rows, levels, 1, free)[1]
    assert [getattr(found, name) for name in free] == pytest.approx(
        [getattr(levels[1], name) for name in free], rel=0.02
    )


@pytest.mark.skipif(not MEASURED.exists(), reason="../shared/measured/collectives.csv is not here")
def test_a_fit_meets_h100_rows_in_one_node():
    pytest.importorskip("scipy", reason="fits need SciPy, the extra [sci]")
    rows = collectives.measured_rows(MEASURED, lambda _row: 8)
    rows = rows.where((rows.accelerator == "H100-SXM-80GB") & (rows.sizes[:, 1] == 1) & (rows.message_bytes >= 2**20))
    start = replace(INNER, efficiency=0.7, start_s=8e-6, hop_s=2e-6)
    (level,) = collectives.fitted(rows, (start,), 0, ("efficiency", "start_s", "hop_s", "multicast_efficiency"))
    quality = collectives.Quality.of(collectives.relative_errors(rows, (level,)))
    assert quality.rows > 100
    assert quality.median_abs_error < 0.05
    assert quality.p90_abs_error < 0.15
    assert level.efficiency == pytest.approx(0.86, abs=0.03)
