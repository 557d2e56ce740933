"""``walltime estimate`` for real models: flags to a plan, the answer as text or JSON, and what to mind."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import click
from msgspec import to_builtins

from walltime import api
from walltime.cli.common import cluster_inputs, emit_json, texts
from walltime.cli.question import Question, question, run_warnings
from walltime.cli.terms import terms_of
from walltime.cli.timeline import asked_timeline
from walltime.economics.account import Account, account
from walltime.economics.numbers import account_numbers
from walltime.economics.terms import Terms
from walltime.engines.nearest import nearest_plans_that_fit
from walltime.engines.transformer import TransformerEstimate
from walltime.plan import Plan
from walltime.problems import NegativeAnswer
from walltime.report.transformer import (
    Context,
    explanation_text,
    missing_bytes,
    transformer_text,
)
from walltime.units import format_si, format_time
from walltime.validate.cases import Case
from walltime.validate.nearby import Nearby, Neighbourhood
from walltime.validate.published_runs import published_run


def run(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Estimate, print, and say if it does not fit."""
    asked = question(values)
    result = _estimate(asked, asked.plan, asked.convention)
    around = Neighbourhood(asked.training, asked.plan, asked.cluster.accelerator.id, asked.stack.id)
    warnings = [*asked.notes, *run_warnings(asked), *around.beyond()]
    published = published_run(asked.training, asked.plan, asked.cluster.accelerator.id)
    terms = terms_of(values, [asked.cluster])
    costs = account(result, terms)
    context = Context(costs, around.nearest(), asked.tokens, published)
    instead = None if result.fits[0] else _nearest_plan(asked)
    shown = asked_timeline(values, result)
    if as_json:
        document = _document(result, context, instead) | {
            "account_numbers": {name: to_builtins(one) for name, one in account_numbers(asked.cluster, terms).items()},
            "timeline": shown.document() if shown else None,
        }
        emit_json("estimate", _inputs(values, asked, result, terms), document, warnings)
    else:
        click.echo(transformer_text(result, context))
        if shown:
            shown.echo()
        if values.get("explain"):
            click.echo("\n" + explanation_text(result, terms))
        else:
            click.echo("\nnext: the same with --explain: what each part is, and what its numbers stand on")
        for warning in warnings:
            click.echo(f"note: {warning}", err=True)
    if not result.fits[0]:
        raise NegativeAnswer(_does_not_fit(asked, result, instead))


def _estimate(asked: Question, plan: Plan, convention: Any = "causal-attention") -> TransformerEstimate:
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


def _nearest_plan(asked: Question) -> Plan | None:
    found = nearest_plans_that_fit(asked.training, asked.cluster, asked.plan, asked.stack, count=1)
    return found[0] if found else None


def _does_not_fit(asked: Question, result: TransformerEstimate, instead: Plan | None) -> str:
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


def _inputs(values: Mapping[str, Any], asked: Question, result: TransformerEstimate, terms: Terms) -> dict[str, Any]:
    return {
        **cluster_inputs(result.cluster),
        "engine": "transformer",
        "model": vars(asked.training.model),
        "seq_len": asked.training.seq_len,
        "batch_seqs": asked.training.batch_seqs,
        "batch_tokens": asked.training.batch_tokens,
        "tokens": asked.tokens,
        "stack": {name: value for name, value in vars(asked.stack).items() if name != "runs"},
        "convention": result.convention,
        "set": texts(values, "set"),
        "terms": vars(terms),
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
        "account": context.account.to_rows()[0],
        "run": _run_document(context.account) if context.tokens is not None else None,
        "fits": row["fits"],
        "memory_bytes_per_gpu": {name: float(part[0]) for name, part in result.memory_bytes.items()},
        "memory_needed_bytes_per_gpu": float(result.needed_bytes[0]),
        "memory_capacity_bytes_per_gpu": float(result.memory_capacity_bytes[0]),
        "memory_missing_bytes_per_gpu": missing_bytes(result),
        "nearest_plan_that_fits": vars(instead) if instead else None,
        "published_run": _published_document(context.published) if context.published else None,
        "nearest_measured": [_nearby_document(near) for near in context.nearby],
    }


def _published_document(run: Case) -> dict[str, Any]:
    row = run.row
    return {
        "source_id": row.source_id,
        "source_ref": row.source_ref,
        "model_name": row.model_name,
        "utilization": row.mfu,
        "model_tflops_per_gpu": row.model_tflops_per_gpu,
        "step_time_s": run.step_time_s,
    }


def _run_document(account: Account) -> dict[str, Any]:
    whole = {name: None if values is None else float(values[0]) for name, values in account.run().items()}
    return {"num_steps": account.estimate.num_steps, **whole}


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
