"""More of anything never makes the best plan slower; a larger space never has a worse best plan."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from walltime import hardware
from walltime.engines.stack import stack
from walltime.search.constraints import Constraints
from walltime.search.keep import Best
from walltime.search.plan_search import PlanSearch
from walltime.workload import Training, Transformer

SLACK = 1 + 1e-9
MORE = (
    "accelerator.peak={}x",
    "accelerator.memory_bandwidth={}x",
    "accelerator.memory={}x",
    "network.nvlink.bandwidth={}x",
    "network.infiniband.bandwidth={}x",
    "network.bandwidth={}x",
)
LESS = ("accelerator.matmul_latency={}x", "network.nvlink.latency={}x", "network.infiniband.latency={}x")
STACKS = ("megatron-core", "torchtitan", "megatron-lm-2021", "deepspeed", "generic")


@st.composite
def questions(draw):
    heads = draw(st.sampled_from((2, 4, 8)))
    experts = draw(st.sampled_from((0, 0, 4)))
    model = Transformer(
        name="small",
        num_layers=draw(st.integers(1, 8)),
        d_model=128 * draw(st.integers(1, 32)),
        d_ff=256 * draw(st.integers(1, 32)),
        num_heads=heads,
        num_kv_heads=draw(st.sampled_from((1, 2, heads))),
        head_dim=64,
        vocab_size=draw(st.integers(1000, 100_000)),
        num_experts=experts,
        top_k=min(experts, 2) or 1,
        d_ff_expert=experts and 512,
    )
    training = Training(model, 256 * draw(st.integers(1, 32)), draw(st.sampled_from((4, 8, 24))))
    cluster = hardware.cluster("h100-sxm", draw(st.sampled_from((2, 4, 8, 12))))
    memory = 10 ** draw(st.floats(-1.5, 0.0))
    return training, hardware.override(cluster, [f"accelerator.memory={memory:.4f}x", "network.0.size=4"])


def best_s(training, cluster, software, constraints=None):
    best = Best(1)
    PlanSearch(training, cluster, software, constraints=constraints or Constraints()).search(best)
    return min((kept.values[0] for kept in best.ranked()), default=np.inf)


@settings(max_examples=15)
@given(questions(), st.sampled_from(STACKS), st.sampled_from((*MORE, *LESS)), st.floats(1.01, 20))
def test_more_of_anything_never_makes_the_best_plan_slower(question, name, resource, factor):
    training, cluster = question
    software = replace(stack(name), attention="flash2")
    setting = resource.format(f"{factor if resource in MORE else 1 / factor:.6f}")
    better = hardware.override(cluster, [setting])
    assert best_s(training, better, software) <= best_s(training, cluster, software) * SLACK


@settings(max_examples=10)
@given(questions(), st.sampled_from(STACKS), st.sampled_from(({"tp": (1,)}, {"sharding": ("zero1",)}, {"pp": (1, 2)})))
def test_a_constraint_never_makes_the_best_plan_faster(question, name, values):
    training, cluster = question
    software = replace(stack(name), attention="flash2")
    narrow = best_s(training, cluster, software, Constraints(values))
    assert best_s(training, cluster, software) <= narrow * SLACK
    freer = best_s(training, cluster, software, Constraints(values, min_free_bytes=1e9))
    assert narrow <= freer * SLACK
