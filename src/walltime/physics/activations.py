r"""Bytes that a transformer layer keeps for its backward pass, by kind, and how many microbatches keep them.

The accounting is that of Korthikanti et al. (2022), written for any widths: a GPT layer (plain attention with d_ff of
four d_model, dropout, 16-bit activations) comes to

.. math:: s b h \left(34 + 5 \frac{a s}{h}\right), \quad 34\,s b h \text{ without scores}, \quad 2\,s b h
          \text{ if recomputed}

References
----------
Korthikanti et al. (2022), *Reducing activation recomputation in large transformer models*, eqs. (1)-(6); docs: Memory.
"""

from typing import NamedTuple

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.plan import PipelineSchedule
from walltime.workload.parameters import Dimensions, value_dim

WORD = 2
"""Bytes of a bf16 or fp16 element. [B]"""
FLOAT = 4
"""Bytes of an fp32 element. [B]"""


class PerToken(NamedTuple):
    """What one token leaves behind in one layer. [B]

    Attributes
    ----------
    split
        Inside a tensor-parallel region: each rank keeps its share.
    inputs
        Inputs of column-parallel matmuls: whole on each rank, or its share of the sequence.
    whole
        Outside tensor-parallel regions: whole on each rank, unless sequence parallelism splits it.
    """

    split: Numeric
    inputs: Numeric
    whole: Numeric

    def per_rank(self, tp: Numeric, inputs_over: Numeric, whole_over: Numeric) -> Numeric:
        """Bytes on one tensor-parallel rank [B]."""
        return self.split / tp + self.inputs / inputs_over + self.whole / whole_over


def attention(
    model: Dimensions,
    *,
    word_bytes: int = WORD,
    input_bytes: Numeric = WORD,
    score_bytes: Numeric = 0,
    keys: Numeric = 0,
    statistic_bytes: int = 0,
    dropout: bool = False,
) -> PerToken:
    r"""Bytes of attention: its input, queries, keys, values, scores, output and dropout mask [B].

    Ordinary attention keeps 11 h of the 34 h; latent attention also keeps both compressed vectors, each before and
    after its norm.

    Parameters
    ----------
    model
        Dimensions.
    word_bytes
        Of an element of activations: 2, or 4 in 32 bits. [B]
    input_bytes
        Of an element of a matmul's input: as wide, or 1 if kept in eight bits. [B]
    score_bytes, keys
        Bytes kept for a score (softmax's output 2, with dropout mask and dropped copy 5; none with flash attention)
        and keys that a query meets.
    statistic_bytes
        Kept per query and head: the softmax's logarithm, by flash attention. [B]
    dropout
        Whether the layer keeps a mask of one byte for its output.
    """
    queries = model.num_heads * model.head_dim
    keys_and_values = model.num_kv_heads * (model.head_dim + value_dim(model))
    output = model.num_heads * value_dim(model)
    norms = (model.qk_norm_dim > 0) * (queries + model.num_kv_heads * model.head_dim)
    scores = model.num_heads * (score_bytes * keys + statistic_bytes)
    split = word_bytes * (queries + keys_and_values + norms + output) + scores
    is_latent = model.kv_lora_rank > 0
    compressed = word_bytes * (2 * model.q_lora_rank + is_latent * (2 * model.kv_lora_rank + model.qk_rope_head_dim))
    return PerToken(split, input_bytes * model.d_model, compressed + dropout * model.d_model)


def mlp(
    model: Dimensions,
    d_ff: Numeric,
    *,
    word_bytes: int = WORD,
    input_bytes: Numeric = WORD,
    fused: bool = True,
    dropout: bool = False,
) -> PerToken:
    """Bytes of an MLP: its input, the hidden layer before and after its activation, and the dropout mask [B].

    A plain one keeps 19 h of the 34 h (d_ff is 4 h). A gated one keeps gate, up-projection and product, and if its
    kernel is not fused also the activated gate.
    """
    before = word_bytes * (1 + model.gated_mlp) + (not fused) * word_bytes * model.gated_mlp
    after = input_bytes
    return PerToken((before + after) * d_ff, input_bytes * model.d_model, dropout * model.d_model)


def norms(model: Dimensions, *, word_bytes: int = WORD, unfused_bytes: Numeric = 0) -> PerToken:
    """Bytes of a layer's norms: the input of each, and what unfused kernels keep besides [B]."""
    return PerToken(0, 0, model.norms_per_layer * (word_bytes + unfused_bytes) * model.d_model)


def routed_experts(
    model: Dimensions, *, word_bytes: int = WORD, input_bytes: Numeric = WORD, copies: Numeric = 1
) -> PerToken:
    """Bytes of a mixture-of-experts layer's routed part: scores, copies of routed tokens, hidden layers [B].

    ``split`` is what follows the width of an expert, ``inputs`` the copies of a token's ``top_k`` routes, ``whole``
    the router's scores and probabilities, in 32 bits.

    Parameters
    ----------
    model
        Dimensions.
    word_bytes, input_bytes
        Of an element of activations, and of a matmul's input. [B]
    copies
        Copies of d_model a route that are kept: as it arrives, as it is sorted, as it leaves.
    """
    hidden = word_bytes * (1 + model.gated_mlp) + input_bytes
    return PerToken(
        model.top_k * hidden * model.d_ff_expert,
        model.top_k * copies * word_bytes * model.d_model,
        2 * FLOAT * model.num_experts,
    )


def every_second_matmul(model: Dimensions, *, word_bytes: int = WORD) -> PerToken:
    """Bytes of a layer of which every second matmul's output is kept, and attention's; the rest is recomputed [B].

    Of query, key, value, output, gate, up and down projections in this order, the first, third, fifth and last.
    """
    queries = model.num_heads * model.head_dim
    values = model.num_kv_heads * value_dim(model)
    output = model.num_heads * value_dim(model)
    hidden = model.d_ff + (model.d_ff == 0) * (model.top_k * model.d_ff_expert + model.d_ff_shared)
    statistics = FLOAT * model.num_heads
    return PerToken(word_bytes * (queries + values + output + hidden) + statistics, 0, 2 * word_bytes * model.d_model)


def checkpoint(model: Dimensions, *, word_bytes: int = WORD) -> PerToken:
    """Bytes of a fully recomputed layer: its input, 2 h of the 34 h [B]."""
    return PerToken(0, 0, word_bytes * model.d_model)


def microbatches_in_flight(
    schedule: PipelineSchedule, stage: Numeric, pp: Numeric, vpp: Numeric, num_microbatches: Numeric
) -> Floats:
    r"""Microbatches whose activations a stage keeps at once, in units of all its layers.

    ``1f1b`` keeps p - i on stage i; interleaved with v chunks

    .. math:: \frac{2 (p - i - 1) + (v - 1) p + 1}{v}

    so :math:`p + (p-1)/v` on the first. ``gpipe`` keeps all. ``zb-h1`` puts off weight gradients up to what 1F1B's
    first stage keeps, ``zb-h2`` up to 2 p - 1; ``zb-v`` keeps p and ``dualpipe`` p + 1 on each stage.

    Parameters
    ----------
    schedule
        Pipeline schedule.
    stage
        Index of the stage, from 0.
    pp, vpp
        Stages, and chunks a stage.
    num_microbatches
        Microbatches of a step, never exceeded.

    References
    ----------
    Narayanan et al. (2021), section 2.2; Korthikanti et al. (2022), section 4.2.3; Qi et al. (2024), table 1, and its
    sequel on controllable memory; DeepSeek-AI (2024), DeepSeek-V3, table 2.
    """
    if schedule == "gpipe":
        chunks = num_microbatches
    elif schedule == "1f1b":
        interleaved = (2 * (pp - stage - 1) + (vpp - 1) * pp + 1) / vpp
        chunks = np.where(vpp > 1, interleaved, pp - stage)
    elif schedule == "zb-h2":
        chunks = 2 * pp - 1
    else:
        chunks = pp + (schedule == "dualpipe")
    return np.where(pp > 1, np.minimum(chunks, num_microbatches), 1)
