"""Megatron-Bridge's module: it runs against classes with exactly the real fields, and says what the plan says."""

import pytest

from walltime.interop.megatron_bridge import megatron_bridge_files

from .runs import exported
from .stubs import Anything, install, run_module, tables
from .test_megatron import chunks_of, run_of

FIELDS = tables("megatron_bridge_fields.json")


@pytest.fixture
def bridge(monkeypatch):
    """The packages that the module imports; ``pretrain`` says so if it is called."""
    install(
        monkeypatch,
        FIELDS,
        **{
            "torch.nn.functional.silu": Anything("F.silu"),
            "torch.nn.functional.gelu": Anything("F.gelu"),
            "torch.bfloat16": Anything("bfloat16"),
            "torch.half": Anything("half"),
            "megatron.bridge.training.gpt_step.forward_step": Anything("forward_step"),
            "megatron.bridge.training.pretrain.pretrain": None,
            "megatron.core.transformer.enums.AttnBackend": Anything("AttnBackend"),
        },
    )
    return lambda text: run_module(text)["config"]()


def test_fields_say_what_the_plan_says(bridge):
    for one in exported("megatron-bridge")[0]:
        run, plan = one.run, one.run.plan
        config = bridge(one.main)
        model, ddp = config.model, config.ddp
        said = model.tensor_model_parallel_size, model.context_parallel_size, model.pipeline_model_parallel_size
        assert said == (plan.tp, plan.cp, plan.pp)
        assert getattr(model, "expert_model_parallel_size", 1) == plan.ep
        assert getattr(model, "expert_tensor_parallel_size", 1) == plan.etp
        assert (getattr(model, "virtual_pipeline_model_parallel_size", None) or 1) == plan.vpp
        batch = config.train.micro_batch_size, config.train.global_batch_size, config.dataset.seq_length
        assert batch == (plan.micro_batch, run.training.batch_seqs, run.training.seq_len)
        assert model.seq_length == config.dataset.seq_length
        assert getattr(model, "recompute_granularity", "none") == plan.recompute
        strategies = {"zero2": "optim_grads", "zero3": "optim_grads_params"}
        assert getattr(ddp, "data_parallel_sharding_strategy", None) == strategies.get(plan.sharding)
        assert getattr(ddp, "use_distributed_optimizer", False) == (plan.sharding != "ddp")
        layout = getattr(model, "pipeline_model_parallel_layout", None)
        if layout:
            assert len(chunks_of(layout)) == plan.pp * plan.vpp
            assert layout_layers(layout) == run.training.model.num_layers
        assert config.mixed_precision.grad_reduce_in_fp32 == ddp.grad_reduce_in_fp32
        if plan.gradient_bytes:
            assert ddp.grad_reduce_in_fp32 == (plan.gradient_bytes == 4)
        assert getattr(config.mixed_precision, "fp8", None) is not None or not plan.precision.startswith("fp8")


def layout_layers(layout):
    return "".join(chunks_of(layout)).count("t")


def test_latent_attention_has_its_own_provider(bridge):
    text = megatron_bridge_files(run_of("deepseek-v3", ep=64, pp=16, dp=64), slurm=False)["megatron_bridge.py"]
    model = bridge(text).model
    assert "MLAModelProvider" in text
    assert (model.qk_head_dim, model.qk_pos_emb_head_dim, model.rope_type) == (128, 64, "yarn")
    assert model.moe_layer_freq == [0] * 3 + [1] * 58
    assert repr(model.activation_func) == "F.silu"


def test_it_starts_when_it_is_run_and_not_when_it_is_imported():
    text = megatron_bridge_files(run_of("llama-3.1-8b", dp=8), slurm=False)["megatron_bridge.py"]
    assert text.endswith('if __name__ == "__main__":\n    pretrain(config(), forward_step)\n')


def test_slurm_starts_the_module(tmp_path):
    files = megatron_bridge_files(run_of("llama-3.1-8b", tp=2, dp=8), slurm=True)
    assert list(files) == ["megatron_bridge.py", "megatron_bridge.sbatch"]
    assert "megatron_bridge.py" in files["megatron_bridge.sbatch"].splitlines()[-1]
    assert "CUDA_DEVICE_MAX_CONNECTIONS=1" in files["megatron_bridge.sbatch"]
