"""The time of a training step of a transformer, by parts: layers, pipeline, data parallelism, optimizer, overhead."""

from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.engines.calibration import Calibration
from walltime.engines.data_parallel import DataParallel
from walltime.engines.exchange import Exchange, LayerExchange
from walltime.engines.layer import LayerModel, Passes, Work
from walltime.engines.stack import Stack
from walltime.physics.pipeline_schedules import Stages, StageTimes, bubble_s, send_waits
from walltime.plan import PlanBatch
from walltime.plan.placement import spans
from walltime.plan.stages import layers_before_stage, layers_of_fullest_stage
from walltime.workload import Training

_WORK = ("matmul", "attention", "memory_bound")
_COMM = ("tp_comm", "cp_comm", "ep_comm")
PARTS = (*_WORK, "host", *_COMM, "pp_comm", "dp_comm", "bubble", "optimizer", "overhead")
"""Parts of a step in the order in which they are shown: each is time that nothing else hides."""


@dataclass(frozen=True)
class StepTime:
    """A step under each plan of a batch. [s]

    Attributes
    ----------
    parts_s
        By `PARTS`; they add up to the step.
    busy_s
        How long communication of each kind takes, hidden or not.
    """

    parts_s: dict[str, Floats]
    busy_s: dict[str, Floats]

    @property
    def time_s(self) -> Floats:
        """The step: the sum of its parts. [s]"""
        return np.asarray(np.add.reduce(list(self.parts_s.values())))

    @property
    def lower_s(self) -> Floats:
        """The step if everything that can overlap did: work alone, or the slowest kind of communication. [s]"""
        work = np.asarray(sum(self.parts_s[name] for name in (*_WORK, "optimizer")))
        for busy in self.busy_s.values():
            work = np.maximum(work, busy)
        return np.minimum(work, self.time_s)

    @property
    def upper_s(self) -> Floats:
        """The step if nothing overlapped. [s]"""
        hidden = sum(np.maximum(self.busy_s[name] - self.parts_s[name], 0) for name in self.busy_s)
        return np.asarray(self.time_s + hidden)


def step_time(training: Training, plans: PlanBatch, stack: Stack, numbers: Calibration) -> StepTime:
    """Time of a step under each plan of a batch.

    Parameters
    ----------
    training
        Model and batch; its numbers may be arrays (plans,) (`walltime.workload.stacking.stacked`).
    plans, stack, numbers
        How it is split, by what software, and what accelerator, network and software were fitted to.
    """
    return StepModel(training, plans, stack.under(plans), numbers).result()


def without_data_parallelism(training: Training, plans: PlanBatch, stack: Stack, numbers: Calibration) -> StepTime:
    """Return a step without data-parallel traffic and optimizer: the parts on which sharding has no influence.

    The same numbers as in `step_time`, to the bit; their sum is at most the step under any sharding.
    """
    return StepModel(training, plans, stack.under(plans), numbers).pipeline()[0]


@dataclass
class Direction:
    """The mean layer in one direction, or embedding or output layer or both, of one microbatch. [s]

    Attributes
    ----------
    exposed
        Parts of the pass that nothing else hides, by name as in `PARTS`.
    raw
        How long communication of each kind takes, hidden or not.
    """

    exposed: dict[str, Numeric]
    raw: dict[str, Numeric]

    @property
    def total_s(self) -> Numeric:
        """The whole pass. [s]"""
        return sum(self.exposed.values())


class StepModel:
    """The passes, sends and exchanges of a step, which the closed form adds up and the simulation places in time.

    Parameters
    ----------
    training, plans, numbers
        As for `step_time`.
    stack
        What the plans leave of the software's choices (`walltime.engines.stack.Stack.under`).
    """

    def __init__(self, training: Training, plans: PlanBatch, stack: Stack, numbers: Calibration) -> None:
        self.model, self.plans, self.stack, self.numbers = training.model, plans, stack, numbers
        groups = spans(plans, numbers.cluster.network.level_sizes)
        self.num_microbatches = np.maximum(training.batch_seqs / (plans.dp * plans.micro_batch), 1)
        self.num_layers = self.model.num_layers + self.model.num_mtp_layers
        self.moe_share = self.model.num_moe_layers / self.model.num_layers
        layers = LayerModel(training, plans, stack, numbers).layers()
        self.layer = _mixed(layers.dense, layers.moe, self.moe_share)
        self.layers = layers
        self.exchange = Exchange(training, plans, stack, numbers, groups)
        self.data = DataParallel(training, plans, stack, numbers, groups)

    def result(self) -> StepTime:
        """Add up a step."""
        step, forward, backward = self.pipeline()
        layer_s = forward.total_s + backward.total_s
        in_stage = layers_of_fullest_stage(self.num_layers, self.plans.pp, self.plans.vpp)
        data = self.data.times_s(in_stage, forward.total_s, backward.total_s, self.num_microbatches)
        waits = {"bubble": step.parts_s["bubble"] * (1 + data.in_layer / layer_s), "dp_comm": data.exposed}
        parts = step.parts_s | waits | {"optimizer": self.data.optimizer_s()}
        return StepTime({name: parts[name] for name in PARTS}, step.busy_s | {"dp_comm": data.raw})

    def pipeline(self) -> tuple[StepTime, Direction, Direction]:
        """Return everything but data parallelism and optimizer, and the mean layer forward and backward."""
        forward, backward = self.directions()
        ends = self.end(self.layers.ends)
        layer_s, ends_s = forward.total_s + backward.total_s, ends[0].total_s + ends[1].total_s
        layers, has_ends = self._busiest_stage(layer_s, ends_s)
        count = self.num_microbatches

        def over_stage(name: str, kind: str) -> Floats:
            per_layer = getattr(forward, kind).get(name, 0.0) + getattr(backward, kind).get(name, 0.0)
            per_end = getattr(ends[0], kind).get(name, 0.0) + getattr(ends[1], kind).get(name, 0.0)
            return np.asarray(count * (layers * per_layer + has_ends * per_end))

        parts = {name: over_stage(name, "exposed") for name in (*_WORK, "host", *_COMM)}
        busy = {name: over_stage(name, "raw") for name in _COMM}
        parts["pp_comm"], busy["pp_comm"] = self._sends(np.where(has_ends > 0, layers * layer_s + ends_s, 0), layer_s)
        parts["bubble"] = self._bubble((forward, backward), ends, layers, has_ends)
        fixed = self.numbers.stack.step_s + self.numbers.stack.microbatch_s * count
        parts["overhead"] = fixed + np.zeros_like(self.plans.tp)
        return StepTime({name: parts[name] for name in PARTS if name in parts}, busy), forward, backward

    def directions(self) -> tuple[Direction, Direction]:
        """Return forward and backward pass of the mean layer."""
        comm = self.exchange.layer()
        return self._forward(comm), self._backward(comm)

    def end(self, passes: Passes) -> tuple[Direction, Direction]:
        """Return forward and backward pass of embedding, output layer or both."""
        return self._end(passes.forward), self._end(passes.backward)

    def _busiest_stage(self, layer_s: Numeric, ends_s: Numeric) -> tuple[Floats, Floats]:
        """Return the layers of the busiest stage and whether it has embedding and output layer.

        The last stage holds what `walltime.plan.stages` leaves it, and the output layer; under ``dualpipe`` an
        accelerator of the last stage is one of the first, too.
        """
        plans = self.plans
        most, left = self._layers_of_stages()
        share = 1 if plans.schedule != "dualpipe" else np.where(plans.pp > 1, 0.5, 1.0)
        layers = most + share * (left - most)
        last = (layers * layer_s + share * ends_s > most * layer_s) | (plans.pp == 1)
        return np.where(last, layers, most), np.where(last, share, 0)

    def _layers_of_stages(self) -> tuple[Floats, Floats]:
        """Return the layers of a full stage and of the last."""
        plans = self.plans
        most = layers_of_fullest_stage(self.num_layers, plans.pp, plans.vpp)
        return most, self.num_layers - self._layers_before_last()

    def _layers_before_last(self) -> Floats:
        plans = self.plans
        return layers_before_stage(self.num_layers, plans.pp, plans.vpp, plans.pp - 1, self.model.num_mtp_layers)

    def _bubble(
        self, layer: tuple[Direction, Direction], ends: tuple[Direction, Direction], layers: Floats, has_ends: Floats
    ) -> Floats:
        """Return the wait of the busiest stage, which has so many layers, and ends or not. [s]"""
        plans, weight_s = self.plans, self.weight_gradient_s(layer[1])
        end_weight_s = self.end_weight_gradient_s(ends[1])
        most, left = self._layers_of_stages()

        def stage(num_layers: Numeric, num_ends: Numeric) -> StageTimes:
            return StageTimes(
                num_layers * layer[0].total_s + num_ends * ends[0].total_s,
                num_layers * layer[1].total_s + num_ends * ends[1].total_s,
                num_layers * weight_s + num_ends * end_weight_s,
            )

        layer_s, ends_s = layer[0].total_s + layer[1].total_s, ends[0].total_s + ends[1].total_s
        num_others = np.maximum(plans.pp - 1, 1)
        stages = Stages(
            busiest=stage(layers, has_ends),
            others=stage((self.num_layers - layers) / num_others, (1 - has_ends) / num_others),
            full=stage(most, 0),
            num_full=np.floor(self._layers_before_last() / most) + (left >= most),
            last=stage(left, 1),
            last_chunk=np.maximum(left - most * (1 - 1 / plans.vpp), 0) * layer_s + ends_s,
        )
        return np.where(plans.pp > 1, bubble_s(plans.schedule, plans.pp, plans.vpp, stages, self.num_microbatches), 0)

    def end_weight_gradient_s(self, backward: Direction) -> Numeric:
        """Part of the output layer's backward pass that may be put off. [s]"""
        return (self.layers.head.backward.matmul + backward.exposed["host"]) / 2

    def weight_gradient_s(self, backward: Direction) -> Numeric:
        """Part of a layer's backward pass that may be put off: half of its matmuls and of its waiting. [s]"""
        return (self.layer.backward.matmul + backward.exposed["host"]) / 2

    @property
    def overlap_pp(self) -> float:
        """Share of a send between stages that runs beside computation."""
        return self.numbers.stack.overlap_pp if self.stack.overlap_pp else 0.0

    def _sends(self, last_s: Floats, layer_s: Numeric) -> tuple[Floats, Floats]:
        """Return waits for sends between stages, exposed and in all; ``last_s`` is of the last stage if busiest. [s]"""
        plans, send_s = self.plans, self.exchange.send_s()
        excess_s = np.clip(last_s - self._layers_of_stages()[0] * layer_s, 0, send_s)
        spared = excess_s / np.where(send_s > 0, send_s, 1)
        of = plans.schedule, plans.pp, plans.vpp, self.num_microbatches
        return send_waits(*of, self.overlap_pp, spared) * send_s, send_waits(*of, 0.0, 0.0) * send_s

    def _forward(self, comm: LayerExchange) -> Direction:
        return self._direction(self.layer.forward, comm, 1.0, comm.cp, self.layer.forward.attention)

    def _backward(self, comm: LayerExchange) -> Direction:
        """Return the backward pass with its recomputation, which repeats the communication of the forward pass."""
        layer = self.layer
        again = self.plans.recompute_layers if self.plans.recompute == "full" else 0.0
        only_attention = self.plans.recompute == "selective" and self.stack.selective == "attention"
        context_s = comm.cp_backward + (1 if only_attention else again) * comm.cp
        attention_s = layer.backward.attention + layer.recompute.attention
        return self._direction(layer.backward + layer.recompute, comm, 1.0 + again, context_s, attention_s)

    def _direction(
        self, work: Work, comm: LayerExchange, passes: Numeric, context_s: Numeric, attention_s: Numeric
    ) -> Direction:
        numbers, moe_share = self.numbers.stack, self.moe_share
        raw = {
            "tp_comm": passes * (comm.tp_dense * (1 - moe_share) + comm.tp_moe * moe_share),
            "cp_comm": context_s,
            "ep_comm": passes * comm.ep * moe_share,
        }
        overlap_tp = numbers.overlap_tp if self.stack.overlap_tp else 0.0
        exposed = {
            "tp_comm": _not_hidden(raw["tp_comm"], overlap_tp, work.total_s),
            "cp_comm": np.maximum(context_s - attention_s, 0) if self.plans.cp_algorithm == "ring" else context_s,
            "ep_comm": _not_hidden(raw["ep_comm"], self._overlap_ep(), work.total_s),
        }
        host_s = passes * (numbers.host_layer_s * (1 - moe_share) + numbers.host_moe_s * moe_share)
        host = _waiting_s(work.total_s + sum(exposed.values()), host_s)
        return Direction(work.by_name() | {"host": host} | exposed, raw)

    def _overlap_ep(self) -> float:
        """Share of expert traffic that can run beside computation: DualPipe pairs passes so that most of it does."""
        numbers = self.numbers.stack
        return max(numbers.overlap_ep, numbers.overlap_pp) if self.plans.schedule == "dualpipe" else numbers.overlap_ep

    def _end(self, work: Work) -> Direction:
        return Direction(work.by_name() | {"host": _waiting_s(work.total_s, self.numbers.stack.host_layer_s)}, {})


def _not_hidden(comm_s: Numeric, share: float, work_s: Numeric) -> Numeric:
    """Communication less what runs beside work: a share of it, at most as long as the work. [s]"""
    return comm_s - np.minimum(comm_s * share, work_s) if share else comm_s


def _waiting_s(busy_s: Numeric, host_s: Numeric) -> Floats:
    """Time that the accelerator waits for the host to start its kernels. [s]

    Within a layer now the one, now the other is slower: the eighth-power norm of both is a little more than the larger
    of them (on the small models of ``vtrain_single`` it does better than the fourth power, and than the larger alone).
    """
    busy_4, host_4 = np.square(np.square(busy_s)), np.square(np.square(host_s))
    return np.asarray(np.sqrt(np.sqrt(np.sqrt(busy_4 * busy_4 + host_4 * host_4))) - busy_s)


def _mixed(dense: Passes, moe: Passes, moe_share: Numeric) -> Passes:
    if not np.any(moe_share):
        return dense
    return dense * (1 - moe_share) + moe * moe_share
