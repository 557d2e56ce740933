"""Where a run can be exported to."""

from collections.abc import Callable
from pathlib import Path

from walltime.interop.deepspeed import deepspeed_files
from walltime.interop.header import predicted
from walltime.interop.megatron import megatron_files
from walltime.interop.megatron_bridge import megatron_bridge_files
from walltime.interop.perfetto import trace_json
from walltime.interop.run import Run, run_command
from walltime.interop.run_file import run_json, run_toml
from walltime.interop.torchtitan import torchtitan_files
from walltime.problems import BadInput, unknown

Files = dict[str, str]
"""Texts of files by their names; the first is the main one."""
_LAUNCHED: dict[str, Callable[..., Files]] = {
    "megatron": megatron_files,
    "megatron-bridge": megatron_bridge_files,
    "torchtitan": torchtitan_files,
    "deepspeed": deepspeed_files,
}
_READ_BACK: dict[str, Callable[[Run, Path | None], str]] = {"json": run_json, "toml": run_toml}
_TRACE = "trace"
_ALIASES = {"nemo": "megatron-bridge", "megatron-lm": "megatron", "bridge": "megatron-bridge"}
_STACKS = {"megatron": "megatron-core", "torchtitan": "torchtitan", "deepspeed": "deepspeed"}
TARGETS = (*_LAUNCHED, "nemo", *_READ_BACK, _TRACE)
"""What ``--to`` takes; Megatron-Bridge took over the recipes of NeMo 2."""


def export_files(run: Run, to: str, *, slurm: bool = False, folder: Path | None = None) -> Files:
    """Return a run in the form of another program.

    Parameters
    ----------
    run
        What is run; its plan was checked.
    to
        One of `TARGETS`.
    slurm
        Started by a Slurm batch script.
    folder
        Where a file that is read back will lie, as for `walltime.interop.run.run_values`.

    Raises
    ------
    BadInput
        An unknown target, or one that is not started.
    NegativeAnswer
        The target cannot express the model or the plan.
    """
    target = _ALIASES.get(to, to)
    if target in _LAUNCHED:
        return _LAUNCHED[target](run, slurm=slurm)
    if target not in (*_READ_BACK, _TRACE):
        raise unknown("target", to, TARGETS)
    if slurm:
        raise BadInput(f"slurm: {to} starts nothing. Valid with: {', '.join(_LAUNCHED)}.")
    if target == _TRACE:
        command = run_command(run, "export", "--to", _TRACE)
        return {"trace.json": trace_json(predicted(run).timeline(), command)}
    return {f"run.{target}": _READ_BACK[target](run, folder)}


def software_note(run: Run, to: str) -> list[str]:
    """Return what to mind if a run was predicted for other software than the target."""
    meant = {"megatron": "megatron", "megatron-bridge": "megatron"}.get(_ALIASES.get(to, to), _ALIASES.get(to, to))
    if meant in (*_READ_BACK, _TRACE) or run.stack.id.startswith(meant):
        return []
    return [f"the prediction is for the stack {run.stack.id}; --stack {_STACKS[meant]} is what runs there"]
