"""Dense families whose keys are Llama's."""

from walltime.interop.huggingface.keys import Keys
from walltime.interop.huggingface.parts import (
    LAYER_NORM,
    Fields,
    all_biases,
    biases,
    body,
    full_heads,
    heads,
    sliding,
    upper_sliding,
)


def plain(keys: Keys) -> Fields:
    """Return what all of these share: body, heads and one MLP."""
    fields = body(keys)
    return fields | heads(keys, fields["d_model"]) | {"d_ff": keys.size("intermediate_size")}


def llama(keys: Keys) -> Fields:
    """Llama, Granite: biases by two switches."""
    return plain(keys) | biases(keys, with_mlp=True)


def mistral(keys: Keys) -> Fields:
    """Mistral, Phi-3: no biases, every layer looks back on a window if there is one."""
    fields = plain(keys)
    return fields | sliding(keys, fields["num_layers"], fields["num_layers"])


def qwen2(keys: Keys) -> Fields:
    """Qwen2 and 2.5: biases on queries, keys and values."""
    fields = plain(keys)
    return fields | upper_sliding(keys, fields["num_layers"]) | {"qkv_bias": True}


def qwen3(keys: Keys) -> Fields:
    """Qwen3: norms over queries and keys instead."""
    fields = plain(keys)
    keys.yes_no("use_qk_norm")  # always, whatever it says
    normed = {"qk_norm_dim": fields["head_dim"]}
    return fields | upper_sliding(keys, fields["num_layers"]) | biases(keys, with_mlp=False) | normed


def olmo2(keys: Keys) -> Fields:
    """OLMo 2: norms over all queries and all keys, and after attention and MLP instead of before."""
    fields = plain(keys)
    return fields | biases(keys, with_mlp=False) | {"qk_norm_dim": fields["head_dim"], "qk_norm_heads": True}


def gemma(keys: Keys) -> Fields:
    """Gemma: a head's width of its own, a gated MLP with GELU."""
    return plain(keys) | biases(keys, with_mlp=False)


def gemma2(keys: Keys) -> Fields:
    """Gemma 2: norms before and after, every second layer looks back on a window, from the first."""
    fields = gemma(keys) | {"norms_per_layer": 4}
    num_layers = fields["num_layers"]
    return fields | sliding(keys, num_layers, num_layers - num_layers // 2)


def gemma3(keys: Keys) -> Fields:
    """Gemma 3: norms over queries and keys besides, five layers of six look back on a window."""
    fields = gemma(keys) | {"norms_per_layer": 4}
    num_layers = fields["num_layers"]
    pattern = keys.size_or_none("sliding_window_pattern", "_sliding_window_pattern") or 6
    normed = {"qk_norm_dim": fields["head_dim"]}
    return fields | normed | sliding(keys, num_layers, num_layers - num_layers // pattern)


def nemotron(keys: Keys) -> Fields:
    """Nemotron: two matrices an MLP with a squared ReLU between, norms with mean and bias."""
    return plain(keys) | biases(keys, with_mlp=True) | LAYER_NORM | {"gated_mlp": False}


def starcoder2(keys: Keys) -> Fields:
    """StarCoder2: two matrices an MLP, biases everywhere, every layer looks back on a window if there is one."""
    fields = plain(keys) | all_biases(keys.yes_no("use_bias")) | LAYER_NORM | {"gated_mlp": False}
    return fields | sliding(keys, fields["num_layers"], fields["num_layers"])


def phi(keys: Keys) -> Fields:
    """Phi-1 and Phi-2: attention and MLP in parallel, biases everywhere, on the output layer too."""
    keys.must_be("qk_layernorm", False, "its norms have biases")
    one = {"gated_mlp": False, "parallel_attention": True, "norms_per_layer": 1, "head_bias": True}
    return plain(keys) | all_biases(True) | LAYER_NORM | one


def gpt_neox(keys: Keys) -> Fields:
    """GPT-NeoX, Pythia: attention and MLP in parallel, each with a norm of its own."""
    fields = body(keys) | {"d_ff": keys.size("intermediate_size")}
    fields |= full_heads(keys, fields["d_model"], "num_attention_heads") | biases(keys, with_mlp=False) | LAYER_NORM
    parallel = keys.yes_no("use_parallel_residual")
    return fields | {"gated_mlp": False, "mlp_bias": True, "parallel_attention": parallel}
