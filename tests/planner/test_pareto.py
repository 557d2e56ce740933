"""The front is that of comparing every plan on every cluster with every other."""

import pytest

from walltime.economics.terms import Terms
from walltime.planner import GOALS, recommend
from walltime.planner.pareto import pareto
from walltime.problems import BadInput

from .small import TRAINING, cluster, everything, interrupted_s, question

CLUSTERS = (cluster(2), cluster(4), cluster(4, "accelerator.memory=0.03x", name="b200"))
PRICES_USD = {"h100-sxm": 2.0, "b200": 3.5}
TERMS = Terms(price_usd_per_gpu_hour=PRICES_USD)
HOUR_S = 3600


@pytest.fixture(scope="module")
def asked():
    return question(*CLUSTERS, terms=TERMS, tokens=100 * TRAINING.batch_tokens)


@pytest.fixture(scope="module")
def known(asked):
    return everything(asked)


def values(one, goals):
    num_gpus = one.plan.num_gpus
    of_goal = {
        "time": one.time_s,
        "memory": one.needed_bytes,
        "gpus": num_gpus,
        "cost": num_gpus * one.time_s * PRICES_USD[one.cluster.accelerator.id] / HOUR_S / TRAINING.batch_tokens,
        "energy": num_gpus * one.energy_j / TRAINING.batch_tokens,
    }
    return tuple(of_goal[goal] for goal in goals)


def front_of(points):
    """Points than which no other is as good in all and better in one, to nine digits."""
    points = {tuple(float(f"{value:.9g}") for value in point) for point in points}
    return {
        own
        for own in points
        if not any(other != own and all(x <= y for x, y in zip(other, own, strict=True)) for other in points)
    }


@pytest.mark.parametrize(
    "goals", [("time", "memory"), ("cost", "energy"), ("gpus", "memory"), ("energy", "time"), GOALS, ("memory",)]
)
def test_front_is_that_of_every_plan(asked, known, goals):
    front = pareto(asked, goals)
    found = {tuple(float(f"{one.value(goal)[0]:.9g}") for goal in goals) for one in front}
    assert found == front_of(values(one, goals) for one in known)
    firsts = [one.value(goals[0])[0] for one in front]
    assert firsts == sorted(firsts)


def test_front_keeps_the_deadline(asked, known):
    """Goals of which time is none: what is as good by them, and in time, is found."""
    fastest = min(interrupted_s(one) for one in known)
    for slack in (1.01, 1.5):
        in_time = question(
            *CLUSTERS,
            terms=TERMS,
            tokens=asked.tokens,
            deadline_s=100 * fastest * slack,
        )
        front = pareto(in_time, ("memory", "gpus"))
        points = [values(one, ("memory", "gpus")) for one in known if interrupted_s(one) <= fastest * slack]
        assert {tuple(float(f"{one.value(g)[0]:.9g}") for g in ("memory", "gpus")) for one in front} == front_of(points)


def test_ends_of_the_front_are_the_best_by_each_goal(asked):
    front = pareto(asked, ("time", "memory"))
    for goal in ("time", "memory"):
        best = recommend(question(*CLUSTERS, goal=goal)).best
        assert min(one.value(goal)[0] for one in front) == pytest.approx(best.value(goal)[0], rel=1e-9)


def test_no_plan_no_front():
    assert pareto(question(fix={"tp": (3,)})) == []


def test_goals_that_there_are_not_are_refused():
    with pytest.raises(BadInput, match="Did you mean 'time'"):
        pareto(question(), ("time", "tim"))


def test_front_by_cost_needs_a_price():
    with pytest.raises(BadInput, match="no price of h20 is known"):
        pareto(question(cluster(name="h20")), ("time", "cost"))
