"""``walltime estimate`` for the theory's models, mlp-D."""

import bisect
from collections.abc import Mapping
from typing import Any

import click

from walltime import api
from walltime.cli.common import (
    cluster_inputs,
    emit_json,
    resolve_cluster,
    resolve_family,
    resolve_reading,
    texts,
    typed,
)
from walltime.engines import Assumptions, Estimate
from walltime.hardware import Cluster
from walltime.plan import DEGREES, SCHEDULES, MlpPlan, check_mlp_plan, divisors
from walltime.problems import BadInput, NegativeAnswer, unknown
from walltime.report.estimate import estimate_text, memory_bytes_per_gpu
from walltime.search import FULL
from walltime.units import LARGEST_SIZE, format_si, format_time, parse_quantity, whole, whole_in
from walltime.workload import MlpStack

_PLAN_KEYS = (*DEGREES, "microbatches", "interleave", "schedule", "recompute")


def run(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Estimate, print, and say if it does not fit."""
    values = {**values, "recompute": _recompute(values.get("recompute"))}
    read, cluster = resolve_reading(values), resolve_cluster(values, needs_count=True)
    workload = _model(values)
    given = _plans(values, workload, cluster)
    if given:
        _must_fill(values, given[0], workload, cluster)
    try:
        plans = given or [api.search(workload, cluster, **read)]
    except NegativeAnswer as answer:
        if as_json:
            nothing = {"plan": None, "fits": False, "reason": str(answer)}
            emit_json("estimate", _inputs(values, workload, cluster, read), nothing, [])
        raise
    results = [api.estimate(workload, cluster, plan, assumptions=read["assumptions"]) for plan in plans]
    result = min(results, key=lambda one: float(one.time_s[0]))
    warnings = _warnings(result, workload, read["assumptions"])
    if as_json:
        emit_json("estimate", _inputs(values, workload, cluster, read), _document(result, not given), warnings)
    else:
        click.echo(estimate_text(result, workload, cluster, searched=not given))
        for warning in warnings:
            click.echo(f"note: {warning}", err=True)
    if not result.fits[0]:
        needed, there = sum(memory_bytes_per_gpu(result).values()), cluster.accelerator.hbm_bytes
        raise NegativeAnswer(
            f"does not fit: weights, gradients and optimizer state need {format_si(needed, 'B')} of "
            f"{format_si(there, 'B')} per accelerator."
        )


def _recompute(given: Any) -> bool | None:
    """Return whether activations are computed again: --recompute says full where nothing follows it."""
    if given is None or isinstance(given, bool):
        return given
    if given not in ("full", "none"):
        raise BadInput(f"recompute={given!r}: the theory computes all activations again, or none. Valid: full, none.")
    return bool(given == "full")


def _model(values: Mapping[str, Any]) -> MlpStack:
    name = typed(values, "model", str)
    if not name:
        raise BadInput("no model is named. Valid: a name (llama-3.1-405b), mlp-D with D = d_model, or a TOML file.")
    return api.theory_model(
        name,
        **resolve_family(values),
        d_ff=typed(values, "d_ff", int),
        num_layers=typed(values, "layers", int),
        num_experts=typed(values, "experts", int),
        batch_tokens=_batch_tokens(values),
    )


def _batch_tokens(values: Mapping[str, Any]) -> int | None:
    given = values.get("batch_tokens")
    if given is None:
        return None
    tokens = parse_quantity(str(given), "tokens", "batch_tokens")
    if tokens != int(tokens):
        raise BadInput(f"batch_tokens={given} must be a whole number.")
    return int(tokens)


def _warnings(result: Estimate, model: MlpStack, read: Assumptions) -> list[str]:
    """Say so where defect 1 changes the answer."""
    mended = api.estimate(
        model, result.cluster, result.plans.plan(0), assumptions=read.with_fix("zero_bubble_latency_order")
    )
    if float(mended.time_s[0]) == float(result.time_s[0]):
        return []
    return [
        "as published, zero-bubble pipelines drop their network latency; with it this step takes "
        f"{format_time(float(mended.time_s[0]))} (--fix zero_bubble_latency_order)"
    ]


def _plans(values: Mapping[str, Any], model: MlpStack, cluster: Cluster) -> list[MlpPlan]:
    """Return the plan that was described, one for each split where only --tp is given; none if none was."""
    tp = values.get("tp")
    if tp is None:
        plan = _plan(values, cluster)
        return [plan] if plan else []
    if values.get("tp_model") is not None or values.get("tp_ff") is not None:
        raise BadInput("--tp is split in two by itself. Valid: --tp, or --tp-model and --tp-ff.")
    degree = whole_in(str(tp), "tp", LARGEST_SIZE)
    splits = FULL.splits(model, degree)
    if not splits:
        near = ", ".join(str(tp) for tp in _nearest_tp(model, degree))
        raise BadInput(
            f"tp={degree} has no split that divides d_model={model.d_model} and d_ff={model.d_ff}. Nearest: {near}."
        )
    plans = [_plan({**values, "tp_model": tp_model, "tp_ff": tp_ff}, cluster) for tp_model, tp_ff in splits]
    return [plan for plan in plans if plan]


def _nearest_tp(model: MlpStack, degree: int) -> list[int]:
    """Return the largest degree below that splits into a divisor of d_model and one of d_ff, and the smallest above."""
    of_ff = divisors(model.d_ff)
    below, above = [], []
    for tp_model in divisors(model.d_model):
        at = bisect.bisect_right(of_ff, degree // tp_model)
        below += [tp_model * of_ff[at - 1]] if at else []
        above += [tp_model * of_ff[at]] if at < len(of_ff) else []
    return [max(below), *([min(above)] if above else [])]


def _must_fill(values: Mapping[str, Any], plan: MlpPlan, model: MlpStack, cluster: Cluster) -> None:
    """Refuse a plan that does not occupy the cluster, and name one degree with which it would."""
    num_gpus = cluster.num_gpus or 0
    if plan.is_placed or plan.num_gpus == num_gpus:
        return
    check_mlp_plan(plan, model, cluster.with_num_gpus(plan.num_gpus))
    hint = f"--on {plan.num_gpus}x{cluster.id}"
    for name in ("dp", "tp", "pp", "ep") if values.get("tp") is not None else DEGREES:
        present = plan.degree("tp_model") * plan.degree("tp_ff") if name == "tp" else plan.degree(name)
        degree, rest = divmod(num_gpus * present, plan.num_gpus)
        if not rest and _divides({**values, name: degree}, model, cluster):
            hint = f"{name}={degree}"
            break
    try:
        check_mlp_plan(plan, model, cluster)
    except BadInput as problem:
        raise BadInput(f"{problem} Valid: {hint}.") from None


def _divides(values: Mapping[str, Any], model: MlpStack, cluster: Cluster) -> bool:
    """Whether the plan that is described divides model and cluster."""
    try:
        check_mlp_plan(_plans(values, model, cluster)[0], model, cluster)
    except BadInput:
        return False
    return True


def _plan(values: Mapping[str, Any], cluster: Cluster) -> MlpPlan | None:
    """Return the plan that was described, None if none was."""
    if all(values.get(name) is None for name in _PLAN_KEYS):
        return None
    schedule = typed(values, "schedule", str, "1f1b")
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, SCHEDULES)
    degrees = _degrees(values, cluster)
    pp = MlpPlan(**degrees).degree("pp")
    counts = typed(values, "microbatches", int) or (2 * pp if schedule == "zero-bubble" else pp)
    return MlpPlan(
        **degrees,
        num_microbatches=typed(values, "microbatches", int, counts),
        interleave=typed(values, "interleave", int, 1),
        schedule=schedule,
        recompute=typed(values, "recompute", bool, False),
    )


def _degrees(values: Mapping[str, Any], cluster: Cluster) -> dict[str, Any]:
    """Read degrees; if one is a list by level, the others must be lists or 1."""
    read = {name: _degree(name, values[name]) for name in DEGREES if values.get(name) is not None}
    if not any(isinstance(degree, tuple) for degree in read.values()):
        return read
    levels = cluster.network.num_levels
    full: dict[str, Any] = {}
    for name in DEGREES:
        degree = read.get(name, 1)
        if degree != 1 and not isinstance(degree, tuple):
            given = next(other for other in read if isinstance(read[other], tuple))
            raise BadInput(
                f"{name}={degree} is not placed, but {given} is. Valid: a list of {levels} degrees for each "
                f"({', '.join(cluster.network.level_names)}), or none."
            )
        full[name] = degree if isinstance(degree, tuple) else (1,) * levels
    return full


def _degree(name: str, value: Any) -> int | tuple[int, ...]:
    parts = value if isinstance(value, list) else str(value).split(",")
    numbers = [whole(part, name) if isinstance(part, int) else whole_in(str(part), name) for part in parts]
    return numbers[0] if len(numbers) == 1 and not isinstance(value, list) else tuple(numbers)


def _inputs(values: Mapping[str, Any], model: MlpStack, cluster: Cluster, read: dict[str, Any]) -> dict[str, Any]:
    return {
        **cluster_inputs(cluster),
        "engine": "erdil",
        "model": vars(model),
        "assumptions": vars(read["assumptions"]),
        "space": read["space"],
        "set": texts(values, "set"),
    }


def _document(result: Estimate, searched: bool) -> dict[str, Any]:
    row = result.to_rows()[0]
    return {
        "plan": {**vars(result.plans.plan(0)), "num_gpus": row["num_gpus"], "searched": searched},
        "step_time_s": row["step_time_s"],
        "lower_s": row["lower_s"],
        "upper_s": row["upper_s"],
        "utilization": row["utilization"],
        "run_time_s": row["run_time_s"],
        "num_steps": result.num_steps,
        "parts_s": {name: float(part[0]) for name, part in result.parts_s.items()},
        "busy_s": {name: float(part[0]) for name, part in result.busy_s.items()},
        "fits": row["fits"],
        "memory_bytes_per_gpu": memory_bytes_per_gpu(result),
        "memory_capacity_bytes_per_gpu": result.cluster.accelerator.hbm_bytes,
    }
