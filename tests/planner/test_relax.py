"""Where there is no plan: what excluded how many, and a relaxation that really gives an answer."""

import re
from dataclasses import replace

import pytest

from walltime.planner import recommend
from walltime.planner.relax import excluded, no_plan_text, relaxation
from walltime.search.constraints import Constraints
from walltime.units import parse_quantity
from walltime.workload import Training

from .small import MODEL, cluster, question


def reasons(asked):
    """What excluded how many; all plans are accounted for."""
    answer = recommend(asked)
    assert not answer
    found = dict(excluded(answer))
    assert sum(found.values()) == answer.counts.considered
    assert min(found.values()) > 0
    assert list(found.values()) == sorted(found.values(), reverse=True)
    text = no_plan_text(answer)
    assert "\n" not in text
    assert f"of {answer.counts.considered:,} plans" in text
    for name, count in found.items():
        assert f"{name} {count:,}" in text
    return found


def relaxed(asked):
    return relaxation(recommend(asked)).change


def test_one_constraint_is_dropped():
    asked = question(fix={"tp": (3,), "pp": (2,)})
    assert set(reasons(asked)) <= {"tp=3", "pp=2"}
    assert relaxed(asked) == "without tp=3"
    assert recommend(question(fix={"pp": (2,)}))


def test_two_constraints_are_dropped():
    asked = question(fix={"tp": (3,), "pp": (2,), "cp": (3,)})
    assert relaxed(asked) == "without tp=3 and cp=3"
    assert recommend(question(fix={"pp": (2,)}))


def test_all_constraints_are_dropped():
    asked = question(fix={"tp": (3,), "dp": (3,), "cp": (3,)})
    assert relaxed(asked) == "without tp=3 and dp=3 and cp=3"


def test_constraints_that_contradict_each_other():
    asked = question(constraints=Constraints({"tp": (4,)}, least={"pp": 2}, most={"pp": 1}))
    assert set(reasons(asked)) == {"tp=4", "min_pp=2"}, "on four accelerators, no plan with tp=4 has stages"
    assert relaxed(asked) == "without min_pp=2"
    both = reasons(question(constraints=Constraints(least={"pp": 2}, most={"pp": 1})))
    assert set(both) == {"min_pp=2", "max_pp=1"}
    assert recommend(question(constraints=Constraints({"tp": (4,)}, most={"pp": 1})))


def test_memory_that_must_stay_free():
    asked = question(constraints=Constraints(min_free_bytes=8e10))
    assert set(reasons(asked)) == {"memory"}
    most = re.fullmatch(r"--min-free-memory (\d+)MB", relaxed(asked))[1]
    assert recommend(replace(asked, constraints=Constraints(min_free_bytes=float(most) * 1e6)))
    assert not recommend(replace(asked, constraints=Constraints(min_free_bytes=(float(most) + 1) * 1e6)))


@pytest.mark.parametrize("slack", [0.999, 0.5, 1e-6])
def test_the_deadline_moves(slack):
    asked = question(tokens=1e9)
    best = recommend(asked).best
    late = replace(asked, deadline_s=best.run_time_s * slack)
    assert any(name.startswith("deadline=") for name in reasons(late))
    text = no_plan_text(recommend(late))
    assert text.startswith("no plan meets the deadline")
    moved = re.fullmatch(r"--deadline (\S+)", relaxed(late))[1]
    later_s = parse_quantity(moved, "seconds", "deadline")
    assert best.run_time_s <= later_s <= best.run_time_s * 1.01
    assert recommend(replace(asked, deadline_s=later_s))


def test_the_nearest_batch_that_divides():
    """Sequences of one token leave tp and pp, at most 16 x 4 = 64 of 128 accelerators: dp=2 must divide the batch."""
    asked = replace(question(cluster(128)), training=Training(MODEL, 1, 7))
    assert "batch" in reasons(asked)
    assert relaxed(asked) == "--batch 6"
    assert recommend(replace(asked, training=Training(MODEL, 1, 6)))


def test_the_nearest_number_of_accelerators():
    """A prime number of accelerators divides nothing of the model, and not the batch."""
    asked = question(cluster(4099))
    assert set(reasons(asked)) == {"num_heads", "seq_len", "num_layers", "batch"}
    change = relaxed(asked)
    count = int(re.fullmatch(r"--on (\d+)xh100-sxm", change)[1])
    assert recommend(question(cluster(count)))
    for nearer in range(4099 - abs(4099 - count) + 1, 4099 + abs(4099 - count)):
        assert not recommend(question(cluster(nearer)))


def test_a_larger_cluster_for_a_model_that_does_not_fit():
    asked = question(cluster(1, "accelerator.memory=0.05x"))
    assert set(reasons(asked)) == {"memory"}
    count = int(re.fullmatch(r"--on (\d+)xh100-sxm", relaxed(asked))[1])
    assert count in (2, 4, 8, 16)
    assert recommend(question(cluster(count, "accelerator.memory=0.05x")))
    assert not recommend(question(cluster(count // 2, "accelerator.memory=0.05x")))


def test_a_larger_cluster_must_meet_the_deadline_too():
    """The model fits on a few accelerators, but its run ends in time on more only."""
    small = cluster(1, "accelerator.memory=0.05x")
    asked = question(small, tokens=1e9)
    fits = int(re.fullmatch(r"--on (\d+)xh100-sxm", relaxed(asked))[1])
    needed_s = recommend(replace(asked, clusters=(small.with_num_gpus(fits),))).best.run_time_s
    hurried = replace(asked, deadline_s=needed_s / 2)
    count = int(re.fullmatch(r"--on (\d+)xh100-sxm", relaxed(hurried))[1])
    assert count > fits
    assert recommend(replace(hurried, clusters=(small.with_num_gpus(count),)))


def test_more_memory_where_no_cluster_is_large_enough():
    """One sequence of one token, on at most 64 accelerators: a larger cluster does not divide it."""
    small = cluster(64, "accelerator.memory=0.01x")
    asked = replace(question(small), training=Training(MODEL, 1, 1))
    change = relaxed(asked)
    lacking = parse_quantity(change.removesuffix(" more memory on each accelerator"), "bytes", "memory")
    there = small.accelerator.hbm_bytes
    for share, enough in ((0.9, False), (1.1, True)):
        larger = cluster(64, f"accelerator.memory={(there + share * lacking) / 8e10}x")
        assert bool(recommend(replace(asked, clusters=(larger,)))) == enough


def test_nothing_helps():
    """No number of accelerators near these divides one sequence of one token; the text says so."""
    answer = recommend(replace(question(cluster(5000)), training=Training(MODEL, 1, 1)))
    assert not answer
    assert relaxation(answer) is None
    assert no_plan_text(answer).endswith("No single change was found that gives one.")


def test_what_a_relaxation_shows_is_a_plan_of_it():
    found = relaxation(recommend(question(fix={"tp": (3,)})))
    best = recommend(question()).recommended
    assert str(best.plan) in found.example
