"""``walltime search``: which plan should I run, and why do the others lose?"""

import math
from pathlib import Path
from typing import Any

import click

from walltime.cli.common import Progress, cluster_inputs, emit_json, json_option
from walltime.cli.question import run_warnings
from walltime.cli.search_options import batch_options, requirement_options, seq_len_option
from walltime.cli.search_question import Asked, real_name, search_question
from walltime.interop.run import Run, run_command
from walltime.interop.run_file import run_json, run_toml
from walltime.interop.targets import export_files
from walltime.planner import GOALS, Answer, Option, Question, recommend
from walltime.planner.answer import rejections
from walltime.planner.option import option
from walltime.planner.pareto import pareto
from walltime.planner.reasons import binding, elasticities, losing_parts, survival
from walltime.planner.relax import excluded, no_plan_text
from walltime.problems import BadInput, NegativeAnswer
from walltime.report.search import Reasons, options_table, search_text
from walltime.validate.cases import Case
from walltime.validate.ceilings import measured_ceiling
from walltime.validate.nearby import Neighbourhood
from walltime.validate.published_runs import same_trainings

_LONG_FRONT = 24


@click.command("search", short_help="Which plan should I run, and why do the others lose?")
@click.argument("model", required=False)
@click.option("--on", "on", multiple=True, metavar="NxCLUSTER", help="Cluster, or 256..4096x a cluster (repeat).")
@batch_options
@seq_len_option
@click.option("--goal", metavar="GOAL", help=f"What is best: {', '.join(GOALS)}. Default time.")
@click.option("--top", type=int, metavar="N", help="Layouts that are shown. Default 10.")
@click.option("--pareto", metavar="GOAL,GOAL...", help="The front of several goals instead of one best plan.")
@click.option("--tokens", metavar="TOKENS", help="Tokens of the whole run, e.g. 15T, for days and cost.")
@click.option("--deadline", metavar="TIME", help="How long the whole run may take, e.g. 60d.")
@requirement_options
@click.option("--pessimistic", is_flag=True, help="Does the plan survive with fitted numbers at their bad end?")
@click.option("--save", metavar="FILE", help="The recommended plan as a run file, .toml or .json.")
@json_option
def command(
    model: str | None, as_json: bool, pareto: str | None, pessimistic: bool, save: str | None, **flags: Any
) -> None:
    """Which plan should I run, and why do the others lose?

    MODEL is a name of the catalog (walltime show models), a Hugging Face config.json or its folder, or a TOML file of a
    model. Every plan that the stack can run is considered; what is not computed is proven to be worse.

    \b
    walltime search llama-3.1-405b --on 16384xh100-sxm --batch 2048 --seq 8192
    walltime search llama-2-7b --on 64xh100-sxm --batch 512 --tp 1,2 --fix sharding=zero3 --stack torchtitan
    walltime search llama-3.1-70b --on 256..2048xh100-sxm --batch 1024 --tokens 2T --deadline 60d --goal gpus
    walltime search mixtral-8x7b --on 256xh100-sxm --on 256xb200 --batch 1024 --goal cost
    """
    asked = _asked(model, flags)
    if save is not None:
        _check_save(Path(save))
    if pessimistic and not asked.question.compares_times:
        raise BadInput(f"pessimistic is about step times, not goal={asked.question.goal}. Valid: time, cost or gpus.")
    if pareto is not None:
        _check_front(flags, save=save, pessimistic=pessimistic)
        _show_front(asked, _goals(pareto), flags["top"], as_json=as_json)
        return
    progress = Progress("clusters searched")
    answer = recommend(asked.question, progress)
    progress.finish()
    if not answer:
        _no_plan(asked, answer, as_json=as_json)
    reasons = _reasons(answer, pessimistic=pessimistic)
    run = _run(asked, answer.recommended)
    if save is not None:
        _save(run, Path(save))
    warnings = [*asked.notes, *run_warnings(run)]
    if as_json:
        emit_json("search", _inputs(asked), _document(answer, reasons, run), warnings)
        return
    click.echo(search_text(answer, reasons))
    saved = save or "best.toml"
    again = "" if save else f"the same with --save {saved}, then "
    click.echo(f"\nnext: {again}walltime estimate {saved} --explain, walltime export {saved} --to {_target(run)}")
    for warning in warnings:
        click.echo(f"note: {warning}", err=True)


def _asked(model: str | None, flags: dict[str, Any]) -> Asked[Question]:
    model = real_name(model, "walltime search llama-2-7b --on 64xh100-sxm --batch 512")
    if not flags["on"]:
        raise BadInput("no cluster is named. Valid: --on 1024xh100-sxm, or --on 256..4096xh100-sxm.")
    return search_question(flags | {"model": model})


def _reasons(answer: Answer, *, pessimistic: bool) -> Reasons:
    chosen, question = answer.recommended, answer.question
    chip, stack = chosen.cluster.accelerator.id, question.stack.id
    by_time = question.compares_times
    return Reasons(
        nearby=Neighbourhood(question.training, chosen.plan, chip, stack).nearest(),
        others=_others(answer),
        highest=_highest(answer),
        ceiling=measured_ceiling(chip, chosen.plan.precision, stack),
        binding=binding(answer) if by_time else None,
        elasticities=elasticities(answer) if by_time else (),
        survival=survival(answer) if pessimistic else None,
    )


def _highest(answer: Answer) -> dict[str, float]:
    """Return the highest measured utilisation of each accelerator that was asked about, if there are several sites."""
    found = {}
    for one in answer.of_sites if len(answer.sites) > 1 else ():
        if one is not None and one.cluster.accelerator.id not in found:
            chip = one.cluster.accelerator.id
            ceiling = measured_ceiling(chip, one.plan.precision, answer.question.stack.id)
            found[chip] = ceiling.utilization if ceiling else 0.0
    return found


def _others(answer: Answer) -> list[tuple[Case, Option]]:
    """Return the same training as others ran it, their plans estimated like ours."""
    chosen, question = answer.recommended, answer.question
    cases = same_trainings(question.training, chosen.cluster.accelerator.id, chosen.plan.num_gpus)
    return [(case, option(question, chosen.cluster, case.plan)) for case in cases]


def _run(asked: Asked[Question], one: Option) -> Run:
    question = asked.question
    return Run(asked.model, question.training, one.cluster, one.plan, question.stack, question.tokens)


def _check_save(path: Path) -> None:
    """Refuse a file that cannot be written before a long search, not after."""
    if path.suffix not in (".toml", ".json"):
        raise BadInput(f"save={path} must end in .toml or .json.")
    if path.is_dir():
        raise BadInput(f"save={path} is a folder. Valid: a file in it.")
    if not path.parent.is_dir():
        raise BadInput(f"save={path}: there is no folder {path.parent}.")


def _save(run: Run, path: Path) -> None:
    """Write the run file of the recommended plan."""
    text = run_json(run, path.parent) if path.suffix == ".json" else run_toml(run, path.parent)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"save={path}: cannot be written: {error.strerror}.") from None
    click.echo(f"wrote {path}", err=True)


def _target(run: Run) -> str:
    """Return an export that suits a software stack and can express the plan; ``toml`` always can."""
    suits = next((target for target in ("torchtitan", "deepspeed") if target in run.stack.id), "megatron")
    try:
        export_files(run, suits, slurm=False)
    except NegativeAnswer:
        return "toml"
    return suits


# No plan, and fronts


def _no_plan(asked: Asked[Question], answer: Answer, *, as_json: bool) -> None:
    said = no_plan_text(answer)
    if as_json:
        document = {"plans": [], **_counts(answer), "excluded": dict(excluded(answer)), "answer": said}
        emit_json("search", _inputs(asked), document, asked.notes)
    raise NegativeAnswer(said)


def _goals(text: str) -> tuple[Any, ...]:
    goals = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if len(goals) == 1 and goals[0] in GOALS:
        raise BadInput(f"pareto={text} is one goal. Valid: several, time,memory, or --goal {goals[0]}.")
    return goals


def _check_front(flags: dict[str, Any], *, save: str | None, pessimistic: bool) -> None:
    """Refuse what is about one best plan."""
    given = {"goal": flags["goal"], "save": save, "pessimistic": pessimistic or None}
    for name, value in given.items():
        if value is not None:
            raise BadInput(f"{name}: --pareto has no one best plan. Valid: --pareto or --{name}, not both.")


def _show_front(asked: Asked[Question], goals: tuple[Any, ...], top: int | None, *, as_json: bool) -> None:
    progress = Progress("clusters searched")
    front = pareto(asked.question, goals, progress)
    progress.finish()
    if not front:
        _no_plan(asked, recommend(asked.question), as_json=as_json)
    if as_json:
        emit_json(
            "search", _inputs(asked), {"goals": list(goals), "front": [_plan(asked, one) for one in front]}, asked.notes
        )
        return
    shown = front[:: max(1, math.ceil(len(front) / (top or _LONG_FRONT)))]
    plans = "1 plan" if len(front) == 1 else f"{len(front)} plans"
    click.echo(f"{plans} than which none is as good by {', '.join(goals)} and better by one")
    click.echo(
        f"{len(shown)} of them, from the best by {goals[0]}; --json has all\n" if len(shown) < len(front) else ""
    )
    click.echo(options_table(shown))
    for warning in asked.notes:
        click.echo(f"note: {warning}", err=True)


# JSON


def _inputs(asked: Asked[Question]) -> dict[str, Any]:
    question = asked.question
    constraints = question.constraints
    return {
        "model": question.training.model.name,
        "seq_len": question.training.seq_len,
        "batch_seqs": question.training.batch_seqs,
        "clusters": [cluster_inputs(cluster) for cluster in question.clusters],
        "stack": question.stack.id,
        "goal": question.goal,
        "top": question.top,
        "terms": vars(question.terms),
        "tokens": question.tokens,
        "deadline_s": question.deadline_s,
        "precisions": list(dict.fromkeys(p for cluster in question.clusters for p in question.precisions_on(cluster))),
        "constraints": [constraints.said(name) for name in constraints.names()],
    }


def _counts(answer: Answer) -> dict[str, Any]:
    counts = answer.counts
    return {
        "plans_considered": counts.considered,
        "plans_rejected": dict(rejections(counts)),
        "plans_not_fitting": counts.not_fitting,
        "plans_proven_worse": counts.worse,
        "plans_evaluated": counts.evaluated,
    }


def _plan(asked: Asked[Question], one: Option) -> dict[str, Any]:
    row = one.estimate.to_rows()[0]
    return {
        "cluster": one.cluster.id,
        **row,
        "run_time_s": None if asked.question.tokens is None else one.run_time_s,
        "cost_usd_per_token": one.cost_usd_per_token,
        "energy_j_per_token": one.energy_j_per_token,
        "command": run_command(_run(asked, one), "estimate"),
    }


def _document(answer: Answer, reasons: Reasons, run: Run) -> dict[str, Any]:
    asked = Asked(run.model, answer.question)
    plans = [
        {
            "rank": rank,
            "recommended": one is answer.recommended,
            "tie": one in answer.ties,
            "loses": dict(losing_parts(one, answer.best)) if one.cluster == answer.best.cluster else {},
            **_plan(asked, one),
        }
        for rank, one in enumerate(answer.shown, 1)
    ]
    return {
        **_counts(answer),
        "recommended": next(plan for plan in plans if plan["recommended"]),
        "plans": plans,
        "tie_share": answer.tie,
        "binding": vars(reasons.binding) | {"plan": str(reasons.binding.plan)} if reasons.binding else None,
        "elasticities": [vars(one) | {"plan": str(one.plan)} for one in reasons.elasticities],
        "pessimistic": _survival(reasons),
        "measured_ceiling": _ceiling(reasons, answer.recommended),
        "same_training": [
            {
                "source": case.source_id,
                "plan": str(one.plan),
                "published_s": case.step_time_s,
                "predicted_s": one.time_s,
                "fits": one.free_bytes >= 0,
            }
            for case, one in reasons.others
        ],
        "nearest_measured": [_nearby(near) for near in reasons.nearby],
    }


def _survival(reasons: Reasons) -> dict[str, Any] | None:
    found = reasons.survival
    return vars(found) | {"best_plan": str(found.best_plan)} if found else None


def _ceiling(reasons: Reasons, chosen: Option) -> dict[str, Any] | None:
    found = reasons.ceiling
    if found is None:
        return None
    return {
        "utilization": found.utilization,
        "of_stack": found.of_stack,
        "source": found.case.source_id,
        "model": found.case.row.model_name,
        "plan": str(found.case.plan),
        "exceeded": chosen.utilization > found.utilization,
    }


def _nearby(near: Any) -> dict[str, Any]:
    return {
        "source": near.case.source_id,
        "model": near.case.row.model_name,
        "plan": str(near.case.plan),
        "num_gpus": near.case.num_gpus,
        "measured_s": near.measured_s,
        "predicted_s": near.predicted_s,
        "error": near.error,
    }
