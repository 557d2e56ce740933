"""Where groups lie on the network: counted rank by rank, for every order of the kinds of parallelism."""

import itertools
import math

import numpy as np
import pytest

from walltime.plan import Plan, PlanBatch
from walltime.plan.placement import spans

ORDERS = [(*order[:at], "ep", *order[at:]) for order in itertools.permutations(("tp", "cp", "dp", "pp")) for at in (2,)]
NODE = 8


def members(plan, kinds):
    """Ranks of the group of rank 0 whose coordinates differ in these kinds only."""
    order = [name for name in plan.order if name != "ep"]
    sizes = [getattr(plan, name) for name in order]
    found = []
    for rank in range(math.prod(sizes)):
        left, coordinates = rank, {}
        for name, size in zip(order, sizes, strict=True):
            left, coordinates[name] = divmod(left, size)
        if all(at == 0 for name, at in coordinates.items() if name not in kinds):
            found.append(rank)
    return found


@pytest.mark.parametrize("order", ORDERS, ids=",".join)
@pytest.mark.parametrize("degrees", [(2, 2, 2, 4), (4, 1, 8, 2), (8, 2, 1, 2), (1, 4, 4, 1), (2, 1, 16, 8)])
def test_a_node_holds_as_many_of_a_group_as_its_ranks_say(order, degrees):
    tp, cp, dp, pp = degrees
    plan = Plan(tp=tp, cp=cp, dp=dp, pp=pp, order=order)
    found = spans(PlanBatch.of([plan]), (NODE,))
    for name, kinds in {"tp": ["tp"], "cp": ["cp"], "pp": ["pp"], "dp": ["dp"], "data": ["cp", "dp"]}.items():
        group = members(plan, kinds)
        inside, nodes = (float(joined[0]) for joined in found[name])
        assert inside == sum(rank < NODE for rank in group), name
        assert inside * nodes == len(group), name


@pytest.mark.parametrize("order", ORDERS, ids=",".join)
def test_groups_of_different_kinds_share_a_node(order):
    found = spans(PlanBatch.of([Plan(tp=2, cp=2, dp=8, pp=4, order=order)]), (NODE,))
    assert math.prod(float(found[name][0][0]) for name in ("tp", "cp", "dp", "pp")) == NODE


def test_experts_take_the_innermost_ranks_that_they_may():
    split = spans(PlanBatch.of([Plan(tp=4, etp=4, dp=8, ep=4)]), (NODE,))
    whole = spans(PlanBatch.of([Plan(tp=4, etp=1, dp=8, ep=4)]), (NODE,))
    assert [float(joined[0]) for joined in split["ep"]] == [2, 2]
    assert [float(joined[0]) for joined in whole["ep"]] == [4, 1]
    assert [float(joined[0]) for joined in whole["expert_data"]] == [2, 4]


def test_a_pipeline_inside_the_node_pushes_experts_out():
    inner = Plan(pp=8, dp=8, ep=8, order=("pp", "tp", "cp", "ep", "dp"))
    found = spans(PlanBatch.of([inner]), (NODE,))
    assert [float(joined[0]) for joined in found["ep"]] == [1, 8]


def test_hybrid_shards_of_experts_and_their_copies_make_up_their_data_parallel_ranks():
    found = spans(PlanBatch.of([Plan(dp=256, ep=8, shard=64, sharding="zero3")]), (NODE,))
    sizes = {name: float(np.prod([joined[0] for joined in found[name]])) for name in found}
    assert sizes["expert_shard"] * sizes["expert_replica"] == sizes["expert_data"] == 32
    assert sizes["expert_shard"] == 8
