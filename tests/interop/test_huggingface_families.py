"""Every family against transformers: the defaults, and parameters of small models on the meta device to the unit."""

import json
import re
from pathlib import Path

import pytest

from walltime.catalog import data_root, read_toml
from walltime.interop.huggingface import FAMILIES, read_config
from walltime.problems import BadInput
from walltime.workload.parameters import num_parameters

torch = pytest.importorskip("torch", reason="the oracle needs torch")
transformers = pytest.importorskip("transformers", reason="the oracle needs transformers")

pytestmark = pytest.mark.filterwarnings("ignore")  # of the oracle's own making

DEFAULTS = read_toml(data_root() / "huggingface" / "config.toml")["defaults"]
SAME_CLASS = {"kimi_k2": "deepseek_v3"}
HEADS = {"GPT2": "GPT2LMHeadModel", "Llama4Text": "Llama4ForCausalLM", "Gemma3Text": "Gemma3ForCausalLM"}

LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "vocab_size": 128,
    "num_key_value_heads": 2,
}
GPT = {"n_embd": 64, "n_layer": 4, "n_head": 8, "vocab_size": 128}
DEEPSEEK = LLAMA | {
    "num_key_value_heads": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 12,
    "v_head_dim": 20,
    "n_group": 1,
    "topk_group": 1,
}
QWEN_MOE = LLAMA | {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL_EXPERTS = LLAMA | {"num_local_experts": 8, "num_experts_per_tok": 2}
FALCON = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": 128}
MPT = {"d_model": 64, "n_layers": 4, "n_heads": 8, "vocab_size": 128}
OPT = {"hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": 128}
OPT |= {"word_embed_proj_dim": 64}
GLM = LLAMA | {
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "head_dim": 16,
    "num_nextn_predict_layers": 1,
}
BIASED = {"attention_bias": True}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}

CASES = {
    "llama": (LLAMA, [{}, BIASED | {"mlp_bias": True}, TIED, {"head_dim": 32}, {"num_key_value_heads": None}]),
    "granite": (LLAMA, [{}, BIASED | {"mlp_bias": True}]),
    "mistral": (LLAMA, [{}, {"head_dim": 32}, {"sliding_window": None}, {"num_key_value_heads": 8}]),
    "phi3": (LLAMA | {"pad_token_id": 0}, [{}, TIED]),
    "qwen2": (LLAMA, [{}, TIED]),
    "qwen3": (LLAMA, [{}, BIASED, TIED, {"head_dim": 16}]),
    "olmo2": (LLAMA, [{}, BIASED, {"num_key_value_heads": 8}]),
    "gemma": (LLAMA, [{}, BIASED, UNTIED]),
    "gemma2": (LLAMA, [{}, BIASED, UNTIED]),
    "gemma3_text": (LLAMA, [{}, BIASED, {"head_dim": 16}]),
    "nemotron": (LLAMA, [{"head_dim": 8}, BIASED | {"mlp_bias": True, "head_dim": 16}]),
    "starcoder2": (LLAMA, [{}, {"use_bias": False}, UNTIED]),
    "phi": (LLAMA, [{}]),
    "gpt_neox": (LLAMA, [{}, {"attention_bias": False}, {"use_parallel_residual": False}, TIED]),
    "gpt2": (GPT, [{}, {"n_inner": 100}, {"n_positions": 50}, UNTIED]),
    "gpt_bigcode": (GPT, [{}, {"multi_query": False}]),
    "gptj": (GPT, [{"rotary_dim": 4}, {"rotary_dim": 4, "n_inner": 100}]),
    "opt": (OPT, [{}, {"enable_bias": False}, {"max_position_embeddings": 50}]),
    "falcon": (
        FALCON,
        [
            {},
            {"multi_query": False},
            {"parallel_attn": False, "bias": True, "alibi": True, "multi_query": False},
            {"new_decoder_architecture": True, "num_kv_heads": 2},
            {"new_decoder_architecture": True},
            {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
            {"ffn_hidden_size": 100, "num_kv_heads": 8},
            UNTIED,
        ],
    ),
    "bloom": ({"n_layer": 4, "hidden_size": 64, "n_head": 8, "vocab_size": 128}, [{}, UNTIED, {"n_inner": None}]),
    "mpt": (MPT, [{}, {"attn_config": {"alibi": True}}]),
    "mixtral": (LOCAL_EXPERTS, [{}, {"head_dim": 16}, {"sliding_window": 64}]),
    "gpt_oss": (LOCAL_EXPERTS, [{}, {"attention_bias": False}, {"head_dim": 16}]),
    "qwen2_moe": (
        QWEN_MOE | {"shared_expert_intermediate_size": 48},
        [{}, {"decoder_sparse_step": 2}, {"mlp_only_layers": [0, 3]}, {"qkv_bias": False}],
    ),
    "qwen3_moe": (QWEN_MOE, [{}, {"head_dim": 16}, {"decoder_sparse_step": 2, "mlp_only_layers": [1]}, BIASED]),
    "deepseek_v2": (DEEPSEEK, [{}, {"q_lora_rank": None}, {"n_shared_experts": 3}, {"first_k_dense_replace": 2}]),
    "deepseek_v3": (DEEPSEEK, [{}, {"first_k_dense_replace": 1}, {"n_shared_experts": 2}, BIASED]),
    "kimi_k2": (DEEPSEEK, [{}]),
    "glm4_moe": (GLM, [{}, BIASED, {"use_qk_norm": True}, {"first_k_dense_replace": 2}]),
    "llama4_text": (
        LOCAL_EXPERTS | {"head_dim": 8, "intermediate_size_mlp": 100},
        [{}, {"interleave_moe_layer_step": 2}, {"moe_layers": [1, 2, 3]}],
    ),
}
VARIANTS = [
    pytest.param(family, base | change, id=f"{family}-{number}")
    for family, (base, changes) in CASES.items()
    for number, change in enumerate(changes)
]


def class_of(family, content):
    """The configuration that transformers makes of a config.json."""
    named = SAME_CLASS.get(family, family)
    return transformers.AutoConfig.for_model(named, **{k: v for k, v in content.items() if k != "model_type"})


def count(module):
    """Trained tensors once each, tied ones too, and the router's biases, which some versions hold as buffers."""
    tensors = dict(module.named_parameters())
    buffers = {name: tensor for name, tensor in module.named_buffers() if name.endswith("e_score_correction_bias")}
    return sum(tensor.numel() for tensor in (tensors | buffers).values())


def oracle(family, content):
    config = class_of(family, content)
    name = type(config).__name__.removesuffix("Config")
    with torch.device("meta"):
        return count(getattr(transformers, HEADS.get(name, f"{name}ForCausalLM"))(config))


def test_every_family_is_held_against_transformers():
    assert set(CASES) == set(FAMILIES)
    assert set(DEFAULTS) | set(SAME_CLASS) == set(FAMILIES)


def test_the_how_to_lists_every_family():
    page = Path(__file__).parents[2] / "docs" / "how-to" / "import_a_model.md"
    rows = [line.split("|")[1] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")][1:]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(FAMILIES)


@pytest.mark.parametrize(("family", "content"), VARIANTS)
def test_parameters_are_those_of_transformers_to_the_unit(family, content, file):
    model = read_config(file("config.json", json.dumps(content | {"model_type": family}))).model
    assert num_parameters(model, with_mtp=False) == oracle(family, content)


@pytest.mark.parametrize("family", DEFAULTS)
def test_defaults_are_those_of_transformers(family):
    """What `__init__` takes where a key is absent; a class that fills a null in says what it fills in."""
    config = class_of(family, {})
    for key, value in DEFAULTS[family].items():
        holder = config
        *parts, last = key.split(".")
        for part in parts:
            holder = getattr(holder, part)
        assert getattr(holder, last) == value, key


DIMENSIONS = re.compile("(num_hidden_layers|n_layers?|hidden_size|n_embd|d_model|vocab_size)")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dimension_that_is_missing_is_named(family, file):
    base, _ = CASES[family]
    for key in filter(DIMENSIONS.fullmatch, base):
        content = {k: v for k, v in base.items() if k != key} | {"model_type": family}
        path = file("config.json", json.dumps(content))
        if key in DEFAULTS.get(family, {}):
            assert any(f"{key}={DEFAULTS[family][key]}" in note for note in read_config(path).notes)
        else:
            with pytest.raises(BadInput, match=rf"config\.json: the key .*\b{key}\b.* is missing"):
                read_config(path)


@pytest.mark.parametrize(
    ("family", "content"),
    [
        ("gemma2", LLAMA | {"num_hidden_layers": 5}),
        ("gemma3_text", LLAMA | {"num_hidden_layers": 13}),
        ("gpt_oss", LOCAL_EXPERTS | {"num_hidden_layers": 5}),
        ("qwen2", LLAMA | {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 3}),
        ("qwen3", LLAMA | {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}),
        ("llama4_text", LOCAL_EXPERTS | {"num_hidden_layers": 10, "head_dim": 8}),
    ],
)
def test_sliding_layers_are_those_of_transformers(family, content, file):
    model = read_config(file("config.json", json.dumps(content | {"model_type": family}))).model
    types = class_of(family, content).layer_types
    assert model.num_sliding_layers == sum(kind != "full_attention" for kind in types) > 0
