"""A decoder of any dimensions, whole or a pipeline's piece of it."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from walltime.measure.training.attention import Attention, LatentAttention
from walltime.measure.training.experts import Mixture
from walltime.measure.training.layers import Embedding, Mlp, Norm, Tables
from walltime.plan import Plan
from walltime.workload import Training, Transformer

_BEFORE_AND_AFTER = 4  # norms of a layer that norms what attention and MLP return, too
_EVERY = 2  # of the matrix products of a layer, selective recomputation keeps every second


class Block(nn.Module):
    """One layer: attention, then or beside it an MLP or a mixture of experts.

    Attributes
    ----------
    recompute
        What the backward pass computes again: ``none``, ``selective`` or ``full``.
    """

    def __init__(self, model: Transformer, index: int, tables: Tables, plan: Plan) -> None:
        super().__init__()
        self.recompute = recompute_of(plan, index, model.num_layers)
        kind = LatentAttention if model.is_latent else Attention
        self.attention_norm = Norm(model.d_model, model)
        self.attention = kind(model, window_of(model, index), tables, repeats_keys=plan.cp > 1)
        self.mlp_norm = Norm(model.d_model, model) if model.norms_per_layer > 1 else None
        dense = not model.is_moe or index < model.num_dense_layers
        self.mlp: nn.Module = Mlp(model, model.d_ff, bias=model.mlp_bias) if dense else Mixture(model)
        after = model.norms_per_layer == _BEFORE_AND_AFTER
        self.attention_after_norm = Norm(model.d_model, model) if after else None
        self.mlp_after_norm = Norm(model.d_model, model) if after else None
        self.is_parallel = model.parallel_attention

    def forward(self, x: Any) -> Any:
        """Return the residual stream after the layer."""
        if self.recompute == "none" or not torch.is_grad_enabled():
            return self._layer(x)
        contexts = _selected if self.recompute == "selective" else _nothing_selected
        return checkpoint(self._layer, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)

    def _layer(self, x: Any) -> Any:
        normed = self.attention_norm(x)
        attended = _after(self.attention(normed), self.attention_after_norm)
        if self.is_parallel:
            own = normed if self.mlp_norm is None else self.mlp_norm(x)
            return x + attended + _after(self.mlp(own), self.mlp_after_norm)
        x = x + attended
        assert self.mlp_norm is not None
        return x + _after(self.mlp(self.mlp_norm(x)), self.mlp_after_norm)


class Decoder(nn.Module):
    """Some layers of a model in a row, with the embedding before the first and the output layer after the last.

    Attributes
    ----------
    layers
        By their number in the whole model, so that a parameter is called the same in any plan.
    """

    def __init__(self, training: Training, plan: Plan, indices: Sequence[int] | None = None) -> None:
        super().__init__()
        model = training.model
        every = range(model.num_layers)
        indices = every if indices is None else indices
        self.model = model
        self.tables = Tables(training.seq_len)
        vocab_size = padded_vocab(model, plan)
        blocks = {str(i): Block(model, i, self.tables, plan) for i in indices}
        self.embedding = Embedding(model, vocab_size) if 0 in indices else None
        self.layers = nn.ModuleDict(blocks)
        last = every[-1] in indices
        self.norm = Norm(model.d_model, model) if last else None
        self.head = nn.Linear(model.d_model, vocab_size, bias=model.head_bias) if last else None
        self.is_tied = model.tied_embeddings and self.embedding is not None and self.head is not None
        self.tie()

    def tie(self) -> None:
        """Make the output layer's matrix the embedding table, if the model's is."""
        if self.is_tied and self.embedding is not None and self.head is not None:
            self.head.weight = self.embedding.tokens.weight

    def rotary_table(self, device: Any) -> Any:
        """Return the table of positions that all layers share; None where the model has none."""
        model = self.model
        if model.position != "rotary":
            return None
        return self.tables.rotary(model.qk_rope_head_dim or model.head_dim, device)

    def forward(self, x: Any) -> Any:
        """Return states of tokens or of the states before, (batch, seq_len, d_model), or logits after the last."""
        if self.embedding is not None:
            x = self.embedding(x)
        for layer in self.layers.values():
            x = layer(x)
        return x if self.head is None or self.norm is None else self.head(self.norm(x))


def padded_vocab(model: Transformer, plan: Plan) -> int:
    """Return the vocabulary that tensor-parallel ranks can share out evenly."""
    return -(-model.vocab_size // plan.tp) * plan.tp


def window_of(model: Transformer, index: int) -> int:
    """Return the sliding window of a layer, 0 for none: such layers are spread evenly over the model."""
    return model.sliding_window if _is_among(index, model.num_sliding_layers, model.num_layers) else 0


def recompute_of(plan: Plan, index: int, num_layers: int) -> str:
    """Return what a layer computes again: with a share of the layers, those spread evenly over the model."""
    if plan.recompute == "full" and not _is_among(index, round(plan.recompute_layers * num_layers), num_layers):
        return "none"
    return plan.recompute


def _is_among(index: int, count: int, num_layers: int) -> bool:
    """Whether a layer is one of so many that are spread evenly over all."""
    return (index + 1) * count // num_layers > index * count // num_layers


def _after(x: Any, norm: Norm | None) -> Any:
    return x if norm is None else norm(x)


def _nothing_selected() -> tuple[Any, Any]:
    return nullcontext(), nullcontext()


def _selected() -> tuple[Any, Any]:
    """Return contexts that keep what attention, collectives and every second matrix product returned."""
    products = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default}
    seen = {False: 0, True: 0}

    def policy(context: Any, operation: Any, *_: Any, **__: Any) -> Any:
        if operation in products:
            seen[context.is_recompute] += 1
            return _keep(seen[context.is_recompute] % _EVERY == 1)
        name = str(operation)
        return _keep("scaled_dot_product" in name or "reduce_scatter" in name or "all_reduce" in name)

    return create_selective_checkpoint_contexts(policy)


def _keep(is_kept: bool) -> Any:
    return CheckpointPolicy.MUST_SAVE if is_kept else CheckpointPolicy.PREFER_RECOMPUTE
