"""Robust fits of a few numbers: known ones are recovered, outliers hardly count, what rows leave open stays put."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.calibrate.machine.numbers import Prior, fit_numbers, share, spread
from walltime.calibrate.machine.quality import Holdout, fit_rows, quality_of

SIZES = np.geomspace(1e3, 1e9, 40)
PRIORS = {"start_s": Prior(1e-5, 1e-6, 1e-4), "rate": Prior(1e9, 1e8, 1e10), "unused": Prior(3.0, 1.0, 9.0)}


def line_s(values):
    return values["start_s"] + SIZES / values["rate"]


@given(st.floats(2e-6, 5e-5), st.floats(2e8, 5e9), st.integers(0, 100))
def test_known_numbers_are_recovered(start_s, rate, seed):
    noise = np.random.default_rng(seed).normal(0, 0.02, len(SIZES))
    measured = line_s({"start_s": start_s, "rate": rate}) * np.exp(noise)
    found = fit_numbers(PRIORS, lambda values: np.log(line_s(values) / measured))
    assert found.values["start_s"] == pytest.approx(start_s, rel=0.2)
    assert found.values["rate"] == pytest.approx(rate, rel=0.06)
    assert found.values["unused"] == pytest.approx(3.0)
    assert found.estimated == ("unused",)
    for name, value in found.values.items():
        assert found.low[name] <= value <= found.high[name]


def test_rows_that_are_wrong_hardly_count():
    truth = {"start_s": 2e-5, "rate": 3e9}
    measured = line_s(truth)
    measured[::10] *= 5
    found = fit_numbers(PRIORS, lambda values: np.log(line_s(values) / measured))
    assert found.values["rate"] == pytest.approx(truth["rate"], rel=0.05)


def test_without_rows_everything_stays_at_what_was_known():
    found = fit_numbers(PRIORS, lambda values: np.array([]))
    assert found.values == pytest.approx({name: prior.value for name, prior in PRIORS.items()})
    assert set(found.estimated) == set(PRIORS)
    assert found.low["rate"] == pytest.approx(1e8)
    assert found.high["rate"] == pytest.approx(1e10)


def test_a_few_rows_move_little_and_many_decide():
    prior = {"rate": Prior(1.0, 0.9, 1.1)}

    def found(count):
        return fit_numbers(prior, lambda values: np.log(np.full(count, values["rate"]) / 1.5)).values["rate"]

    assert 1 < found(1) < found(10) < found(1000)
    assert found(1000) == pytest.approx(1.5, rel=0.01)


def test_bad_fits_are_not_sure_of_themselves():
    good, bad = np.full(50, 1.0), np.where(np.arange(50) % 2, 0.6, 1.7)
    prior = {"rate": Prior(1.0, 0.5, 2.0)}

    def width(measured):
        found = fit_numbers(prior, lambda values: np.log(values["rate"] / measured))
        return found.high["rate"] / found.low["rate"]

    assert width(bad) > 2 * width(good)
    assert spread(np.array([])) == 1


@given(st.floats(0.02, 0.98), st.floats(0.001, 0.9))
def test_a_share_stays_a_share(measured, part):
    prior = share(0.5, 0.3, 0.7)
    found = fit_numbers({"share": prior}, lambda values: np.log(np.full(200, values["share"]) / measured))
    assert 0 < found.values["share"] < 1
    assert 0 < found.low["share"] < found.high["share"] < 1
    narrow = prior.narrowed(part)
    assert narrow.sigma == pytest.approx(part * prior.sigma)
    assert prior.around(measured).sigma == pytest.approx(prior.sigma)


def test_every_point_is_held_out_once_and_never_beside_itself():
    points = ["a", "a", "b", "c", "d", "e", "e"]
    folds = list(Holdout(3, seed=1).folds(points))
    assert np.sum(folds, axis=0).tolist() == [1] * len(points)
    for fold in folds:
        assert fold[0] == fold[1]
        assert fold[5] == fold[6]
    assert [f.tolist() for f in Holdout(3, seed=1).folds(points)] == [f.tolist() for f in folds]


@pytest.mark.parametrize(("num_folds", "points"), [(0, "abcd"), (1, "abcd"), (2, "aaaa"), (4, "abc")])
def test_nothing_is_held_out_where_that_is_not_possible(num_folds, points):
    assert list(Holdout(num_folds, seed=0).folds(list(points))) == []


def test_errors_on_unseen_rows_are_those_of_fits_without_them():
    measured = line_s({"start_s": 2e-5, "rate": 3e9})
    measured[7] *= 3
    fit = fit_rows(
        PRIORS, line_s, measured, list(range(len(SIZES))), Holdout(2, 0), before=line_s(dict.fromkeys(PRIORS, 1e9))
    )
    assert len(fit.errors_held_out) == len(fit.errors) == len(SIZES)
    assert abs(fit.errors_held_out[7]) > 0.5
    quality = quality_of("line", fit, Holdout(2, 0))
    assert quality.rows == len(SIZES)
    assert quality.median_error < 0.01
    assert quality.median_error_before > 0.5
    assert quality.held_out.startswith("halves of the points at random (seed 0), each by a fit on the rest; peaks, ")
    assert len(quality.residuals) == len(SIZES)
