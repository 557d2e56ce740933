"""Words to facts: kernels, frameworks, recipes and machines, on rows of many invented and published spellings."""

import dataclasses

import pytest

from walltime.engines.stack import Stack
from walltime.validate.chips import accelerator_of, machine_of
from walltime.validate.frameworks import STACKS, stack_of
from walltime.validate.layouts import DEFAULTS
from walltime.validate.notes import attention_kernel, fused_norm, other_facts, precision_of, schedule_of, stack_features


@pytest.mark.parametrize(
    ("words", "kernel", "norm"),
    [
        ("kernel=torch", "unfused", False),
        ("attention kernel: torch", "unfused", False),
        ("torch attention kernel", "unfused", False),
        ("kernel=megatron fused", "fused-softmax", False),
        ("attention kernel: megatron", "fused-softmax", False),
        ("Megatron softmax kernel; no RMSNorm kernel", "fused-softmax", False),
        ("kernel=flash_attn 1", "flash1", False),
        ("kernel: flash_attn1.0.8", "flash1", False),
        ("kernel=flash_attn 2", "flash2", False),
        ("attention kernel flash_attn2.0.4", "flash2", False),
        ("kernel=flash_attn2 + RMSNorm kernel", "flash2", True),
        ("flash_attn 2 + RMS kernel", "flash2", True),
        ("flash_attn2, fused RMSNorm", "flash2", True),
        ("kernel=flash_attn2; rmsnorm kernel=False", "flash2", False),
        ("FlashAttention-2", "flash2", None),
        ("flash attention", "flash2", None),
        ("FA2 everywhere", "flash2", None),
        ("FlashAttention v1", "flash1", None),
        ("FA3", "flash3", None),
        ("FlashAttention-3, fused layernorm", "flash3", True),
        ("cuDNN attention", "flash3", None),
        ("SDPA backend", "flash2", None),
        ("attn_impl=torch", "unfused", None),
        ("attn_impl: triton", "flash1", None),
        ("without flash attention", "unfused", None),
        ("eager attention", "unfused", None),
        ("apex layernorm, 1F1B, torch 2.1", None, None),
        ("", None, None),
    ],
)
def test_kernels_from_words(row, words, kernel, norm):
    assert attention_kernel(row(notes=words)) == kernel
    assert fused_norm(row(notes=words)) is norm


def test_kernels_may_stand_in_the_framework_or_in_a_column_of_their_own(row):
    assert attention_kernel(row(framework="Aleph Alpha scaling (flash_attn 2 + RMSNorm kernel)")) == "flash2"
    assert fused_norm(row(framework="Aleph Alpha scaling (flash_attn 2 + RMSNorm kernel)")) is True
    assert attention_kernel(row(other={"kernel": "torch"})) == "unfused"
    assert attention_kernel(row(framework="Megatron-LM (2021-04)")) is None
    assert attention_kernel(row(framework="Megatron-LM, no flash attention")) == "fused-softmax"


@pytest.mark.parametrize(
    ("words", "features"),
    [
        ("torch_compile=True;float8 recipe=rowwise", {"compiled": True}),
        ("torch_compile=False", {"compiled": False}),
        ("FSDP2, torch.compile", {"compiled": True}),
        ("2D+AsyncTP", {"overlap_tp": True}),
        ("vanilla TP", {"overlap_tp": False}),
        ("no comm/compute overlap by design", {"overlap_tp": False, "overlap_dp": False, "overlap_pp": False}),
        ("no gradient bucketing", {"overlap_dp": False}),
        ("dropout=0.1", {"dropout": True}),
        ("dropout=0.0", {"dropout": False}),
        ("hidden dropout 0", {"dropout": False}),
        ("no dropout", {"dropout": False}),
        ("per-op selective activation checkpointing", {"selective": "operations"}),
        ("selective attention recompute", {"selective": "attention"}),
        ("fused cross entropy", {"fused_loss": True}),
        ("unfused cross entropy", {"fused_loss": False}),
        ("nothing of note", {}),
    ],
)
def test_features_from_words(row, words, features):
    found = stack_features(row(notes=words))
    assert found == features
    assert set(found) <= {f.name for f in dataclasses.fields(Stack)}


@pytest.mark.parametrize(
    ("framework", "changed", "stack"),
    [
        ("Megatron-LM (2020-09)", {}, "megatron-lm-2020"),
        ("Megatron-LM (2021-04)", {}, "megatron-lm-2021"),
        ("Megatron-LM (2022-05)", {}, "megatron-lm-2022"),
        ("Megatron-LM 2024", {}, "megatron-core-2024"),
        ("Megatron-LM", {"gpu": "H800"}, "megatron-core-2024"),
        ("Megatron-LM", {"gpu": "V100-32GB", "sequence_parallel": None}, "megatron-lm-2020"),
        ("Megatron-LM", {"sequence_parallel": False}, "megatron-lm-2021"),
        ("Megatron-LM", {"activation_recompute": "selective", "sequence_parallel": None}, "megatron-lm-2022"),
        ("Megatron-LM (modified)", {"notes": "flash attention"}, "megatron-lm-2024"),
        ("Megatron-LM + TransformerEngine 2.11", {}, "megatron-core"),
        ("Megatron-DeepSpeed", {}, "megatron-deepspeed"),
        ("DeepSpeed + Megatron-LM (MT-NLG)", {}, "megatron-deepspeed"),
        ("GPT-NeoX library", {}, "megatron-deepspeed"),
        ("NeMo Megatron 22.08", {}, "nemo-megatron-2022"),
        ("NeMo 24.07", {}, "megatron-core-2024"),
        ("NeMo/Megatron-Core (v25.02)", {}, "megatron-core-2024"),
        ("NeMo/Megatron-Core (v25.04)", {}, "megatron-core"),
        ("Megatron-Bridge/Megatron-Core NeMo 26.02.01", {}, "megatron-core"),
        ("MegaScale (ByteDance)", {}, "megatron-core-2024"),
        ("HAI-LLM", {}, "megatron-core-2024"),
        ("Primus (Megatron)", {}, "megatron-core"),
        ("torchtitan + torchao (FSDP2, torch.compile)", {}, "torchtitan-2025"),
        ("llm-foundry/composer PyTorch FSDP1", {}, "fsdp1"),
        ("metaseq (fairscale FSDP)", {}, "fsdp1"),
        ("Axolotl", {}, "fsdp1"),
        ("DeepSpeed ZeRO-3", {}, "deepspeed"),
        ("Hugging Face Trainer + DeepSpeed", {}, "deepspeed"),
        ("nanotron v0.5", {}, "nanotron"),
        ("InternEvo", {}, "internevo"),
        ("MaxText (v25.02)", {}, "maxtext"),
        ("PaxML (v24.11.1)", {}, "maxtext"),
        ("Mesh-TensorFlow", {}, "maxtext"),
        ("Aleph Alpha scaling", {}, "aleph-scaling"),
        ("Colossal-AI", {}, "generic"),
        ("", {}, "generic"),
    ],
)
def test_stacks_from_frameworks(row, framework, changed, stack):
    assert stack_of(row(framework=framework, **changed)) == stack


def test_every_stack_has_defaults():
    assert set(STACKS) == set(DEFAULTS)


@pytest.mark.parametrize(
    ("gpu", "accelerator", "domain"),
    [
        ("H100-96GB-HBM2e-500W (Meta Grand Teton variant)", "h100-96gb", 8),
        ("H100-80GB", "h100-sxm", 8),
        ("NVIDIA H100 PCIe", "h100-pcie", 8),
        ("H200-141GB", "h200", 8),
        ("H800-80GB", "h800", 8),
        ("H20", "h20", 8),
        ("A800 80GB", "a800", 8),
        ("A100 (variant not stated)", "a100-sxm-80gb", 8),
        ("A100-40GB (DGX-A100)", "a100-sxm-40gb", 8),
        ("A100-PCIE-80GB", "a100-pcie-80gb", 8),
        ("V100-32GB (DGX-2)", "v100-sxm-32gb", 8),
        ("Tesla V100 16GB", "v100-sxm-16gb", 8),
        ("B200 (power limited)", "b200-power-limited", 8),
        ("B300", "b300", 8),
        ("GB200", "gb200", 72),
        ("GB300", "gb300", 72),
        ("GH200", "gh200", 4),
        ("MI300X", "mi300x", 8),
        ("MI355X", "mi355x", 8),
        ("MI250X", "mi250x", 8),
    ],
)
def test_machines_from_names(row, gpu, accelerator, domain):
    machine = machine_of(row(gpu=gpu, gpus_per_node=None))
    assert (machine.accelerator, machine.domain_gpus) == (accelerator, domain)
    assert machine.internode_bytes_per_s is None


def test_the_network_comes_from_the_column_else_from_the_words(row):
    assert machine_of(row(internode_gbps_per_gpu=200.0)).internode_bytes_per_s == 25e9
    assert machine_of(row(notes="internode 800 Gbps per node")).internode_bytes_per_s == 12.5e9
    assert machine_of(row(intranode="NVLink (NVL36)")).domain_gpus == 36


def test_an_unknown_accelerator_is_none(row):
    assert accelerator_of(row(gpu="Cerebras WSE-2")) is None


@pytest.mark.parametrize(
    ("precision", "words", "expected"),
    [
        ("fp8", "precision=MXFP8", "mxfp8"),
        ("fp8", "precision=FP8-CS (FP8-MX)", "fp8"),
        ("fp8", "FP8 current scaling; MXFP8 in parentheses: 30341 tok/s", "fp8"),
        ("fp8", "blockwise scaling", "fp8-block"),
        ("fp8", "float8 tensorwise", "fp8"),
        ("fp4", "precision=NVFP4", "nvfp4"),
        ("bf16", "precision=BF16", "bf16"),
        ("", "", None),
    ],
)
def test_precision_with_its_recipe(row, precision, words, expected):
    assert precision_of(row(precision=precision, notes=words)) == expected


@pytest.mark.parametrize(
    ("words", "schedule"),
    [
        ("1F1B", "1f1b"),
        ("pipeline schedule 1f1b-interleaved", "1f1b"),
        ("pipeline schedule zbb", "zb-h1"),
        ("ZB-H2", "zb-h2"),
        ("pipeline schedule zbv-formatted", "zb-v"),
        ("DualPipe", "dualpipe"),
        ("GPipe", "gpipe"),
        ("", "1f1b"),
    ],
)
def test_schedules_from_words(row, words, schedule):
    assert schedule_of(row(notes=words)) == schedule


def test_other_facts_from_words(row):
    words = "method=vocab-2: variant; capacity factor 1.0; GPUs are power limited; scaling=rowwise, bf16 all-gather"
    assert other_facts(row(notes=words)) == {
        "vocab_parallel": "vocab-2",
        "capacity_factor": 1.0,
        "power_limited": True,
        "fp8_scaling": "rowwise",
    }
