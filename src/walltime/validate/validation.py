"""A validation: measured rows, what is predicted of each and from which parts, and how far off that is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.engines.step import PARTS
from walltime.problems import BadInput
from walltime.validate.cases import Case, Skipped
from walltime.validate.constant_utilization import ConstantUtilization, constant_utilization
from walltime.validate.errors import MEMORY_SCOPES, ErrorReport, Predictions, error_report, fits_figures
from walltime.validate.fitted_parameters import is_in_sample, memory_is_in_sample, training_parameters
from walltime.validate.predict import batch_step, case_batches, catalog_numbers, predictions


@dataclass(frozen=True)
class Validation:
    """Measured rows beside their predictions.

    Attributes
    ----------
    cases, skipped
        Rows with a prediction, and those without.
    predictions
        Step time, memory and whether it fits, parallel to the cases.
    parts_s : mapping of name to (cases,)
        Parts of each predicted step; they add up to it. [s]
    lower_s, upper_s : (cases,)
        The step if everything that can overlap did, and if nothing did. [s]
    in_sample : (cases,)
        Whether the fitted numbers were fitted on this row's source.
    report
        Errors over all sources and of each.
    baseline, baseline_report
        The constant-utilisation predictor on the same rows, and its errors.
    """

    cases: tuple[Case, ...]
    skipped: tuple[Skipped, ...]
    predictions: Predictions
    parts_s: Mapping[str, Floats]
    lower_s: Floats
    upper_s: Floats
    in_sample: Mask
    report: ErrorReport
    baseline: ConstantUtilization
    baseline_report: ErrorReport

    @property
    def sources(self) -> list[str]:
        """Every source, in order."""
        return list(self.report.by_source)

    @cached_property
    def relative_errors(self) -> Floats:
        """Predicted over measured step time less one, NaN where none was measured, (cases,)."""
        measured = np.array([np.nan if case.step_time_s is None else case.step_time_s for case in self.cases])
        return np.asarray(self.predictions.step_time_s / measured - 1)

    @cached_property
    def memory_in_sample(self) -> Mask:
        """Whether the numbers of a row's memory were set on its source; not where no memory is judged, (cases,)."""
        judged = (case.memory_bytes is not None and case.row.scope in MEMORY_SCOPES for case in self.cases)
        flags = (is_one and memory_is_in_sample(case) for is_one, case in zip(judged, self.cases, strict=True))
        return np.fromiter(flags, dtype=bool, count=len(self.cases))

    @property
    def memory_sources_in_sample(self) -> list[str]:
        """Sources with rows whose memory is in sample."""
        return sorted({self.cases[i].source_id for i in np.flatnonzero(self.memory_in_sample)})

    @property
    def is_judged(self) -> bool:
        """Whether any row could be judged, be it on time, memory or whether it fits."""
        overall = self.report.overall
        figures = (overall.median_abs_error, overall.memory_median_abs_error, overall.fits_accuracy)
        return any(figure is not None for figure in figures)

    def sample_of(self, source: str) -> str:
        """Return whether the fit saw a source: ``in`` or ``out`` of sample, ``part`` of its rows, or none was timed."""
        inside = {bool(self.in_sample[i]) for i, case in enumerate(self.cases) if is_timed(case, source)}
        return {frozenset({True}): "in", frozenset({False}): "out", frozenset(): ""}.get(frozenset(inside), "part")


def is_timed(case: Case, source: str | None = None) -> bool:
    """Whether a row's step time counts in headline figures (of one source, if named)."""
    return case.is_core and bool(case.step_time_s) and source in (None, case.source_id)


def validate(cases: Sequence[Case], skipped: Iterable[Skipped] = ()) -> Validation:
    """Predict measured rows with the catalog's numbers and judge the predictions.

    Parameters
    ----------
    cases, skipped
        As `walltime.validate.cases.read_cases` returns them.
    """
    training_parameters()  # a broken catalog is not a reason to skip a row
    cases, left = list(cases), list(skipped)
    try:
        found = predictions(cases)
        refused = _without_time(cases, found.step_time_s)
    except BadInput:
        refused = _refused(cases)
    if refused:
        rows = {id(each.row) for each in refused}
        cases, left = [case for case in cases if id(case.row) not in rows], [*left, *refused]
        found = predictions(cases)
    parts_s, lower_s, upper_s = _parts(cases)
    baseline = constant_utilization(cases)
    return Validation(
        cases=tuple(cases),
        skipped=tuple(left),
        predictions=found,
        parts_s=parts_s,
        lower_s=lower_s,
        upper_s=upper_s,
        in_sample=np.array([is_timed(case) and is_in_sample(case) for case in cases], dtype=bool),
        report=_with_pooled_fits(error_report(cases, found, left), cases, found),
        baseline=baseline,
        baseline_report=error_report(cases, baseline.predictions, left),
    )


def _refused(cases: Sequence[Case]) -> list[Skipped]:
    """Return the cases that the engine refuses, and why: found by halving."""
    try:
        return _without_time(cases, predictions(cases).step_time_s)
    except BadInput as problem:
        if len(cases) == 1:
            return [Skipped(cases[0].row, str(problem))]
    middle = len(cases) // 2
    return [*_refused(cases[:middle]), *_refused(cases[middle:])]


def _without_time(cases: Sequence[Case], times_s: Floats) -> list[Skipped]:
    finite = np.isfinite(times_s)
    return [Skipped(case.row, "no finite time is predicted") for case, ok in zip(cases, finite, strict=True) if not ok]


def _parts(cases: Sequence[Case]) -> tuple[dict[str, Floats], Floats, Floats]:
    parts_s = {name: np.zeros(len(cases)) for name in PARTS}
    lower_s, upper_s = np.zeros(len(cases)), np.zeros(len(cases))
    for batch in case_batches(cases):
        step = batch_step(batch, catalog_numbers(batch))
        for name, part in step.parts_s.items():
            parts_s[name][batch.index] = part
        lower_s[batch.index], upper_s[batch.index] = step.lower_s, step.upper_s
    return parts_s, lower_s, upper_s


def _with_pooled_fits(report: ErrorReport, cases: Sequence[Case], found: Predictions) -> ErrorReport:
    """Return the report with "fits" judged over all rows together where no single source has what a figure needs."""
    wide = [i for i, case in enumerate(cases) if case.row.scope in MEMORY_SCOPES]
    if not wide or found.fits is None:
        return report
    pooled = fits_figures(found.fits[wide], np.array([cases[i].ran for i in wide], dtype=bool))
    missing: dict[str, Any] = {name: f for name, f in pooled.items() if getattr(report.overall, name) is None}
    return replace(report, overall=replace(report.overall, **missing))
