"""A run's TOML file is its flags; a user's cluster is one of the catalog's."""

import pytest

from .test_bad_input import CLUSTER

RUN = """
on = "a100-sxm"
parameters = "Erdil2024"
set = ["network.latency=2x", "network.sizes=16"]
sparsity = "sparse"
batch_law = "deepseek"
seq_len = 4096
assumptions = "as_published"
fix = ["finer_cluster_grid"]
overlap = ["tp=0.5"]
space = "full"
duration = "6months"
from = "1e25"
to = "1e27"
fraction = 0.7
"""
FLAGS = """
--on a100-sxm --parameters Erdil2024 --set network.latency=2x --set network.sizes=16
--sparse --batch-law deepseek --seq-len 4096
--assumptions as_published --fix finer_cluster_grid --overlap tp=0.5 --space full
--duration 6months --from 1e25 --to 1e27 --fraction 0.7
"""


def test_a_file_says_what_flags_say(call, file):
    by_flags = call("limits", *FLAGS.split(), "--json").json()
    by_file = call("limits", file("run.toml", RUN), "--json").json()
    assert by_file == by_flags
    assert by_file["inputs"]["sparsity"] == "sparse"
    assert len(by_file["runs"]) > 1


@pytest.mark.parametrize(
    ("flag", "key", "value"),
    [
        ("--on=h100-sxm", "cluster", "h100-sxm"),
        ("--dense", "sparsity", "dense"),
        ("--batch-law=none", "batch_law", "none"),
    ],
)
def test_a_flag_overrides_the_file(call, file, flag, key, value):
    document = call("limits", file("run.toml", RUN), flag, "--to", "1e28", "--json").json()
    assert document["inputs"][key] == value


def test_an_empty_file_is_refused(call, file):
    assert "empty run file" in call("limits", file("empty.toml", "")).refused()


PLANNED = """
model = "mlp-12288"
on = "2048xh100-sxm"
tp_model = [4, 1]
tp_ff = [2, 4]
pp = [1, 64]
schedule = "zero-bubble"
microbatches = 128
"""
PLANNED_FLAGS = """
mlp-12288 --on 2048xh100-sxm --tp-model 4,1 --tp-ff 2,4 --pp 1,64 --schedule zero-bubble --microbatches 128
"""


def test_estimate_by_file(call, file):
    by_file = call("estimate", file("run.toml", PLANNED), "--json").json()
    assert by_file == call("estimate", *PLANNED_FLAGS.split(), "--json").json()
    assert by_file["plan"]["searched"] is False
    mixed = PLANNED.replace("[1, 64]", "64")
    assert "pp=64 is not placed" in call("estimate", file("mixed.toml", mixed)).refused()


SIZES = """
model = "mlp-4096"
on = "64xh100-sxm"
d_ff = 8192
layers = 6
experts = 8
batch_tokens = "1Mi"
recompute = true
dp = 8
ep = 8
"""


def test_every_model_key_of_a_file(call, file):
    document = call("estimate", file("run.toml", SIZES), "--json").json()
    model, plan = document["inputs"]["model"], document["plan"]
    shape = [model[name] for name in ("d_model", "d_ff", "num_layers", "num_experts", "batch_tokens")]
    assert shape == [4096, 8192, 6, 8, 2**20]
    assert plan["recompute"] is True


def test_a_whole_number_will_do_for_a_fraction(call, file):
    """TOML tells 1 from 1.0; a person need not."""
    said = call("limits", file("run.toml", "fraction = 1\n")).refused()
    assert "above 0 and below 1" in said


def test_a_cluster_of_ones_own(call, file):
    path = file("mine.toml", CLUSTER)
    document = call("limits", "--on", path, "--to", "1e25", "--json").json()
    assert document["inputs"]["cluster"] == str(path)
    assert document["inputs"]["network_levels"] == [
        {"name": "inner", "size": 8, "bytes_per_s": 450e9, "latency_s": pytest.approx(1e-6)},
        {"name": "outer", "size": None, "bytes_per_s": 50e9, "latency_s": pytest.approx(2e-6)},
    ]
    counted = call("estimate", "mlp-12288", "--on", f"2048x{path}", "--json").json()
    assert counted["inputs"]["num_gpus"] == 2048


def test_a_cluster_file_of_the_catalogs_numbers_is_the_catalogs_cluster(call, file):
    text = 'parameters = "Erdil2024"\nset = ["network.outer.latency=1.125us"]\n' + CLUSTER.replace('"1us"', '"1.125us"')
    mine = call("limits", "--on", file("mine.toml", text), "--json").json()
    theirs = call("limits", "--on", "h100-sxm", "--json").json()
    names = ("accelerator", "plan")
    for ours, other in zip(mine["runs"], theirs["runs"], strict=True):
        assert {k: v for k, v in ours.items() if k not in names} == {k: v for k, v in other.items() if k not in names}
    assert mine["linear_scaling_end"] == theirs["linear_scaling_end"]


def test_what_if_on_a_cluster_of_ones_own(call, file):
    path = file("mine.toml", CLUSTER)
    settings = ("--set", "network.outer.bandwidth=2x", "--set", "network.inner.size=72")
    levels = call("limits", "--on", path, "--to", "1e25", *settings, "--json").json()["inputs"]["network_levels"]
    assert (levels[0]["size"], levels[1]["bytes_per_s"]) == (72, 100e9)


def test_a_cluster_file_lies_beside_the_run_file_that_names_it(call, file, tmp_path):
    """Flags name files from where one is; a run file from where it is."""
    (tmp_path / "runs" / "8x").mkdir(parents=True)
    for folder in ("runs", "runs/8x"):
        file(f"{folder}/mine.toml", CLUSTER)
    counted = file("runs/step.toml", 'model = "mlp-12288"\non = "2048xmine.toml"\n')
    assert call("estimate", counted, "--json").json()["inputs"]["num_gpus"] == 2048
    for run, on in (("runs/run.toml", "mine.toml"), ("runs/8x/run.toml", "../mine.toml")):
        file(run, f'on = "{on}"\nto = "1e25"\n')
        levels = call("limits", run, "--json").json()["inputs"]["network_levels"]
        assert [level["name"] for level in levels] == ["inner", "outer"]
    absolute = file("run.toml", f'on = "{tmp_path}/runs/mine.toml"\nto = "1e25"\n')
    assert call("limits", absolute).code == call("limits", absolute.name).code == 0
    assert "mine.toml" in call("limits", absolute, "--on", "mine.toml").refused()


def test_the_name_of_a_cluster_in_a_run_file_is_no_path(call, file, tmp_path):
    (tmp_path / "runs").mkdir()
    document = call("limits", file("runs/run.toml", 'on = "h100-sxm"\nto = "1e25"\n'), "--json").json()
    assert document["inputs"]["cluster"] == "h100-sxm"
