"""A run of a real model, and how to say it in the flags of ``walltime estimate``."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from walltime.catalog import DATASHEET, ModelRecord, parameter_set
from walltime.engines.stack import Stack, stack
from walltime.hardware import Cluster
from walltime.interop.cluster_settings import cluster_settings, is_file
from walltime.interop.quoting import shell_word
from walltime.plan import Plan
from walltime.problems import BadInput
from walltime.workload import Training
from walltime.workload.flop import Convention

_ALWAYS = ("tp", "cp", "pp", "micro_batch", "sharding", "precision", "recompute")

_DEPENDENT: dict[str, Callable[[Plan], bool]] = {
    "schedule": lambda plan: plan.pp > 1,
    "sequence_parallel": lambda plan: plan.tp > 1,
    "reshard": lambda plan: plan.sharding == "zero3",
    "recompute_layers": lambda plan: plan.recompute == "full" and plan.recompute_layers < 1,
}
"""Fields that mean something only beside others; the stack decides on some of them where nothing is said."""


@dataclass(frozen=True)
class Run:
    """A training run of a real model: all that an estimate depends on.

    Attributes
    ----------
    model
        The name of ``training.model``: of the catalog, or the path of its file.
    training, cluster, plan, stack
        What is trained, on what, how it is split, by what software.
    tokens
        Of the whole run; None for one step.
    convention
        How model FLOP are counted.
    """

    model: str
    training: Training
    cluster: Cluster
    plan: Plan
    stack: Stack
    tokens: float | None = None
    convention: Convention = field(default="causal-attention", kw_only=True)


def run_values(run: Run, folder: Path | None = None) -> dict[str, Any]:
    """Return a run as the flags of ``walltime estimate`` in words of a run file.

    Parameters
    ----------
    run
        What is run.
    folder
        Where a run file with these values will lie: paths of models and clusters are as seen from there. By default
        from where the program runs.

    Returns
    -------
    dict
        Keys as in a run file. Every choice that the plan's own fields do not imply is there, so that defaults may
        change later.

    Raises
    ------
    BadInput
        Software that was changed beyond its attention kernel, which no flag says.
    """
    values: dict[str, Any] = {
        "model": _seen_from(run.model, folder),
        "on": f"{run.plan.num_gpus}x{_seen_from(run.cluster.id, folder)}",
        "stack": run.stack.id,
        "seq_len": run.training.seq_len,
        "batch": run.training.batch_seqs,
        **_plan_values(run.plan),
        "set": cluster_settings(run.cluster),
        "attention": _attention(run.stack),
        "tokens": None if run.tokens is None else _number(run.tokens),
        "convention": run.convention if run.convention != "causal-attention" else None,
    }
    return {key: value for key, value in values.items() if value not in (None, [])}


def run_command(run: Run, verb: str, *more: str) -> str:
    """Return the command that asks ``verb`` of a run, with every choice as a flag.

    Parameters
    ----------
    run
        What is run.
    verb
        Of ``walltime``: ``estimate`` or ``export``.
    more
        Further words of the command.
    """
    values = run_values(run)
    words = ["walltime", verb, values.pop("model")]
    for key, value in values.items():
        words += _flag(key, value)
    return " ".join(shell_word(word) for word in [*words, *more])


def _flag(key: str, value: Any) -> list[str]:
    name = f"--{key.replace('_', '-')}"
    if isinstance(value, bool):
        return [name if value else f"--no-{name.removeprefix('--')}"]
    if isinstance(value, list):
        return [word for item in value for word in (name, item)]
    return [name, str(value)]


def _number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value


def _seen_from(name: str, folder: Path | None) -> str:
    """Return a name as it is, the path of a file as seen from a folder."""
    is_the_catalogs = parameter_set(DATASHEET).find(ModelRecord, name) is not None  # meta-llama/Llama-3.1-405B
    is_path = is_file(name) or (Path(name) / "config.json").is_file()
    if folder is None or is_the_catalogs or not is_path or Path(name).is_absolute():
        return name
    return f"./{Path(os.path.relpath(name, folder)).as_posix()}"


# The plan


def _plan_values(plan: Plan) -> dict[str, Any]:
    """Return the fields of a plan that are said always, and the others where they are not usual or mean something.

    ``dp`` follows from the cluster, so that a flag may change another degree.
    """
    said = {name: getattr(plan, name) for name in _ALWAYS}
    usual = Plan()
    for name in (f.name for f in fields(Plan)):
        value = getattr(plan, name)
        if name not in (*said, "dp", *_DEPENDENT) and value != getattr(usual, name):
            said[name] = ",".join(value) if name == "order" else value
    return said | {name: getattr(plan, name) for name, matters in _DEPENDENT.items() if matters(plan)}


def _attention(software: Stack) -> str | None:
    usual = stack(software.id)
    if replace(software, attention=usual.attention) != usual:
        changed = [f.name for f in fields(Stack) if getattr(software, f.name) != getattr(usual, f.name)]
        raise BadInput(
            f"stack {software.id} was changed in {', '.join(changed)}; a run file can say only its attention kernel."
        )
    return software.attention if software.attention != usual.attention else None
