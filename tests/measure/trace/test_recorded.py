"""Traces that two gloo processes recorded (record.py beside this file), against a count moment by moment."""

import gzip
import itertools
import json
import re
from pathlib import Path

import pytest

from walltime.measure.trace import rank_traces, trace_report

FOLDER = Path(__file__).parents[2] / "data" / "traces"
RECORDED = sorted(FOLDER.glob("*.json.gz"))
FRAMES = re.compile(r"autograd::engine|torch::autograd|_c10d_functional::_wrap_")


def events_of(path):
    document = json.loads(gzip.decompress(path.read_bytes()))
    return [event for event in document["traceEvents"] if event["ph"] == "X" and event["dur"] > 0]


def is_call(event):
    return event["name"].startswith(("c10d::", "_c10d_functional::")) and "_wrap_" not in event["name"]


def is_operator(event):
    return event["cat"] == "cpu_op" and "::" in event["name"].split(" ")[0] and not FRAMES.match(event["name"])


def counted(path):
    """Parts of each step [us], by asking of each moment between two edges what covers it."""
    events = events_of(path)
    steps = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["name"].startswith("ProfilerStep#"))
    main = next(e["tid"] for e in events if e["name"].startswith("ProfilerStep#"))
    gloo = [e for e in events if e["name"].startswith("gloo:")]
    on_main = [e for e in events if e["tid"] == main and e not in gloo and e["cat"] in ("cpu_op", "user_annotation")]
    edges = sorted(
        {t for e in [*gloo, *on_main] for t in (e["ts"], e["ts"] + e["dur"])} | {t for s in steps for t in s}
    )
    found = []
    for begin, end in steps:
        compute = exposed = communication = 0.0
        for left, right in itertools.pairwise(edges):
            middle = (left + right) / 2
            if not begin < middle < end:
                continue
            over = [e for e in on_main if e["ts"] <= middle < e["ts"] + e["dur"]]
            inner = max(over, key=lambda e: (e["ts"], -e["dur"], is_operator(e) or is_call(e), is_call(e)))
            talks = is_call(inner) or any(e["ts"] <= middle < e["ts"] + e["dur"] for e in gloo)
            works = is_operator(inner) and not is_call(inner)
            compute += works * (right - left)
            communication += talks * (right - left)
            exposed += (talks and not works) * (right - left)
        found.append((end - begin, compute, communication, exposed))
    return found


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_parts_of_recorded_traces_are_those_of_a_count(path):
    (rank,) = rank_traces(path)
    for step, (whole, compute, communication, exposed) in zip(rank.steps, counted(path), strict=True):
        assert step.step_s * 1e6 == pytest.approx(whole, abs=0.01)
        assert step.compute_s * 1e6 == pytest.approx(compute, abs=0.01)
        assert step.communication_s * 1e6 == pytest.approx(communication, abs=0.01)
        assert step.exposed_communication_s * 1e6 == pytest.approx(exposed, abs=0.01)
        assert step.step_s == step.compute_s + step.exposed_communication_s + step.idle_s


@pytest.mark.parametrize(
    ("how", "kinds"),
    [
        ("ddp", {"all_reduce"}),
        ("fsdp", {"all_gather", "reduce_scatter"}),
        ("tp", {"all_reduce", "wait"}),
        ("pp", {"send_recv"}),
    ],
)
def test_kinds_of_communication_by_way_of_splitting(how, kinds):
    report = trace_report(sorted(FOLDER.glob(f"{how}-*")))
    assert [rank.rank for rank in report.ranks] == [0, 1]
    assert {kind for kind, time_s in report.mean.communication_by_kind_s.items() if time_s} == kinds
    assert report.notes == []


def test_data_parallelism_hides_some_of_its_communication():
    mean = trace_report(sorted(FOLDER.glob("ddp-*"))).mean
    assert 0 < mean.exposed_communication_s < mean.communication_s
