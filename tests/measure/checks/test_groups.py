"""Which kind of parallelism a collective serves."""

import pytest

from walltime.measure.checks.groups import exposed_by_parallelism_s, parallelism_of, signs_of_another_plan
from walltime.measure.records import StepParts
from walltime.plan import Plan


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ("mesh_tp", "tp"),
        ("mesh_dp_shard", "dp"),
        ("mesh_dp_shard_cp", "dp"),
        ("mesh_pp", "pp"),
        ("mesh_cp", "cp"),
        ("mesh_ep", "ep"),
        ("TENSOR_MODEL_PARALLEL_GROUP", "tp"),
        ("PIPELINE_MODEL_PARALLEL_GROUP", "pp"),
        ("DATA_PARALLEL_GROUP_WITH_CP", "dp"),
        ("CONTEXT_PARALLEL_GROUP", "cp"),
        ("EXPERT_MODEL_PARALLEL_GROUP", "ep"),
        ("EXPERT_DATA_PARALLEL_GROUP", "dp"),
        ("default_pg", None),
        ("undefined", None),
        ("", None),
    ],
)
def test_by_the_name_of_its_ranks(group, kind):
    assert parallelism_of(group) == kind


def parts(kinds=None, groups=None):
    return StepParts(10, 5, 4, 3, 2, {}, kinds or {}, groups or {})


@pytest.mark.parametrize(
    ("plan", "kinds", "said"),
    [
        (Plan(dp=2), ["send_recv", "all_gather"], ["show send-recv, and the plan has no pp, cp or ep"]),
        (Plan(dp=2), ["all_to_all", "all_reduce"], ["show all-to-all, and the plan has no ep or cp"]),
        (Plan(pp=2), ["all_reduce"], ["show no send-recv, and the plan has pp > 1"]),
        (Plan(tp=2), [], ["show no all-reduce, all-gather or reduce-scatter, and the plan has tp > 1"]),
        (Plan(), ["all_reduce"], ["show all-reduce, and the plan has no tp, cp, ep, pp or dp"]),
        (Plan(pp=2), ["other"], []),
        (Plan(pp=2, dp=2), ["send_recv", "all_gather"], []),
        (Plan(dp=2, ep=2), ["send_recv", "all_gather"], []),
        (Plan(), [], []),
    ],
)
def test_traces_of_another_plan_show_it(plan, kinds, said):
    parts = StepParts(1.0, 0.5, 0.3, 0.2, 0.3, dict.fromkeys(kinds, 0.1))
    found = signs_of_another_plan(parts, plan)
    assert len(found) == len(said)
    assert all(words in note for words, note in zip(said, found, strict=True))


def test_one_kind_of_parallelism_has_it_all():
    assert exposed_by_parallelism_s(parts(), Plan(tp=4)) == {"tp": 3}


def test_groups_of_one_kind_add_up_and_unknown_ones_tell_nothing():
    groups = {"mesh_tp": 1, "mesh_dp_shard": 1.5, "mesh_dp_replicate": 0.5}
    plan = Plan(tp=2, dp=2)
    assert exposed_by_parallelism_s(parts(groups=groups), plan) == {"tp": 1, "dp": 2}
    assert exposed_by_parallelism_s(parts(groups=groups | {"default_pg": 1}), plan) == {}
    assert exposed_by_parallelism_s(parts(groups=groups | {"default_pg": 0}), plan) == {"tp": 1, "dp": 2}


def test_sends_are_a_pipelines_unless_a_ring_sends_too():
    kinds = {"send_recv": 1, "all_reduce": 2}
    assert exposed_by_parallelism_s(parts(kinds), Plan(pp=2, dp=2)) == {"pp": 1}
    assert exposed_by_parallelism_s(parts(kinds), Plan(pp=2, cp=2)) == {}
    assert exposed_by_parallelism_s(parts(kinds), Plan(pp=2, cp=2, cp_algorithm="all-to-all")) == {"pp": 1}
    assert exposed_by_parallelism_s(parts(kinds), Plan(tp=2, dp=2)) == {}
