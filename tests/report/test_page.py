"""The page of a study: complete, valid, accessible, and quiet on the network."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from walltime.limits import LatencyWall, LinearScalingEnd
from walltime.problems import BadInput
from walltime.report.charts import chart_bytes
from walltime.report.inline import paragraphs, prose, svg_element, with_links
from walltime.report.page import Drawn, Reading, study_page
from walltime.report.study import write_study
from walltime.report.thresholds import in_words, ruler, thresholds_table
from walltime.studies.erdil2024 import Headline, Study
from walltime.studies.figure import Figure, Panel, Series

from .html_page import Page

pytest.importorskip("matplotlib")

END = LinearScalingEnd(0.8, 2.05e28, 1.34e29, 6.1e28)
WALL = LatencyWall(2.71e31, 5.08e31)
ROWS = (
    {"accelerator": "h100", "utilization": 0.5, "missing": None},
    {"accelerator": "<b>", "utilization": 2e28},
)


def reading(mode: str, ours: float | None) -> Reading:
    series = Series("H100", (1e25, 1e28, 1e30), (0.7, 0.6, 0.2))
    figure = Figure("fig", "T_crit & co", "At 2.05e28 <FLOP>.", "x", "y", (Panel("", (series,)),), ROWS, y_percent=True)
    files = {kind: f"{mode}/fig.{kind}" for kind in ("csv", "png", "svg")}
    drawn = Drawn(figure, chart_bytes(figure, "svg", mode).decode(), files)
    headline = Headline("latency_wall", "h100-sxm", "dense, none batch", 2.71e31, "2.71e31", "program", "run <1>", ours)
    return Reading(mode, mode.replace("_", " "), {"fig": drawn}, [headline], END, WALL)


def page_of(*readings: Reading) -> str:
    return study_page(
        "A <paper>",
        "By someone. https://example.org/paper.",
        "An answer: 2.05e28.",
        readings,
        notes="Not modelled:\n\n- attention\n- T_limit & so on",
        sources={"key2024": "Someone. A <book>. https://example.org/b_(1)."},
        versions={"walltime": "0.1", "data": "abc"},
    )


@pytest.fixture(scope="module")
def html() -> str:
    return page_of(reading("as_published", 2.7074e31), reading("corrected", None))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_tags_close_in_order(page: Page) -> None:
    assert page.open == []


def test_nothing_is_fetched(html: str, page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "img", "object", "embed")
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            address = attributes.get(name) or ""
            assert tag == "a" or not address or address.startswith(("#", "data:")), (tag, address)
        assert not any(name.startswith("on") for name in attributes)
    assert "url(http" not in html
    assert "@import" not in html
    outside = [a["href"] for a in page.all("a") if (a["href"] or "").startswith("http")]
    assert outside == ["https://example.org/paper", "https://example.org/b_(1"]


def test_ids_are_unique_and_every_reference_is_there(html: str, page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= set(ids)


def test_tables_and_drawings_are_named(html: str, page: Page) -> None:
    assert html.count("<caption>") == len(page.all("table")) == 4
    assert all(th.get("scope") for th in page.all("th"))
    charts = [attributes for attributes in page.all("svg") if attributes.get("role") == "img"]
    assert len(charts) == 2
    assert html.count("<title>") == 1 + len(charts)
    assert page.all("html") == [{"lang": "en"}]


def test_numbers_text_and_files_are_there(html: str, page: Page) -> None:
    assert "2.05&#8239;×&#8239;10<sup>28</sup>" in html
    assert "T<sub>crit</sub> &amp; co" in html
    assert "dense, constant batch" in html
    assert "−0.10 %" in page.text
    assert "<li>attention</li>" in html
    assert "1 of 1 published numbers" in html
    links = {a["href"] for a in page.all("a")}
    assert {"as_published/fig.csv", "as_published/fig.png", "corrected/fig.svg", "headlines.csv"} <= links
    for scheme in ("prefers-color-scheme: dark", "@media print"):
        assert scheme in html


def test_nothing_reads_nan_or_inf_and_what_is_given_is_escaped(html: str, page: Page) -> None:
    assert not re.search(r"\b(nan|inf|None)\b", page.text)
    assert "<b>&" not in html
    assert "<FLOP>" not in html
    assert "A &lt;paper&gt;" in html


def test_equal_studies_give_equal_pages(html: str) -> None:
    assert page_of(reading("as_published", 2.7074e31), reading("corrected", None)) == html


def test_a_page_of_one_mode_without_headlines() -> None:
    one = reading("corrected", 1e31)
    html = page_of(Reading(one.mode, one.label, one.figures, [], one.end, one.wall))
    assert 'id="headlines"' not in html
    assert Page(html).open == []


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (END, "first falls that far at 2.05e28 FLOP, and all do from 1.34e29"),
        (LinearScalingEnd(0.8, 2e28, 2e28, 1e28), "falls that far at 2.00e28 FLOP, and all larger ones do"),
        (LinearScalingEnd(0.8, 2e28, None, 1e28), "though the largest does not"),
        (LinearScalingEnd(0.8, None, None, None), "no run falls that far"),
    ],
)
@pytest.mark.parametrize("wall", [WALL, LatencyWall(2.71e31, None), LatencyWall(None, 1e25), LatencyWall(None, None)])
def test_thresholds_in_words_whatever_is_missing(end: LinearScalingEnd, said: str, wall: LatencyWall) -> None:
    words = in_words("For a model", [("as published", end, wall), ("corrected", END, WALL)])
    assert said in words
    for drawn in (ruler([("a", end, wall)]), thresholds_table([("a", end, wall)]), words):
        assert not re.search(r"\b(nan|inf|None)\b", drawn)


def test_prose_links_and_paragraphs() -> None:
    assert prose("a < 1e5 and T_crit") == "a &lt; 1&#8239;×&#8239;10<sup>5</sup> and T<sub>crit</sub>"
    assert with_links("See https://a.b/c.") == 'See <a href="https://a.b/c">https://a.b/c</a>.'
    assert paragraphs("One.\n\nTwo:\n- a\n- b") == "<p>One.</p>\n<p>Two:</p><ul><li>a</li><li>b</li></ul>"


def test_an_inline_drawing_keeps_no_size_and_only_the_ids_it_uses() -> None:
    groups = '<g id="a"><use xlink:href="#b"/></g><g id="b"/>'
    svg = f'<?xml?><svg width="5pt" height="4pt" viewBox="0 0 5 4">{groups}</svg>'
    element = svg_element(svg, "p")
    assert 'id="a"' not in element
    assert 'href="#p-b"' in element
    assert 'id="p-b"' in element
    assert "width=" not in element
    assert 'viewBox="0 0 5 4"' in element


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., list[Path]]:
    def call(*names: str) -> list[Path]:
        return write_study(
            tmp_path / "out",
            {"as_published": Study()},
            names,
            notes="None.",
            sources={"k": "Entry."},
            headline_numbers=False,
        )

    return call


def test_a_study_is_written(write: Callable[..., list[Path]], tmp_path: Path) -> None:
    written = write("article_figure", "t_crit_sensitivity")
    out = tmp_path / "out"
    assert sorted(written) == sorted(path for path in out.rglob("*") if path.is_file())
    names = {"article_figure", "t_crit_sensitivity"}
    expected = {f"as_published/{name}.{kind}" for name in names for kind in ("csv", "png", "svg")}
    assert {str(path.relative_to(out)) for path in written} == expected | {"index.html"}
    with (out / "as_published" / "article_figure.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["training_flop"]) == pytest.approx(2.707e31, rel=1e-3)
    assert not any(value.lower() in ("nan", "inf", "-inf") for row in rows for value in row.values())
    for address in re.findall(r'href="([^"#:]+)"', (out / "index.html").read_text(encoding="utf-8")):
        assert (out / address).is_file(), address


def test_an_unknown_figure_is_refused_before_anything_is_written(
    write: Callable[..., list[Path]], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="Did you mean 'article_figure'"):
        write("artikel_figure")
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_fails_leaves_nothing_behind(
    write: Callable[..., list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("broken")

    monkeypatch.setattr("walltime.report.study.study_page", broken)
    with pytest.raises(RuntimeError, match="broken"):
        write("t_limit_sensitivity")
    assert list(tmp_path.iterdir()) == []
