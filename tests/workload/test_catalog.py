"""Models by name and from files: what is found, and how bad input is refused."""

from dataclasses import replace

import pytest

from walltime.catalog import ModelRecord, data_root, parameter_set
from walltime.problems import BadInput
from walltime.workload.catalog import transformer, transformer_from_file

ASKED_FOR = [
    f"{family}-{size}"
    for family, sizes in {
        "llama-1": ["7b", "13b", "33b", "65b"],
        "llama-2": ["7b", "13b", "70b"],
        "llama-3": ["8b", "70b"],
        "llama-3.1": ["8b", "70b", "405b"],
        "llama-3.2": ["1b", "3b"],
        "llama-4": ["scout", "maverick"],
        "mistral": ["7b"],
        "mixtral": ["8x7b", "8x22b"],
        "qwen2.5": ["0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b"],
        "qwen3": ["0.6b", "1.7b", "4b", "8b", "14b", "32b", "30b-a3b", "235b-a22b"],
        "deepseek": ["v2", "v2-lite", "v3"],
        "gpt2": ["medium", "large", "xl"],
        "gpt3": ["125m", "350m", "760m", "1.3b", "2.7b", "6.7b", "13b", "175b"],
        "gpt-oss": ["20b", "120b"],
        "nemotron-4": ["15b", "340b"],
        "gemma": ["2b", "7b"],
        "gemma-2": ["2b", "9b", "27b"],
        "mpt": ["125m", "350m", "760m", "1b", "3b", "7b", "13b", "30b", "70b"],
        "falcon": ["7b", "40b", "180b"],
        "bloom": ["560m", "1b1", "1b7", "3b", "7b1", "176b"],
        "opt": ["125m", "1.3b", "2.7b", "6.7b", "13b", "30b", "66b", "175b"],
        "megatron": ["1.7b", "3.6b", "7.5b", "18b", "22b", "39b", "76b", "145b", "175b", "310b", "1t"],
    }.items()
    for size in sizes
] + ["gpt2", "grok-1", "gpt-neox-20b", "kimi-k2", "mt-nlg-530b"]

SMALL = """
name = "small"
[dimensions]
num_layers = 2
d_model = 64
d_ff = 256
num_heads = 4
num_kv_heads = 4
head_dim = 16
vocab_size = 1000
gated_mlp = false
position = "learned"
num_positions = 128
"""


@pytest.mark.parametrize("name", ASKED_FOR)
def test_the_catalog_has(name):
    assert transformer(name).name == name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("meta-llama/Llama-3.1-405B", "llama-3.1-405b"),
        ("Llama 3.1 405B", "llama-3.1-405b"),
        ("MIXTRAL-8X7B", "mixtral-8x7b"),
        ("deepseek-ai/deepseek-v3", "deepseek-v3"),
        ("Qwen/Qwen3-235B-A22B", "qwen3-235b-a22b"),
        ("GPT 530B", "mt-nlg-530b"),
        ("Nemotron4-15B", "nemotron-4-15b"),
    ],
)
def test_other_names(alias, name):
    assert transformer(alias) == transformer(name)


@pytest.mark.parametrize(
    ("wrong", "near"), [("lama-3.1-405b", "llama-3.1-405b"), ("gpt3-17b", "gpt3-175b"), ("mixtral", "mixtral-8x7b")]
)
def test_a_misspelt_model_has_a_near_match(wrong, near):
    with pytest.raises(BadInput, match=f"unknown model '{wrong}'. Did you mean '{near}'.*walltime show models"):
        transformer(wrong)


def test_a_file_of_the_catalog_reads_the_same_as_a_file():
    for record in parameter_set("datasheet").all(ModelRecord):
        model = transformer_from_file(data_root() / "models" / f"{record.id}.toml")
        assert replace(model, name=record.id) == transformer(record.id)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    model = transformer_from_file(path)
    assert (model.name, model.num_layers, model.gated_mlp, model.position) == ("small", 2, False, "learned")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_layers = 2", "num_layer = 2", r"unknown field 'num_layer'\. Did you mean 'num_layers'"),
        ("num_layers = 2\n", "", r"missing in \[dimensions\]: num_layers\."),
        ("num_layers = 2\n", "num_layers = 2.0\n", r"num_layers=2\.0 must be a whole number"),
        ("num_layers = 2\n", "num_layers = true\n", "num_layers=True must be a whole number"),
        ("num_layers = 2\n", "num_layers = -2\n", "num_layers=-2 must be a whole number"),
        ("num_layers = 2\n", "num_layers = 0\n", "num_layers=0 must be a whole number of at least 1"),
        ("num_layers = 2\n", f"num_layers = {10**18}\n", "num_layers=1000000000000000000 must be a whole number from"),
        ("gated_mlp = false", "gated_mlp = 0", "gated_mlp=0 must be true or false"),
        ('position = "learned"', 'position = "learnt"', "unknown position 'learnt'. Did you mean 'learned'"),
        ('position = "learned"', "position = 1", "unknown position 1"),
        ("num_kv_heads = 4", "num_kv_heads = 3", "num_kv_heads=3 does not divide num_heads=4"),
        ('name = "small"', 'nam = "small"', "unknown key 'nam'. Did you mean 'name'"),
        ('name = "small"', "name = 3", "name=3 must be text"),
        ('name = "small"\n', "", "bad.toml: the key name is missing"),
        ("[dimensions]", "", r"unknown key 'num_layers'.*\[dimensions\]"),
        ("[dimensions]", "[dimension]", "unknown key 'dimension'. Did you mean 'dimensions'"),
        ("num_layers = 2", "num_layers = ", "not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_the_field(tmp_path, old, new, message):
    path = tmp_path / "bad.toml"
    assert old in SMALL
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(BadInput, match=message) as refusal:
        transformer_from_file(path)
    assert "bad.toml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_dimensions_at_all(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('name = "nothing"\n')
    with pytest.raises(BadInput, match=r"the table \[dimensions\] is missing\. Needed in it: num_layers, d_model"):
        transformer_from_file(path)


def test_no_such_file(tmp_path):
    with pytest.raises(BadInput, match="cannot read"):
        transformer_from_file(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("kv_lora_rank = 8", "kv_lora_rank=8 needs qk_rope_head_dim"),
        ("top_k = 2", "top_k=2 needs num_experts"),
        ("num_shared_experts = 1", "num_shared_experts=1 needs num_experts"),
        ("sliding_window = 64", "sliding_window=64 needs num_sliding_layers"),
    ],
)
def test_a_dimension_that_needs_another_is_refused_without_it(tmp_path, lines, said):
    path = tmp_path / "small.toml"
    path.write_text(SMALL + lines + "\n")
    with pytest.raises(BadInput, match=said):
        transformer_from_file(path)
