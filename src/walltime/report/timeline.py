"""A simulated step on a terminal, a row a pipeline stage and a character a slice of time; and in a notebook."""

from dataclasses import dataclass

import numpy as np

from walltime.engines.timeline import Timeline
from walltime.report.timeline_rows import KINDS, LABELS, by_row, pattern, round_ticks, slices, title
from walltime.report.timeline_svg import timeline_svg

_CHARACTERS = {
    "forward": "F",
    "backward": "B",
    "weight_gradient": "W",
    "communication": "~",
    "optimizer": "O",
    "overhead": "+",
    "bubble": ".",
}
_ANSI = {
    "forward": "34",
    "backward": "33",
    "weight_gradient": "36",
    "communication": "35",
    "optimizer": "32",
    "overhead": "37",
    "bubble": "2",
}
_MOST_ROWS = 32
_LEAST_WIDTH, _TICK_WIDTH = 40, 10


@dataclass(frozen=True, repr=False)
class DrawnTimeline(Timeline):
    """A `walltime.engines.timeline.Timeline` that shows itself."""

    def svg(self) -> str:
        """Return it as a drawing."""
        return timeline_svg(self)

    def text(self, width: int = 100) -> str:
        """Return it as lines of ``width`` characters."""
        return timeline_text(self, width)

    def _repr_html_(self) -> str:
        return timeline_svg(self)


def drawn(timeline: Timeline) -> DrawnTimeline:
    """Return a timeline that shows itself."""
    return DrawnTimeline(**vars(timeline))


def timeline_text(timeline: Timeline, width: int, *, colour: bool = False) -> str:
    """Return a timeline as lines of up to ``width`` characters.

    Parameters
    ----------
    timeline
        The step.
    width
        Of the terminal; 40 at least.
    colour
        Whether to set letters off by colour as well.
    """
    stages = _shown_stages(timeline.plan.pp)
    label = len(f"stage {timeline.plan.pp - 1} ")
    columns = max(width, _LEAST_WIDTH) - label - 1
    edges_s = np.linspace(0, timeline.end_s, columns + 1)
    rows, lines, used = by_row(timeline), [], set()
    for stage in stages:
        kinds = pattern(slices(rows[stage, "compute"], edges_s))
        used |= set(kinds)
        lines.append(f"{f'stage {stage}':<{label}}" + "".join(_character(kind, colour=colour) for kind in kinds))
    legend = "   ".join(f"{_character(kind, colour=colour)} {LABELS[kind]}" for kind in KINDS if kind in used)
    shown = [*title(timeline), "", *lines, *_axis(timeline.end_s, label, columns), "", legend]
    if len(stages) < timeline.plan.pp:
        shown.append(f"{len(stages)} of {timeline.plan.pp} stages are shown, evenly spread")
    return "\n".join(line.rstrip() for line in shown)


def _shown_stages(pp: int) -> list[int]:
    if pp <= _MOST_ROWS:
        return list(range(pp))
    return sorted({round(i * (pp - 1) / (_MOST_ROWS - 1)) for i in range(_MOST_ROWS)})


def _character(kind: str | None, *, colour: bool) -> str:
    if kind is None:
        return " "
    character = _CHARACTERS[kind]
    return f"\x1b[{_ANSI[kind]}m{character}\x1b[0m" if colour else character


def _axis(end_s: float, label: int, columns: int) -> list[str]:
    """Return a line of ticks and a line of their times in seconds."""
    marks, names = [" "] * (columns + label), [" "] * (columns + label + _TICK_WIDTH)
    for tick_s in round_ticks(end_s, max(2, columns // _TICK_WIDTH)):
        at = label + min(columns - 1, int(tick_s / end_s * columns))
        marks[at] = "|"
        name = f"{tick_s:g} s"
        if at + len(name) <= columns + label:
            names[at : at + len(name)] = name
    return ["".join(marks), "".join(names)]
