"""From a question to an answer: every cluster searched, the best plan of all recommended."""

import math
from collections.abc import Callable, Iterable

from walltime.catalog.accuracy import median_error
from walltime.hardware import Cluster
from walltime.planner.answer import Answer
from walltime.planner.option import Option
from walltime.planner.question import Question
from walltime.planner.site import Site, new_search, options_of, searched
from walltime.search.plan_search import PlanSearch

Progress = Callable[[int, int], None]


def recommend(
    question: Question, progress: Progress | None = None, known: Callable[[Cluster], PlanSearch | None] | None = None
) -> Answer:
    """Search every cluster of a question and recommend a plan.

    Plans that are as good as the best within the validated error of step times are ties, and of these the simplest is
    recommended: with the fewest kinds of parallelism, then the fewest unusual choices.

    With a deadline, a run that takes longer is no answer. If the goal is ``gpus``, clusters are searched from the
    smallest, and the first that meets it decides.

    Parameters
    ----------
    question
        What is asked.
    progress
        Called with clusters searched and clusters in all.
    known
        Returns what a search on a cluster knows already, if anything.
    """
    sites: list[Site] = []
    found: list[Option] = []
    clusters = sorted(distinct(question.clusters), key=lambda one: one.num_gpus or 0)
    for number, cluster in enumerate(clusters, 1):
        if question.goal == "gpus" and found and (cluster.num_gpus or 0) > found[0].plan.num_gpus:
            break
        search = (known and known(cluster)) or new_search(question, cluster)
        site = searched(question, search, _error(question, cluster))
        sites.append(site)
        found += in_time(question, options_of(question, site))
        if progress:
            progress(number, len(clusters))
    return answer(question, sites, found)


def distinct(clusters: Iterable[Cluster]) -> list[Cluster]:
    """Return each cluster once, in order."""
    found: list[Cluster] = []
    for cluster in clusters:
        if cluster not in found:
            found.append(cluster)
    return found


def in_time(question: Question, options: Iterable[Option]) -> list[Option]:
    """Return the options whose run ends before the deadline."""
    return [one for one in options if one.run_time_s <= (question.deadline_s or math.inf)]


def answer(question: Question, sites: list[Site], options: list[Option]) -> Answer:
    """Return an answer with its options in order."""
    ranked = sorted(options, key=lambda one: (one.value(question.goal), str(one.plan)))
    tie = _error(question, ranked[0].cluster if ranked else sites[0].cluster)
    return Answer(question, tuple(sites), tuple(ranked), tie)


def _error(question: Question, cluster: Cluster) -> float:
    """Return the median error of predictions on a cluster."""
    return median_error(cluster.accelerator.id, of_memory=question.goal == "memory").share
