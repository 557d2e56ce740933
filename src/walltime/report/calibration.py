"""A calibration in words: what was fitted, on how many rows, how well, and what rows did not decide."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from walltime.calibrate.machine.fit import Calibrated
from walltime.catalog.calibrations import CalibrationRecord, Quality, user_folder
from walltime.catalog.fitted import FittedBlock
from walltime.report.terminal import table
from walltime.units import format_si

_MOST_REASONS = 6
_SMALL_MODEL = "llama-3.2-1b"
_WIDTH = 90


def calibration_text(found: Calibrated, path: Path) -> str:
    """Return the report of `walltime calibrate`.

    Parameters
    ----------
    found
        The calibration.
    path
        Its file.
    """
    record = found.record
    parts = [
        _head(found),
        _rates(record),
        _qualities(record.quality),
        "\n".join(_undecided(record)),
        "\n".join(_unused(found)),
        "\n".join(f"note: {note}" for note in found.notes),
        f"written: {path}",
        _next(record, path),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(found: Calibrated) -> str:
    record = found.record
    kinds = "; ".join(f"{each.used} of {each.rows} {each.kind}" for each in found.uses)
    based = f"based on {record.based_on}" if record.based_on else "no datasheet has it: its rates are those measured"
    files = "\n".join(f"  {file.rows:6} rows  {file.path}" for file in record.origin.files)
    return f"{record.id}: {', '.join(record.accelerator.aliases)} ({based})\nfitted on {kinds} rows\n{files}"


def _rates(record: CalibrationRecord) -> str:
    chip, fitted = record.accelerator, record.kernels.matmul
    lines = [
        f"  {name:<12} {format_si(float(peak.value), 'FLOP/s')} at most ({peak.kind}), matmuls reach "
        f"{fitted[name].values['max_efficiency']:.0%}"
        for name, peak in chip.peak_flop_per_s.items()
        if name in fitted and fitted[name].source == record.id
    ]
    memory = chip.hbm_bytes_per_s
    share = record.chip.values.get("memory_efficiency") if record.chip else None
    reached = f", memory-bound kernels reach {share:.0%}" if share else ""
    lines.append(f"  {'memory':<12} {format_si(float(memory.value), 'B/s')} ({memory.kind}){reached}")
    for level, block in zip(record.network.level, record.links.level, strict=True):
        shown = f"  {level.name:<12} {format_si(float(level.bytes_per_s.value), 'B/s')} ({level.bytes_per_s.kind})"
        share = block.values["efficiency"] if block.source == record.id else None
        lines.append(shown + (f", rings reach {share:.0%}" if share else ", not measured"))
    return "\n".join(lines)


def _qualities(qualities: list[Quality]) -> str:
    """Return the errors by part, in percent."""
    if not qualities:
        return ""
    header = ["error of", "rows", "before", "p90", "fitted", "p90", "held out", "p90"]
    rows = [
        [
            *(each.part, str(each.rows), _percent(each.median_error_before), _percent(each.p90_error_before)),
            *(_percent(each.median_error), _percent(each.p90_error)),
            *(_percent(each.held_out_median_error), _percent(each.held_out_p90_error)),
        ]
        for each in qualities
    ]
    held_out = next((each.held_out for each in qualities if each.held_out), "")
    legend = "before: by the catalog's numbers; fitted: on the rows fitted, no prediction" + (
        f";\nheld out: {held_out}" if held_out else "; no rows were held out"
    )
    return f"{table(header, rows)}\n{legend}"


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{error:.1%}"


def _undecided(record: CalibrationRecord) -> Iterator[str]:
    """Yield, block by block, how many numbers rows decide, and which they leave as they were."""
    blocks = list(_fitted_blocks(record))
    if blocks:
        yield "numbers that rows decide, and those that they leave near what was known"
    width = max((len(name) for name, _ in blocks), default=0)
    for name, block in blocks:
        fitted = [each for each in block.values if each in block.low]
        left = [each for each in fitted if each in block.estimated]
        shown = textwrap.fill(
            ", ".join(left) or "none", _WIDTH, subsequent_indent=" " * (width + len("  99 of 99; left: "))
        )
        yield f"  {name:<{width}} {len(fitted) - len(left):2} of {len(fitted):2}; left: {shown}"


def _fitted_blocks(record: CalibrationRecord) -> Iterator[tuple[str, FittedBlock]]:
    blocks = [(f"matmul {name}", block) for name, block in record.kernels.matmul.items()]
    for kernel in record.kernels.attention.values():
        blocks += [("attention forward", kernel.forward), ("attention backward", kernel.backward)]
    blocks += [(f"links {block.name}", block) for block in record.links.level]
    blocks += [("accelerator", record.chip)] if record.chip else []
    blocks += [(f"software {stack}", block) for stack, block in record.stack.items()]
    yield from ((name, block) for name, block in blocks if block.source == record.id)


def _unused(found: Calibrated) -> Iterator[str]:
    """Yield which rows no fit used, kind by kind."""
    if any(each.unused for each in found.uses):
        yield "rows that were not fitted on, and why"
    for each in found.uses:
        reasons = list(each.unused.items())
        yield from (f"  {count:5}  {each.kind}: {reason}" for reason, count in reasons[:_MOST_REASONS])
        rest = sum(count for _, count in reasons[_MOST_REASONS:])
        if rest:
            yield f"  {rest:5}  {each.kind}: other reasons"


def _next(record: CalibrationRecord, path: Path) -> str:
    """Return a command that works: no model of the catalog need fit on a processor."""
    on = record.id if path.absolute().parent == user_folder().absolute() else str(path)
    if record.based_on:
        return f"next: walltime estimate {_SMALL_MODEL} --on 1x{on} --seq-len 512 --batch 1"
    return "next: walltime show calibrations" + (f" {on}" if on == record.id else "")


def calibration_json(found: Calibrated, path: Path) -> dict[str, Any]:
    """Return the result of `walltime calibrate --json`: errors by part, what rows decide, and the file's content."""
    record = found.record
    return {
        "file": str(path),
        "calibration": record.id,
        "based_on": record.based_on or None,
        "quality": [
            {key: value for key, value in msgspec.to_builtins(each).items() if key != "residuals"}
            for each in record.quality
        ],
        "estimated": {name: block.estimated for name, block in _fitted_blocks(record)},
        "rows": {each.kind: {"read": each.rows, "used": each.used, "unused": dict(each.unused)} for each in found.uses},
        "record": msgspec.to_builtins(record),
    }
