"""Rows over a growing number of accelerators: scaling efficiency and what is returned for what is added."""

from collections.abc import Iterable, Sequence
from typing import Any

from walltime.planner.scaling import Totals, marginals
from walltime.studies.fernandez2024.points import RUNS


def with_scaling(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add scaling efficiency and marginal returns to rows over a growing number of accelerators.

    Efficiency is tokens a second and accelerator over those of the first row that runs, whose number of accelerators
    stands beside it. Returns are of the step from the row before that runs (`walltime.planner.scaling.Marginal`).
    """
    running = [row for row in rows if row["status"] == RUNS]
    returns = [one.to_row() for one in marginals([_totals(row) for row in running])]
    added: list[dict[str, Any]] = [{}, *returns] if running else []
    for row, new in zip(running, added, strict=True):
        new["base_num_gpus"] = running[0]["num_gpus"]
        new["scaling_efficiency"] = row["tokens_per_s_per_gpu"] / running[0]["tokens_per_s_per_gpu"]
    found = iter(added)
    return [row | next(found) if row["status"] == RUNS else row for row in rows]


def with_scaling_of(rows: Sequence[dict[str, Any]], *alike: str) -> list[dict[str, Any]]:
    """Add scaling efficiency and marginal returns among rows that are alike but for their accelerators.

    Parameters
    ----------
    rows
        Of several curves and numbers of accelerators, whose series end in the number.
    alike
        Columns in which rows of one curve agree, besides their series.
    """
    curves: dict[tuple[Any, ...], list[int]] = {}
    for index, row in enumerate(rows):
        series = row["series"].removesuffix(f"{row['num_gpus']:,} GPUs")
        curves.setdefault((series, *(row[name] for name in alike)), []).append(index)
    found = list(rows)
    for indices in curves.values():
        ascending = sorted(indices, key=lambda index: int(rows[index]["num_gpus"]))
        for index, row in zip(ascending, with_scaling([rows[index] for index in ascending]), strict=True):
            found[index] = row
    return found


def _totals(row: dict[str, Any]) -> Totals:
    return Totals(
        num_gpus=row["num_gpus"],
        tokens_per_s=row["tokens_per_s"],
        goodput_tokens_per_s=row["goodput_tokens_per_s"],
        power_w=row["total_board_power_w"],
        usd_per_hour=row["usd_per_hour"],
    )


def complete(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return rows that all have the same columns, None where a row has no number."""
    listed = list(rows)
    columns = list(dict.fromkeys(key for row in listed for key in row))
    return tuple({column: row.get(column) for column in columns} for row in listed)
