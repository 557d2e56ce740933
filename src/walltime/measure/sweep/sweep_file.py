"""Reading ``SWEEP.toml``: what every point shares, the tables of what differs, and how they are run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from walltime.catalog.loader import read_toml
from walltime.measure.sweep.flags import MODEL, Flags, names
from walltime.problems import BadInput, unknown
from walltime.units import parse_quantity, shortened, whole

Kind = Literal["weak", "strong", "model-parallel", "grid"]
KINDS: tuple[Kind, ...] = ("weak", "strong", "model-parallel", "grid")
Order = Literal["as-written", "smallest-first", "shuffled"]
ORDERS: tuple[Order, ...] = ("as-written", "smallest-first", "shuffled")

GPUS, LOCAL_BATCH, BATCH, CORES = "gpus", "local_batch", "batch", "cores_per_process"
OWN = (GPUS, LOCAL_BATCH, CORES)
"""Fields that a sweep has beside those of ``measure train``.

Processes; sequences of a data-parallel rank; and cores that a process is kept to, without which processes share what
there is, one more of it than two.
"""
DEFAULT_TIMEOUT_S = 1800.0
"""Of a point: several times what starting, compiling and some tens of steps of a large model take. [s]"""
DEFAULT_RETRIES = 1
"""Of a point that fails: once, since a port or a node that is briefly gone is commoner than two."""
_MOST_REPEATS, _MOST_RETRIES = 1000, 100
_TOP = ("timeout", "retries", "repeat", "order", "base", "sweep", "slurm")
_RULED = {
    "weak": "gpus is a list and local_batch is fixed",
    "strong": "gpus is a list and batch is fixed",
    "model-parallel": "gpus is one number; tp and pp are every divisor, or lists",
}


@dataclass(frozen=True)
class Table:
    """One ``[[sweep]]``.

    Attributes
    ----------
    name
        Its kind, with its number in the file where there are several.
    kind
        What is varied.
    fixed
        Fields with one value, over those of the base.
    axes
        Fields with a list of values, in the order of the file.
    """

    name: str
    kind: Kind
    fixed: Mapping[str, Any]
    axes: Mapping[str, list[Any]]


@dataclass(frozen=True)
class Sweep:
    """A file of a sweep.

    Attributes
    ----------
    path
        Of the file.
    base
        Fields that every point shares, unless its table says otherwise.
    tables
        In the order of the file.
    timeout_s
        After which a point is ended. [s]
    retries
        How often a point that failed is tried again.
    repeat
        How often every point is measured.
    order
        In which points run.
    slurm
        The table ``[slurm]``, read by `walltime.measure.sweep.slurm`.
    """

    path: Path
    base: Mapping[str, Any]
    tables: Sequence[Table]
    timeout_s: float = DEFAULT_TIMEOUT_S
    retries: int = DEFAULT_RETRIES
    repeat: int = 1
    order: Order = "as-written"
    slurm: Mapping[str, Any] = field(default_factory=dict)


def read_sweep(path: Path, flags: Flags) -> Sweep:
    """Read a file.

    Raises
    ------
    BadInput
        A field is unknown or its value is not of its kind; the line names file, table and field.
    """
    content = read_toml(path)
    for key in content:
        if key not in _TOP:
            more = " Fields of every point stand under [base]." if key in names(flags, OWN) else ""
            raise BadInput(f"{path}: {unknown('field', key, _TOP)}{more}")
    base = _table_of(path, content, "base")
    fixed = {name: _value(flags, name, value, f"{path}: base.", path) for name, value in base.items()}
    tables = content.get("sweep", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise BadInput(f"{path}: no points. Valid: one or more tables [[sweep]] with kind = {' or '.join(KINDS)}.")
    return Sweep(
        path=path,
        base=fixed,
        tables=[_table(path, flags, table, index, len(tables)) for index, table in enumerate(tables)],
        slurm=_table_of(path, content, "slurm"),
        **_running(path, content),
    )


def _table_of(path: Path, content: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise BadInput(f"{path}: {name}={shortened(table)} must be a table, [{name}].")
    return table


def _retries(path: Path, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_RETRIES:
        raise BadInput(f"{path}: retries={shortened(value)} must be a whole number from 0 to {_MOST_RETRIES}.")
    return value


def _running(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return how points are run, as far as the file says."""
    said: dict[str, Any] = {}
    if "timeout" in content:
        said["timeout_s"] = parse_quantity(str(content["timeout"]), "seconds", f"{path}: timeout")
    if "retries" in content:
        said["retries"] = _retries(path, content["retries"])
    if "repeat" in content:
        said["repeat"] = whole(content["repeat"], f"{path}: repeat", _MOST_REPEATS)
    if "order" in content:
        if content["order"] not in ORDERS:
            raise BadInput(f"{path}: {unknown('order', content['order'], ORDERS)}")
        said["order"] = content["order"]
    return said


def _table(path: Path, flags: Flags, content: Mapping[str, Any], index: int, count: int) -> Table:
    kind = content.get("kind")
    numbered = f" {index + 1}" if count > 1 else ""
    if kind not in KINDS:
        given = unknown("kind", kind, KINDS) if kind is not None else f"no kind. Valid: {', '.join(KINDS)}."
        raise BadInput(f"{path}: sweep{numbered}: {given}")
    place = f"{path}: sweep{numbered}: "
    fixed: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    for name, value in content.items():
        if name == "kind":
            continue
        if _is_axis(flags, name, value):
            if not value:
                raise BadInput(f"{place}{name}=[] is empty. Valid: one or more values.")
            axes[name] = [_value(flags, name, item, place, path) for item in value]
        else:
            fixed[name] = _value(flags, name, value, place, path)
    table = Table(f"{kind}{numbered}", kind, fixed, axes)
    _check_kind(table, place)
    return table


def _is_axis(flags: Flags, name: str, value: Any) -> bool:
    """Whether a list is of values to try; of a field that is a list itself, only a list of lists is."""
    if not isinstance(value, list):
        return False
    is_list = name in flags and flags[name].is_list
    return not is_list or (bool(value) and all(isinstance(item, list) for item in value))


def _value(flags: Flags, name: str, value: Any, place: str, path: Path) -> Any:
    if name == MODEL:
        if not isinstance(value, str) or not value:
            raise BadInput(f"{place}{MODEL}={shortened(value)} must be text: a name, a config.json or a TOML file.")
        return _beside(path, value)
    if name in OWN:
        return whole(value, f"{place}{name}")
    if name not in flags:
        raise BadInput(f"{place}{unknown('field', name, names(flags, OWN))}")
    return flags[name].value(value, place)


def _beside(path: Path, model: str) -> str:
    """Return a model's name as it is; a file or folder that lies beside the sweep's file, by its path."""
    there = (path.parent / model).absolute()
    is_path = os.sep in model or there.is_file()
    return str(there) if is_path and there.exists() else model


def _check_kind(table: Table, place: str) -> None:
    """Refuse what a kind of sweep fixes and the table varies, or the other way round."""
    kind, axes, fixed = table.kind, table.axes, table.fixed
    ruled = _RULED.get(kind, "")
    foreign = {"weak": BATCH, "strong": LOCAL_BATCH}.get(kind, "")
    if foreign and (foreign in axes or foreign in fixed):
        raise BadInput(f"{place}{foreign} does not go with kind={kind}. Valid: {ruled}.")
    varied = {"weak": LOCAL_BATCH, "strong": BATCH, "model-parallel": GPUS}.get(kind, "")
    if varied in axes:
        raise BadInput(f"{place}{varied}={axes[varied]} is a list. Valid for kind={kind}: {ruled}.")
    if kind in ("weak", "strong") and GPUS not in axes:
        raise BadInput(f"{place}{GPUS} is not a list. Valid for kind={kind}: {ruled}.")
