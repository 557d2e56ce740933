"""``walltime limits``: how far can training scale?"""

import csv
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from walltime.cli.common import (
    Progress,
    cluster_inputs,
    cluster_options,
    emit_json,
    family_options,
    json_option,
    merged,
    model_options,
    read_scenario,
    resolve_assumptions,
    resolve_cluster,
    resolve_duration_s,
    resolve_engine,
    texts,
    typed,
)
from walltime.limits import (
    Frontier,
    FrontierQuestion,
    NodeBalance,
    RunFamily,
    frontier,
    t_crit_flop,
    t_limit_flop,
    width_grid,
)
from walltime.problems import BadInput, NegativeAnswer
from walltime.report.terminal import curve, table
from walltime.search.executors import available_cores, workers
from walltime.studies.erdil2024 import curve_rows
from walltime.units import format_count, format_flop, format_si, format_time, parse_quantity

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
@click.option("--from", "start", metavar="FLOP", help="Only runs of at least this training compute.")
@click.option("--to", "stop", metavar="FLOP", help="Only runs of at most this training compute.")
@click.option("--fraction", type=float, help="Linear scaling ends at this share of the plateau. Default 0.8.")
@model_options
@click.option("--workers", "num_workers", type=click.IntRange(min=1), help="Processes. Default: every core.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="The curve as CSV on standard output.")
def command(
    run_file: Path | None,
    on: str | None,
    parameters: str | None,
    settings: tuple[str, ...],
    precision: str | None,
    dense: bool | None,
    batch_law: str | None,
    seq_len: int | None,
    duration: str | None,
    start: str | None,
    stop: str | None,
    fraction: float | None,
    engine: str | None,
    assumptions: str | None,
    fixes: tuple[str, ...],
    space: str | None,
    num_workers: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """How far can training scale before data movement stops it?

    For a family of runs of growing size, finds the smallest cluster that finishes each in time, and its best plan.
    Prints where linear scaling ends (utilisation falls to 80 % of its plateau) and the latency wall (no cluster
    of any size finishes in time): two different thresholds.

    \b
    walltime limits --on h100-sxm
    walltime limits --on h100-sxm --set network.latency=0.5x
    walltime limits --on a100-sxm --sparse --duration 6months --assumptions corrected
    """
    flags = {
        "on": on,
        "parameters": parameters,
        "set": settings,
        "precision": precision,
        "sparsity": None if dense is None else "dense" if dense else "sparse",
        "batch_law": batch_law,
        "seq_len": seq_len,
        "engine": engine,
        "assumptions": assumptions,
        "fix": fixes,
        "space": space,
        "duration": duration,
        "from": start,
        "to": stop,
        "fraction": fraction,
    }
    values = merged(flags, read_scenario(run_file, _KEYS))
    if not values["on"]:
        values["on"] = "h100-sxm" if run_file is None and on is None else values["on"]
    resolve_engine(values)
    question = _question(values)
    share = typed(values, "fraction", float, 0.8)
    if not 0 < share < 1:
        raise BadInput(f"fraction={share!r} must be between 0 and 1.")
    result = _solve(question, num_workers)
    warnings = _warnings(result)
    if as_json:
        emit_json("limits", _inputs(question, values), _document(result, share), warnings)
    elif as_csv:
        _write_csv(result)
    else:
        click.echo(_summary(result, share))
        for warning in warnings:
            click.echo(f"note: {warning}", err=True)
    if not result.runs:
        raise NegativeAnswer(_nothing_feasible(result))


def _question(values: dict[str, Any]) -> FrontierQuestion:
    reading, space = resolve_assumptions(values)
    family = RunFamily(
        sparsity=typed(values, "sparsity", str, "dense"),
        batch_law=typed(values, "batch_law", str, "default"),
        seq_len=typed(values, "seq_len", int, 0) if values.get("seq_len") is not None else 0,
    )
    if values.get("seq_len") is not None and values["seq_len"] < 1:
        raise BadInput(f"seq_len={values['seq_len']} must be a whole number of at least 1.")
    cluster = resolve_cluster(values)
    if cluster.num_gpus is not None:
        raise BadInput(f"--on {values['on']}: limits finds the number of accelerators. Valid: --on {cluster.id}.")
    return FrontierQuestion(
        cluster=cluster,
        family=family,
        deadline_s=resolve_duration_s(values),
        space=space,
        assumptions=reading,
        widths=_widths(values, family),
    )


def _widths(values: dict[str, Any], family: RunFamily) -> tuple[int, ...]:
    bounds = []
    for name, default in (("from", 0.0), ("to", math.inf)):
        text = values.get(name)
        bounds.append(default if text is None else _flop(str(text), name))
    low, high = bounds
    chosen = tuple(w for w in width_grid() if low <= family.model(w).training_flop <= high)
    if not chosen:
        ends = [format_flop(family.model(w).training_flop) for w in (width_grid()[0], width_grid()[-1])]
        raise BadInput(f"no run of the grid has between {low:g} and {high:g} FLOP. It spans {ends[0]} to {ends[1]}.")
    return chosen


def _flop(text: str, field: str) -> float:
    return parse_quantity(text if text.upper().endswith("FLOP") else f"{text}FLOP", "FLOP", field)


def _solve(question: FrontierQuestion, num_workers: int | None) -> Frontier:
    """Spread the widths over processes where the space is large; a published curve is quicker than a process."""
    quick = question.space.name == "published"
    progress = Progress("widths")
    with workers(1 if quick and num_workers is None else num_workers or available_cores()) as executor:
        result = frontier(question, executor, progress)
    progress.finish()
    return result


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
            notes.append(f"estimates, not published numbers: {', '.join(estimates)} (walltime show accelerators NAME)")
    if _drops_latency(result):
        notes.append(
            "as published, zero-bubble pipelines drop their network latency, and with these latencies it matters: "
            "use --assumptions corrected or --fix zero_bubble_latency_order"
        )
    return notes


def _drops_latency(result: Frontier) -> bool:
    """Whether defect 1 changes this curve; looked at only where latencies are not the catalog's."""
    question = result.question
    network, mended = question.cluster.network, question.assumptions.with_fix("zero_bubble_latency_order")
    catalog = [number.value for path, number in network.provenance.items() if path.endswith("latency_s")]
    if mended == question.assumptions or list(network.latency_s) == catalog:
        return False
    again = frontier(replace(question, assumptions=mended))
    return [run.run_time_s for run in again.runs] != [run.run_time_s for run in result.runs]


def _nothing_feasible(result: Frontier) -> str:
    days = format_time(result.question.deadline_s)
    smallest = result.question.family.model(result.infeasible_d_model or 0).training_flop
    return f"no cluster of any size finishes even the smallest run, {format_flop(smallest)} FLOP, in {days}."


def _summary(result: Frontier, share: float) -> str:
    question, cluster = result.question, result.question.cluster
    family = question.family
    fixes = ", ".join(question.assumptions.differences()) or "as published"
    lines = [
        f"{cluster.name}: how far can a run of {format_time(question.deadline_s)} scale?",
        f"  {family.sparsity} models, {family.batch_law} batch law, numbers of {cluster.parameters}, "
        f"{question.space.name} space of plans, {fixes}",
        "  "
        + "; ".join(
            f"{name} {format_si(b, 'B/s')} one way, {format_time(latency_s)}"
            for name, b, latency_s in zip(
                cluster.network.level_names, cluster.network.bytes_per_s, cluster.network.latency_s, strict=True
            )
        ),
        "",
    ]
    if not result.runs:
        return "\n".join(lines[:-1])
    end, wall = result.linear_scaling_end(share), result.latency_wall
    marks = [(x, c) for x, c in ((end.envelope_flop, ":"), (wall.first_infeasible_flop, "|")) if x]
    threshold = share * result.plateau
    lines += [
        "utilisation against training compute",
        curve(result.training_flop, result.utilization, y_max=result.plateau, marks=marks, threshold=threshold),
        f"        . {share:.0%} of the plateau of {result.plateau:.0%}    : smoothed envelope crosses it    | latency wall",
        "",
        _thresholds(result, share),
        "",
        _run_table(result),
        "",
        _next(result),
    ]
    return "\n".join(lines)


def _thresholds(result: Frontier, share: float) -> str:
    end, wall = result.linear_scaling_end(share), result.latency_wall
    beyond = "beyond the runs tried"

    def shown(flop: float | None) -> str:
        return f"{format_flop(flop)} FLOP" if flop else beyond

    lines = [
        f"Linear scaling ends (utilisation at {share:.0%} of its plateau: larger runs cost more per FLOP)",
        f"  first run at or below     {shown(end.first_crossing_flop)}   (the paper's definition)",
        f"  smoothed envelope         {shown(end.envelope_flop)}",
        f"  last run above, the next  {shown(end.last_crossing_flop)}",
        f"Latency wall (no cluster of any size finishes in {format_time(result.question.deadline_s)})",
        f"  last feasible run         {shown(wall.last_feasible_flop)}",
        f"  first infeasible run      {shown(wall.first_infeasible_flop)}",
    ]
    if result.question.family.sparsity == "dense":
        closed = format_flop(t_crit_flop(NodeBalance.of(result.question.cluster), 0, result.question.deadline_s), 2)
        limit = format_flop(t_limit_flop(0, result.question.deadline_s, _tau_s(result)), 2)
        lines.append(f"Closed forms at alpha = 0: T_crit {closed}, T_limit {limit} FLOP")
    return "\n".join(lines)


def _tau_s(result: Frontier) -> float:
    """One matmul, and a reduce-scatter and an all-gather on every network level."""
    cluster = result.question.cluster
    return cluster.accelerator.matmul_latency_s + 2 * math.fsum(cluster.network.latency_s)


def _run_table(result: Frontier) -> str:
    """About ten runs, the last always among them."""
    step = max(1, len(result.runs) // 9)
    chosen = [*result.runs[:-1:step], result.runs[-1]]
    rows = [
        [
            format_flop(run.training_flop),
            f"{run.utilization:.1%}",
            format_count(run.num_gpus),
            format_time(run.run_time_s),
            format_count(run.plan.degree("dp")),
            format_count(run.plan.degree("tp_model") * run.plan.degree("tp_ff")),
            format_count(run.plan.degree("pp")),
            format_count(run.plan.degree("ep")),
            format_count(run.plan.num_microbatches),
            "zero-bubble" if run.plan.schedule == "zero-bubble" else f"1f1b x{run.plan.interleave}",
        ]
        for run in chosen
    ]
    header = ["FLOP", "utilisation", "GPUs", "takes", "DP", "TP", "PP", "EP", "microbatches", "schedule"]
    return table(header, rows)


def _next(result: Frontier) -> str:
    name = result.question.cluster.id
    return f"next: walltime limits --on {name} --set network.latency=0.5x    walltime reproduce erdil2024 all --out out"


def _inputs(question: FrontierQuestion, values: dict[str, Any]) -> dict[str, Any]:
    return {
        **cluster_inputs(question.cluster),
        "engine": "erdil",
        "sparsity": question.family.sparsity,
        "batch_law": question.family.batch_law,
        "depth_law": question.family.depth_law,
        "data_law": question.family.data_law,
        "seq_len_tokens": question.family.seq_len,
        "deadline_s": question.deadline_s,
        "space": question.space.name,
        "assumptions": vars(question.assumptions),
        "set": texts(values, "set"),
    }


def _document(result: Frontier, share: float) -> dict[str, Any]:
    end, wall = result.linear_scaling_end(share), result.latency_wall
    return {
        "plateau_utilization": result.plateau,
        "linear_scaling_end": vars(end),
        "latency_wall": vars(wall),
        "closed_form": {
            "alpha": 0,
            "t_crit_flop": t_crit_flop(NodeBalance.of(result.question.cluster), 0, result.question.deadline_s),
            "t_limit_flop": t_limit_flop(0, result.question.deadline_s, _tau_s(result)),
        },
        "runs": curve_rows(result.question.cluster.id, result),
    }


def _write_csv(result: Frontier) -> None:
    rows = curve_rows(result.question.cluster.id, result)
    writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["training_flop"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
