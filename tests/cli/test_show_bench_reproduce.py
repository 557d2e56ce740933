"""What the catalog holds, how fast this build is, and a paper beside it."""

import csv
import json
from dataclasses import replace

import pytest

from walltime.catalog import AcceleratorRecord, ModelRecord, parameter_set, parameter_sets, sources
from walltime.catalog.fitted import fitted_ids, kernels_record, links_record, memory_record, training_record
from walltime.catalog.stacks import stack_ids, stack_record
from walltime.cli import reproduce

KINDS = [
    "accelerators",
    "efficiencies",
    "networks",
    "clusters",
    "models",
    "stacks",
    "kernels",
    "links",
    "training",
    "memory",
    "calibrations",
    "prices",
    "ownership",
    "power",
    "failures",
    "constants",
    "laws",
    "assumptions",
    "schedules",
    "parameter-sets",
    "sources",
]


def test_show_lists_the_kinds(call):
    rows = call("show", "--json").json()["rows"]
    assert [row["id"] for row in rows] == KINDS
    for row in rows:
        listed = call("show", row["id"], "--json").json()["rows"]
        assert len(listed) == row["entries"]
        assert listed or row["id"] == "calibrations"


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_show_prints_what_its_json_has(call, kind):
    what = [kind] if kind else []
    shown = call("show", *what)
    assert (shown.code, shown.err) == (0, "")
    for row in call("show", *what, "--json").json()["rows"]:
        assert str(row["id"]) in shown.out


def test_show_lists_every_accelerator_of_every_set(call):
    rows = call("show", "accelerators", "--json").json()["rows"]
    expected = {(name, chip.id) for name in parameter_sets() for chip in parameter_set(name).all(AcceleratorRecord)}
    assert {(row["parameters"], row["id"]) for row in rows} == expected


def test_show_gives_every_number_with_its_source(call):
    rows = call("show", "accelerators", "h100-sxm", "--parameters", "datasheet", "--json").json()["rows"]
    record = parameter_set("datasheet").get(AcceleratorRecord, "h100-sxm")
    shown = {row["number"]: row for row in rows}
    for path, number in record.numbers().items():
        assert shown[path]["kind"] == number.kind
        assert shown[path]["source"] == number.source
        assert shown[path]["locator"] == number.locator
        if not isinstance(number.value, bool):
            assert float(shown[path]["value"]) == pytest.approx(number.value, rel=1e-6)


def shown(call, *what):
    """What is shown of a name, by number."""
    return {row["number"]: row for row in call("show", *what, "--json").json()["rows"]}


def test_show_lists_every_model_with_its_size(call):
    rows = {row["id"]: row for row in call("show", "models", "--json").json()["rows"]}
    assert set(rows) == set(parameter_set("datasheet").ids(ModelRecord))
    assert rows["llama-3.1-405b"]["num_parameters"] == 405_853_388_800
    assert rows["mixtral-8x7b"]["num_active_parameters"] < rows["mixtral-8x7b"]["num_parameters"] == 46_702_792_704


def test_show_gives_a_models_dimensions_and_their_source(call):
    rows = shown(call, "llama-3.1-405b")
    record = parameter_set("datasheet").get(ModelRecord, "llama-3.1-405b")
    assert rows["num_parameters"]["value"] == rows["published_parameters"]["value"] == "405,853,388,800"
    assert rows["published_parameters"]["source"] == record.published_parameters.source
    for name, value in record.dimensions.items():
        assert (rows[name]["value"], rows[name]["source"], rows[name]["locator"]) == (
            value,
            record.source,
            record.locator,
        )
    assert shown(call, "models", "meta-llama/Llama-3.1-405B") == rows


@pytest.mark.parametrize("name", stack_ids())
def test_show_gives_what_is_known_of_a_software_stack(call, name):
    rows = shown(call, "stacks", name)
    assert rows["attention"]["value"] == stack_record(name).attention
    assert rows["optimizer_bytes"]["value"] == stack_record(name).optimizer_bytes
    assert {row["source"] for row in rows.values() if "source" in row} == {c.source for c in stack_record(name).sources}


@pytest.mark.parametrize("kind", ["kernels", "links", "training", "memory"])
def test_show_gives_every_fitted_number_and_what_it_was_fitted_on(call, kind):
    name = {"kernels": "h100-sxm", "links": "nvlink4-ndr400"}.get(kind, "megatron-core")
    blocks = {
        "kernels": lambda: {f"matmul.{k}": block for k, block in kernels_record(name).matmul.items()},
        "links": lambda: {block.name: block for block in links_record(name).level},
        "training": lambda: {"stack": training_record().stack[name]},
        "memory": lambda: {"stack": memory_record().stack[name]},
    }[kind]()
    rows = shown(call, kind, name)
    for part, block in blocks.items():
        assert f"{block.rows:,} rows" in rows[part]["value"]
        assert (rows[part]["kind"], rows[part]["source"]) == (block.kind, block.source)
        assert rows[part]["locator"] == block.locator
        for number, value in block.values.items():
            row = rows[f"{part}.{number}"]
            assert float(row["value"]) == pytest.approx(value, rel=1e-6)
            assert row["kind"] == ("estimate" if number in block.estimated else "fitted")
            if number in block.low:
                low, high = row["range"].split(" to ")
                assert float(low) == pytest.approx(block.low[number], rel=1e-3)
                assert float(high) == pytest.approx(block.high[number], rel=1e-3)


def test_show_of_an_accelerator_has_its_kernels_and_what_it_sustains(call):
    assert "h100-sxm" in fitted_ids("kernels")
    kinds = {row["of"] for row in call("show", "h100-sxm", "--json").json()["rows"]}
    assert kinds >= {"accelerators", "efficiencies", "clusters", "kernels", "training"}
    theirs = {row["of"] for row in call("show", "h100-sxm", "--parameters", "Erdil2024", "--json").json()["rows"]}
    assert theirs.isdisjoint({"kernels", "training"})


@pytest.mark.parametrize(
    ("what", "near"),
    [
        (("llama-3.1-450b",), "llama-3.1-405b"),
        (("models", "lama-2-7b"), "llama-2-7b"),
        (("stacks", "torchtitn"), "torchtitan"),
        (("torchtitn",), "torchtitan"),
        (("links", "nvlink4-ndr40"), "nvlink4-ndr400"),
        (("kernel", "h100-sxm"), "kernels"),
    ],
)
def test_show_has_a_near_match_in_every_kind(call, what, near):
    assert f"Did you mean '{near}'?" in call("show", *what).refused(code=2)


def test_show_of_a_name_joins_what_is_known_of_it(walltime):
    result = walltime("show", "h100-sxm")
    assert (result.code, result.err) == (0, "")
    for said in ("accelerators, datasheet", "efficiencies, Erdil2024", "achievable_fraction", "nvidia2022hopper"):
        assert said in result.out


def test_show_finds_aliases_whatever_their_case(call):
    by_id = call("show", "mi300x", "--json").json()["rows"]
    by_alias = call("show", "MI300X-OAM", "--json").json()["rows"]
    assert by_alias
    assert [row for row in by_id if row["of"] == "accelerators"] == [r for r in by_alias if r["of"] == "accelerators"]


def test_show_sources_are_those_of_the_bibliography(call):
    assert {row["id"] for row in call("show", "sources", "--json").json()["rows"]} == set(sources())


def test_bench_measures_something(walltime):
    result = walltime("bench", "--json")
    assert (result.code, result.err) == (0, "")
    document = result.json()
    assert document["erdil_study_curves"] == 19
    for name in ("erdil_study_s", "erdil_h100_dense_curve_cpu_s", "erdil_corrected_full_curve_s", "erdil_plans_per_s"):
        assert document[name] > 0
    for name in ("transformer_plans_per_s", "transformer_estimate_cli_s"):
        assert document[name] > 0
    for shares in ("erdil_plans_limited_by", "erdil_study_limited_by"):
        assert 0 < sum(document[shares].values()) <= 1 + 1e-9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reproduced")


def test_reproduce_prints_the_papers_numbers_beside_ours(walltime):
    result = walltime("reproduce", "erdil2024", "--mode", "as_published")
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    headline = next(line for line in lines if line[:4] == ["linear", "scaling", "end", "h100-sxm"])
    assert headline[-3:] == ["2.05e28", "2.05e28", "0"]


def test_reproduce_writes_a_figure(walltime, folder):
    out = folder / "new" / "study"
    args = ("reproduce", "erdil2024", "article_figure", "t_limit_sensitivity", "--mode", "as_published", "--out", out)
    result = walltime(*args, "--json")
    assert (result.code, result.err) == (0, "")
    files = result.json()["files"]
    assert [str(path) for path in sorted(out.rglob("*")) if path.is_file()] == sorted(files)
    names = {path.name for path in out.rglob("*")}
    assert "index.html" in names
    for figure in ("article_figure", "t_limit_sensitivity"):
        for suffix in ("csv", "png", "svg"):
            assert any(name.startswith(figure) and name.endswith(suffix) for name in names), (figure, suffix)
    (table,) = [path for path in out.rglob("*.csv") if path.name.startswith("article_figure")]
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 20


def test_reproduce_of_a_wrong_headline_ends_with_3(call, monkeypatch):
    """The judgement is made on the numbers: one that is off is counted."""
    published = reproduce.headlines

    def tampered(study):
        first, *rest = published(study)
        return [replace(first, ours_flop=1.01 * first.ours_flop), *rest]

    monkeypatch.setattr(reproduce, "headlines", tampered)
    result = call("reproduce", "erdil2024", "--mode", "as_published", "--workers", "1", "--json")
    assert "1 of 38 headline numbers" in result.refused(code=3)
    assert [h["agrees"] for h in json.loads(result.out)["headlines"]["as_published"]].count(False) == 1
