"""Attention of a decoder: grouped heads or a latent, any positions, PyTorch's fused kernels where they can do it."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from walltime.measure.training.layers import Norm, Tables, rotated
from walltime.workload import Transformer


class Attention(nn.Module):
    """Queries, keys and values by projections of their own; heads are split over tensor-parallel ranks.

    Attributes
    ----------
    first_head
        Of the heads that this rank computes.
    repeats_keys
        Whether keys and values are copied for the queries that share them, as ring attention wants them.
    """

    def __init__(self, model: Transformer, window: int, tables: Tables, *, repeats_keys: bool = False) -> None:
        super().__init__()
        self.model, self.window, self.tables, self.first_head = model, window, tables, 0
        self.repeats_keys = repeats_keys
        width = model.num_heads * model.head_dim
        self.query = _projection(model, width, model.q_lora_rank, bias=model.qkv_bias)
        self._add_keys_and_values(model)
        self.output = nn.Linear(model.num_heads * model.value_dim, model.d_model, bias=model.attention_bias)
        self.query_norm = _head_norm(model, model.num_heads)
        self.key_norm = _head_norm(model, model.num_kv_heads)
        self.sinks = nn.Parameter(torch.empty(model.num_heads)) if model.attention_sinks else None

    def _add_keys_and_values(self, model: Transformer) -> None:
        self.key = nn.Linear(model.d_model, model.num_kv_heads * model.head_dim, bias=model.qkv_bias)
        self.value = nn.Linear(model.d_model, model.num_kv_heads * model.value_dim, bias=model.qkv_bias)

    def forward(self, x: Any) -> Any:
        """Return what attention adds, of states (batch, seq_len, d_model)."""
        q, k, v = self.heads(x)
        mixed = self._mixed(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.output(mixed.transpose(1, 2).flatten(2))

    def heads(self, x: Any) -> tuple[Any, Any, Any]:
        """Return queries, keys and values, (batch, seq_len, heads, width) each."""
        model = self.model
        q, k = (project(x).unflatten(2, (-1, model.head_dim)) for project in (self.query, self.key))
        v = self.value(x).unflatten(2, (-1, model.value_dim))
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if model.position == "rotary":
            table = self.tables.rotary(model.head_dim, x.device)
            q, k = rotated(q, table), rotated(k, table)
        return q, k, v

    def _mixed(self, q: Any, k: Any, v: Any) -> Any:
        """Return values mixed by attention, (batch, heads, seq_len, width)."""
        if self.repeats_keys:
            k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
        grouped = k.shape[1] < q.shape[1]
        if self.sinks is not None:
            return _with_sinks(q, k, v, self.sinks, self.tables.band(self.window, q.device))
        if self.model.position == "alibi":
            heads = range(self.first_head, self.first_head + q.shape[1])
            mask = self.tables.alibi(heads, self.model.num_heads, self.window, q)
        elif 0 < self.window < self.tables.seq_len:
            mask = self.tables.band(self.window, q.device)
        else:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)


class LatentAttention(Attention):
    """Keys and values from a latent that all heads share, with one rotary key beside it (DeepSeek-V2)."""

    def _add_keys_and_values(self, model: Transformer) -> None:
        rank, rotary = model.kv_lora_rank, model.qk_rope_head_dim
        expanded = model.num_heads * (model.head_dim - rotary + model.value_dim)
        self.latent = nn.Linear(model.d_model, rank + rotary, bias=model.qkv_bias)
        self.latent_norm = Norm(rank, model, plain=True)
        self.expand = nn.Linear(rank, expanded, bias=False)

    def heads(self, x: Any) -> tuple[Any, Any, Any]:
        """Return queries, keys and values, (batch, seq_len, heads, width) each."""
        model, rotary = self.model, self.model.qk_rope_head_dim
        plain = model.head_dim - rotary
        table = self.tables.rotary(rotary, x.device)
        q_plain, q_rotary = self.query(x).unflatten(2, (-1, model.head_dim)).split([plain, rotary], dim=-1)
        latent, k_rotary = self.latent(x).split([model.kv_lora_rank, rotary], dim=-1)
        expanded = self.expand(self.latent_norm(latent)).unflatten(2, (-1, plain + model.value_dim))
        k_plain, v = expanded.split([plain, model.value_dim], dim=-1)
        k_rotary = rotated(k_rotary.unsqueeze(2), table).expand(-1, -1, model.num_heads, -1)
        q = torch.cat([q_plain, rotated(q_rotary, table)], dim=-1)
        return q, torch.cat([k_plain, k_rotary], dim=-1), v


class Compressed(nn.Module):
    """A projection through a narrow, normed middle."""

    def __init__(self, model: Transformer, width: int, rank: int, *, bias: bool) -> None:
        super().__init__()
        self.down = nn.Linear(model.d_model, rank, bias=bias and model.is_latent)
        self.middle_norm = Norm(rank, model, plain=True)
        self.up = nn.Linear(rank, width, bias=bias and not model.is_latent)

    def forward(self, x: Any) -> Any:
        """Return the projected input."""
        return self.up(self.middle_norm(self.down(x)))


class HeadNorm(nn.Module):
    """An RMSNorm of queries or keys: of each head, all heads together, or each head by weights of its own."""

    def __init__(self, model: Transformer, num_heads: int) -> None:
        super().__init__()
        self.width = model.qk_norm_dim
        shape = (num_heads, self.width) if model.qk_norm_heads else (self.width,)
        self.weight = nn.Parameter(torch.empty(shape))

    def forward(self, x: Any) -> Any:
        """Return normed heads, (batch, seq_len, heads, width)."""
        if self.weight.ndim > 1:
            return functional.rms_norm(x, (x.shape[-1],)) * self.weight
        if self.width == x.shape[-1]:
            return functional.rms_norm(x, (self.width,), self.weight)
        return functional.rms_norm(x.flatten(2), (self.width,), self.weight).view(x.shape)


def _projection(model: Transformer, width: int, rank: int, *, bias: bool) -> Any:
    if rank:
        return Compressed(model, width, rank, bias=bias)
    return nn.Linear(model.d_model, width, bias=bias and not model.is_latent)


def _head_norm(model: Transformer, num_heads: int) -> HeadNorm | None:
    return HeadNorm(model, num_heads) if model.qk_norm_dim else None


def _with_sinks(q: Any, k: Any, v: Any, sinks: Any, allowed: Any) -> Any:
    """Return values mixed by scores that compete with one learned logit a head, which mixes nothing in."""
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~allowed, float("-inf"))
    sink = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    weights = torch.cat([scores, sink], dim=-1).softmax(dim=-1)
    return weights[..., :-1] @ v
