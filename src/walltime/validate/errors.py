"""How far predictions are from measurements: per source, and over sources with each weighing the same."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.validate.cases import Case, Skipped
from walltime.validate.ranking import (
    FEWEST_FOR_CORRELATION,
    FEWEST_FOR_REGRET,
    ranking_groups,
    regret,
    spearman,
)

MEMORY_SCOPES = ("core", "truncated_model", "proxy_truncated")
"""Scopes in which memory and whether it fits are judged: a model cut to a few layers is a model."""
_PERCENTILE = 90


@dataclass(frozen=True)
class Predictions:
    """What was predicted for cases, as arrays parallel to them; NaN or None where there is nothing.

    Attributes
    ----------
    step_time_s : (cases,)
        [s]
    memory_bytes : (cases,)
        Of the fullest accelerator. [B]
    fits : (cases,)
        Whether the plan fits.
    """

    step_time_s: Floats
    memory_bytes: Floats | None = None
    fits: Mask | None = None

    def take(self, index: Sequence[int]) -> "Predictions":
        """Return the predictions of some of the cases."""
        at = np.asarray(index, dtype=np.intp)
        memory = None if self.memory_bytes is None else self.memory_bytes[at]
        return Predictions(self.step_time_s[at], memory, None if self.fits is None else self.fits[at])


@dataclass(frozen=True)
class ErrorSummary:
    """Errors of one source, or of all. Fractions; None where nothing was there to judge.

    Attributes
    ----------
    rows_used, rows_skipped, skipped
        Rows whose step time or whether it fits was judged; the others; these by reason.
    median_abs_error, p90_abs_error, mean_abs_error
        Of the relative error of the step time, predicted over measured less one, without its sign.
    bias
        Median of the same with its sign: positive where predictions are too slow.
    spearman
        Rank correlation, mean over groups of three rows or more that differ only in their plan.
    mean_regret, median_regret
        Over groups of two or more: measured time of the plan that is predicted fastest over the best, less one.
    num_groups
        Groups behind regret.
    memory_median_abs_error
        Where memory was measured.
    fits_accuracy, fits_balanced_accuracy, fits_precision, fits_recall
        Of "it fits" against whether the row ran. Balanced is the mean over the two classes, None where one is empty.
    """

    rows_used: int = 0
    rows_skipped: int = 0
    median_abs_error: float | None = None
    p90_abs_error: float | None = None
    mean_abs_error: float | None = None
    bias: float | None = None
    spearman: float | None = None
    mean_regret: float | None = None
    median_regret: float | None = None
    num_groups: int = 0
    memory_median_abs_error: float | None = None
    fits_accuracy: float | None = None
    fits_balanced_accuracy: float | None = None
    fits_precision: float | None = None
    fits_recall: float | None = None
    skipped: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by name, for JSON."""
        return asdict(self)


_COUNTED = ("rows_used", "rows_skipped", "num_groups")


@dataclass(frozen=True)
class ErrorReport:
    """Errors over all sources and of each; what is outside headline figures by source and scope."""

    overall: ErrorSummary
    by_source: dict[str, ErrorSummary]
    outside: dict[tuple[str, str], ErrorSummary]

    def to_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        outside = {f"{source} ({scope})": summary.to_dict() for (source, scope), summary in self.outside.items()}
        by_source = {source: summary.to_dict() for source, summary in self.by_source.items()}
        return {"overall": self.overall.to_dict(), "by_source": by_source, "outside_headline": outside}


def error_report(cases: Sequence[Case], predictions: Predictions, skipped: Iterable[Skipped] = ()) -> ErrorReport:
    """Return the errors of predictions: each source by itself, and their macro-average.

    Step times are judged on core rows, memory and whether it fits on `MEMORY_SCOPES`. Overall, every figure is the mean
    over the sources that have it: each source weighs the same, however many rows it has.

    Parameters
    ----------
    cases
        Measured rows as questions.
    predictions
        Parallel to them.
    skipped
        Rows for which there is no question.
    """
    left = list(skipped)
    sources = sorted({c.source_id for c in cases} | {s.source_id for s in left})
    by_source, outside = {}, {}
    for source in sources:
        index = [i for i, case in enumerate(cases) if case.source_id == source]
        own = [s.reason for s in left if s.source_id == source]
        by_source[source] = _source_summary([cases[i] for i in index], predictions.take(index), own)
        for scope in sorted({cases[i].row.scope for i in index if not cases[i].is_core}):
            some = [i for i in index if cases[i].row.scope == scope]
            outside[source, scope] = error_summary([cases[i] for i in some], predictions.take(some))
    return ErrorReport(macro_average(by_source.values()), by_source, outside)


def _source_summary(cases: Sequence[Case], predictions: Predictions, reasons: Sequence[str]) -> ErrorSummary:
    core = [i for i, case in enumerate(cases) if case.is_core]
    wide = [i for i, case in enumerate(cases) if case.row.scope in MEMORY_SCOPES]
    times = _time_figures([cases[i] for i in core], predictions.take(core))
    memory = _memory_figures([cases[i] for i in wide], predictions.take(wide))
    unscoped = [f"scope {case.row.scope}" for case in cases if not case.is_core]
    all_reasons = Counter([*(_short(reason) for reason in reasons), *unscoped])
    used = len(core)
    return ErrorSummary(
        rows_used=used, rows_skipped=sum(all_reasons.values()), skipped=dict(all_reasons), **times, **memory
    )


def _short(reason: str) -> str:
    return "contradictory" if reason.startswith("contradictory") else reason


def error_summary(cases: Sequence[Case], predictions: Predictions) -> ErrorSummary:
    """Return the errors of these cases, whatever their scope."""
    times, memory = _time_figures(cases, predictions), _memory_figures(cases, predictions)
    return ErrorSummary(rows_used=len(cases), **times, **memory)


def relative_errors(predicted: Floats, measured: Sequence[float | None]) -> Floats:
    """Return predicted over measured less one, where both are there, (rows with both,)."""
    theirs = np.array([np.nan if value is None else value for value in measured], dtype=np.float64)
    errors = np.asarray(predicted, dtype=np.float64) / theirs - 1
    return errors[~np.isnan(errors)]


def _time_figures(cases: Sequence[Case], predictions: Predictions) -> dict[str, Any]:
    errors = relative_errors(predictions.step_time_s, [case.step_time_s for case in cases])
    if not errors.size:
        return {}
    size = np.abs(errors)
    return {
        "median_abs_error": float(np.median(size)),
        "p90_abs_error": float(np.percentile(size, _PERCENTILE)),
        "mean_abs_error": float(size.mean()),
        "bias": float(np.median(errors)),
        **_ranking_figures(cases, predictions.step_time_s),
    }


def _ranking_figures(cases: Sequence[Case], predicted_s: Floats) -> dict[str, Any]:
    measured_s = np.array([np.nan if c.step_time_s is None else c.step_time_s for c in cases], dtype=np.float64)
    groups = [
        (np.array([predicted_s[same].mean() for same in group]), np.array([measured_s[same].mean() for same in group]))
        for group in ranking_groups(cases, predicted_s)
    ]
    large = [group for group in groups if len(group[0]) >= FEWEST_FOR_CORRELATION]
    correlations = [c for ours, theirs in large if (c := spearman(ours, theirs)) is not None]
    regrets = [regret(ours, theirs) for ours, theirs in groups if len(ours) >= FEWEST_FOR_REGRET]
    return {
        "spearman": float(np.mean(correlations)) if correlations else None,
        "mean_regret": float(np.mean(regrets)) if regrets else None,
        "median_regret": float(np.median(regrets)) if regrets else None,
        "num_groups": len(regrets),
    }


def _memory_figures(cases: Sequence[Case], predictions: Predictions) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if predictions.memory_bytes is not None:
        errors = relative_errors(predictions.memory_bytes, [case.memory_bytes for case in cases])
        figures["memory_median_abs_error"] = float(np.median(np.abs(errors))) if errors.size else None
    if predictions.fits is not None and len(cases):
        ran = np.array([case.ran for case in cases], dtype=bool)
        figures |= fits_figures(np.asarray(predictions.fits, dtype=bool), ran)
    return figures


def fits_figures(predicted: Mask, ran: Mask) -> dict[str, float | None]:
    """Return accuracy, balanced accuracy, precision and recall of "fits", which is the positive class.

    Parameters
    ----------
    predicted, ran : (rows,)
        Whether the plan was predicted to fit, and whether the row ran.
    """
    hits, recall = predicted & ran, _share(predicted, ran)
    specificity = _share(~predicted, ~ran)
    balanced = None if recall is None or specificity is None else (recall + specificity) / 2
    return {
        "fits_accuracy": float(np.mean(predicted == ran)),
        "fits_balanced_accuracy": balanced,
        "fits_precision": float(hits.sum() / predicted.sum()) if predicted.any() else None,
        "fits_recall": recall,
    }


def _share(true: Mask, among: Mask) -> float | None:
    return float(np.mean(true[among])) if among.any() else None


def macro_average(summaries: Iterable[ErrorSummary]) -> ErrorSummary:
    """Return the mean of each figure over the summaries that have it; counts are added up."""
    rows = list(summaries)
    total: dict[str, Any] = {name: sum(getattr(s, name) for s in rows) for name in _COUNTED}
    reasons: Counter[str] = Counter()
    for summary in rows:
        reasons.update(summary.skipped)
    for name in (f.name for f in fields(ErrorSummary) if f.name not in (*_COUNTED, "skipped")):
        values = [value for s in rows if (value := getattr(s, name)) is not None]
        total[name] = float(np.mean(values)) if values else None
    return ErrorSummary(skipped=dict(reasons), **total)
