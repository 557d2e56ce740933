"""``walltime validate``: predicted against measured training steps, by source."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from walltime.catalog.calibrations import CalibrationRecord, calibration_called, calibrations
from walltime.cli.common import Progress, emit_json, json_option
from walltime.durable import atomic_text
from walltime.problems import BadInput, NegativeAnswer, unknown
from walltime.report.files import csv_text
from walltime.report.validation import validation_json, validation_rows, validation_text, validation_warnings
from walltime.report.validation_page import validation_page
from walltime.search.executors import available_cores, workers
from walltime.validate.cases import Case, read_cases
from walltime.validate.measured import shipped_files
from walltime.validate.validation import Validation, validate

if TYPE_CHECKING:
    from walltime.calibrate.cross_validation import LeftOut

_TRAINING = ("model_name", "global_batch_seqs")
"""A file without any of these columns is about something else than training steps."""
_SHOWN = 5


@click.command("validate", short_help="Predicted against measured training steps, by source.")
@click.argument("files", nargs=-1, metavar="[ROWS.csv...]", type=click.Path(path_type=Path))
@click.option("--on", metavar="CALIBRATION", help="Predict rows of this machine, or of its kind, by its calibration.")
@click.option("--leave-one-source-out", is_flag=True, help="Also fit anew without each source and predict it.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write every row with its prediction here.")
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write a page with plots of every row here.")
@click.option(
    "--strict/--lenient",
    "strict",
    default=True,
    help="Refuse rows with contradictory degrees (the default), or skip them.",
)
@click.option("--workers", "num_workers", type=click.IntRange(1, 256), help="Processes that fit. Default: every core.")
@json_option
def command(
    files: tuple[Path, ...],
    on: str | None,
    leave_one_source_out: bool,
    csv_path: Path | None,
    html_path: Path | None,
    strict: bool,
    num_workers: int | None,
    as_json: bool,
) -> None:
    """Predict measured training steps and report the errors.

    Without files, takes the measured rows that walltime ships; with files, any rows in the same format. Each row is
    mapped to model, cluster, plan and software by stated rules and predicted; the errors are reported by source and
    overall, every source weighing the same, beside those of a constant utilisation. Exit 3 if no row can be judged.

    \b
    walltime validate
    walltime validate my-rows.csv --html validation.html
    walltime validate my-rows.csv --on my-cluster
    """
    paths, others = _training_rows(list(dict.fromkeys(files)) or shipped_files())
    _check_targets(csv_path, html_path, paths)
    if on is not None and leave_one_source_out:
        raise BadInput("--leave-one-source-out fits the catalog's numbers, not a calibration's. Valid: without --on.")
    own = None if on is None else _calibration(on)
    cases, skipped = read_cases(paths, strict=strict, on=own)
    found = validate(cases, skipped)
    left_out = _left_out(found, num_workers or available_cores()) if leave_one_source_out else None
    written = _write(found, left_out, csv_path, html_path)
    if as_json:
        inputs = {
            "files": [str(path) for path in files] or ["shipped"],
            "on": on,
            "calibration": None if own is None else own.identity,
            "strict": strict,
            "leave_one_source_out": leave_one_source_out,
        }
        result = {**validation_json(found, left_out), "files_written": written}
        emit_json("validate", inputs, result, [*others, *validation_warnings(found)])
    else:
        for note in others:
            click.echo(note, err=True)
        click.echo(validation_text(found, left_out))
        click.echo(f"\n{_next(files, html_path, leave_one_source_out)}")
    if not found.is_judged:
        unscoped = [f"scope {case.row.scope}" for case in cases if not case.is_core]
        reasons = list(dict.fromkeys([*(row.reason.rstrip(".") for row in skipped), *unscoped])) or ["no rows"]
        more = f"; and {len(reasons) - _SHOWN} more reasons" if len(reasons) > _SHOWN else ""
        shown = "; ".join(reasons[:_SHOWN])
        raise NegativeAnswer(f"none of {len(cases) + len(skipped)} rows could be judged: {shown}{more}.")


def _calibration(on: str) -> CalibrationRecord:
    """Return the calibration that is named; a cluster of the catalog is none."""
    found = calibration_called(on)
    if found is None:
        raise unknown("calibration", on, [one.id for one in calibrations()], see="walltime show calibrations")
    return found


def _training_rows(paths: list[Path]) -> tuple[list[Path], list[str]]:
    """Return the files without those that hold other measurements (of kernels, say), and a note on each of these.

    Only among several files: alone, such a file is refused where it is read.
    """
    others = [path for path in paths if not set(_TRAINING) & set(_header(path))]
    kept = [path for path in paths if path not in others]
    if not kept:
        return paths, []
    notes = [f"{path}: left out, no measured training rows: no column {' or '.join(_TRAINING)}." for path in others]
    return kept, notes


def _header(path: Path) -> list[str]:
    """Return the names of a file's columns; what is wrong with the file is said where it is read."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return [name.strip() for name in file.readline().split(",")]
    except (OSError, UnicodeDecodeError):
        return list(_TRAINING)


def _check_targets(csv_path: Path | None, html_path: Path | None, inputs: list[Path]) -> None:
    """Refuse files that cannot be written, before any work is done for them."""
    for option, path in (("--csv", csv_path), ("--html", html_path)):
        if path is None:
            continue
        if path.is_dir():
            raise BadInput(f"{option} {str(path)!r} is a folder. Valid: a file, for example {path / 'validation'}.")
        if not path.absolute().parent.is_dir():
            raise BadInput(f"{option} {str(path)!r}: there is no folder {str(path.parent)!r}.")
        if path.exists() and any(path.samefile(each) for each in inputs if each.exists()):
            raise BadInput(f"{option} {str(path)!r} would overwrite the measured rows.")
    if csv_path is not None and html_path is not None and csv_path.absolute() == html_path.absolute():
        raise BadInput(f"--csv and --html both name {str(csv_path)!r}. Valid: two files.")


def _left_out(found: Validation, num_workers: int) -> "LeftOut":
    """Refit without each group of sources; the rows that walltime ships help where they are not judged themselves."""
    from walltime.calibrate.cross_validation import leave_one_source_out

    progress = Progress("fits without a source")
    with workers(num_workers) as executor:
        result = leave_one_source_out(found.cases, found.predictions, _others(found), found.skipped, executor, progress)
    progress.finish()
    return result


def _others(found: Validation) -> list[Case]:
    judged = set(found.sources)
    shipped, _ = read_cases(shipped_files(), strict=False)
    return [case for case in shipped if case.source_id not in judged]


def _write(found: Validation, left_out: "LeftOut | None", csv_path: Path | None, html_path: Path | None) -> list[str]:
    written = []
    if csv_path is not None:
        written.append(atomic_text(csv_path, csv_text(validation_rows(found, left_out))))
    if html_path is not None:
        written.append(atomic_text(html_path, validation_page(found, left_out)))
    return [str(path) for path in written]


def _next(files: tuple[Path, ...], html_path: Path | None, left_out: bool) -> str:
    named = " ".join(["walltime validate", *(str(path) for path in files)])
    if html_path is None:
        return f"next: {named} --html validation.html  (click a point: its row and where its time goes)"
    if not left_out:
        return f"next: open {html_path}, then {named} --leave-one-source-out"
    return f"next: open {html_path}"
