"""Tensor parallelism by PyTorch's DTensor: which weight of a decoder is split how, and what goes between ranks.

With sequence parallelism, norms and residuals hold a share of each sequence; it is gathered before a projection and
reduce-scattered after. Without, every rank holds whole sequences and products are all-reduced.
"""

from typing import Any

from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from walltime.measure.training.attention import Attention
from walltime.measure.training.model import Block, Decoder

_HEADS_DIM = 2
"""Of queries and keys, (batch, seq_len, heads, width)."""


def split_over_ranks(decoder: Decoder, mesh: Any, *, sequence_parallel: bool) -> None:
    """Split a decoder's weights over the ranks of a mesh of one dimension, in place.

    The output layer's logits stay split over the vocabulary: the loss is computed with them as they are.
    """
    between = Shard(1) if sequence_parallel else Replicate()
    parallelize_module(decoder, mesh, _ends(decoder, between))
    for block in decoder.layers.values():
        parallelize_module(block, mesh, _block(block, between))
        _split_heads(block.attention, mesh)
    decoder.tie()


def _ends(decoder: Decoder, between: Any) -> dict[str, Any]:
    plan: dict[str, Any] = {}
    if decoder.embedding is not None:
        plan["embedding.tokens"] = RowwiseParallel(input_layouts=Replicate(), output_layouts=between)
        if decoder.embedding.positions is not None:
            plan["embedding.positions"] = RowwiseParallel(input_layouts=Replicate(), output_layouts=between)
        if decoder.embedding.norm is not None:
            plan["embedding.norm"] = _norm(between)
    if decoder.head is not None:
        plan["norm"] = _norm(between)
        plan["head"] = ColwiseParallel(input_layouts=between, output_layouts=Shard(-1), use_local_output=False)
    return {name: style for name, style in plan.items() if style is not None}


def _block(block: Block, between: Any) -> dict[str, Any]:
    norms = ("attention_norm", "mlp_norm", "attention_after_norm", "mlp_after_norm")
    plan = {name: _norm(between) for name in norms if getattr(block, name) is not None}
    plan |= {name: _gathered(between) for name in ("attention", "mlp")}
    plan |= {f"attention.{name}": ColwiseParallel() for name in ("query", "key", "value")}
    plan |= {f"mlp.{name}": ColwiseParallel() for name in ("gate", "up") if getattr(block.mlp, name) is not None}
    plan |= {name: RowwiseParallel(output_layouts=between) for name in ("attention.output", "mlp.down")}
    if block.attention.query_norm is not None:
        heads = SequenceParallel(sequence_dim=_HEADS_DIM, use_local_output=True)
        plan |= {"attention.query_norm": heads, "attention.key_norm": heads}
    return {name: style for name, style in plan.items() if style is not None}


def _norm(between: Any) -> Any:
    """Return how a norm is computed: on a rank's own tokens, or, all ranks the same, on all of them."""
    return SequenceParallel(use_local_output=True) if between.is_shard() else None


def _gathered(between: Any) -> Any:
    """Return how attention and MLP get their input: once for all projections, whose gradients then go back as one."""
    return PrepareModuleInput(input_layouts=between, desired_input_layouts=Replicate())


def _split_heads(attention: Attention, mesh: Any) -> None:
    attention.first_head = mesh.get_local_rank() * attention.model.num_heads // mesh.size()
