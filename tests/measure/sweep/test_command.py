"""``walltime measure sweep``: what it prints, writes and refuses, with points that take milliseconds."""

import json
import sys
from pathlib import Path

import pytest

from walltime.cli.measuring import sweep as command
from walltime.cli.measuring.sweep_points import train_flags
from walltime.validate.measured import read_measured

from . import sweeping

BASE = """
retries = 0
timeout = "1min"

[base]
model = "llama-3.2-1b"
layers = 2
seq_len = 128
set = ["tied_embeddings=false"]
device = "cpu"
"""
GRID = BASE + '[[sweep]]\nkind = "grid"\nbatch = [4]\nseed = [0, 1]\n'
FAILING = GRID.replace("[0, 1]", "[0, 1, 2]")
BEHAVIOURS = ("ok", "oom", "fail")


@pytest.fixture(autouse=True)
def fake_points(monkeypatch):
    """Points behave by their seed instead of training."""

    def train_command(flags):
        return lambda point, result: [
            *(sys.executable, "-I", "-S", str(sweeping.FAKE)),
            *(BEHAVIOURS[point.options["seed"]], str(result)),
        ]

    monkeypatch.setattr(command, "train_command", train_command)


@pytest.fixture
def sweep(call, file):
    """Write a sweep's file and run the command on it."""

    def run(text, *arguments):
        return call("measure", "sweep", file("S.toml", text), *arguments)

    return run


def test_a_sweep_runs_reports_and_is_not_repeated(sweep, tmp_path):
    first = sweep(GRID)
    assert first.code == 0
    assert "2 points: 1 ok, 1 out of memory" in first.out
    assert "500 ms" in first.out
    assert "next: walltime validate" in first.out
    assert "[1/2] " in first.err
    again = sweep(GRID)
    assert (again.code, again.out) == (0, first.out)
    assert again.err == "note: 2 points were recorded before\n"
    assert len((tmp_path / "S" / "finished.log").read_text().split()) == 2


def test_failures_are_said_and_run_again_when_asked(sweep):
    failed = sweep(FAILING)
    assert failed.code == 3
    assert failed.err.splitlines()[-1].startswith("walltime: of 3 points 1 failed. Logs: ")
    assert "--retry-failed" in failed.out
    assert ": exit code 7" in failed.out
    assert "[" not in sweep(FAILING).err
    again = sweep(FAILING, "--retry-failed")
    assert again.code == 3
    assert again.err.count("[1/1] ") == 1


def test_json(sweep, tmp_path):
    answer = sweep(FAILING, "--json", "--out", tmp_path / "elsewhere")
    assert answer.code == 3
    document = answer.json()
    assert document["counts"] == {"ok": 1, "oom": 1, "failed": 1, "timeout": 0, "waiting": 0, "left_out": 0}
    assert [point["status"] for point in document["points"]] == ["ok", "oom", "failed"]
    assert document["points"][2]["last_lines"] == ["something went wrong"]
    assert document["inputs"]["timeout_s"] == 60
    assert Path(document["rows"]).parent == tmp_path / "elsewhere"


def test_a_dry_run_shows_commands_and_makes_nothing(sweep, tmp_path, monkeypatch):
    monkeypatch.undo()
    shown = sweep(GRID + '[[sweep]]\nkind = "strong"\ngpus = [2, 3]\nbatch = 4\n', "--dry-run")
    assert shown.code == 0
    assert "-m walltime measure train llama-3.2-1b --batch=4 --device=cpu --dp=1 --layers=2" in shown.out
    assert "--nproc-per-node=2 -m -- walltime measure train llama-3.2-1b" in shown.out
    assert "dp=3 does not divide batch_seqs=4" in shown.out
    assert not (tmp_path / "S").exists()
    document = sweep(GRID, "--dry-run", "--json").json()
    assert [point["status"] for point in document["points"]] == [None, None]
    assert document["points"][0]["command"][-1].startswith("--result=")


def test_a_changed_file_is_noted_and_old_rows_stay(sweep, tmp_path):
    sweep(GRID)
    changed = sweep(GRID.replace("[0, 1]", "[1]").replace("[4]", "[4, 8]"))
    assert "note: the file has changed: 1 new points; 1 are no longer in it" in changed.err
    assert len((tmp_path / "S" / "rows.csv").read_text().splitlines()) == 4


def test_a_damaged_journal_is_noted(sweep, tmp_path):
    sweep(GRID)
    journal = tmp_path / "S" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    again = sweep(GRID)
    assert "1 damaged lines of " in again.err
    assert "note: 1 points had finished without being recorded" in again.err
    assert again.code == 0


def test_collecting_records_what_is_there(sweep, tmp_path):
    nothing = sweep(GRID, "--collect")
    assert nothing.code == 3
    assert "2 are not measured yet" in nothing.err
    ids = [point["id"] for point in sweep(GRID, "--dry-run", "--json").json()["points"]]
    content = {"row": {"status": "ok", "step_time_s": "1.5"}, "environment": {"id": "e1", "torch": "2"}, "result": {}}
    for name in ids:
        (tmp_path / "S" / "results" / f"{name}.json").write_text(json.dumps(content))
    collected = sweep(GRID, "--collect")
    assert collected.code == 0
    assert collected.err == "note: 2 new results\n"
    assert json.loads((tmp_path / "S" / "environments.json").read_text()) == {"e1": content["environment"]}


def test_what_the_machine_does_not_have_is_not_run(sweep):
    large = BASE + '[[sweep]]\nkind = "weak"\ngpus = [1, 4096]\nlocal_batch = 4\nseed = 0\n'
    partly = sweep(large)
    assert partly.code == 3
    assert "gpus=4096 is too many for the" in partly.err
    assert "2 points: 1 ok, 1 not measured yet" in partly.out
    assert sweep(large.replace("[1, 4096]", "[4096]")).refused(4).startswith("gpus=4096 is too many")
    kept = large.replace("seed = 0", "seed = 0\ncores_per_process = 100000").replace("[1, 4096]", "[1]")
    assert "gpus=1 x cores_per_process=100000 is more than the" in sweep(kept).refused(4)
    on_gpus = large.replace('device = "cpu"', 'device = "cuda"').replace("[1, 4096]", "[4096]")
    assert " GPUs here. Valid elsewhere: --sbatch." in sweep(on_gpus).refused(4)


def test_without_pytorch_it_says_so(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert sweep(GRID).refused(4) == "measuring needs PyTorch: pip install 'walltime[measure]'"


@pytest.mark.parametrize(
    ("text", "said"),
    {
        GRID.replace("llama-3.2-1b", "lama-3.2-1b"): "Did you mean 'llama-3.2-1b'?",
        GRID.replace("seed = [0, 1]", "seeds = [0, 1]"): "sweep: unknown field 'seeds'. Did you mean 'seed'?",
        GRID.replace("[4]", "[4]\nsharding = ['zero9']"): "unknown sharding 'zero9'",
        GRID.replace("[4]", "[4]\nnproc = 2"): "unknown field 'nproc'",
        GRID.replace("layers = 2", "layers = 0"): "'--layers': 0 is not in the range x>=1.",
        GRID.replace("[4]", "[4]\ntp = 64"): "tp=64 does not divide num_heads=32",
        GRID.replace("[[sweep]]", "[[sweeps]]"): "unknown field 'sweeps'. Did you mean 'sweep'?",
        "[": "S.toml",
    }.items(),
)
def test_bad_files_are_refused_in_one_line(sweep, text, said):
    assert said in sweep(text).refused()


def test_modes_do_not_mix(sweep):
    assert (
        sweep(GRID, "--dry-run", "--collect").refused()
        == "--dry-run and --collect do not go together. Valid: one of them."
    )


def test_a_file_that_is_not_there_and_a_folder_that_is_a_file(sweep, call, file):
    assert "nowhere.toml" in call("measure", "sweep", "nowhere.toml").refused()
    assert "is not a folder" in sweep(GRID, "--out", file("taken", "")).refused()
    assert "is not a folder" in sweep(GRID, "--out", file("also taken", "") / "below").refused()


def test_every_flag_of_a_training_run_can_be_swept_but_those_of_its_answer():
    flags = train_flags()
    assert {"seq_len", "batch", "tp", "pp", "sharding", "precision", "compile", "set", "steps"} <= flags.keys()
    assert not {"result", "csv", "json", "traces", "nproc"} & flags.keys()
    assert flags["set"].is_list
    assert (flags["compile"].kind, flags["seq_len"].kind, flags["tp"].kind) == ("yes-no", "whole", "text")


def test_rows_are_read_as_measured_rows(walltime, file, tmp_path):
    """One real point, cut down to milliseconds a step."""
    small = ["d_model=32", "num_heads=2", "num_kv_heads=1", "head_dim=16", "d_ff=64", "vocab_size=64"]
    text = BASE.replace('"tied', ", ".join(f'"{each}"' for each in small) + ', "tied').replace("128", "16")
    text = text.replace("[base]", "[base]\nsteps = 2\nwarmup = 1\nprofile_steps = 0")
    done = walltime("measure", "sweep", file("S.toml", text + '[[sweep]]\nkind = "grid"\nbatch = [2]'))
    assert done.code == 0, done
    (row,) = read_measured(tmp_path / "S" / "rows.csv")
    assert (row.model_name, row.n_gpus, row.global_batch_seqs, row.status) == ("llama-3.2-1b", 1, 2, "ok")
    assert row.source_ref.endswith(f"point {next((tmp_path / 'S' / 'results').iterdir()).stem}")
    environments = json.loads((tmp_path / "S" / "environments.json").read_text())
    assert (
        set(environments) == {row.other["environment_id"]} if "environment_id" in row.other else len(environments) == 1
    )
