"""How well predictions put plans in order: rank correlation and regret within groups that answer the same question."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from walltime.arrays import Floats, Indices
from walltime.validate.cases import Case

FEWEST_FOR_CORRELATION, FEWEST_FOR_REGRET = 3, 2
"""Rows that a group needs."""


def ranks(values: Floats) -> Floats:
    """Return the rank of each value from 1, equal values sharing the mean of their ranks, (values,).

    Examples
    --------
    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2)[position]


def spearman(predicted: Floats, measured: Floats) -> float | None:
    """Return Spearman's rank correlation: Pearson's of the ranks; None where the measured values are all equal.

    Predictions that are all equal tell nothing apart and count as 0.
    """
    ours, theirs = ranks(predicted), ranks(measured)
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    if not theirs.any():
        return None
    if not ours.any():
        return 0.0
    return float(ours @ theirs / np.sqrt((ours @ ours) * (theirs @ theirs)))


def regret(predicted: Floats, measured: Floats) -> float:
    """Return the measured time of what is predicted fastest over the best measured one, less one.

    Where several are predicted equally fast, the mean of their measured times counts.
    """
    chosen = measured[predicted == predicted.min()].mean()
    return float(chosen / measured.min() - 1)


def ranking_groups(cases: Sequence[Case], predicted_s: Floats) -> list[list[Indices]]:
    """Return the positions of the cases of each group, by plan.

    A group shares source, model, accelerator, number of GPUs, batch and sequence length. Rows that are the same to the
    engine, such as one plan in several releases of a framework, are one plan of the group. Rows without a measured or
    a predicted time stay out, and so do groups of one plan.

    Parameters
    ----------
    predicted_s : (cases,)
        Predicted step times. [s]
    """
    groups: dict[tuple[object, ...], dict[tuple[object, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, case in enumerate(cases):
        if case.step_time_s is not None and np.isfinite(predicted_s[i]):
            groups[case.ranking_group][_as_asked(case)].append(i)
    return [[np.array(same) for same in plans.values()] for plans in groups.values() if len(plans) > 1]


def _as_asked(case: Case) -> tuple[object, ...]:
    """Return what the engine sees of a case."""
    return (case.plan, case.stack, case.training.model, *sorted(case.features.items()))
