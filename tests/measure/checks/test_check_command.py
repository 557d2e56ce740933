"""``walltime measure check`` on logs, traces and results: what is compared with what, and what is refused."""

import importlib.util
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from walltime.cli.measuring import run_plan
from walltime.measure import devices
from walltime.measure.checks.measured import Measured, of_result
from walltime.measure.records import PowerReading, StepParts, TrainRequest, TrainResult
from walltime.measure.rows import result_json
from walltime.plan import Plan
from walltime.problems import BadInput, NegativeAnswer
from walltime.workload import Training
from walltime.workload.catalog import transformer


def _module(name):
    path = Path(__file__).parents[1] / name
    found = importlib.util.spec_from_file_location(path.stem + "_of_check", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


logs, make = _module("logs/samples.py"), _module("trace/traces.py")

RUN = """
model = "llama-2-7b"
on = "16xh100-sxm"
tp = 2
seq_len = 4096
batch = 128
"""


@pytest.fixture
def plan(file):
    return file("run.toml", RUN)


@pytest.fixture
def log(file):
    return file("train.log", logs.MEGATRON)


def test_a_log_beside_the_prediction(call, plan, log):
    done = call("measure", "check", plan, "--log", log, "--json")
    assert done.code == 0
    document = done.json()
    step = document["step_time_s"]
    assert step["measured"] == pytest.approx(2.001)
    assert step["error"] == pytest.approx(step["predicted"] / 2.001 - 1)
    whole = [part for part in document["parts"] if part["within"] is None]
    assert [part["name"] for part in whole] == ["compute", "exposed_communication", "idle"]
    assert sum(part["predicted_s"] for part in whole) == pytest.approx(step["predicted"])
    assert {part["measured_s"] for part in document["parts"]} == {None}
    assert document["memory_bytes"] == {
        "kind": "allocated",
        "predicted": document["memory_bytes"]["predicted"],
        "measured": 2**31,
    }
    assert document["power_w"]["measured"] == 605
    assert document["printed"]["flop_per_s_per_gpu"] == pytest.approx(400.5e12)
    assert document["largest_miss"] is None


def test_the_parts_of_each_part_add_up_to_it(call, plan, log):
    parts = call("measure", "check", plan, "--log", log, "--json").json()["parts"]
    for whole in (part for part in parts if part["within"] is None):
        inside = sum(part["predicted_s"] for part in parts if part["within"] == whole["name"])
        assert inside == pytest.approx(whole["predicted_s"])


def test_as_text(call, plan, log):
    done = call("measure", "check", plan, "--log", log)
    assert "a log of Megatron-LM: median of 2 lines, 2 of the warm-up left out" in done.out
    assert "tensor-parallel traffic" in done.out
    assert "a trace (--trace) tells where" in done.out


def test_a_step_beyond_the_tolerance_is_a_negative_answer(call, plan, log):
    assert "off by" in call("measure", "check", plan, "--log", log, "--tolerance", "1%").refused(3)
    assert call("measure", "check", plan, "--log", log, "--tolerance", "9").code == 0
    for wrong in ("1 %%", "ten", "-5%", "", "0"):
        assert "tolerance" in call("measure", "check", plan, "--log", log, "--tolerance", wrong).refused()


def kernels_of(step_us):
    """A step of computation in the first half, a tensor-parallel collective that is half hidden, and idle time."""
    tp = {"Collective name": "allreduce", "Process Group Description": "mesh_tp"}
    dp = {"Collective name": "_reduce_scatter_base", "Process Group Description": "mesh_dp_shard"}
    return [
        make.step(1, 0, step_us),
        make.kernel(0, 0.5 * step_us),
        make.kernel(0.4 * step_us, 0.6 * step_us, make.ALL_REDUCE, tid=20, **tp),
        make.kernel(0.7 * step_us, 0.9 * step_us, make.REDUCE_SCATTER, tid=21, **dp),
    ]


def test_traces_beside_the_prediction_part_by_part(call, plan, tmp_path):
    paths = [
        make.written(tmp_path / f"{rank}.json", kernels_of(3e6), distributedInfo={"rank": rank}) for rank in (0, 1)
    ]
    done = call("measure", "check", plan, "--trace", paths[0], "--trace", paths[1], "--json")
    document = done.json()
    parts = {part["name"]: part for part in document["parts"]}
    assert document["step_time_s"]["measured"] == pytest.approx(3)
    assert parts["compute"]["measured_s"] == pytest.approx(1.5)
    assert parts["exposed_communication"]["measured_s"] == pytest.approx(0.9)
    assert parts["tp_comm"]["measured_s"] == pytest.approx(0.3)
    assert parts["dp_comm"]["measured_s"] == pytest.approx(0.6)
    assert parts["idle"]["measured_s"] == pytest.approx(0.6)
    assert document["largest_miss"] in parts
    assert "traces of 2 of the plan's 16 ranks" in document["warnings"]


def test_the_sentence_at_the_end_names_the_largest_miss(call, plan, tmp_path):
    path = make.written(tmp_path / "slow.json", kernels_of(60e6))
    done = call("measure", "check", plan, "--trace", path)
    assert "largest miss: computation, predicted" in done.out
    assert "measured 30 s" in done.out
    assert "of the step too short; the step is predicted" in done.out


def test_of_a_pipeline_sends_stand_with_idle_time(call, file, tmp_path):
    plan = file("run.toml", RUN + "pp = 2\n")
    events = [make.step(1, 0, 100), make.kernel(0, 50), make.kernel(50, 80, make.SEND_RECV, tid=20)]
    path = make.written(tmp_path / "a.json", [*events, make.kernel(80, 90, make.ALL_GATHER)])
    parts = {part["name"]: part for part in call("measure", "check", plan, "--trace", path, "--json").json()["parts"]}
    assert parts["pipeline_and_idle"]["measured_s"] == pytest.approx(40e-6)
    assert parts["exposed_communication"]["measured_s"] == pytest.approx(10e-6)
    assert parts["pp_comm"]["within"] == "pipeline_and_idle"
    assert parts["tp_comm"]["measured_s"] is None


def test_a_trace_of_something_else_is_noticed(call, plan, tmp_path):
    path = make.written(tmp_path / "a.json", kernels_of(100))
    done = call("measure", "check", plan, "--trace", path)
    assert "utilisation above 1: it is of another run" in done.err


def result_of(**changes):
    training = Training(transformer("llama-2-7b"), 4096, 128)
    plan = Plan(tp=2, dp=8, sharding="zero1", precision="bf16")
    parts = StepParts(3.3, 2.0, 1.0, 0.8, 0.5, {"all_gather": 1.0}, {"all_gather": 0.8})
    power = PowerReading(500.0, 9)
    measured = {"step_times_s": (3.0, 3.1, 2.9), "parts": parts, "power": power, "memory_bytes": {"allocated": 3e10}}
    return TrainResult(TrainRequest(training, plan), "ok", **(measured | changes))


def test_a_result_beside_the_prediction(call, plan, file):
    path = file("result.json", json.dumps(result_json(result_of())))
    done = call("measure", "check", plan, "--result", path, "--json")
    document = done.json()
    assert document["step_time_s"]["measured"] == 3.0
    assert document["power_w"]["measured"] == 500.0
    assert document["memory_bytes"]["measured"] == 3e10
    assert document["measured_parts"]["compute_s"] == 2.0
    assert any("profiled steps took 3.3 s, timed ones 3 s" in note for note in document["warnings"])
    text = call("measure", "check", plan, "--result", path).out
    assert "measured parts are those of profiled steps: they add up to 3.3 s" in text
    assert "next:" not in text


def test_results_of_another_run_and_of_none_are_refused(call, plan, file):
    other = result_of()
    other = replace(other, request=replace(other.request, plan=replace(other.request.plan, tp=1, dp=16)))
    path = file("result.json", json.dumps(result_json(other)))
    message = call("measure", "check", plan, "--result", path).refused()
    assert "a run with tp=1, and the plan has tp=2" in message
    for content in ("", "{", "[]", "{}", '{"result": 3}'):
        call("measure", "check", plan, "--result", file("bad.json", content)).refused()


@pytest.mark.parametrize(
    ("device", "kind", "said"),
    [
        ("Xeon, 1 core", "cpu", "a run on Xeon, 1 core, and the plan's cluster is h100-sxm"),
        ("NVIDIA H200", "cuda", "a run on NVIDIA H200, and the plan's cluster is h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "cuda", ""),
        ("Accelerator of nobody", "cuda", ""),
    ],
)
def test_a_result_of_another_device_is_refused(call, plan, file, device, kind, said):
    other = result_of(device=device, environment={"device_kind": kind})
    done = call("measure", "check", plan, "--result", file("result.json", json.dumps(result_json(other))))
    if said:
        assert said in done.refused()
    else:
        assert done.code == 0


def test_a_run_out_of_memory_has_no_step(call, plan, file):
    oom = result_of(step_times_s=(), parts=None, power=None, memory_bytes={})
    path = file("oom.json", json.dumps(result_json(replace(oom, status="oom", message="tried 2 GiB"))))
    assert "out of memory" in call("measure", "check", plan, "--result", path).refused(3)


def test_what_was_not_measured_is_said(call, plan, file):
    bare = result_of(parts=None, power=None, memory_bytes={})
    path = file("bare.json", json.dumps(result_json(bare)))
    done = call("measure", "check", plan, "--result", path)
    assert done.out.count("not measured") == 2
    with pytest.raises(BadInput, match="no step was timed"):
        of_result(replace(bare, step_times_s=()), "it")
    with pytest.raises(NegativeAnswer):
        of_result(replace(bare, status="oom"), "it")


def test_bad_arguments_are_refused(call, plan, log):
    both = call("measure", "check", plan, "--log", log, "--trace", log).refused()
    assert "--log and --trace are measurements of one run" in both
    assert (
        "--steps 3 is for a run on this machine" in call("measure", "check", plan, "--log", log, "--steps", 3).refused()
    )
    assert "no plan is named" in call("measure", "check", "--log", log).refused()
    assert "which nobody runs" in call("measure", "check", "mlp-1024", "--log", log).refused()
    assert "cannot read" in call("measure", "check", plan, "--log", "none.log").refused()
    assert "no line says" in call("measure", "check", plan, "--log", plan).refused()
    assert "does not divide" in call("measure", "check", plan, "--tp", 3, "--log", log).refused()
    assert "steps of 128 sequences" in call("measure", "check", plan, "--batch", 64, "--log", log).refused()


# Running a plan here


def fake_training(monkeypatch, code, result=None):
    """Let a small program stand for ``walltime measure train``; return what it was called with."""
    called = []

    def run(words, path):
        called.append(words)
        program = [sys.executable, "-c", code]
        if result is not None:
            path.write_text(json.dumps(result))
        return original(program, path)

    original = run_plan._run
    monkeypatch.setattr(run_plan, "_run", run)
    monkeypatch.setattr(run_plan, "check_machine", lambda asked: None)
    return called


def test_without_a_measurement_the_plan_is_run_here(call, plan, monkeypatch):
    called = fake_training(monkeypatch, "pass", result_json(result_of()))
    done = call("measure", "check", plan, "--steps", 3)
    assert done.code == 0
    assert "measured: run on this machine: median of 3 steps" in done.out
    words = called[0][3:]
    assert words[:3] == ["measure", "train", "llama-2-7b"]
    flags = dict(itertools.pairwise(words))
    wanted = {"--tp": "2", "--dp": "8", "--batch": "128", "--seq-len": "4096", "--steps": "3", "--nproc": "16"}
    assert wanted.items() <= flags.items()
    assert "--sequence-parallel" in words


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("import sys; print('walltime: tp=2 is odd.', file=sys.stderr); sys.exit(2)", 2, "tp=2 is odd."),
        ("import sys; print('walltime: too few cores.', file=sys.stderr); sys.exit(4)", 4, "too few cores."),
        ("import sys; sys.exit('killed')", 2, "ended with 1: killed"),
        ("import sys; sys.exit(7)", 2, "ended with 7."),
    ],
)
def test_what_goes_wrong_in_the_run_is_passed_on(call, plan, monkeypatch, code, exit_code, said):
    fake_training(monkeypatch, code)
    assert said in call("measure", "check", plan).refused(exit_code)


def no_gpu(monkeypatch, num_cores):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "num_cores_here", lambda: num_cores)
    monkeypatch.setattr(run_plan, "_run", lambda words, path: pytest.fail("started"))


def test_a_plan_for_another_machine_is_not_run_here(call, plan, monkeypatch):
    no_gpu(monkeypatch, 4)
    said = call("measure", "check", plan).refused()
    assert "the plan's cluster is h100-sxm, this machine is " in said
    assert "0.25 cores" in said


def test_a_plan_with_more_processes_than_there_is_room_for_is_not_run_here(call, plan, monkeypatch):
    no_gpu(monkeypatch, 2)
    said = call("measure", "check", plan, "--on", "512xh100-sxm", "--dp", "256", "--batch", "256").refused(4)
    assert "512 processes are too many for the 2 cores of this machine. Valid: at most 16 here" in said
    assert "torchrun --nnodes 256" in said
    assert "srun --ntasks 512" in said


def test_choices_that_pytorch_does_not_run_are_refused_before_anything_starts(call, plan, monkeypatch):
    called = fake_training(monkeypatch, "pass")
    message = call("measure", "check", plan, "--order", "tp,cp,pp,ep,dp").refused()
    assert "is not run by walltime measure train" in message
    assert called == []


def test_a_measured_step_alone_has_no_parts():
    assert Measured("a clock", 1.0).parts is None


def test_the_place_that_a_launcher_gave_the_check_is_not_that_of_its_run(tmp_path, monkeypatch):
    for name, value in {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "WORLD_SIZE": "8", "KEPT": "1"}.items():
        monkeypatch.setenv(name, value)
    told = tmp_path / "environment.json"
    show = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    run_plan._run([sys.executable, "-c", show, str(told)], told)
    assert {"SLURM_STEP_ID", "SLURM_PROCID", "WORLD_SIZE", "KEPT"} & json.loads(told.read_text()).keys() == {"KEPT"}
