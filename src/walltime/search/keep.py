"""What a search keeps of the plans that it meets: the best of each layout, or a Pareto front."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from walltime.arrays import Floats, Indices, Mask
from walltime.plan import Plan, PlanBatch
from walltime.search.space import single_plan

SLACK = 1 + 1e-9
"""Bounds and times round differently: nothing within this of what is kept is dropped."""
_KINDS = ("tp", "cp", "ep", "pp")
_SIMPLEST = 16  # choices count less than kinds of parallelism: there are fewer than this


class Keeper(Protocol):
    """Decides what a search still has to look at, and remembers what it found. Values are (criteria, plans)."""

    def passes(self, bounds: Floats, layout: Indices) -> Mask:
        """Whether a plan of this layout with these lower bounds could matter, (plans,)."""

    def offer(self, layout: Indices, plans: PlanBatch, values: Floats, needed_bytes: Floats) -> None:
        """Take plans that fit, with their layouts, values and memory. [B]"""


@dataclass(frozen=True)
class Kept:
    """A plan that a search kept.

    Attributes
    ----------
    plan
        As people write it.
    values
        By criterion.
    layout
        Its place among the layouts of the search.
    complexity
        See `complexity`.
    needed_bytes
        Memory on the fullest accelerator: decides among plans that are equal by all else. [B]
    """

    plan: Plan
    values: tuple[float, ...]
    layout: int
    complexity: int
    needed_bytes: float = 0.0


def complexity(plans: PlanBatch) -> Indices:
    """Return how complicated plans are: kinds of parallelism first, then choices that are not the usual ones, (plans,).

    Kinds are tensor, context, expert and pipeline parallelism and shard groups smaller than ``dp``; choices are
    interleaving, recomputation of some layers only, another order on the network, and the like.
    """
    kinds = sum((getattr(plans, kind) > 1).astype(np.intp) for kind in _KINDS) + (plans.shard < plans.dp)
    partly = (plans.recompute_layers > 0) & (plans.recompute_layers < 1) & (plans.recompute == "full")
    choices = (plans.vpp > 1).astype(np.intp) + partly + (plans.etp > 1)
    choices = choices + (plans.tp > 1) * (not plans.sequence_parallel) + (plans.cp > 1) * (plans.cp_algorithm != "ring")
    choices = choices + (plans.order != PlanBatch.__dataclass_fields__["order"].default)
    choices = choices + (not plans.reshard) + (plans.schedule not in ("1f1b",)) * (plans.pp > 1)
    return np.asarray(kinds * _SIMPLEST + choices, dtype=np.intp)


@dataclass
class Best:
    """The best plan of each of the best layouts, by one criterion, and of those as good as the best the simplest.

    Attributes
    ----------
    count
        Layouts that are wanted.
    tie
        Share by which a plan may be worse than the best and still be kept.
    bar
        What is worse than this is not kept.
    most
        What is more than this by the last criterion is not kept.
    """

    count: int
    tie: float = 0.0
    bar: float = np.inf
    most: float = np.inf
    _found: dict[tuple[int, int], Kept] = field(default_factory=dict)
    _tied: float = np.inf
    _best_of: Floats = field(default_factory=lambda: np.zeros(0))

    def passes(self, bounds: Floats, layout: Indices) -> Mask:
        """Whether a plan with this lower bound could be among what is kept, (plans,).

        It must not be worse than the bar, nor than both the best of its layout and a tie with the best of all.
        """
        self._grow(layout)
        bar = np.minimum(self.bar, np.maximum(self._best_of[layout], self._tied))
        return np.asarray((bounds[0] <= bar * SLACK) & (bounds[-1] <= self.most * SLACK))

    def _grow(self, layout: Indices) -> None:
        """Make room for layouts that were not met before."""
        more = int(layout.max(initial=-1)) + 1 - len(self._best_of)
        if more > 0:
            self._best_of = np.concatenate([self._best_of, np.full(more, np.inf)])

    def offer(self, layout: Indices, plans: PlanBatch, values: Floats, needed_bytes: Floats) -> None:
        """Keep the best of each layout and complexity, of equal ones the one that needs least memory."""
        value = values[0]
        index = np.flatnonzero(self.passes(values, layout))
        if not len(index):
            return
        complicated = complexity(plans)[index]
        order = np.lexsort((needed_bytes[index], value[index], complicated, layout[index]))
        index, complicated = index[order], complicated[order]
        groups = layout[index], complicated
        first = np.ones(len(index), dtype=bool)
        first[1:] = (groups[0][1:] != groups[0][:-1]) | (complicated[1:] != complicated[:-1])
        for at, many in zip(index[first], complicated[first], strict=True):
            key = int(layout[at]), int(many)
            new = (float(value[at]), float(needed_bytes[at]))
            if key not in self._found or new < (self._found[key].values[0], self._found[key].needed_bytes):
                self._found[key] = Kept(single_plan(plans, int(at)), new[:1], *key, new[1])
        self._raise()

    def _raise(self) -> None:
        """Set the bar: the value of the last layout that is wanted, or of a tie if that is more."""
        of_layouts = self._of_layouts()
        for kept in of_layouts:
            self._best_of[kept.layout] = kept.values[0]
        values = sorted(kept.values[0] for kept in of_layouts)
        self._tied = values[0] * (1 + self.tie)
        last = values[self.count - 1] if len(values) >= self.count else np.inf
        self.bar = min(self.bar, max(last, self._tied))

    def _of_layouts(self) -> list[Kept]:
        best: dict[int, Kept] = {}
        for (layout, many), kept in self._found.items():
            there = best.get(layout)
            if there is None or (kept.values, many) < (there.values, there.complexity):
                best[layout] = kept
        return list(best.values())

    def ranked(self) -> list[Kept]:
        """Return the best plan of each layout that is kept, the best first."""
        return sorted(
            (kept for kept in self._of_layouts() if kept.values[0] <= self.bar * SLACK),
            key=lambda kept: (kept.values, kept.complexity),
        )

    def simplest(self) -> Kept | None:
        """Return the simplest of the plans that are as good as the best within ``tie``; of these the best."""
        if not self._found:
            return None
        best = min(kept.values[0] for kept in self._found.values())
        tied = [kept for kept in self._found.values() if kept.values[0] <= best * (1 + self.tie)]
        return min(tied, key=lambda kept: (kept.complexity, kept.values))


@dataclass
class Front:
    """The Pareto front: plans than which none is as good by every criterion and better by one."""

    found: list[Kept] = field(default_factory=list)
    _values: Floats | None = None

    def passes(self, bounds: Floats, layout: Indices) -> Mask:  # noqa: ARG002  (all layouts share a front)
        """Whether no plan of the front is as good by every criterion, (plans,)."""
        if self._values is None:
            return np.ones(bounds.shape[1], dtype=bool)
        dominated = np.zeros(bounds.shape[1], dtype=bool)
        for point in self._values.T:
            dominated |= np.all(point[:, None] <= bounds, axis=0)
        return ~dominated

    def offer(self, layout: Indices, plans: PlanBatch, values: Floats, needed_bytes: Floats) -> None:
        """Take the plans that no other dominates."""
        complicated = complexity(plans)
        order = np.lexsort((complicated, *values[::-1]))
        for at in order[self.passes(values[:, order], layout[order])]:
            value = values[:, at]
            if self._values is not None and np.any(np.all(self._values <= value[:, None], axis=0)):
                continue
            place, needed = (int(layout[at]), int(complicated[at])), float(needed_bytes[at])
            kept = Kept(single_plan(plans, int(at)), tuple(map(float, value)), *place, needed)
            self.found = [one for one in self.found if not np.all(value <= np.array(one.values))] + [kept]
            self._values = np.array([one.values for one in self.found]).T
