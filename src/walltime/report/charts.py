"""Charts of a `Figure`, as a careful journal would print them: PNG and SVG, the same bytes every time."""

import contextlib
import functools
import io
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from walltime.problems import MissingExtra, unknown
from walltime.report.labels import Box, Scene, Size, Spot, curve_spot, mark_spots, region_spots, sampled
from walltime.studies.figure import Figure, Panel, Series

FORMATS = ("png", "svg")
PNG_DPI = 200

# After Okabe and Ito: colour-blind readers tell these apart; dashes and markers do so in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#7B4EA3", "#444444", "#E69F00", "#56B4E9", "#CC79A7")
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.3)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_POINTS: dict[str, Any] = {"linestyle": "none", "markersize": 4.4, "markeredgewidth": 0, "zorder": 4}
_INK, _QUIET, _GRID, _SHADE = "#1f2328", "#5b626a", "#e6e8ea", "#f1f1ee"

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # the one that matplotlib brings along
    "font.size": 8.5,
    "axes.edgecolor": "#8a9098",
    "axes.labelcolor": _INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "text.color": _INK,
    "xtick.color": "#8a9098",
    "ytick.color": "#8a9098",
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
    "xtick.minor.size": 2,
    "ytick.minor.size": 2,
    "svg.fonttype": "none",
    "mathtext.fontset": "dejavusans",
    "svg.hashsalt": "walltime",
    "path.simplify": False,
}
_SVG_FONTS = "'DejaVu Sans', Verdana, sans-serif"  # of the same widths, then whatever there is
_LEFT_IN, _RIGHT_IN, _BOTTOM_IN = 0.68, 0.18, 0.55
_TITLE_IN, _LEGEND_ROW_IN, _PANEL_TITLE_IN = 0.5, 0.17, 0.18


def require_matplotlib() -> None:
    """Say how to get matplotlib where it is missing; worth asking before a long computation."""
    try:
        import matplotlib.style  # noqa: F401
    except ImportError as error:
        raise MissingExtra("charts need matplotlib: pip install 'walltime[plot]'") from error


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Set our settings over matplotlib's own defaults, whatever the user's are."""
    require_matplotlib()
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]):
        yield


def draw(figure: Figure, note: str = "") -> Any:
    """Draw a figure.

    Parameters
    ----------
    figure
        What is drawn.
    note
        A few words beside the title, such as the mode of a study.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas of its own; nothing is registered with pyplot.
    """
    with _style():
        return _Chart(figure, note).drawn()


def chart_bytes(figure: Figure, format: str, note: str = "") -> bytes:  # noqa: A002
    """Return a figure's chart as ``png`` or ``svg``; equal figures give equal bytes."""
    if format not in FORMATS:
        raise unknown("chart format", format, FORMATS)
    with _style():
        chart, file = _Chart(figure, note).drawn(), io.BytesIO()
        if format == "png":
            chart.savefig(file, format="png", dpi=PNG_DPI, metadata={"Software": None, "Title": figure.title})
            return file.getvalue()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        chart.savefig(file, format="svg", metadata=nothing)
    return _accessible(file.getvalue().decode(), figure, note).encode()


def _accessible(svg: str, figure: Figure, note: str) -> str:
    """Name the drawing for those who hear it, and let any font of the same widths show its text."""
    title = f"{figure.title}, {note}" if note else figure.title
    words = f"<title>{escape(title)}</title>\n <desc>{escape(figure.caption)}</desc>\n"
    svg = svg.replace("'DejaVu Sans'", _SVG_FONTS)
    svg = re.sub(r"^ <metadata>.*?</metadata>\n", "", svg, count=1, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(<svg\b[^>]*)>\n", rf'\1 role="img">\n {words}', svg, count=1).replace("\r\n", "\n")


def decade_ticks(low: float, high: float, most: int) -> tuple[list[float], list[float]]:
    """Return labelled and unlabelled powers of ten between two positive numbers, at most ``most`` labelled.

    Examples
    --------
    >>> decade_ticks(5e24, 2e28, 3)
    ([1e+26, 1e+28], [1e+25, 1e+27])
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    exponents = range(first, last + 1)
    step = next(s for s in (1, 2, 3, 5, 10, 20, 50, 100, 1000) if len(exponents) <= most * s)
    labelled = [float(f"1e{e}") for e in exponents if e % step == 0]
    return labelled, [float(f"1e{e}") for e in exponents if e % step]


def with_powers(text: str) -> str:
    """Return text with ``2.0e28`` as 2.0 x 10^28 and ``T_crit`` with its index, as mathematics."""
    text = re.sub(r"\bT_(\w+)\b", r"$\\mathbf{T_{\1}}$", text)
    return re.sub(r"\b(\d+(?:\.\d+)?)e(\d+)\b", r"$\1\\times10^{\2}$", text)


def _power(value: float, _position: int = 0) -> str:
    return f"$10^{{{round(math.log10(value))}}}$"


def _percent(value: float, _position: int = 0) -> str:
    return f"{100 * value:.3g} %"


def _short(value: float, _position: int = 0, *, largest: float) -> str:
    """Show a tick as all of its axis: in millions or thousands where the largest of them needs it."""
    if not value or largest < 1e4:
        return f"{value:,g}"
    return f"{value / 1e6:g}M" if largest >= 1e6 else f"{value / 1e3:g}k"


class _Chart:
    """One drawing: axes first, then text where there is room for it."""

    def __init__(self, figure: Figure, note: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Drawing

        self.figure, self.note = figure, note
        panels = len(figure.panels)
        self.columns = panels if panels < 4 else math.ceil(panels / 2) if panels < 7 else 3
        self.rows = math.ceil(panels / self.columns)
        size = (7.0, 4.3) if panels == 1 else (9.0, 1.0 + 2.35 * self.rows)
        self.drawing = Drawing(figsize=size, dpi=100)
        canvas: Any = FigureCanvasAgg(self.drawing)
        self.renderer = canvas.get_renderer()
        self.labels = list(dict.fromkeys(series.label for panel in figure.panels for series in panel.series))
        self.own_y = not figure.y_label
        grid = self.drawing.subplots(self.rows, self.columns, sharex=True, sharey=not self.own_y, squeeze=False)
        self.axes = list(grid.flat)[:panels]
        for unused in list(grid.flat)[panels:]:
            unused.remove()

    def drawn(self) -> Any:
        """Draw everything."""
        for axes, panel in zip(self.axes, self.figure.panels, strict=True):
            self._panel(axes, panel)
        self._limits()
        self._ticks()
        self._margins()
        direct = self._direct_labels()
        if direct is None:
            self._legend()
        self._words()
        for axes, panel in zip(self.axes, self.figure.panels, strict=True):
            for spot, style in self._mark_labels(axes, panel, self._scene(axes, panel)):
                self._write(axes, spot, **style)
        for i, spot in enumerate(direct or ()):
            self._write(self.axes[0], spot, color=_darker(_COLOURS[i % len(_COLOURS)]))
        return self.drawing

    def _panel(self, axes: Any, panel: Panel) -> None:
        for series in panel.series:
            axes.plot(series.x, series.y, **self._drawn_as(series))
        for mark in panel.marks:
            axes.axvline(mark.x, color=_QUIET, linewidth=0.9, linestyle=(0, (4, 2.5)), zorder=1.5)
        if panel.title:
            axes.set_title(panel.title, loc="left", fontsize=9, pad=5)
        axes.set_xscale("log" if self.figure.x_log else "linear")
        axes.set_yscale("log" if self.figure.y_log else "linear")
        axes.grid(axis="y", color=_GRID, linewidth=0.6)
        axes.set_axisbelow(True)

    def _look(self, i: int) -> dict[str, Any]:
        """Colour, dashes and marker of a series; on a linear x axis it is a formula, without points."""
        look = {
            "color": _COLOURS[i % len(_COLOURS)],
            "linestyle": _DASHES[i % len(_DASHES)],
            "linewidth": 1.5,
            "solid_capstyle": "round",
            "zorder": 3,
        }
        if not self.figure.x_log:
            return look
        size = 2.9 if len(self.axes) == 1 else 2.1
        return look | {"marker": _MARKERS[i % len(_MARKERS)], "markersize": size, "markeredgewidth": 0}

    def _drawn_as(self, series: Series) -> dict[str, Any]:
        """Return the look of a line, or of points that nothing joins."""
        i = self.labels.index(series.like or series.label)
        if not series.line:
            outline = {"markerfacecolor": "white", "markeredgewidth": 1.1} if series.hollow else {}
            return {"color": _COLOURS[i % len(_COLOURS)], "marker": _MARKERS[i % len(_MARKERS)]} | _POINTS | outline
        return self._look(i) if series.points else self._look(i) | {"marker": "none"}

    def _named(self, i: int) -> dict[str, Any]:
        """Return the look of a label in the legend: that of its first series."""
        series = (series for panel in self.figure.panels for series in panel.series)
        return self._drawn_as(next(one for one in series if one.label == self.labels[i]))

    def _limits(self) -> None:
        first = self.axes[0]
        if self.figure.x_limits:
            first.set_xlim(*self.figure.x_limits)
        if self.own_y:
            for axes in self.axes:
                axes.set_ylim(0, 1.06 * max(y for line in axes.get_lines() for y in line.get_ydata()))
            return
        y_limits = self.figure.y_limits or ((0, 1) if self.figure.y_percent else None)
        if y_limits:
            first.set_ylim(*y_limits)
        for axes, panel in zip(self.axes, self.figure.panels, strict=True):
            for mark in panel.marks:
                if mark.ends:
                    axes.axvspan(mark.x, first.get_xlim()[1], color=_SHADE, linewidth=0, zorder=0)

    def _ticks(self) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

        single = len(self.axes) == 1
        if self.figure.x_ticks:
            self._x_ticks()
        axes_of_x = [] if self.figure.x_ticks else [(self.axes[0].xaxis, self.figure.x_log, 9 if single else 5)]
        with_own_y = self.axes if self.own_y else self.axes[:1]
        for axis, is_log, most in (
            *axes_of_x,
            *((axes.yaxis, self.figure.y_log, 7 if single else 5) for axes in with_own_y),
        ):
            if is_log:
                low, high = sorted(axis.get_view_interval())
                labelled, other = decade_ticks(low, high, most)
                axis.set_major_locator(FixedLocator(labelled))
                axis.set_minor_locator(FixedLocator(other))
                axis.set_major_formatter(FuncFormatter(_power))
                axis.set_minor_formatter(NullFormatter())
            else:
                axis.set_major_locator(MaxNLocator(most - 1, steps=[1, 2, 2.5, 5, 10]))
                if self.own_y:
                    seen = [place for place in axis.get_majorticklocs() if place <= max(axis.get_view_interval())]
                    axis.set_major_formatter(FuncFormatter(functools.partial(_short, largest=max(seen))))
        for axes, panel in zip(self.axes, self.figure.panels, strict=True):
            if panel.y_percent or (self.figure.y_percent and axes is self.axes[0]):
                axes.yaxis.set_major_formatter(FuncFormatter(_percent))

    def _x_ticks(self) -> None:
        """Label the x axis where the figure says."""
        from matplotlib.ticker import FixedLocator, NullLocator

        places, names = zip(*self.figure.x_ticks, strict=True)
        for axes in self.axes:
            axes.xaxis.set_major_locator(FixedLocator(places))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticklabels(names)

    def _margins(self, legend_rows: int = 0) -> None:
        """Make room for words around the axes, and for a legend under the title."""
        width, height = self.drawing.get_size_inches()
        top = _TITLE_IN + legend_rows * _LEGEND_ROW_IN
        if any(panel.title for panel in self.figure.panels):
            top += _PANEL_TITLE_IN
        self.drawing.subplots_adjust(
            left=_LEFT_IN / width,
            right=1 - _RIGHT_IN / width,
            bottom=_BOTTOM_IN / height,
            top=1 - top / height,
            wspace=0.22 if self.own_y else 0.1,
            hspace=0.24,
        )

    def _words(self) -> None:
        """Write title, note and axis labels in the margins."""
        width, height = self.drawing.get_size_inches()
        box = self.drawing.subplotpars
        middle, centre, top = (box.left + box.right) / 2, (box.bottom + box.top) / 2, 1 - 0.2 / height
        write, title = self.drawing.text, with_powers(self.figure.title)
        write(box.left, top, title, fontsize=11, weight="bold", va="center")
        write(box.right, top, self.note, fontsize=8.5, color=_QUIET, ha="right", va="center")
        write(middle, 0.12 / height, self.figure.x_label, fontsize=9, ha="center", va="center")
        write(0.13 / width, centre, self.figure.y_label, fontsize=9, rotation=90, ha="center", va="center")

    def _legend(self) -> None:
        from matplotlib.lines import Line2D

        width, height = self.drawing.get_size_inches()
        widest = max(self._size(label)[0] for label in self.labels) / 100 + 0.55
        columns = max(1, min(len(self.labels), int((width - _LEFT_IN) / widest)))
        rows = math.ceil(len(self.labels) / columns)
        by_column = (r * columns + c for c in range(columns) for r in range(rows))  # as matplotlib fills them
        order = [i for i in by_column if i < len(self.labels)]
        self._margins(rows)
        self.drawing.legend(
            [Line2D([], [], **self._named(i)) for i in order],
            [self.labels[i] for i in order],
            loc="upper left",
            bbox_to_anchor=(_LEFT_IN / width, 1 - (_TITLE_IN - 0.14) / height),
            ncols=columns,
            frameon=False,
            borderaxespad=0,
            borderpad=0,
            handlelength=2.6,
            columnspacing=1.8,
            labelspacing=0.35,
        )

    def _direct_labels(self) -> list[Spot] | None:
        """Return a spot beside each curve; None where one has no room, for several panels, and for a legend."""
        if len(self.axes) > 1 or self.figure.legend:
            return None
        scene, spots = self._scene(self.axes[0], self.figure.panels[0]), []
        list(self._mark_labels(self.axes[0], self.figure.panels[0], scene))  # marks' names take their places first
        for i, label in enumerate(self.labels):
            size = self._size(label)
            spot = curve_spot(scene, i, label, size)
            if spot is None:
                return None
            scene.texts.append(spot.box(size))
            spots.append(spot)
        return spots

    def _scene(self, axes: Any, panel: Panel) -> Scene:
        bounds = axes.get_window_extent(self.renderer)
        inside = Box(bounds.x0 + 3, bounds.y0 + 3, bounds.x1 - 1, bounds.y1 - 1)
        curves = [self._pixels(axes, series.x, series.y) for series in panel.series]
        lines = [
            sampled(np.array([[x, bounds.y0], [x, bounds.y1]]))
            for x in (self._pixels(axes, [mark.x], [axes.get_ylim()[0]])[0, 0] for mark in panel.marks)
        ]
        return Scene(inside, curves, lines)

    def _pixels(self, axes: Any, x: Sequence[float], y: Sequence[float]) -> Any:
        """Return points along what is seen of a curve."""
        vertices = axes.transData.transform(np.column_stack([x, y]))
        points = sampled(vertices[np.isfinite(vertices).all(axis=1)])
        bounds = axes.get_window_extent(self.renderer)
        low, high = np.array([bounds.p0 - 1, bounds.p1 + 1])
        return points[((points >= low) & (points <= high)).all(axis=1)]

    def _mark_labels(self, axes: Any, panel: Panel, scene: Scene) -> Iterator[tuple[Spot, dict[str, Any]]]:
        """Yield where the names of marks and of the infeasible region go, and how they look."""
        bounds = axes.get_window_extent(self.renderer)
        for mark in panel.marks:
            x = self._pixels(axes, [mark.x], [axes.get_ylim()[0]])[0, 0]
            yield self._first_free(scene, mark_spots(scene, x, mark.label)), {"fontsize": 8}
            if mark.ends:
                spot = self._first_free(scene, region_spots(scene, x, bounds.x1, "infeasible"))
                yield spot, {"fontsize": 8, "color": _QUIET, "style": "italic"}

    def _first_free(self, scene: Scene, spots: Iterator[Spot], fontsize: float = 8) -> Spot:
        """Return the first free spot and take it; where none is free, the last."""
        for spot in spots:
            box = spot.box(self._size(spot.text, fontsize, spot.rotation))
            if scene.free(box):
                break
        scene.texts.append(box)
        return spot

    def _size(self, text: str, fontsize: float = 8.5, rotation: int = 0) -> Size:
        """Return width and height of text, in pixels."""
        sample = self.drawing.text(0, 0, with_powers(text), fontsize=fontsize, rotation=rotation)
        box = sample.get_window_extent(self.renderer)
        sample.remove()
        return box.width, box.height

    def _write(self, axes: Any, spot: Spot, **style: Any) -> None:
        """Write at a spot, as a share of the axes: the same place at any resolution."""
        x, y = axes.transAxes.inverted().transform((spot.x, spot.y))
        axes.text(
            x,
            y,
            with_powers(spot.text),
            transform=axes.transAxes,
            ha=spot.ha,
            va=spot.va,
            rotation=spot.rotation,
            zorder=4,
            **style,
        )


def _darker(colour: str) -> str:
    """Return a colour that is dark enough to read as text."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{int(0.8 * channel):02x}" for channel in channels)
