"""`walltime estimate` for real models: what it prints, refuses and warns of, and the same from Python."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import walltime as wt
from walltime.engines import transformer
from walltime.engines.stack import stack
from walltime.plan import PlanBatch
from walltime.problems import BadInput
from walltime.report.transformer import PARTS
from walltime.workload import Training

LLAMA = ("estimate", "llama-3.1-405b", "--on", "1024xh100-sxm", "--tp=8", "--pp=16", "--seq-len=8192", "--batch=1024")
FITS = (*LLAMA, "--cp=4")
SMALL = ("estimate", "llama-2-7b", "--on", "64xh100-sxm", "--batch=256", "--tp=2")
GPT = ("estimate", "gpt3-175b", "--on", "1536xa100-sxm-80gb", "--tp=8", "--pp=16", "--batch=1536")
MOE = ("estimate", "deepseek-v3", "--on", "1024xh100-sxm", "--pp=16", "--batch=8192", "--recompute")


def answer(call, *args):
    """The document of an estimate that fits."""
    result = call(*args, "--json")
    assert result.code == 0, result.err
    return result.json()


# What it prints


def test_a_report_has_time_utilisation_memory_parts_and_rows_nearby(walltime):
    result = walltime(*FITS, "--tokens", "15T")
    assert (result.code, "Traceback" in result.err) == (0, False)
    for said in (
        "llama-3.1-405b: 405.9B parameters",
        "1,024 sequences of 8,192 tokens, 8,388,608 tokens a step",
        "on 1,024 x DGX H100 SuperPOD (nvlink 450 GB/s, infiniband 50 GB/s, one way), stack megatron-core",
        "plan: tp 8 cp 4 pp 16 dp 2",
        "[lower ",
        "MFU",
        "HFU",
        "FLOP by the convention causal-attention",
        "tokens/s",
        "per accelerator",
        "usable on the fullest accelerator: fits",
        "15T tokens, 1,788,139 steps:",
        "days",
        "GPU-hours",
        "where the time goes",
        "matmuls",
        "pipeline bubble",
        "memory of the fullest accelerator",
        "attention activations",
        "needed",
        "nearest measured rows",
        "Llama-3.1-405B",
        "next: ",
    ):
        assert said in result.out
    assert not re.search(r"\b(nan|inf)\b", result.out)


def test_the_document_adds_up(call):
    document = answer(call, *FITS, "--tokens=15T")
    assert sum(document["parts_s"].values()) == pytest.approx(document["step_time_s"])
    assert set(document["parts_s"]) == set(PARTS)
    assert document["lower_s"] <= document["step_time_s"] <= document["upper_s"]
    assert 0 < document["utilization"] <= document["hardware_utilization"] <= 1
    tokens = document["inputs"]["batch_tokens"]
    assert tokens == 8192 * 1024
    assert document["tokens_per_s"] == pytest.approx(tokens / document["step_time_s"])
    assert document["tokens_per_s_per_gpu"] == pytest.approx(document["tokens_per_s"] / 1024)
    rate = document["step_flop"] / document["step_time_s"] / (1024 * document["peak_flop_per_s"])
    assert rate == pytest.approx(document["utilization"])
    run = document["run"]
    assert run["num_steps"] == pytest.approx(15e12 / tokens)
    assert run["ideal_run_time_s"] == pytest.approx(run["num_steps"] * document["step_time_s"])
    assert run["run_time_s"] == pytest.approx(run["ideal_run_time_s"] / document["account"]["effective_share"])
    assert run["gpu_hours"] == pytest.approx(run["run_time_s"] * 1024 / 3600)


def test_inputs_are_resolved(call):
    document = answer(call, *FITS)
    inputs = document["inputs"]
    assert (inputs["engine"], inputs["parameters"], inputs["convention"]) == (
        "transformer",
        "datasheet",
        "causal-attention",
    )
    assert inputs["model"]["num_layers"] == 126
    assert inputs["stack"]["id"] == "megatron-core"
    assert inputs["tokens"] is None
    assert document["run"] is None
    plan = document["plan"]
    assert {name: plan[name] for name in ("tp", "cp", "pp", "dp", "num_gpus")} == {
        "tp": 8, "cp": 4, "pp": 16, "dp": 2, "num_gpus": 1024,
    }  # fmt: skip
    assert plan["precision"] == "bf16"


def test_memory_adds_up_to_what_is_needed(call):
    document = answer(call, *FITS)
    parts = document["memory_bytes_per_gpu"]
    given_back = parts["allocator_cache"]
    assert sum(parts.values()) - given_back == pytest.approx(document["memory_needed_bytes_per_gpu"])
    assert document["fits"] is True
    assert document["memory_missing_bytes_per_gpu"] == 0
    assert document["memory_needed_bytes_per_gpu"] <= document["memory_capacity_bytes_per_gpu"]


def test_python_says_the_same(call):
    document = answer(call, *FITS)
    model, cluster = wt.model("llama-3.1-405b"), wt.cluster("h100-sxm", 1024)
    result = wt.estimate(model, cluster, wt.Plan(tp=8, cp=4, pp=16, dp=2), seq_len=8192, batch_seqs=1024)
    assert float(result.time_s[0]) == document["step_time_s"]
    assert result.cluster.parameters == "datasheet"
    assert "a step" in repr(result)
    assert result._repr_html_().startswith("<table>")
    assert result.to_rows()[0]["step_time_s"] == document["step_time_s"]


# Flags


EFFECTS = {
    "--schedule=zb-h1": "bubble",
    "--vpp=2": "bubble",
    "--recompute=full": "matmul",
    "--no-sequence-parallel": "memory_bound",
    "--attention=unfused": "attention",
    "--micro-batch=2": "bubble",
    "--precision=fp8": "matmul",
    "--stack=generic": "overhead",
    "--order=pp,tp,cp,ep,dp": "tp_comm",
    "--set=network.infiniband.bandwidth=0.5x": "pp_comm",
    "--set=accelerator.peak=2x": "matmul",
}
NOT_IN_MEGATRON = ("--schedule=zb-h1", "--order=pp,tp,cp,ep,dp")


@pytest.mark.parametrize("flag", EFFECTS)
def test_a_flag_changes_what_it_is_about(call, flag):
    flags = ["estimate", "gpt3-175b", "--on", "1024xh100-sxm", "--tp=8", "--pp=8", "--batch=1024", "--json"]
    flags += ["--stack=generic"] if flag in NOT_IN_MEGATRON else []
    before, after = call(*flags).json()["parts_s"], call(*flags, flag).json()["parts_s"]
    assert after[EFFECTS[flag]] != before[EFFECTS[flag]]


def test_a_stack_takes_what_it_has_of_what_is_left_open(call):
    flags = ("estimate", "llama-2-70b", "--on", "64xa100-sxm-80gb", "--pp=4", "--batch=256", "--json")
    assert call(*flags, "--stack=maxtext").json()["plan"]["schedule"] == "gpipe"
    assert call(*flags, "--stack=megatron-lm-2020").json()["plan"]["precision"] == "fp16"


def test_a_sharding_and_an_offload_change_memory(call):
    def memory(*flags):
        return call("estimate", "llama-2-7b", "--on", "64xh100-sxm", "--batch=256", "--json", *flags).json()[
            "memory_bytes_per_gpu"
        ]

    before = memory("--sharding=zero1")
    assert memory("--sharding=zero3")["gradients"] < before["gradients"]
    assert memory("--sharding=zero1", "--offload-optimizer")["optimizer"] == 0 < before["optimizer"]
    assert memory("--sharding=zero1", "--shard=8")["optimizer"] > before["optimizer"]


def test_the_stack_decides_what_is_left_open(call):
    plan = answer(call, "estimate", "llama-2-7b", "--on", "64xh100-sxm", "--batch=256", "--stack=fsdp1", "--recompute")[
        "plan"
    ]
    assert (plan["sharding"], plan["recompute"], plan["sequence_parallel"]) == ("zero3", "full", False)


@pytest.mark.parametrize(
    ("flags", "kind"), [((), "none"), (("--recompute",), "full"), (("--recompute", "selective"), "selective")]
)
def test_recompute_takes_a_kind_or_means_full(call, flags, kind):
    assert call(*SMALL, *flags, "--json").json()["plan"]["recompute"] == kind


def test_a_bare_recompute_before_the_model_does_not_swallow_it(call):
    document = answer(call, "estimate", "--recompute", *SMALL[1:])
    assert (document["inputs"]["model"]["name"], document["plan"]["recompute"]) == ("llama-2-7b", "full")


def test_a_prime_number_of_accelerators_works(call):
    document = answer(call, "estimate", "llama-2-7b", "--on", "4099xh100-sxm", "--batch", "4099", "--recompute")
    assert document["plan"]["dp"] == 4099


def test_batch_tokens_are_rounded_to_what_divides_and_said(call):
    document = answer(call, *FITS[:-2], "--cp=4", "--batch-tokens=16M")
    seqs = document["inputs"]["batch_seqs"]
    assert seqs % document["plan"]["dp"] == 0
    assert abs(seqs * 8192 - 16e6) <= 8192 * document["plan"]["dp"] / 2
    assert any("batch_tokens=16M is taken as" in said for said in document["warnings"])
    exact = answer(call, *FITS[:-2], "--cp=4", "--batch-tokens=16Mi")
    assert exact["inputs"]["batch_seqs"] == 2048
    assert not any("batch_tokens" in said for said in exact["warnings"])


def test_a_model_of_learned_positions_brings_its_sequence_length(call):
    document = call(*GPT, "--json").json()
    assert document["inputs"]["seq_len"] == 2048
    assert "seq_len is not given: sequences of 2,048 tokens" in document["warnings"]
    assert call(*SMALL, "--json").json()["inputs"]["seq_len"] == 4096


def test_explain_says_what_numbers_stand_on(call):
    result = call(*FITS, "--explain")
    for said in ("what is in it", "what accelerators sustain", "h100-sxm", "megatron-core", "collectives", "fitted on"):
        assert said in result.out
    assert "what is in it" not in call(*FITS).out


# Files

DIMENSIONS = """
[dimensions]
num_layers = 8
d_model = 1024
d_ff = 4096
num_heads = 16
num_kv_heads = 4
head_dim = 64
vocab_size = 32000
"""


def test_a_model_of_ones_own(call, file):
    path = file("mine.toml", f'name = "mine"{DIMENSIONS}')
    document = answer(call, "estimate", path, "--on", "8xh100-sxm", "--batch", "64")
    assert document["inputs"]["model"]["name"] == "mine"
    for missing in ("d_ff = 4096\n", "[dimensions]\n"):
        wrong = file("wrong.toml", f'name = "mine"{DIMENSIONS}'.replace(missing, ""))
        assert "dimensions" in call("estimate", wrong, "--on", "8xh100-sxm", "--batch", "64").refused()
    text = file("text.toml", f'name = "mine"{DIMENSIONS}'.replace("8\n", '"8"\n', 1))
    assert "num_layers='8'" in call("estimate", text, "--on", "8xh100-sxm", "--batch", "64").refused()
    slip = file("slip.toml", f'name = "mine"{DIMENSIONS}num_kv_head = 4\n')
    assert "Did you mean 'num_kv_heads'?" in call("estimate", slip, "--on", "8xh100-sxm", "--batch", "64").refused()


def test_a_model_file_without_dimensions_is_not_taken_for_a_run(call, file):
    said = call("estimate", file("mine.toml", 'name = "mine"\n'), "--on", "8xh100-sxm", "--batch=8").refused()
    assert "the table [dimensions] is missing. Needed in it: num_layers" in said


def test_a_run_in_a_file_that_names_a_model_file_beside_it(call, file, tmp_path):
    file("mine.toml", f'name = "mine"{DIMENSIONS}')
    path = file(
        "run.toml",
        'model = "mine.toml"\non = "8xh100-sxm"\nbatch_tokens = "256Ki"\ntp = 2\nrecompute = true\nreshard = false\n',
    )
    document = answer(call, "estimate", path)
    plan = document["plan"]
    assert (plan["tp"], plan["dp"], plan["recompute"], plan["reshard"]) == (2, 4, "full", False)
    assert answer(call, "estimate", path, "--tp=4")["plan"]["tp"] == 4


RUNS = {
    "tp = 2.5": "tp=2.5 must be a whole number.",
    'batch = "many"': "batch='many' must be a whole number.",
    "recompute = 1": "recompute=1 must be text, true or false.",
    'reshard = "no"': "reshard='no' must be true or false.",
    "micro_batsh = 1": "unknown field 'micro_batsh'. Did you mean 'micro_batch'?",
    "tp_ff = 2": "tp_ff (--tp-ff) is for the theory's models, mlp-D; llama-2-7b is not one of them.",
}


@pytest.mark.parametrize("line", RUNS)
def test_a_wrong_line_of_a_run_file(call, file, line):
    path = file("run.toml", f'model = "llama-2-7b"\non = "8xh100-sxm"\n{line}\n')
    said = call("estimate", path).refused()
    assert said.startswith(f"{path}: {RUNS[line]}")


def test_a_cluster_of_ones_own(call, file):
    level = '[[level]]\nname = "{}"\nbandwidth = "{}GB/s"\nlatency = "2us"\n'
    content = 'accelerator = "h100-sxm"\n' + level.format("nvlink", 450) + "size = 8\n" + level.format("ethernet", 25)
    path = file("mine.toml", content)
    slow = call(*SMALL[:2], "--on", f"64x{path}", *SMALL[4:], "--json").json()
    fast = call(*SMALL, "--json").json()
    assert slow["busy_s"]["dp_comm"] > fast["busy_s"]["dp_comm"]
    assert any("was not measured" in said for said in slow["warnings"])


# Refusals

REFUSED = {
    "--micro-batch=-1": "micro_batch=-1 must be a whole number of at least 1.",
    "--micro-batch=3": "micro_batch=3 does not divide sequences of a pipeline=128. Nearest: 2, 4.",
    "--tp=7": "tp=7 does not divide num_heads=128. Nearest: 4, 8.",
    "--tp=0": "tp=0 must be a whole number of at least 1.",
    "--tp=8,1": "tp='8,1' must be a whole number",
    "--tp=x": "tp='x' must be a whole number",
    "--cp=3": "does not divide the cluster's 1024 accelerators. Nearest: --on 768xh100-sxm, --on 1152xh100-sxm.",
    "--pp=5": "tp=8 x pp=5, 40, does not divide the cluster's 1024 accelerators. Nearest: --on 1000xh100-sxm",
    "--dp=4": "the plan occupies 512 accelerators",
    "--batch=1001": "dp=8 does not divide batch_seqs=1001. Nearest: dp=7, 11, or batch_seqs=1000, 1008.",
    "--ep=2": "ep=2 needs experts: llama-3.1-405b has none. Valid: 1.",
    "--schedule=zb-h1 --vpp=2": "vpp=2 does not go with schedule=zb-h1.",
    "--sharding=zero3": "sharding=zero3 does not go with pp=16",
    "--schedule=zb-h1": "does not have it. Valid: 1f1b. Or stack=generic, which takes any plan.",
    "--order=pp,tp,cp,ep,dp": "does not lay it out. Valid: tp,cp,ep,dp,pp, or tp,cp,ep,pp,dp.",
    "--precision=fp8 --stack=nanotron": "precision=fp8: nanotron does not have it. Valid: bf16.",
    "--precision=fp61": "unknown precision 'fp61'. Did you mean 'fp16'?",
    "--schedule=zero-bubble": "unknown schedule 'zero-bubble'",
    "--recompute=fulll": "unknown recompute 'fulll'. Did you mean 'full'?",
    "--recompute-layers=0.5": "recompute_layers=0.5 needs recompute=full, not none. Valid: --recompute full.",
    "--recompute=full --recompute-layers=nan": "recompute_layers=nan must be between 0 and 1.",
    "--recompute=full --recompute-layers=1.5": "recompute_layers=1.5 must be between 0 and 1.",
    "--order=tp,cp": "order=tp,cp must name each of tp, cp, ep, dp, pp once.",
    "--stack=megatron-cor": "unknown software stack 'megatron-cor'. Did you mean 'megatron-core'?",
    "--attention=flash9": "unknown attention 'flash9'",
    "--convention=7N": "unknown FLOP convention '7N'. Did you mean '6N'?",
    "--tokens=1e400": "tokens=1e400 must be a positive, finite number.",
    "--tokens=nan": "tokens='nan' is not a quantity.",
    "--tokens=15Parsec": "tokens='15Parsec' has the unknown unit 'Parsec'.",
    "--batch-tokens=16M": "batch=1024 and batch_tokens=16M say the same thing.",
    "--set=network.bandwidth=0GB/s": "network.bandwidth=0GB/s must be a positive, finite number.",
    "--set=network.bandwidth=inf": "network.bandwidth='inf' is not a quantity.",
    "--set=network.bandwidth=1e400x": "network.bandwidth=1e400 must be a positive, finite number.",
    "--set=accelerator.achievable_fraction=1.5": "accelerator.achievable_fraction=1.5 must be at most 1.",
    "--set=accelerator.l2=2x": "accelerator.l2_bytes=1.04858e+08 was set, but the transformer engine does not use it",
    "--parameters=Erdil2024": "parameters=Erdil2024 are the theory's numbers. Valid for real models: datasheet.",
    "--engine=erdil": "engine=erdil does not know llama-3.1-405b. Valid: transformer.",
    "--engine=transfromer": "unknown engine 'transfromer'. Did you mean 'transformer'?",
    "--experts=8": "experts (--experts) is for the theory's models, mlp-D; llama-3.1-405b is not one of them.",
    "--fix=finer_cluster_grid": "fix (--fix) is for the theory's models",
    "--sparse": "sparsity (--sparsity) is for the theory's models",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_cannot_be_is_refused_with_field_value_and_what_would_do(call, flags):
    assert REFUSED[flags] in call(*LLAMA, *flags.split()).refused()


def test_a_format_that_the_accelerator_lacks(call):
    said = call(
        "estimate", "llama-2-70b", "--on", "64xa100-sxm-80gb", "--tp=8", "--batch=64", "--precision=fp8"
    ).refused()
    assert said.startswith("precision=fp8 needs fp8, which the accelerator lacks.")


@pytest.mark.parametrize(
    "flag", ["--cp=2", "--micro-batch=1", "--stack=fsdp1", "--tokens=1T", "--no-reshard", "--explain"]
)
def test_the_theory_refuses_what_it_does_not_have(call, flag):
    said = call("estimate", "mlp-12288", "--on", "2048xh100-sxm", flag).refused()
    assert "is for real models (llama-3.1-405b); mlp-12288 is one of the theory's." in said


def test_the_theory_takes_recompute_as_before(call):
    flags = ("estimate", "mlp-12288", "--on", "2048xh100-sxm", "--dp=4", "--tp-ff=8", "--pp=64")
    assert answer(call, *flags, "--recompute")["plan"]["recompute"] is True
    assert answer(call, "estimate", "--recompute", *flags[1:])["plan"]["recompute"] is True
    assert answer(call, *flags)["plan"]["recompute"] is False
    assert "Valid: full, none" in call(*flags, "--recompute", "selective").refused()


def test_what_is_missing_is_asked_for(call):
    assert call("estimate", "llama-2-7b", "--on", "8xh100-sxm").refused().startswith("batch is not given. Valid: ")
    assert "no cluster is named" in call("estimate", "llama-2-7b", "--batch=8").refused()
    assert "--on 1024xh100-sxm" in call("estimate", "llama-2-7b", "--on", "h100-sxm", "--batch=8").refused()


def test_a_name_with_a_slash_is_an_alias_or_a_file(call):
    flags = ("--on", "64xh100-sxm", "--batch=256", "--recompute")
    assert answer(call, "estimate", "meta-llama/Llama-2-7b", *flags)["inputs"]["model"]["name"] == "llama-2-7b"
    assert "none/none" in call("estimate", "none/none", *flags).refused()


# Does not fit


def test_a_plan_that_does_not_fit_ends_with_3_by_how_much_and_with_the_nearest_that_does(call):
    result = call(*LLAMA, "--json")
    said = result.refused(code=3)
    document = result.json()
    lacking = document["memory_needed_bytes_per_gpu"] - document["memory_capacity_bytes_per_gpu"]
    assert document["fits"] is False
    assert document["memory_missing_bytes_per_gpu"] == pytest.approx(lacking)
    assert lacking > 0
    flags = re.search(r"Nearest plan that fits: (.*) \(", said)[1].split()
    assert "too much" in said
    again = answer(call, *LLAMA, *flags)
    assert again["fits"] is True
    near = document["nearest_plan_that_fits"]
    assert {name: again["plan"][name] for name in near if name != "shard"} == {
        name: value for name, value in near.items() if name != "shard"
    }


def test_a_model_beyond_the_memory_has_no_plan(call):
    said = call("estimate", "mt-nlg-530b", "--on", "8xa100-sxm-40gb", "--batch=8", "--json").refused(code=3)
    assert "No plan near it fits" in said


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_convention_that_counts_experts_nobody_meets_is_refused(call, flags):
    asked = ("estimate", "mixtral-8x7b", "--on", "64xh100-sxm", "--tp=2", "--batch=256", "--convention=6N")
    said = call(*asked, *flags).refused()
    assert "convention=6N counts all 8 experts of mixtral-8x7b, and a token meets 2" in said
    assert "Valid: 6N-active-without-embedding, " in said


# Warnings

WARNED = {
    "--tp=16 --pp=8": "tp=16 is more than the 8 accelerators that nvlink joins",
    "--pp=8": "126 layers do not divide over 8 stages",
    "--stack=nanotron": "no shipped measurement on h100-sxm is of the stack nanotron",
    "--batch-tokens=8M": "batch_tokens=8M is taken as",
    "--offload-optimizer": "offload_optimizer frees memory, and its time is not counted",
}


@pytest.mark.parametrize("flags", WARNED)
def test_what_to_mind_is_said(call, flags):
    base = [
        flag for flag in LLAMA if not flag.startswith(("--batch", "--tp", "--pp") if "batch" in flags else "--tp=x")
    ]
    result = call(*base, *flags.split(), "--recompute")
    assert f"note: {WARNED[flags]}" in result.err


def test_beyond_what_validation_covers_is_said(call):
    large = call(
        "estimate", "llama-3.1-405b", "--on", "131072xh100-sxm", "--tp=8", "--pp=16", "--batch=16384", "--json"
    )
    assert any(said.startswith("131,072 accelerators: the shipped measurements") for said in large.json()["warnings"])
    unknown = call("estimate", "llama-2-7b", "--on", "64xl40s", "--tp=8", "--batch=256", "--json")
    assert "no shipped measurement is on l40s: validation does not cover it" in unknown.json()["warnings"]
    assert not any("shipped" in said for said in call(*SMALL, "--json").json()["warnings"])


def test_more_tokens_than_learned_positions_are_said(call):
    warnings = call(*GPT, "--seq-len=4096", "--json").json()["warnings"]
    assert any("more than the 2048 positions" in said for said in warnings)


def test_odd_degrees_are_said(call):
    warnings = call(
        "estimate", "gpt3-175b", "--on", "96xh100-sxm", "--tp=6", "--pp=8", "--batch=256", "--seq-len=1536", "--json"
    ).json()["warnings"]
    assert any(said.startswith("tp=6 is not a power of 2") for said in warnings)


# Rows nearby


def test_rows_nearby_are_predicted_as_they_are_asked(call):
    near = answer(call, *FITS)["nearest_measured"]
    assert len(near) == 3
    for row in near:
        assert row["accelerator"] == "h100-sxm"
        assert row["error"] == pytest.approx(row["predicted_step_time_s"] / row["measured_step_time_s"] - 1)
    assert all("405" in row["model_name"] for row in near)
    moe = call(*MOE, "--ep=64", "--json").json()["nearest_measured"]
    assert "DeepSeek" in moe[0]["model_name"]


# From Python


def test_python_refuses_what_is_of_the_other_kind():
    model, cluster = wt.model("llama-2-7b"), wt.cluster("h100-sxm", 8)
    theory = wt.model("mlp-12288")
    with pytest.raises(BadInput, match="real models need a Plan"):
        wt.estimate(model, cluster, wt.MlpPlan(dp=8), batch_seqs=8)
    with pytest.raises(BadInput, match="the theory's models need an MlpPlan"):
        wt.estimate(theory, cluster, wt.Plan(dp=8))
    with pytest.raises(BadInput, match="batch_seqs is not given"):
        wt.estimate(model, cluster, wt.Plan(dp=8))
    with pytest.raises(BadInput, match="mlp-D has its own batch"):
        wt.estimate(theory, cluster, wt.MlpPlan(dp=8), batch_seqs=8)
    with pytest.raises(BadInput, match="has its own dimensions"):
        wt.model("llama-2-7b", num_layers=3)


def test_python_takes_the_datasheets_cluster_of_the_same_name():
    model, plan = wt.model("llama-2-7b"), wt.Plan(tp=2, dp=32)
    studied, plain = wt.cluster("h100-sxm", 64), wt.cluster("h100-sxm", 64, parameters="datasheet")
    assert studied.parameters == "Erdil2024"
    times = [float(wt.estimate(model, on, plan, batch_seqs=64).time_s[0]) for on in (studied, plain)]
    assert times[0] == times[1]
    changed = wt.cluster("h100-sxm", 64, settings=["network.bandwidth=2x"])
    with pytest.raises(BadInput, match="parameters='datasheet'"):
        wt.estimate(model, changed, plan, batch_seqs=64)


def test_python_takes_a_stack_with_changes():
    model, cluster, plan = wt.model("llama-2-7b"), wt.cluster("h100-sxm", 64, parameters="datasheet"), wt.Plan(dp=64)
    slow = replace(stack("megatron-core"), attention="unfused")
    result = wt.estimate(model, cluster, plan, batch_seqs=64, stack=slow, tokens=1e12)
    training = Training(model, 4096, 64)
    direct = transformer.estimate(training, cluster, PlanBatch.of([plan]), slow)
    assert float(result.time_s[0]) == float(direct.time_s[0])
    assert result.num_steps == pytest.approx(1e12 / training.batch_tokens)


def test_no_extra_is_imported():
    """What makes one estimate quick: NumPy is the largest thing that it loads."""
    code = (
        "import sys\nfrom walltime.cli import main\n"
        f"sys.argv = {['walltime', *FITS]!r}\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'scipy', 'pandas', 'matplotlib', 'torch'} & {name.split('.')[0] for name in sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_json_is_one_document(walltime):
    result = walltime(*FITS, "--json")
    assert json.loads(result.out)["command"] == "estimate"


# What it says


def test_no_next_step_is_the_one_just_taken(call):
    assert "next: the same with --explain" in call(*FITS).out
    assert "next: the same with --explain" not in call(*FITS, "--explain").out


def test_without_a_model_that_is_what_is_missing(call):
    for flags in ((), ("--tp=8",), ("--on=8xh100-sxm",)):
        message = call("estimate", *flags).refused()
        assert message.startswith("no model is named")
        assert "walltime estimate llama-2-7b --on 64xh100-sxm" in message


def test_an_accelerator_without_any_format_of_a_stack_says_so(call):
    message = call("estimate", "gpt2", "--on", "1xgtx-580", "--batch=8", "--stack=fsdp1").refused()
    assert message == "precision=bf16 needs bf16, which the accelerator lacks. Valid: fp32."
