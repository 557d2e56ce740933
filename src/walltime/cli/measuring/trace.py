"""``walltime measure trace``: where the time of traced steps went."""

from pathlib import Path

import click

from walltime.cli.common import emit_json, json_option
from walltime.durable import atomic_text
from walltime.measure.trace import trace_files, trace_report
from walltime.problems import BadInput
from walltime.report.files import check_writable, csv_text
from walltime.report.trace import trace_json, trace_rows, trace_text


@click.command("trace", short_help="Computation, communication and what of it is exposed, from saved traces.")
@click.argument("files", nargs=-1, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write every step of every trace here.")
@json_option
def command(files: tuple[Path, ...], csv_path: Path | None, as_json: bool) -> None:
    """Say where the time of traced training steps went.

    FILEs are traces of PyTorch's profiler (export_chrome_trace, .json or .json.gz), one for each process of a run, or a
    folder of them; from this machine or from elsewhere: no GPU and no PyTorch is needed. Computation is the time in
    which some kernel runs, exposed communication that in which some collective runs and no kernel, idle the rest of the
    step. On a CPU, operators stand for kernels.

    \b
    walltime measure trace rank0.json.gz rank1.json.gz
    walltime measure trace traces/ --csv steps.csv
    """
    if not files:
        raise BadInput("no trace is given. Valid: walltime measure trace rank0.json.gz, one file for each process.")
    paths = trace_files(files)
    if csv_path is not None:
        _check_target(csv_path, paths)
    report = trace_report(paths)
    if csv_path is not None:
        atomic_text(csv_path, csv_text(trace_rows(report)))
    if as_json:
        inputs = {"files": [str(path) for path in paths]}
        written = [] if csv_path is None else [str(csv_path)]
        emit_json("measure trace", inputs, {**trace_json(report), "files_written": written}, report.notes)
        return
    click.echo(trace_text(report))
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    if csv_path is not None:
        click.echo(f"\nsteps: {csv_path}")
    click.echo("\nnext: walltime measure check PLAN --trace FOLDER: the same beside walltime's prediction")


def _check_target(csv_path: Path, inputs: list[Path]) -> None:
    """Refuse a file that cannot be written, before traces are read for it."""
    if csv_path.is_dir():
        raise BadInput(f"--csv {str(csv_path)!r} is a folder. Valid: a file, for example {csv_path / 'steps.csv'}.")
    check_writable(csv_path.absolute().parent)
    if csv_path.exists() and any(csv_path.samefile(path) for path in inputs if path.exists()):
        raise BadInput(f"--csv {str(csv_path)!r} would overwrite a trace.")
