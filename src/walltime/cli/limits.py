"""``walltime limits``: how far can training scale?"""

import csv
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from walltime import api
from walltime.cli.common import (
    Progress,
    cluster_inputs,
    cluster_options,
    emit_json,
    family_options,
    json_option,
    latencies_are_the_catalogs,
    merged,
    model_options,
    read_scenario,
    resolve_cluster,
    resolve_duration_s,
    resolve_engine,
    resolve_family,
    resolve_reading,
    texts,
    typed,
)
from walltime.limits import Frontier, FrontierQuestion, RunFamily, frontier, width_grid
from walltime.limits.scaling_laws import constants
from walltime.problems import BadInput, NegativeAnswer
from walltime.report.limits import limits_text
from walltime.search.executors import available_cores, workers
from walltime.units import format_flop, format_time, parse_quantity

_KEYS = {
    "on",
    "parameters",
    "set",
    "precision",
    "sparsity",
    "batch_law",
    "seq_len",
    "engine",
    "assumptions",
    "fix",
    "overlap",
    "cluster_choice",
    "space",
    "duration",
    "from",
    "to",
    "fraction",
}


@click.command("limits", short_help="How far can training scale: end of linear scaling, latency wall.")
@click.argument("run_file", metavar="[RUN.toml]", required=False, type=click.Path(path_type=Path))
@cluster_options
@family_options
@click.option("--duration", metavar="TIME", help="How long a run may take: 3months, 90d, 1y. Default 3months.")
@click.option("--from", "from", metavar="FLOP", help="Only runs of at least this training compute.")
@click.option("--to", "to", metavar="FLOP", help="Only runs of at most this training compute.")
@click.option("--fraction", type=float, help="Linear scaling ends at this share of the plateau. Default 0.8.")
@model_options
@click.option("--workers", "num_workers", type=click.IntRange(1, 256), help="Processes. Default: every core.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="The curve as CSV on standard output.")
def command(run_file: Path | None, num_workers: int | None, as_json: bool, as_csv: bool, **flags: Any) -> None:
    """How far can training scale before data movement stops it?

    For a family of runs of growing size, finds the cluster that each needs to finish in time (the smallest, or the
    most efficient if corrected) and its best plan. Prints where linear scaling ends (utilisation falls to 80 % of
    its plateau) and the latency wall (no cluster of any size finishes in time): two different thresholds.

    \b
    walltime limits --on h100-sxm
    walltime limits --on h100-sxm --set network.latency=0.5x
    walltime limits --on a100-sxm --sparse --duration 6months --assumptions corrected
    """
    values = merged(flags, read_scenario(run_file, _KEYS))
    values["on"] = "h100-sxm" if values["on"] is None else values["on"]
    if as_json and as_csv:
        raise BadInput("--json and --csv both claim standard output. Valid: one of them.")
    resolve_engine(values)
    share = typed(values, "fraction", float, constants("run")["linear_fraction"])
    if not 0 < share < 1:
        raise BadInput(f"fraction={share!r} must be above 0 and below 1.")
    result = _solve(values, num_workers)
    warnings = _warnings(result)
    if as_json:
        emit_json("limits", _inputs(result.question, values), _document(result, share), warnings)
    elif as_csv:
        _write_csv(result)
    else:
        click.echo(limits_text(result, share))
        for warning in warnings:
            click.echo(f"note: {warning}", err=True)
    if not result.runs:
        raise NegativeAnswer(_nothing_feasible(result))


def _solve(values: dict[str, Any], num_workers: int | None) -> Frontier:
    """Spread the widths over processes where the space is large; a published curve is quicker than a process."""
    cluster = resolve_cluster(values)
    if cluster.num_gpus is not None:
        raise BadInput(f"--on {values['on']}: limits finds the number of accelerators. Valid: --on {cluster.id}.")
    family, read = resolve_family(values), resolve_reading(values)
    duration_s, widths = resolve_duration_s(values), _widths(values, RunFamily(**family))
    progress = Progress("widths")
    with workers(num_workers or (available_cores() if read["space"] == "full" else 1)) as executor:
        try:
            return api.limits(
                cluster, **family, **read, duration_s=duration_s, widths=widths, executor=executor, progress=progress
            )
        finally:
            progress.finish()


def _widths(values: dict[str, Any], family: RunFamily) -> tuple[int, ...]:
    low = 0.0 if values.get("from") is None else _flop(str(values["from"]), "from")
    high = math.inf if values.get("to") is None else _flop(str(values["to"]), "to")
    flop = {width: family.model(width).training_flop for width in width_grid()}
    chosen = tuple(width for width in flop if low <= flop[width] <= high)
    if not chosen:
        ends = f"{format_flop(min(flop.values()))} to {format_flop(max(flop.values()))}"
        raise BadInput(f"no run of the grid has {_range(low, high)} FLOP. It spans {ends}.")
    return chosen


def _range(low_flop: float, high_flop: float) -> str:
    """Say which runs were asked for; below 0 and above infinity nothing was."""
    if math.isinf(high_flop):
        return f"at least {low_flop:g}"
    return f"between {low_flop:g} and {high_flop:g}" if low_flop else f"at most {high_flop:g}"


def _flop(text: str, field: str) -> float:
    return parse_quantity(text if text.upper().endswith("FLOP") else f"{text}FLOP", "FLOP", field)


def _warnings(result: Frontier) -> list[str]:
    question = result.question
    notes = []
    if question.cluster.parameters != "Erdil2024":
        estimates = sorted(
            name
            for numbers in (question.cluster.accelerator.provenance, question.cluster.network.provenance)
            for name, number in numbers.items()
            if number.kind == "estimate"
        )
        if estimates:
            notes.append(
                f"estimates, not published numbers: {', '.join(estimates)} (walltime show {question.cluster.id})"
            )
    if _drops_latency(result):
        notes.append(
            "as published, zero-bubble pipelines drop their network latency, and with these latencies it matters: "
            "use --assumptions corrected or --fix zero_bubble_latency_order"
        )
    return notes


def _drops_latency(result: Frontier) -> bool:
    """Whether defect 1 changes this curve; looked at only where a latency is not the catalog's."""
    question = result.question
    mended = question.assumptions.with_fix("zero_bubble_latency_order")
    if mended == question.assumptions or latencies_are_the_catalogs(question.cluster):
        return False
    again = frontier(replace(question, assumptions=mended))
    return [run.run_time_s for run in again.runs] != [run.run_time_s for run in result.runs]


def _nothing_feasible(result: Frontier) -> str:
    days = format_time(result.question.deadline_s)
    smallest = result.question.family.model(result.infeasible_d_model or 0).training_flop
    return f"no cluster of any size finishes even the smallest run, {format_flop(smallest)} FLOP, in {days}."


def _inputs(question: FrontierQuestion, values: dict[str, Any]) -> dict[str, Any]:
    return {
        **cluster_inputs(question.cluster),
        "engine": "erdil",
        "sparsity": question.family.sparsity,
        "batch_law": question.family.batch_law,
        "depth_law": question.family.depth_law,
        "data_law": question.family.data_law,
        "seq_len": question.family.sequence_tokens,
        "deadline_s": question.deadline_s,
        "d_model": list(question.widths),
        "space": question.space.name,
        "assumptions": vars(question.assumptions),
        "set": texts(values, "set"),
    }


def _document(result: Frontier, share: float) -> dict[str, Any]:
    end, wall = result.linear_scaling_end(share), result.latency_wall
    t_crit, t_limit = result.closed_forms()
    return {
        "plateau_utilization": result.plateau,
        "linear_scaling_end": vars(end),
        "latency_wall": vars(wall),
        "closed_form": {"alpha": 0, "t_crit_flop": t_crit, "t_limit_flop": t_limit},
        "runs": result.to_rows(),
    }


def _write_csv(result: Frontier) -> None:
    rows = result.to_rows()
    writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["training_flop"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
