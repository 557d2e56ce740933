"""The best plan for a model on a cluster: best-first over a stated space, in blocks, with proven pruning."""

import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from walltime.arrays import Floats, Indices, Mask, Numeric
from walltime.engines import Assumptions, StepTerms, step_terms
from walltime.hardware import Cluster
from walltime.physics.memory import optimizer_bytes, weight_bytes
from walltime.plan import SCHEDULES, MlpPlan, MlpPlanBatch, Schedule, level_sizes, placements
from walltime.search.mlp_bounds import Bounds
from walltime.search.mlp_space import FULL, Choices, Shares, Space, grid, split
from walltime.workload import MlpStack

_SLACK = 1 + 1e-9  # bounds and times round differently; nothing within this of the best is dropped
_FIRST_BLOCK = 16  # how many are evaluated first, whose best is a good bar for the rest
_SHARES_AT_ONCE = 256  # shares that are placed together
_PLACED_AT_ONCE = 64  # placed shares whose microbatches and interleavings are tried together


@dataclass(frozen=True)
class Found:
    """The best plan of a space.

    Attributes
    ----------
    plan
        Placed on the network's levels.
    step_time_s, run_time_s
        Of one step, and of the whole run. [s]
    communication_s
        Tensor, data and pipeline traffic of a step, hidden or not: decides among plans that take equally long. [s]
    counts
        By stage of the search: points of the ``grid`` of degrees, ``shares`` (with tensor splits) of the points
        left, ``plans`` (placed, with microbatches and interleaving) of the shares left, and plans ``evaluated``.
    """

    plan: MlpPlan
    step_time_s: float
    run_time_s: float
    communication_s: float
    counts: dict[str, int]


class Search:
    """The best plan for one model on one kind of cluster.

    Parameters
    ----------
    model, cluster
        What is trained, and on what.
    space
        Which plans are tried; the full space by default.
    assumptions
        ``as_published`` by default.
    """

    def __init__(
        self, model: MlpStack, cluster: Cluster, space: Space = FULL, assumptions: Assumptions | None = None
    ) -> None:
        self.model = model
        self.cluster = cluster
        self.space = space
        self.assumptions = assumptions or Assumptions()
        self.counts: Counter[str] = Counter()
        self.choices = Choices(space, model)

    def best(self, num_gpus: int, below_s: float = math.inf) -> Found | None:
        """Return the fastest plan on ``num_gpus`` accelerators, if it is faster than ``below_s`` a step.

        Of plans that take exactly equally long, the one with least communication wins; None if there is none.
        The answer is that of brute force: a part of the space is dropped only if a lower bound on all its plans
        (`walltime.search.mlp_bounds`) exceeds ``below_s`` or the best so far.
        """
        sizes = level_sizes(num_gpus, self.cluster.network.level_sizes)
        bar = _Bar(below_s)
        bounds = Bounds(self.model, self.cluster, self.assumptions, num_gpus)
        points = grid(self.space, self.model, num_gpus)
        self.counts["grid"] += len(points.dp)
        points = points.take(bar.passes(bounds.of_grid(points)))
        shares = split(self.space, self.model, points)
        self.counts["shares"] += len(shares)
        fits = self.needed_bytes(shares.dp) <= num_gpus * self.cluster.accelerator.hbm_bytes
        shares = shares.take(bar.passes(bounds.of_shares(shares)) & fits)
        if len(shares):
            pools = [_Pool(self, bounds, sizes, schedule, shares) for schedule in SCHEDULES]
            for pool in pools:
                pool.search(bar, slice(0, _FIRST_BLOCK))
            for pool in pools:
                pool.search(bar, slice(_FIRST_BLOCK, None))
        if bar.plan is None:
            return None
        run_time_s = self.model.num_steps * bar.time_s
        return Found(bar.plan, bar.time_s, run_time_s, bar.communication_s, dict(self.counts))

    def needed_bytes(self, dp: Numeric) -> Numeric:
        """Memory that weights, gradients and optimizer state take on all accelerators together [B]."""
        word_bytes, parameters = self.cluster.accelerator.word_bytes, float(self.model.num_parameters)
        return weight_bytes(parameters, word_bytes, dp) + optimizer_bytes(parameters, word_bytes)


class _Bar:
    """The time to beat: what is allowed, then the best plan so far."""

    def __init__(self, below_s: float) -> None:
        self.below_s = below_s
        self.time_s = math.inf
        self.communication_s = math.inf
        self.plan: MlpPlan | None = None

    def passes(self, bound_s: Floats) -> Mask:
        """Whether a plan with this lower bound could be the answer."""
        return np.asarray(bound_s <= _SLACK * min(self.below_s, self.time_s))

    def offer(self, plans: MlpPlanBatch, terms: StepTerms, time_s: Floats) -> None:
        """Keep the best of these plans if it is better: less time, or as much and less communication."""
        if not len(time_s):
            return
        fastest = time_s.min()
        if not fastest < self.below_s or fastest > self.time_s:
            return
        tied = np.nonzero(time_s == fastest)[0]
        communication_s = terms.tp_s[tied] + terms.dp_s[tied] + terms.pp_s[tied]
        least = communication_s.argmin()
        if fastest < self.time_s or communication_s[least] < self.communication_s:
            self.time_s = float(fastest)
            self.communication_s = float(communication_s[least])
            self.plan = plans.plan(int(tied[least]))


class _Pool:
    """All shares under one schedule, in the order of their bounds."""

    def __init__(
        self, search: Search, bounds: Bounds, sizes: tuple[int, ...], schedule: Schedule, shares: Shares
    ) -> None:
        self.of = search
        self.bounds = bounds
        self.sizes = sizes
        self.schedule: Schedule = schedule
        fewest = search.choices.fewest(shares.dp, shares.pp, schedule)
        fills = np.isfinite(fewest)
        shares, fewest = shares.take(fills), fewest[fills]
        terms = bounds.of_fewest(shares, fewest, schedule)
        bound_s = terms.step_s(schedule, search.assumptions)
        order = np.argsort(bound_s, kind="stable")
        self.shares = shares.take(order)
        self.fewest = fewest[order]
        self.terms = terms.take(order)
        self.bound_s = bound_s[order]

    def search(self, bar: _Bar, part: slice) -> None:
        """Evaluate what can still be the answer among a part of the shares."""
        where = np.arange(len(self.shares))[part]
        for start in range(0, len(where), _SHARES_AT_ONCE):
            block = where[start : start + _SHARES_AT_ONCE]
            block = block[bar.passes(self.bound_s[block])]
            if len(block):
                self._search_block(bar, block)

    def _search_block(self, bar: _Bar, block: Indices) -> None:
        """Place a block of shares, then try every microbatch count and interleaving of what is left."""
        plans = self.shares.take(block).plans(self.fewest[block], np.ones(len(block)), self.schedule)
        index = np.arange(len(block))
        if len(self.sizes) > 1:
            plans, index = placements(plans, self.sizes)
        terms, bound_s = self.bounds.of_placed(self.terms.take(block[index]), plans, self.schedule)
        order = np.argsort(bound_s, kind="stable")
        for start in range(0, len(order), _PLACED_AT_ONCE):
            part = order[start : start + _PLACED_AT_ONCE]
            part = part[bar.passes(bound_s[part])]
            if not len(part):
                break
            self._choose(bar, plans.take(part), terms.take(part))

    def _choose(self, bar: _Bar, placed: MlpPlanBatch, terms: StepTerms) -> None:
        """Try every microbatch count and interleaving of some placed shares."""
        search = self.of
        index, (microbatches, interleave) = search.choices.all(placed.total("dp"), placed.total("pp"), self.schedule)
        search.counts["plans"] += len(index)
        plans = replace(placed.take(index), num_microbatches=microbatches, interleave=interleave)
        bound_s = self.bounds.of_choices(terms.take(index), plans, microbatches - placed.num_microbatches[index])
        order = np.argsort(bound_s, kind="stable")
        for start, size in ((0, _FIRST_BLOCK), (_FIRST_BLOCK, len(order))):
            part = order[start : start + size]
            part = part[bar.passes(bound_s[part])]
            if len(part):
                self._evaluate(bar, plans.take(part))

    def _evaluate(self, bar: _Bar, plans: MlpPlanBatch) -> None:
        self.of.counts["evaluated"] += len(plans)
        terms = step_terms(self.of.model, self.bounds.device, self.of.cluster.network, plans)
        bar.offer(plans, terms, terms.step_s(self.schedule, self.of.assumptions))
