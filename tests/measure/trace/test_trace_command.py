"""``walltime measure trace`` as a user meets it."""

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "data" / "traces"
DDP = sorted(FOLDER.glob("ddp-*"))


def test_a_table_of_ranks_their_mean_and_kinds(call):
    done = call("measure", "trace", *DDP)
    assert done.code == 0
    assert "rank 0, ddp-rank0.json.gz" in done.out
    assert "mean" in done.out
    assert "all-reduce" in done.out
    assert "longest step: rank 0" in done.out


def test_json_adds_up(call):
    document = call("measure", "trace", *DDP, "--json").json()
    assert document["command"] == "measure trace"
    assert [rank["rank"] for rank in document["ranks"]] == [0, 1]
    for parts in (document["mean"], *(rank["mean"] for rank in document["ranks"])):
        assert parts["step_s"] == parts["compute_s"] + parts["exposed_communication_s"] + parts["idle_s"]
        assert 0 < parts["overlap"] < 1


def test_csv_has_a_row_a_step(call, tmp_path):
    done = call("measure", "trace", *DDP, "--csv", tmp_path / "steps.csv")
    assert done.code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "steps.csv").read_text())))
    assert [(row["rank"], row["step"]) for row in rows] == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    assert all(float(row["exposed_all_reduce_s"]) > 0 for row in rows)


def test_a_folder_stands_for_its_traces(call, make, tmp_path):
    for name in ("b.json", "a.json.gz", "notes.txt"):
        make.written(tmp_path / name, [make.kernel(0, 10)])
    document = call("measure", "trace", tmp_path, tmp_path / "b.json", "--json").json()
    assert [Path(rank["file"]).name for rank in document["ranks"]] == ["a.json.gz", "b.json"]


def test_it_needs_no_pytorch():
    code = (
        "import sys\nfrom walltime.cli import main\n"
        f"sys.argv = ['walltime', 'measure', 'trace', {str(DDP[0])!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_straggler_is_named(call, make, tmp_path):
    late = make.written(tmp_path / "b.json", [make.kernel(0, 90)], distributedInfo={"rank": 1})
    waits = [make.kernel(0, 40), make.kernel(40, 90, make.ALL_REDUCE)]
    other = make.written(tmp_path / "a.json", waits, distributedInfo={"rank": 0})
    done = call("measure", "trace", late, other)
    assert "straggler: rank 1, b.json computes 25 us longer than ranks do in the mean (27.8% of a step)" in done.out
    assert done.err.count("note: ") == 2


def test_names_of_a_trace_cannot_steer_a_terminal(call, make, tmp_path):
    details = {"Process Group Description": "\x1b[2Jmesh", "Collective name": "allreduce"}
    path = make.written(tmp_path / "a.json", [make.kernel(0, 9), make.kernel(0, 20, make.ALL_REDUCE, **details)])
    done = call("measure", "trace", path)
    assert "\x1b" not in done.out
    assert "?[2Jmesh" in done.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not whole, valid JSON"),
        (b"{", "not whole, valid JSON"),
        (b'{"traceEvents": [{"ph": "X", "cat": "ker', "not whole, valid JSON"),
        (b'{"traceEvents": [{"ph": "X", "name": nan}]}', "JSON"),
        (b"\x00\x01perfetto", "not whole, valid JSON"),
        (b"{}", "missing required field `traceEvents`"),
        (b"3", "not a trace"),
        (b'{"traceEvents": 3}', "not a trace"),
        (b"[]", "no kernels and no operators"),
        (b'{"traceEvents": [7]}', "traceEvents[0] is no event of a trace"),
        (b'{"traceEvents": [{"ph": 7}]}', "traceEvents[0] is no event of a trace"),
        (b'{"traceEvents": [{"ph": "X", "cat": "kernel", "ts": "soon", "dur": 1}]}', "traceEvents[0]"),
        (b'{"traceEvents": [{"ph": "X", "cat": "kernel", "ts": 1e400, "dur": 1}]}', "traceEvents[0]"),
        (b'{"traceEvents": [{"ph": "X", "cat": "kernel", "name": "\xff", "ts": 1, "dur": 1}]}', "traceEvents[0]"),
        (b'{"traceEvents": [' + b"[" * 100_000, "JSON"),
        (gzip.compress(b"[]")[:-9], "cannot read"),
        (gzip.compress(b"")[:5], "cannot read"),
        (b"\x1f\x8bnonsense", "cannot read"),
    ],
)
def test_files_that_are_no_traces_are_refused_in_one_line(call, file, content, said):
    path = file("trace.json", content)
    message = call("measure", "trace", path).refused()
    assert "trace.json" in message
    assert said in message


def test_a_list_of_events_is_a_trace_too(call, make, file):
    path = file("list.json", json.dumps([make.kernel(0, 10), {"ph": "B", "ts": 1}]))
    done = call("measure", "trace", path)
    assert done.code == 0
    assert "left out: 1 events in halves (ph B and E)" in done.err


def test_bad_arguments_are_refused(call, make, tmp_path):
    path = make.written(tmp_path / "a.json", [make.kernel(0, 10)])
    assert "no trace is given" in call("measure", "trace").refused()
    assert "cannot read 'nowhere.json'" in call("measure", "trace", "nowhere.json").refused()
    assert "is a folder" in call("measure", "trace", path, "--csv", tmp_path).refused()
    assert "would overwrite a trace" in call("measure", "trace", path, "--csv", path).refused()
    (tmp_path / "empty").mkdir()
    assert "no traces in the folder" in call("measure", "trace", tmp_path / "empty").refused()
    nowhere = tmp_path / "a.json" / "rows.csv"
    assert "cannot write" in call("measure", "trace", path, "--csv", nowhere).refused()


def test_of_several_runs_no_rank_waits_for_another(call, make, tmp_path):
    for run, busy_us in (("one", 50), ("two", 90)):
        (tmp_path / run).mkdir()
        events = [make.step(1, 0, 100), make.kernel(0, busy_us)]
        make.written(tmp_path / run / "rank0.json", events, distributedInfo={"rank": 0})
    done = call("measure", "trace", tmp_path / "one", tmp_path / "two")
    assert "several runs" in done.err
    assert "straggler" not in done.out
    assert f"rank 0, {tmp_path / 'one' / 'rank0.json'}" in done.out
    document = call("measure", "trace", tmp_path / "one", tmp_path / "two", "--json").json()
    assert document["straggler_file"] is document["straggler_lag_s"] is None
