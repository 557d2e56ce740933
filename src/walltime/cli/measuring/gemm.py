"""``walltime measure gemm``: matmuls, attention, memory-bound kernels and launches of one accelerator."""

from pathlib import Path

import click

from walltime.cli.common import Progress, WholeNumber, emit_json, json_option
from walltime.cli.measuring.shared import (
    budget_s,
    check_devices,
    measuring_options,
    repeated,
    run_locally,
    to_be_started,
)
from walltime.measure.devices import DeviceKind, device
from walltime.measure.kernel_rows import kernel_rows_file
from walltime.measure.kernels.grid import KINDS
from walltime.measure.kernels.survey import KernelRequest, KernelSurvey, check_precisions, survey
from walltime.measure.ranks import Place, end_with_launcher, place
from walltime.measure.row_files import named
from walltime.problems import NegativeAnswer
from walltime.report.measured_kernels import kernel_warnings, kernels_json, kernels_text


@click.command("gemm", short_help="Matmuls, attention, memory-bound kernels and launches, on one accelerator.")
@click.option("--what", "what", multiple=True, type=click.Choice(KINDS), help="Kinds of kernel (repeat). Default: all.")
@click.option("--precision", "precision", multiple=True, metavar="NAME", help="bf16, fp16, fp32, fp8 (repeat).")
@click.option("--quick", is_flag=True, help="A few points of each kind.")
@click.option("--max-size", type=WholeNumber(1), metavar="N", help="Leave out products and sequences beyond this.")
@measuring_options
@json_option
def command(
    what: tuple[str, ...],
    precision: tuple[str, ...],
    quick: bool,
    max_size: int | None,
    kind: DeviceKind | None,
    nproc: int | None,
    budget: str | None,
    csv_path: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure kernels over a grid of shapes and number formats, each until its time is known to 1 %.

    Products have the shapes of real layers and others beside them; attention, copies, additions, normalisations and
    the launching of kernels are measured too, with clocks, power and temperature where NVML tells them. Several
    processes measure the same at once, and the median counts. With --csv a measurement that was stopped goes on where
    it was.

    \b
    walltime measure gemm --quick
    walltime measure gemm --csv kernels.csv
    walltime measure gemm --csv kernels.csv --device cpu --nproc 4
    """
    request = KernelRequest(
        kinds=tuple(dict.fromkeys(what)) or KINDS,
        precisions=precision,
        is_quick=quick,
        max_size=max_size,
        budget_s=budget_s(budget),
        seed=seed,
        csv=csv_path,
    )
    number = to_be_started(nproc)
    if number is not None:
        found = check_devices(kind, number, "measure gemm")
        check_precisions(precision, device(Place(), found))
        if csv_path is not None:
            kernel_rows_file(csv_path)
        run_locally(number, ["measure", "gemm", *_arguments(request, as_json)], found)
        return
    end_with_launcher()
    where = place()
    progress = Progress("kernels measured") if where.is_first else None
    measured = survey(request, where, device(where, kind), progress)
    if progress is not None:
        progress.finish()
        _show(request, measured, as_json)


def _arguments(request: KernelRequest, as_json: bool) -> list[str]:
    """Return the request as the flags that it came from."""
    flags = [*repeated("--what", request.kinds), *repeated("--precision", request.precisions)]
    flags += ["--quick"] if request.is_quick else []
    flags += ["--max-size", str(request.max_size)] if request.max_size else []
    flags += ["--budget", f"{request.budget_s}s"] if request.budget_s else []
    flags += ["--csv", str(request.csv)] if request.csv else []
    return [*flags, "--seed", str(request.seed), *(["--json"] if as_json else [])]


def _show(request: KernelRequest, measured: KernelSurvey, as_json: bool) -> None:
    if as_json:
        inputs = {
            "what": list(request.kinds),
            "precision": list(request.precisions),
            "quick": request.is_quick,
            "max_size": request.max_size,
            "budget_s": request.budget_s,
            "seed": request.seed,
            "csv": None if request.csv is None else str(request.csv),
        }
        result = {**kernels_json(measured), "rows": list(named(measured.rows))}
        emit_json("measure gemm", inputs, result, kernel_warnings(measured))
    else:
        click.echo(kernels_text(measured, request.csv))
    if not measured.rows and not measured.num_known:
        raise NegativeAnswer(
            "no kernel could be measured: the grid has none of this kind and size, or no time was left."
        )
