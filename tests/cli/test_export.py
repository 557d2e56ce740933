"""``walltime export`` as a user runs it."""

import json
import tomllib

import pytest

import walltime as wt
from walltime.interop.targets import TARGETS
from walltime.problems import BadInput, NegativeAnswer

PLAN = ["llama-3.1-8b", "--on", "64xh100-sxm", "--tp", "2", "--seq-len", "4096", "--batch", "512"]
MAIN = {
    "megatron": "megatron.sh",
    "megatron-bridge": "megatron_bridge.py",
    "nemo": "megatron_bridge.py",
    "torchtitan": "walltime_run.py",
    "deepspeed": "deepspeed.json",
    "toml": "run.toml",
    "json": "run.json",
}
HEADED = [target for target in MAIN if target != "trace"]
MORE = {"torchtitan": ["--sharding", "zero3"], "deepspeed": ["--no-sequence-parallel"]}


def test_every_target_is_tried_here():
    assert set(MAIN) >= set(TARGETS) - {"trace"}


@pytest.mark.parametrize("target", MAIN)
def test_what_is_printed_is_what_is_written(call, tmp_path, target):
    words = [*PLAN, *MORE.get(target, []), "--to", target]
    printed = call("export", *words)
    assert printed.code == 0
    written = call("export", *words, "--out", "folder/")
    assert f"wrote folder/{MAIN[target]}" in written.err
    text = (tmp_path / "folder" / MAIN[target]).read_text(encoding="utf-8")
    if target not in ("toml", "json"):
        assert text == printed.out
    assert call("export", *words, "--out", "one/file").code == 0
    assert (tmp_path / "one" / "file").is_file()


@pytest.mark.parametrize("target", HEADED)
def test_files_start_with_what_to_compare(call, target):
    """Command, versions, step time, tokens/s, MFU and memory, as estimate has them."""
    words = [*PLAN, *MORE.get(target, [])]
    head = call("export", *words, "--to", target).out.split("\n\n")[0][:2500]
    estimated = call("estimate", *words, "--json").json()
    assert f"Made by walltime {wt.__version__} with data {estimated['data_version']}" in head
    assert "walltime export llama-3.1-8b --on 64xh100-sxm --stack megatron-core" in head
    assert f"MFU        {estimated['utilization']:.1%}" in head
    assert f"{estimated['tokens_per_s_per_gpu']:,.4g} per accelerator" in head
    assert "  step time  " in head
    assert "  memory     " in head


@pytest.mark.parametrize("target", HEADED)
def test_the_command_makes_the_file_again(call, target):
    words = [*PLAN, *MORE.get(target, []), "--to", target]
    first = call("export", *words).out
    line = next(line for line in first.splitlines() if "walltime export" in line)
    again = line[line.index("walltime export") :].rstrip('",').split()[1:]
    assert call(*again).out == first


def test_a_run_file_is_exported_and_flags_override_it(call, file):
    path = file("run.toml", call("export", *PLAN, "--to", "toml").out)
    assert call("export", path, "--to", "megatron").out == call("export", *PLAN, "--to", "megatron").out
    assert "tensor-model-parallel-size 4" in call("export", path, "--tp", 4, "--to", "megatron").out
    as_json = file("run.json", call("export", path, "--to", "json").out)
    assert call("export", as_json, "--to", "megatron").out == call("export", path, "--to", "megatron").out
    assert call("estimate", as_json, "--json").json() == call("estimate", path, "--json").json()


def test_a_model_file_is_named_as_seen_from_the_run_file(call, file, tmp_path):
    file("my.toml", 'name = "mine"\n[dimensions]\n' + DIMENSIONS)
    words = ["./my.toml", "--on", "8xh100-sxm", "--batch", 64, "--to", "toml"]
    assert call("export", *words, "--out", "runs/mine.toml").code == 0
    assert tomllib.loads((tmp_path / "runs" / "mine.toml").read_text())["model"] == "./../my.toml"
    assert call("estimate", "runs/mine.toml").code == 0


DIMENSIONS = """
num_layers = 24
d_model = 2048
d_ff = 8192
num_heads = 16
num_kv_heads = 16
head_dim = 128
vocab_size = 32000
"""


def test_names_cannot_break_out_of_a_file(call, file):
    """A model's name may have anything in it; comments stay comments, and strings stay strings."""
    name = 'x"\\n\\nrm -rf /\\n#$(reboot)\'"'
    path = file("it's $HOME.toml", f"name = {json.dumps(name)}\n[dimensions]\n{DIMENSIONS}")
    for target in ("megatron", "megatron-bridge", "deepspeed", "toml", "json"):
        words = [path, "--on", "8xh100-sxm", "--batch", 64, "--to", target]
        text = call("export", *words).out
        assert not any(line.startswith(("rm", "$(reboot")) for line in text.splitlines()), target
        if target in ("megatron", "megatron-bridge"):
            assert "#SBATCH --job-name=x-n-nrm--rf" in call("export", *words, "--slurm").out


def test_several_files_are_printed_with_their_names(call):
    out = call("export", *PLAN, "--to", "nemo", "--slurm").out
    assert out.startswith("==> megatron_bridge.py <==\n")
    assert "\n==> megatron_bridge.sbatch <==\n#!/usr/bin/env bash\n#SBATCH" in out


def test_json(call):
    document = call("export", *PLAN, "--to", "torchtitan", "--sharding", "zero3", "--slurm", "--json").json()
    assert list(document["files"]) == ["walltime_run.py", "torchtitan.sbatch"]
    assert (document["command"], document["to"], document["slurm"]) == ("export", "torchtitan", True)
    assert document["inputs"]["tp"] == 2
    assert any("--stack torchtitan" in warning for warning in document["warnings"])


def test_a_plan_that_does_not_fit_is_exported_and_says_so(call):
    out = call("export", "llama-3.1-70b", "--on", "8xh100-sxm", "--batch", 8, "--seq-len", 8192, "--to", "megatron")
    assert out.code == 3
    assert "DOES NOT FIT" in out.out
    assert "does not fit" in out.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "megatrn"], "Did you mean 'megatron'?"),
        ([], "Valid: --to with megatron"),
        (["--to", "toml", "--slurm"], "slurm: toml starts nothing"),
        (["--to", "megatron", "--out", ""], "out is empty"),
        (["--to", "megatron", "--out", "/proc/nothing/x"], "out=/proc/nothing/x: cannot be written"),
        (["--to", "nemo", "--slurm", "--out", "taken"], "a folder for 2 files: cannot be written"),
        (["--to", "megatron", "--tp", "5"], "tp=5 does not divide num_heads=32"),
        (["--to", "megatron", "--batch", "511"], "dp=32 does not divide batch_seqs=511"),
        (["--to", "megatron", "--vpp", "2"], "vpp=2 needs a pipeline"),
        (["--to", "megatron", "--gradient-bytes", "3"], "gradient_bytes=3"),
    ],
)
def test_bad_input(call, file, words, said):
    file("taken", "")
    assert said in call("export", *PLAN, *words).refused()


def test_what_a_target_cannot_express_is_a_negative_answer(call):
    said = call("export", *PLAN, "--stack", "generic", "--pp", 4, "--schedule", "zb-h1", "--to", "megatron").refused(3)
    assert said.startswith("Megatron-LM cannot express schedule=zb-h1: ")
    assert said.endswith("Valid: 1f1b.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "megatron"], "no plan is named"),
        (["no.toml", "--to", "megatron"], "cannot read 'no.toml'"),
        (["no.json", "--to", "megatron"], "cannot read 'no.json'"),
        (["mlp-4096", "--on", "8xh100-sxm", "--to", "megatron"], "one of the theory's"),
        (["llama-9", "--on", "8xh100-sxm", "--to", "megatron"], "unknown model 'llama-9'"),
    ],
)
def test_bad_plans(call, words, said):
    assert said in call("export", *words).refused()


# From Python


def test_the_verb_is_the_command(call):
    cluster, plan = wt.cluster("h100-sxm", 64), wt.Plan(tp=2, dp=32)
    for model in ("llama-3.1-8b", wt.model("llama-3.1-8b")):
        files = wt.export(model, cluster, plan, to="megatron", batch_seqs=512, seq_len=4096)
        assert files == {"megatron.sh": call("export", *PLAN, "--to", "megatron").out}


def test_the_verb_refuses_what_the_command_refuses(file):
    cluster, plan = wt.cluster("h100-sxm", 64), wt.Plan(tp=2, dp=32)
    with pytest.raises(NegativeAnswer, match="model=llama-2-7b"):
        wt.export("llama-2-7b", cluster, wt.Plan(dp=64, sharding="zero3"), to="torchtitan", batch_seqs=512)
    with pytest.raises(BadInput, match="Did you mean 'megatron'"):
        wt.export("llama-2-7b", cluster, plan, to="megatrn", batch_seqs=512)
    with pytest.raises(BadInput, match="does not divide"):
        wt.export("llama-2-7b", cluster, plan, to="megatron", batch_seqs=511)
    own = wt.model(str(file("my.toml", 'name = "mine"\n[dimensions]\n' + DIMENSIONS)))
    with pytest.raises(BadInput, match="the path of its file"):
        wt.export(own, cluster, plan, to="megatron", batch_seqs=512)
    with pytest.raises(BadInput, match="one of the theory's"):
        wt.export("mlp-4096", cluster, plan, to="megatron", batch_seqs=512)
