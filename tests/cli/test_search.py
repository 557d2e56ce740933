"""`walltime search`: what it prints, its JSON document, and every flag."""

import itertools
import json
import re

import pytest

from walltime import hardware
from walltime.planner.sizes import sizes
from walltime.report.search import Reasons

MODEL = ("search", "llama-3.2-1b", "--on", "4xh100-sxm")
SMALL = (*MODEL, "--batch", "16", "--seq-len", "2048")
FIXED = ("--max-pp", "2", "--cp", "1")


@pytest.fixture
def quick(call, monkeypatch):
    """Call without the reasons, which take most of a small question's time."""
    monkeypatch.setattr("walltime.cli.search._reasons", lambda *_, **__: Reasons())
    return call


def document(outcome):
    assert outcome.code == 0, outcome.err
    return outcome.json()


def plans(outcome):
    return document(outcome)["plans"]


def add_up(found):
    """Every plan that is considered is rejected, does not fit, is proven worse or is compared."""
    counts = ("plans_not_fitting", "plans_proven_worse", "plans_evaluated")
    parts = [*found["plans_rejected"].values(), *(found[name] for name in counts)]
    assert all(isinstance(part, int) and part >= 0 for part in parts)
    assert sum(parts) == found["plans_considered"] > 0


# Text


def test_the_command_of_the_question(walltime):
    """Sections of the answer on standard output; what was decided on the way on standard error."""
    done = walltime("search", "llama-3.2-1b", "--on", "8xh100-sxm", "--batch", "64", "--top", "4")
    assert done.code == 0
    for section in (
        "llama-3.2-1b: 1.236B parameters",
        "plan: ",
        "  step time  ",
        "  MFU        ",
        "  memory     ",
        "  cost       $",
        "  why this   ",
        "  measured   at most",
        "what was searched",
        "plans considered",
        "binding constraint:",
        "what a tenth more gives",
        "nearest measured rows",
        "\nnext: ",
    ):
        assert section in done.out, section
    assert done.err.startswith("note: seq_len is not given")
    assert "note:" not in done.out
    assert not re.search(r"\b(nan|inf|None)\b", done.out)


def test_plans_are_in_order_and_one_is_recommended(call):
    out = call(*SMALL, "--top", "5").out
    marked = [line for line in out.splitlines() if line.startswith("> ")]
    assert len(marked) == 1
    found = plans(call(*SMALL, "--top", "5", "--json"))
    times = [plan["step_time_s"] for plan in found]
    assert times == sorted(times)
    assert [plan["rank"] for plan in found] == [1, 2, 3, 4, 5]


def test_beyond_what_was_measured_is_flagged(call):
    """An accelerator twice as fast as any that was measured, at a peak that the ceiling is not told of."""
    out = call(*SMALL, "--set", "accelerator.achievable_fraction=1").out
    found = document(call(*SMALL, "--set", "accelerator.achievable_fraction=1", "--json"))
    assert ("FLAG" in out) == found["measured_ceiling"]["exceeded"]
    assert "FLAG" in call("search", "llama-3.2-1b", "--on", "4xmi300x", "--batch", "16").out


# The document


def test_document(walltime):
    done = walltime(*SMALL, "--json", "--max-micro-batch", "2", "--tp", "1,2")
    found = document(done)
    assert done.err == ""
    add_up(found)
    assert set(found["plans_rejected"]) == {"tp", "max_micro_batch"}
    assert found["inputs"]["constraints"] == ["tp=1,2", "max_micro_batch=2"]
    assert found["inputs"]["goal"] == "time"
    assert found["recommended"] == next(plan for plan in found["plans"] if plan["recommended"])
    assert sum(plan["recommended"] for plan in found["plans"]) == 1
    assert found["recommended"]["tie"]
    assert found["plans"][0]["loses"] == {}
    for plan in found["plans"]:
        parts = [plan[name] for name in plan if name.endswith("_s") and name[:-2] in PARTS]
        assert sum(parts) == pytest.approx(plan["step_time_s"])
        assert plan["fits"]
        assert plan["plan.tp"] in (1, 2)
        assert plan["plan.micro_batch"] <= 2
    assert {one["resource"] for one in found["elasticities"]} >= {
        "FLOP/s",
        "memory bandwidth",
        "batch (from doubling it)",
    }
    assert found["pessimistic"] is None
    assert 0 < found["tie_share"] < 0.1
    assert {"utilization", "source", "exceeded"} <= set(found["measured_ceiling"])
    assert len(found["nearest_measured"]) > 0


PARTS = (
    *("matmul", "attention", "memory_bound", "host", "tp_comm", "cp_comm", "ep_comm", "pp_comm", "dp_comm"),
    *("bubble", "optimizer", "overhead"),
)


def test_no_plan_has_a_document_too(call):
    done = call(*SMALL, "--tp", "3", "--json")
    assert done.code == 3
    found = done.json()
    assert found["plans"] == []
    assert sum(found["excluded"].values()) == found["plans_considered"]
    assert "Smallest relaxation: without tp=3" in found["answer"]
    assert found["answer"] in done.err


@pytest.mark.parametrize("stack", ["megatron-core", "torchtitan", "deepspeed", "megatron-lm-2021"])
def test_the_command_of_a_plan_estimates_the_same(quick, stack):
    found = document(quick(*SMALL, "--stack", stack, "--json", "--top", "3"))
    add_up(found)
    for plan in found["plans"]:
        again = quick(*plan["command"].split()[1:], "--json").json()
        assert again["step_time_s"] == pytest.approx(plan["step_time_s"], rel=1e-12), plan["command"]


# Runs that are saved


@pytest.mark.parametrize("name", ["best.toml", "best.json"])
@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--stack", "torchtitan", "--pp", "2"),
        ("--fix", "recompute=full", "--fix", "recompute_layers=0.5"),
        ("--set", "network.bandwidth=0.5x", "--set", "accelerator.memory=0.5x"),
        ("--attention", "unfused", "--precision", "fp8"),
        ("--stack", "generic", "--fix", "sharding=zero3", "--fix", "reshard=false", "--tokens", "1G"),
    ],
    ids=["usual", "torchtitan", "recompute", "set", "fp8", "zero3"],
)
def test_what_is_saved_is_estimated_the_same(quick, name, more):
    found = document(quick(*SMALL, *more, "--json", "--save", name))
    again = quick("estimate", name, "--json").json()
    assert again["step_time_s"] == found["recommended"]["step_time_s"]
    assert again["utilization"] == found["recommended"]["utilization"]


def test_saving_is_said_on_standard_error(quick):
    done = quick(*SMALL, "--save", "best.toml")
    assert "wrote best.toml" in done.err
    assert "wrote" not in done.out
    assert "next: walltime estimate best.toml --explain" in done.out


def test_models_from_files(quick, file):
    """A config.json, and a model as TOML; what is saved beside them is estimated the same."""
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "vocab_size": 32000,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 4,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "torch_dtype": "bfloat16",
    }
    file("config.json", json.dumps(config))
    found = document(
        quick("search", "config.json", "--on", "2xh100-sxm", "--batch", "8", "--save", "best.toml", "--json")
    )
    assert quick("estimate", "best.toml", "--json").json()["step_time_s"] == found["recommended"]["step_time_s"]


# Goals and clusters


@pytest.mark.parametrize(
    ("goal", "key"),
    [
        ("time", "step_time_s"),
        ("cost", "cost_usd_per_token"),
        ("energy", "energy_j_per_token"),
        ("memory", "memory_bytes"),
        ("gpus", "num_gpus"),
    ],
)
def test_goals(quick, goal, key):
    lines = ("search", "llama-3.2-1b", "--on", "2..4xh100-sxm", "--on", "2xb200", "--batch", "8", "--seq", "2048")
    found = document(quick(*lines, "--goal", goal, "--json"))
    add_up(found)
    values = [plan[key] for plan in found["plans"]]
    assert values == sorted(values)
    by_time = document(quick(*lines, "--json"))
    assert values[0] <= min(plan[key] for plan in by_time["plans"]) * (1 + 1e-12)


def test_clusters_are_compared(quick):
    out = quick("search", "llama-3.2-1b", "--on", "2xh100-sxm", "--on", "2xb200", "--batch", "8", "--top", "8").out
    assert "2 x h100-sxm" in out
    assert "2 x b200" in out


def test_a_range_of_sizes(quick):
    found = document(quick("search", "llama-3.2-1b", "--on", "2..16xh100-sxm", "--batch", "48", "--json"))
    sizes = [cluster["num_gpus"] for cluster in found["inputs"]["clusters"]]
    assert sizes == [2, 3, 4, 5, 6, 7, 8, 16]
    assert found["recommended"]["num_gpus"] == 16


def test_deadline(quick):
    """Of the sizes that meet it, the fewest accelerators; a shorter one needs more."""
    lines = ("search", "llama-3.2-1b", "--on", "2..16xh100-sxm", "--batch", "48", "--goal", "gpus", "--json")
    assert document(quick(*lines))["recommended"]["num_gpus"] == 2
    sizes, run_time_s = [], None
    for days in ("40", "10", "7"):
        found = document(quick(*lines, "--tokens", "50G", "--deadline", f"{days}d"))
        sizes.append(found["recommended"]["num_gpus"])
        run_time_s = found["recommended"]["run_time_s"]
        assert run_time_s <= float(days) * 86400
        assert found["inputs"]["deadline_s"] == float(days) * 86400
    assert sizes == sorted(sizes)
    assert "without failures), " in quick(*lines[:-1], "--tokens", "50G").out


def test_prices(quick):
    lines = (*SMALL, "--goal", "cost", "--top", "1")
    assert "at $1.50 a GPU-hour" in quick(*lines, "--price", "1.5").out
    assert "at $2.00 a GPU-hour" in quick(*lines, "--price", "9", "--price", "h100-sxm=2").out
    assert "at $2.00 a GPU-hour" in quick("search", "llama-3.2-1b", "--on", "2xh20", "--batch", "8", "--price", "2").out


# Constraints: a flag for each, and what it does


@pytest.mark.parametrize("name", ["tp", "cp", "pp", "dp", "vpp", "micro-batch"])
def test_degrees_that_are_named(quick, name):
    key = f"plan.{name.replace('-', '_')}"
    base = (*SMALL, "--pp", "2") if name == "vpp" else SMALL
    for flag, value, holds in ((f"--{name}", "2", "eq"), (f"--min-{name}", "2", "ge"), (f"--max-{name}", "1", "le")):
        found = document(quick(*base, flag, value, "--json", "--top", "3"))
        add_up(found)
        for plan in found["plans"]:
            ok = {"eq": plan[key] == 2, "ge": plan[key] >= 2, "le": plan[key] <= 1}[holds]
            assert ok, (flag, plan[key])
    found = document(quick(*base, f"--{name}", "1,2", "--json", "--top", "20"))
    assert {plan[key] for plan in found["plans"]} <= {1, 2}


@pytest.mark.parametrize(
    "flags", [("--ep", "2"), ("--min-ep", "2"), ("--max-ep", "2"), ("--etp", "2"), ("--max-etp", "1")]
)
def test_degrees_of_experts(quick, file, flags):
    file("moe.toml", MOE)
    done = quick("search", "./moe.toml", "--on", "4xh100-sxm", "--batch", "16", *flags, "--json", "--top", "3")
    key, value = f"plan.{flags[0].strip('-').removeprefix('min-').removeprefix('max-')}", int(flags[1])
    add_up(document(done))
    for plan in plans(done):
        bad = plan[key] > value if "max" in flags[0] else plan[key] < value if "min" in flags[0] else plan[key] != value
        assert not bad


MOE = """
schema = 1
id = "small-moe"
name = "Small MoE"
source = "mine"
locator = "mine"

[dimensions]
num_layers = 4
d_model = 1024
d_ff = 2048
num_heads = 16
num_kv_heads = 4
head_dim = 64
vocab_size = 32000
num_experts = 4
top_k = 2
d_ff_expert = 2048
"""


@pytest.mark.parametrize(
    ("choice", "key", "value"),
    [
        ("sharding=zero3", "plan.sharding", "zero3"),
        ("sharding=ddp,zero1", "plan.sharding", ("ddp", "zero1")),
        ("recompute=full", "plan.recompute", ("full", "none")),
        ("recompute=selective", "plan.recompute", "selective"),
        ("sequence-parallel=no", "plan.sequence_parallel", (False, True)),
        ("reshard=true", "plan.reshard", True),
        ("offload_optimizer=true", "plan.offload_optimizer", True),
        ("schedule=1f1b", "plan.schedule", "1f1b"),
        ("cp_algorithm=ring", "plan.cp_algorithm", "ring"),
        ("shard=4", "plan.shard", 4),
        ("order=tp,cp,ep,dp,pp", "plan.order", ["tp", "cp", "ep", "dp", "pp"]),
    ],
)
def test_choices_that_are_fixed(quick, choice, key, value):
    found = document(quick(*SMALL, "--fix", choice, "--json", "--top", "4"))
    add_up(found)
    for plan in found["plans"]:
        assert plan[key] in value if isinstance(value, tuple) else plan[key] == value


def test_memory_that_stays_free(quick):
    usual, free = document(quick(*SMALL, "--json")), document(quick(*SMALL, "--json", "--min-free-memory", "60GB"))
    add_up(free)
    assert free["inputs"]["constraints"] == ["min_free_memory=60GB"]
    assert max(plan["memory_bytes"] for plan in free["plans"]) <= 85.9e9 - 60e9
    assert free["plans_not_fitting"] >= usual["plans_not_fitting"]


def test_precisions(quick):
    found = document(quick(*SMALL, "--precision", "bf16,fp8", "--json"))
    assert found["inputs"]["precisions"] == ["bf16", "fp8"]
    assert found["plans"][0]["plan.precision"] == "fp8"
    only = document(quick(*SMALL, "--json"))
    assert found["plans_considered"] == 2 * only["plans_considered"]


def test_overrides_reach_the_search(quick):
    usual, faster = (document(quick(*SMALL, "--json", *more)) for more in ((), ("--set", "accelerator.peak=2x")))
    assert faster["plans"][0]["step_time_s"] < usual["plans"][0]["step_time_s"]


def test_tokens_of_a_batch(quick):
    """Tokens are rounded by at most a twentieth, to sequences that many degrees divide."""
    found = document(quick(*MODEL, "--batch-tokens", "1M", "--seq-len", "4096", "--json"))
    seqs = found["inputs"]["batch_seqs"]
    assert seqs % 16 == 0
    assert seqs * 4096 == pytest.approx(1e6, rel=0.05)
    assert f"batch_tokens=1M is taken as {seqs} sequences" in found["warnings"][0]


def test_pessimism(call):
    done = call(*SMALL, "--pessimistic")
    assert re.search(r"^  (survives|DOES NOT SURVIVE)  ", done.out, re.MULTILINE)
    found = document(call(*SMALL, "--pessimistic", "--json"))
    assert found["pessimistic"]["time_s"] > found["recommended"]["step_time_s"]
    assert found["pessimistic"]["best_time_s"] <= found["pessimistic"]["time_s"]
    assert isinstance(found["pessimistic"]["survives"], bool)


# Fronts


def test_front(call):
    done = call(*SMALL, "--pareto", "time,memory")
    assert "plans than which none is as good by time, memory and better by one" in done.out
    found = document(call(*SMALL, "--pareto", "time,memory", "--json"))
    assert found["goals"] == ["time", "memory"]
    points = [(plan["step_time_s"], plan["memory_bytes"]) for plan in found["front"]]
    assert points == sorted(points)
    assert all(later[1] < earlier[1] for earlier, later in itertools.pairwise(points))
    assert points[0][0] == plans(call(*SMALL, "--json"))[0]["step_time_s"]


def test_front_over_sizes_and_all_goals(call):
    lines = ("search", "llama-3.2-1b", "--on", "1..4xh100-sxm", "--batch", "8", "--seq", "2048", *FIXED)
    found = document(call(*lines, "--pareto", "time,gpus,memory,cost,energy", "--json"))
    assert {plan["num_gpus"] for plan in found["front"]} >= {1, 4}


def test_nothing_is_printed_on_standard_error_without_a_reason(walltime):
    done = walltime(*SMALL, "--top", "2")
    assert (done.code, done.err) == (0, "")


# Sizes of a range


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        (1, 8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (8, 64, [8, 16, 24, 32, 40, 48, 56, 64]),
        (256, 1024, [256, 320, 384, 448, 512, 640, 768, 896, 1024]),
        (100, 140, [100, 112, 128, 140]),
        (9, 15, [9, 15]),
        (7, 7, [7]),
    ],
)
def test_sizes_are_the_ends_and_whole_nodes_between(first, last, found):
    assert sizes(first, last, hardware.cluster("h100-sxm")) == found
