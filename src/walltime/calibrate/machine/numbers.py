"""Robust fits of a few positive numbers with priors, and how sure each number is afterwards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from walltime.arrays import Floats
from walltime.calibrate.least_squares import Problem, Solution, solve
from walltime.calibrate.training import decode, encode

SCALE = 0.05
"""Relative error beyond which a row counts linearly, and the noise that one row is taken to have."""
_DIFFERENCE = 1e-4
_ITERATIONS = 60
_CAREFUL = 1.0
"""First steps are half as long as the curvature says: the way is not smooth where kernels and paths change."""
_DECIDED = 0.8
"""A number whose uncertainty is at most this share of its prior's is decided by rows, as in `calibrate.training`."""
_NORMAL_MEDIAN = 1.4826
"""Standard deviation of normal errors over their median absolute value."""
_LEAST_SHARE, _MOST_SHARE = 0.001, 0.999


class Prior(NamedTuple):
    """What is known of a positive number before rows: its value, and a range of two standard deviations either way.

    A share stays between 0 and 1.
    """

    value: float
    low: float
    high: float
    is_share: bool = False

    @property
    def mean(self) -> float:
        """Its coordinate: the log of its odds, or its log."""
        return encode(self.value, is_share=self.is_share)

    @property
    def sigma(self) -> float:
        """Its standard deviation there."""
        low, high = (encode(end, is_share=self.is_share) for end in (self.low, self.high))
        return (high - low) / 4

    def narrowed(self, share_of_width: float) -> "Prior":
        """Return a prior about the same value with a part of the width."""
        sides = (-2 * share_of_width, 2 * share_of_width)
        low, high = (decode(self.mean + side * self.sigma, is_share=self.is_share) for side in sides)
        return Prior(self.value, low, high, self.is_share)

    def around(self, value: float) -> "Prior":
        """Return a prior as wide as this one about another value."""
        value = min(max(value, _LEAST_SHARE), _MOST_SHARE) if self.is_share else value
        middle = encode(value, is_share=self.is_share)
        low, high = (decode(middle + side * self.sigma, is_share=self.is_share) for side in (-2, 2))
        return Prior(value, low, high, self.is_share)


def share(value: float, low: float, high: float) -> Prior:
    """Return the prior of a number between 0 and 1."""
    return Prior(value, low, high, is_share=True)


@dataclass(frozen=True)
class Fitted:
    """Numbers after a fit.

    Attributes
    ----------
    values, low, high
        By name, with the range of two standard deviations.
    estimated
        Those that the rows do not decide.
    cost
        What the fit made least; comparable between fits of the same rows.
    """

    values: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    estimated: tuple[str, ...]
    cost: float


def fit_numbers(
    priors: Mapping[str, Prior],
    misses: Callable[[Mapping[str, float]], Floats],
    num_iterations: int = _ITERATIONS,
    *,
    is_smooth: bool = False,
) -> Fitted:
    r"""Fit numbers to rows.

    The most likely numbers, if a row's error is about normal with a standard deviation of `SCALE`, but with tails in
    which it counts linearly, and each number is normal by its prior in its coordinate. The range afterwards is that of
    the curvature, wider by how far the rows are from the fit: numbers that meet their rows within 20 % are not sure to
    one percent however many rows there are.

    Parameters
    ----------
    priors
        By name.
    misses
        Logarithm of predicted over measured, (rows,), of numbers by name.
    num_iterations
        The most steps of the search.
    is_smooth
        Whether no row changes from one way of being predicted to another, so that one search is enough.
    """
    names = list(priors)

    def numbers(x: Floats) -> dict[str, float]:
        return {name: decode(float(at), is_share=priors[name].is_share) for name, at in zip(names, x, strict=True)}

    def residuals(x: Floats) -> Floats:
        return misses(numbers(x))

    mean = np.array([priors[name].mean for name in names])
    sigma = np.array([priors[name].sigma for name in names])
    start = residuals(mean)
    problem = Problem(
        residuals=residuals,
        jacobian=lambda x, present: _slopes(residuals, x, present),
        weights=np.ones(len(start)),
        scale=SCALE,
        prior_mean=mean,
        prior_sigma=sigma,
        prior_weight=1.0,
    )
    found = solve(problem, None, num_iterations, _CAREFUL) if is_smooth else _best(problem, num_iterations)
    shares = np.minimum(found.sigma_shares * spread(residuals(found.x)), 1)
    ends = [numbers(found.x + side * shares * sigma) for side in (-2, 2)]
    undecided = tuple(name for name, share in zip(names, shares, strict=True) if share > _DECIDED)
    return Fitted(numbers(found.x), ends[0], ends[1], undecided, found.cost)


def _best(problem: Problem, num_iterations: int) -> Solution:
    """Return the better of two minima: near the prior, and near the first one with what that leaves open put back.

    Where the faster of two ways counts (a ring or a tree), a way that is never the faster has no slope, and a search
    that has strayed there stays.
    """
    first = solve(problem, None, num_iterations, _CAREFUL)
    stray = first.sigma_shares > _DECIDED
    if not stray.any():
        return first
    again = solve(problem, np.where(stray, problem.prior_mean, first.x), num_iterations, _CAREFUL)
    return again if again.cost < first.cost else first


def _slopes(residuals: Callable[[Floats], Floats], x: Floats, present: Floats) -> Floats:
    slopes = np.empty((len(present), len(x)))
    for j in range(len(x)):
        moved = x.copy()
        moved[j] += _DIFFERENCE
        slopes[:, j] = (residuals(moved) - present) / _DIFFERENCE
    return slopes


def spread(misses: Floats) -> float:
    """Return how many times wider than `SCALE` errors are, at least 1."""
    if not len(misses):
        return 1.0
    return max(1.0, float(np.median(np.abs(misses))) * _NORMAL_MEDIAN / SCALE)
