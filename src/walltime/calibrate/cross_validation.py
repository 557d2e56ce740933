"""How well the fit does on sources that it has not seen: each group of related sources is left out in turn."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, replace

import numpy as np

from walltime.arrays import Floats
from walltime.calibrate.training import fit
from walltime.search.executors import SerialExecutor
from walltime.validate.cases import Case, Skipped
from walltime.validate.errors import ErrorReport, Predictions, error_report
from walltime.validate.predict import case_batches, step_times_s
from walltime.validate.validation import is_timed

_SAY_EVERY_S = 0.5


@dataclass(frozen=True)
class Fold:
    """A fit that left a group of sources out.

    Attributes
    ----------
    group
        Its name, `walltime.validate.source_rules.source_group`.
    num_rows
        Rows fitted on.
    num_parameters, num_decided
        Numbers fitted, and those of them that rows decide.
    step_time_s
        Predictions of the rows left out, in their order. [s]
    """

    group: str
    num_rows: int
    num_parameters: int
    num_decided: int
    step_time_s: Floats


@dataclass(frozen=True)
class LeftOut:
    """Predictions of every row by a fit that has seen neither its source nor related ones.

    Attributes
    ----------
    predictions
        Parallel to the cases.
    report
        Their errors.
    folds
        By group; a group of which no row would be fitted on has none.
    """

    predictions: Predictions
    report: ErrorReport
    folds: dict[str, Fold]


def leave_one_source_out(
    cases: Sequence[Case],
    shown: Predictions,
    others: Sequence[Case] = (),
    skipped: Sequence[Skipped] = (),
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LeftOut:
    """Fit once for each group of sources without it, and predict its rows.

    Parameters
    ----------
    cases
        Measured rows to judge, and to fit on when their group is not left out.
    shown
        Their predictions by the catalog's numbers: memory does not depend on this fit, and the step times stand for
        groups of which no row would be fitted on.
    others
        Further rows to fit on, for example those that are shipped.
    skipped
        Rows without a prediction, for the report.
    executor, progress
        Where to fit; called with how many groups are done, of how many.
    """
    groups = sorted({case.source_group for case in cases if is_timed(case)})
    pool = [case for case in (*cases, *others) if is_timed(case)]
    rows = {group: [i for i, case in enumerate(cases) if case.source_group == group] for group in groups}
    run = executor or SerialExecutor()
    jobs = [
        run.submit(_fold, group, [c for c in pool if c.source_group != group], [cases[i] for i in rows[group]])
        for group in groups
    ]
    waiting = set(jobs)
    while waiting:
        _, waiting = wait(waiting, timeout=_SAY_EVERY_S)
        if progress:
            progress(len(jobs) - len(waiting), len(jobs))
    folds = {job.result().group: job.result() for job in jobs}
    times_s = shown.step_time_s.copy()
    for group, fold in folds.items():
        times_s[rows[group]] = fold.step_time_s
    found = replace(shown, step_time_s=np.asarray(times_s))
    return LeftOut(found, error_report(cases, found, skipped), folds)


def _fold(group: str, seen: Sequence[Case], left_out: Sequence[Case]) -> Fold:
    fitted = fit(seen)
    times_s = step_times_s(case_batches(left_out), len(left_out), fitted.numbers)
    return Fold(group, len(seen), len(fitted.parameters), fitted.num_decided, times_s)
