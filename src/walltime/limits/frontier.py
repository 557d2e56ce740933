"""The frontier: the best utilisation against training compute, and where it ends.

Two thresholds that are easily mixed up are kept apart by name: where *linear scaling ends* (utilisation has fallen to
a stated share of its plateau) and the *latency wall* (no cluster of any size finishes in time).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from walltime.arrays import Floats
from walltime.display import html_table
from walltime.engines import Assumptions
from walltime.hardware import Cluster
from walltime.limits.closed_form import NodeBalance, t_crit_flop, t_limit_flop
from walltime.limits.clusters import Run, sufficient_cluster
from walltime.limits.families import RunFamily, width_grid
from walltime.limits.scaling_laws import constants
from walltime.plan import DEGREES
from walltime.search import PUBLISHED, Space
from walltime.units import format_flop


@dataclass(frozen=True)
class FrontierQuestion:
    """How far can a family of runs scale on one kind of cluster?

    Attributes
    ----------
    cluster
        Accelerator and network; its number of accelerators is what is searched.
    family
        Which runs.
    deadline_s
        How long a run may take. [s]
    space, assumptions
        Which plans and cluster sizes are tried, and how the model is read.
    widths
        d_model of the runs, ascending; by default the published grid.
    """

    cluster: Cluster
    family: RunFamily
    deadline_s: float
    space: Space = PUBLISHED
    assumptions: Assumptions = field(default_factory=Assumptions)
    widths: tuple[int, ...] = ()

    def run(self, d_model: int) -> Run | None:
        """Return the run of one width on the cluster it needs, None if no size is enough."""
        model = self.family.model(d_model)
        return sufficient_cluster(model, self.cluster, self.deadline_s, self.space, self.assumptions)


@dataclass(frozen=True)
class LinearScalingEnd:
    """Where utilisation falls to a share of its plateau; training compute [FLOP], None where it does not.

    Attributes
    ----------
    fraction
        The share of the plateau.
    first_crossing_flop
        The first run at or below it (the published definition).
    last_crossing_flop
        The first run after which none is above it again.
    begins_below
        Whether the very first run tried is at or below it, so that the true crossings may lie before.
    envelope_flop
        Where the smoothed envelope crosses it, between the run before the first crossing and the last crossing.
    """

    fraction: float
    first_crossing_flop: float | None
    last_crossing_flop: float | None
    envelope_flop: float | None
    begins_below: bool = False


@dataclass(frozen=True)
class LatencyWall:
    """The largest run that any cluster finishes in time, and the next that none does. [FLOP]

    ``first_infeasible_flop`` is None where the widths end before the wall.
    """

    last_feasible_flop: float | None
    first_infeasible_flop: float | None


@dataclass(frozen=True, repr=False)
class Frontier:
    """Runs of ascending training compute, each on the cluster it needs.

    Attributes
    ----------
    question
        What was asked.
    runs
        Feasible runs, ascending.
    infeasible_d_model
        The first width that no cluster finishes in time, None where the widths end before.
    """

    question: FrontierQuestion
    runs: tuple[Run, ...]
    infeasible_d_model: int | None

    @property
    def plateau(self) -> float:
        """Utilisation that large matmuls sustain: the most a run can reach."""
        return self.question.cluster.accelerator.achievable_fraction

    @property
    def training_flop(self) -> Floats:
        """Training compute of each run [FLOP], (runs,)."""
        return np.array([run.training_flop for run in self.runs])

    @property
    def utilization(self) -> Floats:
        """Utilisation of each run, (runs,)."""
        return np.array([run.utilization for run in self.runs])

    @property
    def latency_wall(self) -> LatencyWall:
        """Where no cluster is enough any more."""
        last = self.runs[-1].training_flop if self.runs else None
        if self.infeasible_d_model is None:
            return LatencyWall(last, None)
        return LatencyWall(last, self.question.family.model(self.infeasible_d_model).training_flop)

    @property
    def vanishes(self) -> bool:
        """Whether the curve ends because utilisation has all but vanished, before any wall."""
        smallest = constants("run")["smallest_utilization"]
        return bool(self.runs) and self.infeasible_d_model is None and self.runs[-1].utilization < smallest

    def closed_forms(self, alpha: float = 0) -> tuple[float, float]:
        """Return T_crit and T_limit of a dense family on this cluster and deadline [FLOP].

        The step of T_limit is one matmul, then a reduce-scatter and an all-gather on every network level.
        """
        cluster, deadline_s = self.question.cluster, self.question.deadline_s
        step_s = cluster.accelerator.matmul_latency_s + 2 * math.fsum(cluster.network.latency_s)
        t_crit = t_crit_flop(NodeBalance.of(cluster), alpha, deadline_s)
        return t_crit, t_limit_flop(alpha, deadline_s, step_s)

    def linear_scaling_end(self, fraction: float | None = None) -> LinearScalingEnd:
        """Return where utilisation falls to ``fraction`` of the plateau; 0.8 by default, as published."""
        if fraction is None:
            fraction = constants("run")["linear_fraction"]
        flop, utilization, threshold = self.training_flop, self.utilization, fraction * self.plateau
        below = utilization <= threshold
        if not below.any():
            return LinearScalingEnd(fraction, None, None, None)
        first = flop[np.argmax(below)]
        above_last = np.nonzero(~below)[0]
        after = above_last[-1] + 1 if len(above_last) else 0
        last = float(flop[after]) if after < len(flop) else None
        return LinearScalingEnd(
            fraction=fraction,
            first_crossing_flop=float(first),
            last_crossing_flop=last,
            envelope_flop=self._crossing(threshold),
            begins_below=bool(below[0]),
        )

    def __repr__(self) -> str:
        end, wall = self.linear_scaling_end(), self.latency_wall
        shown = {
            "linear scaling ends": end.envelope_flop,
            "last feasible": wall.last_feasible_flop,
            "first infeasible": wall.first_infeasible_flop,
        }
        told = ", ".join(
            f"{name} {format_flop(flop) if flop else 'beyond the runs tried'}" for name, flop in shown.items()
        )
        return f"Frontier({self.question.cluster.name}, {len(self.runs)} runs: {told} FLOP)"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.to_rows())

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a tidy table, one row a run, units in the keys."""
        question = self.question
        return [
            {
                "accelerator": question.cluster.id,
                "sparsity_law": question.family.sparsity,
                "batch_law": question.family.batch_law,
                "training_flop": run.training_flop,
                "utilization": run.utilization,
                "num_gpus": run.num_gpus,
                "run_time_s": run.run_time_s,
                "d_model": run.model.d_model,
                "num_layers": run.model.num_layers,
                "num_experts": run.model.num_experts,
                "batch_tokens": run.model.batch_tokens,
                **{name: run.plan.degree(name) for name in DEGREES},
                "num_microbatches": run.plan.num_microbatches,
                "interleave": run.plan.interleave,
                "schedule": run.plan.schedule,
                "plan": str(run.plan),
            }
            for run in self.runs
        ]

    def envelope(self) -> Floats:
        """Smoothed envelope of the utilisation, (runs,): the mean of the best at or after, and the worst until.

        Both bounds fall with compute, so the mean does, and it crosses a threshold once: not before the last run
        above it that precedes the first crossing, and not after the last crossing.
        """
        best_after = np.maximum.accumulate(self.utilization[::-1])[::-1]
        worst_until = np.minimum.accumulate(self.utilization)
        return (best_after + worst_until) / 2

    def _crossing(self, threshold: float) -> float | None:
        """Interpolate the envelope in log compute."""
        envelope, log_flop = self.envelope(), np.log(self.training_flop)
        below = np.nonzero(envelope <= threshold)[0]
        if not len(below):
            return None
        i = below[0]
        if i == 0:
            return float(np.exp(log_flop[0]))
        share = (envelope[i - 1] - threshold) / (envelope[i - 1] - envelope[i])
        return float(np.exp(log_flop[i - 1] + share * (log_flop[i] - log_flop[i - 1])))


def frontier(
    question: FrontierQuestion,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Frontier:
    """Walk the widths upwards until no cluster finishes in time, or utilisation has all but vanished.

    Parameters
    ----------
    question
        What is asked.
    executor
        Spreads the widths over workers, in order, a few at a time; by default one after another.
    progress
        Called with the number of widths done and in all.

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Frontier.
    """
    widths = question.widths or tuple(width_grid())
    runs: list[Run] = []
    smallest = constants("run")["smallest_utilization"]
    for done, (d_model, run) in enumerate(_in_order(question, widths, executor)):
        if progress:
            progress(done + 1, len(widths))
        if run is None:
            return Frontier(question, tuple(runs), d_model)
        runs.append(run)
        if run.utilization < smallest:
            break
    return Frontier(question, tuple(runs), None)


def _in_order(
    question: FrontierQuestion, widths: Sequence[int], executor: Executor | None
) -> Iterator[tuple[int, Run | None]]:
    """Yield each width with its run, so lazily that nothing far beyond the end is computed."""
    if executor is None:
        for width in widths:
            yield width, question.run(width)
        return
    ahead = [(width, executor.submit(question.run, width)) for width in widths[:_AHEAD]]
    rest = iter(widths[_AHEAD:])
    while ahead:
        width, future = ahead.pop(0)
        yield width, future.result()
        upcoming = next(rest, None)
        if upcoming is not None:
            ahead.append((upcoming, executor.submit(question.run, upcoming)))


_AHEAD = 8
