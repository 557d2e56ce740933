"""A timeline as lines of text and as a drawing: legible, light, and the same shares as the events."""

import re
from xml.etree import ElementTree

import pytest
from tests.property.transformers import ANY_PLAN

import walltime as wt
from walltime.report.timeline import timeline_text
from walltime.report.timeline_rows import pattern, round_ticks

CLUSTER = wt.cluster("h100-sxm", parameters="datasheet")
SVG = "{http://www.w3.org/2000/svg}"


def of(name="llama-2-7b", batch_seqs=64, **degrees):
    plan = wt.Plan(**degrees)
    cluster = CLUSTER.with_num_gpus(plan.num_gpus)
    return wt.timeline(wt.model(name), cluster, plan, batch_seqs=batch_seqs, seq_len=4096, stack=ANY_PLAN)


@pytest.fixture(scope="module")
def small():
    return of(pp=4, dp=4)


@pytest.fixture(scope="module")
def deep():
    return of("llama-3.1-405b", batch_seqs=256, tp=8, pp=63, dp=2)


def rows_of(text):
    return [line for line in text.splitlines() if re.match(r"stage \d+ ", line)]


def test_a_row_a_stage_as_wide_as_asked(small):
    for width in (60, 100, 180):
        rows = rows_of(small.text(width))
        assert len(rows) == 4
        assert all(len(line) <= width for line in small.text(width).splitlines()[3:])
        assert max(map(len, rows)) == width - 1


def test_a_narrow_terminal_still_shows_it(small):
    assert len(rows_of(small.text(1))) == 4


def test_letters_have_the_shares_of_the_events(small):
    for stage, row in enumerate(rows_of(small.text(200))):
        letters, shares = row.split(maxsplit=2)[2], small.shares(stage)
        assert letters.count("F") / len(letters) == pytest.approx(shares["forward"], abs=0.03)
        assert letters.count("B") / len(letters) == pytest.approx(shares["backward"], abs=0.03)


def test_the_legend_names_what_is_there_and_nothing_else(small):
    text = small.text(120)
    assert "F forward   B backward" in text
    assert "weight gradients" not in text
    assert "W weight gradients" in of(pp=4, dp=4, schedule="zb-h1").text(120)


def test_colour_only_adds_escapes(small):
    coloured = timeline_text(small, 100, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == small.text(100)


def test_many_stages_are_thinned_and_it_says_so(deep):
    text = deep.text(100)
    rows = rows_of(text)
    assert len(rows) == 32
    assert rows[0].startswith("stage 0 ")
    assert rows[-1].startswith("stage 62 ")
    assert "32 of 63 stages are shown" in text


def test_the_drawing_is_accessible_and_has_a_row_a_stage(small):
    root = ElementTree.fromstring(small.svg())
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert "llama-2-7b on 16" in root[0].text
    assert root[1].tag == f"{SVG}desc"
    assert "stage 0: backward" in root[1].text
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert [word for word in words if word.startswith("stage")] == [f"stage {i}" for i in range(4)]
    told = [title.text for title in root.iter(f"{SVG}title")]
    assert any(re.match(r"stage 2: forward of microbatch 0, chunk 0, .* to ", text) for text in told)


def test_nothing_is_drawn_outside(small, deep):
    for step in (small, deep):
        root = ElementTree.fromstring(step.svg())
        width = float(root.get("width"))
        for rect in root.iter(f"{SVG}rect"):
            x = float(rect.get("x", 0))
            assert 0 <= x <= x + float(rect.get("width")) <= width + 1.1


def test_a_large_step_is_a_small_file(deep):
    svg = deep.svg()
    assert len(svg) < 400_000
    assert "% of the step</title>" in svg


def test_text_is_escaped():
    model = wt.model("llama-2-7b")
    named = type(model)(**{**vars(model), "name": "<b> & co"})
    plan = wt.Plan(pp=2, dp=2)
    svg = wt.timeline(named, CLUSTER.with_num_gpus(4), plan, batch_seqs=8).svg()
    assert "<b>" not in svg
    ElementTree.fromstring(svg)


def test_without_a_pipeline_there_is_one_row():
    assert len(rows_of(of(tp=2, dp=4).text(80))) == 1


@pytest.mark.parametrize(("span_s", "last"), [(0.00123, 0.0012), (1.0, 1.0), (36.5, 36.0), (4000.0, 4000.0)])
def test_ticks_are_round_and_fit(span_s, last):
    ticks = round_ticks(span_s, 10)
    assert 2 <= len(ticks) <= 11
    assert ticks[0] == 0
    assert ticks[-1] <= span_s
    assert ticks[-1] > 0.7 * last


def test_a_row_of_nothing_is_empty():
    assert pattern({}) == []
