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


def ranking_groups(cases: Sequence[Case], predicted_s: Floats) -> list[Indices]:
    """Return the positions of the cases of each group.

    A group shares source, model, accelerator, number of GPUs, batch and sequence length. Rows without a measured or a
    predicted time stay out, and so do groups in which one plan is measured again and again.

    Parameters
    ----------
    predicted_s : (cases,)
        Predicted step times. [s]
    """
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, case in enumerate(cases):
        if case.step_time_s is not None and np.isfinite(predicted_s[i]):
            groups[case.ranking_group].append(i)
    return [np.array(members) for members in groups.values() if len({_question(cases[i]) for i in members}) > 1]


def _question(case: Case) -> tuple[object, ...]:
    return (case.plan, case.stack, case.training.model, *sorted(case.features.items()), *sorted(case.facts.items()))
