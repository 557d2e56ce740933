"""A point's processes: started under a guard that outlives a killed sweep, and nothing left of them afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from walltime.measure.ranks import VARIABLES
from walltime.measure.sweep import guard

Ended = Literal["exited", "timeout", "stopped", "orphaned", "not started", "guard lost"]
GRACE_S = 10.0
"""Between asking a point to end and killing it: time to write down what it has and leave its groups. [s]"""
_MARK = "WALLTIME_SWEEP_FOLDER"
"""Environment variable of everything that a point starts; it says whose it is when all else is gone."""
_KILL_WAIT_S = 10.0
_POLL_S = 0.02


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes
    ----------
    ended
        By itself, or by what.
    exit_code
        Negative for a signal; None if it was not seen.
    left
        Processes that could not be ended.
    message
        Why it was not started.
    """

    ended: Ended
    exit_code: int | None = None
    left: Sequence[int] = ()
    message: str = ""


def run_guarded(
    command: Sequence[str],
    folder: Path,
    log: Path,
    lock: int,
    timeout_s: float,
    grace_s: float = GRACE_S,
    num_cores: int | None = None,
) -> Ending:
    """Run a command to its end, or end it.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Of the sweep, to whose name the processes answer.
    log
        File that gets everything printed.
    lock
        Open file that the guard holds until nothing is left.
    timeout_s, grace_s
        After which it is asked to end; after which, again, it is killed. [s]
    num_cores
        That it is kept to; None for all.
    """
    how = [repr(timeout_s), repr(grace_s), str(num_cores or 0)]
    program = [sys.executable, "-I", "-S", str(Path(guard.__file__)), *how, *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=_environment(folder),
            start_new_session=True,
            pass_fds=(lock,),
        )
    assert process.stdin
    assert process.stdout
    try:
        said = process.stdout.read()
    finally:
        process.stdin.close()  # by which the guard knows to end everything
        process.wait()
        process.stdout.close()
    return _ending(said, folder)


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment of a point: marked as ours, without the place that a launcher gave the sweep itself."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return inherited | {_MARK: _name(folder)}


def _name(folder: Path) -> str:
    return str(folder.resolve())


def _ending(said: bytes, folder: Path) -> Ending:
    """Return what the guard said; without a word it was killed, and what it guarded is ended here."""
    try:
        return Ending(**json.loads(said))
    except ValueError:
        return Ending("guard lost", None, end_leftovers(folder))


def end_leftovers(folder: Path) -> list[int]:
    """Kill what is left of points of a folder whose guards are gone, and return what cannot be killed.

    Finds them by their environment, where the system shows it (Linux).
    """
    deadline = time.monotonic() + _KILL_WAIT_S
    while left := _marked(folder):
        if time.monotonic() > deadline:
            return left
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    return []


def _marked(folder: Path) -> list[int]:
    mark = f"{_MARK}={_name(folder)}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ") if Path("/proc").is_dir() else []:
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found
