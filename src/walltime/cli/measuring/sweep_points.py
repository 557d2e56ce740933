"""What a sweep's points may be asked, taken from ``walltime measure train``, and whether one can be run."""

import functools
import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from walltime import api
from walltime.measure.sweep.flags import Flag, Flags, Kind
from walltime.plan import Plan
from walltime.plan.divisibility import check_division
from walltime.problems import BadInput
from walltime.workload import Training, Transformer

_OF_THE_SWEEP = ("result", "csv", "csv_path", "as_json", "traces", "nproc", "help")
"""Flags of ``measure train`` that say where its answer goes or how it is started, which the sweep does."""
_DEGREES = ("tp", "cp", "dp", "pp", "ep", "etp", "shard", "micro_batch", "vpp")
_CHOICES = ("schedule", "sharding", "precision", "cp_algorithm", "sequence_parallel", "reshard", "recompute")


def train_flags() -> Flags:
    """Return the flags of ``walltime measure train`` that a sweep may set."""
    command: click.Command = importlib.import_module("walltime.cli.measuring.train").command
    options = [param for param in command.params if isinstance(param, click.Option)]
    flags = [_flag(option) for option in options if option.name not in _OF_THE_SWEEP]
    return {flag.name: flag for flag in flags}


def _flag(option: click.Option) -> Flag:
    on = next((opt for opt in option.opts if opt.startswith("--")), option.opts[0])
    off = option.secondary_opts[0] if option.secondary_opts else ""
    return Flag(str(option.name), _kind(option), on, off, is_list=option.multiple)


def _kind(option: click.Option) -> Kind:
    if option.is_flag:
        return "yes-no"
    if isinstance(option.type, click.types.IntParamType):
        return "whole"
    return "number" if isinstance(option.type, click.types.FloatParamType) else "text"


def check_point(options: Mapping[str, Any], num_gpus: int) -> None:
    """Refuse a point whose model is unknown or that its plan does not divide.

    Raises
    ------
    BadInput
        The first thing that is wrong.
    """
    model = _model(str(options["model"]), options.get("layers"))
    degrees: dict[str, Any] = {name: int(options[name]) for name in _DEGREES if name in options}
    choices: dict[str, Any] = {name: options[name] for name in _CHOICES if name in options}
    plan = Plan(**degrees, **{"sequence_parallel": False} | choices)
    if "batch" in options:
        seq_len = options.get("seq_len") or api.usual_seq_len(model)
        check_division(plan, Training(model, seq_len, options["batch"]))
    if plan.num_gpus != num_gpus:
        raise BadInput(f"the plan occupies {plan.num_gpus} accelerators, not gpus={num_gpus}.")


@functools.cache
def _model(name: str, num_layers: int | None) -> Transformer:
    model, _ = api.real_model(name)
    return model if num_layers is None else replace(model, num_layers=num_layers)
