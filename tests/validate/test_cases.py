"""Rows to cases: the models, plans and targets that the rules give, and why rows are skipped."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from walltime.validate.cases import Case, Skipped, case_of, cases_of, read_cases
from walltime.validate.frameworks import stack_of
from walltime.validate.measured import MeasuredRow, read_measured, shipped_files
from walltime.workload.catalog import transformer
from walltime.workload.flop import flop_parts, model_flop_per_token
from walltime.workload.parameters import num_parameters

SHARED = Path(__file__).parents[3] / "shared" / "measured"


@pytest.fixture(scope="module")
def shipped():
    return read_cases(shipped_files())


def test_rows_of_shipped_files_are_used_or_skipped_for_a_reason(shipped):
    cases, skipped = shipped
    used, left = Counter(c.source_id for c in cases), Counter(s.source_id for s in skipped)
    assert (used["dgxc_benchmarking"], left["dgxc_benchmarking"]) == (308, 7)
    assert (used["llmfoundry"], left["llmfoundry"]) == (216, 0)
    assert (used["megatron_bridge"], left["megatron_bridge"]) == (119, 5)
    assert (used["nemo_docs_longctx"], left["nemo_docs_longctx"]) == (15, 13)
    assert (used["primus_amd"], left["primus_amd"]) == (0, 13)
    assert all(s.reason for s in skipped)
    assert sum(used.values()) + sum(left.values()) == sum(len(read_measured(path)) for path in shipped_files())


@pytest.mark.skipif(not SHARED.is_dir(), reason="the bulk files of measured rows are not here")
def test_every_bulk_row_is_a_case():
    files = [
        SHARED / f"{name}.csv" for name in ("vtrain_single", "vtrain_multi", "nanotron_playbook", "vocab_parallel")
    ]
    cases, skipped = read_cases(files)
    assert (len(cases), len(skipped)) == (1440 + 109 + 31 + 40, 0)


def test_parameters_come_out_as_printed(shipped):
    """Where a source prints parameters to three digits or more, the model of the case has as many."""
    checked = 0
    for case in shipped[0]:
        printed = case.row.params_b
        precise = printed is not None and float(f"{printed:.2g}") != printed
        if not precise or case.row.model_name.startswith(("Mixtral", "Grok", "GPT 1.7B", "GPT 3.6B")):
            continue
        ours = num_parameters(case.training.model, with_mtp=False) / 1e9
        assert ours == pytest.approx(printed, rel=0.011), case.row.model_name
        checked += 1
    assert checked > 500


def test_printed_flop_come_out_of_the_models(shipped):
    """Model FLOP/s over tokens/s is FLOP per token: an oracle of the models of sources that count like us."""
    errors = {}
    for case in shipped[0]:
        row = case.row
        counted = {"megatron_bridge": "causal-attention"}.get(row.source_id, "full-attention")
        if row.model_tflops_per_gpu and row.tokens_per_s_per_gpu:
            printed = row.model_tflops_per_gpu * 1e12 / row.tokens_per_s_per_gpu
            ours = float(model_flop_per_token(case.training.model, case.training.seq_len, counted))
            errors.setdefault((row.source_id, row.model_name), []).append(ours / printed - 1)
    known = ("GPT-OSS", "Mixtral-8x22B")  # their sources count a window, and the output layer, in other ways
    medians = {key: abs(np.median(e)) for key, e in errors.items() if key[0] in ("megatron_bridge", "nemo_docs_2407")}
    medians |= {key: abs(np.median(e)) for key, e in errors.items() if key[0] in ("nemo_user_guide", "llmfoundry")}
    assert len(medians) > 25
    assert {key: e for key, e in medians.items() if not key[1].startswith(known) and e > 0.011} == {}


def test_hardware_flop_of_2021_are_four_passes_of_the_layers_and_three_of_the_head(shipped):
    for case in shipped[0]:
        if case.source_id == "megatron_lm_2020" or (case.source_id == "megatron_lm_2021" and case.row.step_time_s):
            parts = flop_parts(case.training.model, case.training.seq_len, causal=False)
            flop = (4 * parts.total - parts.head) * case.training.batch_tokens / case.num_gpus
            assert flop / case.step_time_s / 1e12 == pytest.approx(case.row.hfu_tflops_per_gpu, rel=5e-3)


def of(row, **changed):
    answer = case_of(row(**changed))
    assert isinstance(answer, Case), answer
    return answer


def why(row, **changed):
    answer = case_of(row(**changed))
    assert isinstance(answer, Skipped)
    return answer.reason


def test_a_layout_study_row(row):
    """A row as a study of layouts prints it: kernels in the notes, out of memory or not in the status."""
    case = of(row, notes="kernel=flash_attn2 + RMSNorm kernel", status="ok")
    assert case.features == {"attention": "flash2", "fused_norm": True}
    model = case.training.model
    assert (model.gated_mlp, model.norm, model.tied_embeddings, model.vocab_size) == (True, "rmsnorm", False, 128000)
    assert (case.plan.tp, case.plan.pp, case.plan.dp, case.plan.micro_batch) == (2, 2, 16, 1)
    assert (case.step_time_s, case.ran, case.assumptions) == (30.0, True, ())
    lost = of(row, status="oom", step_time_s=None)
    assert (lost.step_time_s, lost.ran) == (None, False)


def test_a_step_time_follows_from_throughput_else_from_utilisation(row):
    by_tokens = of(row, step_time_s=None, tokens_per_s_per_gpu=2000.0)
    assert by_tokens.step_time_s == pytest.approx(2048 * 2048 / 64 / 2000)
    flop = float(model_flop_per_token(by_tokens.training.model, 2048, "full-attention")) * 2048 * 2048 / 64
    by_mfu = of(row, step_time_s=None, mfu=0.5)
    assert by_mfu.step_time_s == pytest.approx(flop / (0.5 * 312e12))
    assert by_mfu.time.kind == "MFU"
    assert "not of which peak" in why(row, step_time_s=None, mfu=0.5, precision="fp8", gpu="H100")
    assert "neither time nor memory" in why(row, step_time_s=None)


def test_flop_are_counted_as_the_row_says(row):
    full, half = (
        of(row, step_time_s=None, model_tflops_per_gpu=150.0, notes=notes).step_time_s
        for notes in ("full (non-causal) attention", "attention counted causal")
    )
    scores = flop_parts(of(row).training.model, 2048, causal=False).attention_scores
    assert (full - half) * 150e12 == pytest.approx(3 * scores / 2 * 2048 * 2048 / 64)


def test_layers_as_words_say(row):
    model = of(row, notes="parallel transformer block; sliding window attention 512").training.model
    assert (model.parallel_attention, model.norms_per_layer) == (True, 1)
    assert (model.sliding_window, model.num_sliding_layers) == (512, 40)
    assert of(row, notes="tied embeddings").training.model.tied_embeddings


def test_missing_degrees_follow_from_the_others(row):
    assert of(row, dp=None).plan.dp == 16
    assert of(row, pp=None, dp=16).plan.pp == 2
    everything = of(row, tp=None, pp=None, dp=None, sharding="zero3")
    assert (everything.plan.tp, everything.plan.pp, everything.plan.dp) == (1, 1, 64)
    assert why(row, tp=None, pp=None, dp=None, sharding="zero1") == "tp and pp not stated"
    assert of(row, tp=None, pp=None, dp=None, notes="model_parallel_size(TP*PP)=16").plan.tp == 8


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"dp": 5}, "contradictory"),
        ({"micro_batch": None, "global_batch_seqs": 2056}, "contradictory"),
        ({"seq_len": None}, "seq_len not stated"),
        ({"global_batch_seqs": None}, "global batch not stated"),
        ({"n_layers": None}, "n_layers not stated"),
        ({"n_gpus": None}, "n_gpus not stated"),
        ({"vocab": None, "model_name": "mystery"}, "vocabulary not stated"),
        ({"gpu": "WSE-2"}, "accelerator 'WSE-2' is not modelled"),
        ({"precision": "tf32"}, "precision tf32 is not modelled"),
        ({"model_name": "Nemotron-H-56B (hybrid Mamba-2)"}, "not a pure transformer"),
        ({"n_experts": 8, "top_k": None}, "top_k not stated"),
        ({"notes": "task=sft; LoRA rank 16"}, "low-rank adapters"),
    ],
)
def test_rows_that_cannot_be_asked_say_why(row, changed, reason):
    assert reason in why(row, **changed)


def test_hybrid_and_group_sharding(row):
    alone = {"tp": 1, "pp": 1, "dp": 64}
    assert of(row, **alone, sharding="hsdp").plan.shard == 8
    assert of(row, **alone, sharding="hsdp").plan.sharding == "zero3"
    assert of(row, **alone, sharding="hsdp", notes="FSDP degree 16 of 64").plan.shard == 16
    assert of(row, **alone, notes="zero1 size 4").plan.shard == 4
    assert of(row, **alone, sharding="", notes="ZeRO-2").plan.sharding == "zero2"


def test_interleaving_recomputation_and_schedules(row):
    assert of(row, vpp=5).plan.vpp == 5
    assert of(row, notes="schedule=Interleaved 1F1B").plan.vpp == 2
    half = of(row, activation_recompute="selective", notes="AC=selective layer").plan
    assert (half.recompute, half.recompute_layers) == ("full", 0.5)
    assert of(row, notes="optimizer offload").plan.offload_optimizer
    assert of(row, notes="zero-bubble ZB-H2", vpp=2).plan.vpp == 1


def test_experts_keep_or_drop_tensor_parallelism(row):
    moe = {"model_name": "Mixtral-8x7B", "n_experts": 8, "top_k": 2, "ep": 8, "d_ff": 14336}
    assert of(row, **moe, framework="NeMo 24.07").plan.etp == 2
    assert of(row, **moe, framework="NeMo 25.07").plan.etp == 1
    assert of(row, **moe, framework="NeMo 25.07", notes="expert-TP=2").plan.etp == 2
    assert "ep 8 does not divide" in why(row, **moe, n_gpus=12, dp=3, global_batch_seqs=12)


def test_families_fill_in_what_has_no_column(shipped):
    models = {case.row.model_name: case.training.model for case in shipped[0]}
    deepseek = models["DeepSeek-V3-671B"]
    assert (deepseek.kv_lora_rank, deepseek.num_dense_layers, deepseek.d_ff, deepseek.d_ff_shared) == (
        512,
        3,
        18432,
        2048,
    )
    assert models["deepseekv3 truncated to 4 layers"].num_dense_layers == 1
    assert models["Llama-4-Maverick"].num_dense_layers == 24
    assert (models["GPT-OSS-120B"].num_sliding_layers, models["GPT-OSS-120B"].head_dim) == (18, 64)
    assert models["Qwen3-235B-A22B"].head_dim == 128
    assert not models["Nemotron4-15B"].gated_mlp
    assert models["MPT-7b"].tied_embeddings


def test_multi_token_prediction_is_trained_unless_the_row_says_otherwise(shipped):
    said = {
        case.row.notes: case.training.model.num_mtp_layers
        for case in shipped[0]
        if "DeepSeek-V3" in case.row.model_name
    }
    assert {layers for notes, layers in said.items() if "w/o MTP" in notes} == {0}
    assert {layers for notes, layers in said.items() if "w/o MTP" not in notes} == {1}


def test_unknown_models_are_judged_by_their_numbers(row):
    assert of(row, model_name="mystery").training.model.gated_mlp
    wide = {"model_name": "mystery", "d_ff": 20480, "params_b": None}
    assert not of(row, **wide).training.model.gated_mlp
    counted = num_parameters(of(row, **wide, vocab=50000).training.model) / 1e9
    assert not of(row, model_name="mystery", d_ff=20480, params_b=counted).training.model.gated_mlp
    assert of(row, model_name="mystery", d_ff=20480, params_b=18.0).training.model.gated_mlp
    untied = num_parameters(of(row).training.model) / 1e9
    tied = untied - 128000 * 5120 / 1e9
    assert of(row, params_b=round(tied, 3)).training.model.tied_embeddings
    assert not of(row, params_b=round(untied, 3)).training.model.tied_embeddings


def test_what_a_source_states_elsewhere_is_filled_in(shipped):
    plans = {(c.row.model_name, c.row.framework): c.plan for c in shipped[0] if c.source_id == "megatron_lm_2021"}
    april = plans["GPT 145B", "Megatron-LM (2021-04)"]
    assert (april.tp, april.pp, april.vpp, april.micro_batch) == (8, 8, 2, 2)
    assert plans["GPT 145B", "Megatron-LM (2021-01)"].vpp == 1
    stated = {c.row.framework: c.assumptions for c in shipped[0] if c.row.model_name == "GPT 145B"}
    assert stated["Megatron-LM (2021-04)"] == ()
    assert stated["Megatron-LM (2021-01)"] == ("micro_batch not stated: 2", "vpp not stated: 1")
    dp8 = [c for c in shipped[0] if c.source_id == "korthikanti2022" and c.num_gpus == 2240]
    assert {(c.training.batch_seqs, c.plan.vpp) for c in dp8} == {(2240, 3)}
    assert all("global_batch_seqs not stated: 2240" in c.assumptions for c in dp8)
    table5 = {
        c.row.activation_recompute: c for c in shipped[0] if c.source_id == "korthikanti2022" and c.num_gpus == 280
    }
    for case in dp8:  # eight times the batch on eight times the GPUs takes a little longer
        assert 1 < case.step_time_s / table5[case.row.activation_recompute].step_time_s < 1.06
    cp = {c.plan.cp_algorithm for c in shipped[0] if c.source_id == "simumax_b200" and c.plan.cp > 1}
    assert cp == {"all-to-all"}


def test_memory_is_gib_of_a_kind(row, shipped):
    assert of(row, mem_gb=64.0).memory_bytes == 64 * 2**30
    assert of(row, mem_gb=64.0, notes="mem in GiB = max_allocated (not reserved)").memory.kind == "allocated"
    assert of(row, mem_gb=64.0, notes="torch max reserved").memory.kind == "reserved"
    kinds = {c.source_id: c.memory.kind for c in shipped[0] if c.memory}
    assert kinds == {"simumax_b200": "allocated", "torchtitan": "reserved", "torchao": "reserved"}


def test_cases_do_not_depend_on_what_was_measured(row):
    """A rule that looks at the answer would make validation worthless."""
    slow, fast = of(row, step_time_s=90.0, mem_gb=70.0), of(row, step_time_s=18.0, mem_gb=7.0)
    for name in ("training", "plan", "machine", "stack", "features", "facts", "assumptions"):
        assert getattr(slow, name) == getattr(fast, name)


def test_cases_of_splits(row):
    cases, skipped = cases_of([row(), row(seq_len=None)])
    assert (len(cases), len(skipped), skipped[0].source_id) == (1, 1, "mine")


FORGET = st.sets(
    st.sampled_from(("tp", "pp", "vpp", "cp", "ep", "dp", "micro_batch", "n_kv_heads", "d_ff", "sharding"))
)
CHANGE = st.dictionaries(
    st.sampled_from(("tp", "pp", "dp", "n_gpus", "global_batch_seqs", "n_heads")), st.integers(1, 64)
)
WORDS = (
    "",
    "mbs=3",
    "ga=2",
    "grad_accum=4",
    "FSDP degree 3 of 8",
    "zbv",
    "yaml 64",
    "first 900 layers dense",
    "expert-TP=2",
)
NAMES = ("LLaMA 13B", "mystery", "DeepSeek-V3", "gpt-oss", "Llama-4", "MPT-1b", "OPT-175B", "Falcon-40B", "PaLM")
FRAMEWORKS = ("", "Megatron-LM", "torchtitan", "MaxText", "DeepSpeed ZeRO-3", "NeMo 24.07")
SHARDINGS = ("", "ddp", "zero1", "zero3", "hsdp")


@st.composite
def any_row(draw):
    """A row that agrees with itself, of which some columns are then forgotten or overwritten."""
    powers = st.sampled_from((1, 2, 4, 8))
    columns = {name: draw(powers) for name in ("tp", "pp", "vpp", "cp", "dp", "ep", "micro_batch")}
    columns["n_gpus"] = columns["tp"] * columns["pp"] * columns["cp"] * columns["dp"]
    columns["global_batch_seqs"] = columns["dp"] * columns["micro_batch"] * draw(powers)
    columns |= {"n_layers": 16, "d_model": 1024, "d_ff": 4096, "n_heads": 16, "n_kv_heads": 8, "vocab": 32000}
    if draw(st.booleans()):
        columns |= {"n_experts": 16, "top_k": 2}
    columns |= draw(CHANGE) | dict.fromkeys(draw(FORGET) - {"sharding"})
    words = {"notes": WORDS, "model_name": NAMES, "framework": FRAMEWORKS, "sharding": SHARDINGS}
    columns |= {name: draw(st.sampled_from(choice)) for name, choice in words.items()}
    return MeasuredRow(**columns, seq_len=64, gpu="H100", step_time_s=1.0)


@given(any_row())
def test_any_row_is_a_case_or_skipped_and_cases_are_whole(row):
    answer = case_of(row)
    if isinstance(answer, Skipped):
        assert answer.reason
        event("skipped")
        return
    event("case")
    plan, batch = answer.plan, answer.training.batch_seqs
    assert plan.num_gpus == row.n_gpus
    assert batch % (plan.dp * plan.micro_batch) == 0
    assert plan.tp * plan.cp * plan.dp % (plan.ep * plan.etp) == 0
    assert plan.shard == 0 or plan.dp % plan.shard == 0
    assert answer.step_time_s == 1.0


def test_a_row_faster_than_its_accelerator_is_skipped(row):
    assert isinstance(case_of(row()), Case)
    # 13 B parameters, 65,536 tokens on each of 64 A100 are 5 PFLOP: 17 s at 312 TFLOP/s
    for changed in ({"step_time_s": 15.0}, {"step_time_s": None, "tokens_per_s_per_gpu": 4400.0}):
        skipped = case_of(row(**changed))
        assert isinstance(skipped, Skipped)
        assert "contradictory: faster than the accelerator's peak" in skipped.reason
    fp8 = {"gpu": "H100-80GB", "step_time_s": 4.0}
    assert isinstance(case_of(row(**fp8)), Skipped)
    assert isinstance(case_of(row(**fp8, precision="fp8")), Case)


def test_a_row_with_twice_the_parameters_of_its_dimensions_is_skipped(row):
    assert isinstance(case_of(row(params_b=7.0)), Case)
    for params_b in (5.0, 40.0):
        assert f"contradictory: params_b={params_b:g}" in case_of(row(params_b=params_b)).reason


NO_DIMENSIONS = dict.fromkeys(("params_b", "n_layers", "d_model", "d_ff", "n_heads", "n_kv_heads", "vocab"))


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("llama-3.1-8b", "llama-3.1-8b"),
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
        ("Llama 3.1 8B", "llama-3.1-8b"),
        ("my own", None),
    ],
)
def test_a_row_without_dimensions_has_the_model_of_the_catalog(row, name, model):
    case = case_of(row(model_name=name, **NO_DIMENSIONS))
    assert (case.training.model if isinstance(case, Case) else None) == (model and transformer(model))
    assert isinstance(case, Case) or case.reason == "n_layers not stated"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"source_id": "aleph"}, "aleph-scaling"),
        ({"notes": "Aleph Alpha scaling"}, "aleph-scaling"),
        ({"notes": "trained with torchtitan", "source_id": "aleph"}, "torchtitan"),
        ({"notes": "ZeRO-1, weak scaling, Transformer Engine, FSDP"}, "generic"),
        ({"source_id": "megatron_lm_2021"}, "megatron-lm-2021"),
        ({"framework": "in-house", "source_id": "aleph", "notes": "torchtitan"}, "generic"),
        ({}, "generic"),
    ],
)
def test_notes_and_source_name_the_software_where_no_framework_is_given(row, changed, expected):
    assert stack_of(row(**({"framework": ""} | changed))) == expected
