"""``walltime estimate``: how long is a step, does it fit, and where does the time go?"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from walltime import api
from walltime.cli.common import (
    cluster_options,
    json_option,
    law_options,
    merged,
    options,
    read_run_file,
    read_scenario,
    reading_options,
)
from walltime.cli.terms import terms_options
from walltime.cli.timeline import ON_TERMINAL, is_drawing
from walltime.interop.huggingface import is_config
from walltime.plan import RECOMPUTES
from walltime.problems import BadInput, unknown
from walltime.workload import Transformer

_OF_BOTH = (
    *("model", "on", "parameters", "set", "precision", "engine", "seq_len", "batch_tokens"),
    *("dp", "tp", "pp", "ep", "schedule", "recompute"),
)
_OF_THEORY = (
    *("sparsity", "batch_law", "d_ff", "layers", "experts", "tp_model", "tp_ff", "microbatches", "interleave"),
    *("assumptions", "fix", "overlap", "cluster_choice", "space"),
)
_OF_REAL_MODELS = (
    *("batch", "tokens", "cp", "etp", "vpp", "micro_batch", "shard", "sharding", "recompute_layers", "order"),
    *("sequence_parallel", "reshard", "cp_algorithm", "offload_optimizer", "gradient_bytes"),
    *("stack", "attention", "convention", "price", "owned", "explain", "timeline"),
)
_ENGINES = ("erdil", "transformer")


def _degree_option(name: str, text: str) -> Callable[[Any], Any]:
    return click.option(f"--{name.replace('_', '-')}", name, metavar="N[,N...]", help=text)


def _number_option(name: str, text: str) -> Callable[[Any], Any]:
    return click.option(f"--{name.replace('_', '-')}", name, type=int, metavar="N", help=text)


_theory_options = options(
    _number_option("d_ff", "mlp-D: width of the hidden layer. Default 4 x d_model."),
    _number_option("layers", "mlp-D: layers. Default: the depth law."),
    _number_option("experts", "mlp-D: experts a layer. Default: 1, or the sparsity law."),
    _degree_option("tp_model", "mlp-D: tensor parallelism over d_model, or a list by network level."),
    _degree_option("tp_ff", "mlp-D: tensor parallelism over d_ff, or a list by network level."),
    _number_option("microbatches", "mlp-D: microbatches a pipeline. Default: the fewest that fill it."),
    _number_option("interleave", "mlp-D: model chunks a pipeline stage. Default 1."),
    reading_options,
)


_SCHEDULES = "1f1b (default), gpipe, zb-h1, zb-h2, zb-v or dualpipe"


def plan_options(*, theory: bool, schedules: str = _SCHEDULES) -> Callable[[Any], Any]:
    """Return the options of a plan, with what they mean for the theory's models or without."""

    def text(always: str, of_theory: str) -> str:
        return f"{always} mlp-D: {of_theory}." if theory else always

    by_level = "or a list by network level"
    return options(
        _degree_option("dp", text("Data parallelism. Default: what the cluster leaves.", by_level)),
        click.option("--tp", metavar="N", help=text("Tensor parallelism.", "split in two as is fastest")),
        _degree_option("pp", text("Pipeline parallelism.", by_level)),
        _degree_option("ep", text("Expert parallelism, inside dp.", by_level)),
        click.option(
            "--schedule",
            metavar="NAME",
            help=text(f"Of the pipeline: {schedules}.", "1f1b or zero-bubble"),
        ),
        click.option(
            "--recompute",
            is_flag=False,
            flag_value="full",
            metavar="[KIND]",
            help="Compute activations again in the backward pass: none, selective or full, which it is without a KIND.",
        ),
    )


real_options = options(
    _number_option("batch", "Sequences in a step; or give --batch-tokens."),
    click.option("--tokens", metavar="TOKENS", help="Tokens of the whole run, e.g. 15T, for days, cost and energy."),
    _number_option("cp", "Context parallelism."),
    _number_option("etp", "Tensor parallelism inside an expert: 1 (default) or tp."),
    _number_option("vpp", "Model chunks a pipeline stage holds (interleaving). Default 1."),
    _number_option("micro_batch", "Sequences that a pipeline works on at a time. Default 1."),
    click.option("--sharding", metavar="NAME", help="ddp, zero1, zero2 or zero3 (FSDP). Default: what the stack does."),
    _number_option("shard", "Data-parallel ranks that state is shared out over (hybrid shard). Default: all."),
    click.option("--recompute-layers", type=float, metavar="SHARE", help="Share of the layers, where it is full."),
    click.option(
        "--sequence-parallel/--no-sequence-parallel",
        default=None,
        help="Split norms and residuals along the sequence over tp. Default: what the stack does.",
    ),
    click.option(
        "--reshard/--no-reshard", default=None, help="zero3: drop parameters between forward and backward pass."
    ),
    click.option("--cp-algorithm", metavar="NAME", help="ring (default) or all-to-all."),
    click.option("--offload-optimizer", is_flag=True, default=None, help="Optimizer state and step on the host."),
    _number_option("gradient_bytes", "Bytes of a gradient that is kept and reduced: 2 or 4. Default: the stack's."),
    click.option("--order", metavar="LIST", help="Placement from the inside out. Default tp,cp,ep,dp,pp."),
    click.option("--stack", metavar="NAME", help="Training software. Default megatron-core."),
    click.option("--attention", metavar="KERNEL", help="Instead of the stack's: unfused, flash2, flash3, ..."),
    click.option("--convention", metavar="NAME", help="How model FLOP are counted. Default causal-attention."),
)


@click.command("estimate", short_help="How long is a step, does it fit, and where does the time go?")
@click.argument("model", required=False)
@cluster_options
@click.option("--engine", metavar="ENGINE", help="transformer, or erdil (the theory). Default: by the model.")
@click.option("--batch-tokens", metavar="TOKENS", help="Tokens in a step, e.g. 16M. mlp-D: default the batch law.")
@click.option(
    "--seq-len",
    type=int,
    metavar="TOKENS",
    help="Tokens in a sequence. Default: learned positions, or 4096. mlp-D: 2048.",
)
@plan_options(theory=True)
@real_options
@terms_options
@click.option("--explain", is_flag=True, default=None, help="What each part is, and what its numbers stand on.")
@click.option(
    "--timeline",
    is_flag=False,
    flag_value=ON_TERMINAL,
    metavar="[FILE.svg]",
    help="What each pipeline stage does when: in the terminal, or drawn to a file.",
)
@law_options
@_theory_options
@json_option
def command(model: str | None, as_json: bool, **flags: Any) -> None:
    """How long is a step, does it fit, and where does the time go?

    MODEL is a name of the catalog (walltime show models), a Hugging Face config.json or its folder, a TOML file of a
    model, or mlp-D, the theory's model of width D (its depth and batch by the scaling laws; without a plan, the best
    one is searched for). Or it is a TOML or JSON file of a run, whose keys are the flags.

    \b
    walltime estimate llama-3.1-405b --on 16384xh100-sxm --tp 8 --pp 16 --seq-len 8192 --batch 2048
    walltime estimate mlp-53248 --on 8388608xh100-sxm
    walltime estimate mlp-12288 --on 2048xh100-sxm --tp-model 4 --tp-ff 8 --pp 64 --schedule zero-bubble
    """
    values = values_of(model, flags)
    if not values.get("model"):
        raise BadInput(
            "no model is named. Valid: a name (llama-3.1-405b, see walltime show models), mlp-D with D = d_model, "
            "a config.json or a TOML file; for example walltime estimate llama-2-7b --on 64xh100-sxm --batch 256."
        )
    if _engine(values) == "erdil":
        from walltime.cli import estimate_theory

        estimate_theory.run(values, as_json=as_json)
    else:
        from walltime.cli import estimate_transformer

        estimate_transformer.run(values, as_json=as_json)


def values_of(model: str | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags over those of a run file, if that is what MODEL is; else MODEL is one of them."""
    flags = dict.fromkeys((*_OF_BOTH, *_OF_THEORY, *_OF_REAL_MODELS)) | flags
    if model is None and flags["recompute"] not in (None, *RECOMPUTES):
        model, flags = flags["recompute"], flags | {"recompute": "full"}  # MODEL followed a bare --recompute
    if model is None and flags["timeline"] not in (None, ON_TERMINAL) and not is_drawing(flags["timeline"]):
        model, flags = flags["timeline"], flags | {"timeline": ON_TERMINAL}  # MODEL followed a bare --timeline
    path = Path(model) if model and api.is_path(model) else None
    is_run = path is not None and path.exists() and not is_config(path) and not _describes_model(read_run_file(path))
    return _values(flags | {"model": None if is_run else model}, path if is_run else None)


def _describes_model(content: Mapping[str, Any]) -> bool:
    """Whether a file is of a model, not of a run: it has dimensions, or a name and nothing of a run."""
    dimensions = {"id", *(field.name for field in fields(Transformer))}
    if "dimensions" in content:
        return True
    return not content.keys() & {"model", "on"} and bool(content.keys() & dimensions)


def _values(flags: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """Return the flags over a run file; refuse what belongs to the other kind of model."""
    content = read_run_file(path) if path else {}
    name = flags["model"] or content.get("model")
    real = not api.is_theory(name) if isinstance(name, str) else bool(content.keys() & set(_OF_REAL_MODELS))
    others = _OF_THEORY if real else _OF_REAL_MODELS
    for key in others:
        if isinstance(name, str) and (flags[key] not in (None, ()) or key in content):
            raise BadInput(_foreign(key, name, real, f"{path}: " if path and key in content else ""))
    allowed = {*_OF_BOTH, *(_OF_REAL_MODELS if real else _OF_THEORY)}
    return merged(flags, read_scenario(path, allowed, real_model=real))


def _foreign(key: str, name: str, real: bool, where: str) -> str:
    flag = f"--{key.replace('_', '-')}"
    if real:
        return f"{where}{key} ({flag}) is for the theory's models, mlp-D; {name} is not one of them."
    return f"{where}{key} ({flag}) is for real models (llama-3.1-405b); {name} is one of the theory's."


def _engine(values: Mapping[str, Any]) -> str:
    """Return the engine of the model, which is also the only one that may be named."""
    name, asked = values.get("model"), values.get("engine")
    fitting = "transformer" if name and not api.is_theory(name) else "erdil"
    if asked is not None and asked not in _ENGINES:
        raise unknown("engine", asked, _ENGINES)
    if asked not in (None, fitting):
        raise BadInput(f"engine={asked} does not know {name}. Valid: {fitting}.")
    return fitting
