"""The best plans for a real model on a cluster: best-first over a stated space, in blocks, with proven pruning."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from walltime.arrays import Floats, Indices
from walltime.engines.calibration import Calibration, calibration
from walltime.engines.stack import Stack
from walltime.engines.step import PARTS, StepTime, step_time, without_data_parallelism
from walltime.engines.transformer import memory_numbers, usable_bytes
from walltime.engines.transformer_memory import memory_bytes, needed_bytes
from walltime.hardware import Cluster
from walltime.plan import PlanBatch, Precision
from walltime.problems import BadInput
from walltime.search.bounds import LeastTimes, blocks, least_bytes, least_times
from walltime.search.constraints import CHOICES, DEGREES, INNER_DEGREES, UNCONSTRAINED, Constraints, degree_of
from walltime.search.keep import Keeper
from walltime.search.layouts import Rows, allowed_layouts, with_micro_batches
from walltime.search.space import Branch, Space
from walltime.workload import Training

Criterion = Literal["time", "memory", "energy", "cost"]
"""What plans are compared by: the step [s], memory of the fullest accelerator [B], weighted parts of the step."""
_FIRST_ROWS = 48  # rows that are looked at first, whose best is a good bar for the rest
_GROWTH = 8  # rows of a block over those of the block before


@dataclass
class Counts:
    """What became of the plans of a space.

    Attributes
    ----------
    considered
        All of them.
    rejected
        Plans that break a rule or a constraint, by its name.
    not_fitting
        Plans that are known not to fit.
    evaluated
        Plans that fit and whose step was computed; the others are proven to be worse than what was found.
    """

    considered: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    not_fitting: int = 0
    evaluated: int = 0

    @property
    def worse(self) -> int:
        """Plans that are proven to be worse than what was found, whether they fit or not."""
        return self.considered - self.rejected.total() - self.not_fitting - self.evaluated


class PlanSearch:
    """The plans for one training on one cluster with one software stack.

    Parameters
    ----------
    training, cluster, stack
        What is trained, on what, by what software. The cluster has a number of accelerators.
    constraints
        What is asked of a plan.
    precisions
        Number formats that are tried.
    weights
        What a second of each part of a step weighs by the criteria ``energy`` and ``cost``: watts of an accelerator,
        dollars; as much as any other second where it is not said.

    Raises
    ------
    BadInput
        The cluster has no number of accelerators.
    """

    def __init__(
        self,
        training: Training,
        cluster: Cluster,
        stack: Stack,
        *,
        constraints: Constraints = UNCONSTRAINED,
        precisions: Sequence[Precision] = ("bf16",),
        weights: Mapping[Criterion, Mapping[str, float]] | None = None,
    ) -> None:
        if cluster.num_gpus is None:
            raise BadInput("search needs a cluster with a number of accelerators.")
        self.training, self.cluster, self.stack, self.constraints = training, cluster, stack, constraints
        self.num_gpus: int = cluster.num_gpus
        alike = dict.fromkeys(PARTS, 1.0)
        self.weights: dict[Criterion, Mapping[str, float]] = {"energy": alike, "cost": alike, **(weights or {})}
        self.numbers = calibration(cluster, stack.id)
        self.memory = memory_numbers(stack.id)
        self.capacity_bytes = usable_bytes(cluster) - constraints.min_free_bytes
        self.counts = Counts()
        runs = replace(stack.runs, precisions=_common(precisions, stack))
        self.runs = runs.of_model(is_moe=training.model.is_moe)
        self.space = Space(training, self.runs, constraints)
        self.rows = self._rows()
        self.least_bytes = self._least_bytes()
        self.least_times = self._least_times()

    def _least_bytes(self) -> Floats:
        """Bound the memory of every plan of each row that does not fit; below, what one of its plans needs. [B]"""
        return least_bytes(self.space, self.rows, self.stack, self.memory, self.capacity_bytes)

    def _least_times(self) -> LeastTimes:
        """Bound the steps of every plan of each row that may fit, infinity elsewhere. [s]"""
        fits = np.flatnonzero(self.least_bytes <= self.capacity_bytes)
        return least_times(self.space, self.rows, fits, self.stack, self.numbers)

    def under(self, numbers: Calibration | None = None, capacity_bytes: float | None = None) -> "PlanSearch":
        """Return the same search with other fitted numbers, or with other memory on each accelerator [B]."""
        other = copy(self)
        other.counts = Counts(self.counts.considered, self.counts.rejected)
        other.numbers = numbers or self.numbers
        if capacity_bytes is not None:
            other.capacity_bytes = capacity_bytes - self.constraints.min_free_bytes
        other.least_times = other._least_times()
        return other

    def within(self, bound_s: float) -> "PlanSearch":
        """Return the search among the rows whose plans may take at most so long. [s]"""
        other = copy(self)
        other.counts = Counts()
        near = self.least_times.of_row <= bound_s
        other.rows, other.least_bytes = self.rows.take(near), self.least_bytes[near]
        other.least_times = self.least_times.take(near)
        return other

    def narrowed(self, constraints: Constraints) -> "PlanSearch":
        """Return the search with more constraints; what is known of its rows is not computed again."""
        other = copy(self)
        other.constraints = joined = self.constraints.and_(constraints)
        other.counts = Counts(self.counts.considered, self.counts.rejected.copy())
        other.capacity_bytes = self.capacity_bytes + self.constraints.min_free_bytes - joined.min_free_bytes
        other.space = Space(self.training, self.runs, joined)
        left = other._count_excluded(self.rows, self.space.count(self.rows), constraints, self.constraints)
        other.rows, other.least_times = self.rows.take(left), self.least_times.of_all().take(left)
        less = joined.min_free_bytes > self.constraints.min_free_bytes
        other.least_bytes = other._least_bytes() if less else self.least_bytes[left]
        return other

    def _rows(self) -> Rows:
        """Return the rows that no rule and no constraint excludes, and count what each excludes."""
        rejected = self.counts.rejected
        layouts = allowed_layouts(self.training, self.num_gpus, self.runs, rejected)
        rows = with_micro_batches(layouts, self.training)
        counted = Space(self.training, self.runs).count(rows)
        self.counts.considered = int(rejected.total() + counted.sum())
        return rows.take(self._count_excluded(rows, counted, self.constraints, UNCONSTRAINED))

    def _count_excluded(self, rows: Rows, counted: Floats, asked: Constraints, before: Constraints) -> Indices:
        """Count what each constraint excludes of the plans that those before it left; return the rows that are left."""
        left = np.arange(len(rows))
        for name in DEGREES:
            kept = np.ones(len(left), dtype=bool)
            for said, allowed in asked.checks(name, getattr(rows.plans, name)[left]).items():
                self.counts.rejected[said] += int(counted[left[kept & ~allowed]].sum())
                kept &= allowed
            left = left[kept]
        counted = counted[left]
        for name in asked.names():
            if degree_of(name) in (*CHOICES, *INNER_DEGREES):
                before = before.and_(asked.only(name))
                remaining = Space(self.training, self.runs, before).count(rows.take(left))
                self.counts.rejected[name] += int((counted - remaining).sum())
                left, counted = left[remaining > 0], remaining[remaining > 0]
        return left

    def search(self, keeper: Keeper, criteria: Sequence[Criterion] = ("time",)) -> None:
        """Offer a keeper every plan that could matter to it by the criteria, and that fits.

        The first criterion decides what is looked at first. A part of the space is dropped only if lower bounds on
        all its plans (`walltime.search.bounds`) do not pass the keeper, or if none of them fits.
        """
        fits = self.least_bytes <= self.capacity_bytes
        counted = self.space.count(self.rows)
        self.counts.not_fitting, self.counts.evaluated = int(counted[~fits].sum()), 0
        rows, place = self.rows.take(fits), np.flatnonzero(fits)
        least = least_bytes(self.space, rows, self.stack, self.memory) if "memory" in criteria else np.zeros(len(rows))
        bounds = self._bounds(self.least_times.of_row[place], least, criteria)
        order = np.argsort(bounds[0], kind="stable")
        start, size = 0, _FIRST_ROWS
        while start < len(order):
            at = order[start : start + size]
            at = at[keeper.passes(bounds[:, at], rows.layout[at])]
            self._search_rows(rows.take(at), self.least_times.take(place[at]), least[at], keeper, criteria)
            start, size = start + size, size * _GROWTH

    def _bounds(self, time_s: Floats, needed: Floats, criteria: Sequence[Criterion]) -> Floats:
        """Return lower bounds on the criteria from those on time and memory, (criteria, rows)."""
        of_criterion: dict[Criterion, Floats] = {"time": time_s, "memory": needed}
        of_criterion |= {name: time_s * min(weights.values()) for name, weights in self.weights.items()}
        return np.array([of_criterion[criterion] for criterion in criteria])

    def _search_rows(
        self, rows: Rows, times: LeastTimes, least: Floats, keeper: Keeper, criteria: Sequence[Criterion]
    ) -> None:
        """Expand rows to pipelines, and these to plans; the most promising branches first."""
        promising = []
        for branch in self.space.branches():
            bounds = self._bounds(times.of(branch), least, criteria)
            if np.any(may := keeper.passes(bounds, rows.layout) & self.space.belongs(rows, branch)):
                promising.append((float(bounds[0, may].min()), branch))
        for _, branch in sorted(promising, key=lambda one: one[0]):
            bounds = self._bounds(times.of(branch), least, criteria)
            here = np.flatnonzero(keeper.passes(bounds, rows.layout) & self.space.belongs(rows, branch))
            for pipelines in self._pipelines(rows.take(here), bounds[:, here], branch, criteria):
                self._search_pipelines(pipelines, keeper, criteria)

    def _pipelines(
        self, rows: Rows, bounds: Floats, branch: Branch, criteria: Sequence[Criterion]
    ) -> "Iterator[_Pipelines]":
        """Yield the pipelines of a branch with their own bounds, in blocks."""
        index, plans = self.space.pipelines(rows, branch)
        for at in blocks(np.arange(len(index))):
            batch = plans.take(at)
            step = without_data_parallelism(self.training, batch, self.stack, self.numbers)
            yield _Pipelines(batch, rows.layout[index[at]], self._values(step, bounds[:, index[at]], criteria))

    def _search_pipelines(self, pipelines: "_Pipelines", keeper: Keeper, criteria: Sequence[Criterion]) -> None:
        """Give state every sharding; evaluate what may matter and fits."""
        for kind in self.space.shardings():
            passing = np.flatnonzero(keeper.passes(pipelines.bounds, pipelines.layout))
            index, plans = self.space.shards(pipelines.plans.take(passing), kind)
            for at in blocks(np.arange(len(index))):
                origin = passing[index[at]]
                open_ = keeper.passes(pipelines.bounds[:, origin], pipelines.layout[origin])
                self._evaluate(plans.take(at[open_]), pipelines.layout[origin[open_]], keeper, criteria)

    def _evaluate(self, plans: PlanBatch, layout: Indices, keeper: Keeper, criteria: Sequence[Criterion]) -> None:
        if not len(plans):
            return
        needed = needed_bytes(memory_bytes(self.training, plans, self.stack, self.memory))
        fits = needed <= self.capacity_bytes
        self.counts.not_fitting += int(np.count_nonzero(~fits))
        self.counts.evaluated += int(np.count_nonzero(fits))
        plans, needed = plans.take(fits), needed[fits]
        if len(plans):
            step = step_time(self.training, plans, self.stack, self.numbers)
            values = self._values(step, np.array([needed] * len(criteria)), criteria)
            keeper.offer(layout[fits], plans, values, needed)

    def _values(self, step: StepTime, otherwise: Floats, criteria: Sequence[Criterion]) -> Floats:
        """Return the criteria of steps, of memory what is given, (criteria, plans)."""
        values: dict[Criterion, Floats] = {"time": step.time_s}
        for criterion in set(criteria) & set(self.weights):
            weights = self.weights[criterion]
            values[criterion] = np.asarray(sum(weights[name] * part for name, part in step.parts_s.items()))
        return np.array([values.get(name, known) for name, known in zip(criteria, otherwise, strict=True)])


@dataclass(frozen=True)
class _Pipelines:
    """Pipelines of one branch, their layouts, and lower bounds on all their shardings, (criteria, pipelines)."""

    plans: PlanBatch
    layout: Indices
    bounds: Floats


def _common(precisions: Sequence[Precision], stack: Stack) -> tuple[Precision, ...]:
    """Return the precisions that a stack has, in the order in which they were asked for."""
    common = tuple(precision for precision in precisions if precision in stack.runs.precisions)
    if not common:
        valid = ", ".join(stack.runs.precisions)
        raise BadInput(f"precision={','.join(precisions)}: {stack.name} does not train in it. Valid: {valid}.")
    return common
