"""Bad input for `walltime search`: one line that names field, value and what is valid; or which rule left no plan."""

import json
import re

import pytest

ON, BATCH = ("--on", "4xh100-sxm"), ("--batch", "16")
MODEL = ("search", "llama-3.2-1b")
SMALL = (*MODEL, *ON, *BATCH)

# What is refused before anything is searched: (flags after `search llama-3.2-1b --on 4xh100-sxm --batch 16`, text).
REFUSED = {
    "--goal tim": "unknown goal 'tim'. Did you mean 'time'? Valid: cost, energy, gpus, memory, time.",
    "--goal costs": "Did you mean 'cost'?",
    "--stack torchtitn": "unknown software stack 'torchtitn'. Did you mean 'torchtitan'?",
    "--attention flash9": "unknown attention 'flash9'. Did you mean 'flash3'?",
    "--precision bf61": "unknown precision 'bf61'. Did you mean 'bf16'?",
    "--precision bf16,": "unknown precision ''",
    "--fix sharing=zero3": "unknown field in --fix 'sharing'. Did you mean 'sharding'?",
    "--fix sharding=zero4": "unknown sharding 'zero4'. Did you mean 'zero3'? Valid: ddp, zero1, zero2, zero3.",
    "--fix sharding=": "unknown sharding ''",
    "--fix sharding": "fix='sharding' is not field=value. Valid: for example sharding=zero3.",
    "--fix =zero1": "unknown field in --fix ''",
    "--fix sharding=zero1 --fix sharding=ddp": "sharding is fixed already",
    "--tp 2 --fix tp=4": "tp is fixed already",
    "--fix precision=fp8": "number formats have a flag of their own. Valid: --precision fp8.",
    "--fix recompute=ful": "unknown recompute 'ful'. Did you mean 'full'?",
    "--fix recompute_layers=nan": "recompute_layers=nan must be a number between 0 and 1.",
    "--fix recompute_layers=inf": "recompute_layers=inf must be a number between 0 and 1.",
    "--fix recompute_layers=-0.5": "recompute_layers=-0.5 must be a number between 0 and 1.",
    "--fix recompute_layers=half": "recompute_layers=half must be a number between 0 and 1.",
    "--fix offload_optimizer=maybe": "offload_optimizer=maybe must be true or false.",
    "--fix offload_optimizer=yes,no": "offload_optimizer: all plans have it or none does.",
    "--fix schedule=zb": "unknown schedule 'zb'. Did you mean 'zb-v'?",
    "--fix cp_algorithm=rings": "Did you mean 'ring'?",
    "--fix order=tp,cp": "order=tp,cp must name each of tp, cp, ep, dp, pp once.",
    "--fix shard=0": "shard=0 must be a whole number of at least 1.",
    "--fix gradient_bytes=2": "unknown field in --fix 'gradient_bytes'",
    "--set network.bandwidth=0x": "network.bandwidth=0 must be a positive, finite number.",
    "--set network.latency=nanx": "network.latency='nanx' is not a quantity.",
    "--set accelerator.memroy=1GB": "Did you mean 'accelerator.memory'?",
    "--top 0": "top=0 must be a whole number of at least 1.",
    "--top -3": "top=-3 must be a whole number of at least 1.",
    "--top x": "'x' is not a valid integer",
    "--pareto nonsense": "unknown goal in --pareto 'nonsense'. Valid: cost, energy, gpus, memory, time.",
    "--pareto time,memry": "Did you mean 'memory'?",
    "--pareto time,": "unknown goal in --pareto ''",
    "--pareto time --save best.toml": "save: --pareto has no one best plan. Valid: --pareto or --save, not both.",
    "--pareto time --goal cost": "goal: --pareto has no one best plan.",
    "--pareto time --pessimistic": "pessimistic: --pareto has no one best plan.",
    "--pessimistic --goal memory": "pessimistic is about step times, not goal=memory. Valid: time, cost or gpus.",
    "--deadline 60d": "deadline needs the tokens of the whole run. Valid: --tokens 15T.",
    "--tokens 1T --deadline 60": "deadline='60' has no unit. Valid: for example 1.1us, 90d",
    "--tokens 1T --deadline 0d": "deadline=0d must be a positive, finite number.",
    "--tokens 1T --deadline nan": "deadline='nan' is not a quantity.",
    "--tokens nan": "tokens='nan' is not a quantity.",
    "--tokens -1T": "tokens=-1T must be a positive, finite number.",
    "--tokens 0": "tokens=0 must be a positive, finite number.",
    "--tokens 1e400": "tokens=1e400 must be a positive, finite number.",
    "--price nonsense": "price='nonsense' is not dollars a GPU-hour. Valid: 2.50, or h100-sxm=2.50.",
    "--price nan": "price=nan must be a positive, finite number.",
    "--price inf": "price=inf must be a positive, finite number.",
    "--price -2": "price=-2 must be a positive, finite number.",
    "--price 0": "price=0 must be a positive, finite number.",
    "--price h100-sxm=": "is not dollars a GPU-hour",
    "--price h1oo-sxm=2": "unknown accelerator or cluster 'h1oo-sxm'. Did you mean 'h100-sxm'?",
    "--price b200=3": "price=b200=3: b200 is not among the clusters. Valid: h100-sxm.",
    "--min-free-memory 8": "min_free_memory='8' has no unit. Valid: for example 80GB.",
    "--min-free-memory nan": "min_free_memory='nan' is not a quantity.",
    "--min-free-memory -8GB": "min_free_memory=-8GB must be a positive, finite number.",
    "--batch-tokens 1M": "batch=16 and batch_tokens=1M say the same thing. Valid: one of them.",
    "--seq-len 0": "seq_len=0 must be a whole number of at least 1.",
    "--seq-len -1": "seq_len=-1 must be a whole number of at least 1.",
    "--seq-len 10000000000000000": "must be at most 1,000,000,000,000,000.",
    "--save best.yaml": "save=best.yaml must end in .toml or .json.",
    "--save nowhere/best.toml": "save=nowhere/best.toml: there is no folder nowhere.",
    "--nonsense": "No such option",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_refused(call, flags):
    assert REFUSED[flags] in call(*SMALL, *flags.split()).refused()


@pytest.mark.parametrize("name", ["tp", "cp", "pp", "dp", "ep", "etp", "micro-batch", "vpp"])
@pytest.mark.parametrize("value", ["0", "-2", "1.5", "nan", "inf", "x", "", "2,,4", "1e3", "9" * 40])
def test_degrees_are_whole_numbers(call, name, value):
    said = call(*SMALL, f"--{name}={value}").refused()
    assert name.replace("-", "_") in said
    assert "whole number" in said or "must be at most" in said


@pytest.mark.parametrize("name", ["tp", "micro-batch"])
@pytest.mark.parametrize("kind", ["min", "max"])
@pytest.mark.parametrize("value", ["0", "-2", "1.5", "nan", "", "9" * 40])
def test_bounds_are_whole_numbers(call, kind, name, value):
    said = call(*SMALL, f"--{kind}-{name}={value}").refused()
    assert f"{kind}-{name}" in said or f"{kind}_{name}".replace("-", "_") in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("search",), "no model is named"),
        (("search", *ON, *BATCH), "no model is named"),
        ((*MODEL, *BATCH), "no cluster is named. Valid: --on 1024xh100-sxm, or --on 256..4096xh100-sxm."),
        ((*MODEL, *ON), "batch is not given. Valid: sequences in a step, --batch 2048, or tokens"),
        (("search", "llama-9-7b", *ON, *BATCH), "unknown model 'llama-9-7b'. Did you mean"),
        (("search", "mlp-12288", *ON, *BATCH), "model=mlp-12288 is one of the theory's"),
        (("search", "nofile.toml", *ON, *BATCH), "cannot read"),
        (("search", "nofolder/config.json", *ON, *BATCH), "cannot read"),
        ((*MODEL, *ON, "--batch", "0"), "batch=0 must be a whole number of at least 1."),
        ((*MODEL, *ON, "--batch", "-4"), "batch=-4 must be a whole number of at least 1."),
        ((*MODEL, *ON, "--batch", "2.5"), "'2.5' is not a valid integer"),
        ((*MODEL, *ON, "--batch", "1" + "0" * 16), "must be at most"),
        ((*MODEL, *ON, "--batch-tokens", "nan"), "batch_tokens='nan' is not a quantity."),
        ((*MODEL, *ON, "--batch-tokens", "1"), "batch_tokens=1 must be between one sequence, 4096, and"),
        ((*MODEL, *ON, "--batch-tokens", "-1M"), "batch_tokens=-1M must be a positive, finite number."),
    ],
)
def test_what_is_missing_or_unknown(call, line, said):
    assert said in call(*line).refused()


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("h100-sxm", "does not say how many. Valid: --on 1024xh100-sxm."),
        ("0xh100-sxm", "number of accelerators"),
        ("-4xh100-sxm", "number of accelerators"),
        ("4.5xh100-sxm", "number of accelerators"),
        ("4xh1oo-sxm", "Did you mean 'h100-sxm'?"),
        ("16..8xh100-sxm", "16 is more than 8. Valid: --on 8..16xh100-sxm."),
        ("0..8xh100-sxm", "number of accelerators=0 must be a whole number of at least 1."),
        ("8..xh100-sxm", "number of accelerators"),
        ("..8xh100-sxm", "number of accelerators"),
        ("-8..16xh100-sxm", "number of accelerators"),
        ("8..16xh1oo-sxm", "Did you mean 'h100-sxm'?"),
        ("8..16h100-sxm", "does not say how many"),
        ("20000000xh100-sxm", "number of accelerators=20000000 must be at most 10,000,000."),
        ("1" + "0" * 24 + "xh100-sxm", "must be at most 10,000,000."),
        ("8..1" + "0" * 24 + "xh100-sxm", "must be at most 10,000,000."),
        ("9" * 40 + "xh100-sxm", "must be at most"),
    ],
)
def test_clusters(call, on, said):
    assert said in call(*MODEL, *BATCH, f"--on={on}").refused()


def test_a_format_that_the_accelerator_lacks(call):
    done = call(*MODEL, "--on", "4xa100-sxm-80gb", *BATCH, "--precision", "fp8")
    assert "precision=fp8 needs fp8, which the accelerator lacks. Valid: bf16, fp16, fp32." in done.refused()


def test_a_format_that_the_stack_lacks(call):
    said = call(*SMALL, "--stack", "megatron-lm-2021", "--precision", "fp8").refused()
    assert re.search(r"precision=fp8: .* does not train in it\. Valid: ", said)


def test_cost_and_energy_need_to_be_known(call):
    said = call(*MODEL, "--on", "4xh20", *BATCH, "--goal", "cost").refused()
    assert said == "goal=cost: no price of h20 is known. Valid: --price 2.50 (dollars a GPU-hour)."


def test_broken_model_files(call, file):
    file("config.json", "{")
    assert "config.json" in call("search", "config.json", *ON, *BATCH).refused()
    file("config.json", json.dumps({"model_type": "nonsense"}))
    assert "nonsense" in call("search", "config.json", *ON, *BATCH).refused()
    file("mine.toml", "num_layers = 4\n")
    assert "mine.toml" in call("search", "mine.toml", *ON, *BATCH).refused()


def test_a_file_that_cannot_be_written_is_refused_before_the_search(call, monkeypatch):
    monkeypatch.setattr("walltime.cli.search.recommend", lambda *_: pytest.fail("searched first"))
    call(*SMALL, "--save", "nowhere/best.toml").refused()
    call(*SMALL, "--save", "best.yaml").refused()
    call(*SMALL, "--save", ".").refused()


# Valid questions whose answer is no: exit code 3, what excluded how many plans, the smallest relaxation.

NO_PLAN = {
    "llama-3.2-1b --on 4099xh100-sxm --batch 64": (r"num_heads \d+", r"--on \d+xh100-sxm"),
    "llama-3.2-1b --on 4xh100-sxm --batch 16 --tp 3": (r"tp=3 [\d,]+", "without tp=3"),
    "llama-3.2-1b --on 4xh100-sxm --batch 7 --dp 2": (r"dp=2 [\d,]+", "without dp=2"),
    "llama-3.2-1b --on 4xh100-sxm --batch 16 --tp 4 --max-tp 2": (r"tp=4 [\d,]+, max_tp=2 [\d,]+", "without tp=4"),
    "llama-3.2-1b --on 4xh100-sxm --batch 16 --tp 4 --pp 4": (r"tp=4 [\d,]+, pp=4 [\d,]+", "without tp=4"),
    "llama-3.2-1b --on 4xh100-sxm --batch 16 --min-tp 4 --max-tp 2": (r"max_tp=2 [\d,]+", "without min_tp=4"),
    "llama-3.2-1b --on 4xh100-sxm --batch 16 --ep 2": (r"ep=2 [\d,]+", "without ep=2"),
    "llama-3.2-1b --on 4xh100-sxm --batch 16 --vpp 2 --pp 1": (r"vpp=2 [\d,]+, pp=1 [\d,]+", "without"),
    "llama-3.2-1b --on 4xh100-sxm --batch 16 --fix shard=3": (r"shard=3 [\d,]+", "without shard=3"),
    "llama-3.2-1b --on 4xh100-sxm --batch 16 --min-free-memory 90GB": (
        r"memory [\d,]+",
        "--min-free-memory 77248MB",
    ),
    "llama-3.1-405b --on 8xh100-sxm --batch 64": (r"memory [\d,]+", r"--on \d+xh100-sxm"),
    "llama-3.2-1b --on 4xh100-sxm --batch 16 --tokens 1T --deadline 1d": (
        r"deadline=24 h [\d,]+",
        r"--deadline [\d.]+d",
    ),
    "mixtral-8x7b --on 24xh100-sxm --batch 48 --ep 3": (r"ep=3 [\d,]+", "without ep=3"),
}


@pytest.mark.parametrize("line", NO_PLAN)
def test_no_plan(call, line):
    excluded, relaxed = NO_PLAN[line]
    done = call("search", *line.split())
    said = done.refused(code=3)
    assert done.out == ""
    assert re.match(r"no plan( meets the deadline)?: of [\d,]+ plans, excluded by ", said)
    assert re.search(excluded, said), said
    assert re.search(f"Smallest relaxation: {relaxed}", said), said
    assert not re.search(r"\b(nan|inf|None)\b", said)


@pytest.mark.parametrize("line", [line for line in NO_PLAN if "405b" not in line and "4099" not in line])
def test_counts_of_no_plan_add_up(call, line):
    found = call("search", *line.split(), "--json").json()
    assert sum(found["excluded"].values()) == found["plans_considered"]


def test_no_front(call):
    said = call(*SMALL, "--tp", "3", "--pareto", "time,memory").refused(code=3)
    assert "Smallest relaxation: without tp=3" in said


# Odd questions that have an answer


@pytest.mark.parametrize(
    "line",
    [
        "llama-3.2-1b --on 1xh100-sxm --batch 1",
        "llama-3.2-1b --on 1xh100-sxm --batch 1 --seq-len 1",
        "llama-3.2-1b --on 8xh100-sxm --batch 1 --seq-len 1",
        "llama-3.2-1b --on 4xh100-sxm --batch 7 --seq-len 1023",
        "llama-3.2-1b --on 4xh100-sxm --batch 1000000000000000",
        "llama-3.2-1b --on 3xh100-sxm --batch 9",
        "llama-3.2-1b --on 4..4xh100-sxm --batch 16",
        "llama-3.2-1b --on 4xh100-sxm --on 4xh100-sxm --batch 16",
        "llama-3.2-1b --on 4xh100-sxm --batch 16 --top 1000",
        "llama-3.2-1b --on 4xh100-sxm --batch 16 --tp 1,1,2",
        "llama-3.2-1b --on 4xh100-sxm --batch 16 --tokens 1",
        "llama-3.2-1b --on 4xh100-sxm --batch 16 --max-tp 1000000",
        "llama-3.2-1b --on 4xh20 --batch 16",
        "llama-3.2-1b --on 4xv100-sxm-32gb --batch 16 --attention unfused",
        "gpt2 --on 2xh100-sxm --batch 8 --pp 2",
    ],
)
def test_odd_questions_are_answered(call, line):
    done = call("search", *line.split())
    assert done.code == 0, done.err
    assert "plan: " in done.out
    assert not re.search(r"\b(nan|inf|None)\b", done.out)


def test_a_sequence_of_one_token_is_not_split(call):
    """Context parallelism halves sequences; one token has no halves."""
    found = call(*MODEL, "--on", "8xh100-sxm", "--batch", "8", "--seq-len", "1", "--top", "50", "--json").json()
    assert {plan["plan.cp"] for plan in found["plans"]} == {1}


def test_a_choice_that_the_stack_lacks_leaves_no_plan(call):
    """Megatron's ZeRO-3 gathers parameters again: nothing keeps them, and no other plan is offered instead."""
    said = call(*SMALL, "--fix", "sharding=zero3", "--fix", "reshard=false").refused(code=3)
    assert re.search(r"reshard=false [\d,]+", said)
