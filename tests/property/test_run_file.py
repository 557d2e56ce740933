"""A run that is written to a file and read again is the same run: the same estimate to the last digit."""

import json
import shlex
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime import api
from walltime.cli.estimate import command, values_of
from walltime.cli.question import question
from walltime.engines.known_cluster import known_cluster
from walltime.engines.stack import ATTENTION_KERNELS
from walltime.interop.cluster_settings import cluster_settings
from walltime.interop.header import predicted
from walltime.interop.quoting import COMMENT_KEY, toml_text
from walltime.interop.run import run_command
from walltime.interop.run_file import Run, run_json, run_toml, run_values
from walltime.plan import GROUPS, Plan
from walltime.problems import BadInput
from walltime.workload import Transformer

from .transformers import questions

TIMES = ("time_s", "lower_s", "upper_s")


def model_file(folder: Path, model: Transformer, name="my model.toml"):
    """The file of a model: what is not usual in it."""
    said = {f.name: getattr(model, f.name) for f in fields(Transformer)[1:]}
    usual = {f.name: f.default for f in fields(Transformer)[1:]}
    lines = [f"{key} = {toml_text(value)}" for key, value in said.items() if value != usual[key]]
    path = folder / name
    path.write_text(f"name = {toml_text(model.name)}\n[dimensions]\n" + "\n".join(lines), encoding="utf-8")
    return path


@st.composite
def chosen(draw, plan: Plan):
    """The plan with what else there is to choose."""
    return replace(
        plan,
        shard=draw(st.sampled_from([0, *(d for d in (1, 2, 4, 8) if plan.dp % d == 0)])) * (plan.sharding != "ddp"),
        order=tuple(draw(st.permutations(GROUPS))),
        recompute_layers=draw(st.floats(0, 1)) if plan.recompute == "full" else 1.0,
        offload_optimizer=draw(st.booleans()),
        gradient_bytes=draw(st.sampled_from((0, 2, 4))),
    )


@st.composite
def runs(draw, folder: Path):
    asked = draw(questions())
    software = replace(asked.stack, attention=draw(st.sampled_from([asked.stack.attention, *ATTENTION_KERNELS])))
    tokens = draw(st.none() | st.floats(1, 1e15) | st.integers(1, 10**15))
    path = model_file(folder, asked.training.model)
    return Run(str(path), asked.training, known_cluster(asked.cluster), draw(chosen(asked.plan)), software, tokens)


def read(path):
    return question(values_of(str(path), {}))


def same(one, other):
    """Whether two runs have the same estimate, bit by bit."""
    one, other = predicted(one), predicted(other)
    parts = [(getattr(one, kind), getattr(other, kind)) for kind in ("parts_s", "busy_s", "memory_bytes")]
    for here, there in parts:
        assert here.keys() == there.keys()
        assert all(np.array_equal(here[name], there[name]) for name in here)
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in (
            "time_s",
            "lower_s",
            "upper_s",
            "utilization",
            "hardware_flop",
            "memory_capacity_bytes",
            "num_steps",
        )
    )


@given(data=st.data())
def test_a_file_reads_back_to_the_same_estimate(data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    run = data.draw(runs(folder))
    for name, text in (("run.toml", run_toml(run)), ("run.json", run_json(run))):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        again = read(path)
        assert same(run, again)
        assert run_values(again) == run_values(run)


QUESTION = shlex.split("""
llama-3.1-405b --on 16384xh100-sxm --tp 8 --cp 2 --pp 16 --vpp 8 --seq-len 8192 --batch 2048 --tokens 15.6T
--set network.inter.latency=1.1x --set accelerator.peak=0.9x --order tp,cp,ep,pp,dp --stack generic
--recompute full --recompute-layers 0.3 --sharding zero1 --shard 32 --gradient-bytes 2 --attention flash2
""")


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_the_command_line_reads_it_back(call, file, kind):
    """Whole documents are the same, so every number is; only how settings were worded may differ."""
    asked = question(values_of("llama-3.1-405b", flags_of(QUESTION)))
    path = file(f"run.{kind}", (run_toml if kind == "toml" else run_json)(asked))
    there, here = call("estimate", *QUESTION, "--json").json(), call("estimate", path, "--json").json()
    there["inputs"].pop("set")
    assert here["inputs"].pop("set") == run_values(asked)["set"]
    assert here == there


def flags_of(words):
    """Values of a command's flags, as the command has them."""
    values = command.make_context("estimate", list(words)).params
    values.pop("model"), values.pop("as_json")
    return values


def test_the_command_is_the_run(call, tmp_path, file):
    """Whatever the path of the model has in it, the command that is printed leads back to the run."""
    folder = tmp_path / 'it\'s "my" $HOME'
    folder.mkdir()
    path = model_file(folder, api.model("llama-2-7b"))
    asked = question(values_of(str(path), flags_of(["--on", "64xh100-sxm", "--batch", "512", "--tp", "2"])))
    words = shlex.split(run_command(asked, "estimate"))
    assert words[:3] == ["walltime", "estimate", str(path)]
    assert call(*words[1:], "--json").json()["step_time_s"] == float(predicted(asked).time_s[0])


def test_paths_are_as_seen_from_the_file(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    model_file(Path("models"), api.model("llama-2-7b"), "mine.toml")
    asked = question(values_of("models/mine.toml", flags_of(["--on", "64xh100-sxm", "--batch", "512"])))
    path = Path("runs/mine.toml")
    path.write_text(run_toml(asked, path.parent), encoding="utf-8")
    assert tomllib.loads(path.read_text(encoding="utf-8"))["model"] == "./../models/mine.toml"
    assert same(read(path), asked)


CLUSTER = """
accelerator = "h100-sxm"
level = [
  { name = "inner", size = 8, bandwidth = "450GB/s", latency = "1us" },
  { name = "outer", bandwidth = "50GB/s", latency = "2us" },
]
"""


def test_a_cluster_of_ones_own(tmp_path, monkeypatch):
    """Its file is found again, and what was set for it is set again."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "mine.toml").write_text(CLUSTER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = ["--on", "64xmine.toml", "--batch", "512", "--set", "network.outer.latency=3x", "--set", "network.sizes=4"]
    asked = question(values_of("llama-2-7b", flags_of(words)))
    path = Path("runs/mine.toml")
    path.write_text(run_toml(asked, path.parent), encoding="utf-8")
    said = tomllib.loads(path.read_text(encoding="utf-8"))
    assert said["on"] == "64x./../mine.toml"
    assert said["set"] == ["network.sizes=4", "network.1.latency=6e-06s"]
    assert same(read(path), asked)


def test_a_peak_at_another_precision_is_set_as_a_multiple():
    """From Python a cluster may be at a precision of its own; the estimate takes what was set as a multiple of it."""
    cluster = api.cluster("h100-sxm", 64, precision="fp8", settings=["accelerator.peak=0.5x"], parameters="datasheet")
    assert cluster_settings(cluster) == ["accelerator.peak=0.5x"]
    assert cluster_settings(api.cluster("h100-sxm", 64, precision="fp8", parameters="datasheet")) == []


def test_names_of_the_catalog_stay(tmp_path):
    asked = question(values_of("meta-llama/Llama-3.1-8B", flags_of(["--on", "64xh100-sxm", "--batch", "512"])))
    assert run_values(asked, tmp_path)["model"] == "meta-llama/Llama-3.1-8B"


def test_software_of_ones_own_is_refused():
    asked = question(values_of("llama-2-7b", flags_of(["--on", "64xh100-sxm", "--batch", "512"])))
    with pytest.raises(BadInput, match="overlap_tp"):
        run_values(replace(asked, stack=replace(asked.stack, overlap_tp=not asked.stack.overlap_tp)))


def test_a_json_file_of_a_run(call, file):
    run = {COMMENT_KEY: ["made by hand"], "model": "llama-2-7b", "on": "64xh100-sxm", "batch": 512}
    assert call("estimate", file("run.json", json.dumps(run)), "--json").json()["plan"]["dp"] == 64
    assert call("estimate", file("run.json", json.dumps(run)), "--batch", 1024, "--json").json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", ""),
        ("[1, 2]", "JSON object"),
        ("null", "JSON object"),
        ("{}", ""),
        (b"\xff\xfe", ""),
        ('{"model": "llama-2-7b", "on": "64xh100-sxm", "batch": NaN}', "batch=nan must be a whole number"),
        ('{"model": "llama-2-7b", "on": "64xh100-sxm", "batch": "512"}', "batch='512' must be a whole number"),
        ('{"model": "llama-2-7b", "on": null}', "on=None must be text"),
        ('{"model": "llama-2-7b", "on": "64xh100-sxm", "batsh": 512}', "Did you mean 'batch'?"),
        ('{"model": "llama-2-7b", "on": "64xh100-sxm", "batch": 512, "gradient_bytes": 3}', "gradient_bytes=3"),
        ("[" * 100_000, ""),
    ],
)
def test_a_broken_json_file_is_refused(call, file, text, said):
    """In one line; what is neither a run nor a model may be refused as either."""
    assert said in call("estimate", file("run.json", text)).refused()


def test_a_missing_json_file_is_refused(call):
    assert "cannot read 'no.json'" in call("estimate", "no.json").refused()
