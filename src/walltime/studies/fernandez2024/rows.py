"""Rows over a growing number of accelerators: scaling efficiency and what is returned for what is added."""

from collections.abc import Iterable, Sequence
from typing import Any

from walltime.studies.fernandez2024.points import RUNS


def with_scaling(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add scaling efficiency and marginal returns to rows over a growing number of accelerators.

    Efficiency is tokens a second and accelerator over those of the first row that runs, whose number of accelerators
    stands beside it. Returns are of the step from the row before: tokens/s for each accelerator, tokens for each joule
    of the boards, tokens for each dollar that is added.
    """
    running = [row for row in rows if row["status"] == RUNS]
    first = running[0] if running else None
    before: dict[str, Any] | None = None
    found = []
    for row in rows:
        new: dict[str, Any] = dict.fromkeys(_SCALING)
        if row["status"] == RUNS and first is not None:
            new["base_num_gpus"] = first["num_gpus"]
            new["scaling_efficiency"] = row["tokens_per_s_per_gpu"] / first["tokens_per_s_per_gpu"]
            new |= _marginal(before, row) if before else {}
            before = row
        found.append(row | new)
    return found


_SCALING = (
    "base_num_gpus",
    "scaling_efficiency",
    "marginal_tokens_per_s_per_gpu",
    "marginal_tokens_per_j",
    "marginal_tokens_per_usd",
)


def _marginal(before: dict[str, Any], row: dict[str, Any]) -> dict[str, float | None]:
    """Return what the accelerators that were added bring, over what they need."""
    gained = row["tokens_per_s"] - before["tokens_per_s"]

    def over(name: str, scale: float = 1.0) -> float | None:
        if row[name] is None or before[name] is None or row[name] == before[name]:
            return None
        return float(scale * gained / (row[name] - before[name]))

    return {
        "marginal_tokens_per_s_per_gpu": over("num_gpus"),
        "marginal_tokens_per_j": over("total_board_power_w"),
        "marginal_tokens_per_usd": over("usd_per_hour", 3600),
    }


def complete(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return rows that all have the same columns, None where a row has no number."""
    listed = list(rows)
    columns = list(dict.fromkeys(key for row in listed for key in row))
    return tuple({column: row.get(column) for column in columns} for row in listed)
