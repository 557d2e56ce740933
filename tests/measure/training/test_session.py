"""The command as a user runs it, in one process and in two; memory that does not do; what a GPU would be asked."""

import gzip
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from tests.measure.training import tiny  # noqa: E402

import walltime as package  # noqa: E402
from walltime.measure import devices  # noqa: E402
from walltime.measure.devices import Device  # noqa: E402
from walltime.measure.records import PowerReading  # noqa: E402
from walltime.measure.rows import COLUMNS, result_from_json  # noqa: E402
from walltime.measure.training import memory, window  # noqa: E402
from walltime.measure.training import session as sessions  # noqa: E402
from walltime.measure.training.checks import SCHEDULES  # noqa: E402
from walltime.measure.training.window import mean_power  # noqa: E402
from walltime.plan import Plan  # noqa: E402
from walltime.validate.measured import read_measured  # noqa: E402

TINY = [
    *("measure", "train", "llama-3.2-1b", "--layers", "2", "--seq-len", "32", "--device", "cpu"),
    *("--set", "d_model=32", "--set", "d_ff=64", "--set", "num_heads=4", "--set", "num_kv_heads=2"),
    *("--set", "head_dim=8", "--set", "vocab_size=64", "--steps", "3", "--warmup", "1"),
]
GPU = Device("cuda", 1, "NVIDIA H100")
SOURCE = str(Path(package.__file__).parents[1])


def test_one_process_writes_everything(call, tmp_path):
    done = call(*TINY, "--batch", "2", "--result", "r.json", "--csv", "rows.csv", "--traces", "traces")
    assert done.code == 0, done.err
    assert "power         not measured" in done.out
    assert "computation" in done.out
    (row,) = read_measured(tmp_path / "rows.csv")
    document = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert list(document["row"]) == list(COLUMNS)
    result = result_from_json(document)
    assert len(result.step_times_s) == len(result.losses) == 3
    assert min(result.step_times_s) > 0
    assert row.step_time_s == sorted(result.step_times_s)[1]
    assert row.power_w is None
    parts = result.parts
    assert parts.compute_s + parts.exposed_communication_s + parts.idle_s == pytest.approx(parts.step_s)
    assert parts.communication_s == 0
    kept = result.memory_bytes
    assert kept["weights"] == kept["gradients"] == pytest.approx(float(document["row"]["params_b"]) * 1e9 * 4)
    assert kept["optimizer"] == pytest.approx(2 * kept["weights"], rel=1e-2)  # two moments, and counts of steps
    assert 0 <= kept["grown"] < kept["resident"]
    environments = json.loads((tmp_path / "environments.json").read_text(encoding="utf-8"))
    assert list(environments) == [document["row"]["environment_id"]] == [result.environment["id"]]
    with gzip.open(tmp_path / "traces" / "rank0.json.gz") as file:
        assert "traceEvents" in json.load(file)


def test_the_same_seed_gives_the_same_losses_and_another_others(call):
    losses = [
        call(*TINY, "--batch", "2", "--profile-steps", "0", "--seed", seed, "--json").json()["result"]["losses"]
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_two_processes_in_bf16(walltime, tmp_path):
    done = walltime(*TINY, "--dp", "2", "--batch", "4", "--precision", "bf16", "--json", "--csv", "rows.csv")
    assert done.code == 0, done.err
    document = done.json()
    assert document["command"] == "measure train"
    assert document["inputs"]["plan"]["dp"] == 2
    parts = document["result"]["parts"]
    assert 0 < parts["exposed_communication_s"] <= parts["communication_s"] < parts["step_s"]
    assert {"all_gather", "reduce_scatter"} <= set(parts["communication_by_kind_s"])
    (row,) = read_measured(tmp_path / "rows.csv")
    assert (row.n_gpus, row.dp, row.sharding, row.precision, row.gpus_per_node) == (2, 2, "zero3", "bf16", 2)


def test_out_of_memory_is_a_result(walltime, tmp_path):
    done = walltime(
        *TINY, "--batch", "200000", "--micro-batch", "200000", "--memory-limit", "1GB", "--result", "r.json"
    )
    assert done.code == 0, done.err
    assert "out of memory: " in done.out
    document = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert document["row"]["status"] == "oom"
    assert document["row"]["step_time_s"] == ""
    assert result_from_json(document).message


def test_a_limit_that_the_process_itself_exceeds_is_out_of_memory(walltime):
    done = walltime(*TINY, "--memory-limit", "1MB")
    assert done.code == 0, done.err
    assert "out of memory: the process itself has " in done.out


OUT = 'torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")'
ONE_OF_TWO = """
    import torch
    from walltime.cli import main
    from walltime.measure.ranks import place
    from walltime.measure.training import session

    timed = session.timed

    def failing(*arguments):
        if place().rank == {rank}:
            raise {error}
        return timed(*arguments)

    session.timed = failing
    main()
"""


def run_two(tmp_path, rank, error, *more):
    script = tmp_path / "one_of_two.py"
    script.write_text(textwrap.dedent(ONE_OF_TWO).format(rank=rank, error=error), encoding="utf-8")
    return two_ranks(tmp_path, script, "--result", "r.json", *more)


def two_ranks(tmp_path, script, *more):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    return subprocess.run(
        [*launcher, *TINY, "--dp", "2", *more],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_one_rank_out_of_memory_ends_all_cleanly(tmp_path):
    """The other one, which writes, stands in a collective that would wait for minutes."""
    done = run_two(tmp_path, 1, OUT)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert document["row"]["status"] == "oom"
    assert document["result"]["message"] == "CUDA out of memory. Tried to allocate"
    assert done.stdout.count("out of memory: ") == 1


def test_another_failure_of_a_rank_is_no_result(tmp_path):
    done = run_two(tmp_path, 1, 'ValueError("broken")')
    assert done.returncode != 0
    assert "broken" in done.stderr
    assert not (tmp_path / "r.json").exists()


FILES_OF_THE_FIRST = """
    import os
    from pathlib import Path
    from walltime.cli import main
    from walltime.measure.ranks import place

    home = Path("node", str(place().rank))
    home.mkdir(parents=True)
    os.chdir(home)
    if place().rank == {rank}:
        Path("out").mkdir()
    main()
"""


@pytest.mark.parametrize(("rank", "code"), [(0, 0), (1, 1)])
def test_only_the_first_rank_needs_the_folders_that_it_writes_to(tmp_path, rank, code):
    script = tmp_path / "files_of_the_first.py"
    script.write_text(textwrap.dedent(FILES_OF_THE_FIRST).format(rank=rank), encoding="utf-8")
    done = two_ranks(tmp_path, script, "--result", "out/r.json", "--profile-steps", "0")
    assert done.returncode == code, done.stderr
    assert (tmp_path / "node" / "0" / "out" / "r.json").exists() == (code == 0)
    assert ("there is no folder 'out'" in done.stderr) == (code == 1)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--set", "d_modle=3"], "Did you mean 'd_model'?"),
        (["--set", "d_model"], "--set 'd_model' has no value"),
        (["--set", "tied_embeddings=maybe"], "neither true nor false"),
        (["--set", "num_heads=0"], "num_heads"),
        (["--layers", "99"], "layers=99 must be at most 16"),
        (["--batch", "3", "--dp", "2"], "dp=2 does not divide batch_seqs=3"),
        (["--nproc", "3", "--tp", "2"], "does not divide the 3 processes"),
        (["--nproc", "2", "--dp", "4", "--batch", "4"], "the plan has 4 processes"),
        (["--memory-limit", "lots"], "memory_limit"),
        (["--recompute-layers", "0.5"], "needs recompute=full"),
        (["--csv", "none/rows.csv"], "there is no folder 'none'"),
        (["--result", "."], "is a folder"),
        (["--steps", "0"], "--steps"),
        (["--precision", "fp8"], "precision=fp8 is not run here"),
        (["--ep", "2"], "needs experts"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(flags, said, call):
    assert said in call(*TINY, *flags).refused()


def test_a_model_of_the_theory_is_not_trained(call):
    assert "nobody trains" in call("measure", "train", "mlp-1024").refused()


def test_a_plan_for_many_machines_says_what_to_run(call):
    said = call(*TINY, "--dp", "1024").refused(4)
    assert "torchrun --nnodes" in said
    assert "srun --ntasks 1024" in said


def test_more_processes_than_cores_have_room_for_are_not_started(call, monkeypatch):
    monkeypatch.setattr(devices, "num_cores_here", lambda: 2)
    said = call(*TINY, "--nproc", "512", "--device", "cpu").refused(4)
    assert "512 processes are too many for the 2 cores of this machine. Valid: at most 16 here" in said
    assert "srun --ntasks 512" in said
    assert "all of them here" not in call(*TINY, "--dp", "1024", "--device", "cpu").refused(4)
    assert "all of them here: --nproc 16" in call(*TINY, "--dp", "16", "--device", "cpu").refused(4)


def test_help_lists_the_schedules_that_are_run(call):
    said = call("measure", "train", "--help").out
    assert all(name in said for name in SCHEDULES)
    assert "zb-h1" not in said


def test_a_gpu_that_is_not_there(call, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no GPU" in call(*TINY, "--device", "cuda").refused(4)


def test_without_pytorch_one_line(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert call(*TINY).refused(4) == "measuring needs PyTorch: pip install 'walltime[measure]'"


class Event:
    """A CUDA event whose clock goes a millisecond an event."""

    now_ms = 0.0

    def __init__(self, enable_timing):
        assert enable_timing
        self.at_ms = None

    def record(self):
        Event.now_ms += 1.0
        self.at_ms = Event.now_ms

    def elapsed_time(self, end):
        return end.at_ms - self.at_ms


def test_steps_on_a_gpu_are_timed_by_events(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    trainer = SimpleNamespace(step=float, is_last_stage=True)
    monkeypatch.setattr(window, "_reduced", lambda values, *_: tuple(values))
    found = window.timed(trainer, [1, 2, 3], GPU)
    assert found.step_times_s == pytest.approx((1e-3,) * 3)
    assert found.losses == (1.0, 2.0, 3.0)
    assert waited == [GPU.index]


def test_memory_of_a_gpu_is_its_allocators(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda index: 10 + index)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda index: 20 + index)
    parameter = torch.nn.Parameter(torch.zeros(3))
    trainer = SimpleNamespace(
        parts=[SimpleNamespace(parameters=lambda: [parameter])],
        optimizer=SimpleNamespace(state={parameter: {"exp_avg": torch.zeros(3), "step": 4}}),
    )
    held = memory.memory_bytes(trainer, GPU)
    assert held == {"weights": 12, "gradients": 0, "optimizer": 12, "allocated": 11, "reserved": 21}


def test_a_limit_on_a_gpu_is_a_share_of_its_memory(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80e9))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: asked.append(given))
    with memory.limited(GPU, 20e9):
        pass
    with memory.limited(GPU, 100e9):
        pass
    assert asked == [(0.25, 1), (1.0, 1)]


def test_a_thread_that_cannot_be_started_is_a_matter_of_memory_only_under_a_limit(monkeypatch):
    def fail(*given):
        raise RuntimeError("Resource temporarily unavailable")

    monkeypatch.setattr(sessions, "_measured", fail)
    request = tiny.request(Plan(precision="fp32", sharding="zero3"))
    assert sessions.session(request, "cpu", None, 1e12, None, None).status == "oom"
    with pytest.raises(RuntimeError, match="temporarily unavailable"):
        sessions.session(request, "cpu", None, None, None, None)


def test_power_is_of_all_ranks_or_not_measured():
    assert mean_power([None]) is None
    assert mean_power([PowerReading(400.0, 9, 10.0), None]) is None
    assert mean_power([PowerReading(400.0, 9, 10.0), PowerReading(500.0, 8, None)]) == PowerReading(450.0, 8, None)
    both = mean_power([PowerReading(400.0, 9, 10.0), PowerReading(500.0, 8, 20.0)])
    assert both == PowerReading(450.0, 8, 15.0)


def test_ctrl_c_leaves_no_process_behind(tmp_path):
    """The command is told to end while its ranks train."""
    environment = os.environ | {"PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"}
    long = [*TINY, "--dp", "2", "--steps", "100000", "--result", str(tmp_path / "r.json"), "--seed", "424242"]
    with subprocess.Popen(
        [sys.executable, "-m", "walltime", *long], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as command:
        wait_for(lambda: len(processes_with("424242")) >= 4)  # it, torchrun, and two ranks
        command.terminate()
        command.wait(180)
    wait_for(lambda: not processes_with("424242"))


def processes_with(argument):
    """Processes that run with this argument."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argument.encode() in words:
            found.append(folder.name)
    return found


def wait_for(is_so, most_s=180.0):
    until = time.monotonic() + most_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.1)
