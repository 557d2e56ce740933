"""Runs the points of a sweep one after another and records each as it finishes; what is recorded is not run again."""

import datetime
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from walltime.measure.ranks import launch_command
from walltime.measure.sweep.flags import Flags, train_arguments
from walltime.measure.sweep.folder import Folder
from walltime.measure.sweep.guard import KILL_WAIT_S
from walltime.measure.sweep.journal import MEASURED, Journal, Record, Status
from walltime.measure.sweep.logs import cause, ended, last_lines, refusal
from walltime.measure.sweep.points import Point
from walltime.measure.sweep.processes import GRACE_S, Ending, end_leftovers, run_guarded
from walltime.signals import terminable

Command = Callable[[Point, Path], Sequence[str]]
"""The command of a point, which writes its result to a file."""


@dataclass(frozen=True)
class Running:
    """How points are run.

    Attributes
    ----------
    command
        Of a point.
    timeout_s, grace_s
        After which a point is asked to end; after which, again, it is killed. [s]
    retries
        How often one that failed is tried again.
    retry_failed
        Whether points that failed, or took too long, in an earlier run are run again.
    not_here
        Ids of points that are not run on this machine.
    """

    command: Command
    timeout_s: float
    retries: int = 0
    retry_failed: bool = False
    grace_s: float = GRACE_S
    not_here: Collection[str] = ()


@dataclass
class Progress:
    """What a run of a sweep has come to, for whoever watches.

    Attributes
    ----------
    total
        Points that are run.
    before
        Points that were recorded when the run began.
    adopted
        Results that were found without a line in the journal.
    done
        Records of this run.
    """

    total: int = 0
    before: int = 0
    adopted: int = 0
    done: list[Record] = field(default_factory=list)


Watch = Callable[[Progress, Point, Record], None]


def train_command(flags: Flags) -> Command:
    """Return the command that measures a point by ``walltime measure train`` on this machine."""

    def command(point: Point, result: Path) -> list[str]:
        arguments = train_arguments(flags, point.options)
        return launch_command(point.num_gpus, [*arguments, f"--result={result}"])

    return command


def run_sweep(points: Sequence[Point], folder: Folder, how: Running, watch: Watch) -> Progress:
    """Run the points that are not recorded yet.

    Parameters
    ----------
    points
        In the order in which they run.
    folder
        Where they are recorded.
    how
        The command of a point, and how it is run.
    watch
        Told of each point when it is recorded.

    Raises
    ------
    BadInput
        Another sweep runs in the folder, or it cannot be written to.
    """
    folder.make()
    with folder.locked(), terminable():
        with folder.point_lock(_longest_end_s(how)):
            end_leftovers(folder.path)
        journal = Journal(folder.journal)
        folder.write_points(points)
        progress = Progress(before=sum(point.id in journal.records for point in points))
        progress.adopted = adopt(points, folder, journal)
        waiting = [point for point in points if _is_waiting(point, journal.records.get(point.id), how)]
        progress.total = len(waiting)
        folder.write_rows(journal, points)
        for point in waiting:
            record = _measured(point, folder, how)
            journal.append(record)
            folder.write_rows(journal, points)
            progress.done.append(record)
            watch(progress, point, record)
    return progress


def collect(points: Sequence[Point], folder: Folder) -> int:
    """Record results that are there, of jobs on a cluster for example, and return how many were new."""
    folder.make()
    with folder.locked():
        journal = Journal(folder.journal)
        folder.write_points(points)
        adopted = adopt(points, folder, journal)
        folder.write_rows(journal, points)
    return adopted


def adopt(points: Sequence[Point], folder: Folder, journal: Journal) -> int:
    """Record results without a line in the journal: of points that finished as their sweep was killed, or elsewhere."""
    adopted = 0
    for point in points:
        known = journal.records.get(point.id)
        content = None if known is not None and known.is_measured else result_of(folder.result(point.id))
        if content is not None:
            journal.append(_finished(point, content))
            adopted += 1
    return adopted


def _is_waiting(point: Point, record: Record | None, how: Running) -> bool:
    wanted = record is None or (how.retry_failed and not record.is_measured)
    return wanted and point.id not in how.not_here


def _longest_end_s(how: Running) -> float:
    """Return how long the guard of a killed sweep's point may take to end it. [s]"""
    return how.grace_s + KILL_WAIT_S + GRACE_S


def _measured(point: Point, folder: Folder, how: Running) -> Record:
    """Run a point until it is measured or its attempts are used up."""
    log, result = folder.log(point.id), folder.result(point.id).absolute()
    log.unlink(missing_ok=True)
    command = how.command(point, result)
    for attempt in range(1, how.retries + 2):
        started = datetime.datetime.now(datetime.UTC)
        begun = time.monotonic()
        with folder.point_lock(_longest_end_s(how)) as lock:
            ending = run_guarded(command, folder.path, log, lock, how.timeout_s, how.grace_s, point.num_cores)
        seen: dict[str, Any] = {
            "started": started.isoformat(timespec="seconds"),
            "elapsed_s": round(time.monotonic() - begun, 3),
            "attempts": attempt,
            "exit_code": ending.exit_code,
        }
        content = result_of(result)
        if content is not None:
            return _finished(point, content, **seen)
        record = _failed(point, ending, how, log, seen)
        if record.status == "timeout" or refusal(record.last_lines):
            break
    return record


def result_of(path: Path) -> dict[str, Any] | None:
    """Return what a point wrote, None without; what is no result is moved aside."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        content = None
    if isinstance(content, dict) and isinstance(row := content.get("row"), dict) and row.get("status") in MEASURED:
        return content
    path.replace(path.with_suffix(".damaged"))
    return None


def _finished(point: Point, content: Mapping[str, Any], **seen: Any) -> Record:
    """Return the record of a result, which is whole: whatever became of its processes afterwards."""
    parts: dict[str, Any] = {name: content.get(name) or {} for name in ("row", "result", "environment")}
    said = parts["result"].get("message") or ""
    return Record(point.id, point.request(), parts["row"]["status"], **parts, **seen, message=str(said))


def _failed(point: Point, ending: Ending, how: Running, log: Path, seen: Mapping[str, Any]) -> Record:
    status: Status = "timeout" if ending.ended == "timeout" else "failed"
    lines = last_lines(log)
    message = ": ".join(filter(None, [_what_happened(ending, how.timeout_s), cause(lines)]))
    return Record(point.id, point.request(), status, **seen, message=message, last_lines=tuple(lines))


def _what_happened(ending: Ending, timeout_s: float) -> str:
    return "; ".join(_happened(ending, timeout_s))


def _happened(ending: Ending, timeout_s: float) -> Iterator[str]:
    code = ending.exit_code
    if ending.ended == "timeout":
        yield f"not done after {timeout_s:g} s"
    elif ending.ended == "not started":
        yield f"could not be started: {ending.message}"
    elif ending.ended != "exited":
        yield {"stopped": "stopped from outside", "orphaned": "ended with its sweep"}.get(ending.ended, "killed")
    elif code:
        yield ended(code)
    else:
        yield "ended without a result"
    if ending.left:
        yield f"processes that cannot be ended: {', '.join(map(str, ending.left))}"
