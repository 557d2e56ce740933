"""kill -9 at 50 random moments: every finished point is there once, none is corrupt, and the sweep completes."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from walltime.measure.sweep.journal import Journal, record_of

from . import sweeping

KILLS = 50
POINTS = 60
LATEST_S = 0.35  # of a kill: a start and some points
HERE = Path(__file__).parent


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_kill_9_at_50_random_moments(tmp_path):
    chance = random.Random(6)
    kills = folders = 0
    while kills < KILLS:
        folders += 1
        kills += swept(tmp_path / f"sweep{folders}", chance, KILLS - kills)
    assert kills == KILLS


def swept(folder, chance, most):
    """Complete a sweep that is killed up to ``most`` times; return how often it was."""
    seen, kills = {}, 0
    while kills < most and killed(folder, chance.uniform(0.0, LATEST_S)):
        kills += 1
        seen = still_there(folder, seen)
    sweeping.run(folder, asked())
    still_there(folder, seen)
    complete(folder)
    return kills


def asked():
    return sweeping.points(*["ok", "slow", "oom"] * (POINTS // 3))


def killed(folder, after_s):
    """Start the sweep and kill it; whether it was still running."""
    program = [sys.executable, str(HERE / "sweeping.py"), str(folder), str(POINTS // 3), "ok", "slow", "oom"]
    process = subprocess.Popen(program)
    time.sleep(after_s)
    process.kill()
    return process.wait(60) != 0


def still_there(folder, seen):
    """Records so far: those seen before are among them, unchanged, and none is there twice."""
    records = Journal(folder / "journal.jsonl", mend=False).records
    assert {name: records[name] for name in seen} == seen
    lines = (folder / "journal.jsonl").read_bytes().splitlines() if records else []
    whole = [record.id for line in lines if (record := record_of(line))]
    assert len(whole) == len(set(whole))
    return records


def complete(folder):
    lines = (folder / "journal.jsonl").read_bytes().splitlines()
    records = [record_of(line) for line in lines]
    assert [record.id for record in records if record] == [record.id for record in records]
    assert Counter(record.id for record in records) == Counter(point.id for point in asked())
    assert Counter(record.status for record in records) == {"ok": POINTS * 2 // 3, "oom": POINTS // 3}
    for record in records:
        assert json.loads((folder / "results" / f"{record.id}.json").read_text())["row"] == record.row
    assert max(Counter((folder / "finished.log").read_text().split()).values()) == 1
    assert len((folder / "rows.csv").read_text().splitlines()) == POINTS + 1
    assert sweeping.of_folder(folder) == []
