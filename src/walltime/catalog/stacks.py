"""``stacks/<id>.toml``: what is known of a training framework's software."""

import functools
from pathlib import Path
from typing import Literal

import msgspec

from walltime.catalog.loader import data_root, read_toml
from walltime.catalog.schema import Citation
from walltime.problems import BadInput, unknown

_Sharding = Literal["ddp", "zero1", "zero2", "zero3"]


class RunsRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What plans a stack can run. Meanings are those of `walltime.engines.capabilities.Capabilities`."""

    kinds: tuple[Literal["tp", "cp", "ep", "dp", "pp"], ...]
    schedules: tuple[Literal["gpipe", "1f1b", "zb-h1", "zb-h2", "zb-v", "dualpipe"], ...]
    interleaving: Literal["any", "rounds", "none"]
    uneven_stages: bool
    shardings: tuple[_Sharding, ...]
    pipeline_sharding: tuple[_Sharding, ...]
    hybrid_shard: tuple[_Sharding, ...]
    reshard: tuple[bool, ...]
    recomputes: tuple[Literal["none", "selective", "full"], ...]
    partial_recompute: bool
    precisions: tuple[Literal["bf16", "fp16", "fp8", "fp8-block", "mxfp8", "nvfp4", "fp32"], ...]
    sequence_parallel: tuple[bool, ...]
    moe_sequence_parallel: tuple[bool, ...] | None = None
    cp_algorithms: tuple[Literal["ring", "all-to-all"], ...]
    etp: tuple[Literal["1", "tp"], ...]
    offload_optimizer: bool
    orders: tuple[str, ...]
    folded_orders: tuple[str, ...] | None = None


class StackRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One software stack of a time; widths are bytes a parameter. Meanings are those of `walltime.engines.Stack`."""

    schema: Literal[1]
    id: str
    name: str
    aliases: list[str] = []
    attention: Literal["unfused", "fused-softmax", "flash1", "flash2", "flash3"]
    fused_norm: bool
    fused_activation: bool
    fused_rotary: bool
    fused_loss: bool
    fused_optimizer: bool
    dropout: bool
    compiled: bool = False
    selective: Literal["attention", "operations"] = "attention"
    overlap_tp: bool
    overlap_dp: bool
    overlap_pp: bool
    accumulation: Literal["fused", "separate", "none"] = "fused"
    early_stop: bool = False
    scatter_sends: bool = True
    fused_cast: bool = True
    dispatch_once: bool = False
    weight_bytes: float
    gradient_bytes: float
    reduce_bytes: float
    optimizer_bytes: float
    vocab_multiple: int
    runs: RunsRecord | None = None
    sources: list[Citation] = []
    notes: str = ""


def stack_ids() -> list[str]:
    """Return the ids of all software stacks."""
    return sorted(path.stem for path in (data_root() / "stacks").glob("*.toml"))


@functools.cache
def stack_record(name: str) -> StackRecord:
    """Return the stack of this id or alias.

    Raises
    ------
    BadInput
        There is none; the message has the nearest name.
    """
    for stack_id in stack_ids():
        path = data_root() / "stacks" / f"{stack_id}.toml"
        if stack_id == name.strip().lower():
            return _read(path)
    aliases = {alias.lower(): stack_id for stack_id in stack_ids() for alias in stack_record(stack_id).aliases}
    if name.strip().lower() in aliases:
        return stack_record(aliases[name.strip().lower()])
    raise unknown("software stack", name, [*stack_ids(), *aliases], see="walltime show stacks")


def _read(path: Path) -> StackRecord:
    try:
        return msgspec.convert(read_toml(path), StackRecord)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {error}") from None
