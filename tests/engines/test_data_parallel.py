"""Data parallelism of real models: hybrid shards, pipelines that keep parameters, the optimizer's share."""

import pytest

from walltime import hardware
from walltime.engines.stack import stack
from walltime.engines.transformer import estimate
from walltime.plan import Plan, PlanBatch
from walltime.workload import Training
from walltime.workload.catalog import transformer

H100 = hardware.cluster("h100-sxm")


def step(model, stack_id="torchtitan", batch=256, **plan):
    return estimate(Training(transformer(model), 4096, batch), H100, PlanBatch.of([Plan(**plan)]), stack(stack_id))


def test_experts_state_is_stepped_where_it_is_held():
    whole = step("qwen3-30b-a3b", dp=256, ep=8, sharding="zero3")
    hybrid = step("qwen3-30b-a3b", dp=256, ep=8, shard=64, sharding="zero3")
    held = [float(result.memory_bytes["optimizer"][0]) for result in (whole, hybrid)]
    stepped = [float(result.parts_s["optimizer"][0]) for result in (whole, hybrid)]
    assert held[1] == pytest.approx(4 * held[0], rel=0.02)
    assert stepped[1] == pytest.approx(4 * stepped[0], rel=0.02)


def test_copies_of_a_shard_exchange_the_tables_too():
    """Llama 3 8B has two tables of 0.5 billion parameters, a sixteenth of which each of eight ranks keeps."""
    alone = step("llama-3-8b", batch=64, dp=8, sharding="zero3")
    copies = step("llama-3-8b", batch=512, dp=64, shard=8, sharding="zero3")
    more = float(copies.busy_s["dp_comm"][0] - alone.busy_s["dp_comm"][0]) / 8
    numbers = 8.03e9 * stack("torchtitan").reduce_bytes / 8
    assert more > 2 * 7 / 8 * numbers / 50e9


def test_a_pipeline_that_keeps_its_parameters_gathers_them_once_a_step():
    kept = step("llama-3-8b", dp=8, pp=4, sharding="zero3", reshard=False)
    dropped = step("llama-3-8b", dp=8, pp=4, sharding="zero3")
    assert kept.busy_s["dp_comm"][0] < dropped.busy_s["dp_comm"][0] / 8
