"""Goals at odds: the Pareto front of step time, accelerators, memory, cost and energy."""

from collections.abc import Callable

from walltime.planner.option import Option, option
from walltime.planner.question import GOALS, Goal, Question
from walltime.planner.recommend import distinct, in_time
from walltime.planner.site import new_search
from walltime.problems import unknown
from walltime.search.keep import Front

_WITHIN_A_CLUSTER = ("time", "memory", "energy", "cost")


def pareto(
    question: Question, goals: tuple[Goal, ...] = ("time", "memory"), progress: Callable[[int, int], None] | None = None
) -> list[Option]:
    """Return the plans of all clusters than which none is as good by every goal and better by one.

    On one cluster the number of accelerators is the same for all and rent goes with time, so the search there keeps
    the front of the others; the front of the fronts is that of all.

    Parameters
    ----------
    question
        What is asked; its goal and its number of plans do not matter.
    goals
        What is compared.
    progress
        Called with clusters searched and clusters in all.

    Returns
    -------
    list of Option
        By the first goal, the best first.

    Raises
    ------
    BadInput
        Cost or energy of an accelerator whose price or power limit nobody says.
    """
    for goal in goals:
        if goal not in GOALS:
            raise unknown("goal in --pareto", goal, GOALS)
    by_time = question.deadline_s is not None or {"cost", "gpus"} & {*goals}
    rented = {"cost"} if not question.terms.owned else set()
    wanted = {*goals} - rented | ({"time"} if by_time else set())
    criteria = [name for name in _WITHIN_A_CLUSTER if name in wanted]
    found: list[Option] = []
    clusters = distinct(question.clusters)
    for number, cluster in enumerate(clusters, 1):
        front = Front()
        new_search(question, cluster).search(front, tuple(criteria))  # type: ignore[arg-type]
        found += in_time(question, (option(question, cluster, kept.plan) for kept in front.found))
        if progress:
            progress(number, len(clusters))
    values = [tuple(one.value(goal)[0] for goal in goals) for one in found]
    best = [
        one
        for one, own in zip(found, values, strict=True)
        if not any(_dominates(other, own) for other in values if other is not own)
    ]
    return sorted(best, key=lambda one: one.value(goals[0]))


def _dominates(other: tuple[float, ...], own: tuple[float, ...]) -> bool:
    return other != own and all(theirs <= ours for theirs, ours in zip(other, own, strict=True))
