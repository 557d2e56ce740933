"""Failures: the renewal formulas against a simulation that walks through every failure, their limits, their order."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.physics.failures import (
    failures_per_s,
    optimal_interval_s,
    shares,
    slow_share,
    spares_for,
    synchronous_speed,
    useful_share,
    waiting_share,
)

times = st.floats(1e-2, 1e5)
rates = st.floats(1e-9, 1e-2)


def walk(rng, failures, interval_s, rate_per_s, checkpoint_s, restart_s, write_s):
    """One training until so many failures: seconds kept, stood for checkpoints that were used, in restarts, in all."""
    kept = stood = restarting = total = 0.0
    for _ in range(failures):
        ends = rng.exponential(1 / rate_per_s)  # after the start of the last restart, or of training
        total += ends
        if ends <= restart_s:
            restarting += ends
            continue
        restarting += restart_s
        clock, complete = restart_s, 0
        while True:
            clock += interval_s + checkpoint_s
            if clock + write_s > ends:
                break
            complete += 1
        kept += complete * interval_s
        stood += complete * checkpoint_s
    return np.array([kept, stood, total - kept - stood - restarting, restarting]) / total


CASES = [
    (100.0, 1 / 1000, 5.0, 60.0, 0.0),
    (100.0, 1 / 1000, 5.0, 60.0, 50.0),
    (100.0, 1 / 1000, 5.0, 60.0, 350.0),  # three checkpoints on their way at once
    (500.0, 1 / 200, 100.0, 300.0, 0.0),  # hardly anything is left
    (30.0, 1 / 10_000, 2.0, 600.0, 3.0),
]


@pytest.mark.parametrize("case", CASES)
def test_shares_are_those_of_a_simulation(case):
    rng = np.random.default_rng(1)
    runs = np.array([walk(rng, 1500, *case) for _ in range(24)])
    error = runs.std(axis=0, ddof=1) / math.sqrt(len(runs))
    expected = np.array(list(shares(*case).values()))
    assert np.all(np.abs(runs.mean(axis=0) - expected) <= 4 * error + 1e-12)
    assert np.all(error < 0.02 * expected + 2e-3)  # the check is sharp


@given(times, rates, times, times, times)
def test_shares_add_up_to_one(interval_s, rate, checkpoint_s, restart_s, write_s):
    parts = shares(interval_s, rate, checkpoint_s, restart_s, write_s)
    assert sum(parts.values()) == pytest.approx(1, abs=1e-12)
    assert all(-1e-12 <= part <= 1 for part in parts.values())


@given(times, rates, times, times, times, st.integers(0, 4), st.floats(1, 100))
def test_more_of_anything_bad_never_helps(interval_s, rate, checkpoint_s, restart_s, write_s, which, factor):
    values = [rate, checkpoint_s, restart_s, write_s]
    before = useful_share(interval_s, *values)
    values[which % 4] *= factor
    assert useful_share(interval_s, *values) <= before * (1 + 1e-9)


@given(rates, times, st.floats(0.01, 100))
def test_the_best_interval_is_best(rate, checkpoint_s, factor):
    best = optimal_interval_s(rate, checkpoint_s)
    assert 0 < best <= 1 / rate
    at_best = useful_share(best, rate, checkpoint_s, 60.0)
    assert useful_share(best * factor, rate, checkpoint_s, 60.0) <= at_best * (1 + 1e-9)


@given(rates, times)
def test_the_best_interval_solves_its_equation(rate, checkpoint_s):
    x = rate * optimal_interval_s(rate, checkpoint_s)
    assert x == pytest.approx(1 - math.exp(-x - rate * checkpoint_s), abs=1e-12)


@pytest.mark.parametrize("cost", [1e-4, 1e-6, 1e-8, 1e-12, 1e-30])
def test_for_rare_failures_the_best_interval_is_youngs(cost):
    best = float(optimal_interval_s(cost, 1.0))
    young = math.sqrt(2 / cost)
    assert best == pytest.approx(young, rel=math.sqrt(cost))
    assert best <= young * (1 + 1e-12)


def test_arrays_are_as_scalars():
    rate, checkpoint = np.geomspace(1e-8, 1e-2, 7), np.geomspace(1.0, 1e4, 7)
    both = optimal_interval_s(rate, checkpoint)
    assert list(both) == pytest.approx(
        [float(optimal_interval_s(*pair)) for pair in zip(rate, checkpoint, strict=True)]
    )


def test_nothing_overflows():
    assert useful_share(1.0, 1e15, 1.0, 1.0) == 0
    assert optimal_interval_s(1e15, 1e15) == pytest.approx(1e-15)
    assert waiting_share(1e15, 1e15, 3) == pytest.approx(1)


def test_the_rate_is_of_gpus_and_of_whole_nodes():
    assert failures_per_s(16, 8, 100.0, 50.0) == pytest.approx(16 / 100 + 2 / 50)
    assert failures_per_s(17, 8, 100.0, 50.0) == pytest.approx(17 / 100 + 3 / 50)
    assert list(failures_per_s(np.array([8, 16]), 8, math.inf, 1.0)) == [1, 2]


def test_first_order_is_the_estimate_of_kokolis():
    """Their 1 - n r (u + interval / 2) over 1 + write / interval, for rare failures."""
    rate, interval_s, checkpoint_s, restart_s = 1e-8, 3600.0, 300.0, 600.0
    theirs = (1 - rate * (restart_s + interval_s / 2)) / (1 + checkpoint_s / interval_s)
    assert useful_share(interval_s, rate, checkpoint_s, restart_s) == pytest.approx(theirs, rel=1e-5)


# ---- spare nodes ----


def repairs(rng, failures, rate_per_s, repair_s, num_spares, spread):
    """Share of the time in which more nodes are away than there are spares; nothing fails meanwhile."""
    clock = waited = 0.0
    back = []
    for _ in range(failures):
        clock += rng.exponential(1 / rate_per_s)
        back = [time for time in back if time > clock]
        back.append(clock + repair_s * rng.lognormal(-(spread**2) / 2, spread))
        if len(back) > num_spares:
            waited += min(back) - clock
            clock = min(back)
            back.remove(clock)
    return waited / clock


@pytest.mark.parametrize("spread", [0.01, 1.0])  # whatever the distribution of repairs
@pytest.mark.parametrize(("away", "num_spares"), [(0.3, 0), (2.0, 1), (5.0, 4)])
def test_waiting_for_spares_is_that_of_a_simulation(away, num_spares, spread):
    rng = np.random.default_rng(2)
    runs = np.array([repairs(rng, 3000, away, 1.0, num_spares, spread) for _ in range(16)])
    error = runs.std(ddof=1) / math.sqrt(len(runs))
    assert abs(runs.mean() - waiting_share(away, 1.0, num_spares)) <= 4 * error
    assert error < 0.01


@given(st.floats(1e-6, 1e3), st.integers(0, 40), st.floats(1, 10))
def test_waiting_is_a_share_that_falls_with_spares(away, num_spares, factor):
    share = waiting_share(away, 1.0, num_spares)
    assert 0 <= share <= 1
    assert waiting_share(away, 1.0, num_spares + 1) <= share
    assert waiting_share(away * factor, 1.0, num_spares) >= share * (1 - 1e-12)


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 0.99))
def test_as_many_spares_as_it_takes_and_no_more(away, most_waiting):
    spares = spares_for(away, 1.0, most_waiting, 100_000)
    assert waiting_share(away, 1.0, spares) <= most_waiting
    assert spares == 0 or waiting_share(away, 1.0, spares - 1) > most_waiting
    assert spares_for(1e9, 1.0, 0.5, 100) is None


# ---- stragglers ----


def test_slow_nodes_are_those_of_a_simulation():
    """Nodes become slow one by one and are replaced; each moment is as slow as the slowest node."""
    rng = np.random.default_rng(3)
    nodes, until_slow_s, eviction_s, slow_by, moments = 20, 1000.0, 30.0, 0.5, 4000
    speeds = []
    for _ in range(16):
        slow = np.zeros((nodes, moments), bool)
        for node in range(nodes):
            clock = -50 * eviction_s
            while clock < moments:
                clock += rng.exponential(until_slow_s)
                until = clock + rng.exponential(eviction_s)
                slow[node, max(0, math.ceil(clock)) : max(0, math.ceil(until))] = True
                clock = until
        speeds.append(np.mean(1 / (1 + slow_by * slow.any(axis=0))))
    error = np.std(speeds, ddof=1) / math.sqrt(len(speeds))
    expected = synchronous_speed(nodes, slow_share(until_slow_s, eviction_s), slow_by)
    assert abs(np.mean(speeds) - expected) <= 4 * error
    assert error < 0.01


@given(st.floats(1, 1e6), st.floats(0, 0.5), st.floats(0, 10), st.floats(1, 2))
def test_more_or_slower_slow_nodes_never_help(nodes, share, slow_by, factor):
    speed = synchronous_speed(nodes, share, slow_by)
    assert 1 / (1 + slow_by) - 1e-12 <= speed <= 1
    assert synchronous_speed(nodes * factor, share, slow_by) <= speed + 1e-12
    assert synchronous_speed(nodes, min(share * factor, 0.9), slow_by) <= speed + 1e-12
    assert synchronous_speed(nodes, share, slow_by * factor) <= speed + 1e-12
