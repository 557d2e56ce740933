"""Charts: any figure is drawn, the same way each time, and no text lies on anything."""

import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from walltime.problems import BadInput
from walltime.report.charts import chart_bytes, decade_ticks, draw, with_powers
from walltime.report.labels import Box, Scene, curve_spot, mark_spots, sampled
from walltime.studies.figure import Figure, Mark, Panel, Series

pytest.importorskip("matplotlib")
SVG = "{http://www.w3.org/2000/svg}"


def figure(*panels: Panel, **options: object) -> Figure:
    defaults: dict[str, object] = {"y_percent": True, "x_limits": (1e25, 1e31)}
    return Figure("name", "A title & more", "What <is> seen.", "x [FLOP]", "y", panels, (), **(defaults | options))


def falling(label: str, where: float) -> Series:
    x = np.geomspace(1e25, 1e30, 20)
    return Series(label, tuple(x), tuple(0.7 / (1 + (x / where) ** 0.6)))


APART = Panel(
    "",
    (falling("near", 1e27), falling("far", 1e29)),
    (Mark(1e28, "a mark with a long name, 1.0e28"), Mark(3e30, "wall", ends=True)),
)
ON_ONE_ANOTHER = Panel("", tuple(falling(f"curve {i}", 1e28) for i in range(4)))


def texts(svg: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("format_", ["png", "svg"])
def test_equal_figures_give_equal_bytes(format_: str) -> None:
    assert chart_bytes(figure(APART), format_) == chart_bytes(figure(APART), format_)


def test_bytes_do_not_depend_on_the_users_settings() -> None:
    import matplotlib as mpl

    before = chart_bytes(figure(APART), "svg")
    with mpl.rc_context({"font.size": 20, "axes.grid": True, "lines.linewidth": 9}):
        assert chart_bytes(figure(APART), "svg") == before


def test_svg_has_text_a_title_and_no_date() -> None:
    svg = chart_bytes(figure(APART), "svg", "in some mode")
    root = ET.fromstring(svg)
    assert root.findtext(f"{SVG}title") == "A title & more, in some mode"
    assert root.findtext(f"{SVG}desc") == "What <is> seen."
    assert root.get("role") == "img"
    assert {"x [FLOP]", "in some mode", "60 %", "near", "far", "infeasible"} <= set(texts(svg))
    assert b"<dc:date" not in svg
    assert b"<metadata" not in svg
    assert not re.search(rb"20\d\d-\d\d-\d\d", svg)


def test_curves_apart_are_named_beside_them() -> None:
    assert draw(figure(APART)).legends == []


def test_curves_on_one_another_get_a_legend() -> None:
    (legend,) = draw(figure(ON_ONE_ANOTHER)).legends
    assert [text.get_text() for text in legend.get_texts()] == [f"curve {i}" for i in range(4)]


def test_a_legend_reads_row_by_row() -> None:
    names = [f"a curve with a rather long name {i}" for i in range(5)]
    (legend,) = draw(figure(Panel("", tuple(falling(name, 1e28) for name in names)))).legends
    rows: dict[int, list[tuple[float, str]]] = {}
    chart = legend.get_figure()
    chart.canvas.draw()
    for text in legend.get_texts():
        box = text.get_window_extent()
        rows.setdefault(-round(box.y0 / 4), []).append((box.x0, text.get_text()))
    assert [name for _, row in sorted(rows.items()) for _, name in sorted(row)] == names


def test_no_text_lies_on_other_text_or_leaves_the_chart() -> None:
    chart = draw(figure(APART))
    chart.canvas.draw()
    (axes,) = chart.axes
    found = [*chart.texts, *axes.texts, axes.xaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    boxes = [text.get_window_extent() for text in found if text.get_text()]
    assert len(boxes) > 10
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= chart.bbox.x1
        assert box.y1 <= chart.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


@pytest.mark.parametrize(
    ("panels", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (6, 2, 3), (7, 3, 3)]
)
def test_panels_share_their_axes(panels: int, rows: int, columns: int) -> None:
    chart = draw(figure(*(Panel(f"panel {i}", (falling("a", 1e28),)) for i in range(panels))))
    assert len(chart.axes) == panels
    grid = chart.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, columns)
    assert {axes.get_xlim() for axes in chart.axes} == {(1e25, 1e31)}
    assert [axes.get_title("left") for axes in chart.axes] == [f"panel {i}" for i in range(panels)]


@pytest.mark.parametrize("x_log", [True, False])
@pytest.mark.parametrize("y_log", [True, False])
def test_every_kind_of_axis(x_log: bool, y_log: bool) -> None:
    line = Panel("", (Series("a", (1.0, 10.0, 1000.0), (1.0, 30.0, 100.0)),))
    options = {"x_log": x_log, "y_log": y_log, "y_percent": False, "x_limits": None}
    assert chart_bytes(figure(line, **options), "png").startswith(b"\x89PNG")


def test_utilisation_goes_from_0_to_100_percent_unless_said_otherwise() -> None:
    assert draw(figure(APART)).axes[0].get_ylim() == (0, 1)
    assert draw(figure(APART, y_limits=(0, 0.8))).axes[0].get_ylim() == (0, 0.8)


def test_an_empty_figure_is_drawn() -> None:
    assert chart_bytes(figure(Panel("", ())), "svg")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(BadInput, match=r"unknown chart format 'gif'"):
        chart_bytes(figure(APART), "gif")


def test_ticks_are_whole_decades_and_few() -> None:
    labelled, other = decade_ticks(5e24, 1e37, 9)
    assert labelled == [1e26, 1e28, 1e30, 1e32, 1e34, 1e36]
    assert other == [1e25, 1e27, 1e29, 1e31, 1e33, 1e35, 1e37]
    assert decade_ticks(1e25, 1e25, 9) == ([1e25], [])


@pytest.mark.parametrize(
    ("highest", "shown"),
    [(9000.0, {"0", "2,500", "5,000", "7,500"}), (12e3, {"0", "5k", "10k"}), (1.6e6, {"0", "0.5M", "1M", "1.5M"})],
)
def test_ticks_of_an_axis_have_one_style(highest: float, shown: set[str]) -> None:
    panel = Panel("tokens/s", (Series("curve", (1e26, 1e30), (highest, 1.0)),))
    svg = chart_bytes(replace(figure(panel, panel, y_percent=False), y_label=""), "svg")
    assert shown <= set(texts(svg))
    assert len({text[-1] for text in set(texts(svg)) & shown - {"0"}} & set("kM")) <= 1


def test_hollow_points_and_points_like_others_keep_the_colour() -> None:
    line, forecast = Series("ours", (1e26, 1e28), (0.1, 0.2)), Series("ours", (1e29,), (0.3,), line=False, hollow=True)
    theirs = Series("theirs", (1e27,), (0.2,), line=False, like="ours")
    axes = draw(figure(Panel("", (line, forecast, theirs)))).axes[0]
    drawn, hollow, like = axes.get_lines()[:3]
    assert hollow.get_color() == like.get_color() == drawn.get_color()
    assert hollow.get_markerfacecolor() == "white" != like.get_markerfacecolor()


def test_powers_and_indices_are_written_as_mathematics() -> None:
    assert with_powers("at 2.0e28 FLOP") == r"at $2.0\times10^{28}$ FLOP"
    assert "crit" in with_powers("T_crit")
    assert with_powers("plain e28 text") == "plain e28 text"


def test_a_curve_with_no_room_has_no_spot() -> None:
    line = sampled(np.array([[0.0, 50.0], [100.0, 50.0]]))
    inside = Box(0, 0, 100, 100)
    assert curve_spot(Scene(inside, [line]), 0, "a", (20, 10)) is not None
    assert curve_spot(Scene(inside, [line, line + 1]), 0, "a", (20, 10)) is None
    assert curve_spot(Scene(inside, [line]), 0, "a", (200, 10)) is None


def test_a_short_last_part_of_a_name_is_not_broken() -> None:
    scene = Scene(Box(0, 0, 300, 300), [])
    assert any(
        "latency wall,\nNo\u00a0scaling" in spot.text for spot in mark_spots(scene, 10, "latency wall, No scaling")
    )
    assert not any("\n/" in spot.text for spot in mark_spots(scene, 10, "latency wall, latencies / 10"))


def test_without_matplotlib_the_message_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from walltime.report.charts import require_matplotlib\n"
        "from walltime.problems import MissingExtra\n"
        "try:\n    require_matplotlib()\n"
        "except MissingExtra as problem:\n    print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "charts need matplotlib: pip install 'walltime[plot]'"


def test_drawing_leaves_no_pyplot_behind() -> None:
    code = (
        "import sys\nfrom walltime.report.charts import chart_bytes\n"
        "from walltime.studies.figure import Figure, Panel, Series\n"
        "panel = Panel('', (Series('a', (1.0, 2.0), (1.0, 2.0)),))\n"
        "chart_bytes(Figure('n', 't', 'c', 'x', 'y', (panel,), ()), 'png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
