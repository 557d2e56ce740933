"""Robust least squares with a Gaussian prior: Levenberg-Marquardt on weighted, pseudo-Huber residuals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats

_FIRST_DAMPING, _LARGEST_STEP, _LEAST_GAIN = 1e-3, 1.0, 1e-4
_TRIES = 8


@dataclass(frozen=True)
class Problem:
    r"""What is minimised over x, (parameters,).

    .. math:: \sum_i w_i\, 2\left(\sqrt{1 + (r_i/s)^2} - 1\right) + \lambda \sum_j ((x_j - m_j)/\sigma_j)^2

    Attributes
    ----------
    residuals
        r of x, (rows,).
    jacobian
        Of x and r: its derivatives, (rows, parameters).
    weights : (rows,)
    scale
        Residual beyond which a row counts less, s.
    prior_mean, prior_sigma : (parameters,)
    prior_weight
        λ: one row of the prior over one of a source.
    """

    residuals: Callable[[Floats], Floats]
    jacobian: Callable[[Floats, Floats], Floats]
    weights: Floats
    scale: float
    prior_mean: Floats
    prior_sigma: Floats
    prior_weight: float

    def cost(self, x: Floats, residuals: Floats) -> float:
        """Return what is minimised."""
        huber = 2 * (np.sqrt(1 + (residuals / self.scale) ** 2) - 1)
        prior = ((x - self.prior_mean) / self.prior_sigma) ** 2
        return float((self.weights * huber).sum() + self.prior_weight * prior.sum())


@dataclass(frozen=True)
class Solution:
    """Where the search ended, and how sure each parameter is, as a share of its prior's standard deviation."""

    x: Floats
    cost: float
    sigma_shares: Floats


def solve(
    problem: Problem, start: Floats | None = None, most_iterations: int = 12, damping: float = _FIRST_DAMPING
) -> Solution:
    """Return the minimum near a starting point, by default the prior's mean; more damping makes first steps shorter."""
    x = (problem.prior_mean if start is None else start).copy()
    residuals = problem.residuals(x)
    cost = problem.cost(x, residuals)
    for _ in range(most_iterations):
        normal, gradient = _normal_equations(problem, x, residuals)
        for _ in range(_TRIES):
            damped = normal + damping * np.diag(np.diag(normal))
            trial = x + np.clip(np.linalg.solve(damped, -gradient), -_LARGEST_STEP, _LARGEST_STEP)
            tried = problem.residuals(trial)
            gain = cost - problem.cost(trial, tried)
            if gain > 0:
                x, residuals, cost, damping = trial, tried, cost - gain, damping / 3
                break
            damping *= 4
        if gain < _LEAST_GAIN * cost:
            break
    normal, _ = _normal_equations(problem, x, residuals)
    prior = problem.prior_weight / problem.prior_sigma**2
    return Solution(x, cost, np.sqrt(np.diag(np.linalg.inv(normal)) * prior))


def _normal_equations(problem: Problem, x: Floats, residuals: Floats) -> tuple[Floats, Floats]:
    scaled = residuals / problem.scale
    slopes = problem.jacobian(x, residuals) / problem.scale
    weighted = slopes * (problem.weights / np.sqrt(1 + scaled**2))[:, None]
    prior = problem.prior_weight / problem.prior_sigma**2
    normal = weighted.T @ slopes + np.diag(prior)
    return normal, weighted.T @ scaled + prior * (x - problem.prior_mean)
