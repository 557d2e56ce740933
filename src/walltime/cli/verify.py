"""``walltime verify``: this build against reference values."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from walltime.cli.common import emit_json, json_option, options, resolve_duration_s
from walltime.engines import Assumptions
from walltime.limits.scaling_laws import constants
from walltime.problems import BadInput, NegativeAnswer
from walltime.validate import EXACT, CurveName, Verification, verify_frontier, verify_matmul, verify_step

_files = click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
_common = options(
    _files,
    click.option("--tolerance", type=float, default=EXACT, show_default=True, help="Largest relative error allowed."),
    click.option("--fix", metavar="NAME", help="With this published defect mended; head for none."),
    json_option,
)


@click.group("verify", short_help="This build against reference values.")
def command() -> None:
    """Compare this build with reference values; exit 3 if any row is outside tolerance.

    Files hold one JSON object a line; frontiers may also be CSV files named
    <fix>__<gpu>.<dense|sparse>.<def|ds|none>.<years>.csv.
    """


@command.command("matmul", short_help="Single matmuls.")
@_common
def matmul(files: tuple[Path, ...], tolerance: float, fix: str | None, as_json: bool) -> None:
    """Compare single matmuls: fields gpu, d1, d2, b, weight_grad, seconds."""
    reading = Assumptions().with_fix(fix or "head")
    _run("matmul", files, lambda path: verify_matmul(path, reading, tolerance), tolerance, as_json)


@command.command("step", short_help="Whole runs under given plans.")
@_common
def step(files: tuple[Path, ...], tolerance: float, fix: str | None, as_json: bool) -> None:
    """Compare whole runs under given plans: times, utilisation, traffic and latency."""
    reading = Assumptions().with_fix(fix or "head")
    _run("step", files, lambda path: verify_step(path, reading, tolerance), tolerance, as_json)


@command.command("frontier", short_help="Best plans at the smallest sufficient clusters.")
@_common
@click.option("--accelerator", metavar="NAME", help="Accelerator, if the file name does not say.")
@click.option("--dense", "sparsity", flag_value="dense", default=None, help="Dense, if the file name does not say.")
@click.option("--sparse", "sparsity", flag_value="sparse", help="Sparse, if the file name does not say.")
@click.option("--batch-law", metavar="LAW", help="default, deepseek or none, if the file name does not say.")
@click.option("--duration", metavar="TIME", help="How long a run may take, if the file name does not say.")
def frontier(
    files: tuple[Path, ...],
    tolerance: float,
    fix: str | None,
    as_json: bool,
    accelerator: str | None,
    sparsity: str | None,
    batch_law: str | None,
    duration: str | None,
) -> None:
    """Compare frontiers: cluster sizes, run times, utilisation and feasibility, width by width."""
    years = None
    if duration is not None:
        years = resolve_duration_s({"duration": duration}) / constants("run")["seconds_per_year"]
    given = CurveName(fix, accelerator, sparsity, batch_law, years)
    _run("frontier", files, lambda path: verify_frontier(path, given, tolerance), tolerance, as_json)


def _run(
    what: str, files: tuple[Path, ...], compare: Callable[[Path], Verification], tolerance: float, as_json: bool
) -> None:
    if not 0 <= tolerance < 1:
        raise BadInput(f"tolerance={tolerance!r} must be at least 0 and below 1.")
    results = [compare(path) for path in files]
    if as_json:
        documents: list[dict[str, Any]] = [{**vars(result), "passed": result.passed} for result in results]
        emit_json(f"verify {what}", {"tolerance": tolerance}, {"files": documents}, [])
    else:
        click.echo("\n".join(_report(result) for result in results))
    outside = sum(result.num_outside for result in results)
    if outside:
        raise NegativeAnswer(f"{outside} of {sum(result.rows for result in results)} rows are outside tolerance.")


def _report(result: Verification) -> str:
    told = {name: value for name, value in result.worst.items() if name not in ("line", "relative_error")}
    worst = ", ".join(f"{name} {value}" for name, value in told.items())
    verdict = "all within tolerance" if result.passed else f"{result.num_outside} OUTSIDE TOLERANCE"
    error = f"{result.largest_error:.2g}" if math.isfinite(result.largest_error) else "undefined"
    return (
        f"{result.file}: {result.rows} rows, {verdict}; largest relative error {error}\n"
        f"  worst row: line {result.worst['line']}: {worst}"
    )
