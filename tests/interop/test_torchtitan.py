"""torchtitan's module: it runs against classes with exactly the real fields, and says what the plan says."""

from pathlib import Path

import pytest

from walltime.interop.torchtitan import torchtitan_files
from walltime.interop.torchtitan_models import FLAVORS
from walltime.plan.stages import layers_of_fullest_stage
from walltime.problems import NegativeAnswer
from walltime.workload.catalog import transformer

from .runs import exported
from .stubs import install, run_module, tables
from .test_megatron import run_of

FIELDS = tables("torchtitan_fields.json")


@pytest.fixture
def titan(monkeypatch):
    """The packages that the module imports."""
    shown = {name.rpartition(".")[0]: entry for name, entry in FIELDS.items() if name.endswith(".Config")}
    again = {  # what torchtitan re-exports
        **{
            f"torchtitan.components.quantization.{name.rpartition('.')[2]}.Config": entry
            for name, entry in shown.items()
        },
        **{f"torchtitan.config.{name.rpartition('.')[2]}": e for name, e in FIELDS.items() if ".configs." in name},
    }
    modules = {flavor.module for flavor in FLAVORS.values()}
    install(
        monkeypatch,
        FIELDS | again,
        **{f"torchtitan.models.{module}.model_registry": lambda name, **more: (name, more) for module in modules},
        **{
            "torchtitan.components.optimizer.default_adamw": lambda lr: lr,
            "torchtitan.models.common.config_utils.decoder_vocab_size": lambda spec: 1,
        },
    )
    return lambda text: run_module(text)["train_config"]()


SCHEDULES = {"1f1b": "1F1B", "gpipe": "GPipe", "zb-v": "ZBVZeroBubble"}


def test_fields_say_what_the_plan_says(titan):
    for one in exported("torchtitan")[0]:
        plan, training = one.run.plan, one.run.training
        config = titan(one.main)
        said, batch = config.parallelism, config.training
        degrees = said.tensor_parallel_degree, said.context_parallel_degree, said.pipeline_parallel_degree
        assert degrees == (plan.tp, plan.cp, plan.pp)
        assert said.expert_parallel_degree == plan.ep
        assert said.data_parallel_replicate_degree * said.data_parallel_shard_degree == plan.dp
        shards = 1 if plan.sharding == "ddp" else plan.shard or plan.dp
        assert said.data_parallel_shard_degree == shards
        assert said.fsdp_reshard_after_forward == ("always" if plan.reshard else "never")
        assert (batch.global_batch_size, batch.seq_len) == (training.batch_seqs, training.seq_len)
        if plan.pp > 1:
            assert batch.local_batch_size * plan.dp == training.batch_seqs
            assert said.pipeline_parallel_microbatch_size == plan.micro_batch
            check_parts(said, one.run)
        else:
            assert batch.local_batch_size == plan.micro_batch
        recompute = {"none": None, "selective": "SelectiveAC", "full": "FullAC"}[plan.recompute]
        assert ("activation_checkpoint=None" in one.main) == (recompute is None)
        assert recompute is None or f"activation_checkpoint={recompute}.Config()" in one.main


def check_parts(said, run):
    """Modules are all there, in order, and as many chunks as planned."""
    plan, layers = run.plan, run.training.model.num_layers
    chunks = 2 if plan.schedule == "zb-v" else plan.vpp
    parts = said.module_fqns_per_model_part
    assert len(parts) == plan.pp * chunks
    assert all(parts)
    names = [name for part in parts for name in part]
    assert names == ["tok_embeddings", *(f"layers.{i}" for i in range(layers)), "norm", "lm_head"]
    fullest = layers_of_fullest_stage(layers, plan.pp, chunks) / chunks
    assert max(sum(name.startswith("layers") for name in part) for part in parts) <= fullest
    interleaved = plan.vpp > 1
    assert said.pipeline_parallel_schedule == ("Interleaved1F1B" if interleaved else SCHEDULES[plan.schedule])


def test_every_kind_of_plan_comes_up():
    runs = [one.run for one in exported("torchtitan")[0]]
    assert {run.plan.sharding for run in runs} == {"ddp", "zero3"}
    assert {run.plan.precision for run in runs} >= {"bf16", "fp8", "mxfp8", "nvfp4"}
    assert sum(run.plan.vpp > 1 for run in runs) > 5
    assert sum(run.training.model.is_moe for run in runs) > 20
    assert any(0 < run.plan.shard < run.plan.dp for run in runs)


@pytest.mark.parametrize("name", FLAVORS)
def test_flavors(name, titan):
    run = run_of(name, "torchtitan", sharding="zero3", dp=8)
    assert titan(torchtitan_files(run, slurm=False)["walltime_run.py"]).model_spec[0] == FLAVORS[name].name
    assert transformer(name).num_layers


def test_multi_token_prediction(titan):
    run = run_of("deepseek-v3", "torchtitan", sharding="zero3", dp=8)
    config = titan(torchtitan_files(run, slurm=False)["walltime_run.py"])
    assert config.model_spec == ("671B", {"num_mtp_layers": 1})
    assert config.loss.global_vocab_size == 1


def test_low_precision_needs_a_compiler(titan):
    run = run_of("qwen3-30b-a3b", "torchtitan", sharding="zero3", dp=8, precision="fp8")
    config = titan(torchtitan_files(run, slurm=False)["walltime_run.py"])
    linear, experts = config.model_spec[1]["converters"]
    assert linear.filter_fqns == ["lm_head", "router.gate"]
    assert linear.model_compile_enabled
    assert experts.model_compile_enabled
    assert config.compile.enable


def test_slurm_starts_the_module():
    files = torchtitan_files(run_of("llama-3.1-8b", "torchtitan", sharding="zero3", tp=2, dp=8), slurm=True)
    assert list(files) == ["walltime_run.py", "torchtitan.sbatch"]
    assert "--module walltime_run --config train_config" in files["torchtitan.sbatch"]
    assert Path("walltime_run.py").stem == "walltime_run"


@pytest.mark.parametrize(
    ("name", "plan", "said"),
    [
        ("llama-2-7b", {}, "model=llama-2-7b"),
        ("llama-3.1-8b", {"sharding": "zero1", "dp": 2}, "sharding=zero1"),
        ("llama-3.1-8b", {"cp": 2, "cp_algorithm": "all-to-all"}, "cp_algorithm=all-to-all"),
        ("llama-3.1-8b", {"sharding": "ddp", "cp": 2}, "sharding=ddp"),
        ("llama-3.1-8b", {"precision": "fp16"}, "precision=fp16"),
        ("llama-3.1-8b", {"precision": "fp8-block"}, "precision=fp8-block"),
        ("llama-3.1-8b", {"pp": 4, "schedule": "dualpipe"}, "schedule=dualpipe"),
        ("llama-3.1-8b", {"pp": 4, "tp": 2, "order": ("pp", "tp", "cp", "ep", "dp")}, "order=pp,tp,cp,ep,dp"),
        ("llama-3.1-8b", {"recompute": "full", "recompute_layers": 0.5}, "recompute_layers=0.5"),
        ("llama-3.1-8b", {"offload_optimizer": True}, "offload_optimizer=true"),
        ("llama-3.1-8b", {"gradient_bytes": 2}, "gradient_bytes=2"),
        ("qwen3-30b-a3b", {"tp": 4, "etp": 4, "ep": 2, "dp": 2}, "etp=4"),
        ("qwen3-30b-a3b", {"dp": 8, "ep": 8, "shard": 4}, "ep=8"),
        ("deepseek-v3", {"pp": 4}, "multi-token prediction"),
    ],
)
def test_what_it_cannot_express_is_refused(name, plan, said):
    with pytest.raises(NegativeAnswer) as refused:
        torchtitan_files(run_of(name, **{"software": "generic", "sharding": "zero3"} | plan), slurm=False)
    assert said.lower() in str(refused.value).lower()
    assert str(refused.value).startswith("torchtitan cannot")
