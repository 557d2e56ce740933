"""Norms, positions and MLPs of a decoder."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from walltime.workload import Transformer

EPSILON = 1e-5
_ROTARY_BASE = 10_000.0
_ALIBI_RANGE = 8  # Press et al. (2022): slopes are a geometric sequence that ends at 2^-8


class Norm(nn.Module):
    """RMSNorm or LayerNorm, with a bias or without."""

    def __init__(self, width: int, model: Transformer, *, plain: bool = False) -> None:
        super().__init__()
        self.is_rms = plain or model.norm == "rmsnorm"
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width)) if model.norm_bias and not plain else None

    def forward(self, x: Any) -> Any:
        """Return the normed input."""
        if not self.is_rms:
            return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, EPSILON)
        normed = functional.rms_norm(x, self.weight.shape, self.weight, EPSILON)
        return normed if self.bias is None else normed + self.bias


class Mlp(nn.Module):
    """Two matrices with a GELU between them, or three, gated by a SiLU."""

    def __init__(self, model: Transformer, d_ff: int, *, bias: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(model.d_model, d_ff, bias=bias) if model.gated_mlp else None
        self.up = nn.Linear(model.d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, model.d_model, bias=bias)

    def forward(self, x: Any) -> Any:
        """Return what the MLP adds."""
        if self.gate is None:
            return self.down(functional.gelu(self.up(x)))
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Embedding(nn.Module):
    """Tokens, with learned positions and a norm where the model has them."""

    def __init__(self, model: Transformer, vocab_size: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, model.d_model)
        learned = model.position == "learned"
        self.positions = nn.Embedding(model.num_positions, model.d_model) if learned else None
        self.norm = Norm(model.d_model, model) if model.embedding_norm else None

    def forward(self, tokens: Any) -> Any:
        """Return the residual stream's first state."""
        x = self.tokens(tokens)
        if self.positions is not None:
            places = torch.arange(tokens.shape[1], device=tokens.device)
            x = x + self.positions(places.unsqueeze(0))
        return x if self.norm is None else self.norm(x)


class Tables:
    """Rotary tables and masks for sequences of a length, made once on their device and shared by all layers."""

    def __init__(self, seq_len: int) -> None:
        self.seq_len = seq_len
        self._made: dict[tuple[Any, ...], Any] = {}

    def rotary(self, width: int, device: Any) -> Any:
        """Return cosines and sines stacked, (2, seq_len, width / 2)."""
        return self._once(("rotary", width, device), lambda: _rotary(self.seq_len, width, device))

    def band(self, window: int, device: Any) -> Any:
        """Return which earlier tokens each may see, (seq_len, seq_len)."""
        return self._once(("band", window, device), lambda: _band(self.seq_len, window, device))

    def alibi(self, heads: range, num_heads: int, window: int, like: Any) -> Any:
        """Return what linear biases add to the scores of some heads, masked, (heads, seq_len, seq_len)."""
        key = ("alibi", heads, window, like.device, like.dtype)
        return self._once(key, lambda: _alibi(self.seq_len, heads, num_heads, window, like))

    def _once(self, key: tuple[Any, ...], make: Any) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def _rotary(seq_len: int, width: int, device: Any) -> Any:
    rates = _ROTARY_BASE ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.outer(torch.arange(seq_len, device=device), rates)
    return torch.stack([angles.cos(), angles.sin()])


def rotated(x: Any, table: Any) -> Any:
    """Return queries or keys (batch, seq_len, heads, width) turned by their positions."""
    cos, sin = table.to(x.dtype).unsqueeze(2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _band(seq_len: int, window: int, device: Any) -> Any:
    allowed = torch.ones(seq_len, seq_len, dtype=torch.bool, device=device).tril()
    return allowed.triu(1 - window) if 0 < window < seq_len else allowed


def _alibi(seq_len: int, heads: range, num_heads: int, window: int, like: Any) -> Any:
    slopes = torch.tensor([2 ** (-_ALIBI_RANGE * (head + 1) / num_heads) for head in heads], device=like.device)
    places = torch.arange(seq_len, device=like.device)
    distance = (places.unsqueeze(1) - places).to(slopes.dtype)
    bias = -slopes.view(-1, 1, 1) * distance
    return bias.masked_fill(~_band(seq_len, window, like.device), -math.inf).to(like.dtype)
