"""No plan: which rule or constraint excluded how many, and the smallest relaxation that gives an answer."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from walltime.hardware import Cluster
from walltime.planner.answer import Answer, rejections
from walltime.planner.question import LARGEST_CLUSTER, Question
from walltime.planner.recommend import recommend
from walltime.planner.site import new_search
from walltime.planner.sizes import sizes
from walltime.search.keep import Best, Kept
from walltime.search.plan_search import PlanSearch
from walltime.units import format_count, format_si, format_time

_LARGEST = 2**10  # of how many times the accelerators clusters are tried
_MEGABYTE = 10**6
_MOST_NAMED = 2  # constraints that are dropped together before all of them are
_NEAR = 64  # numbers of accelerators, and of sequences, on either side that are tried
_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


@dataclass(frozen=True)
class Relaxation:
    """A change to the question with which there is an answer.

    Attributes
    ----------
    change
        In words.
    example
        A plan there then is, in words; empty where none was computed.
    """

    change: str
    example: str = ""


def excluded(answer: Answer) -> list[tuple[str, int]]:
    """Return what excluded how many plans, most first: rules, constraints as they were said, memory, the deadline."""
    constraints = answer.question.constraints
    counts = rejections(answer.counts)
    names = set(constraints.names())
    said = [(constraints.said(name) if name in names else name, count) for name, count in counts.most_common()]
    return sorted([*said, *_memory(answer), *_late(answer)], key=lambda one: -one[1])


def _memory(answer: Answer) -> list[tuple[str, int]]:
    return [("memory", answer.counts.not_fitting)] if answer.counts.not_fitting else []


def _late(answer: Answer) -> list[tuple[str, int]]:
    """Return how many plans the deadline excludes, where there is no answer: all that nothing else does."""
    deadline_s, late = answer.question.deadline_s, answer.counts.worse + answer.counts.evaluated
    return [] if answer or deadline_s is None or not late else [(f"deadline={format_time(deadline_s)}", late)]


def relaxation(answer: Answer) -> Relaxation | None:
    """Return the smallest relaxation that gives an answer, None if none was found.

    Less memory stays free; one constraint is dropped before two, and two before all; then the deadline moves; then the
    batch or the number of accelerators changes by as little as divides; then the cluster grows until it does.
    """
    steps = (_less_free, _without_constraints, _later, _divisible, _larger)
    return next((found for step in steps for found in step(answer.question)), None)


def _less_free(question: Question) -> Iterator[Relaxation]:
    """Yield the most memory that some plan leaves free, if that was too little."""
    if not question.constraints.min_free_bytes:
        return
    relaxed = replace(question, constraints=question.constraints.without("min_free_memory"), goal="memory", top=1)
    found = recommend(relaxed)
    if found:
        free = f"{int(found.best.free_bytes / _MEGABYTE)}MB"
        yield Relaxation(f"--min-free-memory {free}", _shown(replace(found, options=found.options[:1])))


def _without_constraints(question: Question) -> Iterator[Relaxation]:
    names = question.constraints.names()
    every = [tuple(names)] if len(names) > _MOST_NAMED else []
    for names_dropped in [*itertools.combinations(names, 1), *itertools.combinations(names, _MOST_NAMED), *every]:
        constraints = question.constraints
        for name in names_dropped:
            constraints = constraints.without(name)
        found = recommend(replace(question, constraints=constraints, top=1))
        if found:
            said = " and ".join(question.constraints.said(name) for name in names_dropped)
            yield Relaxation(f"without {said}", _shown(found))
            return


def _later(question: Question) -> Iterator[Relaxation]:
    if question.deadline_s is None:
        return
    found = recommend(replace(question, deadline_s=None, goal="time", top=1))
    if found and math.isfinite(found.best.run_time_s):
        yield Relaxation(f"--deadline {_rounded_up(found.best.run_time_s)}", f"{found.best.plan}")


def _rounded_up(value_s: float) -> str:
    """Return a time to three digits, as ``--deadline`` takes it, that is no less."""
    unit, size = next(one for one in _UNITS if value_s >= 2 * one[1] or one is _UNITS[-1])
    scale = 10.0 ** (2 - math.floor(math.log10(value_s / size)))
    return f"{math.ceil(value_s / size * scale) / scale:.10g}{unit}"


def _divisible(question: Question) -> Iterator[Relaxation]:
    """Yield the nearest batch, or the nearest number of accelerators, that some plan divides, if none does now."""
    cluster = question.clusters[-1]
    if len(new_search(question, cluster).rows):
        return
    batch, num_gpus = question.training.batch_seqs, cluster.num_gpus or 1
    for away in range(1, _NEAR + 1):
        for seqs in (batch - away, batch + away):
            training = replace(question.training, batch_seqs=max(seqs, 1))
            if seqs > 0 and (found := _answer_on(replace(question, training=training), cluster)):
                yield Relaxation(f"--batch {seqs}", _shown(found))
                return
        for count in (num_gpus - away, num_gpus + away):
            if 0 < count <= LARGEST_CLUSTER and (found := _answer_on(question, cluster.with_num_gpus(count))):
                yield Relaxation(f"--on {count}x{cluster.id}", _shown(found))
                return


def _answer_on(question: Question, cluster: Cluster) -> Answer:
    return recommend(replace(question, clusters=(cluster,), top=1))


def _larger(question: Question) -> Iterator[Relaxation]:
    """Yield the next size of the cluster on which there is an answer, else the memory that it lacks."""
    cluster = question.clusters[-1]
    num_gpus = cluster.num_gpus or 1
    for count in sizes(num_gpus + 1, num_gpus * _LARGEST, cluster):
        if count <= LARGEST_CLUSTER and (found := _answer_on(question, cluster.with_num_gpus(count))):
            yield Relaxation(f"--on {count}x{cluster.id}", _shown(found))
            return
    search = new_search(question, cluster)
    kept = least_memory(search)
    if kept and kept.values[0] > search.capacity_bytes:
        lacking = kept.values[0] - search.capacity_bytes
        yield Relaxation(f"{format_si(lacking, 'B', 3)} more memory on each accelerator", str(kept.plan))


def least_memory(search: PlanSearch) -> Kept | None:
    """Return the plan that needs least memory, whether it fits or not; None if none divides."""
    best = Best(1)
    search.under(capacity_bytes=np.inf).search(best, ("memory",))
    return best.simplest()


def _shown(found: Answer) -> str:
    one = found.recommended
    return f"{one.plan} on {format_count(one.plan.num_gpus)} x {one.cluster.id}, {format_time(one.time_s)} a step"


def no_plan_text(answer: Answer) -> str:
    """Return in one line why there is no plan, and the smallest relaxation."""
    reasons = ", ".join(f"{name} {count:,}" for name, count in excluded(answer))
    what = "no plan meets the deadline" if _late(answer) else "no plan"
    said = f"{what}: of {answer.counts.considered:,} plans, excluded by {reasons}."
    relaxed = relaxation(answer)
    if relaxed is None:
        return f"{said} No single change was found that gives one."
    example = f" (then {relaxed.example})" if relaxed.example else ""
    return f"{said} Smallest relaxation: {relaxed.change}{example}."
