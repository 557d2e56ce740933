"""How accurate the catalog's numbers are on measured rows, as stored in ``tests/data/accuracy.json``, must not worsen.

``python tests/validate/test_accuracy.py`` writes the file anew, from the rows that ship and, where they are, the bulk
files beside the repository; it also leaves each source out of the fit in turn, which takes minutes (``--quick`` does
not, and drops those figures). Then run ``python docs/generate_accuracy.py``.
"""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from walltime.calibrate.cross_validation import leave_one_source_out
from walltime.catalog.accuracy import accuracy_record
from walltime.search.executors import available_cores, workers
from walltime.validate.cases import read_cases
from walltime.validate.measured import shipped_files
from walltime.validate.validation import validate

REPO = Path(__file__).parents[2]
STORED = REPO / "tests" / "data" / "accuracy.json"
BULK = REPO.parent / "shared" / "measured"
TOLERANCE, TOLERANCE_OF_P90 = 0.003, 0.01
"""How much a median and a 90th percentile may grow: fractions, so 0.3 and 1 percentage points."""
ROUNDED = 1e-5
FIGURES = (
    "rows_used",
    "rows_skipped",
    "median_abs_error",
    "p90_abs_error",
    "mean_abs_error",
    "bias",
    "spearman",
    "mean_regret",
    "median_regret",
    "memory_median_abs_error",
    "fits_recall",
)


def bulk_files():
    """Files of measured rows beside the repository that do not ship; none where they are not there."""
    shipped = {path.name for path in shipped_files()}
    files = sorted(path for path in BULK.glob("*.csv") if path.name not in shipped)
    return [path for path in files if "framework" in path.read_text(encoding="utf-8").split("\n", 1)[0]]


def validated(files):
    return validate(*read_cases(files, strict=False))


def stored():
    return json.loads(STORED.read_text(encoding="utf-8"))


def worse(now, before):
    """What has worsened of a source, in words."""
    for name, tolerance in (
        ("median_abs_error", TOLERANCE),
        ("p90_abs_error", TOLERANCE_OF_P90),
        ("memory_median_abs_error", TOLERANCE),
    ):
        if before[name] is not None and (now[name] is None or now[name] > before[name] + tolerance):
            yield f"{name}: {before[name]:.4f} before, now {now[name]}"
    if now["rows_used"] < before["rows_used"]:
        yield f"rows_used: {before['rows_used']} before, now {now['rows_used']}"
    if before["fits_recall"] is not None and now["fits_recall"] < before["fits_recall"] - ROUNDED:
        yield f"fits_recall: {before['fits_recall']:.4f} before, now {now['fits_recall']:.4f}"


def all_worse(found, kind):
    before = {name: figures for name, figures in stored()["by_source"].items() if figures["kind"] == kind}
    assert set(found.sources) == set(before), "run: python tests/validate/test_accuracy.py"
    return [
        f"{source}: {what}"
        for source, figures in before.items()
        for what in worse(found.report.by_source[source].to_dict(), figures)
    ]


def test_no_source_that_ships_is_predicted_worse_than_before():
    assert all_worse(validated(shipped_files()), "shipped") == []


def test_no_bulk_source_is_predicted_worse_than_before():
    files = bulk_files()
    if not files:
        pytest.skip(f"the bulk files of measured rows are not in {BULK.relative_to(REPO.parent)} beside the repository")
    assert all_worse(validated(files), "bulk") == []


def test_a_worse_source_would_be_noticed():
    before = dict.fromkeys(FIGURES, 0.05) | {"rows_used": 10, "fits_recall": 1.0}
    assert list(worse(before, before)) == []
    assert list(worse(before | {"median_abs_error": 0.0529, "p90_abs_error": 0.0599}, before)) == []
    for changed in ({"median_abs_error": 0.0531}, {"p90_abs_error": 0.061}, {"rows_used": 9}, {"fits_recall": 0.99}):
        assert len(list(worse(before | changed, before))) == 1
    assert len(list(worse(before | {"median_abs_error": None}, before))) == 1


def test_the_catalog_says_the_stored_figures():
    """The planner calls plans ties that are closer than the median error."""
    stored, said = json.loads(STORED.read_text(encoding="utf-8"))["overall"], accuracy_record()
    assert said.step_time_median_error.value == round(stored["median_abs_error"], 4)
    assert said.step_time_p90_error.value == round(stored["p90_abs_error"], 4)
    assert said.mean_regret.value == round(stored["mean_regret"], 4)
    assert said.memory_median_error.value == round(stored["memory_median_abs_error"], 4)


def test_every_page_shows_the_stored_figures():
    spec = importlib.util.spec_from_file_location("generate_accuracy", REPO / "docs" / "generate_accuracy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for page in module.PAGES:
        text = page.read_text(encoding="utf-8")
        assert module.with_table(text) == text, "run: python docs/generate_accuracy.py"


def measured_again(quick):
    """What the file holds: figures of every source, which kind it is, overall, and with sources left out."""
    bulk = bulk_files()
    found = validated([*shipped_files(), *bulk])
    shipped = set(validated(shipped_files()).sources)
    by_source = {
        source: {"kind": "shipped" if source in shipped else "bulk", "sample": found.sample_of(source)}
        | figures_of(summary)
        | {"baseline": figures_of(found.baseline_report.by_source[source])}
        for source, summary in found.report.by_source.items()
    }
    document = {
        "note": "written by python tests/validate/test_accuracy.py",
        "with_bulk_files": bool(bulk),
        "overall": figures_of(found.report.overall) | {"baseline": figures_of(found.baseline_report.overall)},
        "by_source": by_source,
    }
    if not quick:
        with workers(available_cores()) as executor:
            left_out = leave_one_source_out(
                found.cases, found.predictions, (), found.skipped, executor, lambda *done: print(*done, end="\r")
            )
        for source in left_out.report.by_source:
            by_source[source]["left_out"] = figures_of(left_out.report.by_source[source])
        document["overall"]["left_out"] = figures_of(left_out.report.overall)
    return document


def figures_of(summary):
    """The figures, rounded to what is shown and compared."""
    values = replace(summary, skipped={}).to_dict()
    return {n: round(values[n], 5) if isinstance(values[n], float) else values[n] for n in FIGURES}


if __name__ == "__main__":
    STORED.write_text(json.dumps(measured_again("--quick" in sys.argv), indent=1) + "\n", encoding="utf-8")
