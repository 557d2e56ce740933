"""How long each pass over each chunk of a pipeline takes, of one plan: what the simulation of a step starts from."""

from dataclasses import dataclass
from typing import NamedTuple

from walltime.arrays import Numeric
from walltime.engines.step import StepModel
from walltime.physics.pipeline_orders import Place, num_chunks, routes
from walltime.physics.pipeline_simulation import PassTimes
from walltime.plan import Plan
from walltime.plan.stages import layers_before_stage

COMMUNICATION = ("tp_comm", "cp_comm", "ep_comm")


def one(value: Numeric) -> float:
    """Return the number of a batch of one plan."""
    return float(value if isinstance(value, int | float) else value.item())


def layers_of_places(num_layers: int, plan: Plan, num_last: int = 0) -> dict[Place, int]:
    """Return how many layers each chunk of each stage holds.

    Stages hold what `walltime.plan.stages` says, and so do chunks: as many as fit from the first on. The stage with the
    output layer holds what is left, ``num_last`` layers at least: the last, or the first where the way is a V. Each
    direction of ``dualpipe`` has all layers.
    """
    held = [
        int(layers_before_stage(num_layers, plan.pp, plan.vpp, i + 1, num_last))
        - int(layers_before_stage(num_layers, plan.pp, plan.vpp, i, num_last))
        for i in range(plan.pp)
    ]
    chunks = num_chunks(plan.schedule, plan.vpp)
    if plan.schedule == "dualpipe":
        return {place: held[i] for route in routes("dualpipe", plan.pp, 1) for i, place in enumerate(route)}
    if plan.schedule == "zb-v":
        held.reverse()
    size = -(-max(held) // chunks)
    return {
        Place(stage, chunk): min(max(layers - chunk * size, 0), size)
        for stage, layers in enumerate(held)
        for chunk in range(chunks)
    }


@dataclass(frozen=True)
class PlaceTimes:
    """One microbatch on one chunk of a stage.

    Attributes
    ----------
    layers
        Of the chunk.
    passes
        Its passes, with what of their communication nothing hides.
    busy_s
        How long communication of each kind takes in the forward and in the backward pass, hidden or not, by name. [s]
    """

    layers: int
    passes: PassTimes
    busy_s: dict[str, tuple[float, float]]


class Exchange(NamedTuple):
    """What data parallelism exchanges once a step on one stage. [s]

    Attributes
    ----------
    gather, wait_before
        Parameters, gathered from the start on; how long the first pass waits for them.
    reduce, wait_after
        Gradients, reduced at the end; how long after the last pass.

    Notes
    -----
    A stage waits for what is not hidden, and for the time that the exchange beside its passes costs them.
    """

    gather: float
    wait_before: float
    reduce: float
    wait_after: float


class StageTimes:
    """The passes of one plan over the chunks of its stages.

    Parameters
    ----------
    model
        Of a step, for a batch of this plan alone.
    plan
        The plan.

    Attributes
    ----------
    routes, layers
        The places that microbatches go through, and the layers of each.
    by_layer, each_pass
        What ``zero3`` exchanges for each layer; whether in every pass, or in the first and last of a step only.
    """

    def __init__(self, model: StepModel, plan: Plan) -> None:
        self.model, self.plan = model, plan
        self.routes = routes(plan.schedule, plan.pp, plan.vpp)
        self.layers = layers_of_places(int(model.num_layers), plan, model.model.num_mtp_layers)
        self.forward, self.backward = model.directions()
        self.weight_s = one(model.weight_gradient_s(self.backward))
        self.by_layer = model.data.of_layer(model.num_microbatches) if plan.sharding == "zero3" else None
        self.each_pass = self.by_layer is not None and one(self.by_layer.rounds) == one(model.num_microbatches)

    def places(self) -> dict[Place, PlaceTimes]:
        """Return the time of each place."""
        return {place: self._place(place, i, len(route)) for route in self.routes for i, place in enumerate(route)}

    def exchange(self, stage: int) -> Exchange:
        """Return what a stage exchanges once a step."""
        if self.each_pass:
            return Exchange(0.0, 0.0, 0.0, 0.0)
        layers = sum(self.layers[place] for place in self.layers if place.stage == stage) / len(self.routes)
        data, forward_s, backward_s = self.model.data, one(self.forward.total_s), one(self.backward.total_s)
        if self.by_layer is None:
            sent = data.of_step()
            gather_s, reduce_s = one(sent.gather), one(sent.reduce)
            hidden_s = data.hidden_s(gather_s, layers * forward_s), data.hidden_s(reduce_s, layers * backward_s)
            return Exchange(gather_s, gather_s - one(hidden_s[0]), reduce_s, reduce_s - one(hidden_s[1]))
        sent, table_s = self.by_layer, self._table_s(stage in (0, self.plan.pp - 1))
        gather_s, reduce_s = layers * one(sent.gather) + table_s[0], layers * one(sent.reduce) + table_s[1]
        hidden_s = data.hidden_s(sent.gather, forward_s), data.hidden_s(sent.reduce, backward_s)
        waits_s = gather_s - layers * one(hidden_s[0]), reduce_s - layers * one(hidden_s[1])
        return Exchange(gather_s, waits_s[0], reduce_s, waits_s[1])

    def _place(self, place: Place, position: int, num_places: int) -> PlaceTimes:
        layers = self.layers[place]
        first, last, weight_s = self._end(position, num_places)
        (gather_s, reduce_s), raw = self._state(layers, has_table=position in (0, num_places - 1))
        passes = PassTimes(
            forward=layers * one(self.forward.total_s) + first + gather_s,
            backward=layers * one(self.backward.total_s) + last + reduce_s,
            weight_gradient=layers * self.weight_s + weight_s,
        )
        busy = {
            name: (layers * one(self.forward.raw[name]), layers * one(self.backward.raw[name]))
            for name in COMMUNICATION
        }
        return PlaceTimes(layers, passes, busy | {"dp_comm": raw})

    def _end(self, position: int, num_places: int) -> tuple[float, float, float]:
        """Return what embedding and output layer add to the passes of a place, and to its weight gradients. [s]"""
        layers, is_first, is_last = self.model.layers, position == 0, position == num_places - 1
        if not (is_first or is_last):
            return 0.0, 0.0, 0.0
        work = layers.ends if is_first and is_last else layers.embedding if is_first else layers.head
        forward, backward = self.model.end(work)
        if not is_last:  # looking up rows is no layer that the host would have to start
            return one(work.forward.total_s), one(work.backward.total_s), 0.0
        return one(forward.total_s), one(backward.total_s), one(self.model.end_weight_gradient_s(backward))

    def _state(self, layers: int, *, has_table: bool) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return what ``zero3`` gathers and reduces in each pass of a chunk: what nothing hides, and all of it. [s]"""
        sent, data = self.by_layer, self.model.data
        if sent is None or not self.each_pass:
            return (0.0, 0.0), (0.0, 0.0)
        table_s = self._table_s(has_table)
        gather_s, reduce_s = layers * one(sent.gather) + table_s[0], layers * one(sent.reduce) + table_s[1]
        hidden_s = data.hidden_s(sent.gather, self.forward.total_s), data.hidden_s(sent.reduce, self.backward.total_s)
        exposed = gather_s - layers * one(hidden_s[0]), reduce_s - layers * one(hidden_s[1])
        return exposed, (gather_s, reduce_s)

    def _table_s(self, has_table: bool) -> tuple[float, float]:
        """Return what ``zero3`` gathers and reduces of a table of embeddings. [s]"""
        if not has_table or self.by_layer is None:
            return 0.0, 0.0
        gather_s = one(self.by_layer.ends_gather)
        return gather_s, one(self.by_layer.ends) - gather_s
