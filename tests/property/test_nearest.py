"""The nearest plan that fits: it fits, it is valid, it changes as little as can be."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from walltime import hardware
from walltime.engines.compatibility import check_stack
from walltime.engines.nearest import nearest_plans_that_fit
from walltime.engines.stack import stack
from walltime.engines.transformer import estimate
from walltime.hardware import override
from walltime.plan import RECOMPUTES, Plan, PlanBatch, check_plan
from walltime.workload import Training
from walltime.workload.catalog import transformer

from .transformers import questions

SEVEN = Training(transformer("llama-2-7b"), 4096, 64)
NODE = hardware.cluster("a100-sxm-80gb", 8)
MEGATRON = stack("megatron-core")


def fits(training, cluster, plan, software):
    return bool(estimate(training, cluster, PlanBatch.of([plan]), software).fits[0])


def test_a_plan_that_fits_is_its_own_nearest():
    plan = Plan(dp=8, tp=1, micro_batch=1)
    assert fits(SEVEN, NODE, plan, MEGATRON)
    assert nearest_plans_that_fit(SEVEN, NODE, plan, MEGATRON) == [plan]


def test_one_change_is_enough_where_one_is():
    plan = Plan(dp=8, micro_batch=8)
    assert not fits(SEVEN, NODE, plan, MEGATRON)
    found = nearest_plans_that_fit(SEVEN, NODE, plan, MEGATRON, count=5)
    assert len(found) == 5
    assert [fits(SEVEN, NODE, one, MEGATRON) for one in found] == [True] * 5
    changed = {name for name in vars(plan) if getattr(found[0], name) != getattr(plan, name)} - {"dp"}
    assert len(changed) == 1


@pytest.mark.parametrize("kind", RECOMPUTES)
def test_none_where_nothing_fits(kind):
    huge = Training(transformer("llama-3.1-405b"), 8192, 8)
    plan = Plan(tp=8, recompute=kind)
    assert nearest_plans_that_fit(huge, hardware.cluster("h100-sxm", 8), plan, stack("torchtitan")) == []


@settings(max_examples=25)
@given(questions(changed=False))
def test_what_is_found_fits_and_is_valid(question):
    small = override(question.cluster, ["accelerator.memory=0.05x"])
    for cluster in (question.cluster, small):
        found = nearest_plans_that_fit(question.training, cluster, question.plan, question.stack, count=3)
        assert len(found) <= 3
        for plan in found:
            check_plan(plan, question.training, replace(cluster, num_gpus=question.plan.num_gpus))
            check_stack(plan, question.training, question.stack)
            assert fits(question.training, cluster, plan, question.stack)
        if fits(question.training, cluster, question.plan, question.stack):
            assert found[0] == question.plan
