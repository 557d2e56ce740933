"""Runs one command and leaves nothing of it behind. A program by itself, of the standard library alone.

``python guard.py TIMEOUT_S GRACE_S NUM_CORES COMMAND...`` runs the command in a session of its own, on the first so
many cores that there are (0: all), its output where the guard's standard error goes. Everything that the command has
started is ended, politely and then not,

- when the command ends by itself,
- when its time is up,
- when the guard is asked to stop, and
- when standard input ends: its other end is in the sweep's hands, so a sweep that is killed takes its point along.

On Linux the guard adopts what loses its parent, so that nothing escapes by leaving the process group. At the end it
says what happened on standard output, as JSON.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

_ADOPTS = sys.platform.startswith("linux")
_SET_CHILD_SUBREAPER = 36  # of prctl(2)
_POLL_S = 0.02
KILL_WAIT_S = 60.0
"""For which what was killed may take to go: a process inside a driver or a lost file system may never. [s]"""


def run(command: list[str], timeout_s: float, grace_s: float) -> dict[str, object]:
    """Run a command and return how it ended.

    Parameters
    ----------
    command
        Program and arguments.
    timeout_s
        After which it is ended. [s]
    grace_s
        Between asking to end and killing. [s]

    Returns
    -------
    dict
        ``ended`` is ``exited``, ``timeout``, ``stopped`` or ``orphaned``; ``exit_code`` of the command, negative for a
        signal; ``left`` are processes that could not be ended.
    """
    _adopt_orphans()
    wake = _wake_up_file()
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr, start_new_session=True
        )
    except OSError as error:
        return {"ended": "not started", "exit_code": None, "left": [], "message": str(error)}
    family = _Family(child)
    ended = _wait(family, wake, time.monotonic() + timeout_s)
    left = family.end(grace_s)
    return {"ended": ended, "exit_code": family.exit_code, "left": left}


def _wait(family: "_Family", wake: int, deadline: float) -> str:
    """Wait for the first of: the command ends, its time is up, the sweep is gone, somebody says stop."""
    while True:
        family.reap()
        if family.exit_code is not None:
            return "exited"
        rest = deadline - time.monotonic()
        if rest <= 0:
            return "timeout"
        ready, _, _ = select.select([0, wake], [], [], rest)
        if 0 in ready and not os.read(0, 1):
            return "orphaned"
        if wake in ready and set(os.read(wake, 4096)) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            return "stopped"


class _Family:
    """A command and everything that it has started."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self.child = child
        self.exit_code: int | None = None
        self.has_children = True

    def reap(self) -> None:
        """Take in what has ended, the command and what was adopted alike."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.has_children = False
                return
            if not pid:
                return
            if pid == self.child.pid:
                self.exit_code = self.child.returncode = os.waitstatus_to_exitcode(status)

    def end(self, grace_s: float) -> list[int]:
        """Ask all to end, kill those that do not, and return those that cannot be killed."""
        self.reap()
        self._signal(signal.SIGTERM)
        self._wait(grace_s, lambda: None)
        self._wait(KILL_WAIT_S, lambda: self._signal(signal.SIGKILL))
        if not _ADOPTS:  # then all that can be found is the group of the command
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, signal.SIGKILL)
        return descendants(os.getpid()) if self.has_children else []

    def _wait(self, limit_s: float, meanwhile: Callable[[], None]) -> None:
        deadline = time.monotonic() + limit_s
        while self.has_children and time.monotonic() < deadline:
            meanwhile()
            self.reap()
            if self.has_children:
                time.sleep(_POLL_S)

    def _signal(self, number: int) -> None:
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, number)
        for pid in descendants(os.getpid()) if self.has_children else []:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """Return the processes below one, where the system shows them (``/proc``); zombies are none."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat") if Path("/proc").is_dir() else []:
        try:
            state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(path.parent.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _adopt_orphans() -> None:
    """Become the parent of what loses its own below this process, where the system can do that (Linux)."""
    if not _ADOPTS:
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wake_up_file() -> int:
    """Return a file that can be read when a child ended or a signal came; its bytes are the signals."""
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _noticed)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _noticed(number: int, frame: FrameType | None) -> None:
    """Do nothing: the wake-up file has it."""


def _keep_to(num_cores: int) -> None:
    """Keep this process and all that it starts to some of the cores, where the system can do that (Linux)."""
    if num_cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:num_cores])


def main() -> None:
    """Run what the command line says."""
    _keep_to(int(sys.argv[3]))
    report = run(sys.argv[4:], float(sys.argv[1]), float(sys.argv[2]))
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(report))
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
