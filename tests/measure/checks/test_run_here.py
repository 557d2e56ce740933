"""A plan that is really run: two gloo processes of this machine."""

import importlib.util
import json
from pathlib import Path

import msgspec
import pytest

from walltime.measure.devices import device_name
from walltime.measure.requirements import torch_module

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": 64,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")


def _machines():
    path = Path(__file__).parents[2] / "calibrations" / "machines.py"
    found = importlib.util.spec_from_file_location("machines_of_check", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def machine(tmp_path):
    """A calibration that calls its accelerator as two processes of this machine call theirs."""
    machines, kind = _machines(), "cuda" if torch_module().cuda.is_available() else "cpu"
    record = machines.cpu("this-machine")
    chip = msgspec.structs.replace(record.accelerator, aliases=[device_name(kind, 2)])
    machines.written(tmp_path, msgspec.structs.replace(record, accelerator=chip))
    return "2xthis-machine.toml"


def test_predicted_and_measured_of_a_plan_on_this_machine(walltime, file, machine):
    file("config.json", json.dumps(CONFIG))
    plan = ("--on", machine, "--stack", "pytorch", "--sharding", "zero3", "--precision", "fp32")
    done = walltime("measure", "check", "./config.json", *plan, "--seq-len", 64, "--batch", 4, "--steps", 2, "--json")
    assert done.code == 0, done.err
    document = done.json()
    measured = document["measured_parts"]
    assert measured["step_s"] == measured["compute_s"] + measured["exposed_communication_s"] + measured["idle_s"]
    assert min(measured["compute_s"], measured["exposed_communication_s"]) > 0
    whole = [part["measured_s"] for part in document["parts"] if part["within"] is None]
    assert sum(whole) == pytest.approx(measured["step_s"])
    assert document["memory_bytes"]["kind"] == "resident"
    assert document["power_w"]["measured"] is None
    assert {"all_gather", "reduce_scatter"} <= set(measured["communication_by_kind_s"])


def test_a_plan_that_pytorch_does_not_run_is_refused(walltime, file, machine):
    file("config.json", json.dumps(CONFIG))
    done = walltime(
        "measure", "check", "./config.json", "--on", machine, "--stack", "megatron-core", "--seq-len", 64, "--batch", 4
    )
    assert "sharding=zero1" in done.refused()
