"""``walltime measure collectives``: all-reduce and the rest, by size and group."""

from pathlib import Path

import click

from walltime.cli.common import Progress, emit_json, json_option
from walltime.cli.measuring.shared import (
    budget_s,
    check_devices,
    measuring_options,
    repeated,
    run_locally,
    to_be_started,
)
from walltime.measure.collective_rows import COLLECTIVES, WRONG, collective_rows_file
from walltime.measure.collectives.groups import GROUP_NAMES
from walltime.measure.collectives.survey import (
    LEAST_BYTES,
    CollectiveRequest,
    CollectiveSurvey,
    check_request,
    survey,
)
from walltime.measure.devices import DeviceKind, device
from walltime.measure.ranks import Place, end_with_launcher, place
from walltime.measure.row_files import named
from walltime.problems import NegativeAnswer
from walltime.report.measured_collectives import collective_warnings, collectives_json, collectives_text
from walltime.units import parse_quantity


@click.command("collectives", short_help="All-reduce and the rest, by size and group, under torchrun or Slurm.")
@click.option("--what", "what", multiple=True, type=click.Choice(COLLECTIVES), help="Kinds (repeat). Default: all.")
@click.option(
    "--group", "group", multiple=True, type=click.Choice([*GROUP_NAMES]), help="Groups (repeat). Default: all."
)
@click.option("--precision", metavar="NAME", help="bf16, fp16 or fp32. Default: bf16 on GPUs, fp32 on CPUs.")
@click.option("--min-size", metavar="SIZE", help="Smallest message, e.g. 512B (the default).")
@click.option("--max-size", metavar="SIZE", help="Largest message, e.g. 1GiB. Default: 16GiB on GPUs, 256MiB on CPUs.")
@click.option("--factor", type=float, default=2.0, show_default=True, help="From one size to the next.")
@measuring_options
@json_option
def command(
    what: tuple[str, ...],
    group: tuple[str, ...],
    precision: str | None,
    min_size: str | None,
    max_size: str | None,
    factor: float,
    kind: DeviceKind | None,
    nproc: int | None,
    budget: str | None,
    csv_path: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure collectives between processes, one on each accelerator: NCCL between GPUs, gloo between CPUs.

    Groups are the whole, each node, one rank of each node, and parts of a node of 2, 4, ... ranks; all groups of a
    shape work at once. Sizes and bandwidths are those of nccl-tests. Each result is checked. With --csv a measurement
    that was stopped goes on where it was.

    \b
    walltime measure collectives --nproc 8 --csv collectives.csv
    torchrun --nnodes 4 --nproc-per-node 8 -m walltime measure collectives --csv collectives.csv
    srun --ntasks-per-node 8 python -m walltime measure collectives --csv collectives.csv
    """
    request = CollectiveRequest(
        collectives=tuple(dict.fromkeys(what)) or COLLECTIVES,
        groups=tuple(dict.fromkeys(group)),
        least_bytes=_size(min_size, "min-size") or LEAST_BYTES,
        most_bytes=_size(max_size, "max-size"),
        factor=factor,
        dtype=precision,
        budget_s=budget_s(budget),
        seed=seed,
        csv=csv_path,
    )
    number = to_be_started(nproc)
    if number is not None:
        check_request(request, Place(0, number, 0, number))
        if csv_path is not None:
            collective_rows_file(csv_path)
        found = check_devices(kind, number, "measure collectives")
        run_locally(number, ["measure", "collectives", *_arguments(request, as_json)], found)
        return
    end_with_launcher()
    where = place()
    check_request(request, where)
    progress = Progress("collectives measured") if where.is_first else None
    measured = survey(request, where, device(where, kind), progress)
    if progress is not None:
        progress.finish()
        _show(request, measured, as_json)


def _size(text: str | None, field: str) -> int | None:
    return None if text is None else max(1, round(parse_quantity(text, "bytes", field)))


def _arguments(request: CollectiveRequest, as_json: bool) -> list[str]:
    """Return the request as the flags that it came from."""
    flags = [*repeated("--what", request.collectives), *repeated("--group", request.groups)]
    flags += ["--precision", request.dtype] if request.dtype else []
    flags += ["--min-size", f"{request.least_bytes}B", "--factor", str(request.factor)]
    flags += ["--max-size", f"{request.most_bytes}B"] if request.most_bytes else []
    flags += ["--budget", f"{request.budget_s}s"] if request.budget_s else []
    flags += ["--csv", str(request.csv)] if request.csv else []
    return [*flags, "--seed", str(request.seed), *(["--json"] if as_json else [])]


def _show(request: CollectiveRequest, measured: CollectiveSurvey, as_json: bool) -> None:
    if as_json:
        inputs = {
            "what": list(request.collectives),
            "group": list(request.groups),
            "precision": request.dtype,
            "min_size_bytes": request.least_bytes,
            "max_size_bytes": request.most_bytes,
            "factor": request.factor,
            "budget_s": request.budget_s,
            "seed": request.seed,
            "csv": None if request.csv is None else str(request.csv),
        }
        result = {**collectives_json(measured), "rows": list(named(measured.rows))}
        emit_json("measure collectives", inputs, result, collective_warnings(measured))
    else:
        click.echo(collectives_text(measured, request.csv))
    wrong = sorted({row.collective for row in measured.rows if row.status == WRONG})
    if wrong:
        raise NegativeAnswer(f"wrong results of {', '.join(wrong)}: the library or the network is not to be trusted.")
