"""What families share: the fields of a `Transformer` that a group of keys gives."""

from typing import Any

from walltime.interop.huggingface.keys import Keys

Fields = dict[str, Any]

LAYER_NORM: Fields = {"norm": "layernorm", "norm_bias": True}
"""Norms with mean and bias."""
WINDOWED = ("sliding_attention", "chunked_attention")
"""Kinds of layer that look back on a window; a chunk is counted as a window of its size."""


def body(keys: Keys) -> Fields:
    """Return depth, width and vocabulary, by the names of most families."""
    return {
        "num_layers": keys.size("num_hidden_layers"),
        "d_model": keys.size("hidden_size"),
        "vocab_size": keys.size("vocab_size"),
        "tied_embeddings": keys.yes_no("tie_word_embeddings"),
    }


def heads(keys: Keys, d_model: int) -> Fields:
    """Return heads and their width: d_model shared out over them where ``head_dim`` is not given."""
    num_heads = keys.size("num_attention_heads")
    num_kv_heads = keys.size_or_none("num_key_value_heads") or num_heads
    return grouped(keys, num_heads, num_kv_heads) | {
        "head_dim": keys.size_or_none("head_dim", "kv_channels")
        or head_dim(keys, d_model, num_heads, "num_attention_heads")
    }


def full_heads(keys: Keys, d_model: int, *names: str) -> Fields:
    """Return heads of queries, keys and values alike, which share out d_model."""
    num_heads = keys.size(*names)
    width = head_dim(keys, d_model, num_heads, names[0])
    return {"num_heads": num_heads, "num_kv_heads": num_heads, "head_dim": width}


def grouped(keys: Keys, num_heads: int, num_kv_heads: int, name: str = "num_key_value_heads") -> Fields:
    """Return the counts of heads, if queries share out over keys and values."""
    if num_heads % num_kv_heads:
        raise keys.refusal(name, num_kv_heads, f"does not divide the {num_heads} attention heads.")
    return {"num_heads": num_heads, "num_kv_heads": num_kv_heads}


def head_dim(keys: Keys, d_model: int, num_heads: int, name: str) -> int:
    """Return the width of a head, where heads divide d_model."""
    if d_model % num_heads:
        raise keys.refusal(name, num_heads, f"does not divide the width of {d_model}.")
    return d_model // num_heads


def biases(keys: Keys, *, with_mlp: bool) -> Fields:
    """Return the biases that ``attention_bias`` (all four projections) and ``mlp_bias`` switch on."""
    attention = keys.yes_no("attention_bias")
    mlp = {"mlp_bias": keys.yes_no("mlp_bias")} if with_mlp else {}
    return {"qkv_bias": attention, "attention_bias": attention} | mlp


def all_biases(switch: bool) -> Fields:
    """Return biases on every matrix of a layer, or on none."""
    return {"qkv_bias": switch, "attention_bias": switch, "mlp_bias": switch}


def sliding(keys: Keys, num_layers: int, usual: int, window: int | None = None) -> Fields:
    """Return window and number of sliding layers: those that ``layer_types`` lists, else the ``usual`` ones."""
    wide = keys.count("sliding_window") if window is None else window
    types = _layer_types(keys, num_layers)
    if types is not None:
        usual = sum(kind in WINDOWED for kind in types)
        if usual and not wide:
            raise keys.refusal("layer_types", "sliding_attention", "needs the key sliding_window.")
    return {"sliding_window": wide, "num_sliding_layers": usual} if wide and usual else {}


def _layer_types(keys: Keys, num_layers: int) -> list[str] | None:
    """Return the kind of attention of each layer, None where none is listed."""
    types = keys.texts("layer_types", num_layers)
    for kind in types or ():
        if kind not in ("full_attention", *WINDOWED):
            raise keys.refusal("layer_types", kind, "is not supported. Valid: full_attention, sliding_attention.")
    return types


def upper_sliding(keys: Keys, num_layers: int) -> Fields:
    """Return the sliding layers of Qwen: those from ``max_window_layers`` up, if there are any at all."""
    if keys.yes_no("use_sliding_window"):
        return sliding(keys, num_layers, max(0, num_layers - keys.count("max_window_layers")))
    _layer_types(keys, num_layers)
    for name in ("sliding_window", "max_window_layers"):
        keys.used |= {name: keys.content[name]} if name in keys.content else {}
    return {}


def experts(keys: Keys, *, number: tuple[str, ...], width: str) -> Fields:
    """Return how many routed experts there are, how wide they are, and how many a token visits."""
    num_experts = keys.size(*number)
    top_k = keys.size("num_experts_per_tok", "experts_per_token")
    if top_k > num_experts:
        raise keys.refusal("num_experts_per_tok", top_k, f"is more than the {num_experts} experts.")
    return {"num_experts": num_experts, "top_k": top_k, "d_ff_expert": keys.size(width)}


def shared_experts(number: int, width: int) -> Fields:
    """Return shared experts of a width each."""
    return {"num_shared_experts": number, "d_ff_shared": number * width} if number else {}
