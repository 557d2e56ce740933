"""The two thresholds of a frontier, told apart: in words, on a ruler, in a table."""

import math
from collections.abc import Iterator, Sequence

from walltime.limits import LatencyWall, LinearScalingEnd
from walltime.report.inline import flop
from walltime.units import format_flop

Thresholds = tuple[str, LinearScalingEnd, LatencyWall]
"""What a reading is called, and its two thresholds."""


def in_words(subject: str, rows: Sequence[Thresholds]) -> str:
    """Return a paragraph that says where linear scaling ends, where the wall is, and how far apart they are.

    Parameters
    ----------
    subject
        What is trained, for how long, on what: the sentence's beginning.
    rows
        At least one reading.
    """
    share = f"{100 * rows[0][1].fraction:.0f} %"
    ends = " ".join(f"{label.capitalize()}, {_end_in_words(end)}." for label, end, _ in rows)
    return (
        f"{subject}, two thresholds must be told apart. Linear scaling ends where utilisation has fallen to "
        f"{share} of its plateau: beyond it a larger run still works, at a growing cost. {ends} "
        f"The latency wall is where no cluster of any size finishes in time. {_walls_in_words(rows)}"
    )


def _end_in_words(end: LinearScalingEnd) -> str:
    if end.first_crossing_flop is None or end.envelope_flop is None:
        return "no run falls that far"
    first, envelope = format_flop(end.first_crossing_flop), format_flop(end.envelope_flop, 2)
    if end.last_crossing_flop == end.first_crossing_flop:
        crossing = f"a run falls that far at {first} FLOP, and all larger ones do"
    elif end.last_crossing_flop is None:
        crossing = f"a run first falls that far at {first} FLOP, though the largest does not"
    else:
        last = format_flop(end.last_crossing_flop)
        crossing = f"a run first falls that far at {first} FLOP, and all do from {last}"
    return f"{crossing}; the smoothed envelope crosses at {envelope}"


def _walls_in_words(rows: Sequence[Thresholds]) -> str:
    if len({wall for _, _, wall in rows}) == 1:
        reading = "In both readings" if len(rows) == 2 else "Here"
        return f"{reading} {_wall_in_words(rows[0][2])}."
    return " ".join(f"{label.capitalize()}, {_wall_in_words(wall)}." for label, _, wall in rows)


def _wall_in_words(wall: LatencyWall) -> str:
    if wall.last_feasible_flop is None:
        return "no run is feasible"
    largest = f"the largest run that any cluster finishes is {format_flop(wall.last_feasible_flop)} FLOP"
    if wall.first_infeasible_flop is None:
        return f"{largest}, the largest that was tried"
    return f"{largest}, and the next one tried, {format_flop(wall.first_infeasible_flop)}, is infeasible"


def thresholds_table(rows: Sequence[Thresholds]) -> str:
    """Return the table of all five numbers of each reading."""
    head = "".join(f'<th scope="col">{label}</th>' for label, _, _ in rows)
    ends = [end for _, end, _ in rows]
    walls = [wall for _, _, wall in rows]
    body = "\n".join(
        [
            "<tbody>",
            _group("End of linear scaling", "end", len(rows)),
            _row(
                "first crossing",
                "the first run at or below the threshold",
                [e.first_crossing_flop for e in ends],
            ),
            _row("last crossing", "from here on no run is above it", [e.last_crossing_flop for e in ends]),
            _row("smoothed envelope", "interpolated between runs", [e.envelope_flop for e in ends]),
            "</tbody>\n<tbody>",
            _group("Latency wall", "wall", len(rows)),
            _row("last feasible", "the largest run that finishes", [w.last_feasible_flop for w in walls]),
            _row("first infeasible", "the next one tried", [w.first_infeasible_flop for w in walls]),
            "</tbody>",
        ]
    )
    caption = (
        "Training compute in FLOP. Runs are tried on a grid of widths, so that neither threshold is known "
        "better than to the next run"
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="The two thresholds">'
        f'<table class="thresholds"><caption><span>{caption}</span></caption>\n'
        f"<thead><tr><td></td>{head}</tr></thead>\n{body}</table></div>"
    )


def _group(name: str, kind: str, readings: int) -> str:
    return f'<tr><th colspan="{readings + 1}" scope="rowgroup"><i class="{kind}"></i>{name}</th></tr>'


def _row(name: str, meaning: str, values: Sequence[float | None]) -> str:
    cells = "".join(f'<td class="n">{flop(value)}</td>' for value in values)
    return f'<tr><th scope="row">{name} <small>{meaning}</small></th>{cells}</tr>'


def ruler(rows: Sequence[Thresholds]) -> str:
    """Return both thresholds of each reading on one logarithmic scale, as a drawing made of boxes."""
    values = [value for _, end, wall in rows for value in _known(end, wall)]
    if not values:
        return ""
    low, high = math.floor(math.log10(min(values))) - 2, math.ceil(math.log10(max(values))) + 1
    scale = _Scale(low, high)
    tracks = "\n".join(
        f'<div class="track"><b>{label}</b><div class="line">{"".join(_boxes(scale, end, wall))}</div></div>'
        for label, end, wall in rows
    )
    decades = range(low, high + 1)
    ticks = "".join(f'<span style="left:{scale.of(10.0**d):.2f}%">10<sup>{d}</sup></span>' for d in decades)
    key = (
        '<span><i class="end"></i>linear scaling ends: first to last crossing (line: envelope)</span> '
        '<span><i class="wall"></i>latency wall: infeasible from here on</span>'
    )
    return (
        f'<div class="ruler" aria-hidden="true">\n<p>{key}</p>\n{tracks}\n'
        f'<div class="ticks">{ticks}</div>\n<p class="unit">training compute [FLOP]</p></div>'
    )


class _Scale:
    """Shares of the width, in percent, of numbers between two powers of ten."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def of(self, value: float) -> float:
        return 100 * (math.log10(value) - self.low) / (self.high - self.low)


def _known(end: LinearScalingEnd, wall: LatencyWall) -> list[float]:
    values = (end.first_crossing_flop, end.last_crossing_flop, end.envelope_flop)
    return [v for v in (*values, wall.last_feasible_flop, wall.first_infeasible_flop) if v is not None]


def _boxes(scale: _Scale, end: LinearScalingEnd, wall: LatencyWall) -> Iterator[str]:
    if end.first_crossing_flop is not None:
        left, right = scale.of(end.first_crossing_flop), scale.of(end.last_crossing_flop or 10.0**scale.high)
        yield f'<i class="end" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>'
    if end.envelope_flop is not None:
        yield f'<i class="envelope" style="left:{scale.of(end.envelope_flop):.2f}%"></i>'
    if wall.first_infeasible_flop is not None:
        left = scale.of(wall.first_infeasible_flop)
        yield f'<i class="wall" style="left:{left:.2f}%;width:{100 - left:.2f}%"></i>'
