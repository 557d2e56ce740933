"""A mixture of experts: a router, the experts that each token visits, and those that every token visits."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from walltime.measure.training.layers import Mlp
from walltime.workload import Transformer

_ALIGNED = 8
"""Rows at whose multiples a group begins: 16 bytes of a column, which the kernel reads at once."""


class Mixture(nn.Module):
    """Routed and shared experts; tokens go to the highest scores, however many meet there."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.top_k = model.top_k
        self.router = nn.Linear(model.d_model, model.num_experts, bias=model.router_bias)
        self.experts = Experts(model)
        self.shared = Mlp(model, model.d_ff_shared, bias=False) if model.d_ff_shared else None
        self.shared_gate = nn.Linear(model.d_model, 1, bias=False) if model.shared_expert_gate else None

    def forward(self, x: Any) -> Any:
        """Return what the experts add."""
        tokens = x.flatten(0, -2)
        scores, chosen = self.router(tokens).topk(self.top_k, dim=-1)
        order = chosen.flatten().argsort()
        counts = visits(chosen.flatten(), self.router.out_features)
        weights = scores.softmax(dim=-1).flatten()[order].unsqueeze(1)
        senders = order // self.top_k
        answers = self.experts(tokens[senders], counts) * weights
        mixed = torch.zeros_like(tokens).index_add(0, senders, answers.to(tokens.dtype))
        return (mixed + self._shared(tokens)).view_as(x) if self.shared is not None else mixed.view_as(x)

    def _shared(self, tokens: Any) -> Any:
        answer = self.shared(tokens) if self.shared is not None else 0
        return answer if self.shared_gate is None else answer * self.shared_gate(tokens).sigmoid()


def visits(chosen: Any, num_experts: int) -> Any:
    """Return the tokens of each expert; ``bincount`` does too, but lets the host wait for a GPU.

    Parameters
    ----------
    chosen : (visits,)
        The expert of each visit.
    num_experts
        How many there are.
    """
    return chosen.new_zeros(num_experts).scatter_add_(0, chosen, torch.ones_like(chosen))


class Experts(nn.Module):
    """All routed experts of a layer, their matrices stacked."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        count, width, hidden = model.num_experts, model.d_model, model.d_ff_expert
        self.gate = nn.Parameter(torch.empty(count, width, hidden)) if model.gated_mlp else None
        self.up = nn.Parameter(torch.empty(count, width, hidden))
        self.down = nn.Parameter(torch.empty(count, hidden, width))
        gate_bias = model.expert_bias and model.gated_mlp
        self.gate_bias = nn.Parameter(torch.empty(count, hidden)) if gate_bias else None
        self.up_bias = nn.Parameter(torch.empty(count, hidden)) if model.expert_bias else None
        self.down_bias = nn.Parameter(torch.empty(count, width)) if model.expert_bias else None

    def forward(self, tokens: Any, counts: Any) -> Any:
        """Return each expert's answers to its tokens, which stand together.

        Parameters
        ----------
        tokens : (visits, d_model)
        counts : (experts,)
            Tokens of each expert.
        """
        up = _grouped(tokens, self.up, self.up_bias, counts)
        if self.gate is None:
            hidden = functional.gelu(up)
        else:
            hidden = functional.silu(_grouped(tokens, self.gate, self.gate_bias, counts)) * up
        return _grouped(hidden, self.down, self.down_bias, counts)


def _grouped(x: Any, weights: Any, bias: Any, counts: Any) -> Any:
    """Return rows times the matrix of their group: one kernel on a GPU in 16 bits, else a product a group."""
    groups = torch.arange(len(counts), device=x.device).repeat_interleave(counts, output_size=len(x))
    if x.is_cuda and x.dtype == torch.bfloat16:
        y = one_kernel(x, weights, counts, groups)
    else:
        pieces = zip(x.split(counts.tolist()), weights, strict=True)
        y = torch.cat([piece @ weight for piece, weight in pieces])
    return y if bias is None else y + bias[groups]


def one_kernel(x: Any, weights: Any, counts: Any, groups: Any) -> Any:
    """Return rows times the matrix of their group by PyTorch's grouped product, without the host waiting for counts.

    Parameters
    ----------
    x : (rows, d_in)
        Rows of a group stand together.
    weights : (groups, d_in, d_out)
    counts : (groups,)
        Rows of each group.
    groups : (rows,)
        The group of each row.
    """
    room = (counts + _ALIGNED - 1) // _ALIGNED * _ALIGNED
    begins = room.cumsum(0) - room - (counts.cumsum(0) - counts)
    places = torch.arange(len(x), device=x.device) + begins[groups]
    spaced = x.new_zeros(len(x) + _ALIGNED * len(counts), x.shape[1]).index_copy(0, places, x)
    return functional.grouped_mm(spaced, weights, offs=room.cumsum(0, dtype=torch.int32))[places]
