"""The events of one simulated step: passes, what is inside and beside them, and what stages wait for."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from walltime.engines.stage_times import StageTimes, one
from walltime.engines.step import StepModel
from walltime.physics.pipeline_orders import Pass, Place, pipeline_orders
from walltime.physics.pipeline_simulation import Event, PipelineSimulation, SendTimes
from walltime.plan import Plan

STREAMS = ("compute", "tp_comm", "cp_comm", "ep_comm", "pp_before", "pp_after", "dp_comm")
"""What a stage does side by side: its passes, communication inside them, what it receives from the stages before and
after it, and data parallelism."""
WITHOUT_BARRIER = ("zb-h2", "zb-v")
"""Schedules under which a stage goes on to the next step without waiting for the others."""


class TimelineEvent(NamedTuple):
    """What one stream of one stage does for a while.

    Attributes
    ----------
    stage, stream
        Where: the pipeline stage, and one of `STREAMS`.
    kind
        On ``compute``: ``forward``, ``backward`` or its halves ``input_gradient`` and ``weight_gradient``; what a stage
        waits for: ``receive`` (a send), ``exchange`` (data parallelism), ``bubble`` (another stage); ``optimizer``,
        ``overhead``. Elsewhere the pass that it belongs to; data parallelism once a step: ``gather``, ``reduce``.
    microbatch, chunk
        Of the pass; -1 where it is none.
    start_s, duration_s
        From the start of the step. [s]
    """

    stage: int
    stream: str
    kind: str
    microbatch: int
    chunk: int
    start_s: float
    duration_s: float

    @property
    def end_s(self) -> float:
        """When it is over. [s]"""
        return self.start_s + self.duration_s


class _Tiled:
    """A stream without gaps: what happens on a stage, one thing after the other."""

    def __init__(self, stage: int, at_s: float) -> None:
        self.stage, self.at_s = stage, at_s
        self.events: list[TimelineEvent] = []

    def add(self, kind: str, duration_s: float, work: Pass | None = None) -> None:
        if duration_s <= 0:
            return
        microbatch, chunk = (work.microbatch, work.chunk) if work else (-1, -1)
        self.events.append(TimelineEvent(self.stage, "compute", kind, microbatch, chunk, self.at_s, duration_s))
        self.at_s += duration_s

    def wait_until(self, time_s: float) -> None:
        if time_s > self.at_s:
            if not math.isclose(time_s, self.at_s):
                self.add("bubble", time_s - self.at_s)
            self.at_s = time_s


class SimulatedStep:
    """One plan's step, simulated.

    Parameters
    ----------
    model
        Of the step, for a batch of this plan alone.
    plan
        The plan.

    Attributes
    ----------
    begin_s
        When each stage begins. [s]
    time_s
        The step: how long every stage takes, what it waits for included. [s]
    """

    def __init__(self, model: StepModel, plan: Plan) -> None:
        self.model, self.plan = model, plan
        self.times = StageTimes(model, plan)
        self.places = self.times.places()
        self.orders = pipeline_orders(plan.schedule, plan.pp, plan.vpp, int(one(model.num_microbatches)))
        self.exchanges = [self.times.exchange(stage) for stage in range(plan.pp)]
        send_s = one(model.exchange.send_s())
        self.send = SendTimes(model.overlap_pp * send_s, (1 - model.overlap_pp) * send_s)
        self.has_barrier = plan.schedule not in WITHOUT_BARRIER
        self.passes = self._simulated()
        self.begin_s = [self._begin_s(stage) for stage in range(plan.pp)]
        self.optimizer_s, self.fixed_s = one(model.data.optimizer_s()), model.numbers.stack.step_s
        taken_s = [self._reduced_s(stage) - self.begin_s[stage] for stage in range(plan.pp)]
        self.busy_s = max(taken_s)
        self.time_s = self.busy_s + self.optimizer_s + self.fixed_s

    def events(self) -> list[TimelineEvent]:
        """Return all events, by stage, in each by stream, in each by time."""
        found: list[TimelineEvent] = []
        for stage in range(self.plan.pp):
            streams = (self._compute(stage), *self._inside(stage), *self._received(stage), self._exchanged(stage))
            for stream in streams:
                found += stream
        return found

    # Simulation

    def _simulated(self) -> list[list[Event]]:
        """Return the passes of each stage in time."""
        ready_s = [exchange.wait_before for exchange in self.exchanges]
        simulation = PipelineSimulation(
            self.orders,
            self.times.routes,
            {place: times.passes for place, times in self.places.items()},
            self.send,
            microbatch_s=self.model.numbers.stack.microbatch_s,
            ready_s=ready_s,
        )
        found: list[list[Event]] = [[] for _ in self.orders]
        for event in simulation.run():
            found[event.stage].append(event)
        return found

    def _begin_s(self, stage: int) -> float:
        """Return when a stage begins: with the others, or just in time for its first pass."""
        if self.has_barrier:
            return 0.0
        exchange = self.exchanges[stage]
        first = next(event for event in self.passes[stage] if event.work.kind == "forward")
        microbatch_s = self.model.numbers.stack.microbatch_s
        return first.from_s - microbatch_s - exchange.wait_before

    def _reduced_s(self, stage: int) -> float:
        """Return when a stage has exchanged its gradients."""
        exchange = self.exchanges[stage]
        return self.passes[stage][-1].end_s + exchange.wait_after

    # Events

    def _compute(self, stage: int) -> list[TimelineEvent]:
        """Return what a stage computes and what it waits for, without a gap from its begin to its end."""
        stream = _Tiled(stage, self.begin_s[stage])
        exchange = self.exchanges[stage]
        stream.add("exchange", exchange.wait_before)
        for event in self.passes[stage]:
            stream.wait_until(event.from_s)
            stream.add("receive", event.start_s - event.from_s, event.work)
            stream.add(event.work.kind, event.duration_s, event.work)
        stream.add("exchange", exchange.wait_after)
        stream.wait_until(self.begin_s[stage] + self.busy_s)
        stream.add("optimizer", self.optimizer_s)
        stream.add("overhead", self.fixed_s)
        return stream.events

    def _exchanged(self, stage: int) -> list[TimelineEvent]:
        """Return the exchanges of data parallelism: in passes, or once before and after them."""
        if self.times.each_pass:
            return list(self._in_passes(stage, "dp_comm"))
        exchange = self.exchanges[stage]
        reduced_s = self._reduced_s(stage) - exchange.reduce
        once = (("gather", self.begin_s[stage], exchange.gather), ("reduce", reduced_s, exchange.reduce))
        return [TimelineEvent(stage, "dp_comm", kind, -1, -1, *when) for kind, *when in once if when[1] > 0]

    def _inside(self, stage: int) -> Iterator[list[TimelineEvent]]:
        """Yield the communication inside passes, a stream a kind."""
        for name in ("tp_comm", "cp_comm", "ep_comm"):
            yield list(self._in_passes(stage, name))

    def _in_passes(self, stage: int, name: str) -> Iterator[TimelineEvent]:
        for event in self.passes[stage]:
            kind, microbatch, chunk = event.work.kind, event.work.microbatch, event.work.chunk
            if kind in ("weight_gradient", "overhead"):
                continue
            busy_s = min(self.places[Place(stage, chunk)].busy_s[name][kind != "forward"], event.duration_s)
            if busy_s > 0:
                yield TimelineEvent(stage, name, kind, microbatch, chunk, event.start_s, busy_s)

    def _received(self, stage: int) -> Iterator[list[TimelineEvent]]:
        """Yield what a stage receives from the one before it, and from the one after it."""
        found: dict[bool, list[TimelineEvent]] = {True: [], False: []}
        for event in self.passes[stage]:
            message, work = event.message, event.work
            if message and message.sender != stage and self.send.total > 0:
                before = message.sender == (stage - 1) % self.plan.pp
                stream = "pp_before" if before else "pp_after"
                when = message.sent_s, self.send.total
                found[before].append(TimelineEvent(stage, stream, work.kind, work.microbatch, work.chunk, *when))
        for events in found.values():
            yield sorted(events, key=lambda event: event.start_s)
