"""From a measured row's columns to a `Plan`, with what had to be assumed."""

import re
from dataclasses import dataclass, replace
from typing import Any

from walltime.plan import Plan
from walltime.problems import BadInput
from walltime.validate.architecture import Unsaid
from walltime.validate.harness import harness_choices
from walltime.validate.measured import MeasuredRow
from walltime.validate.notes import number_after, precision_of, says, schedule_of
from walltime.validate.source_rules import assumed_columns, left_out_facts, left_out_words
from walltime.workload import Transformer

_WIDEST_TP = 8
_ACCUMULATION = (r"grad(?:ient)?[-_ ]accum(?:ulation)?[-_a-z]*[=: ]+(\d+)", r"\bgas?[=: ]+(\d+)")
_HALF_OF_LAYERS = (r"selective (?:per )?layer", r"every (?:2nd|second|other)")
_PP_CHUNKS = 2
"""Model chunks of a stage in an interleaved schedule whose number of chunks is not said."""


@dataclass(frozen=True)
class StackDefaults:
    """What a stack does where a row does not say."""

    sharding: str
    sequence_parallel: bool
    precision: str


DEFAULTS: dict[str, StackDefaults] = {
    "megatron-lm-2020": StackDefaults("ddp", sequence_parallel=False, precision="fp16"),
    "megatron-lm-2021": StackDefaults("ddp", sequence_parallel=False, precision="fp16"),
    "megatron-lm-2022": StackDefaults("ddp", sequence_parallel=True, precision="fp16"),
    "megatron-lm-2024": StackDefaults("zero1", sequence_parallel=True, precision="bf16"),
    "megatron-deepspeed": StackDefaults("ddp", sequence_parallel=False, precision="fp16"),
    "nemo-megatron-2022": StackDefaults("zero1", sequence_parallel=True, precision="bf16"),
    "megatron-core": StackDefaults("zero1", sequence_parallel=True, precision="bf16"),
    "megatron-core-2024": StackDefaults("zero1", sequence_parallel=True, precision="bf16"),
    "fsdp1": StackDefaults("zero3", sequence_parallel=False, precision="bf16"),
    "torchtitan-2025": StackDefaults("zero3", sequence_parallel=True, precision="bf16"),
    "torchtitan": StackDefaults("zero3", sequence_parallel=True, precision="bf16"),
    "pytorch": StackDefaults("zero3", sequence_parallel=True, precision="bf16"),
    "nanotron": StackDefaults("zero1", sequence_parallel=True, precision="bf16"),
    "internevo": StackDefaults("zero1", sequence_parallel=False, precision="bf16"),
    "maxtext": StackDefaults("zero3", sequence_parallel=False, precision="bf16"),
    "aleph-scaling": StackDefaults("zero1", sequence_parallel=False, precision="bf16"),
    "deepspeed": StackDefaults("zero1", sequence_parallel=False, precision="bf16"),
    "generic": StackDefaults("zero1", sequence_parallel=False, precision="bf16"),
}


@dataclass(frozen=True)
class Layout:
    """A plan, the batch, and what was assumed on the way."""

    plan: Plan
    batch_seqs: int
    assumptions: tuple[str, ...]


def layout_of(row: MeasuredRow, model: Transformer, stack: str, gpus_per_node: int) -> Layout:
    """Return the plan of a measured row.

    Raises
    ------
    Unsaid
        Degrees or the batch are not stated and do not follow, or contradict each other.
    """
    assumed: list[str] = []
    degrees = _degrees(row, stack, assumed)
    degrees["vpp"] = _vpp(row, degrees["pp"])
    batch_seqs = _batch(row, degrees["dp"], assumed)
    local = batch_seqs / degrees["dp"]
    if not local.is_integer():
        raise Unsaid(f"contradictory: global batch {batch_seqs} does not divide over dp {degrees['dp']}")
    micro_batch = _micro_batch(row, stack, int(local), degrees, assumed)
    if local % micro_batch:
        raise Unsaid(f"contradictory: micro-batch {micro_batch} does not divide {int(local)} sequences a pipeline")
    choices = _choices(row, stack, assumed) | _experts(row, model, degrees) | _shard(row, degrees["dp"], gpus_per_node)
    if degrees["tp"] == 1:
        choices["sequence_parallel"] = False
    if stack.startswith("torchtitan") and degrees["pp"] > 1:
        choices["reshard"] = False  # its default with pipelines
    if choices["schedule"] != "1f1b":
        degrees["vpp"] = 1
    try:
        plan = Plan(**degrees, micro_batch=micro_batch, **choices)
    except BadInput as problem:
        raise Unsaid(f"contradictory: {problem}") from None
    return Layout(plan, batch_seqs, tuple(assumed))


def _degrees(row: MeasuredRow, stack: str, assumed: list[str]) -> dict[str, Any]:
    num_gpus, cp = row.n_gpus, row.cp or 1
    if not num_gpus:
        raise Unsaid("n_gpus not stated")
    tp, pp = row.tp, row.pp
    if tp is None and pp is None:
        tp, pp = _model_parallel(row, stack)
    elif tp is None or pp is None:
        given = (tp or 1) * (pp or 1) * cp
        missing = max(1, num_gpus // (given * row.dp)) if row.dp else 1
        assumed.append(f"{'tp' if tp is None else 'pp'} not stated: {missing}")
        tp, pp = tp or missing, pp or missing
    inner = tp * pp * cp
    if num_gpus % inner or (row.dp and inner * row.dp != num_gpus):
        raise Unsaid(f"contradictory: tp {tp}, pp {pp}, cp {cp}, dp {row.dp or '?'} on {num_gpus} GPUs")
    return {"tp": tp, "pp": pp, "cp": cp, "dp": num_gpus // inner}


def _model_parallel(row: MeasuredRow, stack: str) -> tuple[int, int]:
    """Return tp and pp where neither is a column: from their product in the notes, or 1 under fully sharded data."""
    if product := number_after(row, (r"model_parallel_size\(tp\*pp\)=(\d+)",)):
        tp = min(product, _WIDEST_TP)
        return tp, product // tp
    fully_sharded = row.sharding in ("zero3", "hsdp", "zero2") or DEFAULTS[stack].sharding == "zero3"
    if fully_sharded or row.n_gpus == 1 or row.dp == row.n_gpus:
        return 1, 1
    raise Unsaid("tp and pp not stated")


def _vpp(row: MeasuredRow, pp: int) -> int:
    if pp == 1:
        return 1
    if row.vpp is None and says(row, r"schedule=interleaved|interleaved 1f1b"):
        return _PP_CHUNKS
    return row.vpp or 1


def _batch(row: MeasuredRow, dp: int, assumed: list[str]) -> int:
    if row.global_batch_seqs:
        return row.global_batch_seqs
    if printed := number_after(row, (r"yaml (\d+)",)):
        assumed.append(f"global batch not stated: {printed} as in its configuration file")
        return printed
    steps = number_after(row, _ACCUMULATION)
    if steps and row.micro_batch:
        return steps * row.micro_batch * dp
    raise Unsaid("global batch not stated")


def _micro_batch(row: MeasuredRow, stack: str, local: int, degrees: dict[str, int], assumed: list[str]) -> int:
    """Return the micro-batch: the column, what the words say, the stack's own default, or one sequence."""
    if row.micro_batch:
        return row.micro_batch
    said = number_after(row, (r"\bmbs[=: ]+(\d+)", r"micro[-_ ]?batch(?:[-_ ]size)?[=: ]+(\d+)"))
    if said and local % said == 0:
        return said
    if (steps := number_after(row, _ACCUMULATION)) and local % steps == 0:
        return local // steps
    if stack.startswith("torchtitan"):
        chunks = degrees["pp"] * degrees["vpp"]
        assumed.append(f"micro-batch not stated: as many as stages, {chunks}")
        return max(1, local // chunks) if degrees["pp"] > 1 else local
    assumed.append("micro-batch not stated: 1")
    return 1


def _choices(row: MeasuredRow, stack: str, assumed: list[str]) -> dict[str, Any]:
    usual = DEFAULTS[stack]
    precision = precision_of(row) or usual.precision
    if precision == "tf32":
        raise Unsaid(f"precision {precision} is not modelled")
    if not row.precision:
        assumed.append(f"precision not stated: {precision}")
    sharding = row.sharding or _sharding_in_words(row) or usual.sharding
    sequence_parallel = usual.sequence_parallel if row.sequence_parallel is None else row.sequence_parallel
    choices: dict[str, Any] = {
        "sharding": "zero3" if sharding == "hsdp" else sharding,
        "sequence_parallel": sequence_parallel,
        "recompute": row.activation_recompute or "none",
        "precision": precision,
        "schedule": schedule_of(row),
    }
    if not row.activation_recompute:
        assumed.append("recomputation not stated: none")
    if row.activation_recompute == "selective" and says(row, *_HALF_OF_LAYERS):
        choices |= {"recompute": "full", "recompute_layers": 1 / 2}
    if says(row, r"(?:optimi[sz]er|cpu|zero)[-_ ]offload"):
        choices["offload_optimizer"] = True
    if says(row, r"all-to-all context|cp[-_ ](?:comm[-_ ](?:type[=: ]+)?)?a2a|ulysses|long-seq a2a"):
        choices["cp_algorithm"] = "all-to-all"
    if says(row, r"no[-_ ]reshard|reshard[_a-z]*[=: ]+(?:false|never)|grad_op"):
        choices["reshard"] = False
    return choices | harness_choices(row.activation_recompute, row.other)


def _sharding_in_words(row: MeasuredRow) -> str:
    text = row.text.lower()
    if stage := re.search(r"\bzero[-_ ]?(?:stage[-_ ]?)?([123])\b", text):
        return f"zero{stage[1]}"
    if re.search(r"distributed[-_ ]optimi[sz]er|aleph", text):
        return "zero1"
    return "zero3" if re.search(r"\bfsdp2?\b(?!=0|=none)", text) else ""


def _experts(row: MeasuredRow, model: Transformer, degrees: dict[str, int]) -> dict[str, int]:
    """Return ep and etp. Before Megatron-Core could fold degrees (NeMo 25.02), experts kept the tensor parallelism."""
    if not model.is_moe or not row.ep:
        return {}
    tp = degrees["tp"]
    said = number_after(row, (r"expert-tp[=: ]+(\d+)", r"\betp[=: ]+(\d+)"))
    release = re.search(r"(?:nemo |v)(\d\d\.\d\d)", row.framework.lower())
    before_folding = bool(release and release[1] <= "25.02") or "grok" in row.model_name.lower()
    etp = said or (tp if before_folding else 1)
    ranks = tp * degrees["cp"] * degrees["dp"]
    if ranks % (row.ep * etp):
        etp = 1
    if ranks % row.ep:
        raise Unsaid(f"contradictory: ep {row.ep} does not divide tp·cp·dp = {ranks}")
    return {"ep": row.ep, "etp": etp}


def _shard(row: MeasuredRow, dp: int, gpus_per_node: int) -> dict[str, int]:
    """Return over how many ranks state is shared out: as the words say, a server's under hybrid sharding, or all."""
    degree = number_after(row, (r"fsdp degree (\d+)", r"zero\d? size (\d+)", r"hsdp[=: ]+(\d+)", r"shard degree (\d+)"))
    if degree is None and row.sharding == "hsdp":
        degree = min(gpus_per_node, dp)
    if degree is None or degree >= dp or dp % degree:
        return {}
    return {"shard": degree}


def with_left_out(row: MeasuredRow) -> tuple[MeasuredRow, tuple[str, ...]]:
    """Return the row with what its source states elsewhere or is assumed of it, and these assumptions in words."""
    words, assumed = left_out_words(row), assumed_columns(row)
    notes = f"{row.notes}; {words}" if words else row.notes
    said = tuple(f"{name} not stated: {value}" for name, value in assumed.items())
    return replace(row, **left_out_facts(row), **assumed, notes=notes), said
