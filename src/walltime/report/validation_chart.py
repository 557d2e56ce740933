"""Scatter plots of a validation as SVG: every row a point, each source its colour and shape, no script needed."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from walltime.report.charts import decade_ticks

NUM_COLOURS, NUM_SHAPES = 7, 5
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 70, 12, 14, 46
_SQUARE, _FLAT = 600, 330
_BAND = 0.1
_FARTHEST = 3.0
"""Largest ratio of predicted to measured, or its inverse, for which the lower plot has room; beyond it is the edge."""
_SHAPES = (
    '<circle r="3.4"/>',
    '<path d="M-3.1-3.1h6.2v6.2h-6.2z"/>',
    '<path d="M0-4.2 4 3H-4z"/>',
    '<path d="M0-4.4 4.4 0 0 4.4-4.4 0z"/>',
    '<path d="M0 4.2 4-3H-4z"/>',
)


@dataclass(frozen=True)
class Point:
    """A row that has both times.

    Attributes
    ----------
    row
        Number of its row on the page.
    source
        Number of its source.
    measured_s, predicted_s
        [s]
    label
        What a reader of the screen hears.
    """

    row: int
    source: int
    measured_s: float
    predicted_s: float
    label: str


@dataclass(frozen=True)
class _Axis:
    """A logarithmic axis: values from low to high stand at pixels from start to end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def shape_definitions() -> str:
    """Return the markers, which a page must hold once."""
    shapes = "".join(f'<g id="shape{i}">{shape}</g>' for i, shape in enumerate(_SHAPES))
    return f'<svg class="shapes" width="0" height="0" aria-hidden="true"><defs>{shapes}</defs></svg>'


def marker(source: int) -> str:
    """Return the marker of a source as a small drawing."""
    return (
        f'<svg class="marker" viewBox="-6 -6 12 12" aria-hidden="true"><use href="#shape{shape_of(source)}" '
        f'class="c{source % NUM_COLOURS}"/></svg>'
    )


def shape_of(source: int) -> int:
    """Return which marker a source has; sources of one colour differ in it."""
    return (source + source // NUM_COLOURS) % NUM_SHAPES


def scatter(points: Sequence[Point]) -> str:
    """Return predicted against measured time, both logarithmic, with lines at equal times and a band of 10 %."""
    times_s = [t for point in points for t in (point.measured_s, point.predicted_s)]
    low, high = 0.8 * min(times_s), 1.25 * max(times_s)
    x = _Axis(low, high, _LEFT, _WIDTH - _RIGHT)
    y = _Axis(low, high, _SQUARE - _BOTTOM, _TOP)
    less, more = 1 - _BAND, 1 + _BAND
    below, above = [(low / less, low), (high, high * less)], [(high / more, high), (low, low * more)]
    corners = [(low, low), *below, (high, high), *above]
    band = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in corners)
    body = [
        *_grid(x, y, ticks(low, high), ticks(low, high), seconds),
        f'<polygon class="band" points="{band}"/>',
        f'<path class="equal" d="M{x.at(low):.1f} {y.at(low):.1f}L{x.at(high):.1f} {y.at(high):.1f}"/>',
        *_titles(_SQUARE, "measured step time", "predicted step time"),
        *_marks(points, x, y, [point.predicted_s for point in points], links=True),
    ]
    return _drawing("by-time", _SQUARE, "Predicted against measured step time", body)


def ratios(points: Sequence[Point]) -> str:
    """Return predicted over measured time against measured time, with a band of 10 %."""
    values = [point.predicted_s / point.measured_s for point in points]
    farthest = min(_FARTHEST, max(1.25, *(max(value, 1 / value) for value in values)) * 1.03)
    times_s = [point.measured_s for point in points]
    x = _Axis(0.8 * min(times_s), 1.25 * max(times_s), _LEFT, _WIDTH - _RIGHT)
    y = _Axis(1 / farthest, farthest, _FLAT - _BOTTOM, _TOP)
    top, bottom = y.at(1 + _BAND), y.at(1 - _BAND)
    width = _WIDTH - _RIGHT - _LEFT
    marked = [value for value in (0.33, 0.5, 0.7, 0.9, 1.1, 1.4, 2.0, 3.0) if y.low <= value <= y.high]
    body = [
        *_grid(x, y, ticks(x.low, x.high), marked, lambda value: f"{value:g}×"),
        f'<rect class="band" x="{_LEFT}" y="{top:.1f}" width="{width}" height="{bottom - top:.1f}"/>',
        f'<path class="equal" d="M{_LEFT} {y.at(1):.1f}h{width}"/>',
        *_titles(_FLAT, "measured step time", "predicted over measured"),
        *_marks(points, x, y, values, links=False),
    ]
    return _drawing("by-ratio", _FLAT, "Predicted over measured step time, against measured", body)


def _drawing(name: str, height: int, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg id="{name}" class="scatter" viewBox="0 0 {_WIDTH} {height}" role="group" aria-label="{title}">\n'
        + "\n".join(body)
        + "\n</svg>"
    )


def _grid(
    x: _Axis, y: _Axis, across: Sequence[float], up: Sequence[float], name_up: Callable[[float], str]
) -> Iterator[str]:
    lines = "".join(f"M{x.at(v):.1f} {y.start}V{y.end}" for v in across)
    lines += "".join(f"M{x.start} {y.at(v):.1f}H{x.end}" for v in up)
    yield f'<path class="grid" d="{lines}"/>'
    for value in across:
        yield f'<text x="{x.at(value):.1f}" y="{y.start + 16}" text-anchor="middle">{seconds(value)}</text>'
    for value in up:
        yield f'<text x="{x.start - 7}" y="{y.at(value) + 4:.1f}" text-anchor="end">{name_up(value)}</text>'


def _titles(height: int, across: str, up: str) -> Iterator[str]:
    centre, middle = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + height - _BOTTOM) / 2
    yield f'<text class="axis" x="{centre}" y="{height - 8}" text-anchor="middle">{across}</text>'
    yield f'<text class="axis" transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{up}</text>'


def _marks(points: Sequence[Point], x: _Axis, y: _Axis, values: Sequence[float], *, links: bool) -> Iterator[str]:
    """Yield points from the left to the right: the order in which the arrow keys go through them."""
    order = sorted(range(len(points)), key=lambda i: points[i].measured_s)
    for place, i in enumerate(order):
        point = points[i]
        use = f'<use href="#shape{shape_of(point.source)}" x="{x.at(point.measured_s):.1f}" y="{y.at(values[i]):.1f}"/>'
        look = f'class="p s{point.source} c{point.source % NUM_COLOURS}" data-row="{point.row}"'
        error = abs(point.predicted_s / point.measured_s - 1)
        if links:
            reach = "0" if place == 0 else "-1"
            title = f"<title>{escape(point.label)}</title>"
            yield f'<a {look} href="#row{point.row}" data-error="{error:.4f}" tabindex="{reach}">{title}{use}</a>'
        else:
            yield f"<g {look}>{use}</g>"


def ticks(low: float, high: float) -> list[float]:
    """Return round values between two positive numbers: 1, 2 and 5 times powers of ten, or the powers only.

    Examples
    --------
    >>> ticks(0.8, 30)
    [1.0, 2.0, 5.0, 10.0, 20.0]
    """
    decades, _ = decade_ticks(low, high, 9)
    if len(decades) >= 4:
        return decades
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = [float(f"{mantissa}e{exponent}") for exponent in range(first, last + 1) for mantissa in (1, 2, 5)]
    return [value for value in steps if low <= value <= high]


def seconds(value_s: float) -> str:
    """Return a time of a few digits in seconds or milliseconds."""
    return f"{value_s:g} s" if value_s >= 0.1 else f"{1000 * value_s:g} ms"
