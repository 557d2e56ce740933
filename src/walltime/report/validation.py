"""A validation as text, as JSON and as rows of a CSV file."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np

from walltime.calibrate.cross_validation import LeftOut
from walltime.report.terminal import table
from walltime.validate.cases import Case, Skipped
from walltime.validate.errors import ErrorReport, ErrorSummary
from walltime.validate.fitted_parameters import num_fitted_elsewhere, training_parameters
from walltime.validate.validation import Validation

_MOST_REASONS = 12
_BASELINE = "constant utilisation, fitted to each source"
_NONE = "-"
_PLAN = ("tp", "cp", "pp", "dp", "ep", "etp", "shard", "micro_batch", "vpp")
_CHOICES = ("schedule", "sharding", "recompute", "recompute_layers", "precision", "cp_algorithm", "sequence_parallel")


def percent(value: float | None, *, signed: bool = False) -> str:
    """Return a fraction in percent, or a dash where there is none."""
    if value is None:
        return _NONE
    shown = f"{100 * value:+.1f}%" if signed else f"{100 * value:.1f}%"
    return "0.0%" if shown in ("-0.0%", "+0.0%") else shown


def validation_text(found: Validation, left_out: LeftOut | None = None) -> str:
    """Return what `walltime validate` prints: errors by source, the baseline beside them, reasons of skipped rows."""
    blocks = [_errors_table(found), _LEGEND, *_in_or_out(found), *_memory_in_or_out(found)]
    if left_out is not None:
        blocks.append(_left_out_table(found, left_out))
    blocks += [*_skipped_text(found), _fitted_text()]
    return "\n\n".join(blocks)


_LEGEND = (
    "median, p90, mean: size of predicted / measured - 1, step time, core rows; bias: its median with sign.\n"
    "rank: Spearman's correlation, regret: measured time of the plan ranked first over the best, less one; both are\n"
    "means over groups that differ in plan only. memory: median error. fits: share of rows told right.\n"
    "overall: mean over sources, each weighing the same. sample: whether numbers fitted on step times saw the source."
)


def _errors_table(found: Validation) -> str:
    header = ["source", "used", "skip", "sample", "median", "p90", "mean", "bias", "rank", "regret", "memory", "fits"]
    header += ["|", "median", "p90", "mean", "rank", "regret"]
    rows = [
        [source, *_counts(ours), found.sample_of(source) or _NONE, *_ours(ours), "|", *_theirs(found, source)]
        for source, ours in found.report.by_source.items()
    ]
    overall = found.report.overall
    rows.append(["overall", *_counts(overall), "", *_ours(overall), "|", *_theirs(found, None)])
    lines = table(header, rows).split("\n")
    indent = lines[0].index("|")
    lines.insert(-1, lines[1])
    return "\n".join([f"{'walltime':<{indent}}| {_BASELINE}", *lines])


def _counts(summary: ErrorSummary) -> list[str]:
    return [str(summary.rows_used), str(summary.rows_skipped)]


def _ours(summary: ErrorSummary) -> list[str]:
    s = summary
    sizes = [percent(s.median_abs_error), percent(s.p90_abs_error), percent(s.mean_abs_error)]
    order = [correlation(s.spearman), percent(s.mean_regret)]
    return [*sizes, percent(s.bias, signed=True), *order, percent(s.memory_median_abs_error), percent(s.fits_accuracy)]


def _theirs(found: Validation, source: str | None) -> list[str]:
    report = found.baseline_report
    s = report.overall if source is None else report.by_source[source]
    sizes = [percent(s.median_abs_error), percent(s.p90_abs_error), percent(s.mean_abs_error)]
    return [*sizes, correlation(s.spearman), percent(s.mean_regret)]


def correlation(value: float | None) -> str:
    """Return a rank correlation, or a dash where there is none."""
    return _NONE if value is None else f"{value:.2f}"


def _in_or_out(found: Validation) -> Iterator[str]:
    inside, timed = int(found.in_sample.sum()), sum(found.sample_of(source) != "" for source in found.sources)
    if not timed:
        return
    if inside:
        yield (
            f"{inside} of these rows are IN SAMPLE: the numbers of their accelerator or software were fitted on rows\n"
            "of their source. --leave-one-source-out says how well sources are predicted that the fit has not seen."
        )
    else:
        yield "All rows are out of sample: no number was fitted on rows of these sources."


def _memory_in_or_out(found: Validation) -> Iterator[str]:
    seen = found.memory_sources_in_sample
    if seen:
        yield (
            f"memory of {', '.join(seen)} is IN SAMPLE: what software keeps\n"
            "was set on their rows, and --leave-one-source-out leaves it as it is."
        )


def _left_out_table(found: Validation, left_out: LeftOut) -> str:
    header = ["each source left out", "rows", "median", "p90", "mean", "bias", "rank", "regret", "|", "median", "p90"]
    header += ["mean", "|", "fitted on"]
    rows = []
    for source, ours in left_out.report.by_source.items():
        fold = _fold_of(found, left_out, source)
        if fold is not None:
            seen = found.report.by_source[source]
            rows.append([source, str(ours.rows_used), *_ours(ours)[:6], "|", *_ours(seen)[:3], "|", f"{fold} rows"])
    overall = left_out.report.overall
    used = str(sum(int(row[1]) for row in rows))
    rows.append(["overall", used, *_ours(overall)[:6], "|", *_ours(found.report.overall)[:3], "|", ""])
    lines = table(header, rows).split("\n")
    lines.insert(-1, lines[1])
    indent = lines[0].index("|")
    return "\n".join([f"{'out of sample':<{indent}}| with the catalog's numbers, as above", *lines])


def _fold_of(found: Validation, left_out: LeftOut, source: str) -> int | None:
    group = next((case.source_group for case in found.cases if case.source_id == source), "")
    fold = left_out.folds.get(group)
    return fold.num_rows if fold else None


def _skipped_text(found: Validation) -> Iterator[str]:
    reasons = sorted(found.report.overall.skipped.items(), key=lambda item: (-item[1], item[0]))
    if not reasons:
        return
    shown = [f"  {count:5}  {reason}" for reason, count in reasons[:_MOST_REASONS]]
    rest = sum(count for _, count in reasons[_MOST_REASONS:])
    more = [f"  {rest:5}  other reasons"] if rest else []
    yield "\n".join(["rows skipped, or kept out of headline figures, and why", *shown, *more])


def _fitted_text() -> str:
    parameters = training_parameters()
    decided = sum(parameter.decided for parameter in parameters)
    elsewhere = ", ".join(f"{count} on {name}" for name, count in num_fitted_elsewhere().items())
    return (
        f"fitted on step times: {len(parameters)} numbers of accelerators and software, {decided} decided by rows "
        f"(--json lists them);\nfitted elsewhere: {elsewhere}"
    )


def validation_json(found: Validation, left_out: LeftOut | None = None) -> dict[str, Any]:
    """Return the result of `walltime validate --json`."""
    parameters = training_parameters()
    result: dict[str, Any] = {
        **_sampled(found),
        "outside_headline": found.report.to_dict()["outside_headline"],
        "baseline": {
            "what": _BASELINE,
            "counting": found.baseline.counting,
            **_both(found.baseline_report),
        },
        "skipped": dict(Counter(found.report.overall.skipped).most_common()),
        "fitted_parameters": {
            "count": len(parameters),
            "decided_by_rows": sum(parameter.decided for parameter in parameters),
            "fitted_elsewhere": num_fitted_elsewhere(),
            "parameters": [asdict(parameter) for parameter in parameters],
        },
    }
    if left_out is not None:
        folds = {name: {k: v for k, v in vars(f).items() if k != "step_time_s"} for name, f in left_out.folds.items()}
        result["leave_one_source_out"] = {**_both(left_out.report), "folds": folds}
    return result


def _both(report: ErrorReport) -> dict[str, Any]:
    return {
        "overall": report.overall.to_dict(),
        "by_source": {source: summary.to_dict() for source, summary in report.by_source.items()},
    }


def _sampled(found: Validation) -> dict[str, Any]:
    both = _both(found.report)
    inside = Counter(case.source_id for case, seen in zip(found.cases, found.in_sample, strict=True) if seen)
    memory = Counter(found.cases[i].source_id for i in np.flatnonzero(found.memory_in_sample))
    both["overall"] |= {"rows_in_sample": inside.total(), "memory_rows_in_sample": memory.total()}
    for source, summary in both["by_source"].items():
        summary |= {"rows_in_sample": inside[source], "memory_in_sample": source in memory}
    return both


def validation_rows(found: Validation, left_out: LeftOut | None = None) -> list[dict[str, Any]]:
    """Return one flat dictionary a row, units in the keys: first those with a prediction, then the skipped ones."""
    predicted = [_case_row(found, left_out, i) for i in range(len(found.cases))]
    rows = [*predicted, *(_skipped_row(skipped) for skipped in found.skipped)]
    return sorted(rows, key=lambda row: (row["file"], row["line"]))


def _case_row(found: Validation, left_out: LeftOut | None, i: int) -> dict[str, Any]:
    case, plan, memory = found.cases[i], found.cases[i].plan, found.predictions.memory_bytes
    fits = found.predictions.fits
    row = {
        **_place(case),
        "accelerator": case.machine.accelerator,
        "num_gpus": case.num_gpus,
        "stack": case.stack,
        "batch_seqs": case.training.batch_seqs,
        "seq_len": case.training.seq_len,
        **{name: getattr(plan, name) for name in chain(_PLAN, _CHOICES)},
        "measured_step_time_s": case.step_time_s,
        "measured_as": case.time.kind if case.time else None,
        "predicted_step_time_s": found.predictions.step_time_s[i],
        "relative_error": found.relative_errors[i],
        "lower_s": found.lower_s[i],
        "upper_s": found.upper_s[i],
        "in_sample": bool(found.in_sample[i]),
        "constant_utilization_step_time_s": found.baseline.predictions.step_time_s[i],
    }
    if left_out is not None:
        row["left_out_step_time_s"] = left_out.predictions.step_time_s[i]
    return row | {
        "measured_memory_bytes": case.memory_bytes,
        "predicted_memory_bytes": None if memory is None else memory[i],
        "memory_in_sample": bool(found.memory_in_sample[i]),
        "status": case.row.status,
        "fits": None if fits is None else bool(fits[i]),
        **{f"{name}_s": part[i] for name, part in found.parts_s.items()},
        "assumptions": "; ".join(case.assumptions),
        "skipped_reason": "" if case.is_core else f"scope {case.row.scope}: not in headline figures",
    }


def _skipped_row(skipped: Skipped) -> dict[str, Any]:
    row = skipped.row
    known = {"accelerator": row.gpu_canonical or row.gpu, "num_gpus": row.n_gpus, "status": row.status}
    return {**_place(skipped), **known, "skipped_reason": skipped.reason}


def _place(case: Case | Skipped) -> dict[str, Any]:
    row = case.row
    return {
        "source": row.source_id,
        "file": row.file,
        "line": row.line,
        "scope": row.scope,
        "model": row.model_name,
    }


def validation_warnings(found: Validation) -> list[str]:
    """Return what a reader of the figures must mind."""
    warnings = []
    inside = sorted({case.source_id for case, seen in zip(found.cases, found.in_sample, strict=True) if seen})
    if inside:
        warnings.append(f"in sample, the fit has seen rows of these sources: {', '.join(inside)}.")
    if found.memory_sources_in_sample:
        seen = ", ".join(found.memory_sources_in_sample)
        warnings.append(f"memory in sample, numbers were set on rows of these sources: {seen}.")
    contradictory = sum("contradictory" in skipped.reason for skipped in found.skipped)
    if contradictory:
        warnings.append(f"{contradictory} rows contradict themselves and are skipped.")
    slow = _outside_bounds(found)
    if slow:
        warnings.append(f"{slow} measured step times are below the lower bound: the row or the bound is wrong.")
    return warnings


def _outside_bounds(found: Validation) -> int:
    measured: Sequence[float] = [case.step_time_s or np.inf for case in found.cases]
    return int((np.array(measured) < found.lower_s).sum())
