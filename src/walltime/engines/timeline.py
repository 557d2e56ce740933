"""One step of one plan in time: a simulation of its pipeline from the same passes, sends and exchanges as the estimate.

The estimate adds a step up (`walltime.engines.step`). Here every pass of every microbatch is placed in time by what it
waits for, so that it can be seen, and so that the formulas of `walltime.physics.pipeline_schedules` can be checked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from walltime.engines.calibration import Calibration, calibration
from walltime.engines.simulated_step import SimulatedStep, TimelineEvent
from walltime.engines.stack import Stack
from walltime.engines.stage_times import one
from walltime.engines.step import StepModel
from walltime.hardware import Cluster
from walltime.plan import Plan, PlanBatch
from walltime.problems import BadInput
from walltime.units import LARGEST_TIMELINE
from walltime.workload import Training


@dataclass(frozen=True, repr=False)
class Timeline:
    """What each stage of a pipeline does in a step, and when.

    Attributes
    ----------
    training, cluster, plan, stack
        What was asked.
    time_s
        The step as simulated. [s]
    estimate_s
        The step as `walltime.engines.transformer.estimate` adds it up. [s]
    events
        By stage, in each by stream, in each by time. Those of ``compute`` follow each other without a gap.
    begin_s
        When each stage begins the step: not all at once where stages do not wait for each other. [s]
    send_bytes
        Of a message between stages, from one accelerator to another. [B]
    """

    training: Training
    cluster: Cluster
    plan: Plan
    stack: Stack
    time_s: float
    estimate_s: float
    events: Sequence[TimelineEvent]
    begin_s: Sequence[float]
    send_bytes: float

    @property
    def end_s(self) -> float:
        """When the last stage is done. [s]"""
        return max(self.begin_s) + self.time_s

    def shares(self, stage: int) -> dict[str, float]:
        """Return what a stage's ``compute`` stream spends the step on, by kind; they add up to 1."""
        spent: dict[str, float] = {}
        for event in self.events:
            if event.stage == stage and event.stream == "compute":
                spent[event.kind] = spent.get(event.kind, 0.0) + event.duration_s
        return {kind: time_s / self.time_s for kind, time_s in spent.items()}

    def __repr__(self) -> str:
        return (
            f"Timeline({self.training.model.name}, {self.plan}: {self.plan.pp} stages, {len(self.events)} events, "
            f"{self.time_s:.4g} s; estimated {self.estimate_s:.4g} s)"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat dictionary an event, units in the keys."""
        return [event._asdict() for event in self.events]


def timeline(
    training: Training, cluster: Cluster, plan: Plan, stack: Stack, *, numbers: Calibration | None = None
) -> Timeline:
    """Simulate a training step under one plan.

    Parameters
    ----------
    training, cluster, plan, stack, numbers
        As for `walltime.engines.transformer.estimate`.

    Raises
    ------
    BadInput
        More passes than are worth drawing.

    Approximations
    --------------
    Those of the estimate, whose passes, sends and exchanges these are. Communication inside a pass is shown as one
    piece from its start. Every stage exchanges and updates as many parameters as the mean stage.
    """
    _check_size(training, plan)
    numbers = numbers or calibration(cluster, stack.id)
    plans = PlanBatch.of([plan])
    model = StepModel(training, plans, stack.under(plans), numbers)
    simulated = SimulatedStep(model, plan)
    return Timeline(
        training=training,
        cluster=cluster,
        plan=plan,
        stack=stack,
        time_s=simulated.time_s,
        estimate_s=one(model.result().time_s),
        events=simulated.events(),
        begin_s=simulated.begin_s,
        send_bytes=one(model.exchange.send_bytes()),
    )


def _check_size(training: Training, plan: Plan) -> None:
    count = training.batch_seqs // (plan.dp * plan.micro_batch)
    passes = 2 * plan.pp * plan.vpp * count
    if passes > LARGEST_TIMELINE:
        most = LARGEST_TIMELINE // (2 * plan.pp * plan.vpp)
        raise BadInput(
            f"a timeline of {count} microbatches on {plan.pp} stages of {plan.vpp} chunks has {passes:,} passes, more "
            f"than the {LARGEST_TIMELINE:,} that are drawn. Valid: a batch of {most * plan.dp * plan.micro_batch} "
            "sequences, which repeats the same pattern."
        )
