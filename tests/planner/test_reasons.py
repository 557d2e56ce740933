"""Reasons: what binds really does, elasticities are those of a fresh search, losses add up, pessimism is worse."""

from dataclasses import replace

import numpy as np
import pytest

from walltime import hardware
from walltime.planner import recommend
from walltime.planner.reasons import MORE, binding, elasticities, losing_parts, survival

from .small import TRAINING, cluster, everything, question

SOFTWARE = ("megatron-core", "torchtitan")


def fastest(asked):
    return min((one.time_s for one in everything(asked)), default=np.inf)


# Where others lose


def test_losing_parts_are_the_largest_losses_to_the_best():
    answer = recommend(question())
    assert losing_parts(answer.best, answer.best) == []
    named = 0
    for one in answer.options[1:]:
        lost = {name: one.parts_s[name] - answer.best.parts_s[name] for name in one.parts_s}
        assert sum(lost.values()) == pytest.approx(one.time_s - answer.best.time_s)
        worst = sorted(lost.values(), reverse=True)
        found = losing_parts(one, answer.best)
        assert [loss_s for _, loss_s in found] == worst[: len(found)]
        assert all(loss_s > 0 and lost[name] == loss_s for name, loss_s in found)
        assert len(found) <= 2
        assert bool(found) == (worst[0] > 0)
        named += len(found)
    assert named > 0


# What binds


@pytest.mark.parametrize("software", SOFTWARE)
def test_memory_binds_where_it_is_short(software):
    asked = question(cluster(4, "accelerator.memory=0.06x"), software=software)
    found = binding(recommend(asked))
    assert found.name == "memory"
    unlimited = everything(question(cluster(4, "accelerator.memory=100x"), software=software))
    best = min(unlimited, key=lambda one: one.time_s)
    assert found.time_s == pytest.approx(best.time_s, rel=1e-9)
    same = [one.needed_bytes for one in unlimited if one.plan == found.plan]
    assert found.needed_bytes == pytest.approx(same[0], rel=1e-9)
    assert found.needed_bytes > recommend(asked).best.estimate.memory_capacity_bytes[0]


@pytest.mark.parametrize("fix", [{"tp": (4,)}, {"pp": (4,)}, {"tp": (4,), "sharding": ("zero3",)}])
@pytest.mark.parametrize("software", SOFTWARE)
def test_a_constraint_binds_if_the_best_plan_breaks_it(fix, software):
    """Without the constraint that is named, the step is as short as said; without another, it is no shorter."""
    asked = question(cluster(4, "accelerator.memory=1x"), software=software, fix=fix)
    found = binding(recommend(asked))
    without = {
        asked.constraints.said(name): fastest(asked.with_constraints(asked.constraints.without(name)))
        for name in asked.constraints.names()
    }
    assert found.name in without
    assert found.time_s == pytest.approx(without[found.name], rel=1e-9)
    assert found.time_s == pytest.approx(min(without.values()), rel=1e-9)
    assert found.time_s < recommend(asked).best.time_s


def test_bounds_and_free_memory_bind_too():
    bound = question(cluster(4, "accelerator.memory=1x"), most={"micro_batch": 1})
    assert binding(recommend(bound)).name == "max_micro_batch=1"
    plenty = question(cluster(4, "accelerator.memory=1x"))
    free = replace(plenty, constraints=replace(plenty.constraints, min_free_bytes=78e9))
    found = binding(recommend(free))
    assert found.name in ("memory", "min_free_memory=78GB")
    assert found.time_s == pytest.approx(recommend(plenty).best.time_s, rel=1e-9)


def test_nothing_binds_where_memory_is_plenty_and_nothing_was_asked():
    assert binding(recommend(question(cluster(4, "accelerator.memory=100x")))) is None


# Elasticities


CHANGES = {
    "FLOP/s": "accelerator.peak={more}x",
    "memory bandwidth": "accelerator.memory_bandwidth={more}x",
    "nvlink bandwidth": "network.nvlink.bandwidth={more}x",
    "infiniband bandwidth": "network.infiniband.bandwidth={more}x",
    "nvlink latency (a tenth less)": "network.nvlink.latency={less}x",
    "infiniband latency (a tenth less)": "network.infiniband.latency={less}x",
    "memory capacity": "accelerator.memory={more}x",
}


@pytest.mark.parametrize("software", SOFTWARE)
@pytest.mark.parametrize("fix", [{}, {"tp": (2,), "pp": (2,)}], ids=["free", "asked"])
def test_elasticities_are_those_of_a_search_on_the_changed_cluster(software, fix):
    asked = question(cluster(8, "accelerator.memory=0.08x", "network.nvlink.size=4"), software=software, fix=fix)
    answer = recommend(asked)
    found = {one.resource: one for one in elasticities(answer)}
    assert set(found) == {*CHANGES, "batch (from doubling it)"}
    for resource, text in CHANGES.items():
        changed = hardware.override(asked.clusters[0], [text.format(more=MORE, less=1 / MORE)])
        best = recommend(replace(asked, clusters=(changed,))).best
        gain = answer.best.time_s / best.time_s - 1
        assert found[resource].gain == pytest.approx(gain, abs=1e-9), resource
        assert found[resource].gain >= -1e-9, resource
        assert found[resource].gain <= MORE - 1 + 1e-9, resource
    doubled = replace(asked, training=replace(TRAINING, batch_seqs=2 * TRAINING.batch_seqs))
    gain = 2 * answer.best.time_s / recommend(doubled).best.time_s
    assert found["batch (from doubling it)"].gain == pytest.approx(gain ** np.log2(MORE) - 1)


def test_elasticities_of_an_answer_that_only_just_fits():
    """Where memory is short, more of it gives something."""
    found = {one.resource: one for one in elasticities(recommend(question(cluster(2, "accelerator.memory=0.1x"))))}
    assert found["memory capacity"].gain > 0
    for one in found.values():
        assert np.isfinite(one.gain)


# Pessimism


@pytest.mark.parametrize("software", SOFTWARE)
def test_pessimistic_steps_are_longer_and_the_best_is_found(software):
    answer = recommend(question(software=software))
    found = survival(answer)
    assert found.time_s > answer.recommended.time_s
    assert found.best_time_s <= found.time_s
    assert found.best_time_s > answer.best.time_s
    assert found.regret == pytest.approx(found.time_s / found.best_time_s - 1)
    assert found.survives == (found.regret <= answer.tie)
