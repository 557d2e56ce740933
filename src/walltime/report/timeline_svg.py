"""A simulated step as an SVG drawing: a row a pipeline stage, its communication below it where there is room."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from walltime.engines.simulated_step import STREAMS, TimelineEvent
from walltime.engines.timeline import Timeline
from walltime.report.timeline_rows import KINDS, LABELS, by_row, pattern, round_ticks, shown_as, slices, title
from walltime.units import format_time

_WIDTH, _LEFT, _RIGHT, _TOP = 1000, 92, 14, 58
_AXIS, _LEGEND = 30, 34
_COLOURS = {
    "forward": "#0072B2",
    "backward": "#E69F00",
    "weight_gradient": "#009E73",
    "communication": "#8A4FA3",
    "optimizer": "#56B4E9",
    "overhead": "#5A5A5A",
    "bubble": "#E8E8E8",
}
_TEXT, _LINE = "#222222", "#9A9A9A"
_STREAM_LABELS = {
    "tp_comm": "tp",
    "cp_comm": "cp",
    "ep_comm": "ep",
    "pp_before": "from before",
    "pp_after": "from after",
    "dp_comm": "dp",
}
_MOST_ROWS = 60
_MOST_RECTANGLES = 1500
_ROW, _SMALL_ROW, _LEAST_ROW, _GAP = 24, 9, 7, 3
_LEGEND_STEP, _LETTER, _THIN = 34, 6.4, 0.05
_LETTER_WIDTH = 0.66  # of its size, bold


@dataclass(frozen=True)
class _Row:
    """A row of the drawing: a stream of a stage, from ``top`` on. [px]"""

    stage: int
    stream: str
    top: float
    height: float

    @property
    def label(self) -> str:
        return f"stage {self.stage}" if self.stream == "compute" else _STREAM_LABELS[self.stream]


def timeline_svg(timeline: Timeline) -> str:
    """Return a timeline as an SVG drawing of 1,000 pixels' width.

    Parameters
    ----------
    timeline
        The step. Where its events are many and thin, a column of pixels shows what takes most of it.
    """
    events = by_row(timeline)
    rows = _rows(timeline, set(events))
    bottom = rows[-1].top + rows[-1].height
    first, second = title(timeline)
    many = sum(len(events[row.stage, row.stream]) for row in rows) > _MOST_RECTANGLES
    drawn = _merged if many else _rectangles
    body = [
        f'<rect width="{_WIDTH}" height="{bottom + _AXIS + _LEGEND:.0f}" fill="#FFFFFF"/>',
        f'<text x="{_LEFT}" y="22" font-size="{_fitting(first, 15):.1f}" font-weight="600">{escape(first)}</text>',
        f'<text x="{_LEFT}" y="41" font-size="{_fitting(second, 12):.1f}">{escape(second)}</text>',
        *(line for row in rows for line in _labelled(row)),
        *(line for row in rows for line in drawn(events[row.stage, row.stream], row, timeline)),
        *_axis(timeline.end_s, bottom),
        *_legend(events, rows, bottom + _AXIS),
    ]
    return _svg(bottom + _AXIS + _LEGEND, f"{first}. {second}", _description(timeline), body)


def _fitting(line: str, size: float) -> float:
    """Return the size of letters, or a smaller one with which a line fits the drawing. [px]"""
    return min(size, (_WIDTH - _LEFT - _RIGHT) / (_LETTER_WIDTH * len(line)))


def _svg(height: float, name: str, description: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" role="img" style="max-width:100%;height:auto" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="11" fill="{_TEXT}">\n'
        f"<title>{escape(name)}</title>\n<desc>{escape(description)}</desc>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _description(timeline: Timeline) -> str:
    """Say in words what the drawing shows."""
    told = []
    for stage in sorted({0, timeline.plan.pp - 1}):
        shares = sorted(timeline.shares(stage).items(), key=lambda item: -item[1])
        told.append(f"stage {stage}: " + ", ".join(f"{kind.replace('_', ' ')} {share:.1%}" for kind, share in shares))
    return f"Time runs to the right, a row a pipeline stage. {'; '.join(told)}."


def _rows(timeline: Timeline, used: set[tuple[int, str]]) -> list[_Row]:
    """Return the rows from the top down: streams of communication too if that makes few enough."""
    streams = [stream for stream in STREAMS if any((stage, stream) in used for stage in range(timeline.plan.pp))]
    if len(used) > _MOST_ROWS:
        streams = ["compute"]
    height = max(_LEAST_ROW, min(_ROW, _ROW * _MOST_ROWS / 2 / timeline.plan.pp))
    rows, top = [], float(_TOP)
    for stage in range(timeline.plan.pp):
        for stream in streams:
            if (stage, stream) in used:
                size = height if stream == "compute" else _SMALL_ROW
                rows.append(_Row(stage, stream, top, size))
                top += size + 1
        top += _GAP if len(streams) > 1 else 1
    return rows


def _labelled(row: _Row) -> Iterator[str]:
    size = min(11, row.height + 1)
    yield (
        f'<text x="{_LEFT - 6}" y="{row.top + row.height / 2 + size * 0.36:.1f}" text-anchor="end" '
        f'font-size="{size:g}">{row.label}</text>'
    )


def _x(time_s: float, timeline: Timeline) -> float:
    return _LEFT + time_s / timeline.end_s * (_WIDTH - _LEFT - _RIGHT)


def _rectangles(events: Sequence[TimelineEvent], row: _Row, timeline: Timeline) -> Iterator[str]:
    """Yield a rectangle an event, which says what it is."""
    least = _THIN if row.stream == "compute" else 1
    for event in events:
        left, right = _x(event.start_s, timeline), _x(event.end_s, timeline)
        told = escape(_told(event))
        edge = ' stroke="#FFFFFF" stroke-width="0.5"' if right - left > _GAP else ""
        yield (
            f'<rect x="{left:.2f}" y="{row.top:.1f}" width="{max(right - left, least):.2f}" height="{row.height:.1f}" '
            f'fill="{_COLOURS[shown_as(event)]}"{edge}><title>{told}</title></rect>'
        )


def _told(event: TimelineEvent) -> str:
    of = f" of microbatch {event.microbatch}, chunk {event.chunk}" if event.microbatch >= 0 else ""
    where = "" if event.stream == "compute" else f"{event.stream.replace('_', ' ')}, "
    return (
        f"stage {event.stage}: {where}{event.kind.replace('_', ' ')}{of}, "
        f"{format_time(event.start_s)} to {format_time(event.end_s)}"
    )


def _merged(events: Sequence[TimelineEvent], row: _Row, timeline: Timeline) -> Iterator[str]:
    """Yield a path a kind: a dash for each run of pixel columns that show it."""
    columns = _WIDTH - _LEFT - _RIGHT
    shares = slices(events, np.linspace(0, timeline.end_s, columns + 1))
    runs: dict[str, list[str]] = {}
    for kind, start, length in _runs(pattern(shares)):
        runs.setdefault(kind, []).append(f"M{_LEFT + start} {row.top + row.height / 2:.1f}h{length}")
    for kind, dashes in runs.items():
        told = LABELS[kind] if row.stream == "compute" else row.label
        share = float(np.mean(shares[kind])) * timeline.end_s / timeline.time_s
        yield (
            f'<path d="{"".join(dashes)}" stroke="{_COLOURS[kind]}" stroke-width="{row.height:.1f}" '
            f'shape-rendering="crispEdges"><title>stage {row.stage}: {told}, {share:.1%} of the step</title></path>'
        )


def _runs(kinds: Sequence[str | None]) -> Iterator[tuple[str, int, int]]:
    start = 0
    for i in range(1, len(kinds) + 1):
        if i == len(kinds) or kinds[i] != kinds[start]:
            kind = kinds[start]
            if kind is not None:
                yield kind, start, i - start
            start = i


def _axis(end_s: float, top: float) -> Iterator[str]:
    yield f'<path d="M{_LEFT} {top + 4:.1f}H{_WIDTH - _RIGHT}" stroke="{_LINE}"/>'
    for tick_s in round_ticks(end_s, 10):
        x = _LEFT + tick_s / end_s * (_WIDTH - _LEFT - _RIGHT)
        yield f'<path d="M{x:.1f} {top + 4:.1f}v5" stroke="{_LINE}"/>'
        yield f'<text x="{x:.1f}" y="{top + 21:.1f}" text-anchor="middle">{tick_s:g} s</text>'


def _legend(events: dict[tuple[int, str], list[TimelineEvent]], rows: Sequence[_Row], top: float) -> Iterator[str]:
    used = {shown_as(event) for row in rows for event in events[row.stage, row.stream]}
    lanes = any(row.stream != "compute" for row in rows)
    x = float(_LEFT)
    for kind in KINDS:
        if kind in used:
            label = "communication" if kind == "communication" and lanes else LABELS[kind]
            yield f'<rect x="{x:.0f}" y="{top + 6:.0f}" width="14" height="12" fill="{_COLOURS[kind]}"/>'
            yield f'<text x="{x + 19:.0f}" y="{top + 16:.0f}">{label}</text>'
            x += _LEGEND_STEP + _LETTER * len(label)
