"""Megatron-Bridge (NeMo): a Python module that builds its configuration and starts pre-training."""

from typing import Any

from walltime.interop.header import header_lines
from walltime.interop.launch import bash_script, continued, nodes_of, sbatch_lines, torchrun
from walltime.interop.megatron import STEPS
from walltime.interop.megatron_model import Flags, assumed, model_flags, moe_pattern
from walltime.interop.megatron_plan import plan_flags, uses_fsdp
from walltime.interop.quoting import Code, call_text, commented
from walltime.interop.run import Run
from walltime.workload import Transformer

CHECKED = "megatron-bridge 0.6.2 and megatron-core 0.19.2"
_FILE = "megatron_bridge.py"
_RENAMED = {
    "num-experts": "num_moe_experts",
    "decoder-last-pipeline-num-layers": "num_layers_in_last_pipeline_stage",
    "num-virtual-stages-per-pipeline-rank": "virtual_pipeline_model_parallel_size",
}
"""Fields of the model whose names are not the arguments' with underscores."""
_NOT_OF_MODEL = {
    *("micro-batch-size", "global-batch-size", "bf16", "fp16", "fp8-format", "fp8-recipe", "fp4-format", "fp4-recipe"),
    *("accumulate-allreduce-grads-in-fp32", "grad-reduce-in-bf16", "use-distributed-optimizer", "use-megatron-fsdp"),
    *("data-parallel-sharding-strategy", "num-distributed-optimizer-instances", "overlap-grad-reduce"),
    *("overlap-param-gather", "tp-comm-overlap", "optimizer-cpu-offload", "use-precision-aware-optimizer"),
    *("ckpt-format", "use-tp-pp-dp-mapping"),
}
"""Arguments that belong to another part of the configuration."""
_IMPLIED = {
    *("group-query-attention", "max-position-embeddings", "make-vocab-size-divisible-by", "padded-vocab-size"),
    *("swiglu", "disable-bias-linear", "untie-embeddings-and-output-weights", "no-gradient-accumulation-fusion"),
    *("no-overlap-p2p-communication", "window-size", "moe-layer-freq", "attention-backend"),
}
"""Arguments that `_special` turns into other fields, or that follow from another."""


def megatron_bridge_files(run: Run, *, slurm: bool) -> dict[str, str]:
    """Return the module, and the batch script if Slurm starts it, by their names.

    Raises
    ------
    NegativeAnswer
        Megatron cannot express the model or the plan.
    """
    flags = model_flags(run.training, run.stack, run.plan.tp) | plan_flags(run)
    more = ("--slurm",) if slurm else ()
    header = [*header_lines(run, "megatron-bridge", *more, checked=CHECKED), *assumed(run.training.model)]
    nodes = nodes_of(run.cluster, run.plan.num_gpus)
    started = ["To start it:", f"  {' '.join([*torchrun(nodes, slurm=False), _FILE])}"]
    files = {_FILE: commented([*header, *([] if slurm else started)]) + _module(run, flags)}
    if slurm:
        directives = sbatch_lines(run.training.model.name, nodes)
        body = [*_environment(run), continued([*torchrun(nodes, slurm=True), f'{_FILE} "$@"'])]
        files["megatron_bridge.sbatch"] = bash_script(commented(header), directives, body)
    return files


def _environment(run: Run) -> list[str]:
    several = not uses_fsdp(run) and run.plan.tp * run.plan.cp > 1
    return ["export CUDA_DEVICE_MAX_CONNECTIONS=1"] if several else []


def _module(run: Run, flags: Flags) -> str:
    provider = _provider(run.training.model)
    place = "mla_provider" if run.training.model.is_latent else "gpt_provider"
    parts = _parts(run, flags)
    calls = {call.partition("(")[0] for name, call in parts.items() if name != "#"}
    configs = sorted(calls - {provider, *_ELSEWHERE})
    imports = [
        "import torch",
        "import torch.nn.functional as F",
        f"from megatron.bridge.models.{place} import {provider}",
        *([f"from {_ELSEWHERE['CommOverlapConfig']} import CommOverlapConfig"] if "comm_overlap" in parts else []),
        "from megatron.bridge.training.config import (",
        *[f"    {name}," for name in sorted([*configs, "ConfigContainer"])],
        ")",
        "from megatron.bridge.training.gpt_step import forward_step",
        f"from {_ELSEWHERE['MixedPrecisionConfig']} import MixedPrecisionConfig",
        "from megatron.bridge.training.pretrain import pretrain",
        f"from {_ELSEWHERE['TokenizerConfig']} import TokenizerConfig",
        "from megatron.core.transformer.enums import AttnBackend",
    ]
    container = call_text(
        "ConfigContainer", {name: call if name == "#" else Code(call) for name, call in parts.items()}
    )
    body = [f"    return {container}".replace("\n", "\n    ")]
    start = ["", "", 'if __name__ == "__main__":', "    pretrain(config(), forward_step)"]
    return "\n".join([*imports, "", "", "def config() -> ConfigContainer:", *body, *start]) + "\n"


_ELSEWHERE = {
    "CommOverlapConfig": "megatron.bridge.training.comm_overlap",
    "MixedPrecisionConfig": "megatron.bridge.training.mixed_precision",
    "TokenizerConfig": "megatron.bridge.training.tokenizers.config",
}
"""Configurations that are not in ``megatron.bridge.training.config``."""


def _provider(model: Transformer) -> str:
    return "MLAModelProvider" if model.is_latent else "GPTModelProvider"


def _parts(run: Run, flags: Flags) -> dict[str, str]:
    """Return each part of the configuration as a call."""
    overlap, dist = _overlap(run, flags), _dist(flags)
    return {
        "model": call_text(_provider(run.training.model), model_fields(run, flags)),
        "mixed_precision": call_text("MixedPrecisionConfig", _precision(flags)),
        "ddp": call_text("DistributedDataParallelConfig", _data_parallelism(flags)),
        **({"dist": call_text("DistributedInitConfig", dist)} if dist else {}),
        **({"comm_overlap": call_text("CommOverlapConfig", overlap)} if overlap else {}),
        "train": call_text(
            "TrainingConfig",
            {
                "micro_batch_size": flags["micro-batch-size"],
                "global_batch_size": flags["global-batch-size"],
                "train_iters": STEPS,
                "eval_interval": STEPS,
                "eval_iters": 0,
            },
        ),
        "#": "Not from walltime: a trial on made-up data. Put your optimizer, data and checkpoints here.",
        **_trial(run, flags),
    }


def model_fields(run: Run, flags: Flags) -> dict[str, Any]:
    """Return the fields of the model's provider."""
    named = {
        _RENAMED.get(name, name.replace("-", "_")): value
        for name, value in flags.items()
        if name not in _NOT_OF_MODEL | _IMPLIED
    }
    return named | _special(run, flags)


def _special(run: Run, flags: Flags) -> dict[str, Any]:
    """Fields that an argument is not just another name of."""
    model, plan = run.training.model, run.plan
    biased = "disable-bias-linear" not in flags
    fields: dict[str, Any] = {
        "vocab_size": flags["padded-vocab-size"],
        "share_embeddings_and_output_weights": model.tied_embeddings,
        "gated_linear_unit": model.gated_mlp,
        "activation_func": Code("F.silu" if model.gated_mlp else "F.gelu"),
        "bias_activation_fusion": model.gated_mlp or biased,
        "add_bias_linear": biased,
        "attention_backend": Code(f"AttnBackend.{flags['attention-backend']}"),
    }
    if "window-size" in flags:
        fields["window_size"] = (model.sliding_window, 0)
    if "moe-layer-freq" in flags:
        fields["moe_layer_freq"] = Code(moe_pattern(model))
    if uses_fsdp(run):
        fields["gradient_accumulation_fusion"] = False
    if plan.pp > 1:
        fields["pipeline_dtype"] = _dtype(flags)
        fields["virtual_pipeline_model_parallel_size"] = plan.vpp if plan.vpp > 1 else None
    return fields


def _dtype(flags: Flags) -> Code:
    return Code("torch.half" if "fp16" in flags else "torch.bfloat16")


def _wide_gradients(flags: Flags) -> bool:
    return "accumulate-allreduce-grads-in-fp32" in flags


def _precision(flags: Flags) -> dict[str, Any]:
    names = {"fp8-format": "fp8", "fp8-recipe": "fp8_recipe", "fp4-format": "fp4", "fp4-recipe": "fp4_recipe"}
    return {
        "fp16" if "fp16" in flags else "bf16": True,
        "params_dtype": _dtype(flags),
        "pipeline_dtype": _dtype(flags),
        "grad_reduce_in_fp32": _wide_gradients(flags),
        **{field: flags[name] for name, field in names.items() if name in flags},
    }


def _data_parallelism(flags: Flags) -> dict[str, Any]:
    names = (
        *("use-distributed-optimizer", "overlap-grad-reduce", "overlap-param-gather", "use-megatron-fsdp"),
        *("data-parallel-sharding-strategy", "num-distributed-optimizer-instances"),
    )
    fields = {name.replace("-", "_"): flags[name] for name in names if name in flags}
    return {"grad_reduce_in_fp32": _wide_gradients(flags), **fields}


def _dist(flags: Flags) -> dict[str, Any]:
    names = ("use-megatron-fsdp", "use-tp-pp-dp-mapping")
    return {name.replace("-", "_"): True for name in names if name in flags}


def _overlap(run: Run, flags: Flags) -> dict[str, Any]:
    """Say what of tensor and pipeline parallelism overlaps."""
    if run.plan.tp == 1 and run.plan.vpp == 1:
        return {}
    fields: dict[str, Any] = {"tp_comm_overlap": "tp-comm-overlap" in flags}
    if run.plan.vpp > 1:
        beside = "no-overlap-p2p-communication" not in flags
        fields |= {"overlap_p2p_comm": beside, "batch_p2p_comm": not beside}
    return fields


def _trial(run: Run, flags: Flags) -> dict[str, str]:
    optimizer: dict[str, Any] = {"lr": 1e-5, "fp16" if "fp16" in flags else "bf16": True}
    for name in ("use-distributed-optimizer", "optimizer-cpu-offload", "use-precision-aware-optimizer"):
        if name in flags:
            optimizer[name.replace("-", "_")] = True
    mock = {"reset_position_ids": False, "reset_attention_mask": False, "eod_mask_loss": False}
    data = {"seq_length": run.training.seq_len, "random_seed": 1234, **mock}
    tokenizer = {"tokenizer_type": "NullTokenizer", "vocab_size": run.training.model.vocab_size - 1}
    return {
        "optimizer": call_text("OptimizerConfig", optimizer),
        "scheduler": call_text("SchedulerConfig", {"lr_decay_style": "constant"}),
        "dataset": call_text("MockGPTDatasetConfig", data),
        "tokenizer": call_text("TokenizerConfig", tokenizer),
        "checkpoint": call_text("CheckpointConfig", {"ckpt_format": flags.get("ckpt-format", "torch_dist")}),
        "logger": call_text("LoggerConfig", {"log_interval": 1, "log_throughput": True}),
    }
