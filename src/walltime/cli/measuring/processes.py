"""Processes that a command starts on this machine: told their threads, and ended when the command ends."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from walltime.measure.devices import num_cores_here
from walltime.measure.ranks import LAUNCHER


def launcher_environment(num_processes: int) -> dict[str, str]:
    """Return the environment of a launcher of so many processes: threads, unless they are set, and who started it.

    ``torchrun`` would set the threads too, and say so at length.
    """
    threads = max(1, num_cores_here() // num_processes)
    return {"OMP_NUM_THREADS": str(threads), **os.environ, LAUNCHER: str(os.getpid())}


@contextmanager
def ended(process: "subprocess.Popen[Any]", grace_s: float) -> Iterator[None]:
    """End a process that still runs at the end, and through it what it started: kindly, then not.

    Parameters
    ----------
    process
        Started by the caller.
    grace_s
        For which it may take to end by itself. [s]
    """
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
