"""Parameter counts against the models of Hugging Face transformers, built without memory on the meta device."""

import pytest

from walltime.workload.catalog import transformer
from walltime.workload.parameters import num_parameters

torch = pytest.importorskip("torch", reason="the oracle needs torch")
transformers = pytest.importorskip("transformers", reason="the oracle needs transformers")

pytestmark = pytest.mark.filterwarnings("ignore")  # of the oracle's own making


def common(model):
    return {
        "num_hidden_layers": model.num_layers,
        "hidden_size": model.d_model,
        "intermediate_size": model.d_ff,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab_size,
        "tie_word_embeddings": model.tied_embeddings,
    }


def plain(model):
    assert not any((model.qkv_bias, model.attention_bias, model.mlp_bias, model.qk_norm_dim))
    return common(model)


def mixtral(model):
    experts = {"num_local_experts": model.num_experts, "num_experts_per_tok": model.top_k}
    return plain(model) | experts | {"intermediate_size": model.d_ff_expert}


def with_qkv_bias(model):
    assert model.qkv_bias  # Qwen2 has no switch for it
    return common(model)


def with_qk_norm(model):
    assert model.qk_norm_dim == model.head_dim  # nor Qwen3 for this
    return common(model) | {"attention_bias": model.qkv_bias}


def qwen3_moe(model):
    return with_qk_norm(model) | {
        "num_experts": model.num_experts,
        "num_experts_per_tok": model.top_k,
        "moe_intermediate_size": model.d_ff_expert,
    }


def deepseek(model):
    return common(model) | {
        "head_dim": None,
        "q_lora_rank": model.q_lora_rank or None,
        "kv_lora_rank": model.kv_lora_rank,
        "qk_rope_head_dim": model.qk_rope_head_dim,
        "qk_nope_head_dim": model.head_dim - model.qk_rope_head_dim,
        "v_head_dim": model.v_head_dim,
        "n_routed_experts": model.num_experts,
        "num_experts_per_tok": model.top_k,
        "moe_intermediate_size": model.d_ff_expert,
        "n_shared_experts": model.num_shared_experts,
        "first_k_dense_replace": model.num_dense_layers,
        "n_group": 1,
        "topk_group": 1,
    }


def gpt2(model):
    return {
        "n_layer": model.num_layers,
        "n_embd": model.d_model,
        "n_inner": model.d_ff,
        "n_head": model.num_heads,
        "vocab_size": model.vocab_size,
        "n_positions": model.num_positions,
        "tie_word_embeddings": model.tied_embeddings,
    }


def opt(model):
    return {
        "num_hidden_layers": model.num_layers,
        "hidden_size": model.d_model,
        "word_embed_proj_dim": model.d_model,
        "ffn_dim": model.d_ff,
        "num_attention_heads": model.num_heads,
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.num_positions - 2,
    }


def gpt_neox(model):
    return {
        "num_hidden_layers": model.num_layers,
        "hidden_size": model.d_model,
        "intermediate_size": model.d_ff,
        "num_attention_heads": model.num_heads,
        "vocab_size": model.vocab_size,
        "use_parallel_residual": model.parallel_attention,
        "attention_bias": model.qkv_bias,
        "tie_word_embeddings": model.tied_embeddings,
    }


def gpt_oss(model):
    experts = {"num_local_experts": model.num_experts, "num_experts_per_tok": model.top_k}
    return common(model) | experts | {"attention_bias": model.qkv_bias, "intermediate_size": model.d_ff_expert}


def llama4(model):
    return common(model) | {
        "intermediate_size": model.d_ff_expert,
        "intermediate_size_mlp": model.d_ff,
        "num_local_experts": model.num_experts,
        "num_experts_per_tok": model.top_k,
        "interleave_moe_layer_step": 2 if model.num_dense_layers else 1,
    }


def mpt(model):
    return {
        "n_layers": model.num_layers,
        "d_model": model.d_model,
        "expansion_ratio": model.d_ff // model.d_model,
        "n_heads": model.num_heads,
        "vocab_size": model.vocab_size,
        "no_bias": not model.mlp_bias,
        "tie_word_embeddings": model.tied_embeddings,
    }


def falcon(model):
    return {
        "num_hidden_layers": model.num_layers,
        "hidden_size": model.d_model,
        "ffn_hidden_size": model.d_ff,
        "num_attention_heads": model.num_heads,
        "num_kv_heads": model.num_kv_heads,
        "vocab_size": model.vocab_size,
        "multi_query": True,
        "parallel_attn": model.parallel_attention,
        "new_decoder_architecture": model.norms_per_layer == 2,
        "bias": model.mlp_bias,
        "tie_word_embeddings": model.tied_embeddings,
    }


def bloom(model):
    return {
        "n_layer": model.num_layers,
        "hidden_size": model.d_model,
        "n_head": model.num_heads,
        "vocab_size": model.vocab_size,
        "tie_word_embeddings": model.tied_embeddings,
    }


ORACLES = {
    "Llama": (plain, ["llama-1-7b", "llama-2-70b", "llama-3.1-405b", "llama-3.2-1b"]),
    "Mistral": (plain, ["mistral-7b"]),
    "Mixtral": (mixtral, ["mixtral-8x7b", "mixtral-8x22b"]),
    "Qwen2": (with_qkv_bias, ["qwen2.5-0.5b", "qwen2.5-72b"]),
    "Qwen3": (with_qk_norm, ["qwen3-0.6b", "qwen3-32b"]),
    "Qwen3Moe": (qwen3_moe, ["qwen3-30b-a3b", "qwen3-235b-a22b"]),
    "DeepseekV2": (deepseek, ["deepseek-v2", "deepseek-v2-lite"]),
    "DeepseekV3": (deepseek, ["deepseek-v3", "kimi-k2"]),
    "GPT2": (gpt2, ["gpt2", "gpt2-xl", "gpt3-175b", "megatron-1t"]),
    "OPT": (opt, ["opt-125m", "opt-175b"]),
    "GPTNeoX": (gpt_neox, ["gpt-neox-20b"]),
    "GptOss": (gpt_oss, ["gpt-oss-20b", "gpt-oss-120b"]),
    "Nemotron": (plain, ["nemotron-4-15b", "nemotron-4-340b"]),
    "Gemma": (plain, ["gemma-2b", "gemma-7b"]),
    "Gemma2": (plain, ["gemma-2-2b", "gemma-2-27b"]),
    "Llama4Text": (llama4, ["llama-4-scout", "llama-4-maverick"]),
    "Mpt": (mpt, ["mpt-7b-released"]),
    "Falcon": (falcon, ["falcon-7b", "falcon-40b", "falcon-180b"]),
    "Bloom": (bloom, ["bloom-560m", "bloom-176b"]),
}
HEADS = {"GPT2": "GPT2LMHeadModel", "Llama4Text": "Llama4ForCausalLM"}
CASES = [(family, name) for family, (_, names) in ORACLES.items() for name in names]


def count(module):
    """Trained tensors once each, tied ones too, and the router's biases, which some versions hold as buffers."""
    tensors = dict(module.named_parameters())
    buffers = {name: tensor for name, tensor in module.named_buffers() if name.endswith("e_score_correction_bias")}
    return sum(tensor.numel() for tensor in (tensors | buffers).values())


@pytest.mark.parametrize(("family", "name"), CASES)
def test_parameters_match_transformers_to_the_unit(family, name):
    model = transformer(name)
    config = getattr(transformers, f"{family}Config")(**ORACLES[family][0](model))
    with torch.device("meta"):
        module = getattr(transformers, HEADS.get(family, f"{family}ForCausalLM"))(config)
    assert num_parameters(model, with_mtp=False) == count(module)
