"""What accelerators send each other for one layer and one microbatch, and for one step."""

from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.engines.calibration import Calibration
from walltime.engines.stack import Stack
from walltime.plan import PlanBatch
from walltime.plan.placement import Span
from walltime.workload import Training


@dataclass(frozen=True)
class LayerExchange:
    """Time of one layer's communication in one microbatch, nothing hidden. [s]

    Attributes
    ----------
    tp_dense, tp_moe
        Of tensor parallelism in a layer of either kind, in one direction.
    cp, cp_backward
        Of context parallelism, forward and backward: a ring then carries keys, values and their gradients.
    ep
        Of expert parallelism, in one direction.
    """

    tp_dense: Numeric
    tp_moe: Numeric
    cp: Numeric
    cp_backward: Numeric
    ep: Numeric


class Exchange:
    """Times communication under a batch of plans, whose groups lie on the network as ``groups`` says."""

    def __init__(
        self, training: Training, plans: PlanBatch, stack: Stack, numbers: Calibration, groups: dict[str, Span]
    ) -> None:
        self.model = training.model
        self.plans = plans
        self.stack = stack
        self.links, self.tp_factor = numbers.links, numbers.stack.tp_factor
        self.groups = groups
        self.tokens = plans.micro_batch * training.seq_len / plans.cp
        self.word_bytes = plans.word_bytes
        self.token_bytes = self.word_bytes * self.model.d_model

    def layer(self) -> LayerExchange:
        """Return one layer's communication."""
        m, plans = self.model, self.plans
        message = self.tokens * self.token_bytes
        one = self._tensor(message) if np.any(plans.tp > 1) else np.zeros_like(plans.tp)
        count = 2 - np.asarray(m.parallel_attention)
        cp = self._context() if np.any(plans.cp > 1) else np.zeros_like(plans.tp)
        contexts = cp, cp * (2 if plans.cp_algorithm == "ring" else 1)
        if not np.any(m.num_experts):
            return LayerExchange(one * count, 0.0, *contexts, 0.0)
        split = (plans.etp > 1) * self._tensor(message * np.maximum(m.top_k, 1)) if np.any(plans.etp > 1) else 0.0
        ep = 2 * self._dispatch_s() if np.any(plans.ep > 1) else 0.0
        shared = one * (np.asarray(m.d_ff_shared) > 0)
        return LayerExchange(one * count, one + shared + split, *contexts, ep)

    def _context(self) -> Floats:
        """Keys and values passed round the ring, or heads exchanged for sequence and back."""
        m, plans = self.model, self.plans
        kv_width = np.maximum(m.num_kv_heads / plans.tp, 1) * (m.head_dim + m.value_dim)
        if plans.cp_algorithm == "ring":
            return self.links.all_gather_time_s(self.word_bytes * self.tokens * plans.cp * kv_width, self.groups["cp"])
        width = kv_width + m.num_heads / plans.tp * (m.head_dim + m.value_dim)
        return self.links.all_to_all_time_s(self.word_bytes * self.tokens * width, self.groups["cp"])

    def _dispatch_s(self) -> Floats:
        """Sending each token of a rank to its experts; between nodes only once to each node where the stack can."""
        m, plans = self.model, self.plans
        sent = self.tokens / plans.tp * m.top_k * self.token_bytes
        if self.stack.dispatch_once:
            nodes = self.groups["ep"][-1]
            top_k = np.maximum(m.top_k, 1)
            met = nodes * (1 - (1 - 1 / nodes) ** top_k)
            sent = sent * np.where(nodes > 1, met / top_k, 1)
        return self.links.all_to_all_time_s(sent, self.groups["ep"])

    def _tensor(self, message: Floats) -> Floats:
        """One pair of reduce-scatter and all-gather over the tensor-parallel ranks, or one all-reduce."""
        group = self.groups["tp"]
        if self.plans.sequence_parallel:
            return self.tp_factor * 2 * self.links.all_gather_time_s(message, group)  # a reduce-scatter takes as long
        return self.tp_factor * self.links.all_reduce_time_s(message, group)

    def send_bytes(self) -> Numeric:
        """Bytes of one microbatch's activations that a rank sends to the next stage. [B]"""
        split = self.plans.tp if self.plans.sequence_parallel or self.stack.scatter_sends else 1
        return self.tokens * self.token_bytes / split

    def send_s(self) -> Floats:
        """Time to send one microbatch's activations to the next stage. [s]"""
        return self.links.send_time_s(self.send_bytes(), self.groups["pp"])
