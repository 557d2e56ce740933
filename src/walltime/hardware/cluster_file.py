"""A user's own cluster from a TOML file."""

from pathlib import Path
from typing import Any

import msgspec

from walltime.catalog import DATASHEET, AcceleratorRecord, parameter_set, read_toml
from walltime.catalog.calibrations import is_calibration_file
from walltime.catalog.loader import plain_words
from walltime.hardware.accelerator import Accelerator
from walltime.hardware.cluster import Cluster, cluster, missing
from walltime.hardware.network import LARGEST_GROUP, Network
from walltime.hardware.overrides import override
from walltime.problems import BadInput
from walltime.units import parse_quantity, whole


class _Level(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    bandwidth: str
    latency: str
    size: int | None = None


class _ClusterFile(msgspec.Struct, forbid_unknown_fields=True):
    accelerator: str
    level: list[_Level]
    name: str = ""
    parameters: str = DATASHEET
    precision: str | None = None
    set: list[str] = []


def cluster_from_file(path: Path, parameters: str | None = None, precision: str | None = None) -> Cluster:
    """Read a cluster: an accelerator of the catalog on a network of the user's own, or a calibration's machine.

    A calibration (`walltime.catalog.calibrations`) is told by its content, and the path is its machine's id. Otherwise
    the file has ``accelerator``, one ``[[level]]`` a network level from the innermost outwards (``name``,
    ``bandwidth`` per accelerator and direction, ``latency``, and ``size`` for all but the last), and optionally
    ``name``, ``parameters`` (whose numbers describe the accelerator), ``precision`` and ``set``, a list of
    settings as for `walltime.hardware.override`. ``parameters`` and ``precision`` override the file's.

    Raises
    ------
    BadInput
        No such file, not TOML, an unknown or missing field, a value without unit, a level without size.
    """
    if path.is_file() and is_calibration_file(path):
        return _calibrated(path, parameters or DATASHEET, precision)
    raw = read_toml(path)
    try:
        content = msgspec.convert(raw, _ClusterFile)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {plain_words(error)}. {_valid_fields(error)}") from None
    name = content.name or path.stem
    network = _network(path, name, content.level)
    try:
        numbers = parameter_set(parameters or content.parameters)
        if numbers.find(AcceleratorRecord, content.accelerator) is None:
            raise missing(numbers, (AcceleratorRecord,), "accelerator", content.accelerator, "accelerators")
        accelerator = Accelerator.from_catalog(numbers, content.accelerator, precision or content.precision)
        return override(Cluster(str(path), name, accelerator, network, parameters=numbers.name), content.set)
    except BadInput as problem:
        raise BadInput(f"{path}: {problem}") from None


def _calibrated(path: Path, parameters: str, precision: str | None) -> Cluster:
    if parameters != DATASHEET:
        raise BadInput(f"{path}: a calibration has numbers of its own, not those of {parameters}. Valid: {DATASHEET}.")
    return cluster(str(path), precision=precision)


def _valid_fields(error: msgspec.ValidationError) -> str:
    """List the fields of the table that is wrong: the file, or a level of it."""
    of_level = "$.level[" in str(error)
    fields = (_Level if of_level else _ClusterFile).__struct_fields__
    return f"Valid fields{' of a level' if of_level else ''}: {', '.join(fields)}."


def _network(path: Path, name: str, levels: list[Any]) -> Network:
    if not levels:
        raise BadInput(f"{path}: a cluster needs at least one [[level]].")
    for level in levels[:-1]:
        if level.size is None:
            raise BadInput(f"{path}: level {level.name!r} needs a size: only the last is open-ended.")
        whole(level.size, f"{path}: {level.name}.size", LARGEST_GROUP)
    names = [level.name for level in levels]
    if len(set(names)) < len(names):
        raise BadInput(f"{path}: two levels have the same name; there are {', '.join(names)}.")
    if levels[-1].size is not None:
        raise BadInput(f"{path}: the last level, {levels[-1].name!r}, is open-ended and has no size.")
    return Network(
        id=path.stem,
        name=name,
        level_names=tuple(level.name for level in levels),
        level_sizes=tuple(level.size for level in levels[:-1]),
        bytes_per_s=tuple(parse_quantity(lv.bandwidth, "bytes/s", f"{path}: {lv.name}.bandwidth") for lv in levels),
        latency_s=tuple(parse_quantity(lv.latency, "seconds", f"{path}: {lv.name}.latency") for lv in levels),
    )
