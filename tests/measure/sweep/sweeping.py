"""A sweep of fake points: what tests run in this process, and, to be killed, in one of its own."""

import os
import signal
import sys
from pathlib import Path

from walltime.measure.sweep.folder import Folder
from walltime.measure.sweep.points import Point, point_id
from walltime.measure.sweep.runner import Running, run_sweep

FAKE = Path(__file__).with_name("fake_point.py")


def points(*behaviours):
    """Points that behave in these ways, one each."""
    return [point(behaviour, index) for index, behaviour in enumerate(behaviours)]


def point(behaviour, index=0):
    options = {"model": "fake", "behaviour": behaviour, "batch": index + 1, "dp": 1}
    return Point(point_id(1, options, 0), 1, options, tables=("grid",))


def command(point, result):
    return [sys.executable, "-I", "-S", str(FAKE), point.options["behaviour"], str(result)]


def run(folder, asked, **how):
    """Run a sweep; return its progress."""
    usual = {"command": command, "timeout_s": 60.0, "grace_s": 0.3}
    return run_sweep(asked, Folder(Path(folder)), Running(**usual | how), lambda *seen: None)


def of_folder(folder):
    """Processes that belong to a sweep of this folder, by the mark in their environment."""
    mark = f"WALLTIME_SWEEP_FOLDER={Path(folder).resolve()}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def children():
    """Processes below this one, zombies included."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(path.parent.name))
        except (OSError, ValueError):
            continue
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    run(sys.argv[1], points(*sys.argv[3:] * int(sys.argv[2])))
