"""A result as a row: what `validate` reads is what was run, and a result survives its file."""

import json
from dataclasses import replace

import pytest

from walltime.measure.records import PowerReading, StepParts, TrainRequest, TrainResult
from walltime.measure.rows import COLUMNS, result_from_json, result_json, row_of, write_result, write_rows
from walltime.plan import Plan
from walltime.problems import BadInput
from walltime.validate.cases import Case, case_of
from walltime.validate.harness import HARNESS_COLUMNS, harness_model
from walltime.validate.measured import read_measured
from walltime.workload import Training
from walltime.workload.catalog import transformer

LLAMA = transformer("llama-3.2-1b")
PLANS = [
    Plan(dp=8, sharding="zero3"),
    Plan(dp=8, sharding="ddp", micro_batch=2),
    Plan(dp=16, shard=8, sharding="zero3", reshard=False),
    Plan(dp=2, tp=4, sharding="zero3", recompute="selective"),
    Plan(dp=2, tp=4, sharding="zero3", sequence_parallel=False, recompute="full"),
    Plan(dp=2, pp=4, sharding="zero3", reshard=False, schedule="gpipe"),
    Plan(dp=2, pp=2, vpp=2, sharding="zero3", reshard=False, recompute="full", recompute_layers=0.5),
    Plan(dp=2, cp=2, sharding="zero3"),
]


def result(plan=PLANS[0], model=LLAMA, **changes):
    request = TrainRequest(Training(model, 4096, 32), plan, num_steps=3, seed=7, model_id="llama-3.2-1b")
    values = {
        "request": request,
        "status": "ok",
        "step_times_s": (1.0, 2.0, 4.0),
        "losses": (11.5, 11.25, 11.0),
        "parts": StepParts(2.0, 1.25, 0.75, 0.5, 0.25, {"all_gather": 0.75}, {"all_gather": 0.5}, num_steps=2),
        "power": PowerReading(500.0, 30, 3500.0),
        "memory_bytes": {"allocated": 20e9, "reserved": 22e9, "weights": 2e9, "gradients": 2e9, "optimizer": 4e9},
        "environment": {"id": "abc", "date": "2026-01-01T00:00:00Z"},
        "device": "NVIDIA H100 80GB HBM3",
        "num_ranks_per_node": 8,
        "framework": "walltime measure (PyTorch 2.13.0)",
        "attention": "sdpa",
    }
    return TrainResult(**(values | changes))


def read(tmp_path, *results):
    path = tmp_path / "rows.csv"
    write_rows(path, [row_of(one) for one in results])
    return read_measured(path)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_row_reads_back_as_what_was_run(plan, tmp_path):
    (row,) = read(tmp_path, result(plan))
    case = case_of(row)
    assert isinstance(case, Case), case
    assert case.training == replace(result(plan).request.training, model=case.training.model)
    assert replace(case.training.model, name=LLAMA.name) == LLAMA
    expected = plan if plan.tp > 1 else replace(plan, sequence_parallel=False)
    assert case.plan == expected
    assert case.machine.accelerator == "h100-sxm"
    assert case.machine.gpus_per_node == min(8, plan.num_gpus)
    assert case.step_time_s == 2.0  # the median
    assert case.memory_bytes == 20e9
    assert case.memory.kind == "allocated"
    assert case.features["compiled"] is False
    assert "attention" in case.features
    assert not {"dropout", "fused_norm", "overlap_tp"} & set(case.features)


def test_every_column_in_its_order(tmp_path):
    assert tuple(row_of(result())) == COLUMNS
    assert COLUMNS[-len(HARNESS_COLUMNS) :] == HARNESS_COLUMNS
    (row,) = read(tmp_path, result())
    assert row.power_w == 500.0
    assert row.tokens_per_s_per_gpu == 4096 * 32 / 8 / 2.0
    assert float(row.other["energy_per_step_j"]) == pytest.approx(3500.0 * 8 / 3)
    assert float(row.other["exposed_communication_s"]) == 0.5
    assert {row.other[name] for name in ("seed", "environment_id", "loss_last")} == {"7", "abc", "11.0"}


def test_what_was_not_measured_is_empty():
    row = row_of(result(power=None, parts=None, memory_bytes={}, environment={}))
    empty = ("power_w", "energy_per_step_j", "compute_s", "idle_s", "mem_gb", "weights_bytes", "environment_id")
    assert {row[name] for name in empty} == {""}


def test_out_of_memory_is_a_row_without_times(tmp_path):
    (row,) = read(tmp_path, result(status="oom", step_times_s=(), losses=(), parts=None, power=None, memory_bytes={}))
    case = case_of(row)
    assert isinstance(case, Case), case
    assert not case.ran
    assert case.time is None
    assert row.step_time_s is None


@pytest.mark.parametrize(
    "name", ["gpt-oss-20b", "deepseek-v3", "gemma-2-2b", "falcon-7b", "bloom-560m", "llama-4-scout"]
)
def test_a_model_of_any_kind_is_read_exactly(name, tmp_path):
    whole = transformer(name)
    model = replace(whole, num_layers=6, num_sliding_layers=3 * bool(whole.sliding_window), num_dense_layers=0)
    (row,) = read(tmp_path, result(model=model))
    assert harness_model(name, row.other) == model


def test_a_mixture_is_described_as_rows_do(tmp_path):
    (row,) = read(tmp_path, result(model=transformer("mixtral-8x7b")))
    assert (row.n_experts, row.top_k, row.d_ff) == (8, 2, 14336)


@pytest.mark.parametrize("said", ["[]", "{", '{"num_layers": 2}', '{"num_lairs": 2}'])
def test_dimensions_that_are_none(said):
    with pytest.raises(BadInput, match="model_dimensions"):
        harness_model("x", {"model_dimensions": said})


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_result_survives_its_file(plan, tmp_path):
    path = tmp_path / "result.json"
    write_result(path, result(plan))
    assert result_from_json(json.loads(path.read_text(encoding="utf-8"))) == result(plan)
    assert list(tmp_path.iterdir()) == [path]


def test_a_loss_that_is_no_number_is_null(tmp_path):
    path = tmp_path / "result.json"
    write_result(path, result(losses=(1.0, float("nan"))))
    assert json.loads(path.read_text(encoding="utf-8"))["result"]["losses"] == [1.0, None]
    assert result_json(result(losses=(float("nan"),)))["row"]["loss_last"] == ""


@pytest.mark.parametrize("document", [{}, {"result": {}}, {"result": []}, {"result": {"request": 3}}])
def test_another_document_is_refused(document):
    with pytest.raises(BadInput, match="not a result"):
        result_from_json(document)


def test_rows_are_appended_under_one_header(tmp_path):
    assert len(read(tmp_path, result())) == 1
    assert len(read(tmp_path, result(), result())) == 3


def test_a_file_of_other_columns_is_not_touched(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(BadInput, match="other columns"):
        write_rows(path, [row_of(result())])
    assert path.read_text(encoding="utf-8") == "a,b\n1,2\n"


def test_a_result_that_cannot_be_written(tmp_path):
    with pytest.raises(BadInput, match="cannot write"):
        write_result(tmp_path / "none" / "result.json", result())
