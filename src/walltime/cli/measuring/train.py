"""``walltime measure train``: real training steps of a model under a plan."""

import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from walltime.cli.common import WholeNumber, emit_json, json_option, options
from walltime.cli.estimate import plan_options
from walltime.problems import BadInput, MissingExtra
from walltime.signals import terminable
from walltime.units import parse_quantity

if TYPE_CHECKING:
    from walltime.cli.measuring.train_question import Asked
    from walltime.measure.devices import DeviceKind
    from walltime.measure.ranks import Place
    from walltime.measure.records import TrainResult

_NAME = "measure train"
_END_S = 30.0  # torchrun ends its processes in this time, or it is ended itself


def _whole(flag: str, text: str, *, least: int = 1, default: int | None = None) -> Any:
    name = flag.removeprefix("--").replace("-", "_")
    return click.option(flag, name, type=WholeNumber(least), default=default, metavar="N", help=text)


_model_options = options(
    _whole("--layers", "Only so many of the model's layers."),
    click.option("--set", "set", multiple=True, metavar="FIELD=VALUE", help="Another dimension: d_model=512 (repeat)."),
    _whole("--seq-len", "Tokens in a sequence. Default: the model's positions, or 4096."),
    _whole("--batch", "Sequences in a step. Default: the fewest that fill the plan."),
    _whole("--micro-batch", "Sequences that are computed at a time. Default 1."),
)
_split_options = options(
    plan_options(theory=False, schedules="1f1b (default) or gpipe"),
    _whole("--cp", "Context parallelism (GPUs)."),
    _whole("--vpp", "Model chunks a pipeline stage holds (interleaving). Default 1."),
    click.option("--sharding", metavar="NAME", help="zero3 (FSDP2, the default) or ddp (replicas)."),
    _whole("--shard", "Data-parallel ranks that parameters are shared out over (hybrid shard). Default: all."),
    click.option(
        "--reshard/--no-reshard", default=None, help="zero3: drop parameters between the passes (usual without pp)."
    ),
    click.option(
        "--sequence-parallel/--no-sequence-parallel",
        default=None,
        help="Split norms and residuals along the sequence over tp (the default).",
    ),
    click.option("--recompute-layers", type=float, metavar="SHARE", help="Share of the layers, where it is full."),
    click.option("--precision", metavar="NAME", help="bf16 (the default on GPUs, beside weights in fp32) or fp32."),
)
_run_options = options(
    _whole("--steps", "Steps that are timed. Default 20.", default=20),
    _whole("--warmup", "Steps before them. Default 5.", least=0, default=5),
    _whole("--profile-steps", "Steps after them under the profiler. Default 2.", least=0, default=2),
    click.option("--compile", "compiled", is_flag=True, help="Compile layers (torch.compile)."),
    _whole("--seed", "Of weights and tokens. Default 0.", least=0, default=0),
    click.option("--device", metavar="NAME", help="cuda or cpu. Default: a GPU where there is one."),
    _whole("--nproc", "Processes to start here. Default: what the plan needs."),
    click.option("--memory-limit", metavar="SIZE", help="Most that a process may hold, e.g. 4GB: what fits in it?"),
)
_file_options = options(
    click.option(
        "--result", "result", type=click.Path(path_type=Path), help="Write everything measured here, as JSON."
    ),
    click.option("--csv", "csv", type=click.Path(path_type=Path), help="Append the measured row to this file."),
    click.option("--traces", "traces", type=click.Path(path_type=Path), help="Keep the profiler's traces in a folder."),
)


@click.command("train", short_help="Real training steps of a model under a plan.")
@click.argument("model")
@_model_options
@_split_options
@_run_options
@_file_options
@json_option
def command(*, as_json: bool, **values: Any) -> None:
    """Train a model for some steps on random tokens, and say how long a step takes and where the time goes.

    MODEL is a name of the catalog, a Hugging Face config.json or a TOML file. Starts as many processes on this machine
    as the plan needs; under torchrun or Slurm it is one of theirs. Out of memory is a result, too.

    \b
    walltime measure train llama-3.2-1b --seq-len 2048 --batch 4
    walltime measure train llama-3.2-1b --layers 2 --seq-len 256 --batch 8 --dp 2 --csv rows.csv
    torchrun --nnodes 4 --nproc-per-node 8 ... -m walltime measure train llama-3.1-8b --tp 8 --batch 64
    """
    from walltime.cli.measuring.train_question import asked_of
    from walltime.measure.ranks import end_with_launcher, place

    end_with_launcher()
    where = place()
    device_kind = _device_kind(values["device"])
    asked = asked_of(values, where, device_kind)
    limit_bytes = _limit_bytes(values["memory_limit"])
    if where.num_ranks == 1:  # of several, only the first one writes, and its node may be the only one with the folders
        _check_files(values)
    num_processes = _num_processes(values, where, asked, device_kind)
    if where.num_ranks == 1 and num_processes > 1:
        sys.exit(_started_here(num_processes))
    _run(values, asked, device_kind, limit_bytes, as_json=as_json)


def _device_kind(given: str | None) -> Any:
    from walltime.measure.devices import DEVICE_KINDS
    from walltime.measure.requirements import torch_module
    from walltime.problems import unknown

    if given is not None and given not in DEVICE_KINDS:
        raise unknown("device", given, DEVICE_KINDS)
    torch = torch_module()
    if given == "cuda" and not torch.cuda.is_available():
        raise MissingExtra(f"no GPU: PyTorch {torch.__version__} sees none. Valid: --device cpu.")
    return given or ("cuda" if torch.cuda.is_available() else "cpu")


def _limit_bytes(given: str | None) -> float | None:
    return None if given is None else parse_quantity(given, "bytes", "memory_limit")


def _check_files(values: Mapping[str, Any]) -> None:
    """Refuse files that cannot be written, before anything is measured for them."""
    for name in ("result", "csv"):
        path: Path | None = values[name]
        if path is None:
            continue
        if path.is_dir():
            raise BadInput(f"--{name} {str(path)!r} is a folder. Valid: a file.")
        if not path.absolute().parent.is_dir():
            raise BadInput(f"--{name} {str(path)!r}: there is no folder {str(path.parent)!r}.")
    if values["csv"] is not None:
        from walltime.measure.row_files import check_columns
        from walltime.measure.rows import COLUMNS

        check_columns(values["csv"], COLUMNS)
    if values["traces"] is not None and values["traces"].is_file():
        raise BadInput(f"--traces {str(values['traces'])!r} is a file. Valid: a folder.")


def _num_processes(values: Mapping[str, Any], where: "Place", asked: "Asked", device_kind: "DeviceKind") -> int:
    """Return how many processes run, which must be those of the plan."""
    from walltime.measure.devices import check_processes, places_here
    from walltime.measure.training.checks import check_request

    needed, given = asked.request.plan.num_gpus, values["nproc"]
    if where.num_ranks > 1:
        check_request(asked.request, where.num_ranks)
    elif given is not None:
        check_request(asked.request, given)
        check_processes(given, device_kind, _NAME)
    elif needed > (here := places_here(device_kind)):
        raise MissingExtra(_how_to_start(needed, here, device_kind))
    return int(needed)


def _how_to_start(needed: int, here: int, device_kind: "DeviceKind") -> str:
    from walltime.measure.devices import most_processes, started_elsewhere

    what = "GPUs" if device_kind == "cuda" else "cores"
    fits = needed <= most_processes(device_kind, here)
    return (
        f"the plan has {needed} processes; this machine has {here} {what}. Run it on more: "
        f"{started_elsewhere(needed, here, _NAME)}{f'; or all of them here: --nproc {needed}' if fits else ''}."
    )


def _started_here(num_processes: int) -> int:
    """Run this same command in several processes; return torchrun's exit code."""
    from walltime.cli.measuring.processes import ended, launcher_environment
    from walltime.measure.ranks import launch_command

    command, environment = launch_command(num_processes, sys.argv[1:]), launcher_environment(num_processes)
    with terminable(), subprocess.Popen(command, env=environment) as agent, ended(agent, _END_S):
        return agent.wait()


def _run(
    values: Mapping[str, Any], asked: "Asked", device_kind: Any, limit_bytes: float | None, *, as_json: bool
) -> None:
    """Measure in this process, and in the first one write and print."""
    from walltime.measure.ranks import place
    from walltime.measure.training import run

    def answer(result: "TrainResult") -> None:
        _write(values, result)
        _print(asked, result, as_json=as_json)

    result = run(
        asked.request,
        device_kind=device_kind,
        traces=values["traces"],
        memory_limit_bytes=limit_bytes,
        on_out_of_memory=answer,
        prepare=partial(_check_files, values),
    )
    if place().is_first:
        answer(result)


def _write(values: Mapping[str, Any], result: "TrainResult") -> None:
    from walltime.measure.environment import environments_file, keep_environment
    from walltime.measure.rows import row_of, write_result, write_rows

    if values["csv"] is not None:
        keep_environment(environments_file(values["csv"]), result.environment)
        write_rows(values["csv"], [row_of(result)])
    if values["result"] is not None:
        write_result(values["result"], result)


def _print(asked: "Asked", result: "TrainResult", *, as_json: bool) -> None:
    from walltime.measure.rows import result_json
    from walltime.report.measured_training import training_text

    if as_json:
        document = result_json(result)
        inputs = document["result"].pop("request")
        emit_json("measure train", inputs, document, asked.notes)
        return
    for note in asked.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(training_text(result))
