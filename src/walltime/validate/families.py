"""Families of models: what a name says about layers, beyond the dimensions that a row gives.

The numbers here are dimensions that the format has no column for, as the models' public configurations have them.
Families of which the shipped rows have a model are checked against the parameters and FLOP that the sources print;
the others (Falcon, PaLM, BLOOM, GPT-NeoX, GPT-J, OPT, Gemma, Qwen 2) are not checked by any row.
"""

import re
from dataclasses import dataclass, field
from typing import Any

_BIASES = {"norm_bias": True, "qkv_bias": True, "attention_bias": True, "mlp_bias": True}
_GPT: dict[str, Any] = {
    "gated_mlp": False,
    "norm": "layernorm",
    "position": "learned",
    "tied_embeddings": True,
    **_BIASES,
}
_MLA: dict[str, Any] = {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "head_dim": 192,
    "v_head_dim": 128,
}


@dataclass(frozen=True)
class Family:
    """Models that share everything but their sizes.

    Attributes
    ----------
    pattern
        What the model's name must contain (lower case, a regular expression); the first family that fits is taken.
    fields
        Fields of `walltime.workload.Transformer` that the family fixes.
    vocab
        Vocabulary where the row does not give one; 0 for none.
    kv_heads
        Key and value heads where the row does not give them; 0 for as many as query heads.
    sliding_every
        One layer in so many has a sliding window; 0 for none.
    num_shared_experts
        Each as wide as a routed one.
    dense_layers, interleaved_moe
        Leading layers with a dense MLP; or: one layer in so many is a mixture of experts, the others are dense.
    d_ff_dense
        Hidden width of the MLP of these dense layers; 0 for that of an expert.
    """

    name: str
    pattern: str
    fields: dict[str, Any] = field(default_factory=dict)
    vocab: int = 0
    kv_heads: int = 0
    sliding_every: int = 0
    num_shared_experts: int = 0
    dense_layers: int = 0
    interleaved_moe: int = 0
    d_ff_dense: int = 0


FAMILIES: tuple[Family, ...] = (
    Family("DeepSeek-V3", r"deep-?seek[-_ ]?(v3|r1)", {**_MLA, "router_bias": True}, 129280,
           num_shared_experts=1, dense_layers=3, d_ff_dense=18432),
    Family("Kimi K2", r"kimi|moonlight", {**_MLA, "router_bias": True}, 163840,
           num_shared_experts=1, dense_layers=1, d_ff_dense=18432),
    Family("DeepSeek-V2-Lite", r"deep-?seek[-_ ]?v2[-_ ]?lite", {**_MLA, "q_lora_rank": 0}, 102400,
           num_shared_experts=2, dense_layers=1, d_ff_dense=10944),
    Family("DeepSeek-V2", r"deep-?seek[-_ ]?v2", _MLA, 102400, num_shared_experts=2, dense_layers=1, d_ff_dense=12288),
    Family("gpt-oss", r"gpt-?oss", {"head_dim": 64, "sliding_window": 128, "attention_sinks": True, "qkv_bias": True,
                                    "attention_bias": True, "router_bias": True, "expert_bias": True}, 201088, 8,
           sliding_every=2),
    Family("Qwen 3", r"qwen-?3", {"head_dim": 128, "qk_norm_dim": 128}, 151936),
    Family("Qwen 2", r"qwen", {"qkv_bias": True}, 152064),
    Family("Llama 4", r"llama-?4", {}, 202048, 8, num_shared_experts=1, interleaved_moe=2, d_ff_dense=16384),
    Family("Llama 3", r"llama-?_? ?3", {}, 128256, 8),
    Family("Llama", r"llama|vicuna|alpaca|yi-|openllama", {}, 32000),
    Family("Mixtral", r"mixtral", {}, 32000, 8),
    Family("Mistral", r"mistral", {}, 32000, 8),
    Family("Grok", r"grok", {}, 131072, 8),
    Family("Nemotron", r"nemotron", {"gated_mlp": False, "norm": "layernorm", "norm_bias": True}, 256000),
    Family("MPT", r"\bmpt|mosaic", {"gated_mlp": False, "norm": "layernorm", "position": "learned",
                                  "tied_embeddings": True}, 50368),
    Family("InternLM", r"internlm(?!-?2)", {"qkv_bias": True, "attention_bias": True}, 103168),
    Family("Gemma", r"gemma", {"tied_embeddings": True, "head_dim": 256}, 256000),
    Family("Falcon", r"falcon", {"gated_mlp": False, "norm": "layernorm", "norm_bias": True, "parallel_attention": True,
                                 "norms_per_layer": 1, "tied_embeddings": True}, 65024),
    Family("PaLM", r"\bpalm", {"parallel_attention": True, "norms_per_layer": 1, "tied_embeddings": True}, 256000, 1),
    Family("BLOOM", r"bloom", {**_GPT, "position": "alibi", "embedding_norm": True}, 250880),
    Family("GPT-NeoX", r"neox|pythia", {**_GPT, "position": "rotary", "tied_embeddings": False}, 50432),
    Family("GPT-J", r"gpt-?j", {**_GPT, "position": "rotary", "tied_embeddings": False, "parallel_attention": True,
                               "norms_per_layer": 1}, 50400),
    Family("OPT", r"\bopt\b|opt-\d", _GPT, 50272),
    Family("GPT", r"gpt|megatron|mt-?nlg|turing|\bbert\b|chinchilla|gopher|t-?nlg|cerebras", _GPT, 50257),
)  # fmt: skip
"""In order; a model of no known family is judged by its numbers (`architecture`)."""

KNOWN_SIZES: tuple[tuple[str, tuple[int, int, int, int, int]], ...] = (
    (r"gpt-?3[-_ ]?5b|gpt-?5b", (24, 4096, 16384, 32, 32)),
    (r"gpt-?3[-_ ]?20b", (44, 6144, 24576, 48, 48)),
    (r"nemotron(?:-?[34])?-8b", (32, 4096, 16384, 32, 32)),
    (r"nemotron(?:-?[34])?-22b", (40, 6144, 24576, 48, 48)),
)
"""Layers, width, MLP width, heads and key-value heads where a row gives only a name.

From NVIDIA NeMo's configuration classes GPTConfig5B, GPTConfig20B, Nemotron3Config8B and Nemotron3Config22B; with
them the printed model FLOP per token of ``nemo_docs`` come out within 0.3 % (a test checks it).
"""


def family_of(model_name: str) -> Family | None:
    """Return the family that a model's name belongs to."""
    name = model_name.lower()
    return next((family for family in FAMILIES if re.search(family.pattern, name)), None)


def known_size(model_name: str) -> tuple[int, int, int, int, int] | None:
    """Return layers, d_model, d_ff, heads and key-value heads of a model known by name alone."""
    name = model_name.lower()
    return next((size for pattern, size in KNOWN_SIZES if re.search(pattern, name)), None)
