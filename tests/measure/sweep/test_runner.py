"""Points that fail, hang, are killed or leave processes behind: the record is clear, and nothing is left running."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from walltime.measure.sweep.folder import Folder
from walltime.measure.sweep.journal import Journal
from walltime.measure.sweep.runner import collect
from walltime.problems import BadInput

from . import sweeping

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path):
    yield
    assert sweeping.of_folder(tmp_path) == []


def recorded(folder):
    return list(Journal(folder / "journal.jsonl").records.values())


def rows_of(folder):
    return list(csv.DictReader((folder / "rows.csv").read_text().splitlines()))


def wait_for(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.005)


def guard_of(folder):
    running = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in sweeping.of_folder(folder)}
    return next(pid for pid, command in running.items() if b"guard.py" in command)


def started(folder, *arguments):
    return subprocess.Popen([sys.executable, str(HERE / "sweeping.py"), str(folder), *map(str, arguments)])


def outcomes(folder):
    return [(record.status, record.exit_code, record.attempts) for record in recorded(folder)]


def test_every_point_is_recorded_as_it_ended(tmp_path):
    asked = sweeping.points("ok", "oom", "fail", "crash", "refuse", "nothing", "garbage", "fail after")
    progress = sweeping.run(tmp_path, asked, retries=1)
    assert outcomes(tmp_path) == [
        ("ok", 0, 1),
        ("oom", 0, 1),
        ("failed", 7, 2),
        ("failed", -signal.SIGKILL, 2),
        ("failed", 2, 1),  # what walltime refuses, it would refuse again
        ("failed", 0, 2),
        ("failed", 0, 2),
        ("ok", 1, 1),  # its result was whole
    ]
    assert [record.message for record in recorded(tmp_path)] == [
        *(
            "",
            "",
            "exit code 7: something went wrong",
            "killed by SIGKILL",
            "exit code 2: tp=3 does not divide num_heads=8.",
        ),
        *("ended without a result", "ended without a result", ""),
    ]
    assert recorded(tmp_path)[2].last_lines == ("something went wrong",) * 2
    assert len(progress.done) == 8
    assert list((tmp_path / "results").glob("*.damaged"))


def test_rows_are_those_of_measured_points_in_the_order_of_the_file(tmp_path):
    first, second, third = sweeping.points("ok", "fail", "oom")
    sweeping.run(tmp_path, [third])
    sweeping.run(tmp_path, [first, second, third])
    rows = rows_of(tmp_path)
    assert [row["status"] for row in rows] == ["ok", "oom"]
    assert [row["source_ref"] for row in rows] == [f"point {first.id}", f"point {third.id}"]


def test_rows_of_points_that_are_no_longer_asked_for_stay(tmp_path):
    first, second = sweeping.points("ok", "oom")
    sweeping.run(tmp_path, [first])
    sweeping.run(tmp_path, [second])
    rows = rows_of(tmp_path)
    assert [row["status"] for row in rows] == ["oom", "ok"]
    assert Folder(tmp_path).earlier_points() == {second.id}


def test_recorded_points_are_not_run_again_unless_they_failed_and_it_is_asked(tmp_path):
    asked = sweeping.points("ok", "fail", "oom")
    sweeping.run(tmp_path, asked)
    again = sweeping.run(tmp_path, asked)
    assert (again.before, again.done) == (3, [])
    failed = sweeping.run(tmp_path, asked, retry_failed=True)
    assert [record.id for record in failed.done] == [asked[1].id]
    assert (tmp_path / "finished.log").read_text().split() == [asked[0].id, asked[2].id]


def test_a_failure_that_goes_away_is_measured(tmp_path):
    sweeping.run(tmp_path, sweeping.points("fail once"), retries=3)
    assert outcomes(tmp_path) == [("ok", 0, 2)]


def test_a_result_without_its_line_is_adopted_not_repeated(tmp_path):
    asked = sweeping.points("ok", "ok")
    sweeping.run(tmp_path, asked)
    whole = (tmp_path / "journal.jsonl").read_bytes()
    (tmp_path / "journal.jsonl").write_bytes(whole[:-10])
    progress = sweeping.run(tmp_path, asked)
    assert (progress.adopted, progress.done) == (1, [])
    assert [record.id for record in recorded(tmp_path)] == [point.id for point in asked]
    assert (tmp_path / "journal.jsonl.damaged").read_bytes() == whole.splitlines(keepends=True)[1][:-10] + b"\n"
    assert len((tmp_path / "finished.log").read_text().split()) == 2


def test_results_from_elsewhere_are_collected(tmp_path):
    asked = sweeping.points("ok", "ok", "ok")
    folder = Folder(tmp_path)
    assert collect(asked, folder) == 0
    subprocess.run(sweeping.command(asked[1], folder.result(asked[1].id)), check=True)
    assert collect(asked, folder) == 1
    assert collect(asked, folder) == 0
    assert [record.id for record in recorded(tmp_path)] == [asked[1].id]


def test_a_hang_is_ended_with_all_its_processes(tmp_path):
    before = sweeping.children()
    asked = sweeping.points("hang", "ok")
    sweeping.run(tmp_path, asked, timeout_s=2.0, retries=2)
    hung, after = recorded(tmp_path)
    assert (hung.status, hung.attempts, hung.message) == ("timeout", 1, "not done after 2 s")
    assert after.status == "ok"
    assert sweeping.children() <= before


def test_what_a_point_leaves_behind_is_ended(tmp_path):
    before = sweeping.children()
    sweeping.run(tmp_path, sweeping.points("leave behind"))
    assert outcomes(tmp_path) == [("ok", 0, 1)]
    assert sweeping.of_folder(tmp_path) == []
    assert sweeping.children() <= before


def test_killing_one_rank_ends_the_point_with_a_clear_record(tmp_path):
    asked = sweeping.points("ranks")
    place = Folder(tmp_path).result(asked[0].id).with_suffix(".ranks")
    sweep = threading.Thread(target=sweeping.run, args=(tmp_path, asked))
    sweep.start()
    wait_for(lambda: place.exists() and len(place.read_text().split()) == 2, "ranks")
    os.kill(int(place.read_text().split()[1]), signal.SIGKILL)
    sweep.join(60)
    (record,) = recorded(tmp_path)
    assert (record.status, record.exit_code, record.message) == ("failed", 1, "exit code 1: rank died")
    assert record.last_lines == ("rank died",)


def test_a_killed_guard_leaves_nothing_behind(tmp_path):
    asked = sweeping.points("hang")
    hangs = Folder(tmp_path).result(asked[0].id).with_suffix(".hangs")
    sweep = threading.Thread(target=sweeping.run, args=(tmp_path, asked))
    sweep.start()
    wait_for(hangs.exists, "hang")
    guard = guard_of(tmp_path)
    os.kill(guard, signal.SIGKILL)
    sweep.join(60)
    (record,) = recorded(tmp_path)
    assert (record.status, record.exit_code, record.message) == ("failed", None, "killed")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_ends_takes_its_point_along(tmp_path, number):
    (asked,) = sweeping.points("hang")
    hangs = Folder(tmp_path).result(asked.id).with_suffix(".hangs")
    sweep = started(tmp_path, 1, "hang")
    wait_for(hangs.exists, "hang")
    sweep.send_signal(number)
    sweep.wait(60)
    wait_for(lambda: sweeping.of_folder(tmp_path) == [], "end of the point")
    assert recorded(tmp_path) == []
    sweeping.run(tmp_path, [asked], timeout_s=0.5)  # the locks are free, and the point runs anew
    assert outcomes(tmp_path)[0][0] == "timeout"


def test_what_sweep_and_guard_leave_when_both_are_killed_is_ended_by_the_next(tmp_path):
    hang, *rest = sweeping.points("hang", "ok")
    hangs = Folder(tmp_path).result(hang.id).with_suffix(".hangs")
    sweep = started(tmp_path, 1, "hang")
    wait_for(hangs.exists, "hang")
    guard = guard_of(tmp_path)
    os.kill(sweep.pid, signal.SIGSTOP)  # so that it cannot clean up after its guard
    os.kill(guard, signal.SIGKILL)
    sweep.kill()
    sweep.wait(60)
    assert sweeping.of_folder(tmp_path)
    sweeping.run(tmp_path, rest)
    assert sweeping.of_folder(tmp_path) == []


def test_two_sweeps_do_not_run_in_one_folder(tmp_path):
    (hang,) = sweeping.points("hang")
    hangs = Folder(tmp_path).result(hang.id).with_suffix(".hangs")
    sweep = started(tmp_path, 1, "hang")
    wait_for(hangs.exists, "hang")
    try:
        with pytest.raises(BadInput, match="another sweep runs in this folder"):
            sweeping.run(tmp_path, sweeping.points("ok"))
    finally:
        sweep.kill()
        sweep.wait(60)
    wait_for(lambda: sweeping.of_folder(tmp_path) == [], "end of the point")


def test_a_program_that_is_not_there_is_said(tmp_path):
    sweeping.run(tmp_path, sweeping.points("ok"), command=lambda point, result: ["/nowhere/python"])
    (record,) = recorded(tmp_path)
    assert record.message.startswith("could not be started: ")


def test_a_point_is_kept_to_its_cores(tmp_path):
    (asked,) = sweeping.points("ok")
    show = "import os, sys; print(len(os.sched_getaffinity(0)), file=open(sys.argv[1], 'w'))"
    told = tmp_path / "cores"
    for cores in (1, None):
        sweeping.run(
            tmp_path / str(cores),
            [replace(asked, cores_per_process=cores)],
            command=lambda *_: [sys.executable, "-c", show, str(told)],
        )
        assert int(told.read_text()) == (cores or len(os.sched_getaffinity(0)))


def test_the_place_that_a_launcher_gave_the_sweep_is_not_that_of_its_points(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    show = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    told = tmp_path / "environment.json"
    sweeping.run(tmp_path, sweeping.points("ok"), command=lambda *_: [sys.executable, "-c", show, str(told)])
    assert not {"SLURM_PROCID", "SLURM_STEP_ID"} & json.loads(told.read_text()).keys()
