"""``walltime measure check``: a plan's prediction beside its measurement."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from walltime import api
from walltime.cli.common import WholeNumber, cluster_options, emit_json, json_option, options
from walltime.cli.estimate import plan_options, real_options, values_of
from walltime.cli.question import Question, question, run_warnings
from walltime.cli.terms import terms_of
from walltime.economics.account import account
from walltime.economics.terms import Terms
from walltime.engines.compatibility import check_stack
from walltime.interop.header import predicted
from walltime.interop.run import run_values
from walltime.plan import check_plan
from walltime.problems import BadInput, NegativeAnswer
from walltime.units import finite

if TYPE_CHECKING:
    from walltime.measure.checks import Comparison, Measured

_SOURCES = ("log", "trace", "result")
_PERCENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%?)")

_source_options = options(
    click.option("--log", type=click.Path(path_type=Path), help="A log of Megatron-LM, torchtitan, NeMo or DeepSpeed."),
    click.option(
        "--trace",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A trace of each of its processes, or a folder of them (repeat).",
    ),
    click.option("--result", type=click.Path(path_type=Path), help="The file of walltime measure train --result."),
    click.option("--steps", type=WholeNumber(1), metavar="N", help="Steps to time, if it is run here. Default 20."),
    click.option("--tolerance", metavar="SHARE", help="Exit 3 if the step time is off by more, e.g. 10%."),
)


@click.command("check", short_help="A plan's prediction beside its measurement, part by part.")
@click.argument("plan", required=False)
@_source_options
@cluster_options
@click.option("--batch-tokens", metavar="TOKENS", help="Tokens in a step, e.g. 16M; or give --batch.")
@click.option(
    "--seq-len", type=int, metavar="TOKENS", help="Tokens in a sequence. Default: learned positions, or 4096."
)
@plan_options(theory=False)
@real_options
@json_option
def command(plan: str | None, tolerance: str | None, as_json: bool, **flags: Any) -> None:
    """A plan's prediction beside its measurement: where the model is wrong, and by how much.

    PLAN is a TOML or JSON file of a run, whose keys are the flags of walltime estimate; or a model, with those flags.
    It is measured by a log, by traces, or by a result of walltime measure train; without any of them it is run on this
    machine for some steps, in as many processes as it has accelerators.

    \b
    walltime measure check run.toml --log train.log --tolerance 10%
    walltime measure check llama-2-7b --on 8xh100-sxm --batch 64 --trace rank0.json.gz --trace rank1.json.gz
    """
    given = {name: flags.pop(name) for name in (*_SOURCES, "steps")}
    most = None if tolerance is None else _share(tolerance)
    _check_sources(given)
    values = values_of(plan, flags)
    asked = _asked(values)
    terms = terms_of(values, [asked.cluster])
    found = _compared(asked, terms, _measured(given, asked))
    _show(asked, found, as_json=as_json)
    if most is not None and abs(found.error) > most:
        raise NegativeAnswer(f"the step time is off by {found.error:+.1%}, more than --tolerance {tolerance}.")


def _share(text: str) -> float:
    """Return a share above zero: ``10%``, ``0.1``."""
    match = _PERCENT.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"tolerance={text!r} is no share. Valid: 10% or 0.1.")
    return finite(float(match[1]) / (100 if match[2] else 1), "tolerance", text)


def _check_sources(given: Mapping[str, Any]) -> None:
    """Refuse more than one measurement, and steps for a run that is over."""
    named = [f"--{name}" for name in _SOURCES if given[name]]
    if len(named) > 1:
        raise BadInput(f"{' and '.join(named)} are measurements of one run. Valid: one of them.")
    if named and given["steps"] is not None:
        raise BadInput(f"--steps {given['steps']} is for a run on this machine. Valid: without {named[0]}.")


def _asked(values: Mapping[str, Any]) -> Question:
    name = values.get("model")
    if not name:
        raise BadInput("no plan is named. Valid: a run file, or a model and the flags of walltime estimate.")
    if api.is_theory(name):
        raise BadInput(f"model={name} is one of the theory's, which nobody runs. Valid: walltime show models.")
    asked = question(values)
    check_plan(asked.plan, asked.training, asked.cluster)
    check_stack(asked.plan, asked.training, asked.stack)
    return asked


def _measured(given: Mapping[str, Any], asked: Question) -> "Measured":
    from walltime.measure.checks import from_log, from_result, from_traces
    from walltime.measure.trace import trace_files

    if given["log"] is not None:
        return from_log(given["log"], asked.training, asked.plan.num_gpus)
    if given["trace"]:
        return from_traces(trace_files(given["trace"]), asked.plan)
    if given["result"] is not None:
        return from_result(given["result"], asked.training, asked.plan, asked.cluster)
    from walltime.cli.measuring.run_plan import run_here

    return run_here(asked, given["steps"])


def _compared(asked: Question, terms: Terms, measured: "Measured") -> "Comparison":
    from walltime.measure.checks import comparison

    return comparison(account(predicted(asked), terms), asked.plan, measured)


def _show(asked: Question, found: "Comparison", *, as_json: bool) -> None:
    from walltime.report.check import check_json, check_text

    warnings = [*asked.notes, *run_warnings(asked), *found.notes]
    if as_json:
        emit_json("measure check", run_values(asked), check_json(found), warnings)
        return
    click.echo(check_text(found))
    for warning in warnings:
        click.echo(f"note: {warning}", err=True)
