"""A figure as data: what a chart, a table and a CSV file are all drawn from."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Series:
    """One line of a chart, or points: series of the same label look the same.

    Attributes
    ----------
    label
        Its name.
    x, y
        Its points.
    line, points
        Whether points are joined, and whether they are marked.
    like
        The label whose colour and marker it has; empty for its own.
    hollow
        Whether points are outlines only: forecasts among what can be measured.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    line: bool = True
    points: bool = True
    like: str = ""
    hollow: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line with a name; to the right of an ``ends`` mark nothing is feasible."""

    x: float
    label: str
    ends: bool = False


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes
    ----------
    title
        What it shows; where the figure has no ``y_label``, the quantity with its unit.
    series, marks
        What is drawn.
    y_percent
        Whether a y axis of its own is in percent.
    """

    title: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    y_percent: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure of a study.

    Attributes
    ----------
    name
        Stem of its files.
    title, caption
        A short title, and a paragraph that says what is seen and what to take from it.
    x_label, y_label
        With units. Without a ``y_label`` each panel has a y axis of its own, from 0, named by its title.
    panels
        One or more sets of axes.
    rows
        The tidy table behind the figure, one dictionary a row, units in the keys.
    x_log, y_log, y_percent, x_limits, y_limits
        How the axes are drawn.
    x_ticks
        Where the x axis is labelled, and how; where there are none, as its numbers ask for.
    legend
        Whether curves are named in a legend even where there is room beside them.
    """

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    panels: tuple[Panel, ...]
    rows: tuple[dict[str, Any], ...] = field(repr=False)
    x_log: bool = True
    y_log: bool = False
    y_percent: bool = False
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    x_ticks: tuple[tuple[float, str], ...] = ()
    legend: bool = False
