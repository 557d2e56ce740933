"""What a sweep's points may be asked, taken from ``walltime measure train``, and whether one can be run."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from walltime.cli.measuring import train
from walltime.cli.measuring.train_question import asked_of
from walltime.measure.devices import most_processes, num_cores_here
from walltime.measure.ranks import Place
from walltime.measure.requirements import torch_module
from walltime.measure.sweep.expansion import Check
from walltime.measure.sweep.flags import Flag, Flags, Kind, train_arguments
from walltime.measure.sweep.points import Point
from walltime.problems import BadInput, MissingExtra

_OF_THE_SWEEP = ("result", "csv", "as_json", "traces", "nproc")
"""Flags of ``measure train`` that say where its answer goes or how it is started, which the sweep does."""
_NUM_COMMAND_WORDS = 2  # measure train
_USUAL_DEVICE = "cuda"  # whatever runs on CPUs runs on GPUs


def train_flags() -> Flags:
    """Return the flags of ``walltime measure train`` that a sweep may set, by their names in a file."""
    return {_name(option): _flag(option) for option in _options() if option.name not in _OF_THE_SWEEP}


def _options() -> list[click.Option]:
    return [param for param in train.command.params if isinstance(param, click.Option)]


def _name(option: click.Option) -> str:
    """Return what a file calls an option: its flag."""
    return option.opts[0].removeprefix("--").replace("-", "_")


def _flag(option: click.Option) -> Flag:
    off = option.secondary_opts[0] if option.secondary_opts else ""
    return Flag(_name(option), _kind(option), option.opts[0], off, is_list=option.multiple)


def _kind(option: click.Option) -> Kind:
    if option.is_flag:
        return "yes-no"
    if isinstance(option.type, click.types.IntParamType):
        return "whole"
    return "number" if isinstance(option.type, click.types.FloatParamType) else "text"


def point_check() -> Check:
    """Return what refuses a point that ``measure train`` would refuse, before anything is started.

    Where no device is named, what needs GPUs is not refused: the machine that runs the points says what it has.
    """
    flags = train_flags()

    def check(options: Mapping[str, Any], num_gpus: int) -> None:
        values = _parsed(train_arguments(flags, options)[_NUM_COMMAND_WORDS:])
        asked = asked_of(values, Place(), values.get("device") or _USUAL_DEVICE)
        if (found := asked.request.plan.num_gpus) != num_gpus:
            raise BadInput(f"the plan has {found} processes, not gpus={num_gpus}.")

    return check


def _parsed(arguments: list[str]) -> dict[str, Any]:
    """Return the values that the command would take from its arguments."""
    try:
        with train.command.make_context("train", arguments) as context:
            return context.params
    except click.UsageError as error:
        raise BadInput(error.format_message()) from None


def too_large_here(points: Sequence[Point]) -> dict[str, str]:
    """Return the points that this machine does not have the devices for, by id, and what each lacks.

    Raises
    ------
    MissingExtra
        It has them for none, or PyTorch is not installed.
    """
    num_cores = num_cores_here()
    num_gpus = _num_gpus(points)
    lacking = {point.id: _lacking(point, num_gpus, num_cores) for point in points}
    if points and all(lacking.values()):
        raise MissingExtra(lacking[points[0].id])
    return {name: reason for name, reason in lacking.items() if reason}


def _num_gpus(points: Sequence[Point]) -> int:
    """Return the GPUs here, 0 if no point needs any; loading PyTorch takes seconds."""
    if importlib.util.find_spec("torch") is not None and all(point.options.get("device") == "cpu" for point in points):
        return 0
    return int(torch_module().cuda.device_count())


def _lacking(point: Point, num_gpus: int, num_cores: int) -> str:
    """Say what a point needs and the machine does not have; empty if it has it."""
    if point.num_cores and not hasattr(os, "sched_setaffinity"):
        return f"cores_per_process={point.cores_per_process}: only Linux keeps processes to cores."
    if (point.num_cores or 0) > num_cores:
        return f"gpus={point.num_gpus} x cores_per_process={point.cores_per_process} is more than the {num_cores} here."
    needed, kind = point.num_gpus, point.options.get("device", _USUAL_DEVICE if num_gpus else "cpu")
    most = most_processes(kind, num_cores if kind == "cpu" else num_gpus)
    there = f"{num_cores} cores" if kind == "cpu" else f"{num_gpus} GPUs"
    return f"gpus={needed} is too many for the {there} here. Valid elsewhere: --sbatch." if needed > most else ""
