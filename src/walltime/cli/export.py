"""``walltime export``: a plan as the configuration that launches it."""

from pathlib import Path
from typing import Any

import click

from walltime import api
from walltime.cli.common import cluster_options, emit_json, json_option, options
from walltime.cli.estimate import plan_options, real_options, values_of
from walltime.cli.question import Question, question
from walltime.engines.compatibility import check_stack
from walltime.interop.header import predicted
from walltime.interop.run import run_values
from walltime.interop.targets import TARGETS, Files, export_files, software_note
from walltime.plan import check_plan, plan_warnings
from walltime.problems import BadInput, NegativeAnswer
from walltime.report.transformer import missing_bytes
from walltime.units import format_si

_export_options = options(
    click.option("--to", metavar="TARGET", help=f"{', '.join(TARGETS)}."),
    click.option("--slurm", is_flag=True, help="Started by a Slurm batch script."),
    click.option("--out", metavar="PATH", help="A file, or a folder. Default: print them."),
)


@click.command("export", short_help="A plan as the configuration that launches it.")
@click.argument("plan", required=False)
@_export_options
@cluster_options
@click.option("--batch-tokens", metavar="TOKENS", help="Tokens in a step, e.g. 16M; or give --batch.")
@click.option(
    "--seq-len", type=int, metavar="TOKENS", help="Tokens in a sequence. Default: learned positions, or 4096."
)
@plan_options(theory=False)
@real_options
@json_option
def command(plan: str | None, to: str | None, slurm: bool, out: str | None, as_json: bool, **flags: Any) -> None:
    """A plan as the configuration that launches it.

    PLAN is a TOML or JSON file of a run, whose keys are the flags of walltime estimate; or a model, with those flags.
    Every file starts with the command that makes it again and with the prediction, to compare the first steps with.
    What a target cannot express is refused.

    \b
    walltime export llama-3.1-405b --on 16384xh100-sxm --tp 8 --pp 16 --seq-len 8192 --batch 2048 --to megatron
    walltime export run.toml --to torchtitan --slurm --out launch/
    walltime export llama-2-7b --on 64xh100-sxm --batch 512 --to toml --out run.toml
    """
    asked = _asked(plan, to, flags)
    check_plan(asked.plan, asked.training, asked.cluster)
    check_stack(asked.plan, asked.training, asked.stack)
    files = export_files(asked, str(to), slurm=slurm, folder=None if out is None else _folder(out))
    result = predicted(asked)
    warnings = [*asked.notes, *plan_warnings(asked.plan, asked.training), *software_note(asked, str(to))]
    if as_json:
        emit_json("export", run_values(asked), {"to": to, "slurm": slurm, "files": files}, warnings)
    else:
        _show(files) if out is None else write(files, out)
        for warning in warnings:
            click.echo(f"note: {warning}", err=True)
    if not result.fits[0]:
        lacking = format_si(missing_bytes(result), "B", 3)
        raise NegativeAnswer(f"does not fit: {lacking} too much on the fullest accelerator; exported all the same.")


def _asked(plan: str | None, to: str | None, flags: dict[str, Any]) -> Question:
    if to is None:
        raise BadInput(f"to is not given. Valid: --to with {', '.join(TARGETS)}.")
    values = values_of(plan, flags)
    name = values.get("model")
    if not name:
        raise BadInput("no plan is named. Valid: a run file, or a model and the flags of walltime estimate.")
    if api.is_theory(name):
        raise BadInput(f"model={name} is one of the theory's, which nobody launches. Valid: walltime show models.")
    return question(values)


def _show(files: Files) -> None:
    """Print one file as it is, several with their names."""
    for name, text in files.items():
        if len(files) > 1:
            click.echo(f"==> {name} <==")
        click.echo(text, nl=False)


def _is_folder(out: str) -> bool:
    return out.endswith("/") or Path(out).is_dir()


def _folder(out: str) -> Path:
    """Return where one file will lie."""
    if not out:
        raise BadInput("out is empty. Valid: the path of a file or a folder.")
    return Path(out) if _is_folder(out) else Path(out).parent


def write(files: Files, out: str) -> None:
    """Write files into a folder, which is made if need be, or one file by its own name; say which on standard error.

    Raises
    ------
    BadInput
        They cannot be written there.
    """
    into_folder = _is_folder(out) or len(files) > 1
    paths = [Path(out) / name for name in files] if into_folder else [Path(out)]
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, files.values(), strict=True):
            path.write_text(text, encoding="utf-8")
            click.echo(f"wrote {path}", err=True)
    except (OSError, ValueError) as error:
        many = f", a folder for {len(files)} files" if len(files) > 1 else ""
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"out={out}{many}: cannot be written: {why}.") from None
