"""What is recommended is what comparing every plan recommends, by every goal."""

import functools
from dataclasses import replace

import pytest

from walltime.catalog.prices import price_per_gpu_hour_usd
from walltime.economics.terms import Terms
from walltime.plan import PlanBatch
from walltime.planner import GOALS, recommend
from walltime.planner.answer import plan_complexity
from walltime.problems import BadInput
from walltime.search.constraints import Constraints
from walltime.search.keep import complexity

from .small import TRAINING, cluster, everything, interrupted_s, question

CLUSTERS = (cluster(4), cluster(8), cluster(4, "accelerator.memory=0.03x", name="b200"))
PRICES_USD = {"h100-sxm": 2.0, "b200": 3.5}
TERMS = Terms(price_usd_per_gpu_hour=PRICES_USD)
HOUR_S = 3600


@functools.cache
def every_plan(software):
    """Every plan on all of the clusters."""
    return everything(question(*CLUSTERS, software=software))


def value(known, goal):
    """What a goal makes least, by hand."""
    num_gpus = known.plan.num_gpus
    return {
        "time": known.time_s,
        "memory": known.needed_bytes,
        "gpus": num_gpus,
        "cost": num_gpus * known.time_s * PRICES_USD[known.cluster.accelerator.id] / HOUR_S / TRAINING.batch_tokens,
        "energy": num_gpus * known.energy_j / TRAINING.batch_tokens,
    }[goal]


def best_of(known, goal):
    return min(known, key=lambda one: (value(one, goal), one.time_s))


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("software", ["megatron-core", "torchtitan"])
def test_best_by_every_goal_over_several_clusters(goal, software):
    asked = question(*CLUSTERS, software=software, goal=goal, terms=TERMS)
    answer, best = recommend(asked), best_of(every_plan(software), goal)
    assert answer.best.value(goal)[0] == pytest.approx(value(best, goal), rel=1e-9)
    if goal == "gpus":
        assert answer.best.time_s == pytest.approx(best.time_s, rel=1e-9)
    assert list(answer.options) == sorted(answer.options, key=lambda one: (one.value(goal), str(one.plan)))


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("software", ["megatron-core", "torchtitan"])
def test_the_simplest_of_what_is_as_good_is_recommended(goal, software):
    asked = question(software=software, goal=goal, terms=TERMS)
    answer, known = recommend(asked), everything(asked)
    by = "time" if goal == "gpus" else goal
    bar = value(best_of(known, by), by) * (1 + answer.tie)
    tied = [one.plan for one in known if value(one, by) <= bar * (1 + 1e-12)]
    simplest = min(int(complexity(PlanBatch.of([plan]))[0]) for plan in tied)
    assert plan_complexity(answer.recommended) == simplest
    assert answer.recommended in answer.ties
    assert answer.recommended in answer.shown
    assert answer.best in answer.ties


def test_ties_are_within_the_validated_error_on_the_cluster_of_the_best():
    answer = recommend(question(*CLUSTERS))
    assert 0 < answer.tie < 0.1
    for one in answer.options:
        here = one.cluster == answer.best.cluster
        assert (one in answer.ties) == (here and one.time_s <= answer.best.time_s * (1 + answer.tie))


def test_each_option_is_of_another_layout_but_the_simplest():
    answer = recommend(question(top=3))
    layouts = [(p.tp, p.cp, p.pp, p.dp, p.ep, p.etp) for p in (one.plan for one in answer.options)]
    assert len(layouts) - len(set(layouts)) <= 1
    assert len(answer.shown) <= 3


def test_options_fit_and_keep_what_was_asked_free():
    constraints = Constraints({"tp": (1, 2)}, most={"pp": 2}, min_free_bytes=2e9)
    answer = recommend(question(constraints=constraints))
    assert answer
    for one in answer.options:
        assert one.free_bytes >= 2e9
        assert one.plan.tp in (1, 2)
        assert one.plan.pp <= 2


# Runs


def test_tokens_make_a_run_of_steps():
    answer = recommend(question(tokens=1000 * TRAINING.batch_tokens))
    assert answer.best.run_time_s == pytest.approx(1000 * interrupted_s(answer.best))


@pytest.mark.parametrize("goal", GOALS)
def test_the_best_that_meets_a_deadline(goal):
    asked = question(*CLUSTERS, goal=goal, tokens=TRAINING.batch_tokens * 100, terms=TERMS)
    known = every_plan("megatron-core")
    fastest = min(interrupted_s(one) for one in known)
    for slack in (1.0001, 1.3):
        in_time = [one for one in known if interrupted_s(one) <= fastest * slack]
        answer = recommend(replace(asked, deadline_s=100 * fastest * slack))
        assert answer, f"a plan meets the deadline: {in_time[0].plan}"
        assert answer.best.value(goal)[0] == pytest.approx(value(best_of(in_time, goal), goal), rel=1e-9)
        assert all(one.run_time_s <= 100 * fastest * slack for one in answer.options)


def test_no_plan_meets_a_deadline_that_is_too_short():
    asked = question(tokens=TRAINING.batch_tokens * 100)
    fastest = min(one.time_s for one in everything(asked))
    assert not recommend(replace(asked, deadline_s=99 * fastest))


def test_fewest_accelerators_that_meet_a_deadline():
    """Larger clusters are not looked at once a smaller one does."""
    sizes = tuple(cluster(n) for n in (2, 4, 8))
    asked = question(*sizes, tokens=TRAINING.batch_tokens * 100)
    fastest = {n: min(one.time_s for one in everything(question(cluster(n)))) for n in (2, 4, 8)}
    assert fastest[2] > fastest[4] > fastest[8]
    answer = recommend(replace(asked, goal="gpus", deadline_s=100 * fastest[4] * 1.01))
    assert answer.best.plan.num_gpus == 4
    assert [site.cluster.num_gpus for site in answer.sites] == [2, 4]


# Prices


def test_prices_are_those_that_were_asked_else_the_catalogs():
    asked = question(*CLUSTERS, goal="cost", terms=Terms(price_usd_per_gpu_hour={"h100-sxm": 1.25}))
    listed = float(price_per_gpu_hour_usd("b200").value)
    prices = {one.cluster.accelerator.id: one.price_usd_per_gpu_hour for one in recommend(asked).options}
    assert prices == {"h100-sxm": 1.25, "b200": listed}


def test_a_dear_accelerator_is_not_recommended_for_cost():
    dear, cheap = {"h100-sxm": 100.0, "b200": 1.0}, {"h100-sxm": 1.0, "b200": 100.0}
    for prices, chip in ((dear, "b200"), (cheap, "h100-sxm")):
        answer = recommend(question(*CLUSTERS, goal="cost", terms=Terms(price_usd_per_gpu_hour=prices)))
        assert answer.recommended.cluster.accelerator.id == chip


def test_cost_without_a_price_is_refused():
    with pytest.raises(BadInput, match="no price of h20 is known"):
        recommend(question(cluster(name="h20"), goal="cost"))


# Counts


def test_counts_add_up_and_no_plan_is_counted_twice():
    asked = question(*CLUSTERS, fix={"tp": (1, 2)}, most={"micro_batch": 4})
    counts = recommend(asked).counts
    parts = (counts.rejected.total(), counts.not_fitting, counts.evaluated, counts.worse)
    assert min(parts) >= 0
    assert sum(parts) == counts.considered
    assert counts.considered == recommend(question(*CLUSTERS)).counts.considered
    assert counts.evaluated <= len(everything(asked))


def test_a_cluster_that_is_named_twice_is_searched_once():
    once, twice = recommend(question(cluster())), recommend(question(cluster(), cluster()))
    assert twice.counts == once.counts
    assert len(twice.options) == len(once.options)


def test_progress_is_told_of_every_cluster():
    told = []
    recommend(question(*CLUSTERS), lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_rows_and_texts_of_an_answer():
    answer = recommend(question())
    rows = answer.to_rows()
    assert len(rows) == len(answer)
    assert sum(row["recommended"] for row in rows) == 1
    assert rows[0]["step_time_s"] == answer.best.time_s
    assert "plans considered" in repr(answer)
    assert "<table" in answer._repr_html_()
