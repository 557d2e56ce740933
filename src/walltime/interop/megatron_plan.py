"""A plan in Megatron-LM's arguments."""

import itertools
import math

from walltime.interop.layer_layout import layers_of_chunks
from walltime.interop.megatron_model import NAME, Flags
from walltime.interop.refusal import check_software, order_of, refusal
from walltime.interop.run import Run
from walltime.plan import GROUPS, Precision
from walltime.workload import Transformer

STACK = "megatron-core"
_WITHOUT_PIPELINE_LAST = ("tp", "cp", "ep", "pp", "dp")
_PRECISIONS: dict[Precision, Flags] = {
    "bf16": {"bf16": True},
    "fp16": {"fp16": True},
    "fp8": {"bf16": True, "fp8-format": "hybrid", "fp8-recipe": "tensorwise"},
    "fp8-block": {"bf16": True, "fp8-format": "hybrid", "fp8-recipe": "blockwise"},
    "mxfp8": {"bf16": True, "fp8-format": "e4m3", "fp8-recipe": "mxfp8"},
    "nvfp4": {"bf16": True, "fp4-format": "e2m1", "fp4-recipe": "nvfp4"},
}
_SHARDED = {"zero2": "optim_grads", "zero3": "optim_grads_params"}
_ATTENTION = {"unfused": "unfused", "fused-softmax": "unfused", "flash1": "flash", "flash2": "flash", "flash3": "auto"}
_CONTEXT = {"ring": "p2p", "all-to-all": "a2a"}


def plan_flags(run: Run) -> Flags:
    """Return the arguments that describe a plan and the batch.

    Raises
    ------
    NegativeAnswer
        Megatron-LM has no words for a choice of the plan.
    """
    plan = run.plan
    _check(run)
    return {
        "tensor-model-parallel-size": plan.tp,
        **({"sequence-parallel": True} if plan.tp > 1 and plan.sequence_parallel else {}),
        "context-parallel-size": plan.cp,
        **({"cp-comm-type": _CONTEXT[plan.cp_algorithm]} if plan.cp > 1 else {}),
        **_pipeline(run),
        **(_expert_parallelism(run) if run.training.model.is_moe else {}),
        **({"use-tp-pp-dp-mapping": True} if order_of(run, GROUPS, _WITHOUT_PIPELINE_LAST) else {}),
        **_sharding(run),
        **_overlap(run),
        **_recomputation(run),
        **_PRECISIONS[plan.precision],
        **_gradients(run),
        "attention-backend": _ATTENTION[run.stack.attention],
        **({"cross-entropy-loss-fusion": True, "cross-entropy-fusion-impl": "native"} if run.stack.fused_loss else {}),
        "micro-batch-size": plan.micro_batch,
        "global-batch-size": run.training.batch_seqs,
    }


def uses_fsdp(run: Run) -> bool:
    """Whether gradients or parameters are sharded, which Megatron-FSDP does."""
    return run.plan.sharding in _SHARDED


def _check(run: Run) -> None:
    plan, model = run.plan, run.training.model
    if plan.pp > 1 and plan.schedule != "1f1b":
        raise refusal(NAME, "schedule", plan.schedule, "its pipelines run 1F1B, interleaved with vpp > 1", "1f1b")
    if order_of(run, GROUPS, _WITHOUT_PIPELINE_LAST) is None:
        valid = f"{','.join(GROUPS)} or {','.join(_WITHOUT_PIPELINE_LAST)}"
        raise refusal(NAME, "order", ",".join(plan.order), "it knows two orders", valid)
    if plan.cp > 1 and run.training.seq_len % (2 * plan.cp):
        why = f"each of cp={plan.cp} ranks gets an early and a late piece"
        raise refusal(NAME, "seq_len", run.training.seq_len, why, f"a multiple of {2 * plan.cp}")
    if model.is_moe and plan.tp > 1 and not plan.sequence_parallel:
        raise refusal(NAME, "sequence_parallel", False, "experts with tp > 1 need it", "true")
    if plan.precision == "fp16" and plan.ep > 1:
        raise refusal(NAME, "precision", "fp16", "expert parallelism does not go with it", "bf16")
    if model.expert_bias and plan.etp > 1:
        raise refusal(NAME, "etp", plan.etp, "experts with biases are not split", 1)
    if plan.offload_optimizer and plan.sharding != "zero1":
        raise refusal(NAME, "offload_optimizer", True, f"it does not go with {plan.sharding}", "sharding zero1")
    if plan.sharding == "zero3" and not plan.reshard:
        raise refusal(NAME, "reshard", False, "Megatron-FSDP drops parameters after the forward pass", "true")
    if uses_fsdp(run) and order_of(run, GROUPS) is None:
        raise refusal(NAME, "order", ",".join(plan.order), "Megatron-FSDP knows one order", ",".join(GROUPS))
    check_software(NAME, STACK, run)


# Parts of a plan


def _pipeline(run: Run) -> Flags:
    """Stages and their layers: even ones by number, others by the layers of the last stage or by a layout."""
    plan, model = run.plan, run.training.model
    flags: Flags = {"pipeline-model-parallel-size": plan.pp}
    if plan.pp == 1:
        return flags
    layers = layers_of_chunks(model.num_layers + model.num_mtp_layers, plan.pp, plan.vpp)
    if model.num_mtp_layers or (len(set(layers)) > 1 and (plan.vpp > 1 or not _only_last_differs(layers))):
        flags["pipeline-model-parallel-layout"] = layout(layers, model)
    elif len(set(layers)) > 1:
        flags["decoder-last-pipeline-num-layers"] = layers[-1]
    elif plan.vpp > 1:
        flags["num-virtual-stages-per-pipeline-rank"] = plan.vpp
    if plan.vpp > 1 and not run.stack.overlap_pp:
        if plan.pp == 2:
            raise refusal(NAME, "vpp", plan.vpp, "two stages interleave only if their sends overlap", 1)
        flags["no-overlap-p2p-communication"] = True
    return flags


def _only_last_differs(layers: tuple[int, ...]) -> bool:
    return len(set(layers[:-1])) == 1 and layers[-1] > 0


def layout(layers: tuple[int, ...], model: Transformer) -> str:
    """Return a pipeline's layout: E, t, m and L are embedding, layers, those of multi-token prediction, and loss.

    Parameters
    ----------
    layers
        Of each chunk, in the order of the model.
    model
        Its last ``num_mtp_layers`` are of multi-token prediction; they share the last chunk that has a layer.

    Examples
    --------
    >>> from walltime.workload.catalog import transformer
    >>> layout(layers_of_chunks(62, 16, 1), transformer("deepseek-v3"))
    'Et*4|(t*4|)*14tmL'
    """
    left, chunks = model.num_layers, []
    holder = max(index for index, count in enumerate(layers) if count)
    for index, count in enumerate(layers):
        here = min(count, left)
        left -= here
        chunks.append(_times("t", here) + (_times("m", model.num_mtp_layers) if index == holder else ""))
    middle = [(text, len(list(run))) for text, run in itertools.groupby(chunks[1:-1])]
    inner = "".join(f"({text}|)*{count}" if count > 1 else f"{text}|" for text, count in middle)
    return f"E{chunks[0]}|{inner}{chunks[-1]}L"


def _times(symbol: str, count: int) -> str:
    return symbol if count == 1 else f"{symbol}*{count}" if count else ""


def _expert_parallelism(run: Run) -> Flags:
    plan = run.plan
    flags: Flags = {"expert-model-parallel-size": plan.ep, "expert-tensor-parallel-size": plan.etp}
    if plan.precision != "fp16":
        flags["moe-grouped-gemm"] = True
    if plan.ep > 1 and run.stack.dispatch_once:
        dispatcher: Flags = {"moe-token-dispatcher-type": "flex", "moe-enable-deepep": True, "moe-router-dtype": "fp32"}
    else:
        dispatcher = {"moe-token-dispatcher-type": "alltoall"}
    return flags | dispatcher | {"moe-permute-fusion": True}


def _sharding(run: Run) -> Flags:
    plan = run.plan
    if plan.sharding == "ddp":
        return {}
    flags: Flags = {"use-distributed-optimizer": True}
    if uses_fsdp(run):
        flags |= {
            "use-megatron-fsdp": True,
            "data-parallel-sharding-strategy": _SHARDED[plan.sharding],
            "no-gradient-accumulation-fusion": True,
            "ckpt-format": "fsdp_dtensor",
        }
    if 0 < plan.shard < plan.dp:
        flags["num-distributed-optimizer-instances"] = plan.dp // plan.shard
    if plan.offload_optimizer:
        flags |= {"optimizer-cpu-offload": True, "use-precision-aware-optimizer": True}
    return flags


def _overlap(run: Run) -> Flags:
    """What runs beside computation, as the stack does it."""
    plan, software, flags = run.plan, run.stack, Flags()
    if software.overlap_dp and plan.dp * plan.cp > 1:
        flags["overlap-grad-reduce"] = True
        if plan.sharding != "ddp":
            flags["overlap-param-gather"] = True
    if software.overlap_tp and plan.tp > 1 and plan.sequence_parallel:
        flags["tp-comm-overlap"] = True
    return flags


def _recomputation(run: Run) -> Flags:
    plan, model = run.plan, run.training.model
    if plan.recompute == "none" or (plan.recompute == "full" and plan.recompute_layers == 0):
        return {}
    if plan.recompute == "selective":
        return {"recompute-granularity": "selective", "recompute-modules": ["core_attn"]}
    if plan.recompute_layers == 1:
        return {"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 1}
    most = max(layers_of_chunks(model.num_layers + model.num_mtp_layers, plan.pp, plan.vpp))
    count = plan.recompute_layers * most
    if not math.isclose(count, round(count)):
        near = ", ".join(f"{number / most:g}" for number in (math.floor(count), math.ceil(count)))
        why = f"that is {count:.3g} of the {most} layers of a chunk"
        raise refusal(NAME, "recompute_layers", f"{plan.recompute_layers:g}", why, near)
    return {"recompute-granularity": "full", "recompute-method": "block", "recompute-num-layers": round(count)}


def _gradients(run: Run) -> Flags:
    """Width of the gradients that are kept and reduced."""
    wide = (run.plan.gradient_bytes or run.stack.gradient_bytes) > 2
    if wide:
        return {"accumulate-allreduce-grads-in-fp32": True}
    return {} if run.plan.precision == "fp16" else {"grad-reduce-in-bf16": True}
