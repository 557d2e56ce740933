"""Every stored value of the published program, and proof that a wrong one would be noticed."""

import json
from pathlib import Path

import pytest

from walltime.engines import FIXES
from walltime.validate import EXACT, CurveName, reference, verify_frontier, verify_matmul, verify_step

DATA = Path(__file__).parents[1] / "data" / "erdil2024"
CORRECTED = sorted((DATA / "corrected").glob("*.csv"))
VERIFY = {"matmul": verify_matmul, "step": verify_step, "frontier": verify_frontier}


def rows_of(name):
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", VERIFY)
def test_every_row_agrees(name):
    result = VERIFY[name](DATA / f"{name}.jsonl")
    assert result.tolerance == EXACT == 1e-9
    assert result.rows == len(rows_of(name))
    assert result.largest_error <= 1e-9
    assert result.num_outside == 0
    assert result.passed


def test_there_is_a_curve_for_every_fix():
    assert len(CORRECTED) == 5
    assert {path.name.partition("__")[0] for path in CORRECTED} == set(FIXES)


@pytest.mark.parametrize("path", CORRECTED, ids=lambda path: path.stem)
def test_every_corrected_row_agrees_to_its_printed_digits(path):
    result = verify_frontier(path)
    assert result.rows == len(path.read_text().splitlines()) - 1
    assert result.passed, result.worst


@pytest.mark.parametrize("fix", ["finer_cluster_grid", "residency_counts_all_matrices"])
def test_another_reading_is_noticed(fix):
    path = next(path for path in CORRECTED if path.name.startswith(f"{fix}__H100"))
    assert not verify_frontier(path, CurveName(fix="head")).passed


def written(folder, name, rows):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("matmul", "seconds"),
        ("step", "total_seconds"),
        ("step", "utilization"),
        ("step", "tp_comm_seconds"),
        ("step", "dp_comm_seconds"),
        ("step", "pp_ep_comm_seconds"),
        ("step", "latency_seconds"),
        ("frontier", "utilization"),
        ("frontier", "years"),
    ],
)
def test_one_number_a_millionth_off_is_found(tmp_path, name, field):
    rows = rows_of(name)[:30]
    line = next(line for line in range(12, 31) if rows[line - 1].get(field))
    rows[line - 1][field] *= 1 + 1e-6
    result = VERIFY[name](written(tmp_path, name, rows))
    assert result.rows == 30
    assert result.num_outside == 1
    assert result.worst["line"] == line
    assert result.worst.get("field", "seconds") == field
    assert result.largest_error == pytest.approx(1e-6, rel=1e-3)
    assert VERIFY[name](written(tmp_path, name, rows), tolerance=1e-5).passed


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("matmul", {"d1": 8192}),
        ("matmul", {"gpu": "V100 SXM"}),
        ("step", {"num_microbatches": 4096}),
        ("step", {"overlap_tp": 0.5}),
        ("frontier", {"n_gpus": 4096}),
        ("frontier", {"feasible": False}),
    ],
)
def test_another_question_has_another_answer(tmp_path, name, change):
    """The answer depends on the row's inputs: not only its own numbers are read back."""
    rows = rows_of(name)[:30]
    line = next(
        line
        for line in range(12, 31)
        if all(rows[line - 1][field] != value for field, value in change.items())
        and (name != "step" or rows[line - 1]["tp_comm_seconds"] * 3 > rows[line - 1]["total_seconds"])
    )
    rows[line - 1] |= change
    result = VERIFY[name](written(tmp_path, name, rows))
    assert result.num_outside == 1
    assert result.worst["line"] == line


def test_an_end_of_a_curve_in_the_wrong_place_is_found(tmp_path):
    rows = rows_of("frontier")
    line = next(line for line, row in enumerate(rows, start=1) if not row["feasible"])
    before = rows[line - 2]
    numbers = {name: before[name] for name in ("n_gpus", "utilization", "years")}
    changed = [*rows[: line - 1], rows[line - 1] | {"feasible": True} | numbers]
    result = verify_frontier(written(tmp_path, "frontier", changed))
    assert result.num_outside == 1
    assert result.worst["line"] == line


CURVE = next(path for path in CORRECTED if "finer_cluster_grid__H100" in path.name)


def curve_with(folder, edit):
    lines = CURVE.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    edit(cells)
    path = folder / CURVE.name
    path.write_text("".join(",".join(row) + "\n" for row in cells))
    return path


def test_a_last_printed_digit_off_by_one_is_found(tmp_path):
    def edit(cells):
        column = cells[0].index("utilization")
        cells[7][column] = f"{float(cells[7][column]) + 1e-6:.6f}"

    result = verify_frontier(curve_with(tmp_path, edit))
    assert (result.num_outside, result.worst["line"], result.worst["field"]) == (1, 8, "utilization")


def test_another_cluster_size_is_found(tmp_path):
    def edit(cells):
        column = cells[0].index("n_gpu")
        cells[3][column] = str(int(cells[3][column]) + 1)

    result = verify_frontier(curve_with(tmp_path, edit))
    assert (result.num_outside, result.worst["line"], result.worst["field"]) == (1, 4, "n_gpus")


@pytest.mark.parametrize("name", ["matmul", "step"])
def test_what_is_not_a_number_is_outside_every_tolerance(tmp_path, monkeypatch, name):
    """A comparison with nan is false both ways; only one of them may pass."""
    nan = float("nan")
    rows = rows_of(name)[:3]
    monkeypatch.setattr(reference, "matmul_time_s", lambda *args, **options: nan)
    monkeypatch.setattr(reference, "_step", lambda row, *args: dict(row) | {"latency_seconds": nan})
    result = VERIFY[name](written(tmp_path, name, rows), tolerance=0.9)
    assert not result.passed
    assert result.num_outside == 3
    assert result.largest_error == float("inf")
    assert result.worst.get("field", "latency_seconds") == "latency_seconds"


def test_a_curve_that_ends_too_early_is_found(tmp_path):
    result = verify_frontier(curve_with(tmp_path, lambda cells: cells.pop()))
    assert result.num_outside == 1
    assert result.worst["field"] == "feasible"
