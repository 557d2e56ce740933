"""Data parallelism: what is reduced and gathered, what computation hides, and the optimizer's step."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.engines.calibration import Calibration
from walltime.engines.layer import padded_vocabulary
from walltime.engines.stack import Stack
from walltime.physics.memory_bound import pass_bytes
from walltime.physics.memory_bound import passes as passes_of
from walltime.plan import PlanBatch
from walltime.plan.placement import Span
from walltime.workload import Training, parameters


@dataclass(frozen=True)
class StateExchange:
    """What data-parallel ranks send each other, nothing hidden: of a stage and step, or of a layer and round. [s]

    Attributes
    ----------
    gather, reduce
        Of parameters before the forward pass; of gradients (and of parameters again) in the backward pass.
    ends_gather, ends
        Of the tables of embedding and output layer, where they are exchanged by themselves: gathered, and in all.
    rounds
        How often in a step.
    """

    gather: Numeric
    reduce: Numeric
    ends_gather: Numeric = 0.0
    ends: Numeric = 0.0
    rounds: Numeric = 1


class StateTimes(NamedTuple):
    """Communication of data parallelism in a step. [s]

    Attributes
    ----------
    exposed, raw
        What computation does not hide, and all of it.
    in_layer
        What every microbatch waits for in each layer, forward and backward.
    """

    exposed: Floats
    raw: Floats
    in_layer: Numeric


class DataParallel:
    """Times gradients, parameters and optimizer of a step."""

    def __init__(
        self, training: Training, plans: PlanBatch, stack: Stack, numbers: Calibration, groups: dict[str, Span]
    ) -> None:
        self.plans, self.stack, self.numbers, self.groups = plans, stack, numbers, groups
        self.reduce_bytes = stack.reduce_bytes
        m = training.model
        self.model = m
        num_layers = m.num_layers + m.num_mtp_layers
        moe_share = m.num_moe_layers / m.num_layers
        experts = parameters.routed_experts_per_layer(m)
        dense = parameters.dense_layer(m) * (1 - moe_share) + (parameters.moe_layer(m) - experts) * moe_share
        self.dense_layer = dense / plans.tp
        self.expert_layer = experts * moe_share / (plans.ep * plans.etp)
        self.expert_shards = np.maximum(plans.shard * plans.cp * plans.tp / (plans.ep * plans.etp), 1)
        self.layers = num_layers / plans.pp
        table = padded_vocabulary(m.vocab_size, plans.tp, stack.vocab_multiple) * m.d_model / plans.tp
        both = (2 - np.asarray(m.tied_embeddings)) * table
        self.table = np.where(plans.pp > 1, table, both)

    def times_s(
        self, layers: Numeric, forward_s: Numeric, backward_s: Numeric, num_microbatches: Numeric
    ) -> StateTimes:
        """Return how long communication of data parallelism takes in a step, and what of it computation hides.

        Parameters
        ----------
        layers
            Of a stage.
        forward_s, backward_s
            Time of a layer of one microbatch, beside which communication can run. [s]
        num_microbatches
            Microbatches of a step.
        """
        if self.plans.sharding == "zero3":
            sent = self.of_layer(num_microbatches)
            hidden = self.hidden_s(sent.gather, forward_s) + self.hidden_s(sent.reduce, backward_s)
            raw = sent.rounds * (layers * (sent.gather + sent.reduce) + sent.ends)
            in_layer = (sent.gather + sent.reduce - hidden) * (sent.rounds == num_microbatches)
            return StateTimes(np.asarray(raw - sent.rounds * layers * hidden), np.asarray(raw), in_layer)
        sent = self.of_step()
        hidden = self.hidden_s(sent.reduce, layers * backward_s) + self.hidden_s(sent.gather, layers * forward_s)
        raw = np.asarray(sent.reduce + sent.gather)
        return StateTimes(np.asarray(raw - hidden), raw, 0.0)

    def of_step(self) -> StateExchange:
        """Return what is exchanged once a step, as long as it takes in training."""
        return self._slowed(self._of_step())

    def of_layer(self, count: Numeric) -> StateExchange:
        """Return what ``zero3`` exchanges for each layer, likewise; ``count`` microbatches."""
        return self._slowed(self._of_layer(count))

    def _slowed(self, sent: StateExchange) -> StateExchange:
        factor = self.numbers.stack.dp_factor
        if factor == 1:
            return sent
        times_s = {name: getattr(sent, name) * factor for name in ("gather", "reduce", "ends_gather", "ends")}
        return replace(sent, **times_s)

    def _of_step(self) -> StateExchange:
        """DDP and ZeRO-1/2: gradients once a step, and where the optimizer is sharded, parameters once."""
        links = self.numbers.links
        dense, experts = self.layers * self.dense_layer + self.table, self.layers * self.expert_layer
        if self.plans.sharding == "ddp":
            reduce = links.all_reduce_time_s(dense * self.reduce_bytes, self.groups["data"])
            if np.any(experts):
                own = links.all_reduce_time_s(experts * self.reduce_bytes, self.groups["expert_data"])
                reduce = reduce + own * (experts > 0)
            return StateExchange(0.0, reduce)
        reduce = self._scattered(dense, experts) + self._replicated(dense, experts)
        gather = self._gathered(dense, experts) + self.numbers.stack.shard_rank_s * (self.plans.shard - 1)
        return StateExchange(gather, reduce)

    def _of_layer(self, count: Numeric) -> StateExchange:
        """ZeRO-3: for each layer and microbatch, parameters gathered and gradients scattered beside other layers.

        What is not dropped after the forward pass is gathered once a microbatch, and in a pipeline once a step, whose
        gradients then add up before they are scattered.
        """
        gather = self._gathered(self.dense_layer, self.expert_layer)
        back = self._scattered(self.dense_layer, self.expert_layer)
        back = back + self._replicated(self.dense_layer, self.expert_layer)
        rounds = count
        if self.plans.reshard:
            back = back + gather
        else:
            rounds = np.where(self.plans.pp > 1, 1, count)
        gathered = self._gathered(self.table, 0.0)
        ends = gathered + self._scattered(self.table, 0.0) + self._replicated(self.table, 0.0)
        return StateExchange(gather, back, gathered, ends, rounds)

    def _gathered(self, dense: Numeric, experts: Numeric) -> Floats:
        width = self.stack.weight_bytes
        time_s = self.numbers.links.all_gather_time_s(dense * width, self.groups["shard"])
        if np.any(experts):
            own = self.numbers.links.all_gather_time_s(experts * width, self.groups["expert_shard"])
            time_s = time_s + own * np.greater(experts, 0)
        return time_s

    def _scattered(self, dense: Numeric, experts: Numeric) -> Floats:
        width = self.reduce_bytes
        time_s = self.numbers.links.reduce_scatter_time_s(dense * width, self.groups["shard"])
        if np.any(experts):
            own = self.numbers.links.reduce_scatter_time_s(experts * width, self.groups["expert_shard"])
            time_s = time_s + own * np.greater(experts, 0)
        return time_s

    def _replicated(self, dense: Numeric, experts: Numeric) -> Numeric:
        """Gradients that shard groups exchange with their copies. [s]"""
        if not np.any(self.plans.shard < self.plans.dp):
            return 0.0
        links, width = self.numbers.links, self.reduce_bytes
        time_s = links.all_reduce_time_s(dense * width / (self.plans.shard * self.plans.cp), self.groups["replica"])
        if np.any(experts):
            own = links.all_reduce_time_s(experts * width / self.expert_shards, self.groups["expert_replica"])
            time_s = time_s + own * np.greater(experts, 0)
        return time_s

    def hidden_s(self, comm_s: Numeric, window_s: Numeric) -> Numeric:
        """Communication that computation of ``window_s`` hides, less the time that it costs it. [s]"""
        if not self.stack.overlap_dp:
            return 0.0
        numbers = self.numbers.stack
        return np.minimum(comm_s * numbers.overlap_dp, window_s) * (1 - numbers.contention)

    def optimizer_s(self) -> Floats:
        """Time of the optimizer's step. [s]"""
        plans = self.plans
        dense = self.layers * self.dense_layer + self.table
        experts = self.layers * self.expert_layer
        if plans.sharding != "ddp":
            dense = dense / (plans.shard * plans.cp)
            experts = experts / self.expert_shards
        passes = passes_of("optimizer").forward - (plans.precision == "fp32")  # which has no second copy to write
        passes *= 1 if self.stack.fused_optimizer else 2
        return self.numbers.memory_time_s(pass_bytes(dense + experts, passes))
