"""A model in Megatron-LM's arguments."""

from typing import Any

from walltime.engines.stack import Stack
from walltime.interop.refusal import refusal
from walltime.workload import Training, Transformer
from walltime.workload.padding import padded_vocab_size

NAME = "Megatron-LM"
Flags = dict[str, Any]
"""Arguments without their dashes: True for those without a value, lists for those with several."""
_POSITIONS = {"rotary": "rope", "learned": "learned_absolute", "none": "none"}
_NORMS = {"rmsnorm": "RMSNorm", "layernorm": "LayerNorm"}


def model_flags(training: Training, software: Stack, tp: int) -> Flags:
    """Return the arguments that describe a model.

    Raises
    ------
    NegativeAnswer
        Megatron-LM has no such layer.
    """
    model = training.model
    _check(training)
    return {
        "num-layers": model.num_layers,
        "hidden-size": model.d_model,
        "ffn-hidden-size": model.d_ff or model.d_ff_expert,
        "num-attention-heads": model.num_heads,
        **_attention(model),
        "normalization": _NORMS[model.norm],
        **({"swiglu": True} if model.gated_mlp else {}),
        **_biases(model),
        "position-embedding-type": _POSITIONS[model.position],
        "seq-length": training.seq_len,
        "max-position-embeddings": model.num_positions if model.position == "learned" else training.seq_len,
        "make-vocab-size-divisible-by": software.vocab_multiple,
        "padded-vocab-size": int(padded_vocab_size(model.vocab_size, software.vocab_multiple * tp)),
        **({} if model.tied_embeddings else {"untie-embeddings-and-output-weights": True}),
        **({"mtp-num-layers": model.num_mtp_layers} if model.num_mtp_layers else {}),
        **(_experts(model) if model.is_moe else {}),
        **_dropout(software),
    }


def _check(training: Training) -> None:
    model = training.model
    if model.position == "alibi":
        raise refusal(NAME, "position", model.position, "it has no such position encoding", ", ".join(_POSITIONS))
    if model.position == "learned" and training.seq_len > model.num_positions:
        why = f"{model.name} has {model.num_positions} learned positions"
        raise refusal(NAME, "seq_len", training.seq_len, why, f"{model.num_positions} or less")
    if model.norms_per_layer != 2:
        raise refusal(NAME, "norms_per_layer", model.norms_per_layer, "its layers have a norm before each half", 2)
    if model.norm == "layernorm" and not model.norm_bias:
        raise refusal(NAME, "norm_bias", False, "its LayerNorm has biases", "true")
    for name in ("parallel_attention", "embedding_norm", "head_bias", "qk_norm_heads", "shared_expert_gate"):
        if getattr(model, name):
            raise refusal(NAME, name, True, "its models are not built so", "false")
    if model.qk_norm_dim not in (0, model.head_dim):
        why = "it norms queries and keys head by head"
        raise refusal(NAME, "qk_norm_dim", model.qk_norm_dim, why, f"0, {model.head_dim}")


def _attention(model: Transformer) -> Flags:
    if model.is_latent:
        return _latent_attention(model)
    flags: Flags = {"kv-channels": model.head_dim}
    if model.num_kv_heads < model.num_heads:
        flags |= {"group-query-attention": True, "num-query-groups": model.num_kv_heads}
    if model.value_dim != model.head_dim:
        raise refusal(NAME, "v_head_dim", model.v_head_dim, "keys and values are as wide", model.head_dim)
    if model.qk_norm_dim:
        flags["qk-layernorm"] = True
    if model.attention_sinks:
        flags["softmax-type"] = "learnable"
    return flags | _window(model)


def _latent_attention(model: Transformer) -> Flags:
    """Multi-head latent attention, with the norms after both compressions."""
    return {
        "multi-latent-attention": True,
        **({"q-lora-rank": model.q_lora_rank} if model.q_lora_rank else {}),
        "kv-lora-rank": model.kv_lora_rank,
        "qk-head-dim": model.head_dim - model.qk_rope_head_dim,
        "qk-pos-emb-head-dim": model.qk_rope_head_dim,
        "v-head-dim": model.value_dim,
        "kv-channels": model.value_dim,
        "qk-layernorm": True,
        "rope-type": "yarn",
    }


def _window(model: Transformer) -> Flags:
    """Sliding windows: in all layers, or in all but every n-th."""
    if not (model.sliding_window and model.num_sliding_layers):
        return {}
    flags: Flags = {"window-size": f"{model.sliding_window},0"}
    full = model.num_layers - model.num_sliding_layers
    if full == 0:
        return flags
    if model.num_layers % full:
        why = f"one layer in n attends to everything, and {full} of {model.num_layers} do"
        raise refusal(NAME, "num_sliding_layers", model.num_sliding_layers, why, "a regular pattern")
    return flags | {"window-attn-skip-freq": model.num_layers // full}


def _biases(model: Transformer) -> Flags:
    """Biases of linear layers: in all, in none, or in the query, key and value projection alone."""
    of_mlps = [model.mlp_bias] * (model.num_moe_layers < model.num_layers) + [model.expert_bias] * model.is_moe
    others = {model.attention_bias, *of_mlps}
    if others == {True} and model.qkv_bias:
        return {}
    if others == {False}:
        return {"disable-bias-linear": True, **({"add-qkv-bias": True} if model.qkv_bias else {})}
    raise refusal(
        NAME, "attention_bias", model.attention_bias, "linear layers outside attention have other biases", "all or none"
    )


def _experts(model: Transformer) -> Flags:
    flags: Flags = {
        "num-experts": model.num_experts,
        "moe-router-topk": model.top_k,
        "moe-ffn-hidden-size": model.d_ff_expert,
    }
    if model.num_dense_layers:
        flags["moe-layer-freq"] = moe_pattern(model).replace(" ", "")
    if model.d_ff_shared:
        flags["moe-shared-expert-intermediate-size"] = model.d_ff_shared
    if model.router_bias and not model.expert_bias:
        flags |= {"moe-router-score-function": "sigmoid", "moe-router-enable-expert-bias": True}
    elif model.top_k == 1:
        flags["moe-router-pre-softmax"] = True
    return flags


def _dropout(software: Stack) -> Flags:
    return {} if software.dropout else {"attention-dropout": 0.0, "hidden-dropout": 0.0}


def assumed(model: Transformer) -> list[str]:
    """Return what the arguments say of a model though walltime does not know it; none of it changes the prediction."""
    said = ["SwiGLU" if model.gated_mlp else "GELU"]
    if model.position == "rotary":
        said.append("YaRN with its defaults" if model.is_latent else "the default rotary base")
    if model.num_moe_layers and model.num_dense_layers:
        said.append(f"the {model.num_dense_layers} layers with a dense MLP first")
    return [f"Taken as usual, for walltime does not know it: {', '.join(said)}."]


def moe_pattern(model: Transformer) -> str:
    """Return which layers have experts, 1, and which have none, 0, as a Python expression.

    Where half of the layers are dense every second one is, the first first; else dense layers lead. So they are taken
    in the estimate's memory (`walltime.engines.transformer_memory`).
    """
    if 2 * model.num_dense_layers == model.num_layers:
        return f"([0, 1] * {model.num_dense_layers})"
    return f"([0] * {model.num_dense_layers} + [1] * {model.num_moe_layers})"
