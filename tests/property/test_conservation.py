"""Bytes, crossings, tiles and parameters: what is moved or counted is what the definitions say."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.engines import traffic_terms
from walltime.physics.matmul import tiling
from walltime.physics.pipeline import interface_crossings
from walltime.plan import MlpPlanBatch
from walltime.workload import MlpStack

from .strategies import powers_of_ten, scenarios

TINY = 1e-12


def bytes_by_level(case):
    """Bytes that each level carries in one step, by kind: the other levels made infinitely fast."""
    network, word_bytes = case.cluster.network, case.cluster.accelerator.word_bytes
    plans = MlpPlanBatch.of([replace(case.plan, recompute=False)])
    carried = []
    for level in range(network.num_levels):
        rates = tuple(1.0 if i == level else math.inf for i in range(network.num_levels))
        terms = traffic_terms(case.model, word_bytes, replace(network, bytes_per_s=rates), plans)
        carried.append([float(t[0]) * case.cluster.num_gpus for t in (terms.tp_s, terms.pp_s, terms.dp_s)])
    return np.array(carried)


@given(case=scenarios())
def test_levels_share_out_the_bytes_of_an_all_reduce(case):
    """2 (p - 1) n over all levels together, however p is placed."""
    model, plan, word_bytes = case.model, case.plan, case.cluster.accelerator.word_bytes
    tp_bytes, _, dp_bytes = bytes_by_level(case).sum(axis=0)
    gradients = 2 * model.d_model * model.d_ff * model.num_layers * model.num_experts * word_bytes
    assert dp_bytes == pytest.approx(2 * (plan.degree("dp") - 1) * gradients, rel=TINY)
    one_all_reduce_a_layer = 2 * (plan.degree("tp_model") - 1) * model.d_ff
    one_all_reduce_a_layer += 2 * (plan.degree("tp_ff") - 1) * model.d_model
    both_passes = 2 * model.num_layers * model.batch_tokens * word_bytes
    assert tp_bytes == pytest.approx(one_all_reduce_a_layer * both_passes, rel=TINY)


@given(case=scenarios())
def test_every_token_crosses_every_interface_or_stays(case):
    """2 (L - 1) crossings of d words a token, less those that neither change stage nor expert rank."""
    model, plan = case.model, case.plan
    _, pp_bytes, _ = bytes_by_level(case).sum(axis=0)
    stays = (model.num_layers - plan.interleave * plan.degree("pp")) / plan.degree("ep")
    both_ways = 2 * model.batch_tokens * model.d_model * case.cluster.accelerator.word_bytes
    if (model.num_layers - 1 - stays) > 0 and plan.degree("pp") * plan.degree("ep") > 1:
        assert pp_bytes == pytest.approx((model.num_layers - 1 - stays) * both_ways, rel=1e-11)


def crossings_of_the_specification(pp, ep, num_layers, interleave):
    """Specification 2.4, step 3: every pair of a stage level and an expert level, -1 for none."""

    def above(degrees, level):
        return math.prod(degrees[level + 1 :])

    stages, experts = math.prod(pp), math.prod(ep)
    top_stage = max((i for i, p in enumerate(pp) if p > 1), default=-1)
    top_expert = max((i for i, p in enumerate(ep) if p > 1), default=-1)
    volume, waits, frequencies = np.zeros(len(pp)), np.zeros(len(pp)), 0.0
    for stage, expert in itertools.product(range(-1, top_stage + 1), range(-1, top_expert + 1)):
        if stage == -1:
            count = num_layers - interleave * stages
        elif stage == top_stage:
            count = interleave * pp[stage] - 1
        else:
            count = interleave * above(pp, stage) * (pp[stage] - 1)
        share = 1 / experts if expert == -1 else 1 / above(ep, expert) - 1 / above(ep, expert - 1)
        frequencies += count / (num_layers - 1) * share
        if max(stage, expert) >= 0:
            volume[max(stage, expert)] += count * share
            waits[max(stage, expert)] += count * (expert == top_expert)
    return volume, waits, frequencies


degrees_by_level = st.integers(1, 4).flatmap(
    lambda n: st.tuples(*[st.lists(st.sampled_from((1, 1, 2, 3, 8)), min_size=n, max_size=n) for _ in range(2)])
)


@given(degrees=degrees_by_level, interleave=st.integers(1, 5), more=st.integers(1, 4))
def test_crossings_are_those_of_the_specification(degrees, interleave, more):
    pp, ep = degrees
    interleave = interleave if math.prod(pp) > 1 else 1
    num_layers = max(2, math.prod(pp) * interleave * more)
    volume, waits, frequencies = crossings_of_the_specification(pp, ep, num_layers, interleave)
    assert frequencies == pytest.approx(1, rel=TINY)
    arrays = ([np.array([float(p)]) for p in by_level] for by_level in (pp, ep))
    ours = interface_crossings(*arrays, num_layers, np.array([float(interleave)]))
    scale = num_layers * TINY
    np.testing.assert_allclose(np.concatenate(ours.volume), volume, rtol=1e-11, atol=scale)
    np.testing.assert_allclose(np.concatenate(ours.waits), waits, rtol=1e-11, atol=scale)
    moves = num_layers - 1 if math.prod(ep) > 1 else interleave * math.prod(pp) - 1
    assert math.fsum(float(w[0]) for w in ours.waits) == pytest.approx(moves, rel=TINY, abs=scale)


@given(
    d1=st.integers(1, 10**6),
    d2=st.integers(1, 10**6),
    word_bytes=st.sampled_from((1.0, 2.0, 4.0)),
    capacity_bytes=powers_of_ten(2, 11),
)
def test_tiles_cover_the_matrix_and_fit(d1, d2, word_bytes, capacity_bytes):
    rows, cols = tiling(float(d1), float(d2), word_bytes, capacity_bytes)
    tiles = math.ceil(d1 * d2 * word_bytes / capacity_bytes)
    assert float(rows * cols) == pytest.approx(tiles, rel=TINY)
    assert rows >= 1
    assert cols >= 1 - TINY
    assert d1 / rows * d2 / cols * word_bytes <= capacity_bytes * (1 + TINY)
    columns, its_rows = tiling(float(d2), float(d1), word_bytes, capacity_bytes)
    assert (float(its_rows), float(columns)) == pytest.approx((float(rows), float(cols)), rel=TINY)
    area = d1 * d2 / tiles  # specification 2.3, tile(cap), as it is written there
    side1 = max(min(d1, math.sqrt(area)), area / d2)
    assert float(rows) == pytest.approx(d1 / side1, rel=1e-11)
    assert float(cols) == pytest.approx(d2 * side1 / area, rel=1e-11)


sides = st.integers(1, 10**6)


@given(sides, sides, st.integers(1, 2000), st.integers(1, 200), st.integers(1, 10**7), powers_of_ten(1, 15))
def test_parameters_and_flop_are_counted_matrix_by_matrix(d_model, d_ff, layers, experts, tokens, training_tokens):
    model = MlpStack(d_model, d_ff, layers, experts, tokens, training_tokens)
    matrices = [(d_model, d_ff), (d_ff, d_model)]
    a_layer = sum(rows * cols for rows, cols in matrices)
    assert model.num_parameters == a_layer * layers * experts
    assert model.num_active_parameters == a_layer * layers
    multiply_adds = 3 * a_layer * layers * tokens  # forward, gradient of activations, gradient of weights
    assert model.step_flop == pytest.approx(2 * multiply_adds, rel=TINY)
    assert model.training_flop == pytest.approx(model.num_steps * 2 * multiply_adds, rel=TINY)
