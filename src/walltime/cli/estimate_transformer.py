"""``walltime estimate`` for real models: flags to a plan, the answer as text or JSON, and what to mind."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import click

from walltime import api
from walltime.catalog import DATASHEET
from walltime.catalog.fitted import fitted_ids, training_record
from walltime.cli.common import cluster_inputs, emit_json, resolve_cluster, texts, typed
from walltime.cli.timeline import asked_timeline
from walltime.engines.known_cluster import known_cluster
from walltime.engines.nearest import nearest_plans_that_fit
from walltime.engines.stack import ATTENTION_KERNELS, Stack, stack
from walltime.engines.transformer import TransformerEstimate
from walltime.hardware import Cluster
from walltime.plan import PRECISIONS, Plan, plan_warnings
from walltime.plan.divisibility import must_divide
from walltime.problems import BadInput, NegativeAnswer, unknown
from walltime.report.transformer import (
    Context,
    explanation_text,
    missing_bytes,
    run_gpu_hours,
    transformer_text,
)
from walltime.units import LARGEST_SIZE, format_count, format_si, format_time, parse_quantity, whole, whole_in
from walltime.validate.layouts import DEFAULTS
from walltime.validate.nearby import Nearby, Neighbourhood
from walltime.workload import Training, Transformer

_CHOICES = (
    *("schedule", "sharding", "precision", "cp_algorithm"),
    *("sequence_parallel", "reshard", "offload_optimizer"),
)


@dataclass(frozen=True)
class _Question:
    """What the flags ask, resolved; ``notes`` says what was decided on the way."""

    training: Training
    cluster: Cluster
    plan: Plan
    stack: Stack
    tokens: float | None
    notes: list[str]


def run(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Estimate, print, and say if it does not fit."""
    asked = _question(values)
    result = _estimate(asked, asked.plan, typed(values, "convention", str, "causal-attention"))
    around = Neighbourhood(asked.training, asked.plan, asked.cluster.accelerator.id, asked.stack.id)
    warnings = [*asked.notes, *_warnings(asked), *around.beyond()]
    context = Context(around.nearest(), asked.tokens)
    instead = None if result.fits[0] else _nearest_plan(asked)
    shown = asked_timeline(values, result)
    if as_json:
        document = _document(result, context, instead) | {"timeline": shown.document() if shown else None}
        emit_json("estimate", _inputs(values, asked, result), document, warnings)
    else:
        click.echo(transformer_text(result, context))
        if shown:
            shown.echo()
        if values.get("explain"):
            click.echo("\n" + explanation_text(result))
        else:
            click.echo("\nnext: the same with --explain: what each part is, and what its numbers stand on")
        for warning in warnings:
            click.echo(f"note: {warning}", err=True)
    if not result.fits[0]:
        raise NegativeAnswer(_does_not_fit(asked, result, instead))


def _estimate(asked: _Question, plan: Plan, convention: Any = "causal-attention") -> TransformerEstimate:
    training = asked.training
    return api.estimate(
        training.model,
        asked.cluster,
        plan,
        seq_len=training.seq_len,
        batch_seqs=training.batch_seqs,
        stack=asked.stack,
        convention=convention,
        tokens=asked.tokens,
    )


# Flags to a question


def _question(values: Mapping[str, Any]) -> _Question:
    notes: list[str] = []
    software = _stack(values)
    made = api.model(typed(values, "model", str))
    assert isinstance(made, Transformer)
    cluster = _cluster(values, notes)
    seq_len = _seq_len(values, made, notes)
    plan = _plan(values, made, cluster, software)
    batch_seqs = _batch_seqs(values, plan, seq_len, notes)
    tokens = values.get("tokens")
    return _Question(
        training=Training(made, seq_len, batch_seqs),
        cluster=cluster,
        plan=plan,
        stack=software,
        tokens=None if tokens is None else parse_quantity(str(tokens), "tokens", "tokens"),
        notes=notes,
    )


def _stack(values: Mapping[str, Any]) -> Stack:
    software = stack(typed(values, "stack", str, api.USUAL_STACK))
    kernel: Any = typed(values, "attention", str, software.attention)
    if kernel not in ATTENTION_KERNELS:
        raise unknown("attention", kernel, ATTENTION_KERNELS)
    return replace(software, attention=kernel)


def _cluster(values: Mapping[str, Any], notes: list[str]) -> Cluster:
    """Return the cluster with the datasheets' numbers: those of the kernels were fitted beside them."""
    numbers = typed(values, "parameters", str, DATASHEET)
    if numbers != DATASHEET:
        raise BadInput(f"parameters={numbers} are the theory's numbers. Valid for real models: {DATASHEET}.")
    cluster = resolve_cluster({**values, "parameters": DATASHEET, "precision": None}, needs_count=True)
    if cluster.network.id not in fitted_ids("links"):
        notes.append(
            f"the network of {cluster.name} was not measured: it is taken for one like the accelerator's usual"
        )
    return known_cluster(cluster)


def _seq_len(values: Mapping[str, Any], model: Transformer, notes: list[str]) -> int:
    given = typed(values, "seq_len", int)
    if given is not None:
        return whole(given, "seq_len", LARGEST_SIZE)
    usual = api.usual_seq_len(model)
    notes.append(f"seq_len is not given: sequences of {format_count(usual)} tokens")
    return usual


def _degree(values: Mapping[str, Any], name: str) -> int | None:
    given = values.get(name)
    if given is None:
        return None
    return whole(given, name) if isinstance(given, int) else whole_in(str(given), name)


def _plan(values: Mapping[str, Any], model: Transformer, cluster: Cluster, software: Stack) -> Plan:
    """Return the plan that the flags describe; the stack decides what they leave open."""
    names = ("tp", "cp", "pp", "ep", "etp", "vpp", "micro_batch", "shard")
    degrees: dict[str, Any] = {name: n for name in names if (n := _degree(values, name)) is not None}
    degrees["dp"] = _degree(values, "dp") or _derived_dp(degrees, model, cluster)
    usual = DEFAULTS.get(software.id, DEFAULTS["generic"])
    choices: dict[str, Any] = {
        "sharding": usual.sharding,
        "sequence_parallel": usual.sequence_parallel,
        "precision": _usual_precision(cluster),
        "reshard": software.id != "torchtitan" or degrees.get("pp", 1) == 1,  # its default with pipelines
    }
    choices |= {name: values[name] for name in _CHOICES if values.get(name) is not None}
    if values.get("order") is not None:
        choices["order"] = tuple(part.strip() for part in str(values["order"]).split(","))
    return Plan(**degrees, **choices, **_recompute(values))


def _usual_precision(cluster: Cluster) -> Any:
    """Return the 16-bit format of an accelerator, bf16 where it has both."""
    return cluster.accelerator.precision if cluster.accelerator.precision in PRECISIONS else "bf16"


def _recompute(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return which activations are computed again, and in how many layers; true in a file means full."""
    given, share = values.get("recompute"), typed(values, "recompute_layers", float)
    kind = {None: "none", False: "none", True: "full"}.get(given, given)
    if share is None:
        return {"recompute": kind}
    if kind != "full":
        raise BadInput(f"recompute_layers={share:g} needs recompute=full, not {kind}. Valid: --recompute full.")
    if not 0 <= share <= 1:
        raise BadInput(f"recompute_layers={share:g} must be between 0 and 1.")
    return {"recompute": kind, "recompute_layers": share}


def _derived_dp(degrees: Mapping[str, int], model: Transformer, cluster: Cluster) -> int:
    """Return the data parallelism that fills the cluster. A tp that does not divide the heads is refused first."""
    num_gpus = cluster.num_gpus or 0
    shown = {name: degrees.get(name, 1) for name in ("tp", "cp", "pp")}
    inner = shown["tp"] * shown["cp"] * shown["pp"]
    if num_gpus % inner == 0:
        return num_gpus // inner
    must_divide("tp", shown["tp"], "num_heads", model.num_heads)
    near = [count for count in (num_gpus // inner * inner, (num_gpus // inner + 1) * inner) if count]
    product = " x ".join(f"{name}={degree}" for name, degree in shown.items() if degree > 1)
    total = f", {inner}," if product.count("=") > 1 else ""
    raise BadInput(
        f"{product}{total} does not divide the cluster's {num_gpus} accelerators. "
        f"Nearest: {', '.join(f'--on {count}x{cluster.id}' for count in near)}."
    )


def _batch_seqs(values: Mapping[str, Any], plan: Plan, seq_len: int, notes: list[str]) -> int:
    """Return the sequences of a step; tokens are rounded to what pipelines and microbatches share out evenly."""
    seqs, tokens = typed(values, "batch", int), values.get("batch_tokens")
    if seqs is not None and tokens is not None:
        raise BadInput(f"batch={seqs} and batch_tokens={tokens} say the same thing. Valid: one of them.")
    if seqs is not None:
        return whole(seqs, "batch", LARGEST_SIZE)
    if tokens is None:
        raise BadInput("batch is not given. Valid: sequences in a step, --batch 2048, or tokens, --batch-tokens 16M.")
    wanted = parse_quantity(str(tokens), "tokens", "batch_tokens")
    if not 1 <= wanted <= LARGEST_SIZE:
        raise BadInput(f"batch_tokens={tokens} must be between 1 and {LARGEST_SIZE:,}.")
    piece = plan.dp * plan.micro_batch
    seqs = max(1, round(wanted / (seq_len * piece))) * piece
    if seqs * seq_len != wanted:
        notes.append(
            f"batch_tokens={tokens} is taken as {format_count(seqs)} sequences, {seqs * seq_len:,} tokens: "
            f"a multiple of dp x micro_batch={piece} sequences of {format_count(seq_len)}"
        )
    return seqs


# What to mind


def _warnings(asked: _Question) -> list[str]:
    plan, model = asked.plan, asked.training.model
    said = plan_warnings(plan, asked.training)
    sizes = asked.cluster.network.level_sizes
    if sizes and plan.tp > sizes[0]:
        domain = asked.cluster.network.level_names[0]
        said.append(f"tp={plan.tp} is more than the {sizes[0]} accelerators that {domain} joins")
    if model.num_positions and asked.training.seq_len > model.num_positions:
        said.append(
            f"seq_len={asked.training.seq_len} is more than the {model.num_positions} positions of {model.name}"
        )
    if plan.offload_optimizer:
        said.append("offload_optimizer frees memory, and its time is not counted: real steps take longer")
    record = training_record()
    for blocks, name in ((record.accelerator, asked.cluster.accelerator.id), (record.stack, asked.stack.id)):
        if name not in blocks or blocks[name].kind == "estimate":
            said.append(f"what {name} adds or sustains in training is estimated from its kin, not fitted")
    return said


def _nearest_plan(asked: _Question) -> Plan | None:
    found = nearest_plans_that_fit(asked.training, asked.cluster, asked.plan, asked.stack, count=1)
    return found[0] if found else None


def _does_not_fit(asked: _Question, result: TransformerEstimate, instead: Plan | None) -> str:
    needed, there = float(result.needed_bytes[0]), float(result.memory_capacity_bytes[0])
    said = (
        f"does not fit: {format_si(needed, 'B', 3)} needed of {format_si(there, 'B', 3)} on the fullest accelerator, "
        f"{format_si(missing_bytes(result), 'B', 3)} too much."
    )
    if instead is None:
        offload = "" if asked.plan.offload_optimizer else ", without --offload-optimizer"
        return f"{said} No plan near it fits on as many accelerators{offload}."
    time_s = float(_estimate(asked, instead).time_s[0])
    return f"{said} Nearest plan that fits: {plan_flags(asked.plan, instead)} ({format_time(time_s)} a step)."


def plan_flags(before: Plan, after: Plan) -> str:
    """Return the flags that lead from one plan to another."""
    flags = []
    for name in (field.name for field in fields(Plan)):
        value = getattr(after, name)
        if value == getattr(before, name):
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags.append(f"--{flag} {','.join(value) if isinstance(value, tuple) else value}")
    return " ".join(flags)


# JSON


def _inputs(values: Mapping[str, Any], asked: _Question, result: TransformerEstimate) -> dict[str, Any]:
    return {
        **cluster_inputs(result.cluster),
        "engine": "transformer",
        "model": vars(asked.training.model),
        "seq_len": asked.training.seq_len,
        "batch_seqs": asked.training.batch_seqs,
        "batch_tokens": asked.training.batch_tokens,
        "tokens": asked.tokens,
        "stack": vars(asked.stack),
        "convention": result.convention,
        "set": texts(values, "set"),
    }


def _document(result: TransformerEstimate, context: Context, instead: Plan | None) -> dict[str, Any]:
    row = result.to_rows()[0]
    return {
        "plan": {**vars(result.plans.plan(0)), "num_gpus": row["num_gpus"]},
        "step_time_s": row["step_time_s"],
        "lower_s": row["lower_s"],
        "upper_s": row["upper_s"],
        "utilization": row["utilization"],
        "hardware_utilization": row["hardware_utilization"],
        "peak_flop_per_s": result.peak_flop_per_s,
        "step_flop": result.step_flop,
        "tokens_per_s": row["tokens_per_s"],
        "tokens_per_s_per_gpu": float(result.tokens_per_s[0] / result.plans.num_gpus[0]),
        "parts_s": {name: float(part[0]) for name, part in result.parts_s.items()},
        "busy_s": {name: float(part[0]) for name, part in result.busy_s.items()},
        "run": _run_document(result) if context.tokens is not None else None,
        "fits": row["fits"],
        "memory_bytes_per_gpu": {name: float(part[0]) for name, part in result.memory_bytes.items()},
        "memory_needed_bytes_per_gpu": float(result.needed_bytes[0]),
        "memory_capacity_bytes_per_gpu": float(result.memory_capacity_bytes[0]),
        "memory_missing_bytes_per_gpu": missing_bytes(result),
        "nearest_plan_that_fits": vars(instead) if instead else None,
        "nearest_measured": [_nearby_document(near) for near in context.nearby],
    }


def _run_document(result: TransformerEstimate) -> dict[str, float]:
    run_time_s = float(result.run_time_s[0])
    return {"num_steps": result.num_steps, "run_time_s": run_time_s, "gpu_hours": run_gpu_hours(result)}


def _nearby_document(near: Nearby) -> dict[str, Any]:
    row, case = near.case.row, near.case
    return {
        "source_id": row.source_id,
        "source_ref": row.source_ref,
        "model_name": row.model_name,
        "accelerator": case.machine.accelerator,
        "stack": case.stack,
        "num_gpus": case.num_gpus,
        "plan": vars(case.plan),
        "measured_step_time_s": near.measured_s,
        "predicted_step_time_s": near.predicted_s,
        "error": near.error,
    }
