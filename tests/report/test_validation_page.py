"""The page of a validation: complete without a script, quiet on the network, and alive with one."""

import base64
import hashlib
import html as entities
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from walltime.calibrate.cross_validation import Fold, LeftOut
from walltime.engines.step import PARTS
from walltime.report.validation_chart import Point, ratios, scatter, shape_of, ticks
from walltime.report.validation_page import validation_page
from walltime.report.validation_rows import PART_NAMES
from walltime.validate.cases import read_cases
from walltime.validate.errors import error_report
from walltime.validate.measured import shipped_files
from walltime.validate.validation import Validation, validate

from .html_page import Page

SOURCES = ("korthikanti2022", "torchao", "simumax_b200")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def validation(*names: str) -> Validation:
    return validate(*read_cases([path for path in shipped_files() if path.stem in names]))


@pytest.fixture(scope="module")
def found() -> Validation:
    return validation(*SOURCES)


@pytest.fixture(scope="module")
def html(found: Validation) -> str:
    return validation_page(found)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_tags_close_in_order_and_ids_are_unique(html: str, page: Page) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)', html)) <= set(ids)


def test_nothing_is_fetched_and_only_the_one_script_may_run(html: str, page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "img", "object", "embed")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
        assert not any(name.startswith("on") for name in attributes)
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "@import" not in html
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == len(page.all("script")) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = page.all("meta")[1]["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_timed_row_is_a_point_that_leads_to_its_row(found: Validation, page: Page) -> None:
    timed = {i for i, case in enumerate(found.cases) if case.is_core and case.step_time_s}
    links = [a for a in page.all("a") if "p" in (a.get("class") or "").split()]
    assert {int(a["data-row"] or -1) for a in links} == timed
    assert all(a["href"] == f"#row{a['data-row']}" for a in links)
    assert {int(a["data-row"] or -1) for a in page.all("g") if "data-row" in a} == timed
    assert [a["tabindex"] for a in links] == ["0"] + ["-1"] * (len(timed) - 1)
    rows = {a["id"] for a in page.all("tr") if "id" in a}
    assert rows == {f"row{i}" for i in range(len(found.cases))}


def test_tables_are_named_and_figures_are_there(found: Validation, html: str, page: Page) -> None:
    assert html.count("<caption>") == len(page.all("table"))
    assert all(th.get("scope") for th in page.all("th"))
    for source in SOURCES:
        assert source in page.text
    for word in ("constant utilisation", "in sample", "scope truncated_model", "overall", "decided by rows"):
        assert word in page.text
    assert f"{100 * (found.report.overall.median_abs_error or 0):.1f}%" in page.text
    for scheme in ("prefers-color-scheme: dark", "@media print"):
        assert scheme in html
    assert not re.search(r"\b(nan|inf|None|True|False)\b", page.text)


def test_every_part_has_a_name() -> None:
    assert set(PART_NAMES) == set(PARTS)


def test_sources_can_be_hidden_without_a_script(found: Validation, html: str, page: Page) -> None:
    boxes = page.all("input")
    assert [box["value"] for box in boxes] == ["s0", "s2"]
    for box in boxes:
        assert f"body:has(#{box['id']}:not(:checked)) .{box['value']} {{ display: none; }}" in html


def test_a_fit_that_left_each_source_out_stands_beside(found: Validation) -> None:
    slow = replace(found.predictions, step_time_s=1.5 * found.predictions.step_time_s)
    fold = Fold("torchtitan", 1, 1, 1, slow.step_time_s)
    html = validation_page(found, LeftOut(slow, error_report(found.cases, slow), {"torchtitan": fold}))
    assert "each source left out" in html
    assert "median, sources left out of the fit" in html
    assert Page(html).open == []


def test_what_a_file_says_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    header = (
        "source_id,model_name,n_layers,d_model,n_heads,vocab,gpu,n_gpus,seq_len,global_batch_seqs,tp,pp,step_time_s"
    )
    path.write_text(f'{header}\n<i>,"<b>&""x",24,2048,16,50000,A100,8,2048,64,1,1,3\n', encoding="utf-8")
    html = validation_page(validate(*read_cases([path])))
    assert "<b>" not in html
    assert "<i>" not in html
    assert "&lt;b&gt;&amp;" in html
    assert "Out of sample" in html


def test_a_page_without_any_point(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("model_name,gpu,n_gpus,seq_len,global_batch_seqs\nx,Groq,8,2048,64\n", encoding="utf-8")
    html = validation_page(validate(*read_cases([path])))
    assert Page(html).open == []
    assert "is not modelled" in html
    assert 'id="by-time"' not in html


def test_points_lie_where_they_should() -> None:
    points = [Point(0, 0, 1.0, 1.0, "a"), Point(1, 1, 100.0, 50.0, "b")]
    places = re.findall(r'<use href="#shape\d" x="([\d.]+)" y="([\d.]+)"', scatter(points))
    (x0, y0), (x1, y1) = ((float(x), float(y)) for x, y in places)
    across, up = x1 - x0, y0 - y1
    assert across > 0 < up
    one_point = re.findall(r' y="([\d.]+)"/></g>', ratios(points))
    assert float(one_point[0]) < float(one_point[1])  # half the measured time is below, that is further down


def test_markers_tell_sources_of_one_colour_apart() -> None:
    looks = {(i % 7, shape_of(i)) for i in range(35)}
    assert len(looks) == 35


@pytest.mark.parametrize(("low", "high"), [(0.8, 1.25), (0.01, 0.02), (0.3, 900.0), (1e-3, 1e5), (2.1, 2.6)])
def test_axes_have_labels_inside(low: float, high: float) -> None:
    labelled = ticks(low, high)
    assert all(low <= value <= high for value in labelled)
    assert len(labelled) <= 12


@pytest.fixture
def rendered(tmp_path: Path) -> Callable[[str, str], str]:
    """What a browser has made of a page after its script ran; ``fragment`` is what follows the address."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")

    def call(html: str, fragment: str = "") -> str:
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        done = subprocess.run(
            [CHROMIUM, *options, "--virtual-time-budget=2000", "--dump-dom", f"{path.as_uri()}{fragment}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout

    return call


def chosen(dom: str) -> str:
    panel = re.search(r'<aside id="selected"[^>]*>(.*?)</aside>', dom, re.DOTALL)
    assert panel
    return entities.unescape(re.sub(r"<[^>]+>", " ", panel[1]))


@pytest.mark.browser
def test_the_chosen_row_and_its_waterfall_are_shown(rendered: Callable[..., str], found: Validation, html: str) -> None:
    words = chosen(rendered(html, "#row3"))
    assert found.cases[3].row.model_name in words
    assert "matmuls" in words
    assert "predicted" in words
    assert "measured" in words


@pytest.mark.browser
def test_click_arrow_keys_and_filters(rendered: Callable[..., str], found: Validation, html: str) -> None:
    act = """<script>
      const link = document.querySelector('#by-time .p[data-row="1"]');
      link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
      const clicked = document.querySelector("#selected").textContent;
      link.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true, cancelable: true }));
      const next = location.hash;
      const order = [...document.querySelectorAll("#by-time .p")].map((p) => "#" + "row" + p.dataset.row);
      [...document.querySelectorAll("button")].find((b) => b.textContent === "none").click();
      const hidden = [...document.querySelectorAll("#by-time .p")].every((p) => getComputedStyle(p).display === "none");
      document.title = JSON.stringify({ clicked, right: next === order[order.indexOf("#row1") + 1], hidden });
    </script></body>"""
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("</body>", act)
    title = re.search(r"<title>(.*?)</title>", rendered(open_page))
    assert title
    said = entities.unescape(title[1])
    case = found.cases[1]
    assert case.row.model_name in said
    assert f"korthikanti2022.csv:{case.row.line}" in said
    assert '"right":true,"hidden":true' in said
