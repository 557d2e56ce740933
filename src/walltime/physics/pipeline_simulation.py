"""A pipeline simulated pass by pass: when each of them starts, given how long passes and sends take."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from walltime.physics.pipeline_orders import Order, Pass, Place


@dataclass(frozen=True)
class PassTimes:
    """Time of one microbatch's passes over one chunk. [s]

    Attributes
    ----------
    forward, backward
        The two passes.
    weight_gradient
        The part of ``backward`` that may be put off.
    """

    forward: float
    backward: float
    weight_gradient: float = 0.0


@dataclass(frozen=True)
class SendTimes:
    """Time of a send between stages. [s]

    Attributes
    ----------
    hidden
        The part of it that runs beside computation.
    waited
        The part of it during which the stage that receives does nothing else.
    """

    hidden: float = 0.0
    waited: float = 0.0

    @property
    def total(self) -> float:
        """The whole send, during which one stage sends another nothing else. [s]"""
        return self.hidden + self.waited


class Event(NamedTuple):
    """One pass in time.

    Attributes
    ----------
    stage, work
        Who does what.
    from_s
        When the stage turns to it: to receiving its input, where it waits for that. [s]
    start_s, duration_s
        The pass alone. [s]
    message
        Its input, from this stage or another; None where it needs none.
    """

    stage: int
    work: Pass
    from_s: float
    start_s: float
    duration_s: float
    message: "Message | None" = None

    @property
    def end_s(self) -> float:
        """When it is done. [s]"""
        return self.start_s + self.duration_s


class Message(NamedTuple):
    """The input of a pass.

    Attributes
    ----------
    sender
        The stage that it comes from.
    sent_s
        When sending began. [s]
    there_s
        When it is there, but for what the receiver waits. [s]
    """

    sender: int
    sent_s: float
    there_s: float


_Key = tuple[bool, Place, int]  # whether forward, of which place, which microbatch


class PipelineSimulation:
    """One step of a pipeline: every stage does its passes in their order, each as soon as it can.

    A pass starts once its stage is free and its input is there: forward, what the chunk before it put out; backward,
    the gradient of the chunk after it. Weight gradients need nothing but their order.

    Parameters
    ----------
    orders
        Of each stage (`walltime.physics.pipeline_orders.pipeline_orders`).
    routes
        The places that microbatches go through (`walltime.physics.pipeline_orders.routes`).
    times
        Of each place.
    send
        Of a message between two stages.
    microbatch_s
        What a stage spends once on each microbatch, before its first forward pass and without its input. [s]
    ready_s
        When each stage may start; at 0 by default. [s]
    """

    def __init__(
        self,
        orders: Sequence[Order],
        routes: Sequence[Sequence[Place]],
        times: Mapping[Place, PassTimes],
        send: SendTimes,
        *,
        microbatch_s: float = 0.0,
        ready_s: Sequence[float] = (),
    ) -> None:
        self.orders, self.times, self.send, self.microbatch_s = orders, times, send, microbatch_s
        self.free_s = list(ready_s) or [0.0] * len(orders)
        self.position = [0] * len(orders)
        pairs = [pair for route in routes for pair in pairwise(route)]
        self.after = dict(pairs)
        self.before = {following: place for place, following in pairs}
        self.messages: dict[_Key, Message] = {}
        self.awaited: dict[_Key, int] = {}
        self.way_free_s: defaultdict[tuple[int, int], float] = defaultdict(float)
        self.met: set[tuple[int, int]] = set()
        self.events: list[Event] = []

    def run(self) -> list[Event]:
        """Return all passes in the order in which they were found; those of a stage follow each other in time."""
        runnable = list(range(len(self.orders)))
        while runnable:
            runnable += self._advance(runnable.pop())
        assert all(self.position[stage] == len(order) for stage, order in enumerate(self.orders)), "a deadlock"
        return self.events

    def _advance(self, stage: int) -> list[int]:
        """Do the passes of a stage up to one whose input is not known yet; return the stages that can go on."""
        order, woken = self.orders[stage], []
        while self.position[stage] < len(order):
            first = self.position[stage]
            together = order[first : first + 1 + order[first].is_paired]
            needed = [self._input(stage, work) for work in together]
            missing = [key for key in needed if key and key not in self.messages]
            if missing:
                self.awaited[missing[0]] = stage
                break
            messages = [self.messages.pop(key) if key else None for key in needed]
            woken += self._do(stage, together, messages)
        return woken

    def _input(self, stage: int, work: Pass) -> _Key | None:
        """Return which message a pass needs, if it needs one."""
        forward, place = work.kind == "forward", Place(stage, work.chunk)
        if work.kind == "weight_gradient" or place not in (self.before if forward else self.after):
            return None
        return forward, place, work.microbatch

    def _do(self, stage: int, together: Sequence[Pass], messages: Sequence[Message | None]) -> list[int]:
        """Place a pass in time, or a pair, and send on what it puts out; return the stages that waited for that."""
        time_s = max([self._prepared_s(stage, together[0]), *(message.there_s for message in messages if message)])
        for work, message in zip(together, messages, strict=True):
            start_s = time_s + (self.send.waited if message and message.sender != stage else 0.0)
            event = Event(stage, work, time_s, start_s, self._duration_s(stage, work), message)
            self.events.append(event)
            time_s = event.end_s
            self.position[stage] += 1
        self.free_s[stage] = time_s
        return [other for work in together for other in self._sent(work, Place(stage, work.chunk), time_s)]

    def _prepared_s(self, stage: int, work: Pass) -> float:
        """Return when the stage is free for a pass; a microbatch that it has not met costs it a fixed time."""
        if self.microbatch_s and (stage, work.microbatch) not in self.met:
            self.met.add((stage, work.microbatch))
            overhead, free_s = Pass("overhead", work.chunk, work.microbatch), self.free_s[stage]
            self.events.append(Event(stage, overhead, free_s, free_s, self.microbatch_s))
            return free_s + self.microbatch_s
        return self.free_s[stage]

    def _duration_s(self, stage: int, work: Pass) -> float:
        times = self.times[Place(stage, work.chunk)]
        if work.kind == "forward":
            return times.forward
        if work.kind == "weight_gradient":
            return times.weight_gradient
        return times.backward - (times.weight_gradient if work.kind == "input_gradient" else 0.0)

    def _sent(self, work: Pass, place: Place, done_s: float) -> list[int]:
        """Send a pass's output on; return the stage that waits for it, if one does."""
        forward = work.kind == "forward"
        target = None if work.kind == "weight_gradient" else (self.after if forward else self.before).get(place)
        if target is None:
            return []
        way, sent_s, hidden_s = (place.stage, target.stage), done_s, 0.0
        if target.stage != place.stage:
            sent_s, hidden_s = max(done_s, self.way_free_s[way]), self.send.hidden
            self.way_free_s[way] = sent_s + self.send.total
        key = (forward, target, work.microbatch)
        self.messages[key] = Message(place.stage, sent_s, sent_s + hidden_s)
        waiting = self.awaited.pop(key, None)
        return [] if waiting is None else [waiting]
