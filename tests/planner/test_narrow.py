"""Narrowing an answer is asking again with more constraints."""

import functools

import pytest

from walltime.planner import recommend
from walltime.problems import BadInput, NegativeAnswer
from walltime.search.constraints import Constraints

from .small import TRAINING, cluster, question

CONSTRAINTS = [
    Constraints({"tp": (2,)}),
    Constraints({"tp": (1, 4), "pp": (1,)}),
    Constraints({"sharding": ("zero3", "zero1")}),
    Constraints({"recompute": ("full",), "vpp": (1,)}),
    Constraints({"recompute_layers": (0.5,)}),
    Constraints({"micro_batch": (2,)}),
    Constraints({"sequence_parallel": (False,)}, least={"tp": 2}),
    Constraints(most={"micro_batch": 2}, least={"dp": 2}),
    Constraints({"tp": (2, 4)}, most={"tp": 2}),
    Constraints(min_free_bytes=3e9),
    Constraints({"cp_algorithm": ("all-to-all",), "cp": (2,)}, min_free_bytes=1e9),
    Constraints(least={"tp": 4}, most={"tp": 2}),
]


@functools.cache
def answered(goal):
    asked = question(cluster(4), cluster(2), goal=goal)
    return asked, recommend(asked)


def shown(answer):
    return [(one.cluster.id, one.plan, one.time_s) for one in answer.options]


@pytest.mark.parametrize("constraints", CONSTRAINTS, ids=lambda one: " ".join(map(one.said, one.names())))
@pytest.mark.parametrize("goal", ["time", "memory"])
def test_narrowed_is_asked_anew(constraints, goal):
    asked, answer = answered(goal)
    narrowed = answer.narrow(constraints)
    fresh = recommend(asked.with_constraints(constraints))
    assert shown(narrowed) == shown(fresh)
    assert narrowed.counts.considered == fresh.counts.considered
    assert narrowed.counts.rejected == fresh.counts.rejected
    assert narrowed.counts.evaluated == fresh.counts.evaluated
    assert bool(narrowed) == bool(fresh)
    if fresh:
        assert narrowed.recommended.plan == fresh.recommended.plan


def test_narrowing_twice_is_narrowing_by_both():
    answer = recommend(question())
    twice = answer.narrow(tp=(1, 2)).narrow(Constraints(most={"pp": 1}), sharding="zero1")
    both = answer.narrow(Constraints({"tp": (1, 2), "sharding": ("zero1",)}, most={"pp": 1}))
    assert shown(twice) == shown(both)
    assert twice.counts.considered == both.counts.considered
    assert all(one.plan.pp == 1 and one.plan.sharding == "zero1" for one in twice.options)


def test_narrowing_leaves_the_answer_as_it_was():
    answer = recommend(question())
    before, counts = shown(answer), str(answer.counts)
    answer.narrow(tp=4)
    assert (shown(answer), str(answer.counts)) == (before, counts)


def test_narrowing_goes_on_to_larger_clusters():
    """The fewest accelerators were two; with four stages asked for, four are the fewest."""
    asked = question(cluster(2), cluster(4), cluster(8), goal="gpus")
    answer = recommend(asked)
    assert answer.best.plan.num_gpus == 2
    narrowed = answer.narrow(pp=4)
    assert narrowed.best.plan.num_gpus == 4
    assert shown(narrowed) == shown(recommend(asked.with_constraints(Constraints({"pp": (4,)}))))


def test_narrowing_keeps_the_deadline():
    asked = question(tokens=100 * TRAINING.batch_tokens)
    best = recommend(asked).best.time_s
    slow = recommend(question(fix={"recompute": ("full",), "recompute_layers": (1.0,)})).best.time_s
    assert slow > 1.02 * best
    in_time = recommend(question(tokens=100 * TRAINING.batch_tokens, deadline_s=100 * best * 1.01))
    assert in_time
    assert not in_time.narrow(recompute="full", recompute_layers=1.0)


def test_no_plan_is_left():
    nothing = recommend(question()).narrow(tp=3)
    assert not nothing
    assert len(nothing) == 0
    assert "no plan among" in repr(nothing)
    assert nothing.to_rows() == []
    assert nothing._repr_html_()
    for ask in (lambda: nothing.best, lambda: nothing.recommended, lambda: nothing.ties, lambda: nothing.shown):
        with pytest.raises(NegativeAnswer, match="no plan among"):
            ask()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sharding": "zero9"}, "Did you mean 'zero3'"),
        ({"tpp": 8}, "Did you mean 'tp'"),
        ({"tp": 0}, "tp=0 must be a whole number"),
        ({"tp": 2.5}, "tp=2.5 must be a whole number"),
        ({"tp": ()}, "tp= has no value"),
        ({"recompute_layers": float("nan")}, "recompute_layers=nan must be"),
        ({"recompute_layers": 2.0}, "recompute_layers=2"),
        ({"offload_optimizer": "maybe"}, "offload_optimizer"),
        ({"offload_optimizer": (True, False)}, "offload_optimizer"),
        ({"order": "tp"}, "order"),
    ],
)
def test_narrowing_by_what_no_plan_has_is_refused(values, said):
    with pytest.raises(BadInput, match=said):
        recommend(question()).narrow(**values)


def test_contradicting_what_was_asked_is_refused():
    with pytest.raises(BadInput, match="tp=4 contradicts tp=2"):
        recommend(question(fix={"tp": (2,)})).narrow(tp=4)
