"""A step placed in time: it is as long as the estimate says, and nothing in it starts before what it waits for."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.property.transformers import ANY_PLAN, Question, questions

import walltime as wt
from walltime.engines.calibration import calibration
from walltime.engines.step import StepModel
from walltime.engines.timeline import timeline
from walltime.physics.pipeline_orders import num_chunks
from walltime.plan import PIPELINE_SCHEDULES, PlanBatch, num_microbatches
from walltime.problems import BadInput

SPLIT = ("zb-h1", "zb-h2", "zb-v", "dualpipe")
PASSES = ("forward", "backward", "input_gradient", "weight_gradient")
AGREEMENT = 0.02


def simulated(question: Question):
    return timeline(question.training, question.cluster, question.plan, question.stack)


@st.composite
def pipelines(draw, schedules=PIPELINE_SCHEDULES, *, even=True) -> Question:
    """Plans with a pipeline; ``even``: as many layers on every chunk."""
    schedule = draw(st.sampled_from(schedules))
    vpp = draw(st.sampled_from((1, 1, 2, 3))) if schedule == "1f1b" else 1
    question = draw(questions(pp=draw(st.sampled_from((2, 4, 8))), schedule=schedule, vpp=vpp))
    if not even:
        return question
    model, chunks = question.training.model, question.plan.pp * num_chunks(schedule, vpp)
    layers = chunks * draw(st.integers(2, 6)) - model.num_mtp_layers
    return replace(question, training=replace(question.training, model=replace(model, num_layers=layers)))


@st.composite
def regular(draw) -> Question:
    """Pipelines in the range in which estimate and simulation are said to agree (docs: Timeline)."""
    schedule = draw(st.sampled_from(PIPELINE_SCHEDULES))
    split = schedule in SPLIT
    even = split or draw(st.booleans())
    question = draw(pipelines((schedule,), even=even))
    plan, training = question.plan, question.training
    assume(even or plan.vpp == 1)
    assume(plan.sharding != "zero3" or (even and plan.reshard and not split))
    rounds = draw(st.sampled_from((2, 3, 4, 8)))
    training = replace(training, batch_seqs=plan.dp * plan.micro_batch * plan.pp * rounds)
    question = replace(question, training=training)
    shares = shares_of_stage(question)
    assume(shares["send"] < (0.01 if split else 0.03))
    assume(shares["dp_comm"] < (0.02 if plan.sharding == "zero3" else 0.2))
    assume(shares["ends"] < 0.04)
    assume(not split or shares["weight"] < 1)
    return question


def shares_of_stage(question):
    """Sends, embedding and output layer beside a stage; weight gradients beside a forward pass; exchange in a step."""
    plans = PlanBatch.of([question.plan])
    model = StepModel(
        question.training, plans, question.stack.under(plans), calibration(question.cluster, question.stack.id)
    )
    forward, backward = model.directions()
    layer_s = float((forward.total_s + backward.total_s)[0])
    ends_s = float(sum(direction.total_s for direction in model.end(model.layers.ends))[0])
    stage_s = float(np.ceil(model.num_layers / question.plan.pp)) * layer_s
    result = model.result()
    return {
        "send": 2 * question.plan.vpp * float(model.exchange.send_s()[0]) / stage_s,
        "ends": ends_s / stage_s,
        "weight": float((model.weight_gradient_s(backward) / forward.total_s)[0]),
        "dp_comm": float(result.parts_s["dp_comm"][0] / result.time_s[0]),
    }


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(regular())
def test_the_simulation_takes_as_long_as_the_estimate(question):
    step = simulated(question)
    assert step.time_s == pytest.approx(step.estimate_s, rel=AGREEMENT)


@pytest.mark.parametrize("schedule", ["1f1b", "gpipe", "zb-h1", "zb-h2", "zb-v", "dualpipe"])
@pytest.mark.parametrize(
    ("model", "chip", "degrees"),
    [
        ("llama-2-7b", "a100-sxm-80gb", {"tp": 2, "pp": 4, "dp": 4}),
        ("llama-3.1-70b", "h100-sxm", {"tp": 8, "pp": 4, "dp": 8}),
        ("gpt3-175b", "a100-sxm-80gb", {"tp": 8, "pp": 8, "dp": 8}),
        ("llama-3.1-405b", "h100-sxm", {"tp": 8, "pp": 9, "dp": 4}),
    ],
)
def test_published_models_take_as_long_as_estimated(model, chip, degrees, schedule):
    if schedule == "dualpipe" and degrees["pp"] % 2:
        degrees = degrees | {"pp": degrees["pp"] - 1}
    plan = wt.Plan(schedule=schedule, **degrees)
    cluster = wt.cluster(chip, plan.num_gpus, parameters="datasheet")
    step = wt.timeline(wt.model(model), cluster, plan, seq_len=4096, batch_seqs=4 * plan.pp * plan.dp, stack=ANY_PLAN)
    assert step.time_s == pytest.approx(step.estimate_s, rel=AGREEMENT)


@pytest.mark.parametrize("vpp", [2, 3, 7, 8])
def test_a_last_stage_with_less_takes_as_long_as_estimated(vpp):
    """126 layers on 16 stages, as Llama 3.1 405B was trained, interleaved."""
    plan = wt.Plan(tp=8, pp=16, vpp=vpp, dp=8)
    cluster = wt.cluster("h100-sxm", plan.num_gpus, parameters="datasheet")
    step = wt.timeline(wt.model("llama-3.1-405b"), cluster, plan, seq_len=8192, batch_seqs=8 * 64)
    assert step.time_s == pytest.approx(step.estimate_s, rel=2 * AGREEMENT)


@given(questions(pp=1, schedule="1f1b", vpp=1))
def test_without_a_pipeline_they_are_the_same(question):
    step = simulated(question)
    assert step.time_s == pytest.approx(step.estimate_s, rel=1e-6)


@given(pipelines())
def test_every_pass_is_done_once_and_none_overlaps(question):
    step, plan = simulated(question), question.plan
    count = num_microbatches(plan, question.training)
    chunks = num_chunks(plan.schedule, plan.vpp)
    done = Counter()
    ends = defaultdict(float)
    for event in step.events:
        assert event.duration_s > 0
        assert event.start_s >= ends[event.stage, event.stream] - 1e-9 * step.end_s
        ends[event.stage, event.stream] = event.end_s
        if event.stream == "compute" and event.kind in PASSES:
            done[event.stage, event.kind, event.chunk, event.microbatch] += 1
    assert set(done.values()) == {1}
    each = Counter((stage, kind) for stage, kind, _, _ in done)
    expected = count * (1 if plan.schedule == "dualpipe" else chunks)
    for stage in range(plan.pp):
        assert each[stage, "forward"] == expected
        assert each[stage, "backward"] + each[stage, "input_gradient"] == expected
        assert each[stage, "weight_gradient"] == each[stage, "input_gradient"]


@given(pipelines(even=False))
def test_the_compute_stream_has_no_gaps(question):
    step = simulated(question)
    for stage in range(question.plan.pp):
        assert sum(step.shares(stage).values()) == pytest.approx(1, rel=1e-6)
        events = [event for event in step.events if (event.stage, event.stream) == (stage, "compute")]
        assert events[0].start_s == step.begin_s[stage]
        assert events[-1].end_s == pytest.approx(step.begin_s[stage] + step.time_s)


@given(pipelines(schedules=("gpipe", "1f1b", "zb-h1", "zb-h2")))
def test_no_pass_starts_before_its_input_is_there(question):
    """Forward passes go up the chunks, backward passes come down; across stages a send lies between."""
    step, plan = simulated(question), question.plan
    at = {}
    for event in step.events:
        if event.stream == "compute" and event.kind in PASSES:
            way = "weights" if event.kind == "weight_gradient" else event.kind == "forward"
            at[way, event.chunk * plan.pp + event.stage, event.microbatch] = event
    last = plan.pp * plan.vpp - 1
    slack = 1e-9 * step.end_s
    for (way, position, microbatch), event in at.items():
        if way == "weights":
            source = at[False, position, microbatch]
        elif way:
            source = at[True, position - 1, microbatch] if position else None
        else:
            source = at[True, position, microbatch] if position == last else at[False, position + 1, microbatch]
        assert source is None or event.start_s >= source.end_s - slack


@given(pipelines(even=False))
def test_a_timeline_is_always_the_same(question):
    assert simulated(question).events == simulated(question).events


H100 = wt.cluster("h100-sxm", 16, parameters="datasheet")


def test_bubbles_are_those_of_the_textbook():
    """GPipe and 1F1B idle for as long, and interleaving divides that by its chunks."""
    model = wt.model("llama-2-7b")

    def idle_share(**choices):
        step = wt.timeline(model, H100, wt.Plan(pp=4, dp=4, **choices), seq_len=4096, batch_seqs=32, stack=ANY_PLAN)
        return step.shares(0).get("bubble", 0.0) * step.time_s

    assert idle_share(schedule="gpipe") == pytest.approx(idle_share(), rel=0.05)
    assert idle_share(vpp=4) < idle_share(vpp=2) < idle_share()
    assert idle_share(schedule="zb-h2") < idle_share(schedule="zb-h1") < idle_share()


def test_stages_of_zb_h2_begin_one_after_the_other():
    step = wt.timeline(
        wt.model("llama-2-7b"), H100, wt.Plan(pp=4, dp=4, schedule="zb-h2"), batch_seqs=64, stack=ANY_PLAN
    )
    assert list(step.begin_s) == sorted(step.begin_s)
    assert step.begin_s[0] == 0 < step.begin_s[-1]
    assert step.end_s == step.begin_s[-1] + step.time_s


def test_too_many_passes_are_refused_with_a_batch_that_is_not():
    model, plan = wt.model("llama-2-7b"), wt.Plan(pp=4, dp=4)
    with pytest.raises(BadInput, match=r"has 800,000 passes.* Valid: a batch of (\d+) sequences") as refused:
        wt.timeline(model, H100, plan, batch_seqs=400_000)
    valid = int(str(refused.value).split("a batch of ")[1].split()[0])
    assert valid == 250_000


def test_rows_have_units_in_their_keys():
    step = wt.timeline(wt.model("llama-2-7b"), H100, wt.Plan(pp=2, dp=8), batch_seqs=16)
    row = step.to_rows()[0]
    assert list(row) == ["stage", "stream", "kind", "microbatch", "chunk", "start_s", "duration_s"]
    assert "2 stages" in repr(step)
    assert step._repr_html_().startswith("<svg")


def test_the_estimate_has_a_timeline_of_each_of_its_plans():
    result = wt.estimate(wt.model("llama-2-7b"), H100, wt.Plan(pp=2, dp=8), batch_seqs=16)
    assert result.timeline().estimate_s == float(result.time_s[0])
