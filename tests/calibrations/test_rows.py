"""Rows of `walltime measure train`: read as they were run, and predicted on the calibration of their machine."""

import csv
import dataclasses

import pytest

import walltime as wt
from walltime.measure.records import TrainRequest, TrainResult
from walltime.measure.rows import row_of, write_rows
from walltime.plan import Plan
from walltime.validate.cases import Case, read_cases
from walltime.validate.fitted_parameters import is_in_sample
from walltime.validate.predict import predictions
from walltime.workload import Training

from .machines import CPU_NAME, cpu, gpu

LLAMA = dataclasses.replace(wt.model("llama-3.2-1b"), num_layers=2)
PLANS = [
    Plan(dp=4, sharding="zero3", precision="fp32"),
    Plan(dp=2, tp=2, sharding="zero3", reshard=False, sequence_parallel=False, precision="fp32"),
    Plan(dp=2, pp=2, schedule="gpipe", sharding="zero3", precision="fp32", recompute="full", recompute_layers=0.5),
    Plan(dp=4, shard=2, sharding="zero3", precision="fp32", recompute="selective", micro_batch=2),
    Plan(dp=2, cp=2, sharding="ddp", precision="fp32", recompute="full"),
]


def result(plan, step_time_s=30.0, device=CPU_NAME, **changes):
    made = TrainResult(
        request=TrainRequest(Training(LLAMA, 128, 8), plan, model_id="llama-3.2-1b"),
        status="ok",
        step_times_s=(step_time_s,) * 3,
        losses=(11.0, 10.9, 10.8),
        memory_bytes={"resident": 1e9, "weights": 1e8},
        environment={"id": "abc", "date": "2026-07-01"},
        device=device,
        num_ranks_per_node=4,
        framework="walltime measure (PyTorch 2.13.0)",
        attention="sdpa",
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def rows(tmp_path):
    """Write results as rows of a file."""

    def write(*results):
        path = tmp_path / "rows.csv"
        path.unlink(missing_ok=True)
        write_rows(path, [row_of(one) for one in results])
        return path

    return write


def test_a_row_is_read_as_it_was_run(keep, rows):
    keep(cpu())
    cases, skipped = read_cases([rows(*map(result, PLANS))])
    assert not skipped
    for case, plan in zip(cases, PLANS, strict=True):
        usual = {"order": case.plan.order, "sequence_parallel": plan.sequence_parallel and plan.tp > 1}
        reshard = plan.reshard if plan.sharding == "zero3" else case.plan.reshard
        assert case.plan == dataclasses.replace(plan, reshard=reshard, **usual)
        assert dataclasses.replace(case.training.model, name=LLAMA.name) == LLAMA
        selective = {"selective": "operations"} if plan.recompute == "selective" else {}
        assert (case.stack, case.features) == ("pytorch", {"attention": "flash2", "compiled": False} | selective)
        assert (case.machine.accelerator, case.machine.gpus_per_node) == ("my-cpu", 4)
        assert case.step_time_s == 30
        assert case.memory is None, "what a process holds on the host is not what an accelerator holds"


def test_a_row_is_predicted_as_the_estimate_is(keep, rows):
    keep(cpu())
    cases, _ = read_cases([rows(*map(result, PLANS))])
    times_s = predictions(cases).step_time_s
    four = wt.cluster("my-cpu", num_gpus=4)
    for case, time_s in zip(cases, times_s, strict=True):
        alone = wt.estimate(LLAMA, four, case.plan, batch_seqs=8, seq_len=128, stack="pytorch")
        assert time_s == pytest.approx(float(alone.time_s[0]), rel=1e-12)


def test_without_a_calibration_it_says_what_to_do(keep, rows):
    keep()
    path = rows(result(PLANS[0]))
    cases, skipped = read_cases([path])
    assert not cases
    measured = "walltime measure gemm --csv kernels.csv"
    made = f"make one: {measured}, then walltime calibrate kernels.csv {path} --name my-machine"
    assert skipped[0].reason == f"accelerator {CPU_NAME!r} has no calibration; {made}"


def test_with_several_it_asks_which(keep, rows):
    keep(cpu(), cpu("other-cpu"))
    _, skipped = read_cases([rows(result(PLANS[0]))])
    assert skipped[0].reason == f"accelerator {CPU_NAME!r} has several calibrations; --on says which: my-cpu, other-cpu"
    (case,), _ = read_cases([rows(result(PLANS[0]))], on=cpu("other-cpu"))
    assert case.machine.accelerator == "other-cpu"


def test_a_format_that_was_not_measured_is_skipped(keep, rows):
    keep(cpu())
    _, skipped = read_cases([rows(result(dataclasses.replace(PLANS[0], precision="bf16")))])
    assert skipped[0].reason == "my-cpu: precision=bf16 needs bf16, which the accelerator lacks. Valid: fp32."


def test_rows_of_a_kind_of_accelerator_are_predicted_on_the_calibration_of_one(keep, rows):
    keep(gpu(), cpu())
    one = result(dataclasses.replace(PLANS[0], precision="bf16"), 1.0, "NVIDIA H100 80GB HBM3")
    other = dataclasses.replace(one, device="NVIDIA A100-SXM4-80GB")
    named = dataclasses.replace(one, device="NVIDIA Made-up H100")
    path = rows(one, other, named)
    usual = [case.machine.accelerator for case in read_cases([path])[0]]
    assert usual == ["h100-sxm", "a100-sxm-80gb", "h100-sxm"]
    there = [case.machine.accelerator for case in read_cases([path], on=gpu())[0]]
    assert there == ["my-h100", "a100-sxm-80gb", "my-h100"]


def test_out_of_memory_is_a_case(keep, rows):
    keep(cpu())
    (case,), _ = read_cases([rows(result(PLANS[0], status="oom", step_times_s=(), losses=()))])
    assert isinstance(case, Case)
    assert (case.ran, case.time) == (False, None)


def test_rows_that_it_was_fitted_on_are_in_sample(keep, rows):
    import hashlib

    import msgspec

    own = cpu()
    keep(own)
    path = rows(result(PLANS[0]))
    assert not is_in_sample(read_cases([path])[0][0])
    file = msgspec.structs.replace(own.origin.files[0], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    keep(msgspec.structs.replace(own, origin=msgspec.structs.replace(own.origin, files=[file])))
    assert is_in_sample(read_cases([path])[0][0])


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("reshard", "maybe", "reshard='maybe' is neither true nor false"),
        ("recompute_layers", "2", "recompute_layers='2' must be between 0 and 1"),
        ("schedule", "round-robin", "unknown schedule 'round-robin'"),
        ("model_dimensions", "{", "model_dimensions"),
    ],
)
def test_what_a_cell_cannot_say_is_said(keep, rows, column, cell, said):
    keep(cpu())
    path = rows(result(PLANS[2]))
    with path.open(newline="") as file:
        (content,) = csv.DictReader(file)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, content)
        writer.writeheader()
        writer.writerow(content | {column: cell})
    cases, skipped = read_cases([path])
    assert not cases
    assert said in skipped[0].reason
