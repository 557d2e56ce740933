"""The engine of real models: parts add up, nothing is lost or counted twice, more of anything never slows a step."""

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from walltime import hardware
from walltime.engines.calibration import Calibration, calibration
from walltime.engines.data_parallel import DataParallel
from walltime.engines.stack import stack
from walltime.engines.step import PARTS, step_time
from walltime.engines.transformer import estimate
from walltime.hardware import Network, override
from walltime.plan import GROUPS, RECOMPUTES, Plan, PlanBatch
from walltime.plan.placement import spans
from walltime.problems import BadInput
from walltime.workload import Training, Transformer
from walltime.workload import parameters as par
from walltime.workload.flop import CONVENTIONS, flop_parts
from walltime.workload.padding import padded_vocab_size
from walltime.workload.stacking import stacked

from .transformers import FAMILIES, Question, models, plans, questions

COMMUNICATION = ("tp_comm", "cp_comm", "ep_comm", "pp_comm", "dp_comm")
SLACK = 1 + 1e-9


def ask(question: Question, **changed):
    asked = replace(question, **changed)
    return estimate(asked.training, asked.cluster, PlanBatch.of([asked.plan]), asked.stack)


def seconds(question: Question, **changed) -> float:
    return float(ask(question, **changed).time_s[0])


# parts and bounds


@given(questions())
def test_parts_are_finite_and_add_up_between_the_bounds(question):
    result = ask(question)
    assert tuple(result.parts_s) == PARTS
    for name, part in result.parts_s.items():
        assert part.shape == (1,), name
        assert np.all(np.isfinite(part)), name
        assert np.all(part >= 0), name
    assert sum(float(part[0]) for part in result.parts_s.values()) == pytest.approx(float(result.time_s[0]), rel=1e-12)
    assert 0 < result.lower_s[0] <= result.time_s[0] <= result.upper_s[0]
    assert all(np.all(busy >= 0) for busy in result.busy_s.values())


@given(questions())
def test_no_exposed_communication_without_communication(question):
    result = ask(question)
    for name in COMMUNICATION:
        assert result.parts_s[name][0] <= result.busy_s[name][0] * SLACK, name


@given(questions())
def test_utilization_is_a_share(question):
    result = ask(question)
    assert 0 < result.utilization[0] <= 1
    assert result.utilization[0] <= result.hardware_utilization[0] * SLACK


@given(questions(), st.sampled_from(CONVENTIONS))
def test_no_convention_makes_utilization_more_than_all_there_is(question, convention):
    """A convention that counts more than kernels do is refused where it would; the engine's own never is."""
    try:
        result = counted_by(question, convention)
    except BadInput:
        assert convention != "causal-attention"
        with pytest.raises(BadInput, match=f"^convention={convention} counts "):
            counted_by(question, convention)
        return
    assert 0 < result.utilization[0] <= result.utilization[0] * result.time_s[0] / result.lower_s[0] <= SLACK
    assert result.utilization[0] <= result.hardware_utilization[0] * SLACK <= SLACK**2


def counted_by(question, convention):
    batch = PlanBatch.of([question.plan])
    return estimate(question.training, question.cluster, batch, question.stack, convention=convention)


LONG = Training(Transformer("Long", 8, 4096, 4096, 32, 2, 128, 32000), 2**20, 8)
NARROW = Training(Transformer("Narrow", 8, 8192, 1024, 64, 1, 128, 32000), 4096, 256)
TABLE = Training(Transformer("Table", 1, 4096, 4096, 32, 32, 128, 300_000), 4096, 256)


@pytest.mark.parametrize(
    ("convention", "training", "values"),
    [
        ("full-attention", LONG, {"cp": 8, "dp": 8, "recompute": "full"}),
        ("6N-with-attention", LONG, {"cp": 8, "dp": 8, "recompute": "full"}),
        ("megatron", NARROW, {"dp": 64}),
        ("6N", TABLE, {"dp": 64}),
        ("6N-with-attention", TABLE, {"dp": 64}),
    ],
)
def test_what_is_not_computed_is_no_utilization(convention, training, values):
    """Half of the scores, an MLP wider than the model's, an embedding that is looked up."""
    quick = override(hardware.cluster("h100-sxm", 64), ["accelerator.achievable_fraction=1"])
    question = Question(training, quick, Plan(**values), stack("megatron-core"))
    with pytest.raises(BadInput, match=rf"^convention={convention} counts .* Valid: causal-attention\.$"):
        counted_by(question, convention)
    assert counted_by(question, "causal-attention").hardware_utilization[0] <= 1


def test_experts_that_a_token_does_not_meet_are_no_utilization():
    moe = Transformer("MoE", 8, 1024, 4096, 8, 8, 128, 32000, num_experts=8, top_k=2, d_ff_expert=4096)
    question = replace(QUESTION, training=Training(moe, 4096, 256), plan=Plan(dp=8, ep=8))
    with pytest.raises(BadInput, match=r"^convention=6N counts all 8 experts of MoE, and a token meets 2"):
        counted_by(question, "6N")
    assert counted_by(question, "6N-active-without-embedding").utilization[0] <= 1


@given(questions(largest=1))
def test_one_accelerator_has_nobody_to_talk_to(question):
    result = ask(question)
    for name in (*COMMUNICATION, "bubble"):
        assert result.parts_s[name][0] == 0, name
    assert all(busy[0] == 0 for busy in result.busy_s.values())


@given(questions())
def test_memory_is_finite_and_counts(question):
    result = ask(question)
    assert np.all(np.isfinite(result.needed_bytes))
    assert result.needed_bytes[0] > 0
    assert result.fits[0] == (result.needed_bytes[0] <= result.memory_capacity_bytes[0])


# more of a resource


@given(
    questions(),
    st.sampled_from(
        (
            "accelerator.peak=1.7x",
            "accelerator.memory_bandwidth=1.7x",
            "accelerator.memory=1.7x",
            "accelerator.matmul_latency=0.6x",
            "network.bandwidth=1.7x",
            "network.latency=0.6x",
            "network.inter.bandwidth=1.7x",
            "network.intra.bandwidth=1.7x",
        )
    ),
)
def test_more_of_a_resource_never_slows_a_plan(question, setting):
    better = override(question.cluster, [setting])
    assert seconds(question, cluster=better) <= seconds(question) * SLACK
    assert ask(question).fits[0] <= ask(question, cluster=better).fits[0]


QUESTION = Question(
    Training(Transformer("Llama", 32, 4096, 14336, 32, 8, 128, 128256), 8192, 256),
    hardware.cluster("h100-sxm", 256),
    Plan(tp=8, pp=4, dp=8, vpp=2),
    stack("megatron-core"),
)


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("accelerator.peak=0.5x", "matmul"),
        ("accelerator.memory_bandwidth=0.5x", "memory_bound"),
        ("network.intra.bandwidth=0.5x", "tp_comm"),
        ("network.inter.bandwidth=0.5x", "dp_comm"),
        ("network.latency=10x", "tp_comm"),
        ("accelerator.achievable_fraction=0.5x", "matmul"),
    ],
)
def test_what_is_set_arrives(setting, part):
    slow = override(QUESTION.cluster, [setting])
    assert ask(QUESTION, cluster=slow).parts_s[part][0] > ask(QUESTION).parts_s[part][0] * 1.2


def test_memory_that_is_set_arrives():
    small = override(QUESTION.cluster, ["accelerator.memory=0.1x"])
    assert ask(QUESTION).fits[0]
    assert not ask(QUESTION, cluster=small).fits[0]


def test_a_network_of_ones_own_takes_the_numbers_of_the_nearest_kind():
    usual = QUESTION.cluster.network
    own = replace(usual, id="mine")
    assert seconds(QUESTION, cluster=replace(QUESTION.cluster, network=own)) == pytest.approx(seconds(QUESTION))
    three = Network("mine", "mine", ("a", "b", "c"), (4, 2), (*usual.bytes_per_s[:1], 2e11, 5e10), (1e-6, 2e-6, 5e-6))
    assert seconds(QUESTION, cluster=replace(QUESTION.cluster, network=three)) > seconds(QUESTION)


# conservation


class Counting:
    """Kernels that take a second for each FLOP, and nothing else takes any."""

    def __init__(self, like: Calibration):
        self.like, self.stack = like, replace(like.stack, host_layer_s=0.0, host_moe_s=0.0)

    def __getattr__(self, name):
        return getattr(self.like, name)

    def matmul_time_s(self, m, n, k, precision, groups=1, slowdown="", *args, **more):
        return np.asarray(2.0 * m * n * k * groups)

    def flash_time_s(self, kernel, num_heads, q_len, kv_len, dims, causal, *args, **more):
        flop = num_heads * q_len * kv_len * 2.0 * sum(dims) * (0.5 if causal else 1)
        return np.asarray(flop), np.asarray(2 * flop)

    def memory_time_s(self, num_bytes):
        return np.zeros_like(np.asarray(num_bytes, dtype=float))


def counted(question: Question, plan: Plan) -> float:
    """FLOP of a step's matmuls and attention over all accelerators, as the engine asks kernels for them."""
    numbers = Counting(calibration(question.cluster, question.stack.id))
    parts = step_time(question.training, PlanBatch.of([plan]), question.stack, numbers).parts_s
    return float(parts["matmul"][0] + parts["attention"][0]) * plan.num_gpus


def expected(question: Question, plan: Plan) -> float:
    model = question.training.model
    multiple = question.stack.vocab_multiple * plan.tp
    padded = replace(model, vocab_size=int(padded_vocab_size(model.vocab_size, multiple)))
    causal = question.stack.attention.startswith("flash")
    if not causal:  # all scores are computed and then masked
        padded = replace(padded, num_sliding_layers=0)
    parts = flop_parts(padded, question.training.seq_len, causal=causal)
    predicted = model.num_mtp_layers * (parts.head + 2 * par.mtp_projection(model))
    again = (parts.total - parts.head - predicted) * (plan.recompute == "full")
    return question.training.batch_tokens * (3 * parts.total + again)


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
def test_every_flop_of_the_model_is_asked_of_some_accelerator(family, data):
    """Layers of one kind, one stage, no copies of heads: then what kernels do is what the model needs, to the unit."""
    few = {"pp": 1, "vpp": 1, "schedule": "1f1b", "sequence_parallel": True, "recompute": "none"}
    question = data.draw(questions(family=family, **few))
    plan, model = question.plan, question.training.model
    software = replace(question.stack, early_stop=False) if hasattr(question.stack, "early_stop") else question.stack
    question = replace(question, stack=software)
    if model.is_latent:  # each tensor-parallel rank compresses all tokens
        assume(plan.tp == 1)
    if model.num_kv_heads < plan.tp or (model.is_moe and model.num_dense_layers):
        question = replace(
            question,
            training=replace(question.training, model=replace(model, num_kv_heads=model.num_heads, num_dense_layers=0)),
        )
    for recompute in ("none", "full"):
        repeated = replace(plan, recompute=recompute)
        assert counted(question, repeated) == pytest.approx(expected(question, repeated), rel=1e-9)


@dataclass
class Messages:
    """Links that note what is sent and take no time."""

    sent: dict[str, list] = field(default_factory=dict)

    def __getattr__(self, name):
        def note(message_bytes, group):
            self.sent.setdefault(name, []).append(float(np.asarray(message_bytes).ravel()[0]))
            return np.zeros(1)

        return note


@pytest.mark.parametrize("family", ["plain", "grouped", "experts", "latent"])
@given(data=st.data())
def test_gathered_and_scattered_bytes_are_those_of_the_parameters(family, data):
    """Under full sharding each layer's weights are gathered and its gradients scattered, and the tables once."""
    question = data.draw(questions(family=family, pp=1, vpp=1, schedule="1f1b", sharding="zero3", reshard=False))
    plan, model = question.plan, question.training.model
    batch = PlanBatch.of([plan])
    links = Messages()
    numbers = replace(calibration(question.cluster, question.stack.id), links=links)
    groups = spans(batch, question.cluster.network.level_sizes)
    DataParallel(question.training, batch, question.stack, numbers, groups).times_s(model.num_layers, 1.0, 1.0, 1)
    padding = int(padded_vocab_size(model.vocab_size, question.stack.vocab_multiple * plan.tp)) - model.vocab_size
    tables = 2 - model.tied_embeddings
    parts = par.parameter_parts(model)
    once = parts.total - par.norm(model) - parts.position + tables * padding * model.d_model
    for name, width in (("all_gather_time_s", "weight_bytes"), ("reduce_scatter_time_s", "reduce_bytes")):
        sent = links.sent[name]
        dense, *experts, table = sent
        per_layer = dense * plan.tp + sum(experts) * plan.ep * plan.etp
        moved = per_layer * model.num_layers + table * plan.tp
        assert moved / getattr(question.stack, width) == pytest.approx(once, rel=1e-9)


# arrays, labels, order


@given(questions(), st.data())
def test_many_plans_at_once_are_as_one_by_one(question, data):
    """Plans of one batch do not see each other."""
    shared = {name: getattr(question.plan, name) for name in ("sharding", "recompute", "precision", "schedule")}
    shared |= {name: getattr(question.plan, name) for name in ("cp_algorithm", "sequence_parallel", "reshard")}
    experts = question.training.model.is_moe
    several = [question.plan, *(data.draw(plans(experts=experts, **shared)) for _ in range(3))]
    several = [replace(plan, vpp=1) if plan.schedule != "1f1b" or plan.pp == 1 else plan for plan in several]
    together = estimate(question.training, question.cluster, PlanBatch.of(several), question.stack)
    for i, plan in enumerate(several):
        alone = ask(question, plan=plan)
        assert together.time_s[i] == pytest.approx(alone.time_s[0], rel=1e-12)
        assert together.needed_bytes[i] == pytest.approx(alone.needed_bytes[0], rel=1e-12)
        for name, part in together.parts_s.items():
            assert part[i] == pytest.approx(alone.parts_s[name][0], rel=1e-9, abs=1e-12 * alone.time_s[0]), name


@given(questions(), st.data())
def test_many_workloads_at_once_are_as_one_by_one(question, data):
    """Dense models, mixtures of experts and latent attention together do not see each other."""
    families = FAMILIES if question.plan.ep * question.plan.etp == 1 else ("experts", "latent")
    others = [data.draw(models(question.plan, data.draw(st.sampled_from(families)))) for _ in range(2)]
    trainings = [question.training, *(replace(question.training, model=model) for model in others)]
    batch = PlanBatch.of([question.plan] * len(trainings))
    numbers = calibration(question.cluster, question.stack.id)
    together = step_time(stacked(trainings), batch, question.stack, numbers)
    for i, training in enumerate(trainings):
        alone = seconds(question, training=training)
        assert np.broadcast_to(together.time_s, len(trainings))[i] == pytest.approx(alone, rel=1e-9)


@given(questions(), st.permutations(GROUPS))
def test_on_a_flat_network_it_does_not_matter_who_sits_where(question, order):
    network = question.cluster.network
    flat = Network("flat", "flat", ("all",), (), network.bytes_per_s[:1], network.latency_s[:1])
    cluster = replace(question.cluster, network=flat)
    moved = replace(question.plan, order=tuple(order))
    assert seconds(question, cluster=cluster, plan=moved) == pytest.approx(seconds(question, cluster=cluster), rel=1e-9)


@given(questions())
def test_more_recomputation_takes_longer(question):
    times = [seconds(question, plan=replace(question.plan, recompute=kind)) for kind in RECOMPUTES]
    assert all(less <= more * SLACK for less, more in itertools.pairwise(times))
    assert times[0] < times[-1] or question.plan.pp > 1  # where the output layer's stage is by far the slowest


def test_narrower_gradients_are_sent_faster():
    wide, narrow = (ask(QUESTION, plan=replace(QUESTION.plan, gradient_bytes=width)) for width in (4, 2))
    assert narrow.busy_s["dp_comm"][0] < wide.busy_s["dp_comm"][0]
    assert narrow.needed_bytes[0] < wide.needed_bytes[0]
    assert ask(QUESTION).busy_s["dp_comm"][0] == wide.busy_s["dp_comm"][0]
