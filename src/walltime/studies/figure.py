"""A figure as data: what a chart, a table and a CSV file are all drawn from."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Mark:
    """A vertical line with a name; to the right of an ``ends`` mark nothing is feasible."""

    x: float
    label: str
    ends: bool = False


@dataclass(frozen=True)
class Panel:
    """One set of axes."""

    title: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()


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
        With units.
    panels
        One or more sets of axes.
    rows
        The tidy table behind the figure, one dictionary a row, units in the keys.
    x_log, y_log, y_percent
        How the axes are drawn.
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
