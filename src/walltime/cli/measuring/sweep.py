"""``walltime measure sweep``: many training runs, one after another, whatever happens to one of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from walltime.cli.common import emit_json, json_option
from walltime.cli.measuring.sweep_points import point_check, too_large_here, train_flags
from walltime.durable import atomic_bytes, make_folder
from walltime.measure.sweep.expansion import Expansion, expand
from walltime.measure.sweep.flags import Flags
from walltime.measure.sweep.folder import Folder
from walltime.measure.sweep.journal import Journal, Record
from walltime.measure.sweep.points import Point
from walltime.measure.sweep.runner import Progress, Running, collect, run_sweep, train_command
from walltime.measure.sweep.slurm import scripts, slurm_of
from walltime.measure.sweep.sweep_file import Sweep, read_sweep
from walltime.problems import BadInput, NegativeAnswer
from walltime.report.files import check_writable
from walltime.report.measured_sweep import counts, plan_text, point_text, sweep_json, sweep_text

_UNFINISHED = {"failed": "failed", "timeout": "timed out", "waiting": "are not measured yet"}


@click.command("sweep", short_help="Many training runs, one after another, whatever happens to one of them.")
@click.argument("file", metavar="SWEEP.toml", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results. Default: SWEEP, beside the file.")
@click.option("--dry-run", is_flag=True, help="List the points and their commands, and run nothing.")
@click.option("--retry-failed", is_flag=True, help="Run again what failed or timed out before.")
@click.option("--sbatch", type=click.Path(path_type=Path), help="Write an sbatch script a point into this folder.")
@click.option("--collect", "is_collect", is_flag=True, help="Record results of jobs that have ended, and run nothing.")
@json_option
def command(
    file: Path,
    out: Path | None,
    dry_run: bool,
    retry_failed: bool,
    sbatch: Path | None,
    is_collect: bool,
    as_json: bool,
) -> None:
    """Measure every point of SWEEP.toml, a process group each, and record it as it finishes.

    Points that are recorded are not run again: after a crash, a kill or a reboot the same command goes on where it
    was. Running out of memory is a result; points that failed wait for --retry-failed. Exit 3 if some failed.

    \b
    walltime measure sweep SWEEP.toml --dry-run
    walltime measure sweep SWEEP.toml
    walltime measure sweep SWEEP.toml --sbatch jobs, then bash jobs/submit.sh, then --collect
    """
    _check_modes(dry_run=dry_run, retry_failed=retry_failed, sbatch=sbatch, collect=is_collect)
    flags = train_flags()
    sweep = read_sweep(file, flags)
    expansion = expand(sweep, point_check())
    folder = Folder(out or file.with_suffix(""))
    check_writable(folder.path)
    notes = _notes(folder, expansion)
    written: list[str] = []
    if dry_run:
        _show_plan(sweep, expansion, folder, flags, notes, as_json=as_json)
        return
    if sbatch is not None:
        expansion, written = _write_scripts(sweep, expansion, folder, flags, sbatch)
    elif is_collect:
        notes.append(f"{collect(expansion.points, folder)} new results")
    else:
        notes += _run(sweep, expansion.points, folder, flags, retry_failed=retry_failed)
    records = Journal(folder.journal, mend=False).records
    if as_json:
        document = sweep_json(expansion, records) | {"rows": str(folder.rows), "files_written": written}
        emit_json("measure sweep", _inputs(sweep, folder), document, notes)
    else:
        for note in notes:
            click.echo(f"note: {note}", err=True)
        click.echo(sweep_text(expansion, records))
        click.echo(f"\n{_next(sweep, folder, counts(expansion, records), sbatch)}")
    if sbatch is None:
        _say_if_failed(expansion, records, folder)


def _check_modes(**given: Any) -> None:
    modes = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if len(modes) > 1:
        raise BadInput(f"{' and '.join(modes)} do not go together. Valid: one of them.")


def _notes(folder: Folder, expansion: Expansion) -> list[str]:
    """Say how the file has changed since the folder was last used, and what of the journal was damaged."""
    notes = []
    earlier, now = folder.earlier_points(), {point.id for point in expansion.points}
    if earlier is not None and earlier != now:
        notes.append(
            f"the file has changed: {len(now - earlier)} new points; {len(earlier - now)} are no longer in it, "
            "and what was measured of them stays in the rows"
        )
    if damaged := Journal(folder.journal, mend=False).num_damaged:
        notes.append(f"{damaged} damaged lines of {folder.journal} are set aside; their points count as not recorded")
    return notes


def _run(sweep: Sweep, points: Sequence[Point], folder: Folder, flags: Flags, *, retry_failed: bool) -> list[str]:
    """Run what is not recorded, with a line for each point on standard error; return what there is to note."""
    records = Journal(folder.journal, mend=False).records
    too_large = too_large_here([point for point in points if point.id not in records])
    how = Running(
        train_command(flags), sweep.timeout_s, sweep.retries, retry_failed=retry_failed, not_here=too_large.keys()
    )
    progress = run_sweep(points, folder, how, _say)
    said = {"were recorded before": progress.before, "had finished without being recorded": progress.adopted}
    notes = [f"{count} points {words}" for words, count in said.items() if count]
    return [*notes, *(f"{name} is not run here: {reason}" for name, reason in too_large.items())]


def _say(progress: Progress, point: Point, record: Record) -> None:
    click.echo(f"[{len(progress.done)}/{progress.total}] {point_text(point, record)}", err=True)


def _show_plan(
    sweep: Sweep, expansion: Expansion, folder: Folder, flags: Flags, notes: list[str], *, as_json: bool
) -> None:
    """Print the points and their commands."""
    command_of = train_command(flags)
    commands = [list(command_of(point, folder.result(point.id).absolute())) for point in expansion.points]
    records = Journal(folder.journal, mend=False).records
    if as_json:
        document = sweep_json(expansion, records)
        for point, line in zip(document["points"], commands, strict=True):
            point["command"] = line
        emit_json("measure sweep", _inputs(sweep, folder), document, notes)
        return
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(plan_text(expansion, commands, records))


def _write_scripts(
    sweep: Sweep, expansion: Expansion, folder: Folder, flags: Flags, target: Path
) -> tuple[Expansion, list[str]]:
    """Write a script for each point that is not recorded, and one that submits them."""
    slurm = slurm_of(sweep.slurm, sweep.timeout_s, sweep.path)
    records = Journal(folder.journal, mend=False).records
    waiting = [point for point in expansion.points if point.id not in records]
    texts, left_out = scripts(waiting, flags, folder, slurm)
    if left_out and not texts:
        raise BadInput(f"{sweep.path}: {left_out[0].reason}")
    folder.make()
    make_folder(target)
    for name, text in texts.items():
        atomic_bytes(target / name, text.encode())
    kept = [point for point in expansion.points if point.id not in {each.point_id for each in left_out}]
    return Expansion(kept, [*expansion.left_out, *left_out]), [str(target / name) for name in texts]


def _say_if_failed(expansion: Expansion, records: Mapping[str, Record], folder: Folder) -> None:
    number = counts(expansion, records)
    unfinished = [f"{number[name]} {word}" for name, word in _UNFINISHED.items() if number[name]]
    if unfinished:
        raise NegativeAnswer(
            f"of {len(expansion.points)} points {', '.join(unfinished)}. Logs: {folder.path / 'logs'}."
        )


def _next(sweep: Sweep, folder: Folder, number: Mapping[str, int], jobs: Path | None) -> str:
    """Return the next useful command."""
    place = "" if folder.path == sweep.path.with_suffix("") else f" --out {folder.path}"
    again = f"walltime measure sweep {sweep.path}{place}"
    if jobs is not None:
        return f"next: bash {jobs / 'submit.sh'}, and when the jobs have ended {again} --collect"
    if number["failed"] or number["timeout"]:
        return f"next: {again} --retry-failed"
    return f"next: walltime validate {folder.rows}" if number["ok"] else f"next: {again}"


def _inputs(sweep: Sweep, folder: Folder) -> dict[str, Any]:
    """Return what was asked, resolved."""
    tables = [{"name": table.name, **table.fixed, **table.axes} for table in sweep.tables]
    running = {name: getattr(sweep, name) for name in ("timeout_s", "retries", "repeat", "order")}
    return {"file": str(sweep.path), "out": str(folder.path), "base": sweep.base, "sweep": tables, **running}
