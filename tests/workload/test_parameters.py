"""Parameter counts: by hand, against what publishers print, and for many models at once."""

from dataclasses import replace

import pytest

from walltime.catalog import ModelRecord, parameter_set
from walltime.workload import Training, Transformer, parameters
from walltime.workload.catalog import transformer
from walltime.workload.padding import padded_vocab_size
from walltime.workload.parameters import num_active_parameters, num_parameters, parameter_parts
from walltime.workload.stacking import stacked

RECORDS = parameter_set("datasheet").all(ModelRecord)
MODELS = [transformer(record.id) for record in RECORDS]
DENSE = Transformer("dense", num_layers=3, d_model=10, d_ff=40, num_heads=2, num_kv_heads=1, head_dim=4, vocab_size=7)
EXPERTS = {"num_experts": 4, "top_k": 2, "d_ff_expert": 5, "num_shared_experts": 1, "d_ff_shared": 6}
MOE = replace(DENSE, num_dense_layers=1, router_bias=True, shared_expert_gate=True, **EXPERTS)

# Printed sizes that a count from the dimensions need not round to; the files say why.
LOOSELY_PRINTED = {"grok-1": 0.006, "llama-1-65b": 0.002, "llama-4-scout": 0.012, "nemotron-4-15b": 0.005}


def printed_precision(value):
    """Half of the place of the last digit that is not zero: 405e9 is good to 0.5e9, 6738415616 to a half."""
    place = 1
    while value % (10 * place) == 0:
        place *= 10
    return place / 2


def test_printed_precision():
    assert printed_precision(405_000_000_000) == 500_000_000
    assert printed_precision(6_738_415_616) == 0.5


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_the_count_is_the_published_one(record):
    published = record.published_parameters
    count = num_parameters(transformer(record.id), with_mtp=False)
    assert isinstance(count, int)
    if record.id in LOOSELY_PRINTED:
        assert published.note
        assert published.value == pytest.approx(count, rel=LOOSELY_PRINTED[record.id])
        assert abs(count - published.value) > printed_precision(int(published.value))  # else: take it off the list
    else:
        assert abs(count - published.value) <= printed_precision(int(published.value))


def test_many_published_counts_are_exact():
    assert sum(printed_precision(int(record.published_parameters.value)) < 100 for record in RECORDS) >= 45


def test_a_dense_layer_by_hand():
    attention = 10 * 8 + 2 * 10 * 4 + 8 * 10
    assert parameters.attention_per_layer(DENSE) == attention
    assert parameters.dense_mlp_per_layer(DENSE) == 3 * 10 * 40
    assert parameters.dense_layer(DENSE) == attention + 1200 + 20
    assert num_parameters(DENSE) == 3 * (attention + 1200 + 20) + 10 + 2 * 70


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"tied_embeddings": True}, -70),
        ({"gated_mlp": False}, -3 * 400),
        ({"num_positions": 9}, 90),
        ({"norm_bias": True}, 3 * 20 + 10),
        ({"norms_per_layer": 4}, 3 * 20),
        ({"embedding_norm": True}, 10),
        ({"qkv_bias": True}, 3 * (8 + 4 + 4)),
        ({"attention_bias": True}, 3 * 10),
        ({"mlp_bias": True}, 3 * (80 + 10)),
        ({"head_bias": True}, 7),
        ({"qk_norm_dim": 4}, 3 * 8),
        ({"qk_norm_dim": 4, "qk_norm_heads": True}, 3 * 4 * (2 + 1)),
        ({"attention_sinks": True}, 3 * 2),
        ({"v_head_dim": 6}, 3 * (10 * 2 + 2 * 2 * 10)),
        ({"num_mtp_layers": 2}, 2 * (240 + 20 + 1200 + 200 + 30)),
        ({"sliding_window": 5, "num_sliding_layers": 3}, 0),
    ],
)
def test_what_each_field_adds(change, more):
    assert num_parameters(replace(DENSE, **change)) - num_parameters(DENSE) == more


def test_a_mixture_of_experts_by_hand():
    mlp = 4 * (10 + 1) + 4 * 3 * 10 * 5 + 3 * 10 * 6 + 10
    assert parameters.moe_layer(MOE) == 240 + 20 + mlp
    assert parameters.moe_layer(MOE, active=True) == 240 + 20 + mlp - 2 * 150
    assert num_parameters(MOE) == parameters.dense_layer(MOE) + 2 * parameters.moe_layer(MOE) + 10 + 140
    assert num_parameters(MOE) - num_active_parameters(MOE) == 2 * 2 * 150
    assert parameters.layer_parameters(MOE) == {
        "dense": parameters.dense_layer(MOE),
        "moe": parameters.moe_layer(MOE),
    }
    with_bias = replace(MOE, expert_bias=True)
    assert num_parameters(with_bias) - num_parameters(MOE) == 2 * 4 * (2 * 5 + 10)


def test_latent_attention_by_hand():
    latent = replace(DENSE, head_dim=6, v_head_dim=4, kv_lora_rank=5, qk_rope_head_dim=2, num_kv_heads=2)
    query, key_value, output = 10 * 12, 10 * 7 + 5 * 2 * (4 + 4), 8 * 10
    assert parameters.attention_per_layer(latent) == query + key_value + output + 5
    compressed = replace(latent, q_lora_rank=3)
    assert parameters.attention_per_layer(compressed) == 3 * 10 + 3 * 12 + 3 + key_value + output + 5
    biased = replace(compressed, qkv_bias=True)
    assert parameters.attention_per_layer(biased) - parameters.attention_per_layer(compressed) == 3 + 5 + 2


def test_active_parameters_that_publishers_print():
    without = {
        name: num_active_parameters(transformer(name), with_mtp=False) for name in ("deepseek-v3", "deepseek-v2")
    }
    assert without["deepseek-v3"] == pytest.approx(37e9, rel=0.02)
    assert without["deepseek-v2"] == pytest.approx(21e9, rel=0.02)
    assert num_active_parameters(transformer("mixtral-8x7b")) == pytest.approx(12.9e9, rel=0.005)
    assert num_active_parameters(transformer("qwen3-235b-a22b")) == pytest.approx(22e9, rel=0.02)
    assert num_active_parameters(transformer("gpt-oss-120b"), with_embedding=False) == pytest.approx(5.13e9, rel=0.001)
    assert parameters.mtp_layer(transformer("deepseek-v3")) == pytest.approx(11.5e9, rel=0.015)


def test_without_embedding():
    assert num_active_parameters(DENSE, with_embedding=False) == num_parameters(DENSE) - 70
    tied = replace(DENSE, tied_embeddings=True, num_positions=9)
    assert num_active_parameters(tied, with_embedding=False) == num_parameters(tied) - 90


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_parts_add_up(model):
    for active in (False, True):
        parts = parameter_parts(model, active=active)
        assert sum(parts.by_name().values()) == parts.total
        assert all(count >= 0 for count in parts.by_name().values())
    assert num_parameters(model) == parameter_parts(model).total
    assert num_parameters(model) - num_parameters(model, with_mtp=False) == parameter_parts(model).mtp
    assert num_active_parameters(model) <= num_parameters(model)


def test_many_models_at_once_count_as_one_by_one():
    together = stacked([Training(model, 2048, 1) for model in MODELS]).model
    assert parameters.parameter_parts(together).total.tolist() == [num_parameters(model) for model in MODELS]
    active = num_active_parameters(together, with_embedding=False).tolist()
    assert active == [num_active_parameters(model, with_embedding=False) for model in MODELS]


@pytest.mark.parametrize(("multiple", "padded"), [(128, 50304), (1024, 51200), (1, 50257)])
def test_padded_vocabulary(multiple, padded):
    assert padded_vocab_size(50257, multiple) == padded
    assert padded_vocab_size(padded, multiple) == padded
