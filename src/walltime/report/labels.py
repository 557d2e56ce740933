"""Where text goes on a chart, so that it touches no curve and no other text: plain geometry in pixels."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Size = tuple[float, float]

_CLEAR = 4.0
"""Least distance between text and anything drawn. [px at 100 dpi]"""
_ALONE = 13.0
"""Least distance between a curve's label and any other curve. [px]"""
_SHORT = 16
"""Most characters of a part of a name that is kept on one line."""
_STEP = 8.0
"""Spacing of the positions that are tried. [px]"""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y upwards."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: "Box", gap: float = _CLEAR) -> bool:
        """Whether the two are closer than ``gap``."""
        return (
            self.x0 < other.x1 + gap
            and other.x0 < self.x1 + gap
            and self.y0 < other.y1 + gap
            and other.y0 < self.y1 + gap
        )

    def contains(self, other: "Box") -> bool:
        """Whether the other is wholly inside."""
        return self.x0 <= other.x0 and self.y0 <= other.y0 and self.x1 >= other.x1 and self.y1 >= other.y1

    def distance(self, points: Points) -> float:
        """Distance to the nearest point, (points, 2); 0 inside."""
        if not len(points):
            return np.inf
        dx = np.maximum(np.maximum(self.x0 - points[:, 0], points[:, 0] - self.x1), 0)
        dy = np.maximum(np.maximum(self.y0 - points[:, 1], points[:, 1] - self.y1), 0)
        return float(np.sqrt(np.min(dx * dx + dy * dy)))


@dataclass(frozen=True)
class Spot:
    """Where a label goes: the pixel it is anchored at, which corner or side of it is there, and its text."""

    text: str
    x: float
    y: float
    ha: str
    va: str
    rotation: int = 0

    def box(self, size: Size) -> Box:
        """Return the rectangle that text of this size [px] takes."""
        width, height = size
        x0 = self.x - width * {"left": 0.0, "center": 0.5, "right": 1.0}[self.ha]
        y0 = self.y - height * {"bottom": 0.0, "center": 0.5, "top": 1.0}[self.va]
        return Box(x0, y0, x0 + width, y0 + height)


@dataclass
class Scene:
    """What is drawn already: where text may go, the curves, other lines, and text."""

    inside: Box
    curves: list[Points]
    lines: list[Points] = field(default_factory=list)
    texts: list[Box] = field(default_factory=list)

    def free(self, box: Box) -> bool:
        """Whether text here touches nothing."""
        return (
            self.inside.contains(box)
            and not any(box.overlaps(text) for text in self.texts)
            and all(box.distance(points) >= _CLEAR for points in (*self.curves, *self.lines))
        )


def sampled(vertices: Points, step: float = 3.0) -> Points:
    """Return points every few pixels along a polyline, (vertices, 2) -> (points, 2)."""
    if len(vertices) < 2:
        return vertices
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(vertices, axis=0).T))])
    at = np.linspace(0, along[-1], max(2, int(along[-1] / step) + 1))
    return np.column_stack([np.interp(at, along, vertices[:, axis]) for axis in (0, 1)])


def curve_spot(scene: Scene, curve: int, text: str, size: Size) -> Spot | None:
    """Return where a curve's name goes: nearest its end where that is free, else where it stands most alone.

    Parameters
    ----------
    scene
        Everything drawn.
    curve
        Which of its curves is named.
    size
        Width and height of the text. [px]

    Returns
    -------
    Spot or None
        None where the name would be mistaken for another curve's everywhere.
    """
    own = scene.curves[curve]
    others = np.concatenate([np.empty((0, 2)), *(c for i, c in enumerate(scene.curves) if i != curve)])
    best, best_score = None, -np.inf
    for spot, bonus in _curve_candidates(own, text):
        box = spot.box(size)
        alone, near = box.distance(others), box.distance(own)
        if alone < max(_ALONE, 2 * near) or near > 2 * _STEP or not scene.free(box):
            continue
        score = min(alone, 60.0) - near + bonus
        if score > best_score:
            best, best_score = spot, score
    return best


def _curve_candidates(own: Points, text: str) -> Iterator[tuple[Spot, float]]:
    end_x, end_y = own[-1]
    yield Spot(text, end_x + 7, end_y, "left", "center"), 60.0
    for x, y in own[:: max(1, int(_STEP / 3))]:
        yield Spot(text, x, y + 6, "center", "bottom"), 4.0
        yield Spot(text, x + 6, y + 5, "left", "bottom"), 3.0
        yield Spot(text, x - 6, y + 5, "right", "bottom"), 3.0
        yield Spot(text, x, y - 6, "center", "top"), 0.0
        yield Spot(text, x + 6, y - 5, "left", "top"), 0.0
        yield Spot(text, x - 6, y - 5, "right", "top"), 0.0
        yield Spot(text, x + 8, y, "left", "center"), 2.0
        yield Spot(text, x - 8, y, "right", "center"), 0.0


def mark_spots(scene: Scene, x: float, text: str) -> Iterator[Spot]:
    """Yield where a vertical line's name may go, best first: beside it from the top down, then along it."""
    top, bottom = scene.inside.y1 - 3, scene.inside.y0
    unbroken = _kept_together(text)
    for side, shift in (("left", 6), ("right", -6)):
        for width in (30, 24, 18):
            lines = "\n".join(textwrap.wrap(unbroken, width))
            for y in np.arange(top, (top + bottom) / 2, -_STEP):
                yield Spot(lines, x + shift, float(y), side, "top")
    for y in np.arange(top, bottom, -_STEP):
        yield Spot(text, x + 5, float(y), "left", "top", 90)
        yield Spot(text, x - 5, float(y), "right", "top", 90)


def _kept_together(text: str) -> str:
    """Return a name in which a short last part, "/ 10" and "80 %" stay on one line."""
    *first, last = text.split(", ")
    last = last.replace(" ", "\u00a0") if first and len(last) <= _SHORT else last
    return ", ".join([*first, last]).replace(" / ", "\u00a0/\u00a0").replace(" %", "\u00a0%")


def region_spots(scene: Scene, left: float, right: float, text: str) -> Iterator[Spot]:
    """Yield where a region's name may go, best first: its middle, then above and below, then upright."""
    middle, height = (left + right) / 2, scene.inside.y1 - scene.inside.y0
    heights: Sequence[float] = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1]
    for rotation in (0, 90):
        for share in heights:
            yield Spot(text, middle, scene.inside.y0 + share * height, "center", "center", rotation)
