"""`walltime validate`: on the rows that ship, on rows of others, on rows that are wrong."""

import csv
import json
import math

import numpy as np
import pytest

from walltime.calibrate.cross_validation import leave_one_source_out
from walltime.engines.step import PARTS
from walltime.problems import BadInput
from walltime.report.validation import validation_json, validation_text
from walltime.report.validation_page import validation_page
from walltime.validate import validation as module
from walltime.validate.cases import cases_of, read_cases
from walltime.validate.fitted_parameters import is_in_sample, training_parameters
from walltime.validate.measured import read_measured, shipped_files
from walltime.validate.validation import validate

FIGURES = {
    "rows_used",
    "rows_skipped",
    "median_abs_error",
    "p90_abs_error",
    "bias",
    "spearman",
    "mean_regret",
    "median_regret",
    "memory_median_abs_error",
    "fits_accuracy",
    "fits_balanced_accuracy",
    "fits_precision",
    "fits_recall",
}
RAN = ({"tp": 2, "pp": 2, "dp": 16}, {"tp": 4, "pp": 2, "dp": 8}, {"tp": 8, "pp": 1, "dp": 8})
HUGE = {"model_name": "GPT 175B", "params_b": 175.0, "n_layers": 96, "d_model": 12288, "d_ff": 49152, "n_heads": 96}
OUT_OF_MEMORY = HUGE | {"n_kv_heads": 96, "tp": 1, "pp": 1, "dp": 64, "status": "oom", "step_time_s": ""}


@pytest.fixture(scope="module")
def shipped():
    return validate(*read_cases(shipped_files()))


@pytest.fixture
def held_back(csv_file):
    """A file like one that nobody has seen: unknown sources, a status, runs out of memory that have no time."""
    rows = [
        {"source_id": source, "status": "ok", "step_time_s": 20.0 + i, "mem_gb": 40.0, **plan}
        for source in ("cluster-a", "cluster-b")
        for i, plan in enumerate(RAN)
    ]
    lost = [{"source_id": "cluster-a", "mem_gb": "", **OUT_OF_MEMORY}]
    return csv_file(*rows, *lost, {"source_id": "cluster-b", "gpu": "Groq LPU", "gpu_canonical": "Groq LPU"})


def test_every_shipped_row_is_predicted_or_skipped_with_a_reason(shipped):
    rows = sum(len(read_measured(path)) for path in shipped_files())
    assert len(shipped.cases) + len(shipped.skipped) == rows
    assert np.isfinite(shipped.predictions.step_time_s).all()
    assert (shipped.predictions.step_time_s > 0).all()
    assert all(skipped.reason for skipped in shipped.skipped)


def test_parts_add_up_within_their_bounds(shipped):
    assert tuple(shipped.parts_s) == PARTS
    total = np.add.reduce(list(shipped.parts_s.values()))
    assert total == pytest.approx(shipped.predictions.step_time_s, rel=1e-12)
    assert (shipped.lower_s <= total * (1 + 1e-12)).all()
    assert (total <= shipped.upper_s * (1 + 1e-12)).all()


def test_rows_are_in_sample_exactly_where_the_fit_saw_their_source(shipped):
    told = {source for parameter in training_parameters() for source in parameter.fitted_on}
    for case, inside in zip(shipped.cases, shipped.in_sample, strict=True):
        assert not inside or case.source_id in told
        assert inside == (case.is_core and case.step_time_s is not None and is_in_sample(case))


def test_memory_is_in_sample_where_its_numbers_were_set_on_the_source(call, shipped):
    assert shipped.memory_sources_in_sample == ["simumax_b200", "torchao", "torchtitan"]
    for case, inside in zip(shipped.cases, shipped.memory_in_sample, strict=True):
        assert not inside or case.memory_bytes
    found = call("validate", "--json").json()
    seen = {source for source, summary in found["by_source"].items() if summary["memory_in_sample"]}
    assert seen == set(shipped.memory_sources_in_sample)
    assert found["overall"]["memory_rows_in_sample"] == shipped.memory_in_sample.sum() > 0
    assert "memory of simumax_b200, torchao, torchtitan is IN SAMPLE" in validation_text(shipped)
    assert "Memory is in sample for simumax_b200, torchao, torchtitan:" in validation_page(shipped)


def test_figures_of_the_shipped_rows(call, shipped):
    found = call("validate", "--json").json()
    assert found["inputs"]["files"] == ["shipped"]
    assert set(found["by_source"]) == set(shipped.sources)
    for summary in (found["overall"], *found["by_source"].values()):
        assert set(summary) >= FIGURES
    used = sum(summary["rows_used"] for summary in found["by_source"].values())
    assert found["overall"]["rows_used"] == used > 800
    medians = [s["median_abs_error"] for s in found["by_source"].values() if s["median_abs_error"] is not None]
    assert found["overall"]["median_abs_error"] == pytest.approx(np.mean(medians))
    assert set(found["baseline"]["by_source"]) == set(found["by_source"])
    listed = found["fitted_parameters"]
    assert listed["count"] == len(listed["parameters"]) >= listed["decided_by_rows"] > 0
    assert sum(found["skipped"].values()) == found["overall"]["rows_skipped"]


def test_the_table_has_every_source_and_says_what_is_in_sample(call, shipped):
    shown = call("validate")
    assert (shown.code, shown.err) == (0, "")
    for source in (*shipped.sources, "overall", "constant utilisation", "IN SAMPLE", "rows skipped"):
        assert source in shown.out
    assert shown.out.rstrip().split("\n")[-1].startswith("next: walltime validate --html")
    assert all(len(line) < 150 for line in shown.out.split("\n"))


def test_rows_nobody_has_seen(call, held_back):
    found = call("validate", held_back, "--json").json()
    one, other = found["by_source"]["cluster-a"], found["by_source"]["cluster-b"]
    assert (one["rows_used"], one["rows_skipped"], other["rows_skipped"]) == (4, 0, 1)
    assert other["skipped"] == {"accelerator 'Groq LPU' is not modelled": 1}
    assert (one["fits_balanced_accuracy"], one["fits_recall"]) == (1, 1)
    assert (other["fits_balanced_accuracy"], other["fits_accuracy"]) == (None, 1)
    assert one["rows_in_sample"] == found["overall"]["rows_in_sample"] == 0
    assert not found["overall"]["memory_rows_in_sample"]
    for summary in (one, other):
        assert not summary["memory_in_sample"]
        assert summary["median_abs_error"] > 0
        assert summary["memory_median_abs_error"] > 0
        assert summary["mean_regret"] >= 0
    assert "out of sample" in call("validate", held_back).out


def test_whether_it_fits_is_judged_over_sources_that_have_one_class_each(call, csv_file):
    lost = {"source_id": "lost", **OUT_OF_MEMORY}
    path = csv_file({"source_id": "ran", "status": "ok", **RAN[0]}, lost)
    found = call("validate", path, "--json").json()
    assert [s["fits_balanced_accuracy"] for s in found["by_source"].values()] == [None, None]
    assert found["overall"]["fits_balanced_accuracy"] == 1


def test_rows_without_a_source_take_the_name_of_their_file(call, csv_file):
    assert set(call("validate", csv_file({}, drop=("source_id",)), "--json").json()["by_source"]) == {"rows"}


def test_a_file_given_twice_counts_once(call, held_back):
    assert call("validate", held_back, held_back, "--json").json()["overall"]["rows_used"] == 7


def test_the_csv_file_has_every_row(call, held_back, tmp_path):
    found = call("validate", held_back, "--csv", "out.csv", "--json").json()
    assert found["files_written"] == ["out.csv"]
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["line"]) for row in rows] == list(range(2, 10))
    for row in rows[:6]:
        parts = sum(float(row[f"{name}_s"]) for name in PARTS)
        assert parts == pytest.approx(float(row["predicted_step_time_s"]))
        error = float(row["predicted_step_time_s"]) / float(row["measured_step_time_s"]) - 1
        assert float(row["relative_error"]) == pytest.approx(error)
        assert (row["fits"], row["status"]) == ("true", "ok")
    assert [row["source"] for row in rows] == ["cluster-a"] * 3 + ["cluster-b"] * 3 + ["cluster-a", "cluster-b"]
    assert (rows[6]["status"], rows[6]["fits"], rows[6]["measured_step_time_s"]) == ("oom", "false", "")
    assert rows[7]["skipped_reason"] == "accelerator 'Groq LPU' is not modelled"
    assert rows[7]["predicted_step_time_s"] == ""
    assert not any(cell in ("nan", "inf", "None") for row in rows for cell in row.values())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dp": 32}, ("dp=32", "n_gpus=64", "Valid: dp=16")),
        ({"tp": 3}, ("n_gpus=64", "not a multiple of 6")),
        ({"n_heads": 30, "tp": 4, "dp": 8}, ("tp=4", "n_heads=30", "Nearest")),
        ({"step_time_s": "30 s"}, ("step_time_s='30 s'", "not a number")),
        ({"global_batch_seqs": "16M"}, ("global_batch_seqs='16M'", "not a number")),
        ({"mem_gb": "40GB"}, ("mem_gb='40GB'", "not a number")),
        ({"step_time_s": "nan(0)"}, ("step_time_s", "not a number")),
        ({"step_time_s": "1e400"}, ("step_time_s", "finite")),
        ({"status": "crashed"}, ("status", "'crashed'", "oom")),
    ],
)
def test_bad_rows_are_refused_with_place_field_value_and_what_is_valid(call, csv_file, changed, words):
    said = call("validate", csv_file({}, changed)).refused()
    assert "rows.csv:3: " in said
    for word in words:
        assert word in said


@pytest.mark.parametrize("drop", ["model_name", "gpu", "n_gpus", "seq_len", "global_batch_seqs"])
def test_a_missing_column_is_named(call, csv_file, drop):
    assert f"no column '{drop}'" in call("validate", csv_file({}, drop=(drop,))).refused()


@pytest.mark.parametrize("content", ["", "\n", b"\xff\xfe\x00", "model_name,gpu,n_gpus,seq_len,global_batch_seqs\n"])
def test_files_without_rows_are_refused(call, tmp_path, content):
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert "rows.csv" in call("validate", path).refused()


def test_files_of_other_measurements_are_left_out_among_files_of_training_rows(call, csv_file, tmp_path):
    other = tmp_path / "gemm.csv"
    other.write_text("source_id,gpu,m,n,k,latency_ms\nx,H100,1,2,3,4\n", encoding="utf-8")
    both = call("validate", csv_file({}), other)
    assert both.code == 0
    assert "gemm.csv: left out" in both.err
    assert call("validate", csv_file({}), other, "--json").json()["warnings"][0] == both.err.strip()
    assert "gemm.csv:1: no column 'model_name'" in call("validate", other).refused()
    assert "one.csv" in call("validate", csv_file({}), "one.csv").refused()


def test_a_file_that_is_not_there(call, tmp_path):
    assert "none.csv" in call("validate", "none.csv").refused()
    assert str(tmp_path) in call("validate", tmp_path).refused()


def test_contradictory_rows_are_skipped_if_asked(call, csv_file):
    path = csv_file({}, {"dp": 32})
    found = call("validate", path, "--lenient", "--json").json()
    assert found["overall"]["rows_used"] == 1
    assert found["skipped"] == {"contradictory": 1}
    assert any("contradict" in warning for warning in found["warnings"])


def test_a_row_alone_that_contradicts_itself_says_how(call, csv_file):
    message = call("validate", csv_file({"step_time_s": "0.001"})).refused(3)
    assert "contradictory: faster than the accelerator's peak: step time means" in message


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_to_judge_is_a_negative_answer(call, csv_file, as_json):
    path = csv_file({"gpu": "Groq LPU", "gpu_canonical": ""}, {"seq_len": ""})
    ended = call("validate", path, *(["--json"] if as_json else []))
    assert "none of 2 rows could be judged: accelerator 'Groq LPU' is not modelled" in ended.refused(3)
    if as_json:
        overall = ended.json()["overall"]
        assert (overall["rows_used"], overall["rows_skipped"]) == (0, 2)
        assert overall["median_abs_error"] is overall["fits_accuracy"] is None
    else:
        assert "overall" in ended.out


def test_outputs_are_checked_before_any_work(call, csv_file, tmp_path, monkeypatch):
    monkeypatch.setattr("walltime.cli.validate.validate", lambda *_: pytest.fail("worked before looking"))
    path = csv_file({})
    for option in ("--csv", "--html"):
        assert "no folder" in call("validate", option, "nowhere/out").refused()
        assert "is a folder" in call("validate", option, tmp_path).refused()
        assert "overwrite" in call("validate", path, option, path).refused()
    assert "both name" in call("validate", "--csv", "out", "--html", "out").refused()


def test_an_engine_that_refuses_some_rows_costs_only_those(monkeypatch, row):
    real = module.predictions

    def picky(cases):
        if any(case.row.tp == 8 for case in cases):
            raise BadInput("tp=8 is too odd.")
        return real(cases)

    monkeypatch.setattr(module, "predictions", picky)
    cases, _ = cases_of(row(**plan, line=i) for i, plan in enumerate((*RAN, *RAN)))
    found = validate(cases)
    assert [case.row.line for case in found.cases] == [0, 1, 3, 4]
    assert [(s.row.line, s.reason) for s in found.skipped] == [(2, "tp=8 is too odd."), (5, "tp=8 is too odd.")]


def test_a_prediction_that_is_not_finite_is_not_hidden(monkeypatch, row):
    real = module.predictions

    def broken(cases):
        found = real(cases)
        found.step_time_s[[case.row.tp == 8 for case in cases]] = math.nan
        return found

    monkeypatch.setattr(module, "predictions", broken)
    cases, _ = cases_of(row(**plan, line=i) for i, plan in enumerate(RAN))
    assert [skipped.reason for skipped in validate(cases).skipped] == ["no finite time is predicted"]


def test_a_broken_catalog_is_not_a_reason_to_skip_rows(monkeypatch, row):
    def broken():
        raise BadInput("training.toml: not valid TOML.")

    monkeypatch.setattr(module, "training_parameters", broken)
    with pytest.raises(BadInput, match=r"training\.toml"):
        validate(*cases_of([row()]))


def test_a_source_left_out_is_predicted_by_a_fit_that_has_not_seen_it(row, monkeypatch):
    """Each source has a speed of its own; a stand-in for the fit returns the mean of what it saw."""
    seen = {"one": 100.0, "torchtitan": 200.0, "torchao": 400.0}
    cases, _ = cases_of(row(source_id=name, step_time_s=t, **plan) for name, t in seen.items() for plan in RAN)
    fits = []

    def fit(rows):
        fits.append(sorted({case.source_id for case in rows}))
        return type("Fit", (), {"parameters": (1, 2), "num_decided": 1, "numbers": float(len(fits))})()

    monkeypatch.setattr("walltime.calibrate.cross_validation.fit", fit)
    monkeypatch.setattr(
        "walltime.calibrate.cross_validation.step_times_s", lambda batches, count, numbers: np.full(count, numbers)
    )
    told = []
    shown = validate(cases)
    found = leave_one_source_out(cases, shown.predictions, progress=lambda *done: told.append(done))
    assert fits == [["torchao", "torchtitan"], ["one"]]
    assert found.predictions.step_time_s.tolist() == [1.0] * 3 + [2.0] * 6
    assert {name: fold.num_rows for name, fold in found.folds.items()} == {"one": 6, "torchtitan": 3}
    assert told[-1] == (2, 2)
    both = validation_json(shown, found)["leave_one_source_out"]
    assert both["by_source"]["one"]["median_abs_error"] == pytest.approx(0.99)
    assert set(both["overall"]) >= FIGURES
    assert json.dumps(both["folds"])
    assert "each source left out" in validation_text(shown, found)


def test_leaving_out_refits_in_earnest(csv_file):
    """Two sources of three rows: the numbers come from the other source alone."""
    rows = [{"source_id": name, "step_time_s": 20.0 + i, **plan} for name in "ab" for i, plan in enumerate(RAN)]
    path = csv_file(*rows)
    cases, _ = read_cases([path])
    shown = validate(cases)
    found = leave_one_source_out(cases, shown.predictions)
    assert set(found.folds) == {"a", "b"}
    assert all(fold.num_rows == 3 and fold.num_parameters >= fold.num_decided for fold in found.folds.values())
    assert np.isfinite(found.predictions.step_time_s).all()
    assert found.predictions.step_time_s != pytest.approx(shown.predictions.step_time_s)
    assert found.report.overall.rows_used == 6
