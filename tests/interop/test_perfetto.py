"""The trace of a step: valid JSON in Chrome's format, whose events do not overlap on a thread."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from tests.engines.test_timeline import pipelines, simulated

import walltime as wt
from walltime.catalog import data_version
from walltime.interop.perfetto import trace_json

CLUSTER = wt.cluster("h100-sxm", 16, parameters="datasheet")


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def trace_of(timeline, **more):
    return json.loads(trace_json(timeline, **more), parse_constant=refuse)


@pytest.fixture(scope="module")
def step():
    return wt.timeline(wt.model("llama-2-7b"), CLUSTER, wt.Plan(tp=2, pp=4, dp=2), seq_len=4096, batch_seqs=16)


@given(pipelines(even=False))
def test_events_nest_and_do_not_overlap_on_a_stream(question):
    timeline = simulated(question)
    complete = [event for event in trace_of(timeline)["traceEvents"] if event["ph"] == "X"]
    threads = {}
    for event in complete:
        assert event["ts"] >= 0
        assert event["dur"] > 0
        threads.setdefault((event["pid"], event["tid"]), []).append(event)
    for events in threads.values():
        for one, other in pairwise(events):
            assert round(1000 * (one["ts"] + one["dur"])) <= round(1000 * other["ts"])
    inside = {}
    for event in complete:
        if event["cat"] == "compute":
            inside[event["pid"], event["name"], event["args"].get("chunk")] = event
    for event in complete:
        if event["cat"] in ("tp_comm", "cp_comm", "ep_comm"):
            around = inside.get((event["pid"], event["name"], event["args"]["chunk"]))
            assert around is None or around["ts"] <= event["ts"] + 1e-3
            assert around is None or event["ts"] + event["dur"] <= around["ts"] + around["dur"] + 2e-3


def test_every_process_and_thread_has_a_name(step):
    events = trace_of(step)["traceEvents"]
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] == "X"} == named
    assert [e["args"]["name"] for e in events if e["name"] == "process_name"] == [f"stage {i}" for i in range(4)]


def test_it_says_what_it_is_of(step):
    said = trace_of(step, command="walltime export llama-2-7b --to trace")["otherData"]
    assert said["command"] == "walltime export llama-2-7b --to trace"
    assert said["walltime"] == wt.__version__
    assert said["data_version"] == data_version()
    assert said["predicted_step_time_s"] == step.estimate_s
    assert said["simulated_step_time_s"] == pytest.approx(step.time_s)


def test_it_has_what_a_step_is_made_of(step):
    events = [event for event in trace_of(step)["traceEvents"] if event["ph"] == "X"]
    names = {event["name"].rstrip(" 0123456789") for event in events}
    assert {"forward", "backward", "bubble", "optimizer", "gather parameters", "reduce gradients"} <= names
    sends = [event for event in events if event["cat"] == "pp_before"]
    assert all(event["args"]["bytes"] == step.send_bytes > 0 for event in sends)
    last = max(event["ts"] + event["dur"] for event in events)
    assert last == pytest.approx(1e6 * step.time_s, rel=1e-6)


def test_other_letters_stay_as_they_are(step):
    assert "Größe" in trace_json(step, command="walltime estimate Größe.toml")
