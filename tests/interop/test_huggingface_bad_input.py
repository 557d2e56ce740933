"""Broken and foreign configuration files: one line that names file, key and value, never a traceback or nonsense."""

import copy
import json
import math
from pathlib import Path

import pytest

import walltime as wt
from walltime.interop.huggingface import read_config
from walltime.problems import BadInput
from walltime.workload.parameters import num_parameters

FOLDER = Path(__file__).parents[1] / "data" / "huggingface"
FILES = sorted(FOLDER.glob("*.json"))
LLAMA = json.loads((FOLDER / "Llama-3.1-8B.json").read_text(encoding="utf-8"))
MIXTRAL = json.loads((FOLDER / "Mixtral-8x7B-v0.1.json").read_text(encoding="utf-8"))
QWEN_MOE = json.loads((FOLDER / "Qwen3-30B-A3B.json").read_text(encoding="utf-8"))
QWEN3 = json.loads((FOLDER / "Qwen3-8B.json").read_text(encoding="utf-8"))
GEMMA2 = json.loads((FOLDER / "gemma-2-2b.json").read_text(encoding="utf-8"))
FALCON = json.loads((FOLDER / "falcon-40b-instruct.json").read_text(encoding="utf-8"))
MPT = json.loads((FOLDER / "mpt-7b.json").read_text(encoding="utf-8"))
DEEPSEEK = json.loads((FOLDER / "DeepSeek-V3.json").read_text(encoding="utf-8"))
LLAMA4 = json.loads((FOLDER / "Llama-4-Scout-17B-16E-Instruct.json").read_text(encoding="utf-8"))["text_config"]
OPT = {"model_type": "opt", "hidden_size": 64, "ffn_dim": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
OPT |= {"vocab_size": 100}
MISSING = object()
ALL_LAYERS = ["full_attention"] * 26


def changed(content, changes):
    return {key: value for key, value in (content | changes).items() if value is not MISSING}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"model_type": "llama",}', "not valid JSON"),
        ('{"hidden_size": 2, "hidden_size": 4}', "the key hidden_size is there twice, as 2 and 4"),
        ("[]", "must be a JSON object"),
        ('"llama"', "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("{}", "the key model_type is missing. Valid: bloom, "),
        ('{"architectures": ["LlamaForCausalLM"]}', "the key model_type is missing"),
        ('{"model_type": "lama"}', "unknown model_type 'lama'. Did you mean 'llama'?"),
        ('{"model_type": "qwen4_moe"}', "Did you mean 'qwen3_moe'?"),
        ('{"model_type": 7}', "unknown model_type 7"),
        ('{"model_type": ["llama"]}', "unknown model_type ['llama']"),
        ('{"model_type": "t5"}', "unknown model_type 't5'"),
        ('{"model_type": "gemma3", "text_config": 3}', "text_config=3 must be a table"),
        ('{"model_type": "gemma3", "text_config": {}}', "the key text_config.model_type is missing"),
        ('{"model_type": "llava", "text_config": {"model_type": "clip"}}', "unknown text_config.model_type 'clip'"),
        ('{"model_type": "llava", "text_config": {"model_type": "llama"}}', "key text_config.num_hidden_layers is mis"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xfe{", "not a UTF-8 text file"),
        ('{"model_type": "llama", "hidden_size": 1' + "0" * 5000 + "}", "not valid JSON"),
    ],
)
def test_broken_files_are_refused(text, said, file):
    with pytest.raises(BadInput) as refused:
        read_config(file("config.json", text))
    assert "config.json: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("base", "changes", "said"),
    [
        (LLAMA, {"hidden_size": MISSING}, "the key hidden_size is missing"),
        (LLAMA, {"intermediate_size": MISSING}, "the key intermediate_size is missing"),
        (LLAMA, {"hidden_size": "4096"}, "hidden_size='4096' must be a whole number"),
        (LLAMA, {"hidden_size": 4096.0}, "hidden_size=4096.0 must be a whole number"),
        (LLAMA, {"hidden_size": None}, "hidden_size=None must be a whole number"),
        (LLAMA, {"hidden_size": True}, "hidden_size=True must be a whole number"),
        (LLAMA, {"hidden_size": -1}, "hidden_size=-1 must be a whole number of at least 1"),
        (LLAMA, {"hidden_size": math.nan}, "hidden_size=nan must be a whole number"),
        (LLAMA, {"vocab_size": 10**30}, "vocab_size=1000000000000000000000000000000 must be at most"),
        (LLAMA, {"num_hidden_layers": 0}, "num_hidden_layers=0 must be a whole number of at least 1"),
        (LLAMA, {"num_key_value_heads": 5}, "num_key_value_heads=5 does not divide the 32 attention heads"),
        (LLAMA, {"num_attention_heads": 24, "num_key_value_heads": 8}, "num_attention_heads=24 does not divide"),
        (LLAMA, {"tie_word_embeddings": "yes"}, "tie_word_embeddings='yes' must be true or false"),
        (LLAMA, {"is_encoder_decoder": True}, "is_encoder_decoder=true is not supported"),
        (LLAMA, {"layer_types": ["linear_attention"] * 32}, "layer_types='linear_attention' is not supported"),
        (MIXTRAL, {"num_experts_per_tok": 9}, "num_experts_per_tok=9 is more than the 8 experts"),
        (MIXTRAL, {"num_experts": 4}, "num_experts=4 contradicts num_local_experts=8"),
        (QWEN_MOE, {"mlp_only_layers": [48]}, "mlp_only_layers=[48] must be a list of layers from 0 to 47"),
        (QWEN_MOE, {"mlp_only_layers": "none"}, "mlp_only_layers='none' must be a list"),
        (QWEN_MOE, {"decoder_sparse_step": 100}, "decoder_sparse_step=100 leaves none of the 48 layers with experts"),
        (GEMMA2, {"layer_types": [*ALL_LAYERS, "full_attention"]}, "27 entries for 26 layers"),
        (GEMMA2, {"layer_types": [*ALL_LAYERS[1:], "mamba"]}, "layer_types='mamba' is not supported"),
        (GEMMA2, {"layer_types": [*ALL_LAYERS[1:], "sliding_attention"], "sliding_window": None}, "sliding_window"),
        (QWEN3, {"layer_types": ["foo"] * 36}, "layer_types='foo' is not supported"),
        (QWEN3, {"layer_types": ["full_attention"] * 3}, "3 entries for 36 layers"),
        (GEMMA2, {"layer_types": "full"}, "layer_types='full' must be a list of texts"),
        (FALCON, {"num_kv_heads": 7}, "num_kv_heads=7 does not divide the 128 attention heads"),
        (FALCON, {"num_ln_in_parallel_attn": 3}, "num_ln_in_parallel_attn=3 must be 1 or 2"),
        (MPT, {"attn_config": {"attn_type": "flash"}}, "unknown attn_config.attn_type 'flash'"),
        (MPT, {"attn_config": {"attn_type": "grouped_query_attention"}}, "needs the key kv_n_heads"),
        (MPT, {"attn_config": {"qk_ln": True}}, "attn_config.qk_ln=true is not supported"),
        (MPT, {"attn_config": 4}, "attn_config=4 must be a table"),
        (MPT, {"norm_type": "batchnorm"}, "unknown norm_type 'batchnorm'"),
        (OPT, {"word_embed_proj_dim": 32}, "word_embed_proj_dim=32 is not supported. Valid: hidden_size, 64"),
        (OPT, {"do_layer_norm_before": False}, "do_layer_norm_before=false is not supported"),
        (LLAMA4, {"no_rope_layers": [1, 2]}, "no_rope_layers=[1, 2] must be a list of 0 or 1 for each of 48 layers"),
        (DEEPSEEK, {"first_k_dense_replace": 61}, "first_k_dense_replace=61 leaves none of the 61 layers with experts"),
        (DEEPSEEK, {"topk_method": "random"}, "unknown topk_method 'random'"),
        (DEEPSEEK, {"kv_lora_rank": None}, "kv_lora_rank=None must be a whole number"),
    ],
)
def test_values_that_cannot_be_are_refused_by_key(base, changes, said, file):
    path = file("config.json", json.dumps(changed(base, changes)))
    with pytest.raises(BadInput) as refused:
        read_config(path)
    assert f"{path}: " in str(refused.value)
    assert said in str(refused.value)


STRANGE = (None, "x", "", "\n", -1, 0, 1, 7, 1.5, True, False, [], [1], ["x"], {}, {"a": 1}, 10**15, 10**30, math.nan)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_strange_values_are_refused_or_give_a_model(path, file):
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, value in [(key, value) for key in read_config(path).used for value in STRANGE]:
        mutated = copy.deepcopy(content)
        mutated.get("text_config", mutated)[key] = value
        said = outcome(file("config.json", json.dumps(mutated)))
        assert "config.json: " in said or int(said) > 0, (key, value, said)


def outcome(path):
    try:
        return str(num_parameters(read_config(path).model))
    except BadInput as problem:
        return str(problem)


def test_what_is_left_out_or_not_known_is_said(file):
    mixed = LLAMA | {"num_hidden_memories": 3, "odd": False, "quantization_config": {"quant_method": "fp8"}}
    imported = read_config(file("config.json", json.dumps(mixed)))
    assert [note.partition("config.json: ")[2] for note in imported.notes] == [
        "quantization_config is left out: the precision is that of the estimate",
        "keys of llama that are not known, and left out: num_hidden_memories=3",
    ]
    assert {"num_hidden_memories", "odd", "rope_theta"} <= set(imported.ignored)


def test_sizes_that_are_taken_from_transformers_are_said():
    (_, taken) = read_config(FOLDER / "gemma-3-27b-it.json").notes
    assert taken.endswith("not given, so as gemma3_text has it in transformers: vocab_size=262208")


@pytest.mark.parametrize(
    ("content", "path", "name"),
    [
        (LLAMA | {"_name_or_path": "meta-llama/Llama-3.1-8B"}, "config.json", "Llama-3.1-8B"),
        (LLAMA | {"_name_or_path": "./"}, "mine.json", "mine"),
        (LLAMA | {"_name_or_path": 4}, "mine.json", "mine"),
        (LLAMA, "a model/config.json", "a model"),
        (LLAMA | {"_name_or_path": "a/b\n c"}, "config.json", "b c"),
    ],
)
def test_a_model_is_called_by_its_file_or_folder(content, path, name, tmp_path):
    place = tmp_path / path
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(content), encoding="utf-8")
    assert read_config(place).model.name == name
    if place.name == "config.json":
        assert read_config(place.parent).model.name == name


def test_from_python(file):
    assert wt.model(str(FOLDER / "Llama-3.1-8B.json")).num_kv_heads == 8
    strange = file("config.json", json.dumps(LLAMA | {"strange": 1}))
    with pytest.warns(UserWarning, match="not known, and left out: strange=1"):
        assert wt.model(str(strange.parent)).num_layers == 32


# From the command line

RUN = ("--on", "8xh100-sxm", "--batch", "8", "--seq-len", "4096", "--sharding", "zero3", "--recompute", "full")


def test_estimate_is_that_of_the_catalog(call):
    ours = call("estimate", FOLDER / "Llama-3.1-8B.json", *RUN, "--json").json()
    theirs = call("estimate", "llama-3.1-8b", *RUN, "--json").json()
    assert ours["step_time_s"] == theirs["step_time_s"]
    assert ours["memory_bytes_per_gpu"] == theirs["memory_bytes_per_gpu"]


def test_estimate_takes_a_folder_and_says_its_notes(call, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(json.dumps(LLAMA | {"strange": 1}), encoding="utf-8")
    for given in ("mine", "mine/", tmp_path / "mine"):
        done = call("estimate", given, *RUN)
        assert done.out.startswith("mine: 8.03B parameters")
        assert "note: " in done.err
        assert "strange=1" in done.err
    assert any("strange=1" in warning for warning in call("estimate", "mine", *RUN, "--json").json()["warnings"])


def test_a_run_file_may_name_a_config(call, file):
    file("config.json", json.dumps(LLAMA))
    run = file(
        "run.toml", 'model = "config.json"\non = "8xh100-sxm"\nbatch = 8\nrecompute = "full"\nsharding = "zero3"'
    )
    assert call("estimate", run).code == 0


@pytest.mark.parametrize(
    ("given", "content", "said"),
    [
        ("nothing.json", None, "cannot read 'nothing.json'"),
        ("some/model", None, "unknown model 'some/model': neither in the catalog"),
        ("config.json", "{", "config.json: not valid JSON"),
        ("config.json", '{"model_type": "lama"}', "Did you mean 'llama'?"),
        ("config.json", json.dumps(LLAMA | {"hidden_size": "big"}), "config.json: hidden_size='big' must be a whole"),
    ],
)
@pytest.mark.parametrize("command", [("estimate",), ("show", "models")])
def test_the_command_line_refuses_in_one_line(command, given, content, said, call, file):
    if content:
        file(given, content)
    rest = RUN if command == ("estimate",) else ()
    assert said in call(*command, given, *rest).refused()


def test_show_models_confirms_what_was_read(call):
    done = call("show", "models", FOLDER / "DeepSeek-V3.json")
    assert "671,026,419,200" in done.out
    assert "same_dimensions_as" in done.out
    assert "deepseek-v3\n" in done.out
    assert "quantization_config is left out" in done.err
    shown = call("show", FOLDER / "gemma-3-27b-it.json", "--json").json()
    rows = {row["number"]: row for row in shown["rows"]}
    assert rows["config.vocab_size"]["kind"] == "default"
    assert rows["config.hidden_size"]["value"] == 5376
    assert "rope_scaling" in rows["config keys without effect"]["value"]
    assert len(shown["warnings"]) == 2


def test_show_models_takes_a_toml_file_too(call, file):
    sizes = "num_layers = 2\nd_model = 64\nd_ff = 128\nnum_heads = 4\nnum_kv_heads = 2\nhead_dim = 16\nvocab_size = 100"
    path = file("mine.toml", f'name = "mine"\n[dimensions]\n{sizes}')
    assert "no model of the catalog" in call("show", "models", path).out
