"""``walltime calibrate``: a calibration file from the rows measured on a machine."""

import sys
from pathlib import Path

import click

from walltime.calibrate.machine.fit import Calibrated, calibrate
from walltime.calibrate.machine.quality import Holdout
from walltime.calibrate.machine.rows import read_machine
from walltime.calibrate.machine.toml import record_toml
from walltime.catalog.calibrations import check_calibration_id, read_calibration, user_folder
from walltime.cli.common import Progress, emit_json, json_option
from walltime.durable import atomic_text
from walltime.measure.environment import command_line
from walltime.problems import BadInput
from walltime.report.calibration import calibration_json, calibration_text
from walltime.report.files import check_writable, new_folders

_MOST_HELD_OUT = 0.5
_FEWEST_FOLDS = 2


@click.command("calibrate", short_help="Fit walltime to rows measured on a machine.")
@click.argument("files", nargs=-1, required=True, metavar="ROWS.csv...", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="NAME", help="What the machine will be called: --on NAME.")
@click.option("--gpu", metavar="NAME", help="The accelerator to calibrate, if the rows are of several.")
@click.option("--out", "out", metavar="FILE", type=click.Path(path_type=Path), help="Write NAME.toml elsewhere.")
@click.option("--force", is_flag=True, help="Replace a calibration of this name.")
@click.option(
    "--holdout",
    type=float,
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Share of the points that each test of the fit leaves out, in turn until all were; 0: no test.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the split into parts.")
@json_option
def command(
    files: tuple[Path, ...],
    name: str,
    gpu: str | None,
    out: Path | None,
    force: bool,
    holdout: float,
    seed: int,
    as_json: bool,
) -> None:
    """Fit walltime's numbers to rows measured on a machine, and write a calibration.

    ROWS are files of `walltime measure gemm`, `collectives`, `train` and `sweep`, or any in their formats, in any
    order. The file goes to the user's folder of calibrations, where every command finds it: `--on NAME`. The errors
    before and after are shown, on the rows fitted and on rows held out.

    \b
    walltime calibrate kernels.csv collectives.csv steps.csv --name my-cluster
    walltime estimate llama-3.1-8b --on 8xmy-cluster
    """
    check_calibration_id(name)
    target = _target(name, out, force)
    num_folds = _folds(holdout)
    rows = read_machine(files, gpu)
    progress = Progress("fits of training steps")
    with new_folders(target.parent):
        found = calibrate(rows, name, Holdout(num_folds, seed), command_line(sys.argv[1:]), progress)
        progress.finish()
        _write(target, found)
    if as_json:
        inputs = {"files": list(map(str, files)), "name": name, "gpu": gpu, "holdout": holdout, "seed": seed}
        emit_json("calibrate", inputs, calibration_json(found, target), list(found.notes))
        return
    click.echo(calibration_text(found, target))


def _folds(share: float) -> int:
    """Return into how many parts the points are split."""
    if not 0 <= share <= _MOST_HELD_OUT:
        raise BadInput(f"--holdout {share:g} must be a share from 0 (no test) to {_MOST_HELD_OUT:g} (halves).")
    return max(_FEWEST_FOLDS, round(1 / share)) if share else 0


def _target(name: str, out: Path | None, force: bool) -> Path:
    """Return where the file goes, or refuse it before any work is done for it."""
    if out is not None and out.name != f"{name}.toml":
        raise BadInput(f"--out {str(out)!r}: the file is called after the machine. Valid: {out.parent / name}.toml.")
    target = out or user_folder() / f"{name}.toml"
    check_writable(target.parent)
    if target.exists() and not force:
        raise BadInput(f"{target} is there already. Valid: another --name, or --force to replace it.")
    return target


def _write(target: Path, found: Calibrated) -> None:
    """Write the file, whole or not at all, and read it back as every command will."""
    before = target.read_bytes() if target.exists() else None
    atomic_text(target, record_toml(found.record))
    try:
        written = read_calibration(target)
    except BadInput:
        _put_back(target, before)
        raise
    if written != found.record:
        _put_back(target, before)
        raise AssertionError(f"{target} reads back as something else")


def _put_back(target: Path, before: bytes | None) -> None:
    if before is None:
        target.unlink()
    else:
        target.write_bytes(before)
