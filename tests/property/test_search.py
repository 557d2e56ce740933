"""The search returns what brute force returns, and prunes only with true lower bounds."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from walltime.engines import step_terms
from walltime.engines.erdil import matmul_device
from walltime.plan import MlpPlanBatch, level_sizes, smallest_num_microbatches
from walltime.search import FULL, PUBLISHED, Search
from walltime.search.mlp_bounds import Bounds, floor_step_s
from walltime.search.mlp_space import Grid, Shares

from .brute_force import every_plan, levels_of
from .strategies import accelerators, assumptions, powers_of_ten, small_searches

SPACES = pytest.mark.parametrize("space", [PUBLISHED, FULL], ids=lambda space: space.name)
TINY = 1e-12


def fastest(evaluated):
    """Least time; of the plans that take exactly as long, the least communication."""
    found = [batch for batch in evaluated.values() if batch is not None]
    time_s = min((batch.time_s.min() for batch in found), default=math.inf)
    tied = [batch.communication_s[batch.time_s == time_s] for batch in found]
    return time_s, min((c.min() for c in tied if len(c)), default=math.inf)


def evaluate_one(model, cluster, plan, reading):
    terms = step_terms(model, matmul_device(cluster.accelerator, reading), cluster.network, MlpPlanBatch.of([plan]))
    return float(terms.step_s(plan.schedule, reading)[0]), float((terms.tp_s + terms.dp_s + terms.pp_s)[0])


@SPACES
@settings(max_examples=300)
@given(case=small_searches())
def test_best_is_that_of_brute_force(space, case):
    evaluated = every_plan(space, case.model, case.cluster, case.num_gpus, case.assumptions)
    time_s, communication_s = fastest(evaluated)
    found = Search(case.model, case.cluster, space, case.assumptions).best(case.num_gpus)
    event("no plan" if found is None else f"{found.plan.schedule} wins")
    if found is None:
        assert time_s == math.inf
        return
    assert found.step_time_s == pytest.approx(time_s, rel=TINY, abs=0)
    assert found.communication_s == pytest.approx(communication_s, rel=TINY, abs=0)
    again_s, its_communication_s = evaluate_one(case.model, case.cluster, found.plan, case.assumptions)
    assert again_s == pytest.approx(found.step_time_s, rel=TINY, abs=0)
    assert its_communication_s == pytest.approx(found.communication_s, rel=TINY, abs=0)
    assert found.run_time_s == pytest.approx(case.model.num_steps * time_s, rel=TINY)
    assert found.plan.num_gpus == case.num_gpus


@SPACES
@given(case=small_searches(largest=12), factor=st.floats(1e-3, 1e3))
def test_below_is_a_strict_limit(space, case, factor):
    search = Search(case.model, case.cluster, space, case.assumptions)
    unlimited = search.best(case.num_gpus)
    if unlimited is None:
        assert search.best(case.num_gpus, 1e300) is None
        return
    best_s = unlimited.step_time_s
    assert search.best(case.num_gpus, best_s) is None
    for below_s in (math.nextafter(best_s, math.inf), factor * best_s):
        found = search.best(case.num_gpus, below_s)
        if best_s < below_s:
            assert (found.plan, found.step_time_s) == (unlimited.plan, best_s)
        else:
            assert found is None


@given(case=small_searches(largest=12))
def test_ties_go_to_the_least_communication(case):
    """Where arithmetic hides all traffic, many plans take equally long; only their traffic tells them apart."""
    network = replace(case.cluster.network, latency_s=(0.0,) * case.cluster.network.num_levels)
    slow = replace(case.cluster.accelerator, peak_flop_per_s=1e3, matmul_latency_s=0.0)
    cluster = replace(case.cluster, accelerator=slow, network=network)
    reading = replace(case.assumptions, overlap_tp=1.0, overlap_pp=1.0, overlap_dp=1.0)
    evaluated = every_plan(FULL, case.model, cluster, case.num_gpus, reading)
    time_s, communication_s = fastest(evaluated)
    found = Search(case.model, cluster, FULL, reading).best(case.num_gpus)
    if found is not None:
        ties = sum(int((batch.time_s == time_s).sum()) for batch in evaluated.values() if batch)
        event("ties" if ties > 1 else "no tie")
        assert found.step_time_s == pytest.approx(time_s, rel=TINY)
        assert found.communication_s == pytest.approx(communication_s, rel=TINY, abs=0)


@SPACES
@settings(max_examples=300)
@given(case=small_searches(largest=16))
def test_every_bound_is_below_every_plan(space, case):
    model, cluster, reading = case.model, case.cluster, case.assumptions
    evaluated = every_plan(space, model, cluster, case.num_gpus, reading)
    bounds = Bounds(model, cluster, reading, case.num_gpus)
    for schedule, batch in evaluated.items():
        if batch is None:
            continue
        plans, total = batch.plans, batch.plans.totals()
        allowed_s = batch.time_s * (1 + TINY)
        shares = Shares(**total)
        points = Grid(total["dp"], total["tp_model"] * total["tp_ff"], total["pp"], total["ep"])
        fewest = np.array(
            [
                space.microbatch_counts(model, int(dp), int(pp), schedule)[0]
                for dp, pp in zip(total["dp"], total["pp"], strict=True)
            ],
            dtype=float,
        )
        assert (fewest >= smallest_num_microbatches(schedule, total["pp"])).all()
        assert (floor_step_s(model, cluster) <= allowed_s).all()
        assert (bounds.of_grid(points) <= allowed_s).all()
        assert (bounds.of_shares(shares) <= allowed_s).all()
        terms = bounds.of_fewest(shares, fewest, schedule)
        assert (terms.step_s(schedule, reading) <= allowed_s).all()
        unchosen = replace(plans, num_microbatches=fewest, interleave=np.ones(len(plans)))
        terms, bound_s = bounds.of_placed(terms, unchosen, schedule)
        assert (bound_s <= allowed_s).all()
        assert (bounds.of_choices(terms, plans, plans.num_microbatches - fewest) <= allowed_s).all()


@given(case=small_searches())
def test_the_full_space_contains_the_published_one(case):
    published = Search(case.model, case.cluster, PUBLISHED, case.assumptions).best(case.num_gpus)
    full = Search(case.model, case.cluster, FULL, case.assumptions).best(case.num_gpus)
    expert_tokens = case.model.batch_tokens // case.model.num_experts
    if published is not None and expert_tokens % published.plan.degree("dp") == 0:
        # otherwise its share of tokens is rounded down, and the full space has no such plans
        assert full is not None
        assert full.step_time_s <= published.step_time_s * (1 + TINY)


@given(num_gpus=st.integers(1, 500), sizes=st.lists(st.integers(1, 80), max_size=3).map(tuple))
def test_groups_are_filled_as_far_as_they_divide_the_cluster(num_gpus, sizes):
    joined = level_sizes(num_gpus, sizes)
    assert joined == levels_of(num_gpus, sizes)
    assert math.prod(joined) == num_gpus


BETTER = {
    "network bandwidth": ("network", "bytes_per_s", max),
    "network latency": ("network", "latency_s", min),
    "peak arithmetic": ("accelerator", "peak_flop_per_s", max),
    "memory bandwidth": ("accelerator", "hbm_bytes_per_s", max),
    "memory": ("accelerator", "hbm_bytes", max),
    "cache": ("accelerator", "l2_bytes", max),
    "cache bandwidth": ("accelerator", "l2_bytes_per_s", max),
    "matmul latency": ("accelerator", "matmul_latency_s", min),
}


@pytest.mark.parametrize("what", BETTER)
@SPACES
@given(case=small_searches(), factor=powers_of_ten(0, 3), data=st.data())
def test_better_hardware_never_makes_the_best_plan_slower(space, what, case, factor, data):
    room, attribute, better = BETTER[what]
    present = getattr(getattr(case.cluster, room), attribute)
    factor = factor if better is max else 1 / factor
    if room == "network":
        level = data.draw(st.integers(0, case.cluster.network.num_levels - 1))
        changed = tuple(value * factor if i == level else value for i, value in enumerate(present))
    else:
        changed = present * factor
    improved = replace(case.cluster, **{room: replace(getattr(case.cluster, room), **{attribute: changed})})
    before = Search(case.model, case.cluster, space, case.assumptions).best(case.num_gpus)
    after = Search(case.model, improved, space, case.assumptions).best(case.num_gpus)
    if before is not None:
        assert after is not None
        assert after.step_time_s <= before.step_time_s * (1 + TINY)


@SPACES
@given(case=small_searches(), chip=accelerators(), reading=assumptions(), where=st.integers(0, 3))
def test_a_level_of_one_changes_nothing(space, case, chip, reading, where):
    network = case.cluster.network
    where = min(where, network.num_levels - 1)
    wider = replace(
        network,
        level_names=(*network.level_names[:where], "of one", *network.level_names[where:]),
        level_sizes=(*network.level_sizes[:where], 1, *network.level_sizes[where:]),
        bytes_per_s=(*network.bytes_per_s[:where], 1e3, *network.bytes_per_s[where:]),
        latency_s=(*network.latency_s[:where], 1.0, *network.latency_s[where:]),
    )
    before = Search(case.model, replace(case.cluster, accelerator=chip), space, reading).best(case.num_gpus)
    on = replace(case.cluster, accelerator=chip, network=wider)
    after = Search(case.model, on, space, reading).best(case.num_gpus)
    assert (before is None) == (after is None)
    if before is not None:
        assert after.step_time_s == pytest.approx(before.step_time_s, rel=TINY)
        assert after.communication_s == pytest.approx(before.communication_s, rel=TINY, abs=0)
