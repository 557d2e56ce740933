"""What ``walltime show`` says of calibrations: which there are, how each was made, and how good it is."""

from collections.abc import Iterator
from typing import Any

from walltime.catalog.calibration_record import Quality
from walltime.catalog.calibrations import (
    CalibrationRecord,
    broken_calibrations,
    calibration_called,
    calibration_files,
    calibrations,
)

Row = dict[str, Any]


def calibration_rows() -> list[Row]:
    """Every calibration, shipped or the user's: of what, when, how good; and what is wrong with the rest."""
    files, broken = calibration_files(), broken_calibrations()
    rows = [_summary(own) | {"file": str(files.get(own.id, ""))} for own in calibrations()]
    return rows + [{"id": path.stem, "problem": problem, "file": str(path)} for path, problem in broken.items()]


def _summary(own: CalibrationRecord) -> Row:
    quality = own.step_quality
    return {
        "id": own.id,
        "name": own.name,
        "based_on": own.based_on,
        "date": own.origin.date.isoformat(),
        "version": own.version,
        "rows": sum(file.rows for file in own.origin.files),
        "step_time_median_error": "" if quality is None else f"{quality.median_error:.1%}",
        "held_out": "" if quality is None else _percent(quality.held_out_median_error),
    }


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error:.1%}"


def calibration_details(name: str) -> list[Row]:
    """Return how the calibration of this name was made and how good it is; none if there is no such calibration.

    Raises
    ------
    BadInput
        Its file is broken.
    """
    own = calibration_called(name)
    return [] if own is None else [{"of": "calibrations", "parameters": own.id} | row for row in _rows(own)]


def _rows(own: CalibrationRecord) -> Iterator[Row]:
    origin = own.origin
    said = {"id": own.id, "name": own.name, "based_on": own.based_on or "no accelerator of the catalog"}
    said |= {"version": own.version, "fitted on": origin.date.isoformat(), "made by": origin.command}
    said |= {"with": f"walltime {origin.walltime}, data {origin.data_version}, seed {origin.seed}"}
    yield from ({"number": number, "value": value} for number, value in said.items())
    for place, file in enumerate(origin.files):
        yield {"number": f"rows.{place}", "value": f"{file.path}, {file.rows:,} rows", "note": f"sha256 {file.sha256}"}
    for place, environment in enumerate(origin.environments):
        yield from _environment(f"environment.{place}", environment)
    yield from ({"number": f"quality.{one.part}", "value": _errors(one), "note": _held_out(one)} for one in own.quality)


def _environment(path: str, values: object) -> Iterator[Row]:
    """Yield what an environment says, a row a value."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _environment(f"{path}.{name}", value)
    else:
        shown = ", ".join(map(str, values)) if isinstance(values, list) else values
        yield {"number": path, "value": shown}


def _errors(one: Quality) -> str:
    before = _percent(one.median_error_before)
    said = f"{one.rows:,} rows, median error {one.median_error:.1%}, 90th percentile {one.p90_error:.1%}"
    return f"{said}; before {before}" if before else said


def _held_out(one: Quality) -> str:
    if one.held_out_median_error is None:
        return ""
    p90 = _percent(one.held_out_p90_error)
    beyond = f", 90th percentile {p90}" if p90 else ""
    which = f" ({one.held_out})" if one.held_out else ""
    return f"held out{which}: median error {one.held_out_median_error:.1%}{beyond}"
