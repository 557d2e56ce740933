"""Measured kernels and collectives as text and as JSON."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from walltime.measure.kernel_rows import ATTENTION_OPS, GEMM, LAUNCH, MEMORY_OPS, OOM, KernelRow
from walltime.measure.kernels.survey import KernelSurvey
from walltime.report.terminal import table
from walltime.report.validation import percent
from walltime.units import format_si, format_time

NOT_MEASURED = "not measured"
_BUSY = 0.5
"""Interruptions a sample from which on every second sample had to wait for others."""


def kernels_text(found: KernelSurvey, csv: Path | None) -> str:
    """Return what `walltime measure gemm` prints."""
    ok = [row for row in found.rows if row.time_s is not None]
    blocks = [_heading(found, ok)]
    blocks += [block for block in (_products(ok), _memory(ok), _launch(ok)) if block]
    blocks += ["\n".join(kernel_warnings(found))] if kernel_warnings(found) else []
    return "\n\n".join([*blocks, _next(csv)])


def _heading(found: KernelSurvey, ok: list[KernelRow]) -> str:
    told = found.environment
    ranks = told.get("num_ranks", 1)
    who = f"{told.get('device', '')}" + (f", {ranks} processes at once" if ranks > 1 else "")
    known = f", {found.num_known} more were known" if found.num_known else ""
    power = [row.power_w for row in ok if row.power_w is not None]
    lines = [
        who,
        f"  kernels     {len(ok)} measured in {format_time(found.elapsed_s)}{known}",
        f"  PyTorch     {told.get('torch', '')}",
        f"  power       {f'{min(power):.0f} to {max(power):.0f} W' if power else NOT_MEASURED}",
    ]
    return "\n".join(lines)


def _grouped(rows: Iterable[KernelRow], key: Callable[[KernelRow], Any]) -> dict[Any, list[KernelRow]]:
    groups: dict[Any, list[KernelRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return dict(sorted(groups.items()))


def _products(rows: list[KernelRow]) -> str:
    """Rates of what computes, by kernel and number format."""
    lines = []
    chosen = [row for row in rows if row.op in (GEMM, *ATTENTION_OPS)]
    for (op, dtype), members in _grouped(chosen, lambda row: (row.op, row.dtype)).items():
        rates = [(row.tflops or 0.0, row) for row in members]
        best, at = max(rates, key=lambda pair: pair[0])
        middle = median(rate for rate, _ in rates)
        shares = [_flop_rate(best), _flop_rate(middle), percent(at.efficiency_of_peak), _shape(at)]
        lines.append([op.replace("_", " "), dtype, str(len(members)), *shares])
    if not lines:
        return ""
    return table(["computing", "format", "kernels", "best", "median", "of peak", ""], lines, left=2)


def _flop_rate(tflops: float) -> str:
    return format_si(tflops * 1e12, "FLOP/s", 3)


def _shape(row: KernelRow) -> str:
    if row.op == GEMM:
        return f"best at {row.m} x {row.n} x {row.k}"
    mask = "causal" if row.causal else "no mask"
    backend = f", {row.backend}" if row.backend else ""
    return f"best at {row.batch} x {row.seq_len}, {row.n_heads} heads of {row.qk_head_dim}, {mask}{backend}"


def _memory(rows: list[KernelRow]) -> str:
    """Bandwidths of what only moves memory: the best, and that of the most bytes."""
    lines = []
    chosen = [row for row in rows if row.op in MEMORY_OPS]
    for (op, dtype), members in _grouped(chosen, lambda row: (row.op, row.dtype)).items():
        best = max(row.gb_per_s or 0.0 for row in members)
        largest = max(members, key=lambda row: row.num_bytes or 0)
        shares = [_byte_rate(best), _byte_rate(largest.gb_per_s or 0.0), format_si(largest.num_bytes or 0, "B", 3)]
        lines.append([op, dtype, str(len(members)), *shares])
    if not lines:
        return ""
    return table(["moving memory", "format", "kernels", "best", "largest", "of"], lines, left=2)


def _byte_rate(gb_per_s: float) -> str:
    return format_si(gb_per_s * 1e9, "B/s", 3)


def _launch(rows: list[KernelRow]) -> str:
    times = [row.time_s for row in rows if row.op == LAUNCH and row.time_s is not None]
    return f"launching   {format_time(median(times))} from one smallest kernel to the next" if times else ""


def kernel_warnings(found: KernelSurvey) -> list[str]:
    """Return what a reader of the numbers must mind."""
    return list(_warnings(found))


def _warnings(found: KernelSurvey) -> Iterator[str]:
    ok = [row for row in found.rows if row.time_s is not None]
    unsure = sum(row.converged is False for row in ok)
    oom = sum(row.status == OOM for row in found.rows)
    busy = sum((row.interruptions or 0) > _BUSY for row in ok)
    if found.num_left:
        yield f"{found.num_left} points were left when the budget was spent: repeat with the same --csv, or more time."
    if unsure:
        yield f"{unsure} of {len(ok)} times are not known to 1 %: column ci_relative says how well."
    if busy:
        yield f"{busy} of {len(ok)} kernels were interrupted by other work on this machine: column interruptions."
    if oom:
        yield f"{oom} points ran out of memory."


def _next(csv: Path | None) -> str:
    if csv is None:
        return "next: the same with --csv kernels.csv, which keeps every row"
    return f"next: walltime calibrate {csv} --name my-machine"


def kernels_json(found: KernelSurvey) -> dict[str, Any]:
    """Return the result of `walltime measure gemm --json`, but for its rows."""
    return {
        "environment": found.environment,
        "elapsed_s": found.elapsed_s,
        "num_measured": sum(row.time_s is not None for row in found.rows),
        "num_out_of_memory": sum(row.status == OOM for row in found.rows),
        "num_known": found.num_known,
        "num_left": found.num_left,
    }
