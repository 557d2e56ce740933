"""Configuration files of published models: parameters as published, dimensions as in the catalog."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from walltime.catalog import DATASHEET, ModelRecord, parameter_set
from walltime.interop.huggingface import read_config
from walltime.workload.catalog import transformer
from walltime.workload.parameters import num_active_parameters, num_parameters

FILES = {path.stem: path for path in (Path(__file__).parents[1] / "data" / "huggingface").glob("*.json")}

# To the unit: the publishers' totals of the safetensors files, or of the model card. Tied tables counted once, without
# multi-token-prediction layers, the text model only.
PUBLISHED = {
    "DeepSeek-V2.5": 235_741_434_880,
    "DeepSeek-V3": 671_026_419_200,
    "Llama-2-7b-chat-hf": 6_738_415_616,
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.1-70B": 70_553_706_496,
    "Llama-3.1-405B": 405_853_388_800,
    "Mistral-7B-v0.1": 7_241_732_096,
    "Mixtral-8x7B-v0.1": 46_702_792_704,
    "Mixtral-8x22B-v0.1": 140_620_634_112,
    "Phi-3-mini-4k-instruct": 3_821_079_552,
    "Phi-3-medium-4k-instruct": 13_960_238_080,
    "Qwen2-7B-Instruct": 7_615_616_512,
    "Qwen2-72B-Instruct": 72_706_203_648,
    "Qwen3-0.6B": 596_049_920,
    "Qwen3-1.7B": 1_720_574_976,
    "Qwen3-8B": 8_190_735_360,
    "Qwen3-32B": 32_762_123_264,
    "Qwen3-30B-A3B": 30_532_122_624,
    "Qwen3-235B-A22B": 235_093_634_560,
    "Qwen3-Coder-480B-A35B-Instruct": 480_154_875_392,
    "bloom-560m": 559_214_592,
    "gemma-2b": 2_506_172_416,
    "gemma-2-2b": 2_614_341_888,
    "gemma-3-1b-it": 999_885_952,
    "gpt-neox-20b": 20_554_567_680,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "gpt2": 124_439_808,
    "gpt2-large": 774_030_080,
    "phi-2": 2_779_683_840,
}
# Billions as they are named, where only that is published, or a total that counts the tied table twice or the vision
# model too; within 5 %.
ROUNDED = {
    "Kimi-K2-Instruct": 1026,
    "Llama-4-Maverick-17B-128E-Instruct": 400,
    "Llama-4-Scout-17B-16E-Instruct": 109,
    "Nemotron-4-4B": 4.19,
    "falcon-7b-instruct": 7,
    "falcon-40b-instruct": 41.8,
    "gemma-3-27b-it": 27,
    "gpt-j-6b": 6.05,
    "mpt-7b": 6.7,
}
ACTIVE = {  # billions
    "DeepSeek-V2.5": 21,
    "DeepSeek-V3": 37,
    "Kimi-K2-Instruct": 32,
    "Llama-4-Maverick-17B-128E-Instruct": 17,
    "Llama-4-Scout-17B-16E-Instruct": 17,
    "Mixtral-8x7B-v0.1": 12.9,
    "Mixtral-8x22B-v0.1": 39,
    "Qwen3-30B-A3B": 3.3,
    "Qwen3-235B-A22B": 22,
    "Qwen3-Coder-480B-A35B-Instruct": 35,
}
IN_CATALOG = {
    "DeepSeek-V2.5": "deepseek-v2",
    "DeepSeek-V3": "deepseek-v3",
    "Kimi-K2-Instruct": "kimi-k2",
    "Llama-2-7b-chat-hf": "llama-2-7b",
    "Llama-3.1-8B": "llama-3.1-8b",
    "Llama-3.1-70B": "llama-3.1-70b",
    "Llama-3.1-405B": "llama-3.1-405b",
    "Llama-4-Maverick-17B-128E-Instruct": "llama-4-maverick",
    "Llama-4-Scout-17B-16E-Instruct": "llama-4-scout",
    "Mistral-7B-v0.1": "mistral-7b",
    "Mixtral-8x7B-v0.1": "mixtral-8x7b",
    "Mixtral-8x22B-v0.1": "mixtral-8x22b",
    "Qwen2-7B-Instruct": "qwen2.5-7b",
    "Qwen2-72B-Instruct": "qwen2.5-72b",
    "Qwen3-0.6B": "qwen3-0.6b",
    "Qwen3-1.7B": "qwen3-1.7b",
    "Qwen3-8B": "qwen3-8b",
    "Qwen3-32B": "qwen3-32b",
    "Qwen3-30B-A3B": "qwen3-30b-a3b",
    "Qwen3-235B-A22B": "qwen3-235b-a22b",
    "bloom-560m": "bloom-560m",
    "falcon-7b-instruct": "falcon-7b",
    "falcon-40b-instruct": "falcon-40b",
    "gemma-2b": "gemma-2b",
    "gemma-2-2b": "gemma-2-2b",
    "gpt-neox-20b": "gpt-neox-20b",
    "gpt-oss-20b": "gpt-oss-20b",
    "gpt-oss-120b": "gpt-oss-120b",
    "gpt2": "gpt2",
    "gpt2-large": "gpt2-large",
    "mpt-7b": "mpt-7b-released",
}


def test_every_file_has_a_published_count():
    assert set(FILES) == set(PUBLISHED) | set(ROUNDED)
    assert len(PUBLISHED) >= 20


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones_to_the_unit(name):
    assert num_parameters(read_config(FILES[name]).model, with_mtp=False) == PUBLISHED[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_parameters_are_near_the_rounded_published_ones(name):
    assert num_parameters(read_config(FILES[name]).model) == pytest.approx(ROUNDED[name] * 1e9, rel=0.05)


@pytest.mark.parametrize("name", ACTIVE)
def test_active_parameters_are_near_the_published_ones(name):
    active = num_active_parameters(read_config(FILES[name]).model, with_mtp=False)
    assert active == pytest.approx(ACTIVE[name] * 1e9, rel=0.03)


@pytest.mark.parametrize("name", IN_CATALOG)
def test_dimensions_are_those_of_the_catalog(name):
    made = read_config(FILES[name]).model
    assert replace(made, name="") == replace(transformer(IN_CATALOG[name]), name="")


def test_falcon_may_have_alibi(tmp_path):
    published = json.loads(FILES["falcon-7b-instruct"].read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(published | {"alibi": True}), encoding="utf-8")
    assert read_config(tmp_path).model.position == "alibi"
    assert read_config(FILES["falcon-7b-instruct"]).model.position == "rotary"


def test_mpt_without_alibi_has_learned_positions_and_may_have_biases(tmp_path):
    published = json.loads(FILES["mpt-7b"].read_text(encoding="utf-8"))
    trained = published | {"no_bias": False, "vocab_size": 50368, "attn_config": {"alibi": False}}

    def read(content):
        (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
        return replace(read_config(tmp_path).model, name="")

    assert read(trained) == replace(transformer("mpt-7b"), name="")
    assert read(trained | {"attn_config": {"alibi": False, "rope": True}}).position == "rotary"
    assert read(trained | {"attn_config": {"alibi": False}, "learned_pos_emb": False}).position == "none"
    shared = {"attn_type": "grouped_query_attention", "kv_n_heads": 8}
    assert read(trained | {"attn_config": shared}).num_kv_heads == 8
    assert read(trained | {"attn_config": {"attn_type": "multiquery_attention"}}).num_kv_heads == 1


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) & set(IN_CATALOG)))
def test_the_catalog_has_the_same_published_count(name):
    record = parameter_set(DATASHEET).get(ModelRecord, IN_CATALOG[name])
    assert record.published_parameters.value == PUBLISHED[name]


@pytest.mark.parametrize("name", FILES)
def test_nothing_in_a_published_file_is_unknown(name):
    notes = read_config(FILES[name]).notes
    assert not any("not known" in note for note in notes)


@pytest.mark.filterwarnings("ignore")  # of the oracle's own making
@pytest.mark.parametrize("name", FILES)
def test_transformers_builds_as_many_parameters(name):
    torch = pytest.importorskip("torch", reason="the oracle needs torch")
    transformers = pytest.importorskip("transformers", reason="the oracle needs transformers")
    content = json.loads(FILES[name].read_text(encoding="utf-8"))
    content = content.get("text_config", content)
    for other in ("quantization_config", "auto_map"):
        content.pop(other, None)
    kind = content.pop("model_type")
    config = transformers.AutoConfig.for_model({"kimi_k2": "deepseek_v3"}.get(kind, kind), **content)
    with torch.device("meta"):
        module = transformers.AutoModelForCausalLM.from_config(config)
    tensors = dict(module.named_parameters())
    tensors |= {key: tensor for key, tensor in module.named_buffers() if key.endswith("e_score_correction_bias")}
    model = read_config(FILES[name]).model
    assert num_parameters(model, with_mtp=False) == sum(tensor.numel() for tensor in tensors.values())
