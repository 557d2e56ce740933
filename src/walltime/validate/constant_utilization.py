"""The predictor to beat: one utilisation a source, accelerator and precision, fitted on the very rows it predicts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from walltime.arrays import Floats
from walltime.validate.cases import Case
from walltime.validate.errors import Predictions, error_report
from walltime.workload.flop import flop_parts

Counting = Literal["model", "hardware"]
COUNTINGS: tuple[Counting, ...] = ("model", "hardware")
"""FLOP of the model alone (three passes), or with what the plan recomputes."""
_PASSES = 3


@dataclass(frozen=True)
class ConstantUtilization:
    """Predictions of the baseline, and how it counts.

    Attributes
    ----------
    counting
        Whether recomputation counts as work.
    predictions
        Step times, parallel to the cases. [s]
    flop_per_s
        What was fitted: FLOP/s that one accelerator achieves, by source, accelerator and precision. [FLOP/s]
    """

    counting: Counting
    predictions: Predictions
    flop_per_s: dict[tuple[str, str, str], float]


def constant_utilization(cases: Sequence[Case], counting: Counting | None = None) -> ConstantUtilization:
    """Return the baseline's predictions.

    A constant utilisation says that a step takes its FLOP over accelerators, times a constant: the median over the
    rows of a source, accelerator and precision, about as good as a constant can be. The peak cancels out. FLOP are
    those of all matrix products with full attention, as most sources count.

    Parameters
    ----------
    cases
        Measured rows; those without a time get a prediction too where their constant is known, else NaN.
    counting
        With or without recomputation; by default whichever has the smaller median error over sources.
    """
    if counting is not None:
        return _fitted(cases, counting)
    candidates = [_fitted(cases, each) for each in COUNTINGS]

    def error(candidate: ConstantUtilization) -> float:
        found = error_report(cases, candidate.predictions).overall.median_abs_error
        return np.inf if found is None else found

    return min(candidates, key=error)


def _fitted(cases: Sequence[Case], counting: Counting) -> ConstantUtilization:
    work_flop = np.array([_flop(case, counting) / case.num_gpus for case in cases], dtype=np.float64)
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i, case in enumerate(cases):
        groups[case.source_id, case.machine.accelerator, case.plan.precision].append(i)
    step_time_s: Floats = np.full(len(cases), np.nan)
    flop_per_s = {}
    for key, members in groups.items():
        core = [i for i in members if cases[i].step_time_s is not None and cases[i].is_core]
        timed = core or [i for i in members if cases[i].step_time_s is not None]
        if timed:
            seconds_per_flop = np.median([(cases[i].step_time_s or np.nan) / work_flop[i] for i in timed])
            step_time_s[members] = seconds_per_flop * work_flop[members]
            flop_per_s[key] = float(1 / seconds_per_flop)
    return ConstantUtilization(counting, Predictions(step_time_s), flop_per_s)


def _flop(case: Case, counting: Counting) -> float:
    parts = flop_parts(case.training.model, case.training.seq_len, causal=False)
    per_token = _PASSES * parts.total
    if counting == "hardware":
        again = {"none": 0, "selective": parts.attention_scores, "full": parts.total - parts.head}
        per_token += again[case.plan.recompute] * case.plan.recompute_layers
    return float(per_token) * case.training.batch_tokens
