"""Bad input is one line that names the field, the value and what would be valid; never a traceback."""

import json
import re
from pathlib import Path

import pytest

from walltime.studies.erdil2024 import Study

LIMITS = ("limits", "--on", "h100-sxm", "--to", "1e26")
ESTIMATE = ("estimate", "mlp-12288", "--on", "2048xh100-sxm")


def split(text):
    return tuple(text.split())


NAMES = {
    "limits --on h1oo-sxm": "unknown accelerator or cluster 'h1oo-sxm'. Did you mean 'h100-sxm'?",
    "estimate mlp-12288 --on 8xh1oo-sxm": "'h1oo-sxm'. Did you mean 'h100-sxm'?",
    "limits --parameters datasheet --on gb20": "unknown accelerator or cluster 'gb20'. Did you mean 'gb200'?",
    "limits --parameters datasheet --on dgx-h10": "'dgx-h10'. Did you mean 'dgx-h100'?",
    "limits --assumptions corected": "unknown assumptions 'corected'. Did you mean 'corrected'?",
    "limits --fix finer_grid": "unknown fix 'finer_grid'. Did you mean 'finer_cluster_grid'?",
    "limits --space ful": "unknown space 'ful'. Did you mean 'full'?",
    "limits --cluster-choice small": "unknown cluster choice 'small'. Did you mean 'smallest'?",
    "limits --batch-law deepsek": "unknown batch law 'deepsek'. Did you mean 'deepseek'?",
    "limits --engine erdill": "unknown engine 'erdill'. Did you mean 'erdil'?",
    "limits --precision fp61": "unknown precision of h100-sxm 'fp61'. Did you mean 'fp16'?",
    "limits --parameters Erdil2023": "unknown parameter set 'Erdil2023'. Did you mean 'Erdil2024'?",
    "limits --overlap ttp=1": "unknown kind in --overlap 'ttp'. Did you mean 'tp'?",
    "limits --set network.latncy=1us": "'network.latncy'. Did you mean 'network.latency'?",
    "limits --set network.nvlnk.latency=1us": "'nvlnk'. Did you mean 'nvlink'?",
    "limits --set accelerator.memroy=1GB": "'accelerator.memroy'. Did you mean 'accelerator.memory'?",
    "estimate mlp-12288 --on 8xh100-sxm --pp 2 --schedule zerobubble": "'zerobubble'. Did you mean 'zero-bubble'?",
    "estimate llama-3.1-450b --on 8xh100-sxm": "unknown model 'llama-3.1-450b'. Did you mean 'llama-3.1-405b'?",
    "limit --on h100-sxm": "unknown command 'limit'. Did you mean 'limits'?",
    "verify matmul x.jsonl --fix finer_grid": "unknown fix 'finer_grid'. Did you mean 'finer_cluster_grid'?",
    "show h1oo-sxm": "'h1oo-sxm'. Did you mean 'h100-sxm'?",
    "show accelerators h1oo-sxm": "'h1oo-sxm'. Did you mean 'h100-sxm'?",
    "show acelerators h100-sxm": "'acelerators'. Did you mean 'accelerators'?",
    "show sources erdil2024artikle": "Did you mean 'erdil2024article'?",
    "reproduce erdil2025": "unknown paper 'erdil2025'. Did you mean 'erdil2024'?",
    "reproduce erdil2024 artikle_figure --out x": "unknown figure 'artikle_figure'. Did you mean 'article_figure'?",
    "reproduce erdil2024 --mode as_publish": "unknown mode 'as_publish'. Did you mean 'as_published'?",
}


@pytest.mark.parametrize("line", NAMES)
def test_a_misspelt_name_is_named_with_the_nearest(call, line):
    assert NAMES[line] in call(*split(line)).refused()


@pytest.mark.parametrize(
    "line",
    [
        "limits --nonsense",
        "--nonsense",
        "verify nonsense",
        "estimate mlp-12288 --on 8xh100-sxm --tpff 8",
        "bench nonsense",
        "reproduce",
        "verify matmul",
        "limits --on",
    ],
)
def test_an_unknown_or_missing_argument_is_refused(call, line):
    call(*split(line)).refused()


# What every quantity of a command refuses: (text, what is said of it).
NOT_QUANTITIES = ["inf", "nan", "-inf", "", "x", "1e400", "1e", "--5", "0x10"]


@pytest.mark.parametrize(
    "value", ["50", "50parsec", "50GB", "0GB/s", "-5GB/s", "0x", "-1x", "1e400GB/s", "1e400x", "nanx"]
)
def test_bandwidth(call, value):
    said = call(*LIMITS, "--set", f"network.bandwidth={value}").refused()
    assert said.startswith("network.bandwidth=")
    assert value.removesuffix("x") in said


@pytest.mark.parametrize("value", NOT_QUANTITIES)
@pytest.mark.parametrize(
    "field",
    [
        "network.bandwidth",
        "network.nvlink.latency",
        "accelerator.peak",
        "accelerator.memory",
        "accelerator.memory_bandwidth",
        "accelerator.l2",
        "accelerator.l2_bandwidth",
        "accelerator.matmul_latency",
        "accelerator.achievable_fraction",
    ],
)
def test_no_setting_takes_what_is_not_a_quantity(call, field, value):
    said = call(*LIMITS, "--set", f"{field}={value}").refused()
    assert field in said


@pytest.mark.parametrize("value", NOT_QUANTITIES)
@pytest.mark.parametrize("flag", ["--duration", "--from", "--to", "--fraction", "--seq-len"])
def test_no_flag_of_limits_takes_what_is_not_a_quantity(call, flag, value):
    said = call("limits", "--on", "h100-sxm", f"{flag}={value}").refused()
    assert flag.strip("-").replace("-", "_") in said.replace("-", "_")


@pytest.mark.parametrize("value", NOT_QUANTITIES)
@pytest.mark.parametrize(
    "flag",
    [
        "--batch-tokens",
        "--layers",
        "--experts",
        "--d-ff",
        "--dp",
        "--tp-ff",
        "--microbatches",
        "--interleave",
        "--seq-len",
    ],
)
def test_no_flag_of_estimate_takes_what_is_not_a_quantity(call, flag, value):
    said = call(*ESTIMATE, f"{flag}={value}").refused()
    assert flag.strip("-").replace("-", "_") in said.replace("-", "_")


@pytest.mark.parametrize("value", ["3", "3moons", "-3months", "0d", "90", "3 months ago", "1e400y"])
def test_duration(call, value):
    assert "duration" in call("limits", f"--duration={value}").refused()


EXTREME = [
    "network.bandwidth=1e308x",
    "network.bandwidth=1e-300x",
    "network.bandwidth=1e308GB/s",
    "network.latency=1e308s",
    "network.latency=1e308x",
    "network.latency=1e-320s",
    "accelerator.peak=1e308FLOP/s",
    "accelerator.peak=1e290x",
    "accelerator.peak=1e-300x",
    "accelerator.memory=1B",
    "accelerator.memory=1e308B",
    "accelerator.memory_bandwidth=1e308x",
    "accelerator.l2=1e-320B",
    "accelerator.l2=1e308B",
    "accelerator.l2_bandwidth=1e-300x",
    "accelerator.matmul_latency=1e308s",
    "accelerator.achievable_fraction=1e-300",
]


@pytest.mark.parametrize("setting", EXTREME)
@pytest.mark.parametrize("args", [LIMITS, ("estimate", "mlp-4096", "--on", "8xh100-sxm", "--tp-ff", "2", "--dp", "4")])
def test_absurd_but_finite_settings_give_an_answer_or_a_refusal(call, args, setting):
    """Never nan or inf, never a warning of NumPy's, never a traceback."""
    result = call(*args, "--set", setting)
    assert result.code in (0, 2, 3)
    if result.code:
        result.refused(result.code)
    assert not re.search(r"(?<![a-z])(nan|inf)(?![a-z])", result.out + result.err, re.IGNORECASE)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("8,8", "2 sizes; nvlink4-800g has 2 levels (nvlink, infiniband), so 1"),
        ("0", "must be a whole number of at least 1"),
        ("-8", "must be a whole number of at least 1"),
        ("1.5", "must be a whole number of at least 1"),
        ("8,", "'' must be a whole number"),
        ("eight", "'eight' must be a whole number"),
    ],
)
def test_network_sizes(call, value, said):
    assert said in call(*LIMITS, "--set", f"network.sizes={value}").refused()


def test_the_last_level_has_no_size(call):
    assert "open-ended" in call(*LIMITS, "--set", "network.infiniband.size=8").refused()


@pytest.mark.parametrize("setting", ["network.latency", "=1us", "network.latency=", "latency=1us", "network.=1us"])
def test_a_setting_must_be_field_and_value(call, setting):
    call(*LIMITS, "--set", setting).refused()


@pytest.mark.parametrize("value", ["tp", "tp=", "tp=2", "tp=-0.1", "tp=nan", "tp=inf", "dp=0.5", "=1"])
def test_overlap(call, value):
    assert "overlap" in call(*LIMITS, "--overlap", value).refused()


@pytest.mark.parametrize("count", ["0", "-8", "1.5", "1e400"])
def test_a_number_of_accelerators_is_a_whole_number(call, count):
    said = call("estimate", "mlp-12288", f"--on={count}xh100-sxm").refused()
    assert count in said


def test_estimate_needs_a_number_and_limits_refuses_one(call):
    assert "--on 1024xh100-sxm" in call("estimate", "mlp-12288", "--on", "h100-sxm").refused()
    said = call("limits", "--on", "1024xh100-sxm").refused()
    assert "limits finds the number of accelerators" in said
    assert "Valid: --on h100-sxm" in said


def test_what_is_missing_is_named(call):
    assert "no cluster is named" in call("estimate", "mlp-12288").refused()
    assert "no model is named" in call("estimate", "--on", "8xh100-sxm").refused()
    assert "--out" in call("reproduce", "erdil2024", "all").refused()
    assert "no cluster is named" in call("limits", "--on", "").refused()


PLANS = {
    "--tp-ff 7": "tp_ff=7 does not divide d_ff=49152. Nearest: 6, 8.",
    "--tp-model 5": "tp_model=5 does not divide d_model=12288. Nearest: 4, 6.",
    "--pp 65": "pp=65 does not divide num_layers=192. Nearest: 64, 96.",
    "--pp 1000": "pp=1000 does not divide num_layers=192. Nearest: 192.",
    "--dp 5": "dp=5 does not divide tokens of an expert's batch=7340032. Nearest: 4, 7.",
    "--ep 2": "ep=2 does not divide num_experts=1. Nearest: 1.",
    "--tp-ff 8 --pp 64": "the plan occupies 512 accelerators (tp_ff 8 x pp 64); the cluster has 2048. Valid: dp=4.",
    "--tp 8 --pp 64": "accelerators (tp_model 8 x pp 64); the cluster has 2048. Valid: dp=4.",
    "--tp 128 --pp 64": "(tp_model 128 x pp 64); the cluster has 2048. Valid: tp=32.",
    "--tp-ff 128 --pp 64": "(tp_ff 128 x pp 64); the cluster has 2048. Valid: tp_ff=32.",
    "--tp-ff 3 --tp-model 3 --pp 64": "x pp 64); the cluster has 2048. Valid: --on 576xh100-sxm.",
    "--tp 7": "tp=7 has no split that divides d_model=12288 and d_ff=49152. Nearest: 6, 8.",
    "--tp 603979777": "and d_ff=49152. Nearest: 603979776.",
    "--tp-ff 1,2,3": "tp_ff is given for 3 network levels; nvlink4-800g has 2 (nvlink, infiniband).",
    "--tp-ff 8,1 --pp 256": "pp=256 is not placed, but tp_ff is. Valid: a list of 2 degrees",
    "--tp-ff 4,2 --pp 1,64 --dp 1,4": "the degrees at level 'nvlink' multiply to 4; it joins 8",
    "--tp-ff 0": "tp_ff=0 must be a whole number of at least 1",
    "--tp-ff=-1": "tp_ff='-1' must be a whole number of at least 1",
    "--tp-ff x": "tp_ff='x' must be a whole number of at least 1",
    "--tp-ff 8 --pp 64 --dp 4 --microbatches 3": "num_microbatches=3 does not divide tokens of a pipeline",
    "--tp-ff 8 --pp 64 --dp 4 --microbatches 0": "num_microbatches=0 must be a whole number of at least 1",
    "--tp-ff 8 --pp 64 --dp 4 --microbatches 32": "leaves a 1f1b pipeline of 64 stages empty. Valid: 64 or more",
    "--tp-ff 8 --pp 64 --dp 4 --interleave 2": "interleave=2 does not divide layers of a stage=3. Nearest: 1, 3.",
    "--tp-ff 8 --pp 64 --dp 4 --interleave 0": "interleave=0 must be a whole number of at least 1",
    "--tp-ff 8 --dp 256 --interleave 2": "interleave=2 needs a pipeline: pp is 1. Valid: 1.",
    "--pp 64 --interleave 3 --schedule zero-bubble": "interleave=3 does not go with schedule=zero-bubble. Valid: 1.",
}


@pytest.mark.parametrize("flags", PLANS)
def test_a_plan_that_does_not_divide(call, flags):
    assert PLANS[flags] in call(*ESTIMATE, *split(flags)).refused()


@pytest.mark.parametrize("experts", [3, 7])
def test_a_batch_that_experts_do_not_share_evenly_is_refused(call, experts):
    """Tokens are neither dropped nor padded in silence (specification 2.7, defect 8)."""
    flags = split(f"--experts {experts} --batch-tokens {1024 * experts + 1} --layers 2")
    said = call("estimate", "mlp-1024", "--on", f"{experts}xh100-sxm", *flags, "--ep", experts).refused()
    assert "batch_tokens" in said


def test_fewer_tokens_than_experts_are_refused(call):
    flags = split("--experts 64 --batch-tokens 32")
    assert "batch_tokens" in call("estimate", "mlp-64", "--on", "64xh100-sxm", *flags).refused()


@pytest.mark.parametrize("model", ["mlp-0", "mlp--5", "mlp-1.5", "mlp-", "mlp", "MLP-64", "mlp-1e4"])
def test_models(call, model):
    call("estimate", "--on", "8xh100-sxm", "--", model).refused()


@pytest.mark.parametrize("value", ["0", "-4096", "1.5", "4MB", "0.0005k"])
def test_batch_tokens(call, value):
    assert "batch_tokens" in call(*ESTIMATE, f"--batch-tokens={value}").refused()


def test_no_run_between_two_bounds(call):
    said = call("limits", "--from", "1e30", "--to", "1e25").refused()
    assert "It spans 6.45e24 to 2.42e36" in said


def test_an_open_range_of_runs_is_said_without_infinity(call):
    spans = "It spans 6.45e24 to 2.42e36."
    assert call("limits", "--from", "1e60").refused() == f"no run of the grid has at least 1e+60 FLOP. {spans}"
    assert call("limits", "--to", "1e3").refused() == f"no run of the grid has at most 1000 FLOP. {spans}"


def test_a_multiple_of_what_is_unlimited_says_so(call):
    said = call("limits", "--on", "INF", "--set", "network.bandwidth=0.5x").refused()
    assert said.startswith("network.bandwidth=0.5x: it is unlimited")
    assert call("limits", "--on", "INF", "--to", "1e25", "--set", "network.bandwidth=400Gb/s").code == 0


def test_whose_numbers_have_a_cluster_is_said(call):
    said = call("limits", "--on", "b200", "--parameters", "Erdil2024").refused()
    assert said == "the numbers of Erdil2024 have no accelerator or cluster 'b200'. Valid: --parameters datasheet."
    said = call("limits", "--on", "LL", "--parameters", "datasheet").refused()
    assert said.endswith("Valid: --parameters Erdil2024.")


@pytest.mark.parametrize("value", ["-1", "nan", "1", "inf", "1e400", "x"])
def test_tolerance(call, file, value):
    row = {"gpu": "H100 SXM", "d1": 8, "d2": 8, "b": 8, "weight_grad": False, "seconds": 1.0}
    assert (
        "tolerance" in call("verify", "matmul", file("rows.jsonl", json.dumps(row)), f"--tolerance={value}").refused()
    )


# Files.

MATMUL = {"gpu": "H100 SXM", "d1": 1, "d2": 1, "b": 1, "weight_grad": False, "seconds": 1e-6}


def line_of(**changes):
    return json.dumps(MATMUL | changes)


ROWS = {
    "unparsable": (f"{line_of()}\n{{\n", ":2: not a JSON object"),
    "a list": (f"{line_of()}\n\n[1]\n", ":3: a list, not a JSON object"),
    "deep": ("[" * 100_000, ":1: not a JSON object"),
    "a missing field": (f"{line_of()}\n{json.dumps({'gpu': 'H100 SXM'})}\n", ":2: no field 'd1'"),
    "a wrong type": (line_of(d1="8"), ":1: d1='8' is not of type int"),
    "a truth value": (line_of(d1=True), ":1: d1=True is not of type int"),
    "a fraction": (line_of(d1=1.5), ":1: d1=1.5 is not of type int"),
    "zero": (line_of(d1=0), ":1: d1=0 must be at least 1"),
    "negative": (line_of(d1=-1), ":1: d1=-1 must be finite and not negative"),
    "nan": (line_of(seconds=float("nan")), ":1: seconds=nan must be finite"),
    "infinite": (line_of(seconds=float("inf")), ":1: seconds=inf must be finite"),
    "1e400": (line_of().replace("1e-06", "1e400"), ":1: seconds=inf must be finite"),
    "beyond floats": (line_of(d1=10**400), ":1: d1=1"),
    "another GPU": (f"{line_of()}\n{line_of(gpu='H1OO SXM')}", ":2: unknown accelerator or cluster 'H1OO SXM'"),
    "empty": ("", "no rows"),
    "blank": ("\n\n", "no rows"),
    "binary": (b"\x00\xff\xfe\x80", "not a UTF-8 text file"),
}


@pytest.mark.parametrize("what", ROWS)
def test_a_file_of_rows(call, file, what):
    content, said = ROWS[what]
    path = file("rows.jsonl", content)
    answer = call("verify", "matmul", path).refused()
    assert said in answer
    assert str(path) in answer
    assert len(answer) < 1000


@pytest.mark.parametrize("what", ["matmul", "step", "frontier"])
def test_files_that_are_not_there(call, tmp_path, what):
    assert "none.jsonl" in call("verify", what, tmp_path / "none.jsonl").refused()
    assert str(tmp_path) in call("verify", what, tmp_path).refused()


def test_rows_of_another_kind(call, file):
    path = file("rows.jsonl", line_of())
    assert ":1: no field 'placement'" in call("verify", "step", path).refused()
    assert ":1: no field 'd_model'" in call("verify", "frontier", path).refused()


def test_a_step_with_degrees_for_the_wrong_levels(call, file):
    stored = Path(__file__).parents[1] / "data" / "erdil2024" / "step.jsonl"
    row = json.loads(stored.read_text().splitlines()[0])
    for wrong in ([1], [1, 2, 3], 8, None):
        changed = row | {"placement": row["placement"] | {"DP": wrong}}
        said = call("verify", "step", file("step.jsonl", json.dumps(changed))).refused()
        assert f":1: placement.DP={wrong!r} must be a list of 2 degrees" in said


SPLIT_TO_NOTHING = {
    "d_model": ({"d_model": 1}, "d_model=1 is split by placement.TPm=128"),
    "d_ff": ({"d_ff": 1}, "d_ff=1 is split by placement.TPf=2"),
    "layers": ({"layers": 63}, "layers=63 is split by placement.PP=64 x interleave=1"),
    "chunks of layers": ({"interleave": 7}, "layers=384 is split by placement.PP=64 x interleave=7"),
    "experts": ({"sparsity": 1}, "sparsity=1 is split by placement.EP=2"),
    "tokens": (
        {"batch_seqs": 1},
        "batch_seqs x seq_len / sparsity=113 is split by placement.DP=512 x num_microbatches=1536",
    ),
}


@pytest.mark.parametrize("what", SPLIT_TO_NOTHING)
def test_a_step_whose_shares_come_to_zero(walltime, file, what):
    """Nothing is compared with what is not a number, and NumPy has nothing to warn of (warnings are errors here)."""
    changes, said = SPLIT_TO_NOTHING[what]
    stored = Path(__file__).parents[1] / "data" / "erdil2024" / "step.jsonl"
    lines = stored.read_text().splitlines()[:2]
    path = file("step.jsonl", "\n".join([lines[1], json.dumps(json.loads(lines[0]) | changes)]))
    assert f"step.jsonl:2: {said}: a share comes to zero." in walltime("verify", "step", path).refused()


def test_a_width_beyond_every_model_is_refused_with_its_line(call, file):
    row = {"setting": "H100 SXM", "d_model": 10**20, "feasible": False}
    said = call("verify", "frontier", file("rows.jsonl", json.dumps(row))).refused()
    assert "rows.jsonl:1: d_model=" in said


HEADER = "d_model,training_flop,months,utilization,n_gpu\n"
CURVES = {
    "a cell that is no number": (f"{HEADER}12288,x,1,1,1\n", ":2: training_flop='x' is not a number"),
    "a column too few": (f"{HEADER}12288,1e24,1,1\n", ":2: 4 cells; the header has 5 columns"),
    "a column too many": (f"{HEADER}12288,1e24,1,1,1,1\n", ":2: 6 cells; the header has 5 columns"),
    "a column too many over two lines": (f'{HEADER}\n12288,1e24,1,1,1,"7\n7"\n', ":3: 6 cells; the header has 5"),
    "a column too many before others": (f"{HEADER}12288,1e24,1,1,1,7\n{'12288,1e24,1,1,1' * 2}\n", ":2: 6 cells"),
    "a missing column": (
        "d_model,months\n12288,1\n",
        ":2: no field 'training_flop'. Fields there: d_model, months.",
    ),
    "an open quote": (f'{HEADER}12288,1e24,1,1,"1\n', ":2: not a row of CSV"),
    "a header only": (HEADER, "no rows"),
    "nan": (f"{HEADER}12288,nan,1,1,1\n", ":2: training_flop=nan"),
    "infinite": (f"{HEADER}12288,1e400,1,1,1\n", ":2: training_flop=inf"),
    "a fraction": (f"{HEADER}12288,1e24,1,1,1.5\n", ":2: n_gpu=1.5"),
    "zero": (f"{HEADER}0,1e24,1,1,1\n", ":2: d_model=0"),
}


@pytest.mark.parametrize("what", CURVES)
def test_a_curve(call, file, what):
    content, said = CURVES[what]
    path = file("head__H100.dense.def.0.25.csv", content)
    answer = call("verify", "frontier", path).refused()
    assert said in answer
    assert "as printed" not in answer


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("curve.csv", "does not say which accelerator"),
        ("head__H1O0.dense.def.0.25.csv", "'H1O0'. Did you mean"),
        ("head__H100.denze.def.0.25.csv", "unknown sparsity 'denze'. Did you mean 'dense'?"),
        ("head__H100.dense.deff.0.25.csv", "'deff'. Did you mean 'def'?"),
        ("haed__H100.dense.def.0.25.csv", "unknown fix 'haed'. Did you mean 'head'?"),
        ("head__H100.dense.def.long.csv", "'long'"),
        ("head__H100.dense.def.nan.csv", "nan years"),
        ("head__H100.dense.def.-1.csv", "-1.0 years"),
    ],
)
def test_the_name_of_a_curve(call, file, name, said):
    assert said in call("verify", "frontier", file(name, f"{HEADER}12288,1e24,1,1,1\n")).refused()


RUN_FILES = {
    "an unknown key": ('duratoin = "3months"\n', "unknown field 'duratoin'. Did you mean 'duration'?"),
    "a wrong type": ("on = 5\n", "on=5 must be text."),
    "a date for a name": ("on = 2020-01-01\n", "on=2020-01-01 must be text."),
    "a truth value": ("seq_len = true\n", "seq_len=true must be a whole number."),
    "a fraction for a whole number": ("seq_len = 2048.5\n", "seq_len=2048.5 must be a whole number."),
    "text for a number": ('fraction = "half"\n', "fraction='half' must be a number."),
    "a truth value for a number": ("fraction = true\n", "fraction=true must be a number."),
    "a truth value for a quantity": ("from = true\n", "from=true must be text or a number."),
    "a list for a quantity": ("to = [1]\n", "to=[1] must be text or a number."),
    "text for a list": ('set = "network.latency=2x"\n', "set='network.latency=2x' must be a list of texts."),
    "empty text for a list": ('set = ""\n', "set='' must be a list of texts."),
    "a table for a list": ("set = {}\n", "set={} must be a list of texts."),
    "numbers for texts": ("set = [5]\n", "set=[5] must be a list of texts."),
    "a number for settings": ("set = 3\n", "set=3 must be a list of texts."),
    "zero for settings": ("set = 0\n", "set=0 must be a list of texts."),
    "a number for fixes": ("fix = 3\n", "fix=3 must be a list of texts."),
    "a truth value for fixes": ("fix = true\n", "fix=true must be a list of texts."),
    "no for fixes": ("fix = false\n", "fix=false must be a list of texts."),
    "a date for fixes": ("fix = 2020-01-01\n", "fix=2020-01-01 must be a list of texts."),
    "a date among fixes": ("fix = [2020-01-01]\n", 'fix=["2020-01-01"] must be a list of texts.'),
    "a number for overlaps": ("overlap = 3\n", "overlap=3 must be a list of texts."),
    "not TOML": ('on = "h100-sxm\n', "not valid TOML"),
    "binary": (b"\xff\xfe\x00", "not a UTF-8 text file"),
    "nan": ("fraction = nan\n", "fraction=nan"),
    "a bad value": ('duration = "3"\n', "duration='3' has no unit"),
}


@pytest.mark.parametrize("what", RUN_FILES)
def test_a_run_file(call, file, what):
    content, said = RUN_FILES[what]
    path = file("run.toml", content)
    answer = call("limits", path).refused()
    assert said in answer
    if said.endswith("."):
        assert answer == f"{path}: {said}"


PLAN_FILES = {
    "dp = 2.5": "dp=2.5 must be a whole number, text or a list of whole numbers.",
    "dp = [1, 2.0]": "dp=[1, 2.0] must be a whole number, text or a list of whole numbers.",
    "microbatches = '3'": "microbatches='3' must be a whole number.",
    "recompute = 1": "recompute=1 must be true or false.",
    "batch_tokens = true": "batch_tokens=true must be text or a number.",
    "schedule = 1": "schedule=1 must be text.",
}


@pytest.mark.parametrize("line", PLAN_FILES)
def test_a_run_file_of_a_step(call, file, line):
    path = file("step.toml", f'model = "mlp-12288"\non = "2048xh100-sxm"\n{line}\n')
    assert call("estimate", path).refused() == f"{path}: {PLAN_FILES[line]}"


def test_run_files_that_are_not_there(call, tmp_path):
    for command in ("limits", "estimate"):
        assert "none.toml" in call(command, tmp_path / "none.toml").refused()
        assert str(tmp_path) in call(command, f"{tmp_path}/").refused()


CLUSTER = """
accelerator = "h100-sxm"

[[level]]
name = "inner"
bandwidth = "450GB/s"
latency = "1us"
size = 8

[[level]]
name = "outer"
bandwidth = "400Gb/s"
latency = "2us"
"""
CLUSTERS = {
    "no unit": ("450GB/s", "450", "inner.bandwidth='450' has no unit"),
    "another unit": ("450GB/s", "450GB", "has the unknown unit 'GB'"),
    "zero": ("1us", "0us", "inner.latency=0us must be a positive"),
    "no size": ("size = 8", "", "level 'inner' needs a size"),
    "size 0": ("size = 8", "size = 0", "inner.size=0 must be a whole number of at least 1"),
    "size as text": (
        "size = 8",
        'size = "8"',
        "mine.toml: level[0].size must be a whole number, not text. Valid fields of a level",
    ),
    "a number for text": ('"450GB/s"', "450", "mine.toml: level[0].bandwidth must be text, not a whole number."),
    "text for a list": (
        'accelerator = "h100-sxm"',
        'accelerator = "h100-sxm"\nset = "x"',
        "set must be a list, not text",
    ),
    "a date for a name": ('"h100-sxm"', "2020-01-01", "mine.toml: accelerator must be text, not "),
    "a misspelt setting": (
        'accelerator = "h100-sxm"',
        'accelerator = "h100-sxm"\nset = ["network.latncy=1us"]',
        "mine.toml: unknown field in --set 'network.latncy'. Did you mean 'network.latency'?",
    ),
    "another parameter set": (
        'accelerator = "h100-sxm"',
        'accelerator = "b200"\nparameters = "Erdil2024"',
        "mine.toml: the numbers of Erdil2024 have no accelerator 'b200'. Valid: --parameters datasheet.",
    ),
    "a precision it lacks": (
        'accelerator = "h100-sxm"',
        'accelerator = "h100-sxm"\nprecision = "fp61"',
        "mine.toml: unknown precision of h100-sxm 'fp61'. Did you mean",
    ),
    "an unknown key": ("size = 8", "sise = 8", "sise"),
    "a missing key": ('latency = "2us"', "", "latency"),
    "a last size": ('latency = "2us"', 'latency = "2us"\nsize = 4', "open-ended"),
    "another accelerator": (
        '"h100-sxm"',
        '"h10o-sxm"',
        "mine.toml: unknown accelerator 'h10o-sxm'. Did you mean 'h100-sxm'? (walltime show accelerators)",
    ),
    "no accelerator": ('accelerator = "h100-sxm"', "", "accelerator"),
    "a name twice": ('"outer"', '"inner"', "inner"),
    "not TOML": ('"inner"', '"inner', "not valid TOML"),
}


@pytest.mark.parametrize("what", CLUSTERS)
def test_a_cluster_file(call, file, what):
    old, new, said = CLUSTERS[what]
    assert call("limits", "--on", file("good.toml", CLUSTER), "--to", "1e25").code == 0
    assert old in CLUSTER
    path = file("mine.toml", CLUSTER.replace(old, new, 1))
    assert said in call("limits", "--on", path, "--to", "1e25").refused()


def test_cluster_files_that_are_not_there(call, tmp_path, file):
    assert "none.toml" in call("limits", "--on", tmp_path / "none.toml").refused()
    assert (
        "at least one [[level]]"
        in call("limits", "--on", file("e.toml", 'accelerator = "h100-sxm"\nlevel = []')).refused()
    )
    assert "accelerator" in call("limits", "--on", file("empty.toml", "")).refused()
    assert "UTF-8" in call("limits", "--on", file("binary.toml", b"\xff\xfe")).refused()


@pytest.mark.parametrize("flag", ["--precision=fp8", "--parameters=Erdil2024"])
def test_a_flag_that_a_cluster_file_would_ignore_is_obeyed_or_refused(call, file, flag):
    """The file says whose numbers and which precision; a flag beside it must not vanish."""
    result = call("limits", "--on", file("mine.toml", CLUSTER), "--to", "1e25", "--json", flag)
    if result.code != 0:
        result.refused()
    else:
        inputs = result.json()["inputs"]
        assert flag.partition("=")[2] in (inputs["parameters"], inputs["accelerator"]["precision"])


def test_an_unwritable_folder_is_refused_before_the_work(call, file, monkeypatch):
    """Curves take time; that nothing can be written is known at once."""
    monkeypatch.setattr(Study, "compute", lambda *_: pytest.fail("computed before looking at --out"))
    where = file("a-file", "")
    for out in (where, where / "below"):
        call("reproduce", "erdil2024", "all", "--out", out, "--workers", "1").refused()
