"""Memory of a training step: parts add up, published laws hold exactly, more splitting never costs weights."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.engines.stack import Stack
from walltime.engines.transformer_memory import (
    ACTIVATIONS,
    NOT_ALLOCATED,
    PARTS,
    STATE,
    MemoryNumbers,
    memory_bytes,
    needed_bytes,
)
from walltime.physics import activations as act
from walltime.plan import Plan, PlanBatch, plan_warnings
from walltime.plan.stages import layers_before_stage, layers_of_fullest_stage
from walltime.workload import Training, Transformer
from walltime.workload import parameters as par
from walltime.workload.stacking import stacked

GPT = Transformer(
    "GPT", 24, 2048, 8192, 16, 16, 128, 51200, gated_mlp=False, tied_embeddings=True, norm="layernorm",
    position="learned", num_positions=2048, norm_bias=True, qkv_bias=True, attention_bias=True, mlp_bias=True,
)  # fmt: skip
LLAMA = Transformer("Llama", 32, 4096, 14336, 32, 8, 128, 128256)
MOE = Transformer(
    "MoE", 16, 2048, 8192, 16, 16, 192, 102400, v_head_dim=128, q_lora_rank=512, kv_lora_rank=256, qk_rope_head_dim=64,
    num_experts=32, top_k=4, d_ff_expert=1024, num_shared_experts=1, d_ff_shared=1024, num_dense_layers=1,
)  # fmt: skip
MEGATRON = Stack("megatron", "Megatron-LM", attention="fused-softmax", dropout=True, vocab_multiple=128)
FLASH = Stack("flash", "flash attention", vocab_multiple=128)
BARE = MemoryNumbers(
    reserve_bytes=0,
    workspace_bytes=0,
    fragmentation=0,
    cache=0,
    loss_bytes=10,
    compiled_loss_bytes=8,
    split_loss_bytes=12,
    score_bytes=2,
    fused_score_bytes=2,
    unfused_norm_bytes=2,
    eight_bit_input_bytes=1,
    eight_bit_weight_bytes=0,
    route_copies=2,
    key_value_copies=0,
    whole_layers=2,
    bucket_bytes=0,
    spare_gradient_bytes=0,
)
FULL = replace(BARE, reserve_bytes=1e9, workspace_bytes=1e8, fragmentation=0.02, cache=0.25, spare_gradient_bytes=2)


def parts_of(model=LLAMA, *, seq_len=4096, batch_seqs=64, stack=FLASH, numbers=BARE, **plan):
    batch = PlanBatch.of([Plan(**plan)])
    parts = memory_bytes(Training(model, seq_len, batch_seqs), batch, stack, numbers)
    return {name: float(part[0]) for name, part in parts.items()}


def activations(parts):
    return sum(parts[name] for name in ACTIVATIONS)


plans = st.builds(
    dict,
    tp=st.sampled_from([1, 2, 4, 8]),
    pp=st.sampled_from([1, 2, 4, 8]),
    cp=st.sampled_from([1, 2]),
    dp=st.sampled_from([4, 8]),
    ep=st.sampled_from([1, 2, 4]),
    micro_batch=st.sampled_from([1, 2]),
    sharding=st.sampled_from(["ddp", "zero1", "zero2", "zero3"]),
    recompute=st.sampled_from(["none", "selective", "full"]),
    schedule=st.sampled_from(["gpipe", "1f1b", "zb-h1", "zb-h2", "zb-v", "dualpipe"]),
    sequence_parallel=st.booleans(),
    precision=st.sampled_from(["bf16", "fp8", "fp32"]),
)
models = st.sampled_from([GPT, LLAMA, MOE])
stacks = st.sampled_from([MEGATRON, FLASH])


@given(models, stacks, plans)
def test_every_part_is_finite_and_they_are_what_is_needed_and_what_can_be_given_back(model, stack, plan):
    parts = parts_of(model, stack=stack, numbers=FULL, **plan)
    assert set(parts) == set(PARTS)
    assert all(np.isfinite(value) and value >= 0 for value in parts.values())
    needed = needed_bytes({name: np.array([value]) for name, value in parts.items()})[0]
    assert needed + parts["allocator_cache"] == pytest.approx(sum(parts.values()))


@given(models, stacks, st.lists(plans, min_size=2, max_size=5))
def test_a_batch_of_plans_gives_what_each_gives_alone(model, stack, several):
    same = [plan | {k: several[0][k] for k in ("sharding", "recompute", "schedule", "sequence_parallel", "precision")}
            for plan in several]  # fmt: skip
    together = memory_bytes(Training(model, 4096, 64), PlanBatch.of([Plan(**p) for p in same]), stack, FULL)
    alone = [parts_of(model, stack=stack, numbers=FULL, **plan) for plan in same]
    for name in PARTS:
        np.testing.assert_allclose(together[name], [parts[name] for parts in alone])


@given(st.lists(models, min_size=2, max_size=4), stacks, plans)
def test_stacked_models_give_what_each_gives_alone(several, stack, plan):
    training = stacked([Training(model, 4096, 64) for model in several])
    batch = PlanBatch.of([Plan(**plan)] * len(several))
    together = memory_bytes(training, batch, stack, FULL)
    for name in PARTS:
        alone = [parts_of(model, stack=stack, numbers=FULL, **plan)[name] for model in several]
        np.testing.assert_allclose(together[name], alone)


@pytest.mark.parametrize("degree", ["tp", "pp"])
@given(models, plans)
def test_more_tensor_or_pipeline_parallelism_never_needs_more_weights(degree, model, plan):
    plan |= {"schedule": "1f1b"}
    fewer = parts_of(model, stack=FLASH, **plan | {degree: 1})
    more = parts_of(model, stack=FLASH, **plan | {degree: 4})
    assert more["weights"] <= fewer["weights"]


@given(models, plans)
def test_more_sharding_never_needs_more_state(model, plan):
    plan |= {"pp": 1}  # with more stages, which of them is fullest may change
    kinds = [parts_of(model, **plan | {"sharding": kind}) for kind in ("ddp", "zero1", "zero2", "zero3")]
    states = [sum(parts[name] for name in STATE) for parts in kinds]
    assert states == sorted(states, reverse=True)
    assert kinds[0]["weights"] == kinds[2]["weights"]
    assert kinds[2]["gradients"] <= kinds[1]["gradients"]


@given(models, stacks, plans)
def test_more_recomputation_never_keeps_more(model, stack, plan):
    none, selective, full = (
        activations(parts_of(model, stack=stack, **plan | {"recompute": kind, "vpp": 1}))
        for kind in ("none", "selective", "full")
    )
    assert full < selective <= none


def test_korthikanti_layer_is_34_sbh_and_5_as2b():
    tokens, h, a, s = 3 * 2048, GPT.d_model, GPT.num_heads, 2048
    attention = act.attention(GPT, score_bytes=5, keys=s, dropout=True)
    whole = [attention, act.mlp(GPT, GPT.d_ff, dropout=True), act.norms(GPT)]
    assert sum(tokens * kept.per_rank(1, 1, 1) for kept in whole) == 34 * tokens * h + 5 * a * s * tokens
    t = 8
    only_tp = sum(tokens * kept.per_rank(t, 1, 1) for kept in whole)
    assert only_tp == tokens * h * (10 + 24 / t + 5 * a * s / (h * t))
    with_sp = sum(tokens * kept.per_rank(t, t, t) for kept in whole)
    assert with_sp == pytest.approx(tokens * h / t * (34 + 5 * a * s / h))


@pytest.mark.parametrize(
    ("recompute", "per_layer"),
    [("none", 34 + 5 * 16 * 2048 / 2048), ("selective", 34), ("full", 2)],
)
def test_korthikanti_totals_of_a_model_on_one_gpu(recompute, per_layer):
    parts = parts_of(GPT, seq_len=2048, stack=MEGATRON, recompute=recompute, micro_batch=4)
    sbh = 2048 * 4 * GPT.d_model
    layers = activations(parts) - parts["embedding_activations"]
    assert layers == 24 * per_layer * sbh
    assert parts["embedding_activations"] == 5 * sbh  # a mask at the embedding, two inputs at the end


@pytest.mark.parametrize("pp", [2, 4, 8])
def test_first_stage_keeps_as_many_layers_as_the_model_has(pp):
    """Korthikanti et al. (2022), eq. (5): L/p layers times p microbatches; interleaving adds 1 + (p-1)/(p v)."""
    one = parts_of(LLAMA, batch_seqs=64)
    kept = "mlp_activations"
    assert parts_of(LLAMA, pp=pp)[kept] == one[kept]
    interleaved = parts_of(LLAMA, pp=pp, vpp=2)[kept]
    assert interleaved == pytest.approx(one[kept] * (1 + (pp - 1) / (2 * pp)))
    assert parts_of(LLAMA, pp=pp, schedule="gpipe")[kept] == 64 / pp * one[kept]


def test_microbatches_in_flight_by_stage():
    index = np.arange(4)
    np.testing.assert_array_equal(act.microbatches_in_flight("1f1b", index, 4, 1, 16), [4, 3, 2, 1])
    np.testing.assert_array_equal(act.microbatches_in_flight("1f1b", index, 4, 1, 2), [2, 2, 2, 1])
    np.testing.assert_array_equal(act.microbatches_in_flight("zb-h2", index, 4, 1, 16), [7, 7, 7, 7])
    np.testing.assert_array_equal(act.microbatches_in_flight("dualpipe", index, 4, 1, 16), [5, 5, 5, 5])
    assert act.microbatches_in_flight("gpipe", 0, 1, 1, 16) == 1


def test_one_gpu_holds_the_whole_model_once():
    parts = parts_of(LLAMA)
    count = par.num_parameters(LLAMA)
    assert (parts["weights"], parts["gradients"], parts["optimizer"]) == (2 * count, 4 * count, 12 * count)
    assert parts["communication_and_prefetch_buffers"] == 0
    assert parts["logits_and_loss"] == 10 * 4096 * 128256


def test_tied_table_is_held_once_on_one_stage_and_on_both_ends_of_a_pipeline():
    table = 51200 * GPT.d_model
    assert parts_of(GPT)["weights"] == 2 * par.num_parameters(GPT)
    stages = [par.num_parameters(GPT) - table - GPT.num_positions * GPT.d_model - par.norm(GPT)]
    first = stages[0] / 2 + table + GPT.num_positions * GPT.d_model
    assert parts_of(GPT, pp=2)["weights"] == 2 * first


def test_experts_are_split_by_expert_parallelism_and_sharded_over_the_rest():
    one, eight = parts_of(MOE, dp=8), parts_of(MOE, dp=8, ep=8)
    routed = par.num_moe_layers(MOE) * par.routed_experts_per_layer(MOE)
    common = par.num_parameters(MOE) - routed
    assert eight["weights"] == 2 * (common + routed / 8)
    assert one["optimizer"] == pytest.approx(12 * (common + routed) / 8)
    assert eight["optimizer"] == pytest.approx(12 * (common / 8 + routed / 8))  # each expert on one rank: not sharded


def test_context_parallelism_splits_activations_like_a_shorter_sequence():
    whole, split = parts_of(LLAMA, seq_len=8192), parts_of(LLAMA, seq_len=8192, cp=4)
    assert activations(split) == activations(whole) / 4
    assert split["logits_and_loss"] == whole["logits_and_loss"] / 4
    ulysses = parts_of(LLAMA, seq_len=8192, cp=4, cp_algorithm="all-to-all")
    output = 2 * LLAMA.num_heads * LLAMA.head_dim
    assert ulysses["attention_activations"] - split["attention_activations"] == 32 * 2048 * output


def test_flash_attention_keeps_no_scores_and_selective_recomputation_drops_them():
    unfused = replace(FLASH, attention="unfused")
    scores = 32 * 4096 * LLAMA.num_heads * 4096 * 2
    statistics = 32 * 4096 * LLAMA.num_heads * 4
    kept = "attention_activations"
    assert parts_of(stack=unfused)[kept] - parts_of()[kept] == scores - statistics
    assert parts_of(stack=unfused, recompute="selective")[kept] == parts_of()[kept] - statistics


def test_fsdp_keeps_a_share_of_the_state_and_gathers_layers():
    numbers = replace(BARE, keeps_weight_shard=False)
    parts = parts_of(LLAMA, dp=64, sharding="zero3", numbers=numbers)
    assert parts["weights"] == 0
    assert parts["optimizer"] == pytest.approx(12 * par.num_parameters(LLAMA) / 64)
    layer = par.dense_layer(LLAMA)
    assert parts["communication_and_prefetch_buffers"] == layer * (2 * 2 + 2 + 4)
    whole = parts_of(LLAMA, dp=64, sharding="zero3", numbers=numbers, reshard=False)
    assert whole["communication_and_prefetch_buffers"] == 2 * par.num_parameters(LLAMA) + layer * (2 + 4)


def test_dualpipe_holds_twice_the_layers_and_both_ends():
    once, twice = parts_of(LLAMA, pp=4), parts_of(LLAMA, pp=4, schedule="dualpipe")
    ends = 2 * par.embedding(LLAMA) + par.norm(LLAMA)
    assert twice["weights"] == 2 * (2 * 8 * par.dense_layer(LLAMA) + ends)
    assert once["weights"] == 2 * (8 * par.dense_layer(LLAMA) + par.embedding(LLAMA))


@pytest.mark.parametrize(
    ("stack", "numbers", "tp", "per_token"),
    [
        (FLASH, BARE, 1, 10 * 128256),
        (replace(FLASH, compiled=True), BARE, 1, 8 * 128256),
        (FLASH, BARE, 4, 12 * 128512 / 4),  # padded to a multiple of 4 times 128
        (FLASH, replace(BARE, whole_logits=True), 4, 10 * 128512),
    ],
)
def test_loss_by_kernels_and_by_share_of_the_vocabulary(stack, numbers, tp, per_token):
    assert parts_of(stack=stack, numbers=numbers, tp=tp)["logits_and_loss"] == 4096 * per_token


def test_offloaded_optimizer_is_not_on_the_accelerator():
    assert parts_of(offload_optimizer=True)["optimizer"] == 0


def test_allocated_memory_leaves_out_what_the_allocator_and_the_libraries_hold():
    bare, full = parts_of(), parts_of(numbers=replace(FULL, workspace_bytes=0, spare_gradient_bytes=0))
    assert sum(value for name, value in full.items() if name not in NOT_ALLOCATED) == sum(bare.values())
    moving = sum(bare[name] for name in (*ACTIVATIONS, "logits_and_loss", "workspace"))
    assert full["fragmentation"] == pytest.approx(0.02 * moving)
    assert full["framework_reserve"] == 1e9


@pytest.mark.parametrize(("pp", "vpp", "fullest"), [(8, 3, 12), (8, 1, 10), (8, 4, 12), (16, 1, 5), (3, 2, 28)])
def test_the_fullest_stage_is_the_same_in_memory_in_time_and_in_words(pp, vpp, fullest):
    """80 layers: a stage holds whole chunks, each of as many layers as divide evenly, rounded up."""
    model = replace(LLAMA, num_layers=80, vocab_size=128)
    plan = Plan(tp=8, pp=pp, vpp=vpp, dp=2)
    one = parts_of(replace(model, num_layers=1), tp=8, dp=2)["weights"]
    two = parts_of(replace(model, num_layers=2), tp=8, dp=2)["weights"]
    held = parts_of(model, tp=8, pp=pp, vpp=vpp, dp=2)["weights"]
    assert round(held / (two - one)) == fullest
    said = [word for word in plan_warnings(plan, Training(model, 4096, 64)) if "layers do not divide" in word]
    assert said == [] if 80 % (pp * vpp) == 0 else said[0].endswith(f"the fullest holds {fullest}")


@given(st.integers(1, 200), st.integers(1, 32), st.integers(1, 5))
def test_stages_hold_all_layers_and_none_more_than_the_fullest(num_layers, pp, vpp):
    before = layers_before_stage(num_layers, pp, vpp, np.arange(pp + 1))
    held, most = np.diff(before), layers_of_fullest_stage(num_layers, pp, vpp)
    assert (before[0], before[-1], held.min() >= 0) == (0, num_layers, True)
    assert held[0] == held.max() == min(most, num_layers)
    assert most % vpp == 0
