"""Random transformers with plans that divide them, on catalog clusters with anything set, by any software stack."""

from dataclasses import dataclass, replace

from hypothesis import assume
from hypothesis import strategies as st

from walltime import hardware
from walltime.catalog.stacks import stack_ids
from walltime.engines.capabilities import EVERYTHING
from walltime.engines.compatibility import check_stack
from walltime.engines.stack import Stack, stack
from walltime.hardware import Cluster
from walltime.plan import CONTEXT_ALGORITHMS, PIPELINE_SCHEDULES, RECOMPUTES, SHARDINGS, Plan, check_plan
from walltime.problems import BadInput
from walltime.workload import Training, Transformer

CHIPS = ("h100-sxm", "a100-sxm-80gb", "b200", "mi300x", "h20", "gb200")
FAMILIES = ("plain", "grouped", "sliding", "experts", "latent", "mtp")


@dataclass(frozen=True)
class Question:
    """What the engine is asked."""

    training: Training
    cluster: Cluster
    plan: Plan
    stack: Stack


def degrees(largest):
    return st.sampled_from([degree for degree in (1, 1, 2, 4, 8) if degree <= largest])


@st.composite
def models(draw, plan: Plan, family: str | None = None) -> Transformer:
    """A model that the plan divides."""
    family = family or draw(st.sampled_from(FAMILIES))
    heads = plan.tp * plan.cp * draw(st.sampled_from((1, 2, 3, 4)))
    shared = [d for d in (1, 2, 4, 8, heads) if heads % d == 0 and (d % plan.tp == 0 or plan.tp % d == 0)]
    head_dim = draw(st.sampled_from((64, 80, 128)))
    more = {
        "plain": {"gated_mlp": False, "tied_embeddings": True, "norm": "layernorm", "norm_bias": True},
        "grouped": {},
        "sliding": {"sliding_window": 1 + draw(st.integers(0, 5000)), "num_sliding_layers": 1},
        "experts": _experts(draw, plan),
        "latent": _experts(draw, plan) | _latent(draw),
        "mtp": {"num_mtp_layers": 1},
    }[family]
    chunks = plan.pp * (2 if plan.schedule in ("zb-v", "dualpipe") else plan.vpp)
    return Transformer(
        name=family,
        num_layers=chunks + draw(st.integers(0, 40)),
        d_model=64 * draw(st.integers(2, 200)),
        d_ff=64 * plan.tp * draw(st.integers(1, 200)),
        num_heads=heads,
        num_kv_heads=heads if family in ("plain", "latent") else draw(st.sampled_from(shared)),
        vocab_size=draw(st.integers(1000, 300_000)),
        head_dim=head_dim,
        **more,
    )


def _experts(draw, plan):
    return {
        "num_experts": plan.ep * draw(st.sampled_from((2, 4, 8))),
        "top_k": draw(st.integers(1, 2)),
        "d_ff_expert": 64 * plan.etp * draw(st.integers(1, 64)),
        "num_dense_layers": draw(st.integers(0, 1)),
        "d_ff_shared": draw(st.sampled_from((0, 512 * plan.tp))),
    }


def _latent(draw):
    return {
        "kv_lora_rank": draw(st.sampled_from((256, 512))),
        "q_lora_rank": draw(st.sampled_from((0, 768))),
        "qk_rope_head_dim": 32,
        "v_head_dim": draw(st.sampled_from((0, 64))),
    }


@st.composite
def plans(draw, *, experts: bool = False, largest: int = 8, **fixed) -> Plan:
    tp, cp, pp, dp = (draw(degrees(largest)) for _ in range(4))
    schedule = draw(st.sampled_from(PIPELINE_SCHEDULES)) if pp > 1 else "1f1b"
    etp = draw(st.sampled_from((1, tp))) if experts else 1
    ranks = tp * cp * dp // etp
    values = {
        "tp": tp,
        "cp": cp,
        "pp": pp,
        "dp": dp,
        "etp": etp,
        "ep": draw(st.sampled_from([d for d in (1, 2, 4, 8) if ranks % d == 0])) if experts else 1,
        "vpp": draw(st.integers(1, 3)) if pp > 1 and schedule == "1f1b" else 1,
        "micro_batch": draw(st.sampled_from((1, 2, 3))),
        "schedule": schedule,
        "sharding": draw(st.sampled_from(SHARDINGS)),
        "recompute": draw(st.sampled_from(RECOMPUTES)),
        "precision": draw(st.sampled_from(("bf16", "bf16", "fp8", "fp8-block", "fp32"))),
        "cp_algorithm": draw(st.sampled_from(CONTEXT_ALGORITHMS)),
        "sequence_parallel": draw(st.booleans()),
        "reshard": draw(st.booleans()),
    }
    return Plan(**values | fixed)


@st.composite
def clusters(draw, *, changed: bool = True) -> Cluster:
    """An accelerator on its usual network, much faster or slower in any part than it is."""
    cluster = hardware.cluster(draw(st.sampled_from(CHIPS)))
    factor = st.floats(-2, 2).map(lambda exponent: f"{10.0**exponent:.6g}x")
    fields = ("accelerator.peak", "accelerator.memory_bandwidth", "accelerator.matmul_latency", "accelerator.memory")
    settings = [f"{field}={draw(factor)}" for field in (*fields, "network.bandwidth", "network.latency")]
    settings.append(f"accelerator.achievable_fraction={draw(st.floats(0.05, 1)):.6g}")
    return hardware.override(cluster, settings) if changed and draw(st.booleans()) else cluster


@st.composite
def questions(draw, *, family: str | None = None, changed: bool = True, **fixed) -> Question:
    """A plan first, then a model and a batch that it divides."""
    family = family or draw(st.sampled_from(FAMILIES))
    plan = draw(plans(experts=family in ("experts", "latent"), **fixed))
    rounds = draw(st.sampled_from((1, 2, 3))) * plan.pp if plan.pp > 1 else draw(st.integers(1, 20))
    seq_len = 16 * plan.tp * plan.cp * draw(st.integers(1, 200))
    training = Training(draw(models(plan, family)), seq_len, plan.dp * plan.micro_batch * rounds)
    software = stack(draw(st.sampled_from(stack_ids())))
    cluster = replace(draw(clusters(changed=changed)), num_gpus=plan.num_gpus)
    check_plan(plan, training, cluster)
    try:
        check_stack(plan, training, software)
    except BadInput:
        software = stack("generic")
    if plan.precision.startswith("fp8"):
        assume("a100" not in cluster.accelerator.id)
    return Question(training, cluster, plan, software)


ANY_PLAN = replace(stack("megatron-core"), runs=EVERYTHING)
"""Megatron-Core's numbers, under any plan."""
