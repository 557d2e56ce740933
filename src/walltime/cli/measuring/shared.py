"""What the commands that measure kernels and collectives share: options, and the processes of one machine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from walltime.cli.common import WholeNumber, options
from walltime.cli.measuring.processes import ended, launcher_environment
from walltime.measure.devices import DeviceKind, check_processes
from walltime.measure.ranks import launch_command, place
from walltime.measure.requirements import torch_module
from walltime.problems import BadInput, MissingExtra, NegativeAnswer, Problem
from walltime.signals import terminable
from walltime.units import parse_quantity

_LAUNCHERS = ("RANK", "SLURM_STEP_ID")
_GRACE_S = 10.0
"""That processes get to end by themselves when the command is interrupted. [s]"""
_SAID = "walltime: "

measuring_options = options(
    click.option("--device", "kind", type=click.Choice(["cuda", "cpu"]), help="Default: a GPU where there is one."),
    click.option(
        "--nproc", type=WholeNumber(1, 1024), metavar="N", help="Processes to start on this machine. Default: this one."
    ),
    click.option("--budget", metavar="TIME", help="For all points together: 90s, 10min. Default: by the device."),
    click.option(
        "--csv", "csv_path", type=click.Path(path_type=Path), help="Append rows; those in it are not repeated."
    ),
    click.option(
        "--seed", type=WholeNumber(0), metavar="N", default=0, show_default=True, help="Of numbers and of the order."
    ),
)


class MeasurementFailed(Problem):
    """The processes that measured came to a bad end that nobody foresaw."""

    exit_code = 1


def budget_s(text: str | None) -> float | None:
    """Read a time budget [s]."""
    return None if text is None else parse_quantity(text, "seconds", "budget")


def to_be_started(nproc: int | None) -> int | None:
    """Return how many processes to start, None if this is one of them already or the only one.

    Raises
    ------
    BadInput
        A launcher started this process, and it is told to start some itself.
    """
    if nproc is None:
        return None
    launcher = next((name for name in _LAUNCHERS if name in os.environ), None)
    if launcher is not None and place().num_ranks > 1:
        raise BadInput(f"--nproc {nproc} under a launcher ({launcher} is set). Valid: one or the other.")
    return nproc if nproc > 1 else None


def check_devices(kind: DeviceKind | None, nproc: int, command: str) -> DeviceKind:
    """Return the kind of device of several processes of a command.

    Raises
    ------
    MissingExtra
        There are GPUs, but fewer than processes, or too few cores.
    """
    found = torch_module().cuda.device_count()
    chosen: DeviceKind = kind or ("cuda" if found else "cpu")
    if chosen == "cuda" and found < nproc:
        raise MissingExtra(f"--nproc {nproc}: PyTorch sees {found} GPUs. Valid: no more processes, or --device cpu.")
    check_processes(nproc, chosen, command)
    return chosen


def run_locally(nproc: int, arguments: Sequence[str], kind: str) -> None:
    """Run a command in several processes of this machine, whose first one prints.

    Raises
    ------
    Problem
        It failed: with the line that one of them gave as the reason.
    """
    sys.stdout.flush()
    with terminable(), tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        command = launch_command(nproc, [*arguments, "--device", kind])
        process = subprocess.Popen(command, env=launcher_environment(nproc), stderr=errors)
        with ended(process, _GRACE_S):
            code = process.wait()
        errors.seek(0)
        lines = errors.read().splitlines()
    if code:
        raise _failure(code, lines)


def _failure(code: int, lines: Sequence[str]) -> Problem:
    """Say why processes failed: in their own words, if they had some."""
    reasons = [line.partition(_SAID)[2] for line in lines if _SAID in line]
    if reasons:
        return NegativeAnswer(reasons[0])
    named = [line.strip() for line in lines if line.strip() and "Error" in line]
    return MeasurementFailed(
        f"the measuring processes ended with code {code}: {named[0] if named else 'no reason given'}"
    )


def repeated(flag: str, values: Sequence[str]) -> list[str]:
    """Return a flag that is given once for each value."""
    return [part for value in values for part in (flag, value)]
