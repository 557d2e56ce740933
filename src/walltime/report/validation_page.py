"""One self-contained page for a validation: nothing is fetched; its tables and drawings need no script."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from walltime import __version__
from walltime.calibrate.cross_validation import LeftOut
from walltime.catalog import data_version
from walltime.report.validation import correlation, percent
from walltime.report.validation_chart import Point, marker, ratios, scatter, seconds, shape_definitions
from walltime.report.validation_rows import row_tables
from walltime.validate.errors import ErrorReport, ErrorSummary
from walltime.validate.fitted_parameters import num_fitted_elsewhere, training_parameters
from walltime.validate.validation import Validation, is_timed

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src '{script}'; base-uri 'none'; form-action 'none'"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Predicted against measured training steps: walltime</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""
_COUNTED = (
    "The error of a row is its predicted over its measured step time, less one; median, 90th percentile and mean are "
    "those of its size, the bias is its median with the sign: positive where predictions are too slow. Rank is "
    "Spearman’s correlation and regret the measured time of the plan ranked first over the best, less one; both are "
    "means over groups of rows that share source, model, accelerator, number of GPUs, batch and sequence length. "
    "Rows of another scope than core stay out of these figures. Overall is the mean over sources: each weighs the "
    "same, however many rows it has."
)
_BASELINE = (
    "Constant utilisation says that a step takes its FLOP over the accelerators times a constant: one for each source, "
    "accelerator and precision, fitted on the very rows that it predicts. It is the predictor to beat."
)


def validation_page(found: Validation, left_out: LeftOut | None = None) -> str:
    """Return the page of a validation.

    Parameters
    ----------
    found
        Rows, predictions and errors.
    left_out
        The same with each source left out of the fit, shown beside it.
    """
    points = _points(found)
    sections = [
        _section("answer", "How far off?", _answer(found, left_out)),
        *([_section("points", "Every row", _bench(found, points))] if points else []),
        _section("by-source", "By source", _errors(found, left_out)),
        _section("rows", "Rows", "\n".join(row_tables(found))),
        _section("skipped", "Skipped rows", _skipped(found)),
        _section("fitted", "Fitted numbers", _fitted()),
    ]
    hidden = [f"body:has(#show{i}:not(:checked)) .s{i} {{ display: none; }}" for i in range(len(found.sources))]
    script = _file("validation.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _PAGE.format(
        policy=_POLICY.format(script=f"sha256-{digest}"),
        style=_file("page.css") + _file("validation.css") + "\n".join(hidden) + "\n",
        body="\n".join([_header(found), "<main>", *sections, "</main>", _footer()]),
        script=script,
    )


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _header(found: Validation) -> str:
    counted = f"{len(found.cases):,} measured rows of {len(found.sources)} sources, {len(found.skipped):,} more skipped"
    return (
        '<header>\n<p class="kicker">walltime validates</p>\n<h1>Predicted against measured training steps</h1>\n'
        f'<p class="byline">{counted}</p>\n</header>'
    )


def _section(anchor: str, heading: str, content: str) -> str:
    return f'<section id="{anchor}">\n<h2>{heading}</h2>\n{content}\n</section>'


def _answer(found: Validation, left_out: LeftOut | None) -> str:
    ours, theirs = found.report.overall, found.baseline_report.overall
    tiles = [("median error", ours.median_abs_error), ("90th percentile", ours.p90_abs_error)]
    if left_out is not None:
        tiles.append(("median, sources left out of the fit", left_out.report.overall.median_abs_error))
    tiles.append(("mean regret of the plan ranked first", ours.mean_regret))
    tiles.append(("memory, median", ours.memory_median_abs_error))
    tiles.append(("median of constant utilisation", theirs.median_abs_error))
    known = ((name, value) for name, value in tiles if value is not None)
    shown = "".join(f"<div><dt>{name}</dt><dd>{percent(value)}</dd></div>" for name, value in known)
    return f'<dl class="tiles">{shown}</dl>\n<p class="note">{_sample_note(found)}</p>'


def _sample_note(found: Validation) -> str:
    inside, timed = int(found.in_sample.sum()), sum(is_timed(case) for case in found.cases)
    if not inside:
        return "Out of sample: no number of the catalog was fitted on rows of these sources." + _memory_note(found)
    return (
        f"<strong>{inside:,} of {timed:,} timed rows are in sample:</strong> the numbers of their accelerator or "
        "software were fitted on rows of their source. <code>walltime validate --leave-one-source-out</code> fits anew "
        "without each source." + _memory_note(found)
    )


def _memory_note(found: Validation) -> str:
    seen = found.memory_sources_in_sample
    if not seen:
        return ""
    return f" Memory is in sample for {escape(', '.join(seen))}: what software keeps was set on their rows."


def _points(found: Validation) -> list[Point]:
    """Return a point for each row that has a measured time and counts in headline figures."""
    number = {source: i for i, source in enumerate(found.sources)}
    points = []
    for i, case in enumerate(found.cases):
        if is_timed(case) and case.step_time_s:
            predicted_s, error = float(found.predictions.step_time_s[i]), found.relative_errors[i]
            times = f"{seconds(float(f'{case.step_time_s:.3g}'))} measured, {100 * error:+.1f} %"
            label = f"{case.row.model_name}, {case.num_gpus} × {case.machine.accelerator}: {times} ({case.source_id})"
            points.append(Point(i, number[case.source_id], case.step_time_s, predicted_s, label))
    return points


def _bench(found: Validation, points: Sequence[Point]) -> str:
    return (
        f"{shape_definitions()}\n{_filters(found, points)}\n"
        '<p class="note">The band is ±10 %. Choose a point, or go from point to point with the arrow keys: its row and '
        "its parts stand beside the plot. Without a script a point leads to its row below.</p>\n"
        f'<div class="bench">\n<div>{scatter(points)}\n{ratios(points)}</div>\n'
        '<aside id="selected" aria-live="polite" aria-label="The chosen row" hidden></aside>\n</div>'
    )


def _filters(found: Validation, points: Sequence[Point]) -> str:
    counts = [sum(point.source == i for point in points) for i in range(len(found.sources))]
    boxes = "\n".join(
        f'<label><input type="checkbox" id="show{i}" value="s{i}" checked>{marker(i)}{escape(source)}'
        f" ({counts[i]})</label>"
        for i, source in enumerate(found.sources)
        if counts[i]
    )
    return f'<fieldset><legend>Sources shown</legend><div class="sources-shown">\n{boxes}\n</div></fieldset>'


def _errors(found: Validation, left_out: LeftOut | None) -> str:
    groups = [("", 3), ("walltime", 8), ("constant utilisation", 5)]
    columns = ["source", "rows", "sample", "median", "p90", "mean", "bias", "rank", "regret", "memory", "fits"]
    columns += ["median", "p90", "mean", "rank", "regret"]
    if left_out is not None:
        groups.append(("each source left out", 3))
        columns += ["median", "p90", "mean"]
    head = "".join(
        f'<th scope="colgroup" colspan="{span}"{_edge(i)}>{name}</th>' for i, (name, span) in enumerate(groups)
    )
    edges = {3, 11, 16}
    second = "".join(f'<th scope="col"{_edge(i in edges)}>{name}</th>' for i, name in enumerate(columns))
    lines = [
        _errors_row(found, left_out, source, f"{found.report.by_source[source].rows_used}", found.sample_of(source))
        for source in found.sources
    ]
    lines.append(_errors_row(found, left_out, None, f"{found.report.overall.rows_used}", ""))
    body = "\n".join(lines)
    table = (
        '<table class="errors"><caption><span>Errors in step time, memory and fits</span></caption>\n'
        f"<thead><tr>{head}</tr><tr>{second}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    )
    scrolled = f'<div class="scroll" tabindex="0" role="region" aria-label="Errors by source">{table}</div>'
    return f'<div class="prose"><p>{_COUNTED}</p><p>{_BASELINE}</p></div>\n{scrolled}'


def _edge(here: object) -> str:
    return ' class="edge"' if here else ""


def _errors_row(found: Validation, left_out: LeftOut | None, source: str | None, rows: str, sample: str) -> str:
    ours, theirs = _of(found.report, source), _of(found.baseline_report, source)
    cells = _cells(ours)
    cells[3:3] = [percent(ours.bias, signed=True)]
    cells += [percent(ours.memory_median_abs_error), percent(ours.fits_accuracy), *_cells(theirs)]
    if left_out is not None:
        cells += _cells(_of(left_out.report, source))[:3]
    edges = {0, 8, 13}
    shown = "".join(
        f'<td class="n{" edge" if i in edges else ""}">{_printed(cell)}</td>' for i, cell in enumerate(cells)
    )
    name = f'<th scope="row">{escape(source or "overall")}</th>'
    total = ' class="overall"' if source is None else ""
    return f'<tr{total}>{name}<td class="n">{rows}</td><td class="n">{sample}</td>{shown}</tr>'


def _printed(cell: str) -> str:
    return "–" if cell == "-" else cell.replace("-", "−")


def _of(report: ErrorReport, source: str | None) -> ErrorSummary:
    return report.overall if source is None else report.by_source.get(source, ErrorSummary())


def _cells(summary: ErrorSummary) -> list[str]:
    s = summary
    sizes = [percent(s.median_abs_error), percent(s.p90_abs_error), percent(s.mean_abs_error)]
    return [*sizes, correlation(s.spearman), percent(s.mean_regret)]


def _skipped(found: Validation) -> str:
    lines = [
        f'<tr><th scope="row">{escape(source)}</th><td class="n">{count}</td><td>{escape(reason)}</td></tr>'
        for source, summary in found.report.by_source.items()
        for reason, count in sorted(summary.skipped.items(), key=lambda item: -item[1])
    ]
    if not lines:
        return '<p class="note">None.</p>'
    head = "".join(f'<th scope="col">{name}</th>' for name in ("source", "rows", "why"))
    body = "\n".join(lines)
    return (
        "<table><caption><span>Rows without a prediction, or not in headline figures</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    )


def _fitted() -> str:
    parameters = training_parameters()
    decided = sum(parameter.decided for parameter in parameters)
    elsewhere = ", ".join(f"{count} on {name}" for name, count in num_fitted_elsewhere().items())
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("of", "number", "value", "low", "high", "decided by rows", "rows", "fitted on")
    )
    body = "\n".join(_parameter_rows())
    table = (
        '<table class="data"><caption><span>Ranges are two standard deviations either way</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"
    )
    return (
        f'<p class="note">{len(parameters)} numbers of accelerators and software stacks were fitted on step times, of '
        f"which rows decide {decided}; the others stay near the value of their kin. Fitted elsewhere: {elsewhere}."
        "</p>\n"
        f"<details><summary>All {len(parameters)}</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Fitted numbers">{table}</div></details>'
    )


def _parameter_rows() -> Iterator[str]:
    for p in training_parameters():
        ends = "".join(f"<td>{'' if end is None else f'{end:.4g}'}</td>" for end in (p.low, p.high))
        sources = escape(", ".join(p.fitted_on))
        yield (
            f'<tr><th scope="row">{escape(f"{p.kind} {p.owner}")}</th><td>{escape(p.name)}</td><td>{p.value:.4g}</td>'
            f"{ends}<td>{'yes' if p.decided else 'no'}</td><td>{p.rows}</td><td>{sources}</td></tr>"
        )


def _footer() -> str:
    versions = {"walltime": __version__, "data": data_version()}
    entries = "".join(f"<div><dt>{name}</dt><dd>{escape(version)}</dd></div>" for name, version in versions.items())
    return f"<footer>\n<dl>{entries}</dl>\n</footer>"
