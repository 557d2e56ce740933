"""A sweep for people and for programs: its points, what became of each, and what was left out."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from walltime.measure.sweep.expansion import ONE_IS_NONE, Expansion
from walltime.measure.sweep.journal import STATUSES, Record
from walltime.measure.sweep.points import LeftOut, Point
from walltime.report.terminal import table
from walltime.units import format_count, format_time

Records = Mapping[str, Record]

_WORDS = {"ok": "ok", "oom": "out of memory", "failed": "failed", "timeout": "timed out"}
_SHOWN_LEFT_OUT = 20
_ALWAYS = ("tp", "pp", "dp", "batch")
"""Options that the table shows although all points agree in them, where any has them."""


def sweep_text(expansion: Expansion, records: Records) -> str:
    """Return the summary of a sweep: a line for each point, then what failed and what was left out."""
    parts = [_points_table(expansion.points, records), counts_text(expansion, records)]
    troubles = [record for point in expansion.points if (record := records.get(point.id)) and not record.is_measured]
    if troubles:
        parts.append("\n".join(f"{_WORDS[record.status]}: {record.id}: {record.message}" for record in troubles))
    if expansion.left_out:
        parts.append(_left_out_text(expansion))
    return "\n\n".join(parts)


def _points_table(points: Sequence[Point], records: Records) -> str:
    shown = _shown_options(points)
    repeats = any(point.repeat for point in points)
    header = ["point", "gpus", *shown, *(["repeat"] if repeats else []), "status", "step", "tokens/s/gpu", "took"]
    rows = [
        [
            point.id,
            format_count(point.num_gpus),
            *(_cell(point.options.get(name, 1 if name in ONE_IS_NONE else None)) for name in shown),
            *([str(point.repeat + 1)] if repeats else []),
            *_outcome(records.get(point.id)),
        ]
        for point in points
    ]
    return table(header, rows)


def _shown_options(points: Sequence[Point]) -> list[str]:
    """Return the options in which points differ, after the usual ones."""
    every = list(dict.fromkeys(name for point in points for name in point.options))
    differing = [name for name in every if len({repr(point.options.get(name)) for point in points}) > 1]
    return [name for name in _ALWAYS if name in every] + [name for name in differing if name not in _ALWAYS]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _outcome(record: Record | None) -> list[str]:
    """Return status, step time, speed and duration; dashes for what there is not."""
    if record is None:
        return ["-", "-", "-", "-"]
    step_s, speed = (_number(record.row.get(name)) for name in ("step_time_s", "tokens_per_s_per_gpu"))
    return [
        _WORDS[record.status],
        "-" if step_s is None else format_time(step_s),
        "-" if speed is None else f"{speed:,.0f}",
        "-" if record.elapsed_s is None else format_time(record.elapsed_s),
    ]


def _number(cell: Any) -> float | None:
    """Return the number in a cell of a measured row, None in an empty one."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def counts(expansion: Expansion, records: Records) -> dict[str, int]:
    """Return how many points have each status, how many none yet, and how many were left out."""
    found = Counter(records[point.id].status for point in expansion.points if point.id in records)
    waiting = len(expansion.points) - found.total()
    return {**{status: found[status] for status in STATUSES}, "waiting": waiting, "left_out": len(expansion.left_out)}


def counts_text(expansion: Expansion, records: Records) -> str:
    """Return the counts as words; what there is none of is not said."""
    number = counts(expansion, records)
    words = {**_WORDS, "waiting": "not measured yet", "left_out": "left out"}
    said = [f"{format_count(number[name])} {word}" for name, word in words.items() if number[name]]
    return f"{format_count(len(expansion.points))} points: {', '.join(said) or 'nothing'}"


def _left_out_text(expansion: Expansion) -> str:
    """Return what was left out and why, the first of many."""
    shared = _shared_options(expansion)
    lines = [
        f"left out: {each.table}, {_options_text(each, shared)}: {each.reason}"
        for each in expansion.left_out[:_SHOWN_LEFT_OUT]
    ]
    more = len(expansion.left_out) - len(lines)
    return "\n".join([*lines, f"... and {more} more (--json has all)"] if more else lines)


def _shared_options(expansion: Expansion) -> set[str]:
    """Return the options in which all combinations agree, which tell nothing of one of them."""
    every = [point.options for point in expansion.points] + [each.options for each in expansion.left_out]
    return {name for name in every[0] if len({repr(options.get(name)) for options in every}) == 1}


def _options_text(each: LeftOut, shared: Collection[str]) -> str:
    return ", ".join(f"{name} {_cell(value)}" for name, value in each.options.items() if name not in shared)


def point_text(point: Point, record: Record) -> str:
    """Return one line on a point that has just finished."""
    degrees = ", ".join(f"{name} {point.options[name]}" for name in _ALWAYS if name in point.options)
    repeated = f", repeat {point.repeat + 1}" if point.repeat else ""
    status, step, _, took = _outcome(record)
    said = [status, f"{step} a step" if record.status == "ok" and step != "-" else "", f"took {took}"]
    tail = f": {record.message}" if record.message and not record.is_measured else ""
    return f"{point.id}  gpus {point.num_gpus}, {degrees}{repeated}: {', '.join(filter(None, said))}{tail}"


def plan_text(expansion: Expansion, commands: Sequence[Sequence[str]], records: Records) -> str:
    """Return what a sweep would run: each point with its command."""
    import shlex

    lines = []
    for point, command in zip(expansion.points, commands, strict=True):
        record = records.get(point.id)
        cores = f"on {point.num_cores} core{'s' if point.num_cores != 1 else ''}" if point.num_cores else ""
        notes = [cores, _WORDS[record.status] if record else ""]
        comment = f"  # {', '.join(filter(None, notes))}" if any(notes) else ""
        lines.append(f"{point.id}  {shlex.join(command)}{comment}")
    parts = ["\n".join(lines), counts_text(expansion, records)]
    if expansion.left_out:
        parts.append(_left_out_text(expansion))
    return "\n\n".join(parts)


def sweep_json(expansion: Expansion, records: Records) -> dict[str, Any]:
    """Return the points with what became of them."""
    return {
        "counts": counts(expansion, records),
        "points": [_point_json(point, records.get(point.id)) for point in expansion.points],
        "left_out": [
            {"table": each.table, "options": each.options, "reason": each.reason} for each in expansion.left_out
        ],
    }


def _point_json(point: Point, record: Record | None) -> dict[str, Any]:
    asked = {"id": point.id, "tables": list(point.tables), **point.request()}
    if record is None:
        return {**asked, "status": None}
    names = ("status", "row", "started", "elapsed_s", "attempts", "exit_code", "message", "last_lines")
    return {**asked, **{name: getattr(record, name) for name in names}}
