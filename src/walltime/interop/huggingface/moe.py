"""Families of mixtures of experts."""

from walltime.interop.huggingface.dense import plain, qwen3
from walltime.interop.huggingface.keys import Keys
from walltime.interop.huggingface.parts import (
    Fields,
    biases,
    body,
    experts,
    heads,
    shared_experts,
    sliding,
    upper_sliding,
)

_LOCAL = ("num_local_experts", "num_experts")


def mixtral(keys: Keys) -> Fields:
    """Mixtral: every layer has experts, whose width is ``intermediate_size``."""
    fields = plain(keys) | experts(keys, number=_LOCAL, width="intermediate_size")
    return fields | sliding(keys, fields["num_layers"], fields["num_layers"])


def gpt_oss(keys: Keys) -> Fields:
    """gpt-oss: biases in router and experts, sinks, every second layer looks back on a window, from the first."""
    fields = plain(keys) | biases(keys, with_mlp=False) | experts(keys, number=_LOCAL, width="intermediate_size")
    num_layers = fields["num_layers"]
    own = {"router_bias": True, "expert_bias": True, "attention_sinks": True}
    return fields | own | sliding(keys, num_layers, num_layers - num_layers // 2)


def qwen2_moe(keys: Keys) -> Fields:
    """Qwen1.5 and Qwen2 with experts: shared ones behind a gate of their own."""
    fields = plain(keys)
    num_layers = fields["num_layers"]
    routed = experts(keys, number=("num_experts",), width="moe_intermediate_size")
    shared = shared_experts(1, keys.size("shared_expert_intermediate_size")) | {"shared_expert_gate": True}
    fields |= routed | shared | _qwen_dense_layers(keys, num_layers)
    return fields | upper_sliding(keys, num_layers) | {"qkv_bias": keys.yes_no("qkv_bias")}


def qwen3_moe(keys: Keys) -> Fields:
    """Qwen3 with experts; layers may keep a dense MLP. With a window, all layers have it."""
    fields = qwen3(keys)
    num_layers = fields["num_layers"]
    windows = sliding(keys, num_layers, num_layers) if keys.yes_no("use_sliding_window") else {}
    routed = experts(keys, number=("num_experts", "num_local_experts"), width="moe_intermediate_size")
    return fields | windows | routed | _qwen_dense_layers(keys, num_layers)


def _qwen_dense_layers(keys: Keys, num_layers: int) -> Fields:
    """Return how many layers have a dense MLP: those listed, and those between every ``decoder_sparse_step``-th."""
    step = keys.size("decoder_sparse_step")
    listed = keys.layers("mlp_only_layers", num_layers) or set()
    num_moe_layers = num_layers // step - sum((layer + 1) % step == 0 for layer in listed)
    return _some_moe_layers(keys, num_layers, num_moe_layers, "decoder_sparse_step", step)


def _some_moe_layers(keys: Keys, num_layers: int, num_moe_layers: int, name: str, value: int) -> Fields:
    if num_moe_layers < 1:
        raise keys.refusal(name, value, f"leaves none of the {num_layers} layers with experts.")
    return {"num_dense_layers": num_layers - num_moe_layers}


def deepseek_v2(keys: Keys) -> Fields:
    """DeepSeek-V2: latent attention, shared and routed experts after some dense layers."""
    keys.choice("topk_method", ("greedy", "group_limited_greedy"))
    return _deepseek(keys)


def _deepseek(keys: Keys) -> Fields:
    fields = body(keys) | _latent_attention(keys) | biases(keys, with_mlp=False)
    fields["d_ff"] = keys.size("intermediate_size")
    return fields | _experts_after_dense_layers(keys, fields["num_layers"])


def deepseek_v3(keys: Keys) -> Fields:
    """DeepSeek-V3, Kimi K2: a bias a routed expert besides, which balances load, and multi-token prediction."""
    method = keys.choice("topk_method", ("noaux_tc", "greedy", "group_limited_greedy"))
    mtp = keys.count("num_nextn_predict_layers")
    return _deepseek(keys) | {"router_bias": method == "noaux_tc", "num_mtp_layers": mtp}


def glm4_moe(keys: Keys) -> Fields:
    """GLM-4.5 and 4.6: DeepSeek-V3's experts with ordinary attention."""
    fields = plain(keys) | {"qkv_bias": keys.yes_no("attention_bias"), "router_bias": True}
    fields |= {"qk_norm_dim": keys.yes_no("use_qk_norm") * fields["head_dim"]}
    mtp = {"num_mtp_layers": keys.count("num_nextn_predict_layers")}
    return fields | _experts_after_dense_layers(keys, fields["num_layers"]) | mtp


def _latent_attention(keys: Keys) -> Fields:
    """Return the dimensions of multi-head latent attention: a head of queries and keys has a rotary part besides."""
    num_heads = keys.size("num_attention_heads")
    for derived in ("num_key_value_heads", "head_dim", "qk_head_dim"):
        keys.count(derived)
    rotary = keys.size("qk_rope_head_dim")
    return {
        "num_heads": num_heads,
        "num_kv_heads": num_heads,
        "head_dim": keys.size("qk_nope_head_dim") + rotary,
        "v_head_dim": keys.size("v_head_dim"),
        "q_lora_rank": keys.count("q_lora_rank"),
        "kv_lora_rank": keys.size("kv_lora_rank"),
        "qk_rope_head_dim": rotary,
    }


def _experts_after_dense_layers(keys: Keys, num_layers: int) -> Fields:
    """Return the experts of the layers from ``first_k_dense_replace`` on, of every ``moe_layer_freq``-th of them."""
    routed = experts(keys, number=("n_routed_experts",), width="moe_intermediate_size")
    shared = shared_experts(keys.count("n_shared_experts"), routed["d_ff_expert"])
    first, step = keys.count("first_k_dense_replace"), keys.size_or_none("moe_layer_freq") or 1
    num_moe_layers = -(-num_layers // step) + -first // step
    return routed | shared | _some_moe_layers(keys, num_layers, num_moe_layers, "first_k_dense_replace", first)


def llama4(keys: Keys) -> Fields:
    """Llama 4 (text): one shared expert beside the routed ones; three layers of four attend within chunks."""
    fields = body(keys)
    fields |= heads(keys, fields["d_model"]) | biases(keys, with_mlp=False)
    num_layers, width = fields["num_layers"], keys.size("intermediate_size")
    step = keys.size("interleave_moe_layer_step")
    listed = keys.layers("moe_layers", num_layers)
    num_moe_layers = num_layers // step if listed is None else len(listed)
    routed = experts(keys, number=_LOCAL, width="intermediate_size") | shared_experts(1, width)
    routed |= _some_moe_layers(keys, num_layers, num_moe_layers, "interleave_moe_layer_step", step)
    keys.yes_no("use_qk_norm")  # without parameters
    return fields | routed | {"d_ff": keys.size("intermediate_size_mlp")} | _chunks(keys, num_layers)


def _chunks(keys: Keys, num_layers: int) -> Fields:
    """Return the layers that attend within chunks, which are those with rotary positions."""
    rotary = keys.content.get("no_rope_layers")
    keys.used |= {"no_rope_layers": rotary} if rotary else {}
    if rotary and not (isinstance(rotary, list) and len(rotary) == num_layers and set(rotary) <= {0, 1}):
        raise keys.refusal("no_rope_layers", rotary, f"must be a list of 0 or 1 for each of {num_layers} layers.")
    usual = sum(rotary) if rotary else num_layers - num_layers // 4
    return sliding(keys, num_layers, usual, keys.count("attention_chunk_size"))
