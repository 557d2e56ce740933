"""Flags to a question about a real model: what `estimate`, `export` and others ask, resolved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from walltime import api
from walltime.catalog import DATASHEET
from walltime.catalog.fitted import fitted_accelerator, fitted_ids, fitted_stack
from walltime.cli.common import resolve_cluster, texts, typed
from walltime.economics.terms import ROOMS, is_setting
from walltime.engines.calibration import kernels
from walltime.engines.known_cluster import known_cluster
from walltime.engines.stack import ATTENTION_KERNELS, Stack, stack
from walltime.hardware import Cluster
from walltime.interop.run import Run
from walltime.plan import PRECISIONS, Plan, plan_warnings
from walltime.plan.divisibility import must_divide
from walltime.problems import BadInput, unknown
from walltime.units import LARGEST_SIZE, format_count, parse_quantity, whole, whole_in
from walltime.validate.layouts import DEFAULTS
from walltime.workload import Training, Transformer

_HARDWARE = ("network", "accelerator")
_CHOICES = (
    *("schedule", "sharding", "precision", "cp_algorithm"),
    *("sequence_parallel", "reshard", "offload_optimizer"),
)


@dataclass(frozen=True)
class Question(Run):
    """A run as it was asked about; ``notes`` says what was decided on the way."""

    notes: list[str] = field(default_factory=list, kw_only=True)


def question(values: Mapping[str, Any]) -> Question:
    """Return the run that flags, or a run file under them, describe.

    Raises
    ------
    BadInput
        A flag's value is unknown or does not go with the others; whether the plan divides model and batch is not
        looked at here.
    """
    name = typed(values, "model", str)
    made, said = api.real_model(name)
    notes = list(said)
    cluster = real_cluster(values, notes)
    software = software_of(values, [cluster])
    seq_len = seq_len_of(values, made, notes)
    plan = _plan(values, made, cluster, software)
    batch_seqs = _batch_seqs(values, plan, seq_len, notes)
    tokens = values.get("tokens")
    return Question(
        model=name,
        training=Training(made, seq_len, batch_seqs),
        cluster=cluster,
        plan=plan,
        stack=software,
        tokens=None if tokens is None else parse_quantity(str(tokens), "tokens", "tokens"),
        convention=typed(values, "convention", str, "causal-attention"),
        notes=notes,
    )


def software_of(values: Mapping[str, Any], clusters: Sequence[Cluster]) -> Stack:
    """Return the software stack, that of the clusters if none is named, with the attention kernel that is named."""
    software = stack(typed(values, "stack", str, api.usual_stack(clusters)))
    kernel: Any = typed(values, "attention", str, software.attention)
    if kernel not in ATTENTION_KERNELS:
        raise unknown("attention", kernel, ATTENTION_KERNELS)
    return replace(software, attention=kernel)


def real_cluster(values: Mapping[str, Any], notes: list[str]) -> Cluster:
    """Return the cluster with the datasheets' numbers: those of the kernels were fitted beside them."""
    numbers = typed(values, "parameters", str, DATASHEET)
    if numbers != DATASHEET:
        raise BadInput(f"parameters={numbers} are the theory's numbers. Valid for real models: {DATASHEET}.")
    of_hardware = [text for text in texts(values, "set") if not is_setting(text)]
    for text in of_hardware:
        room = text.partition(".")[0].strip()
        if "=" in text and room not in _HARDWARE:
            raise unknown("field in --set", text.partition("=")[0], [f"{name}.…" for name in (*_HARDWARE, *ROOMS)])
    values = {**values, "parameters": DATASHEET, "precision": None, "set": of_hardware}
    cluster = resolve_cluster(values, needs_count=True)
    if cluster.network.id not in (*fitted_ids("links"), cluster.accelerator.id):
        notes.append(
            f"the network of {cluster.name} was not measured: it is taken for one like the accelerator's usual"
        )
    return known_cluster(cluster)


def seq_len_of(values: Mapping[str, Any], model: Transformer, notes: list[str]) -> int:
    """Return the tokens of a sequence, the usual if none are given."""
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
    names = ("tp", "cp", "pp", "ep", "etp", "vpp", "micro_batch", "shard", "gradient_bytes")
    degrees: dict[str, Any] = {name: n for name in names if (n := _degree(values, name)) is not None}
    degrees["dp"] = _degree(values, "dp") or _derived_dp(degrees, model, cluster)
    usual = DEFAULTS.get(software.id, DEFAULTS["generic"])
    choices: dict[str, Any] = {
        "sharding": usual.sharding,
        "sequence_parallel": usual.sequence_parallel,
        "precision": usual_precision(cluster, software),
        "schedule": _had(Plan.schedule, software.runs.schedules),
        "reshard": software.id != "torchtitan" or degrees.get("pp", 1) == 1,  # its default with pipelines
    }
    choices |= {name: values[name] for name in _CHOICES if values.get(name) is not None}
    if values.get("order") is not None:
        choices["order"] = tuple(part.strip() for part in str(values["order"]).split(","))
    return Plan(**degrees, **choices, **_recompute(values))


def _had(usual: str, choices: Sequence[str]) -> str:
    """Return what is usual, or the first choice of a stack that does not have it."""
    return usual if usual in choices or not choices else choices[0]


def usual_precision(cluster: Cluster, software: Stack) -> Any:
    """Return the 16-bit format of an accelerator, bf16 where it has both, as far as the software has it."""
    usual = cluster.accelerator.precision if cluster.accelerator.precision in PRECISIONS else "bf16"
    return _had(usual, software.runs.precisions)


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


def given_batch(values: Mapping[str, Any]) -> int | None:
    """Return the sequences of a step as they were given, None if it was in tokens.

    Raises
    ------
    BadInput
        Both were given, or neither.
    """
    seqs, tokens = typed(values, "batch", int), values.get("batch_tokens")
    if seqs is not None and tokens is not None:
        raise BadInput(f"batch={seqs} and batch_tokens={tokens} say the same thing. Valid: one of them.")
    if seqs is None and tokens is None:
        raise BadInput("batch is not given. Valid: sequences in a step, --batch 2048, or tokens, --batch-tokens 16M.")
    return None if seqs is None else whole(seqs, "batch", LARGEST_SIZE)


def _batch_seqs(values: Mapping[str, Any], plan: Plan, seq_len: int, notes: list[str]) -> int:
    """Return the sequences of a step; tokens are rounded to what pipelines and microbatches share out evenly."""
    if (given := given_batch(values)) is not None:
        return given
    tokens = values["batch_tokens"]
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


def run_warnings(asked: Run) -> list[str]:
    """Return what to mind about a run, in words: what is unusual in its plan, and what is not fitted or not counted."""
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
    chip = asked.cluster.accelerator.id
    if plan.precision == "fp32" and "fp32" not in kernels(chip).matmul:
        said.append(f"fp32 matmuls of {chip} were not measured: they are taken for as efficient as those in 16 bits")
    for block, name in (
        (fitted_accelerator(chip), chip),
        (fitted_stack(asked.stack.id, chip), asked.stack.id),
    ):
        if block is None or block.kind == "estimate":
            said.append(f"what {name} adds or sustains in training is estimated from its kin, not fitted")
    return said
