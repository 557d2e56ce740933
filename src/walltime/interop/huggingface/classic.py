"""Families with key names of their own: GPT-2, GPT-J, OPT, Falcon, BLOOM, MPT."""

from walltime.interop.huggingface.keys import Keys
from walltime.interop.huggingface.parts import LAYER_NORM, Fields, all_biases, full_heads, grouped, head_dim

_FOUR = 4
"""Width of an MLP over d_model, where no key gives it."""


def gpt2(keys: Keys) -> Fields:
    """GPT-2: learned positions, biases everywhere."""
    keys.must_be("add_cross_attention", False, "only decoders are")
    learned = {"position": "learned", "num_positions": keys.size("n_positions", "max_position_embeddings")}
    return _gpt(keys) | all_biases(True) | learned


def gpt_bigcode(keys: Keys) -> Fields:
    """StarCoder, SantaCoder: GPT-2 with one head of keys and values."""
    fields = gpt2(keys)
    return fields | ({"num_kv_heads": 1} if keys.yes_no("multi_query") else {})


def gptj(keys: Keys) -> Fields:
    """GPT-J: attention and MLP in parallel after one norm, biases on the MLP and the output layer."""
    keys.count("n_positions")  # rotary, so no table of them
    one = {"parallel_attention": True, "norms_per_layer": 1, "mlp_bias": True, "head_bias": True}
    return _gpt(keys) | one


def _gpt(keys: Keys) -> Fields:
    d_model = keys.size("n_embd", "hidden_size")
    fields = {
        "num_layers": keys.size("n_layer", "num_hidden_layers"),
        "d_model": d_model,
        "d_ff": keys.size_or_none("n_inner") or _FOUR * d_model,
        "vocab_size": keys.size("vocab_size"),
        "tied_embeddings": keys.yes_no("tie_word_embeddings"),
        "gated_mlp": False,
    }
    return fields | full_heads(keys, d_model, "n_head", "num_attention_heads") | LAYER_NORM


def opt(keys: Keys) -> Fields:
    """OPT: learned positions with two rows that are never used."""
    keys.must_be("do_layer_norm_before", True, "norms come before attention and MLP")
    keys.must_be("_remove_final_layer_norm", False, "a norm precedes the output layer")
    keys.must_be("layer_norm_elementwise_affine", True, "norms have weights")
    d_model = keys.size("hidden_size")
    projected = keys.size_or_none("word_embed_proj_dim") or d_model
    if projected != d_model:
        raise keys.refusal("word_embed_proj_dim", projected, f"is not supported. Valid: hidden_size, {d_model}.")
    fields = {
        "num_layers": keys.size("num_hidden_layers"),
        "d_model": d_model,
        "d_ff": keys.size("ffn_dim"),
        "vocab_size": keys.size("vocab_size"),
        "tied_embeddings": keys.yes_no("tie_word_embeddings"),
        "gated_mlp": False,
        "position": "learned",
        "num_positions": keys.size("max_position_embeddings") + 2,
    }
    fields |= full_heads(keys, d_model, "num_attention_heads")
    return fields | LAYER_NORM | all_biases(keys.yes_no("enable_bias"))


def falcon(keys: Keys) -> Fields:
    """Falcon: attention and MLP in parallel, with one norm and one key-value head (7B) or two and a few (40B, 180B)."""
    d_model = keys.size("hidden_size", "n_embed")
    num_heads = keys.size("num_attention_heads", "n_head")
    fields = {
        "num_layers": keys.size("num_hidden_layers", "n_layer"),
        "d_model": d_model,
        "d_ff": keys.size_or_none("ffn_hidden_size") or _FOUR * d_model,
        "head_dim": head_dim(keys, d_model, num_heads, "num_attention_heads"),
        "vocab_size": keys.size("vocab_size"),
        "tied_embeddings": keys.yes_no("tie_word_embeddings"),
        "gated_mlp": False,
        "position": "alibi" if keys.yes_no("alibi") else "rotary",
    }
    return fields | _falcon_layer(keys, num_heads) | LAYER_NORM | all_biases(keys.yes_no("bias"))


def _falcon_layer(keys: Keys, num_heads: int) -> Fields:
    is_new, one_head = keys.yes_no("new_decoder_architecture"), keys.yes_no("multi_query")
    named = keys.size_or_none("num_kv_heads", "n_head_kv") or num_heads
    num_kv_heads = named if is_new else 1 if one_head else num_heads
    parallel = keys.yes_no("parallel_attn")
    norms = keys.size_or_none("num_ln_in_parallel_attn") or 1 + is_new
    if norms > 2:
        raise keys.refusal("num_ln_in_parallel_attn", norms, "must be 1 or 2.")
    return grouped(keys, num_heads, num_kv_heads, "num_kv_heads") | {
        "parallel_attention": parallel or is_new,
        "norms_per_layer": norms if parallel else 2,
    }


def bloom(keys: Keys) -> Fields:
    """BLOOM: alibi, a norm after the embedding, biases everywhere."""
    d_model = keys.size("n_embed", "hidden_size")
    d_ff = keys.size_or_none("n_inner") or _FOUR * d_model
    if d_ff != _FOUR * d_model:
        raise keys.refusal("n_inner", d_ff, f"is not what BLOOM has. Valid: null or {_FOUR * d_model}.")
    fields = {
        "num_layers": keys.size("n_layer", "num_hidden_layers"),
        "d_model": d_model,
        "d_ff": d_ff,
        "vocab_size": keys.size("vocab_size"),
        "tied_embeddings": keys.yes_no("tie_word_embeddings"),
        "gated_mlp": False,
        "position": "alibi",
        "embedding_norm": True,
    }
    fields |= full_heads(keys, d_model, "n_head", "num_attention_heads")
    return fields | LAYER_NORM | all_biases(True)


def mpt(keys: Keys) -> Fields:
    """MPT: alibi or learned positions, usually without any biases."""
    d_model, num_heads = keys.size("d_model", "hidden_size"), keys.size("n_heads", "num_attention_heads")
    has_bias = not keys.yes_no("no_bias")
    attention, mlp = keys.part("attn_config"), keys.part("ffn_config")
    attention.must_be("qk_ln", False, "queries and keys have no norms")
    norm = keys.choice("norm_type", ("low_precision_layernorm", "layernorm", "rmsnorm", "low_precision_rmsnorm"))
    fields = {
        "num_layers": keys.size("n_layers", "num_hidden_layers"),
        "d_model": d_model,
        "d_ff": keys.size("expansion_ratio") * d_model,
        "head_dim": head_dim(keys, d_model, num_heads, "n_heads"),
        "vocab_size": keys.size("vocab_size"),
        "tied_embeddings": keys.yes_no("tie_word_embeddings"),
        "gated_mlp": mlp.choice("ffn_type", ("mptmlp", "mptglu")) == "mptglu",
        "norm": "rmsnorm" if norm.endswith("rmsnorm") else "layernorm",
        "norm_bias": has_bias and not norm.endswith("rmsnorm"),
    }
    return fields | all_biases(has_bias) | _mpt_heads(attention, num_heads) | _mpt_positions(keys, attention)


def _mpt_heads(attention: Keys, num_heads: int) -> Fields:
    kinds = ("multihead_attention", "multiquery_attention", "grouped_query_attention")
    kind = attention.choice("attn_type", kinds)
    named = attention.size_or_none("kv_n_heads")
    if kind == kinds[2] and named is None:
        raise attention.refusal("attn_type", kind, "needs the key kv_n_heads.")
    num_kv_heads = {kinds[0]: num_heads, kinds[1]: 1}.get(kind, named or num_heads)
    return grouped(attention, num_heads, num_kv_heads, "kv_n_heads")


def _mpt_positions(keys: Keys, attention: Keys) -> Fields:
    learned, num_positions = keys.yes_no("learned_pos_emb"), keys.size("max_seq_len")
    if attention.yes_no("alibi"):
        return {"position": "alibi"}
    if attention.yes_no("rope"):
        return {"position": "rotary"}
    return {"position": "learned", "num_positions": num_positions} if learned else {"position": "none"}
