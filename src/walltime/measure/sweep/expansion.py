"""From a sweep's tables to its points: every combination, resolved and checked, each once."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from walltime.measure.sweep.flags import MODEL
from walltime.measure.sweep.points import LeftOut, Point, point_id
from walltime.measure.sweep.sweep_file import BATCH, CORES, GPUS, LOCAL_BATCH, OWN, Sweep, Table
from walltime.problems import BadInput
from walltime.units import shortened

_SAYING_THE_SAME = ((BATCH, "batch_tokens", LOCAL_BATCH), (GPUS, "dp"))
"""Fields of which a table's replaces the base's."""
_DEGREES = ("tp", "cp", "pp")
ONE_IS_NONE = ("tp", "cp", "pp", "ep", "etp", "vpp", "micro_batch")
"""Degrees whose 1 is the same as leaving them out."""
MOST_POINTS = 100_000
"""More than anybody measures: a slip, refused before it fills the memory."""

Check = Callable[[Mapping[str, Any], int], None]
"""Refuses, with `BadInput`, options of a point on so many accelerators that cannot be run."""


@dataclass(frozen=True)
class Expansion:
    """The points of a sweep in the order in which they run, and what was left out with the reason."""

    points: list[Point]
    left_out: list[LeftOut]


def expand(sweep: Sweep, check: Check) -> Expansion:
    """Return the points of a sweep.

    Identical points of several tables are one. Repetitions come after all points, so that what drifts meanwhile (the
    temperature, say) meets all of them alike.

    Raises
    ------
    BadInput
        Nothing at all can be run, or a file asks for more than anybody measures.
    """
    found: dict[str, Point] = {}
    left_out: list[LeftOut] = []
    for table, options in _all_combinations(sweep):
        try:
            point = _point(options, table.name)
            check(point.options, point.num_gpus)
        except BadInput as problem:
            left_out.append(LeftOut(table.name, options, str(problem)))
            continue
        known = found.get(point.id, point)
        found[point.id] = replace(known, tables=tuple(dict.fromkeys((*known.tables, table.name))))
    if not found:
        more = f" (the first of {len(left_out)} points, all left out)" if len(left_out) > 1 else ""
        raise BadInput(f"{sweep.path}: {left_out[0].reason}{more}")
    return Expansion(_repeated(_ordered(list(found.values()), sweep), sweep.repeat), left_out)


def _all_combinations(sweep: Sweep) -> Iterator[tuple[Table, dict[str, Any]]]:
    count = 0
    for table in sweep.tables:
        fixed, axes = _fixed_and_axes(sweep, table)
        count += math.prod(map(len, axes.values()))
        if count * sweep.repeat > MOST_POINTS:
            raise BadInput(f"{sweep.path}: {table.name}: more than {MOST_POINTS:,} points.")
        for values in itertools.product(*axes.values()):
            combination = fixed | dict(zip(axes, values, strict=True))
            if table.kind != "model-parallel" or _is_wanted(combination, table):
                yield table, combination


def _fixed_and_axes(sweep: Sweep, table: Table) -> tuple[dict[str, Any], Mapping[str, list[Any]]]:
    """Return what all points of a table share, and the lists whose product they are."""
    base = _without_rivals(sweep.base, {**table.fixed, **table.axes})
    fixed = base | dict(table.fixed)
    return fixed, _model_parallel_axes(fixed, table) if table.kind == "model-parallel" else table.axes


def _without_rivals(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base without what a table says in another way."""
    rivals = {name for group in _SAYING_THE_SAME if any(n in over for n in group) for name in group}
    return {name: value for name, value in base.items() if name not in rivals}


def _model_parallel_axes(fixed: Mapping[str, Any], table: Table) -> Mapping[str, list[Any]]:
    """Return tp and pp as every divisor of the processes, unless the table has them, and its other axes."""
    if GPUS not in fixed:
        raise BadInput(f"{table.name}: {GPUS} is not given. Valid: the number of processes that tp x pp divides.")
    num_gpus = fixed[GPUS]
    divisors = [d for d in range(1, num_gpus + 1) if num_gpus % d == 0]
    degrees = {name: divisors for name in ("tp", "pp") if name not in table.fixed and name not in table.axes}
    return {**table.axes, **degrees}


def _is_wanted(options: Mapping[str, Any], table: Table) -> bool:
    """Whether a combination that nobody wrote down fills the processes; what was written down is said to be left out.

    The list of all tp x pp is every divisor by every divisor, most of which are no plan.
    """
    written = {*table.fixed, *table.axes}
    return {"tp", "pp"} <= written or _whole(options, GPUS) % _inner(options) == 0


def _point(options: Mapping[str, Any], table: str) -> Point:
    """Return the point with its degrees multiplied out and its batch in sequences."""
    if MODEL not in options:
        raise BadInput("model is not given. Valid: model = a name, a config.json or a TOML file, under [base].")
    num_gpus, dp = _degrees(options)
    own = {name: value for name, value in options.items() if name not in (*OWN, "dp", *ONE_IS_NONE)}
    degrees = {name: _whole(options, name) for name in ONE_IS_NONE if name in options}
    degrees = {name: degree for name, degree in degrees.items() if degree > 1}
    resolved = own | degrees | {"dp": dp} | _batch(options, dp)
    ordered = dict(sorted(resolved.items()))
    cores = options.get(CORES)
    return Point(point_id(num_gpus, ordered, 0, cores), num_gpus, ordered, cores_per_process=cores, tables=(table,))


def _degrees(options: Mapping[str, Any]) -> tuple[int, int]:
    """Return the processes and the data parallelism among them."""
    inner, dp = _inner(options), _whole(options, "dp") if "dp" in options else None
    if GPUS not in options:
        return inner * (dp or 1), dp or 1
    num_gpus = _whole(options, GPUS)
    shown = " x ".join(f"{name}={_whole(options, name)}" for name in _DEGREES if name in options) or "1"
    if num_gpus % inner:
        total = f", {inner}," if " x " in shown else ""
        raise BadInput(f"{shown}{total} does not divide gpus={num_gpus}.")
    if dp is not None and inner * dp != num_gpus:
        raise BadInput(f"{shown} x dp={dp} is not gpus={num_gpus}. Valid: dp={num_gpus // inner}.")
    return num_gpus, num_gpus // inner


def _inner(options: Mapping[str, Any]) -> int:
    product = 1
    for name in _DEGREES:
        product *= _whole(options, name) if name in options else 1
    return product


def _whole(options: Mapping[str, Any], name: str) -> int:
    """Return a degree, which the command line may take as text."""
    value = options[name]
    text = str(value)
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise BadInput(f"{name}={shortened(value)} must be a whole number of at least 1.")
    return int(text)


def _batch(options: Mapping[str, Any], dp: int) -> dict[str, Any]:
    """Return the sequences of a step; a batch in tokens is left to the point."""
    if LOCAL_BATCH in options:
        return {BATCH: _whole(options, LOCAL_BATCH) * dp}
    if BATCH not in options and "batch_tokens" not in options:
        raise BadInput("batch is not given. Valid: batch, sequences in a step, or local_batch, those of one dp rank.")
    return {}


def _ordered(points: list[Point], sweep: Sweep) -> list[Point]:
    if sweep.order == "smallest-first":
        return sorted(points, key=lambda point: (point.num_gpus, point.options.get(BATCH) or 0))
    if sweep.order == "shuffled":
        return sorted(points, key=lambda point: point.id)  # a hash: as good as chance, and the same when resumed
    return points


def _repeated(points: list[Point], times: int) -> list[Point]:
    return [point if index == 0 else _again(point, index) for index in range(times) for point in points]


def _again(point: Point, index: int) -> Point:
    new_id = point_id(point.num_gpus, point.options, index, point.cores_per_process)
    return replace(point, id=new_id, repeat=index)
