"""DeepSpeed's JSON keeps the rules of its configuration, and says what the plan says."""

import json

import pytest

from walltime.interop.deepspeed import deepspeed_files
from walltime.problems import NegativeAnswer

from .runs import exported
from .test_megatron import run_of

# Read in deepspeed 0.19.8: runtime/{config,constants,precision_config}.py, runtime/zero/config.py,
# runtime/tensor_parallel/config.py, module_inject/auto_ep_config.py. Most tables forbid other keys.
FORMATS = {"fp32", "fp16", "bf16"}
TOP = {
    "train_batch_size": int,
    "train_micro_batch_size_per_gpu": int,
    "gradient_accumulation_steps": int,
    "steps_per_print": int,
    "bf16": {"enabled": bool, "immediate_grad_update": bool, "check_grad_overflow": bool},
    "fp16": {"enabled": bool, "loss_scale": float, "initial_scale_power": int},
    "data_types": {"grad_accum_dtype": FORMATS},
    "communication_data_type": FORMATS,
    "zero_optimization": {
        "stage": {0, 1, 2, 3},
        "overlap_comm": bool,
        "offload_optimizer": {"device": {"cpu", "nvme", "none"}, "pin_memory": bool},
        "zero_hpz_partition_size": int,
    },
    "tensor_parallel": {"autotp_size": int},
    "expert_parallel": {"enabled": bool, "autoep_size": int, "expert_tensor_parallel_size": int},
    "sequence_parallel_size": int,
    "pipeline": {
        "stages": int,
        "partition": {"best", "uniform", "parameters"},
        "activation_checkpoint_interval": int,
    },
    "_walltime": {"header": list, "script": dict},
}
REMOVED = {"elasticity", "amp", "sparse_attention", "curriculum_learning", "progressive_layer_drop"}


def check(values, rules=TOP, where=""):
    """Refuse unknown keys, wrong types and values that are no choice."""
    for key, value in values.items():
        assert key in rules, f"{where}{key}"
        rule = rules[key]
        if isinstance(rule, dict):
            check(value, rule, f"{where}{key}.")
        elif isinstance(rule, set):
            assert value in rule, f"{where}{key}={value}"
        else:
            assert type(value) is rule, f"{where}{key}={value}"


def read(text):
    values = json.loads(text)
    check(values)
    assert not values.keys() & REMOVED
    assert next(iter(values)) == "_walltime"
    assert values.get("bf16", {}).get("enabled") != values.get("fp16", {}).get("enabled")
    stage = values["zero_optimization"]["stage"]
    assert stage or "offload_optimizer" not in values["zero_optimization"]
    assert stage < 2 or "pipeline" not in values
    return values


def test_values_say_what_the_plan_says():
    found, refused = exported("deepspeed")
    assert refused > 50
    for one in found:
        plan, training = one.run.plan, one.run.training
        said = read(one.main)
        script = said["_walltime"]["script"]
        pp = said.get("pipeline", {}).get("stages", 1)
        tp = said.get("tensor_parallel", {}).get("autotp_size", script.get("tensor_parallel_size", 1))
        cp, ep = said.get("sequence_parallel_size", 1), said.get("expert_parallel", {}).get("autoep_size", 1)
        assert (tp, cp, pp) == (plan.tp, plan.cp, plan.pp)
        assert max(ep, script.get("expert_parallel_size", 1)) == plan.ep
        sizes = said["train_micro_batch_size_per_gpu"], said["gradient_accumulation_steps"]
        dp = plan.num_gpus // (tp * cp * pp)
        assert said["train_batch_size"] == sizes[0] * sizes[1] * dp == training.batch_seqs
        assert sizes[0] == plan.micro_batch
        assert said["zero_optimization"]["stage"] == ("ddp", "zero1", "zero2", "zero3").index(plan.sharding)
        assert ("offload_optimizer" in said["zero_optimization"]) == plan.offload_optimizer
        assert (script["activation_checkpointing"] == "every layer") == (plan.recompute == "full")
        assert said["bf16" if plan.precision == "bf16" else "fp16"] == {"enabled": True}
        if plan.gradient_bytes:
            width = "fp32" if plan.gradient_bytes == 4 else plan.precision
            assert (said["data_types"]["grad_accum_dtype"], said["communication_data_type"]) == (width, width)


def test_every_kind_of_plan_comes_up():
    runs = [one.run for one in exported("deepspeed")[0]]
    assert {run.plan.sharding for run in runs} == {"ddp", "zero1", "zero2", "zero3"}
    assert any(run.plan.pp > 1 and run.plan.tp > 1 for run in runs)
    assert any(run.plan.cp > 1 for run in runs)
    assert any(run.plan.ep > 1 for run in runs)


def test_slurm_starts_the_users_script():
    files = deepspeed_files(run_of("llama-2-7b", "deepspeed", dp=16, sequence_parallel=False), slurm=True)
    assert list(files) == ["deepspeed.json", "deepspeed.sbatch"]
    assert "TRAIN_SCRIPT" in files["deepspeed.sbatch"]
    read(files["deepspeed.json"])


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"precision": "fp8"}, "precision=fp8"),
        ({"dp": 8, "shard": 4, "sharding": "zero3"}, "shard=4"),
        ({"dp": 8, "sharding": "zero3", "reshard": False}, "reshard=false"),
        ({"dp": 8, "sharding": "ddp", "offload_optimizer": True}, "offload_optimizer=true"),
        ({"cp": 2}, "cp_algorithm=ring"),
        ({"cp": 2, "pp": 2, "cp_algorithm": "all-to-all"}, "cp=2"),
        ({"tp": 2}, "sequence_parallel=true"),
        ({"recompute": "selective"}, "recompute=selective"),
        ({"recompute": "full", "recompute_layers": 0.5}, "recompute_layers=0.5"),
        ({"pp": 2, "schedule": "gpipe"}, "schedule=gpipe"),
        ({"pp": 2, "vpp": 2}, "vpp=2"),
        ({"pp": 2, "dp": 2, "sharding": "zero2"}, "sharding=zero2"),
        ({"tp": 2, "pp": 2, "order": ("pp", "tp", "cp", "ep", "dp")}, "order=pp,tp,cp,ep,dp"),
    ],
)
def test_what_it_cannot_express_is_refused(plan, said):
    with pytest.raises(NegativeAnswer) as refused:
        deepspeed_files(run_of("llama-2-7b", **{"software": "generic"} | plan), slurm=False)
    assert said.lower() in str(refused.value).lower()
    assert str(refused.value).startswith("DeepSpeed cannot")
