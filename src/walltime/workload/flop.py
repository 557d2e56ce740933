"""FLOP of a transformer per token, part by part, and the conventions under which publishers count them.

A multiply-add is two FLOP. Only matrix products count: no norms, activations, biases or softmax. As in
`walltime.workload.parameters`, everything is elementwise.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from walltime.problems import unknown
from walltime.workload import parameters
from walltime.workload.parameters import Count, Dimensions

Convention = Literal[
    "6N",
    "6N-active-without-embedding",
    "6N-with-attention",
    "megatron",
    "full-attention",
    "causal-attention",
]
"""How model FLOP are counted; see `model_flop_per_token`."""
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

Flop = Any
"""A number of FLOP, or an array (plans,)."""

_PASSES = 3  # forward, and backward twice: once for the inputs, once for the weights


@dataclass(frozen=True)
class FlopParts:
    """Forward FLOP per token by part; `total` is their sum. [FLOP/token]

    Attributes
    ----------
    attention_projections
        Queries, keys, values and output of all layers.
    attention_scores
        Queries by keys, and their weights by values.
    dense_mlp, router, routed_experts, shared_experts
        MLPs of all layers; ``router`` has the gate of the shared experts too.
    head
        The output layer.
    mtp
        Multi-token-prediction layers with projection, attention and one more output layer each.
    """

    attention_projections: Flop
    attention_scores: Flop
    dense_mlp: Flop
    router: Flop
    routed_experts: Flop
    shared_experts: Flop
    head: Flop
    mtp: Flop

    @property
    def total(self) -> Flop:
        """Sum of all parts. [FLOP/token]"""
        return sum(self.by_name().values())

    def by_name(self) -> dict[str, Flop]:
        """Return each part by its name. [FLOP/token]"""
        return {part.name: getattr(self, part.name) for part in fields(self)}


def mean_context(seq_len: Count, window: Count, *, causal: bool) -> Any:
    """Mean number of tokens that a token attends to, in a layer with a sliding window. [tokens]

    Full attention sees ``seq_len``, or with a window the band of both sides ``2 w - w^2 / S``; causal attention
    half of it. A ``window`` of 0 is none.

    Approximations
    --------------
    The diagonal counts half: ``S / 2`` stands for ``(S + 1) / 2``, as in all conventions.
    """
    reach = seq_len + (window > 0) * (window < seq_len) * (window - seq_len)
    full = 2 * reach - reach * (reach / seq_len)
    return full / 2 if causal else full


def scores_flop(model: Dimensions, context: Any) -> Flop:
    """Forward FLOP per token of one layer's attention itself, over ``context`` tokens. [FLOP/token]"""
    return 2 * context * model.num_heads * (model.head_dim + parameters.value_dim(model))


def _all_scores_flop(model: Dimensions, seq_len: Count, *, causal: bool) -> Flop:
    plain = mean_context(seq_len, 0, causal=causal)
    banded = mean_context(seq_len, model.sliding_window, causal=causal)
    sliding = model.num_sliding_layers
    return (model.num_layers - sliding) * scores_flop(model, plain) + sliding * scores_flop(model, banded)


def _experts_flop(model: Dimensions) -> tuple[Flop, Flop, Flop]:
    router = 2 * model.d_model * (model.num_experts + model.shared_expert_gate)
    routed = 2 * model.top_k * parameters.mlp_weights(model, model.d_ff_expert)
    return router, routed, 2 * parameters.mlp_weights(model, model.d_ff_shared)


def head_flop(model: Dimensions) -> Flop:
    """Forward FLOP per token of the output layer, tied or not. [FLOP/token]"""
    return 2 * model.d_model * model.vocab_size


def _mtp_flop(model: Dimensions, seq_len: Count, *, causal: bool) -> Flop:
    is_moe = parameters.num_moe_layers(model) > 0
    mlp = is_moe * sum(_experts_flop(model)) + (1 - is_moe) * 2 * parameters.mlp_weights(model, model.d_ff)
    attention = 2 * parameters.attention_weights(model)
    scores = scores_flop(model, mean_context(seq_len, 0, causal=causal))
    return mlp + attention + scores + 2 * parameters.mtp_projection(model) + head_flop(model)


def flop_parts(model: Dimensions, seq_len: Count, *, causal: bool) -> FlopParts:
    """Forward FLOP per token by part. [FLOP/token]

    Parameters
    ----------
    model
        A model, or many stacked.
    seq_len
        Tokens in a sequence. [tokens]
    causal
        Count the half of the attention scores that a causal mask keeps, not the whole square.
    """
    moe, dense = parameters.num_moe_layers(model), parameters.num_dense_mlp_layers(model)
    router, routed, shared = _experts_flop(model)
    return FlopParts(
        attention_projections=2 * model.num_layers * parameters.attention_weights(model),
        attention_scores=_all_scores_flop(model, seq_len, causal=causal),
        dense_mlp=2 * dense * parameters.mlp_weights(model, model.d_ff),
        router=moe * router,
        routed_experts=moe * routed,
        shared_experts=moe * shared,
        head=head_flop(model),
        mtp=model.num_mtp_layers * _mtp_flop(model, seq_len, causal=causal),
    )


def forward_flop_per_token(model: Dimensions, seq_len: Count, *, causal: bool) -> Flop:
    """Forward FLOP per token of all matrix products. [FLOP/token]"""
    return flop_parts(model, seq_len, causal=causal).total


def narayanan_flop_per_token(model: Dimensions, seq_len: Count, passes: int = _PASSES) -> Flop:
    r"""FLOP per token of a GPT by the formula of Narayanan et al. [FLOP/token]

    .. math:: F = 24 p L h^2 \left(1 + \frac{S}{6 h}\right) + 6 V h      (1)

    with p = 4 passes through the layers in the paper, whose count includes their recomputation, and 3 without, which
    is the model FLOP of Korthikanti et al. With p = 4, eq. (1) is :math:`96 L h^2 (1 + S / 6 h + V / 16 L h)`.

    Parameters
    ----------
    model
        A model, or many stacked.
    seq_len
        Tokens in a sequence. [tokens]
    passes
        Forward passes' worth of work in the layers: 3, or 4 with full recomputation.

    Approximations
    --------------
    Whatever the model: as many key and value heads as query heads, heads as wide as d_model together, an MLP of two
    matrices with d_ff = 4 d_model, and full attention.

    References
    ----------
    Narayanan et al. (2021), eq. (3); Korthikanti et al. (2022), appendix A.
    """
    width = model.d_model
    layer = 24 * width * width + 4 * seq_len * width
    return passes * model.num_layers * layer + _PASSES * head_flop(model)


def model_flop_per_token(model: Dimensions, seq_len: Count, convention: Convention = "causal-attention") -> Flop:
    """Forward and backward FLOP per token, without recomputation, under a named convention. [FLOP/token]

    - ``6N``: six a parameter, of all parameters, all experts included; no attention scores.
    - ``6N-active-without-embedding``: six a parameter that a token meets, without the token and position tables.
    - ``6N-with-attention``: six a parameter that a token meets, tables included, and full attention scores
      (llm-foundry, torchtitan, nanoGPT: ``6 N + 12 L d S``). An embedding that is not tied counts, though no product
      reads it.
    - ``megatron``: `narayanan_flop_per_token` (Megatron-LM; InternEvo; Nemotron on H100 in dgxc-benchmarking).
    - ``full-attention``: three times all matrix products, scores as a whole S x S square (NeMo, most of
      dgxc-benchmarking).
    - ``causal-attention``: the same with half the scores (Megatron-Bridge, less the router; DeepSeek-V3, Grok-1 and
      Llama 4 in dgxc-benchmarking).

    ``tests/workload/test_flop.py`` compares with the MFU that publishers print beside their own throughput.

    Parameters
    ----------
    model
        A model, or many stacked.
    seq_len
        Tokens in a sequence. [tokens]
    convention
        One of the names above.
    """
    match convention:
        case "6N":
            return 2 * _PASSES * parameters.num_parameters(model)
        case "6N-active-without-embedding":
            return 2 * _PASSES * parameters.num_active_parameters(model, with_embedding=False)
        case "6N-with-attention":
            scores = _all_scores_flop(model, seq_len, causal=False)
            return 2 * _PASSES * parameters.num_active_parameters(model) + _PASSES * scores
        case "megatron":
            return narayanan_flop_per_token(model, seq_len)
        case "full-attention" | "causal-attention":
            return _PASSES * forward_flop_per_token(model, seq_len, causal=convention == "causal-attention")
    raise unknown("FLOP convention", convention, CONVENTIONS)
