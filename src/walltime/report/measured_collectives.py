"""Measured collectives as text and as JSON."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from walltime.measure.collective_rows import OOM, WRONG, CollectiveRow
from walltime.measure.collectives.survey import CollectiveSurvey
from walltime.report.terminal import table
from walltime.units import format_si, format_time

_SHOWN_SIZES = 8
"""Sizes of a table, spread over those that were measured; the file has all."""


def collectives_text(found: CollectiveSurvey, csv: Path | None) -> str:
    """Return what `walltime measure collectives` prints."""
    ok = [row for row in found.rows if row.time_s is not None]
    blocks = [_heading(found, ok), *_tables(ok)]
    blocks += ["\n".join(collective_warnings(found))] if collective_warnings(found) else []
    return "\n\n".join([*blocks, _next(csv)])


def _heading(found: CollectiveSurvey, ok: list[CollectiveRow]) -> str:
    told = found.environment
    known = f", {found.num_known} more were known" if found.num_known else ""
    nodes = told["num_nodes"]
    where = f"{told['num_ranks']} processes on {nodes} node{'s' if nodes > 1 else ''}"
    lines = [
        f"{where}, each on {told['device']}",
        f"  collectives  {len(ok)} measured in {format_time(found.elapsed_s)}{known}",
        *([f"  library      {ok[0].library}"] if ok else []),
    ]
    return "\n".join(lines)


def _tables(rows: list[CollectiveRow]) -> Iterator[str]:
    """One table for each shape of group: time and bus bandwidth by size."""
    for group in dict.fromkeys((row.group, row.n_gpus, row.n_nodes, row.concurrent_groups) for row in rows):
        members = [row for row in rows if (row.group, row.n_gpus, row.n_nodes, row.concurrent_groups) == group]
        yield "\n".join([_title(members[0]), _table(members)])


def _title(row: CollectiveRow) -> str:
    several = f", {row.concurrent_groups} such groups at once" if (row.concurrent_groups or 1) > 1 else ""
    return f"{row.group}: {row.n_gpus} ranks{several}; time, and bus bandwidth as in nccl-tests, {row.dtype}"


def _table(rows: list[CollectiveRow]) -> str:
    names = list(dict.fromkeys(row.collective for row in rows))
    by_size: dict[int, dict[str, CollectiveRow]] = {}
    for row in rows:
        by_size.setdefault(_power_of_two(row.size_bytes or 0), {})[row.collective] = row
    sizes = sorted(by_size)
    step = max(1, -(-len(sizes) // _SHOWN_SIZES))
    shown = sorted({*sizes[::step], sizes[-1]})
    header = ["size", *(part for name in names for part in (name.replace("_", "-"), "busbw"))]
    lines = [
        [format_si(size, "B", 3), *(cell for name in names for cell in _cells(by_size[size].get(name)))]
        for size in shown
    ]
    return table(header, lines)


def _power_of_two(size_bytes: int) -> int:
    """Return the power of two nearest to a size: some collectives need whole parts, and are a few bytes smaller."""
    return 1 << round(math.log2(max(1, size_bytes)))


def _cells(row: CollectiveRow | None) -> tuple[str, str]:
    if row is None or row.time_s is None or row.busbw_gb_per_s is None:
        return "-", "-"
    return format_time(row.time_s), format_si(row.busbw_gb_per_s * 1e9, "B/s", 3)


def collective_warnings(found: CollectiveSurvey) -> list[str]:
    """Return what a reader of the numbers must mind."""
    return list(_warnings(found))


def _warnings(found: CollectiveSurvey) -> Iterator[str]:
    oom = sum(row.status == OOM for row in found.rows)
    wrong = sum(row.status == WRONG for row in found.rows)
    if wrong:
        yield f"{wrong} results were WRONG: their times are not given."
    if oom:
        yield f"{oom} ladders of sizes ended where memory did not do."
    if found.num_left:
        yield f"{found.num_left} sizes were left: memory or the budget did not do."


def _next(csv: Path | None) -> str:
    if csv is None:
        return "next: the same with --csv collectives.csv, which keeps every row"
    return f"next: walltime calibrate kernels.csv {csv} --name my-cluster"


def collectives_json(found: CollectiveSurvey) -> dict[str, Any]:
    """Return the result of `walltime measure collectives --json`, but for its rows."""
    return {
        "environment": found.environment,
        "elapsed_s": found.elapsed_s,
        "num_measured": sum(row.time_s is not None for row in found.rows),
        "num_out_of_memory": sum(row.status == OOM for row in found.rows),
        "num_wrong": sum(row.status == WRONG for row in found.rows),
        "num_known": found.num_known,
        "num_left": found.num_left,
    }
