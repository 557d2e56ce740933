"""One cluster of a question, searched."""

from dataclasses import dataclass

from walltime.economics.account import reliability_of
from walltime.hardware import Cluster
from walltime.plan import Plan
from walltime.planner.option import Option, option, weights
from walltime.planner.question import Question
from walltime.search.keep import Best, Kept
from walltime.search.plan_search import Criterion, PlanSearch


@dataclass(frozen=True)
class Site:
    """What a search on one cluster found.

    Attributes
    ----------
    cluster
        With its number of accelerators.
    search
        With its counts, and what it knows of its rows.
    ranked
        The best plan of each of the best layouts, the best first.
    simplest
        The simplest plan as good as the best.
    """

    cluster: Cluster
    search: PlanSearch
    ranked: tuple[Kept, ...]
    simplest: Kept | None


def criterion(question: Question) -> Criterion:
    """Return what plans on one cluster are compared by: there, rent goes with time."""
    if question.goal == "cost":
        return "cost" if question.terms.owned else "time"
    return "time" if question.goal == "gpus" else question.goal


def new_search(question: Question, cluster: Cluster) -> PlanSearch:
    """Return the search that a question means on one of its clusters."""
    return PlanSearch(
        question.training,
        cluster,
        question.stack,
        constraints=question.constraints,
        precisions=question.precisions_on(cluster),
        weights=weights(question, cluster),
    )


def searched(question: Question, search: PlanSearch, tie: float) -> Site:
    """Return what a search finds, of plans as good as the best within ``tie`` the simplest."""
    most_step_s = question.most_step_s
    if question.deadline_s is not None:
        failing = reliability_of(question.training, search.cluster, question.stack, question.terms)
        most_step_s *= 1.0 if failing is None else float(failing.effective_share(search.num_gpus))
    best = Best(question.top, tie, most=most_step_s)
    own: Criterion = criterion(question)
    also_time = own != "time" and question.deadline_s is not None
    search.search(best, (own, "time") if also_time else (own,))
    return Site(search.cluster, search, tuple(best.ranked()), best.simplest())


def options_of(question: Question, site: Site) -> list[Option]:
    """Return the options of a site, the best first; the simplest of those as good as the best is among them."""
    plans: list[Plan] = [kept.plan for kept in site.ranked]
    if site.simplest and site.simplest.plan not in plans:
        plans.append(site.simplest.plan)
    return [option(question, site.cluster, plan) for plan in plans]
