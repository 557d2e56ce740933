"""Tables, bars and curves for the terminal, in plain text."""

import math
from collections.abc import Sequence

from walltime.arrays import Floats


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return aligned columns: the first ``left`` ones and those without a name to the left, the rest to the right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if i >= left and name else cell.ljust(width)
            for i, (name, cell, width) in enumerate(zip(header, row, widths, strict=True))
        ).rstrip()

    return "\n".join([line(cells[0]), "  ".join("-" * width for width in widths).rstrip(), *map(line, cells[1:])])


def bar(share: float, width: int = 30) -> str:
    """Return a bar of up to ``width`` characters."""
    return "#" * round(max(0.0, min(1.0, share)) * width)


def curve(
    x: Sequence[float] | Floats,
    y: Sequence[float] | Floats,
    *,
    y_max: float,
    marks: Sequence[tuple[float, str]] = (),
    threshold: float | None = None,
    width: int = 64,
    height: int = 14,
) -> str:
    """Return a curve against a logarithmic x axis, y in percent, with marked x values and a threshold.

    Parameters
    ----------
    x, y
        Points, x ascending and positive.
    y_max
        Top of the y axis.
    marks
        x values to mark with one character each.
    threshold
        A y value to draw as a dotted line.
    """
    lowest, highest = math.log10(x[0]), math.log10(max(x[-1], *(m for m, _ in marks)) if marks else x[-1])
    span = max(highest - lowest, 1e-9)

    def column(value: float) -> int:
        return min(width - 1, max(0, round((math.log10(value) - lowest) / span * (width - 1))))

    def line(value: float) -> int:
        return min(height - 1, max(0, round((1 - value / y_max) * (height - 1))))

    canvas = [[" "] * width for _ in range(height)]
    if threshold is not None:
        canvas[line(threshold)] = ["." if i % 2 else " " for i in range(width)]
    for value, character in marks:
        for row in canvas:
            row[column(value)] = character
    for x_value, y_value in zip(x, y, strict=True):
        canvas[line(y_value)][column(x_value)] = "*"
    labelled = {0: y_max, height - 1: 0.0, **({line(threshold): threshold} if threshold is not None else {})}
    lines = [
        f"{labelled[i] * 100:5.1f}% |{''.join(row)}" if i in labelled else f"{'':6} |{''.join(row)}"
        for i, row in enumerate(canvas)
    ]
    return "\n".join([*lines, f"{'':7}+{'-' * width}", _axis(lowest, span, width)])


def _axis(lowest: float, span: float, width: int) -> str:
    """Label whole decades, as many as fit; the ends where there are fewer than two."""
    if math.floor(lowest + span) - math.ceil(lowest) < 1:
        first, last = (f"{10**x:.1e}".replace("e+", "e") for x in (lowest, lowest + span))
        return f"{'':8}{first}{last:>{max(1, width - len(first))}}  FLOP"
    decades = range(math.ceil(lowest), math.floor(lowest + span) + 1)
    step = max(1, math.ceil(len(decades) * 7 / width))
    line = [" "] * (width + 8)
    for decade in decades[::step]:
        start = 8 + round((decade - lowest) / span * (width - 1)) - 2
        label = f"1e{decade}"
        if start + len(label) <= len(line):
            line[start : start + len(label)] = label
    return "".join(line).rstrip() + "  FLOP"
