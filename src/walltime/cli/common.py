"""What the commands share: options, resolved inputs, the JSON envelope, progress."""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from walltime import __version__, api
from walltime.catalog import data_version, read_toml
from walltime.catalog.calibrations import calibration_record
from walltime.engines import FIXES, Assumptions
from walltime.hardware import Cluster
from walltime.interop.quoting import COMMENT_KEY
from walltime.limits.scaling_laws import constants
from walltime.plan import DEGREES
from walltime.problems import BadInput, unknown
from walltime.units import parse_quantity, shortened, whole_in

_TIMES_ACCELERATOR = re.compile(r"(-?[\d_,.]+)\s*x\s*(.+)")


def options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Join options into one decorator, in the order in which help lists them."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class WholeNumber(click.IntRange):
    """A whole number of a range, which messages call so."""

    name = "whole number"


cluster_options = options(
    click.option("--on", "on", metavar="[N x]CLUSTER", help="Cluster: a name (h100-sxm), N times it, or a TOML file."),
    click.option(
        "--parameters",
        metavar="SET",
        help="Whose numbers: Erdil2024 or datasheet. Default: Erdil2024 for the paper's accelerators.",
    ),
    click.option(
        "--set", "set", multiple=True, metavar="FIELD=VALUE", help="Override, e.g. network.latency=0.5x (repeat)."
    ),
    click.option("--precision", metavar="NAME", help="Number format of matmuls: bf16, fp16, fp8, ... Default: 16-bit."),
)
law_options = options(
    click.option("--dense", "sparsity", flag_value="dense", default=None, help="Dense models (the default)."),
    click.option("--sparse", "sparsity", flag_value="sparse", help="Mixtures of experts by the sparsity law."),
    click.option("--batch-law", metavar="LAW", help="How batches grow: default, deepseek or none."),
)
family_options = options(
    law_options,
    click.option("--seq-len", type=int, metavar="TOKENS", help="Tokens in a sequence; default 2048."),
)
reading_options = options(
    click.option("--assumptions", metavar="NAME", help="as_published (default) or corrected."),
    click.option("--fix", "fix", multiple=True, metavar="NAME", help="Mend one published defect (repeat)."),
    click.option(
        "--overlap", "overlap", multiple=True, metavar="KIND=SHARE", help="Share hidden: tp=1, pp=1, dp=0 (repeat)."
    ),
    click.option(
        "--cluster-choice", metavar="NAME", help="Of sufficient clusters: smallest or most_efficient (if corrected)."
    ),
    click.option("--space", metavar="NAME", help="Plans tried: published or full. Default: full if corrected."),
)
model_options = options(
    click.option("--engine", default=None, metavar="ENGINE", help="erdil: the theory of Erdil & Schneider-Joseph."),
    reading_options,
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


_TEXT, _WHOLE, _NUMBER, _TEXTS, _YES_NO = "text", "a whole number", "a number", "a list of texts", "true or false"
_TEXT_OR_YES_NO = "text, true or false"
_QUANTITY, _DEGREES = "text or a number", "a whole number, text or a list of whole numbers"
_IN_RUN_FILES = {
    **dict.fromkeys(("on", "parameters", "precision", "sparsity", "batch_law", "engine", "assumptions"), _TEXT),
    **dict.fromkeys(("cluster_choice", "space", "duration", "model", "schedule"), _TEXT),
    **dict.fromkeys(("set", "fix", "overlap"), _TEXTS),
    **dict.fromkeys(("from", "to", "batch_tokens"), _QUANTITY),
    **dict.fromkeys(("seq_len", "d_ff", "layers", "experts", "tp", "microbatches", "interleave"), _WHOLE),
    **dict.fromkeys(DEGREES, _DEGREES),
    "fraction": _NUMBER,
    "recompute": _YES_NO,
}
"""What each field of a run file of the theory must be; without further fields, it is one or more of these."""
_IN_FILES_OF_REAL_MODELS = {
    **dict.fromkeys(("on", "parameters", "precision", "engine", "model", "schedule", "sharding"), _TEXT),
    **dict.fromkeys(("cp_algorithm", "order", "stack", "attention", "convention"), _TEXT),
    **dict.fromkeys(("set", "price"), _TEXTS),
    **dict.fromkeys(("batch_tokens", "tokens"), _QUANTITY),
    **dict.fromkeys(("seq_len", "batch", "tp", "cp", "dp", "pp", "ep", "etp", "vpp", "micro_batch", "shard"), _WHOLE),
    "gradient_bytes": _WHOLE,
    **dict.fromkeys(("sequence_parallel", "reshard", "offload_optimizer", "owned", "explain"), _YES_NO),
    **dict.fromkeys(("recompute", "timeline"), _TEXT_OR_YES_NO),
    "recompute_layers": _NUMBER,
}
"""The same of a real model."""


def read_run_file(path: Path) -> dict[str, Any]:
    """Read a run's TOML or JSON file; what stands for comments in a JSON file is left out."""
    if path.suffix != ".json":
        return read_toml(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not valid JSON: {error}.") from None
    if not isinstance(content, dict):
        raise BadInput(f'{path}: not a JSON object. Valid: {{"model": "llama-2-7b", "on": "64xh100-sxm", ...}}.')
    content.pop(COMMENT_KEY, None)
    return content


def read_scenario(path: Path | None, allowed: Collection[str], *, real_model: bool = False) -> dict[str, Any]:
    """Read a run's TOML or JSON file, whose keys are the flags' names; flags override it.

    A cluster file that it names lies beside it, unless the path is absolute; so does a model file of a
    ``real_model``.
    """
    kinds = _IN_FILES_OF_REAL_MODELS if real_model else _IN_RUN_FILES
    if path is None:
        return {}
    content = read_run_file(path)
    if not content:
        raise BadInput(f"{path}: an empty run file. Valid fields: {', '.join(sorted(allowed))}.")
    for key, value in content.items():
        if key not in allowed:
            raise BadInput(f"{path}: {unknown('field', key, allowed)}")
        if not _is(kinds[key], value):
            raise BadInput(f"{path}: {key}={_as_in_toml(value)} must be {kinds[key]}.")
    files = ("on", "model") if real_model else ("on",)
    return content | {key: _beside(path, content[key]) for key in files if key in content}


def _is(kind: str, value: Any) -> bool:
    """Whether a value read from TOML is of a kind."""
    if isinstance(value, bool):
        return kind in (_YES_NO, _TEXT_OR_YES_NO)
    if isinstance(value, list):
        return (kind == _TEXTS and all(isinstance(item, str) for item in value)) or (
            kind == _DEGREES and all(_is(_WHOLE, item) for item in value)
        )
    kinds: dict[str, tuple[type, ...]] = {
        _TEXT: (str,),
        _TEXT_OR_YES_NO: (str,),
        _WHOLE: (int,),
        _NUMBER: (int, float),
        _QUANTITY: (str, int, float),
        _DEGREES: (str, int),
    }
    return isinstance(value, kinds.get(kind, ()))


def _as_in_toml(value: Any) -> str:
    """Show a value about as the file has it, cut where it is long."""
    written = json.dumps(value, default=str) if isinstance(value, bool | list | dict) else str(value)
    return shortened(value) if isinstance(value, str) else written[:60]


def _beside(path: Path, on: str) -> str:
    """Return a cluster's or a model's name as it is, the path of its file from where the run file is."""
    match = _TIMES_ACCELERATOR.fullmatch(on.strip())
    times, name = (on.strip()[: match.start(2)], match[2]) if match else ("", on.strip())
    if not api.is_path(name):
        return on
    there = path.parent / name
    return f"{times}{there}" if there.is_absolute() else f"{times}./{there}"


def merged(flags: Mapping[str, Any], scenario: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags over the scenario; a flag that was not given is None or empty."""
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    return {**dict.fromkeys(flags), **scenario, **given}


def typed(values: Mapping[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """Return one value of a scenario, whose type was checked where it was read."""
    value = values.get(name)
    if value is None:
        return default
    return float(value) if kind is float else value


def texts(values: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of strings of a scenario."""
    return list(values.get(name) or [])


def resolve_cluster(values: Mapping[str, Any], *, needs_count: bool = False) -> Cluster:
    """Return the cluster that ``on``, ``parameters``, ``set`` and ``precision`` describe."""
    on = typed(values, "on", str)
    if not on:
        raise BadInput("no cluster is named. Valid: --on h100-sxm, --on 1024xh100-sxm or --on my-cluster.toml.")
    match = _TIMES_ACCELERATOR.fullmatch(on.strip())
    count, name = (
        (whole_in(re.sub("[,_]", "", match[1]), "number of accelerators"), match[2].strip())
        if match
        else (None, on.strip())
    )
    if count is None and needs_count:
        raise BadInput(f"--on {on} does not say how many. Valid: --on 1024x{name}.")
    return api.cluster(
        name,
        count,
        parameters=typed(values, "parameters", str),
        precision=typed(values, "precision", str),
        settings=texts(values, "set"),
    )


def resolve_engine(values: Mapping[str, Any]) -> str:
    """Return the engine's name; there is one yet."""
    engine = typed(values, "engine", str, "erdil")
    if engine != "erdil":
        raise unknown("engine", engine, ("erdil",))
    return str(engine)


def resolve_reading(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the model is read, as the verbs take it."""
    read = Assumptions.named(typed(values, "assumptions", str, "as_published"))
    for fix in texts(values, "fix"):
        if fix not in FIXES:
            raise unknown("fix", fix, FIXES)
        read = read.with_fix(fix)
    overlaps: Any = dict(_overlap(text) for text in texts(values, "overlap"))
    choice: Any = typed(values, "cluster_choice", str, read.cluster_choice)
    read = replace(read, cluster_choice=choice, **overlaps)
    return {"assumptions": read, "space": typed(values, "space", str, api.usual_space(read))}


def _overlap(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    if kind not in ("tp", "pp", "dp"):
        raise unknown("kind in --overlap", kind, ("tp", "pp", "dp"))
    try:
        return f"overlap_{kind}", float(share)
    except ValueError:
        raise BadInput(f"overlap {text!r}: the share must be a number between 0 and 1.") from None


def resolve_family(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the family of runs, as the verbs take it."""
    return {
        "sparsity": typed(values, "sparsity", str, "dense"),
        "batch_law": typed(values, "batch_law", str, "default"),
        "seq_len": typed(values, "seq_len", int),
    }


def resolve_duration_s(values: Mapping[str, Any]) -> float:
    """Return how long a run may take; months and years are the study's (3.154e7 s a year)."""
    run = constants("run")
    text = typed(values, "duration", str)
    if text is None:
        return run["years"] * run["seconds_per_year"]
    return parse_quantity(text, "seconds", "duration", year_s=run["seconds_per_year"])


@dataclass
class Progress:
    """A line on standard error, if that is a terminal and the work takes over a second."""

    what: str
    started: float = 0.0
    shown: bool = False

    def __call__(self, done: int, total: int) -> None:
        """Say how far the work is."""
        now = time.monotonic()
        self.started = self.started or now
        if not sys.stderr.isatty() or now - self.started < 1:
            return
        self.shown = True
        click.echo(f"\r{self.what}: {done} of {total}", nl=False, err=True)

    def finish(self) -> None:
        """Clear the line."""
        if self.shown:
            click.echo("\r\033[K", nl=False, err=True)
            self.shown = False


def emit_json(command: str, inputs: Mapping[str, Any], result: Mapping[str, Any], warnings: list[str]) -> None:
    """Print the JSON document of a command: what was asked, the answer, what to mind, and what it stands on."""
    document = {
        "walltime": __version__,
        "command": command,
        "data_version": data_version(),
        "inputs": inputs,
        "warnings": warnings,
        **result,
    }
    click.echo(json.dumps(finite(document), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """Return the same for JSON: what is unlimited or undefined becomes null."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def latencies_are_the_catalogs(chosen: Cluster) -> bool:
    """Whether no latency of a cluster was changed from what the catalog has."""
    chip, network = chosen.accelerator, chosen.network
    known = [number.value for path, number in network.provenance.items() if path.endswith("latency_s")]
    return list(network.latency_s) == known and chip.matmul_latency_s == chip.provenance["matmul_latency_s"].value


def cluster_inputs(chosen: Cluster) -> dict[str, Any]:
    """Return a cluster's resolved numbers, units in the keys, and the calibration that they are of, if they are."""
    chip, network = chosen.accelerator, chosen.network
    own = calibration_record(chip.id)
    return {
        "cluster": chosen.id,
        "num_gpus": chosen.num_gpus,
        "parameters": chosen.parameters,
        **({} if own is None else {"calibration": own.identity}),
        "accelerator": {k: v for k, v in vars(chip).items() if k != "provenance"},
        "network_levels": [
            {"name": name, "size": size, "bytes_per_s": b, "latency_s": latency_s}
            for name, size, b, latency_s in zip(
                network.level_names,
                (*network.level_sizes, None),
                network.bytes_per_s,
                network.latency_s,
                strict=True,
            )
        ],
    }
