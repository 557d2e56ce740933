"""Running a plan on this machine for some steps, by ``walltime measure train`` in processes of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from walltime.cli.measuring.processes import ended
from walltime.cli.question import Question
from walltime.interop.run import run_values
from walltime.measure.ranks import VARIABLES
from walltime.plan import Plan
from walltime.problems import BadInput, MissingExtra, Problem
from walltime.signals import terminable

if TYPE_CHECKING:
    from walltime.measure.checks import Measured
    from walltime.measure.devices import DeviceKind

_FLAGS = (
    *("seq_len", "batch", "micro_batch", "tp", "cp", "pp", "ep", "vpp", "shard", "schedule", "sharding", "reshard"),
    *("sequence_parallel", "recompute", "recompute_layers", "precision"),
)
"""What a plan's run is told by flags."""
_UNTOLD = ("etp", "cp_algorithm", "offload_optimizer", "gradient_bytes", "order")
"""What no flag of ``measure train`` says: PyTorch does it in one way."""
_ENDS = {BadInput.exit_code: BadInput, MissingExtra.exit_code: MissingExtra}
_LONGEST = 300
"""Characters of its last line that are passed on."""
_END_S = 30.0
"""In which processes that were told to end do so, or are ended. [s]"""


def run_here(asked: Question, steps: int | None) -> "Measured":
    """Run a plan for some steps and return what was measured.

    Raises
    ------
    Problem
        It cannot be run here: what ``walltime measure train`` says of it.
    """
    from walltime.measure.checks import from_result

    check_machine(asked)
    with tempfile.TemporaryDirectory(prefix="walltime-") as folder:
        result = Path(folder) / "result.json"
        _run([sys.executable, "-m", "walltime", "measure", "train", *train_arguments(asked, steps, result)], result)
        measured = from_result(result, asked.training, asked.plan, asked.cluster)
    return _renamed(measured, result)


def check_machine(asked: Question) -> None:
    """Refuse a plan that this machine has no room for, or whose cluster it is not.

    Raises
    ------
    MissingExtra
        PyTorch, GPUs or cores for the plan's processes are not here.
    BadInput
        The plan's cluster is of other devices.
    """
    from walltime.measure.devices import check_processes, device_name
    from walltime.measure.requirements import torch_module
    from walltime.validate.chips import is_another

    kind: DeviceKind = "cuda" if torch_module().cuda.is_available() else "cpu"
    check_processes(asked.plan.num_gpus, kind, "measure train")
    here = device_name(kind, asked.plan.num_gpus)
    if is_another(here, asked.cluster.accelerator.id, is_cpu=kind == "cpu"):
        raise BadInput(
            f"the plan's cluster is {asked.cluster.id}, this machine is {here}. Valid: --on a calibration of this "
            f"machine."
        )


def _renamed(measured: "Measured", result: Path) -> "Measured":
    """Return it without the name of a file that is gone."""
    from dataclasses import replace

    return replace(measured, source=measured.source.replace(str(result), "run on this machine"))


def train_arguments(asked: Question, steps: int | None, result: Path) -> list[str]:
    """Return what follows ``walltime measure train`` to run a plan.

    Raises
    ------
    BadInput
        A choice that it has no flag for.
    """
    usual = Plan()
    for name in _UNTOLD:
        if getattr(asked.plan, name) != getattr(usual, name):
            value = getattr(asked.plan, name)
            raise BadInput(
                f"{name}={value} is not run by walltime measure train. Valid: --log or --trace of a run with it, or "
                f"{name}={getattr(usual, name)}."
            )
    values = run_values(asked)
    words = [str(values["model"]), "--dp", str(asked.plan.dp), "--nproc", str(asked.plan.num_gpus)]
    for name in _FLAGS:
        if name in values:
            words += _flag(name, values[name])
    words += [] if steps is None else ["--steps", str(steps)]
    return [*words, "--result", str(result)]


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    return [flag, str(value)]


def _run(command: list[str], result: Path) -> None:
    """Run a command to its end; what it prints is dropped, unless it fails: then its last line is passed on.

    It is not told the place that a launcher gave this process.
    """
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    with (
        terminable(),
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
        ) as run,
        ended(run, _END_S),
    ):
        _, said = run.communicate()
    if run.returncode != 0 and not result.exists():
        raise _problem(run.returncode, said)


def _problem(code: int, said: str) -> Exception:
    """Return what went wrong, in the words of the command that failed."""
    lines = [line for line in said.splitlines() if line.strip()]
    own = [line.removeprefix("walltime: ") for line in lines if line.startswith("walltime: ")]
    if own:
        return _ENDS.get(code, Problem)(own[-1])
    last = f": {lines[-1].strip()[:_LONGEST]}" if lines else "."
    return Problem(f"walltime measure train ended with {code}{last}")
