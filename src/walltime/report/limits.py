"""A frontier as text: a curve, the two thresholds by name, and a table of runs."""

from walltime.limits import Frontier
from walltime.report.terminal import curve, table
from walltime.units import format_count, format_flop, format_si, format_time


def limits_text(result: Frontier, share: float) -> str:
    """Return what `walltime limits` prints; linear scaling ends at ``share`` of the plateau."""
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
        f"        . {share:.0%} of the plateau of {result.plateau:.0%}    : smoothed envelope crosses it    "
        "| latency wall",
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
    no_wall = "not met: utilisation falls below a thousandth first" if result.vanishes else beyond

    def shown(flop: float | None, otherwise: str = beyond) -> str:
        return f"{format_flop(flop)} FLOP" if flop else otherwise

    first, envelope, last = (shown(x) for x in (end.first_crossing_flop, end.envelope_flop, end.last_crossing_flop))
    if end.begins_below:
        first, envelope = (f"at or before {format_flop(result.runs[0].training_flop)} FLOP, the first run tried",) * 2
    else:
        first += "   (the paper's definition)"
    if result.infeasible_d_model is None:
        largest = f"{shown(wall.last_feasible_flop)}, the last run tried"
    else:
        largest = shown(wall.last_feasible_flop)
    lines = [
        f"Linear scaling ends (utilisation at {share:.0%} of its plateau: larger runs cost more per FLOP)",
        f"  first run at or below     {first}",
        f"  smoothed envelope         {envelope}",
        f"  last run above, the next  {last}",
        f"Latency wall (no cluster of any size finishes in {format_time(result.question.deadline_s)})",
        f"  last feasible run         {largest}",
        f"  first infeasible run      {shown(wall.first_infeasible_flop, no_wall)}",
    ]
    if result.question.family.sparsity == "dense":
        t_crit, t_limit = result.closed_forms()
        lines.append(
            f"Closed forms at alpha = 0: T_crit {format_flop(t_crit, 2)}, T_limit {format_flop(t_limit, 2)} FLOP"
        )
    return "\n".join(lines)


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
