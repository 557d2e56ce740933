"""One transformer layer on one accelerator: matmuls, attention and memory-bound kernels of a microbatch."""

from dataclasses import dataclass, field

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.engines.calibration import Calibration
from walltime.engines.stack import Stack
from walltime.physics.memory_bound import Passes as Count
from walltime.physics.memory_bound import pass_bytes, passes
from walltime.plan import PlanBatch, Precision
from walltime.workload import Training
from walltime.workload.padding import padded_vocab_size

_PARTS = ("matmul", "attention", "memory_bound")


@dataclass
class Work:
    """Time of one pass over a layer (or over embedding and output layer), by part. [s]

    Attributes
    ----------
    matmul, attention, memory_bound
        Linear layers; what stands between queries and values; everything else that the accelerator does.
    """

    matmul: Numeric = 0.0
    attention: Numeric = 0.0
    memory_bound: Numeric = 0.0

    @property
    def total_s(self) -> Numeric:
        """Time on the accelerator. [s]"""
        return self.matmul + self.attention + self.memory_bound

    def by_name(self) -> dict[str, Numeric]:
        """Return the parts of `total_s` by name. [s]"""
        return {name: getattr(self, name) for name in _PARTS}

    def __add__(self, other: "Work") -> "Work":
        return Work(*(getattr(self, f) + getattr(other, f) for f in _PARTS))

    def __mul__(self, factor: Numeric) -> "Work":
        return Work(*(getattr(self, f) * factor for f in _PARTS))


@dataclass
class Passes:
    """Work of a layer by direction.

    Attributes
    ----------
    forward, backward, recompute
        The two passes, and what the second repeats of the first.
    """

    forward: Work = field(default_factory=Work)
    backward: Work = field(default_factory=Work)
    recompute: Work = field(default_factory=Work)

    def __add__(self, other: "Passes") -> "Passes":
        return Passes(self.forward + other.forward, self.backward + other.backward, self.recompute + other.recompute)

    def __mul__(self, factor: Numeric) -> "Passes":
        return Passes(self.forward * factor, self.backward * factor, self.recompute * factor)


@dataclass(frozen=True)
class Layers:
    """What the layers of a model take on one accelerator, for a microbatch.

    Attributes
    ----------
    dense, moe
        A layer of either kind, the average over sliding and full attention.
    embedding, head
        The first and the last stage's own: embedding; last norm, output layer and loss.
    """

    dense: Passes
    moe: Passes
    embedding: Passes
    head: Passes

    @property
    def ends(self) -> Passes:
        """Embedding and output layer together."""
        return self.head + self.embedding


class LayerModel:
    """Times the layers of a workload under a batch of plans.

    Parameters
    ----------
    training
        Model and batch; its numbers may be arrays (plans,).
    plans, stack, numbers
        How it is split, by what software, and what the accelerator achieves.
    """

    def __init__(self, training: Training, plans: PlanBatch, stack: Stack, numbers: Calibration) -> None:
        self.model = training.model
        self.plans = plans
        self.stack = stack
        self.numbers = numbers
        self.seq_len: Numeric = training.seq_len
        self.tokens = plans.micro_batch * training.seq_len / plans.cp
        self.split_tokens = self.tokens / plans.tp if plans.sequence_parallel else self.tokens
        self.word_bytes = plans.word_bytes
        self.gradient_bytes = 2 * stack.gradient_bytes if stack.accumulation == "fused" else self.word_bytes

    def layers(self) -> Layers:
        """Return the time of each kind of layer."""
        attention = self._attention()
        zero = Passes()
        dense = (
            attention + self._mlp(self.model.d_ff)
            if np.any(self.model.num_moe_layers < self.model.num_layers)
            else zero
        )
        moe = attention + self._experts() if np.any(self.model.num_experts) else zero
        return Layers(dense, moe, self._embedding(), self._head())

    # matmuls

    def _linear(
        self, m: Numeric, k: Numeric, n: Numeric, groups: Numeric = 1, *, eight_bit: bool = True, experts: bool = False
    ) -> Passes:
        """Return a linear layer of (m, k) by (k, n): its output, and in the backward pass both gradients."""
        precision = self.plans.precision if eight_bit else self.plans.usual_precision
        slow, slow_gradient = ("grouped_slowdown", "grouped_gradient_slowdown") if experts else ("", "")
        work = self._product(m, k, n, groups, precision, slow, slow_gradient, self.gradient_bytes)
        if self.plans.is_low and eight_bit:
            count = passes("cast" if self.stack.fused_cast else "cast_unfused")
            work.forward += self._elementwise(groups * m * k, count).forward
            work.backward += self._elementwise(groups * m * n, count).backward
        if self.stack.accumulation == "separate":
            bytes_moved = groups * k * n * (self.word_bytes + 2 * self.stack.gradient_bytes)
            work.backward += Work(memory_bound=self.numbers.memory_time_s(bytes_moved))
        return work

    def _product(
        self,
        m: Numeric,
        k: Numeric,
        n: Numeric,
        groups: Numeric,
        precision: Precision,
        slow: str = "",
        slow_gradient: str = "",
        gradient_bytes: float | None = None,
    ) -> Passes:
        """Return (m, k) by (k, n) and the gradients of both factors, the second of which moves ``gradient_bytes``."""
        time_s, word = self.numbers.matmul_time_s, self.word_bytes
        forward = time_s(m, n, k, precision, groups, slow, word)
        backward = time_s(m, k, n, precision, groups, slow, word)
        backward = backward + time_s(k, n, m, precision, groups, slow_gradient, gradient_bytes or word)
        return Passes(Work(matmul=forward), Work(matmul=backward))

    def _elementwise(self, num_elements: Numeric, count: Count) -> Passes:
        def work(num_passes: int) -> Work:
            bytes_moved = pass_bytes(num_elements, num_passes, count.element_bytes(self.word_bytes))
            return Work(memory_bound=self.numbers.memory_time_s(bytes_moved))

        return Passes(work(count.forward), work(count.backward))

    def _recomputed(
        self, work: Passes, *, attention_core: bool = False, second_matmul: bool = False, last: bool = False
    ) -> Passes:
        """Add what recomputation repeats of a forward pass."""
        kind = self.plans.recompute
        if kind == "full" and not (last and self.stack.early_stop):
            work.recompute = work.forward * self.plans.recompute_layers
        elif kind == "selective" and self.stack.selective == "attention":
            if attention_core:
                work.recompute = work.forward
        elif kind == "selective" and not attention_core and not second_matmul:
            work.recompute = work.forward
        return work

    # blocks

    def _attention(self) -> Passes:
        m, plans = self.model, self.plans
        heads, kv_heads = m.num_heads / plans.tp, np.maximum(m.num_kv_heads / plans.tp, 1)
        latent = 1 * (np.asarray(m.kv_lora_rank) > 0)
        query = heads * m.head_dim
        value = heads * m.value_dim
        width = query + kv_heads * (m.head_dim + m.value_dim)
        projections = self._recomputed(self._linear(self.tokens, m.d_model, width))
        if np.any(latent):
            projections = projections * (1 - latent) + self._latent_projections(query, value) * latent
        output = self._recomputed(self._linear(self.tokens, value, m.d_model), second_matmul=True)
        rotary = passes("rotary") if self.stack.fused_rotary else passes("rotary_unfused")
        rotated = self._recomputed(self._elementwise(self.tokens * (query + kv_heads * m.head_dim), rotary))
        return (
            projections + rotated + self._recomputed(self._scores(heads), attention_core=True) + output + self._norms()
        )

    def _latent_projections(self, query: Numeric, value: Numeric) -> Passes:
        m, t = self.model, self.tokens
        rank = m.q_lora_rank
        down = self._linear(t, m.d_model, rank + m.kv_lora_rank + m.qk_rope_head_dim)
        up = self._linear(t, np.where(np.asarray(rank) > 0, rank, m.d_model), query)
        rotary_width = m.num_heads * m.qk_rope_head_dim / self.plans.tp
        expand = self._linear(t, m.kv_lora_rank, query - rotary_width + value)
        copies = self._elementwise(t * (2 * query + value), passes("rotary"))
        return self._recomputed(down + up + expand + copies)

    def _scores(self, heads: Numeric) -> Passes:
        """Softmax(QK)V, of full and of sliding layers as they mix."""
        m = self.model
        window = np.where(np.asarray(m.sliding_window) > 0, np.minimum(m.sliding_window, self.seq_len), self.seq_len)
        share = np.asarray(m.num_sliding_layers / m.num_layers)
        full = self._one_attention(heads, self.seq_len)
        return full * (1 - share) + self._one_attention(heads, window) * share if np.any(share) else full

    def _one_attention(self, heads: Numeric, window: Numeric) -> Passes:
        m, plans, numbers = self.model, self.plans, self.numbers
        if self.stack.attention.startswith("flash"):
            causal = window is self.seq_len
            keys = self.seq_len if causal else window - window * (window / self.seq_len) / 2
            dims = (m.head_dim, m.value_dim)
            queries = self.seq_len / plans.cp
            args = (self.stack.attention, plans.micro_batch * heads, queries, keys, dims, causal, self.stack.dropout)
            times_s = numbers.flash_time_s(*args, precision=plans.usual_precision)
            forward, backward = times_s
            return Passes(Work(attention=forward), Work(attention=backward))
        batch = plans.micro_batch * heads
        queries = self.seq_len / plans.cp
        scores = self._product(queries, m.head_dim, self.seq_len, batch, plans.usual_precision)
        values = self._product(queries, self.seq_len, m.value_dim, batch, plans.usual_precision)
        num_scores = batch * queries * self.seq_len
        softmax = self._elementwise(
            num_scores, passes("scores_fused" if self.stack.attention == "fused-softmax" else "scores")
        )
        if self.stack.dropout:
            softmax += self._elementwise(num_scores, passes("scores_dropout"))
        work = scores + values + softmax
        return Passes(_as_attention(work.forward), _as_attention(work.backward))

    def _norms(self) -> Passes:
        m = self.model
        size = self.split_tokens * m.d_model
        norm = passes("norm") if self.stack.fused_norm else passes("norm_unfused")
        work = self._elementwise(size, norm) * m.norms_per_layer + self._elementwise(size, passes("residual")) * 2
        if self.stack.dropout:
            work += self._elementwise(size, passes("dropout")) * 2
        return self._recomputed(work)

    def _mlp(self, d_ff: Numeric) -> Passes:
        m, tp = self.model, self.plans.tp
        up = self._linear(self.tokens, m.d_model, (1 + m.gated_mlp) * d_ff / tp)
        down = self._linear(self.tokens, d_ff / tp, m.d_model)
        activation = self._activation(self.tokens * d_ff / tp)
        return self._recomputed(up + activation) + self._recomputed(down, second_matmul=True, last=True)

    def _activation(self, num_elements: Numeric, *, plain: Numeric = 0) -> Passes:
        """Return the activation function, unfused for the share ``plain`` of models whose form no kernel fuses."""
        unfused = self._activation_kernels(num_elements, "_unfused")
        if not self.stack.fused_activation:
            return unfused
        fused = self._activation_kernels(num_elements, "")
        return fused * (1 - plain) + unfused * plain if np.any(plain) else fused

    def _activation_kernels(self, num_elements: Numeric, kind: str) -> Passes:
        gate = self._elementwise(num_elements, passes(f"gate{kind}"))
        return self._elementwise(num_elements, passes(f"activation{kind}")) + gate * self.model.gated_mlp

    def _experts(self) -> Passes:
        """Router, routed experts in one grouped matmul each way, shared experts."""
        m, plans = self.model, self.plans
        local = np.maximum(m.num_experts, 1) / plans.ep
        routed = self.tokens * m.top_k * plans.etp / plans.tp
        each = routed / local
        width = m.d_ff_expert / plans.etp
        up = self._linear(each, m.d_model, (1 + m.gated_mlp) * width, local, experts=True)
        up += self._activation(routed * width, plain=1 * m.expert_bias)
        up += self._elementwise(routed * m.d_model, passes("permute")) * 2
        up += self._linear(self.split_tokens, m.d_model, m.num_experts, eight_bit=False)
        down = self._linear(each, width, m.d_model, local, experts=True)
        work = self._recomputed(up) + self._recomputed(down, second_matmul=True)
        if np.any(m.d_ff_shared):
            work += self._mlp(m.d_ff_shared) * (np.asarray(m.d_ff_shared) > 0)
        return work

    def _embedding(self) -> Passes:
        return self._elementwise(self.tokens * self.model.d_model, passes("residual"))

    def _head(self) -> Passes:
        """Last norm, output layer and loss, and those of multi-token prediction; never recomputed."""
        m, plans = self.model, self.plans
        vocabulary = padded_vocabulary(m.vocab_size, plans.tp, self.stack.vocab_multiple) / plans.tp
        head = self._linear(self.tokens, m.d_model, vocabulary, eight_bit=False)
        loss = self._elementwise(
            self.tokens * vocabulary, passes("loss") if self.stack.fused_loss else passes("loss_unfused")
        )
        predicted = (head + loss) * (1 + m.num_mtp_layers)
        if np.any(m.num_mtp_layers):
            predicted += self._linear(self.tokens, 2 * m.d_model, m.d_model / plans.tp) * m.num_mtp_layers
        return predicted


def padded_vocabulary(vocab_size: Numeric, tp: Numeric, multiple: int) -> Floats:
    """Rows of the embedding table as the framework pads it: a multiple of ``multiple`` x ``tp``."""
    return np.asarray(padded_vocab_size(vocab_size, multiple * tp))


def _as_attention(work: Work) -> Work:
    return Work(attention=work.total_s)
