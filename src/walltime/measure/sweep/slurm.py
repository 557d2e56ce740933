"""The points of a sweep as jobs of a Slurm cluster: an sbatch script each, written through submitit."""

import importlib
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from walltime.measure.sweep.flags import Flags, train_arguments
from walltime.measure.sweep.folder import Folder
from walltime.measure.sweep.points import LeftOut, Point
from walltime.problems import BadInput, MissingExtra, unknown
from walltime.units import parse_quantity, shortened, whole

INSTALL = "pip install 'walltime[slurm]'"
SUBMIT = "submit.sh"
_TEXTS = ("partition", "account", "qos", "constraint", "mem", "python")
_FIELDS = ("gpus_per_node", "time", "cpus_per_task", "setup", "sbatch", *_TEXTS)
_WARNING_S = 90  # Slurm's warning that the time is nearly up, which ends a point: submitit's own default
_MOST_PER_NODE = 4096
_FIRST_PORT, _NUM_PORTS = 10000, 20000  # above those for root alone, below those that Linux hands out itself
_SETUP = (
    'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
    f"export MASTER_PORT=$(({_FIRST_PORT} + SLURM_JOB_ID % {_NUM_PORTS}))",
)


@dataclass(frozen=True)
class Slurm:
    """What jobs ask of the cluster.

    Attributes
    ----------
    gpus_per_node
        Accelerators, and so processes, of a full node.
    time_s
        Limit of a job. [s]
    cpus_per_task
        Cores of a process; None leaves it to the point, or else to the cluster.
    setup
        Lines of shell before a job's command: modules to load, for example.
    python
        Shell command of the Python that has walltime on the nodes; this one, unless said otherwise.
    parameters
        The rest as sbatch has them: partition, account, qos, constraint, mem.
    sbatch
        Any other flag of sbatch, by name.
    """

    gpus_per_node: int
    time_s: float
    cpus_per_task: int | None = None
    setup: tuple[str, ...] = ()
    python: str = field(default_factory=lambda: shlex.quote(sys.executable))
    parameters: Mapping[str, str] = field(default_factory=dict)
    sbatch: Mapping[str, Any] = field(default_factory=dict)


def slurm_of(table: Mapping[str, Any], timeout_s: float, path: Path) -> Slurm:
    """Return what a file's table ``[slurm]`` says.

    Raises
    ------
    BadInput
        A field is unknown, missing or not of its kind.
    """
    place = f"{path}: slurm."
    for name in table:
        if name not in _FIELDS:
            raise BadInput(f"{place}{unknown('field', name, _FIELDS)}")
    if "gpus_per_node" not in table:
        raise BadInput(f"{place}gpus_per_node is not given. Valid: [slurm] with gpus_per_node = 8, for example.")
    for name in _TEXTS:
        if name in table and not (isinstance(table[name], str) and table[name]):
            raise BadInput(f"{place}{name}={shortened(table[name])} must be text.")
    given: dict[str, Any] = {}
    if "cpus_per_task" in table:
        given["cpus_per_task"] = whole(table["cpus_per_task"], f"{place}cpus_per_task", _MOST_PER_NODE)
    if "python" in table:
        given["python"] = table["python"]
    return Slurm(
        gpus_per_node=whole(table["gpus_per_node"], f"{place}gpus_per_node", _MOST_PER_NODE),
        time_s=parse_quantity(table["time"], "seconds", f"{place}time") if "time" in table else timeout_s,
        setup=_lines(table, place),
        parameters={name: table[name] for name in _TEXTS if name in table and name != "python"},
        sbatch=_more(table, place),
        **given,
    )


def _lines(table: Mapping[str, Any], place: str) -> tuple[str, ...]:
    lines = table.get("setup", [])
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadInput(f"{place}setup={shortened(lines)} must be a list of texts, lines of shell.")
    return tuple(lines)


def _more(table: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    more = table.get("sbatch", {})
    if not isinstance(more, dict) or not all(isinstance(value, str | int | bool) for value in more.values()):
        raise BadInput(f"{place}sbatch={shortened(more)} must be a table of sbatch's flags: texts, numbers or true.")
    return more


def scripts(
    points: Sequence[Point], flags: Flags, folder: Folder, slurm: Slurm
) -> tuple[dict[str, str], list[LeftOut]]:
    """Return a file for each point, ``ID.sbatch``, and ``submit.sh``, which submits them; and points that do not fit.

    Raises
    ------
    MissingExtra
        submitit is not installed.
    """
    writer = _submitit()
    texts, left_out = {}, []
    for point in points:
        try:
            texts[f"{point.id}.sbatch"] = _script(writer, point, flags, folder, slurm)
        except BadInput as problem:
            left_out.append(LeftOut(point.tables[0], point.options, str(problem), point.id))
    return {**texts, SUBMIT: _submission(list(texts))} if texts else {}, left_out


def _script(writer: Any, point: Point, flags: Flags, folder: Folder, slurm: Slurm) -> str:
    """Return the script of a point. Submitted again, it ends at once if the point is measured."""
    num_nodes, per_node = _nodes(point, slurm)
    cores = slurm.cpus_per_task or point.cores_per_process
    result = folder.result(point.id).absolute()
    arguments = [*train_arguments(flags, point.options), f"--result={result}"]
    text: str = writer(
        command=f"{slurm.python} -m walltime {shlex.join(arguments)}",
        folder=(folder.path / "logs").absolute(),
        job_name=f"walltime-{point.id}",
        nodes=num_nodes,
        ntasks_per_node=per_node,
        gpus_per_node=None if point.options.get("device") == "cpu" else per_node,
        cpus_per_task=cores,
        time=math.ceil((slurm.time_s + _WARNING_S) / 60),
        signal_delay_s=_WARNING_S,
        setup=[f"[ -e {shlex.quote(str(result))} ] && exit 0  # measured already", *slurm.setup, *_SETUP],
        srun_args=_srun_arguments(cores),
        stderr_to_stdout=True,
        wckey=None,
        additional_parameters=dict(slurm.sbatch),
        **slurm.parameters,
    )
    return text


def _srun_arguments(cores: int | None) -> list[str]:
    """Return what srun is told itself: since Slurm 22.05 it does not take the cores of a task from its job."""
    return ["--kill-on-bad-exit=1", *([] if cores is None else [f"--cpus-per-task={cores}"])]


def _submission(names: list[str]) -> str:
    """Return a script that submits the others, from wherever it is called."""
    lines = [f"sbatch {shlex.quote(name)}" for name in names]
    return "\n".join(["#!/bin/bash", "set -e", 'cd "$(dirname "$0")"', *lines, ""])


def _nodes(point: Point, slurm: Slurm) -> tuple[int, int]:
    """Return the nodes of a point and its processes on each."""
    if point.num_gpus <= slurm.gpus_per_node:
        return 1, point.num_gpus
    if point.num_gpus % slurm.gpus_per_node:
        raise BadInput(f"gpus={point.num_gpus} does not fill nodes of gpus_per_node={slurm.gpus_per_node}.")
    return point.num_gpus // slurm.gpus_per_node, slurm.gpus_per_node


def _submitit() -> Any:
    """Return the function of submitit that writes a script."""
    try:
        return importlib.import_module("submitit.slurm.slurm")._make_sbatch_string
    except ImportError:
        raise MissingExtra(f"sbatch scripts are written through submitit: {INSTALL}") from None
