"""Why the recommended plan: where others lose, what binds, what more of each resource would give, does it survive."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from walltime import hardware
from walltime.engines.calibration import calibration
from walltime.engines.pessimism import pessimistic
from walltime.engines.transformer import estimate, usable_bytes
from walltime.hardware import Cluster
from walltime.plan import Plan, PlanBatch
from walltime.planner.answer import Answer
from walltime.planner.option import Option, option
from walltime.planner.site import new_search
from walltime.search.keep import Best, Kept
from walltime.search.plan_search import PlanSearch

MORE = 1.1
"""Elasticities are for a tenth more."""
_WORTH = 0.002  # a gain below this share is none
_REST = 0.25  # parts that hold less than this of what a plan loses are not named


def losing_parts(one: Option, best: Option, most: int = 2) -> list[tuple[str, float]]:
    """Return the parts of a step on which an option loses most to the best, and by how much. [s]

    Compared on the same number of accelerators; parts that hold little of the loss are left out.
    """
    lost = {name: part_s - best.parts_s[name] for name, part_s in one.parts_s.items()}
    total = sum(loss_s for loss_s in lost.values() if loss_s > 0)
    ranked = sorted(lost.items(), key=lambda part: -part[1])
    return [(name, loss_s) for name, loss_s in ranked[:most] if loss_s > 0 and loss_s >= _REST * total]


# What binds


@dataclass(frozen=True)
class Binding:
    """A constraint without which a faster plan would be there.

    Attributes
    ----------
    name
        ``memory``, or the constraint as it was said (``tp=8``).
    plan, time_s
        What would be fastest without it, and its step. [s]
    needed_bytes
        Memory that it needs. [B]
    """

    name: str
    plan: Plan
    time_s: float
    needed_bytes: float


def binding(answer: Answer) -> Binding | None:
    """Return the constraint, or the memory, without which the step would be shortest; None if none binds."""
    best, search = answer.best, answer.site_of(answer.best).search
    found = []
    for name, relaxed in _relaxed(answer, search, best.time_s):
        kept = _fastest(relaxed, best.time_s)
        if kept and kept.values[0] < best.time_s * (1 - _WORTH):
            needed = option(answer.question, best.cluster, kept.plan).needed_bytes
            found.append(Binding(name, kept.plan, kept.values[0], needed))
    return min(found, key=lambda one: one.time_s, default=None)


def _relaxed(answer: Answer, search: PlanSearch, bar_s: float) -> Iterator[tuple[str, PlanSearch]]:
    """Yield searches without memory's limit, and without each constraint; only what may be faster than ``bar_s``."""
    yield "memory", search.under(capacity_bytes=np.inf).within(bar_s)
    constraints = answer.question.constraints
    for name in constraints.names():
        question = answer.question.with_constraints(constraints.without(name))
        yield constraints.said(name), new_search(question, search.cluster).within(bar_s)


def _fastest(search: PlanSearch, bar_s: float) -> Kept | None:
    best = Best(1, bar=bar_s)
    search.search(best)
    ranked = best.ranked()
    return ranked[0] if ranked else None


# Elasticities


@dataclass(frozen=True)
class Elasticity:
    """What a tenth more of one resource gives, the plan chosen anew.

    Attributes
    ----------
    resource
        In words.
    gain
        Tokens a second over what they are now, less one.
    plan
        The best plan then.
    is_other
        Whether that is none of the plans that are as good as the best now.
    """

    resource: str
    gain: float
    plan: Plan
    is_other: bool


def elasticities(answer: Answer) -> list[Elasticity]:
    """Return what a tenth more of each bandwidth, FLOP/s, memory and batch, and a tenth less latency, would give.

    A step is made of times that each fall with one resource at most as fast as it grows, so with a tenth more of one,
    no plan becomes faster by more than a tenth: only rows whose bound is within a tenth of the best are searched again.
    The batch is doubled, because a tenth more seldom divides; what doubling gives is taken to the power of
    log2(1.1).
    """
    best, search = answer.best, answer.site_of(answer.best).search
    near = search.within(best.time_s * MORE)
    found = []
    for resource, cluster in _changed_clusters(best.cluster):
        kept = _fastest(near.under(calibration(cluster, search.stack.id)), best.time_s)
        found.append(_elasticity(resource, answer, kept, 1.0))
    more = search.under(capacity_bytes=usable_bytes(best.cluster) * MORE)
    found.append(_elasticity("memory capacity", answer, _fastest(more.within(best.time_s), best.time_s), 1.0))
    return [*found, _of_batch(answer, best)]


def _changed_clusters(cluster: Cluster) -> Iterator[tuple[str, Cluster]]:
    yield "FLOP/s", hardware.override(cluster, [f"accelerator.peak={MORE}x"])
    yield "memory bandwidth", hardware.override(cluster, [f"accelerator.memory_bandwidth={MORE}x"])
    for name in cluster.network.level_names:
        yield f"{name} bandwidth", hardware.override(cluster, [f"network.{name}.bandwidth={MORE}x"])
    for name in cluster.network.level_names:
        yield f"{name} latency (a tenth less)", hardware.override(cluster, [f"network.{name}.latency={1 / MORE}x"])


def _elasticity(resource: str, answer: Answer, kept: Kept | None, work: float) -> Elasticity:
    if kept is None:
        return Elasticity(resource, 0.0, answer.best.plan, False)
    gain = max(work * answer.best.time_s / kept.values[0] - 1, 0.0)
    return Elasticity(resource, gain, kept.plan, kept.plan not in [one.plan for one in answer.ties])


def _of_batch(answer: Answer, best: Option) -> Elasticity:
    training = answer.question.training
    doubled = replace(answer.question, training=replace(training, batch_seqs=2 * training.batch_seqs))
    kept = _fastest(new_search(doubled, best.cluster), np.inf)
    twice = _elasticity("batch (from doubling it)", answer, kept, 2.0)
    return replace(twice, gain=(1 + twice.gain) ** np.log2(MORE) - 1) if kept else twice


# Pessimism


@dataclass(frozen=True)
class Survival:
    """The recommended plan under pessimistic numbers.

    Attributes
    ----------
    time_s
        Its step then. [s]
    best_plan, best_time_s
        The best plan then. [s]
    regret
        What the recommended plan takes longer than that one, as a share.
    survives
        Whether that is within the validated error.
    """

    time_s: float
    best_plan: Plan
    best_time_s: float
    regret: float
    survives: bool


def survival(answer: Answer) -> Survival:
    """Return whether the recommended plan is still as good as the best with every fitted number at its bad end."""
    chosen, search = answer.recommended, answer.site.search
    numbers = pessimistic(chosen.cluster, search.stack.id)
    plans = PlanBatch.of([chosen.plan])
    time_s = float(estimate(search.training, chosen.cluster, plans, search.stack, numbers=numbers).time_s[0])
    kept = _fastest(search.under(numbers), time_s)
    plan, best_s = (kept.plan, kept.values[0]) if kept else (chosen.plan, time_s)
    regret = time_s / best_s - 1
    return Survival(time_s, plan, best_s, regret, regret <= answer.tie)
