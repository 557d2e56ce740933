"""The numbers printed in the specification, to the digits in which they are printed there."""

import math
from dataclasses import replace

import pytest

from walltime.engines import FIXES, Assumptions, estimate, matmul_device
from walltime.hardware import cluster, override
from walltime.limits import (
    FrontierQuestion,
    NodeBalance,
    RunFamily,
    frontier,
    sensitivities,
    t_crit_flop,
    t_limit_flop,
    width_grid,
)
from walltime.limits.closed_form import T_CRIT_POWERS, T_LIMIT_POWERS
from walltime.physics.matmul import matmul_time_s
from walltime.plan import MlpPlan, MlpPlanBatch, check_mlp_plan
from walltime.search import PUBLISHED
from walltime.studies.erdil2024 import Study, headlines

YEAR_S = 3.154e7  # specification 2.1


def of(gpu):
    return cluster({"V100": "v100-sxm", "A100": "a100-sxm", "H100": "h100-sxm"}.get(gpu, gpu), parameters="Erdil2024")


def rounds_to(value, printed):
    """Whether a value is printed like this: 2.05e28, 0.79, 26 791."""
    mantissa, _, exponent = printed.replace(" ", "").partition("e")
    decimals = len(mantissa.partition(".")[2])
    half_a_digit = 0.5 * 10 ** (int(exponent or 0) - decimals)
    return abs(value - float(printed.replace(" ", ""))) <= half_a_digit * (1 + 1e-9)


def test_rounding_is_strict():
    assert rounds_to(2.0484e28, "2.05e28")
    assert not rounds_to(2.0449e28, "2.05e28")
    assert not rounds_to(2.0551e28, "2.05e28")


# Specification 2.3: (d1, d2, n), then plain and weight-gradient seconds of V100, A100, H100; "same" as plain.
MATMULS = """
4096,4096,4096 | 1.220505e-3 same        | 5.229634e-4 same        | 2.029389e-4 same
1024,4096,256  | 2.350007e-5 2.791165e-5 | 1.260099e-5 same        | 7.600608e-6 same
3328,6656,768  | 3.055324e-4 same        | 1.328501e-4 same        | 5.422392e-5 5.362526e-5
3072,1536,40   | 1.553189e-5 2.601765e-5 | 5.924002e-6 same        | 5.045029e-6 same
8192,8192,8    | 1.558380e-4 3.043302e-4 | 9.129480e-5 1.775043e-4 | 4.640699e-5 8.803320e-5
"""


def _matmuls():
    for line in MATMULS.strip().splitlines():
        dims, *columns = line.split("|")
        for gpu, column in zip(("V100", "A100", "H100"), columns, strict=True):
            plain, gradient = column.split()
            yield gpu, tuple(map(float, dims.split(","))), False, plain
            yield gpu, tuple(map(float, dims.split(","))), True, plain if gradient == "same" else gradient


@pytest.mark.parametrize(("gpu", "dims", "weight_gradient", "printed"), list(_matmuls()))
def test_matmul(gpu, dims, weight_gradient, printed):
    device = matmul_device(of(gpu).accelerator, Assumptions())
    assert rounds_to(float(matmul_time_s(device, *dims, weight_gradient=weight_gradient)), printed)


# Specification 2.4.
DENSE = MlpPlan(
    dp=(1, 256), tp_model=(2, 4), tp_ff=(4, 16), pp=(1, 64), ep=(1, 1), num_microbatches=128, schedule="zero-bubble"
)
INTERLEAVED = replace(DENSE, num_microbatches=64, interleave=9, schedule="1f1b")
SPARSE = MlpPlan(
    dp=(1, 64), tp_model=(4, 4), tp_ff=(2, 8), pp=(1, 64), ep=(1, 24), num_microbatches=128, schedule="zero-bubble"
)


def run_of(family, width, plan):
    model = RunFamily(family).model(width)
    check_mlp_plan(plan, model, of("H100"))
    return model, estimate(model, of("H100"), MlpPlanBatch.of([plan]))


def test_the_models_of_the_golden_steps():
    dense, sparse = RunFamily().model(53248), RunFamily("sparse").model(36864)
    assert (dense.num_layers, dense.num_experts, dense.batch_tokens) == (576, 1, 12288 * 2048)
    assert rounds_to(dense.training_flop, "2.048422e28")
    assert (sparse.num_layers, sparse.num_experts, sparse.batch_tokens) == (448, 24, 73728 * 2048)


@pytest.mark.parametrize(
    ("family", "width", "plan", "run_s", "utilization"),
    [
        ("dense", 53248, DENSE, "4.46561973e6", "0.552666043"),
        ("dense", 53248, INTERLEAVED, "5.11441882e6", "0.482556566"),
        ("sparse", 36864, SPARSE, "5.14455386e6", "0.533328113"),
    ],
    ids=["dense", "interleaved", "sparse"],
)
def test_step(family, width, plan, run_s, utilization):
    _, result = run_of(family, width, plan)
    assert rounds_to(float(result.run_time_s[0]), run_s)
    assert rounds_to(float(result.utilization[0]), utilization)


def test_traffic_of_the_dense_step():
    model, result = run_of("dense", 53248, DENSE)
    printed = {
        "tp_comm": "4.12732527e6",
        "dp_comm": "3.29911345e5",
        "pp_comm": "8.35974448e3",
        "latency": "1.09149880e5",
    }
    for name, run_s in printed.items():
        assert rounds_to(float(result.busy_s[name][0]) * model.num_steps, run_s), name


# Specification 1.4.
@pytest.mark.parametrize(
    ("gpu", "alpha", "printed"),
    [
        ("V100", 0, "1.30e27"),
        ("V100", 0.2, "2.19e29"),
        ("A100", 0, "2.62e28"),
        ("A100", 0.2, "3.25e31"),
        ("H100", 0, "1.92e28"),
        ("H100", 0.2, "1.94e31"),
    ],
)
def test_t_crit(gpu, alpha, printed):
    assert rounds_to(t_crit_flop(NodeBalance.of(of(gpu)), alpha), printed)


@pytest.mark.parametrize(
    ("alpha", "printed"), [(-0.2, "1.6e29"), (-0.1, "1.3e30"), (0, "2.31e31"), (0.1, "1.8e33"), (0.2, "2.6e36")]
)
def test_t_limit(alpha, printed):
    assert rounds_to(t_limit_flop(alpha), printed)


@pytest.mark.parametrize(
    ("gpu", "n", "s"), [("V100", "279", "26 791"), ("A100", "401", "16 633"), ("H100", "590", "26 385")]
)
def test_nanobatch_and_shard(gpu, n, s):
    node = NodeBalance.of(of(gpu))
    assert rounds_to(node.nanobatch_tokens, n)
    assert rounds_to(node.shard_width, s)


def test_t_crit_in_one_formula():
    """T_crit = (27/81920) (B/L)^2 t^2 W_net^4 W_mem^2 / X^4 MAC at alpha = 0."""
    node, duration_s = NodeBalance.of(of("H100")), 365.25 * 86400 / 4
    balance = node.network_words_per_s**4 * node.memory_words_per_s**2 / node.mac_per_s**4
    mac = 27 / 81920 * (4e6 / 100) ** 2 * duration_s**2 * balance
    assert t_crit_flop(node) == pytest.approx(2 * mac, rel=1e-12)


@pytest.mark.parametrize("alpha", [-0.2, 0, 0.2])
def test_sensitivities_are_slopes(alpha):
    """Each stated power is the log-log slope of the function itself."""
    node, by = NodeBalance.of(of("H100")), 1.01
    faster = {
        "network bandwidth": replace(node, network_words_per_s=by * node.network_words_per_s),
        "memory bandwidth": replace(node, memory_words_per_s=by * node.memory_words_per_s),
        "peak arithmetic": replace(node, mac_per_s=by * node.mac_per_s),
    }
    slopes = {name: math.log(t_crit_flop(n, alpha) / t_crit_flop(node, alpha), by) for name, n in faster.items()}
    slopes["duration"] = math.log(t_crit_flop(node, alpha, by * 7e6) / t_crit_flop(node, alpha, 7e6), by)
    stated = sensitivities(T_CRIT_POWERS, alpha)
    assert {name: stated[name] for name in slopes} == pytest.approx(slopes, rel=1e-9)
    stated = sensitivities(T_LIMIT_POWERS, alpha)
    tau = math.log(t_limit_flop(alpha, step_s=by * 9e-6) / t_limit_flop(alpha, step_s=9e-6), by)
    assert stated["latency of a matmul and its all-reduce"] == pytest.approx(tau, rel=1e-9)
    assert stated["duration"] == pytest.approx(
        math.log(t_limit_flop(alpha, by * 7e6) / t_limit_flop(alpha, 7e6), by), rel=1e-9
    )


def test_the_mac_reference_shifts_by_the_stated_factor():
    """Defect 5: 2^(2 alpha / (1 - 2 alpha)), 1.6 times at alpha = 0.2."""
    for alpha in (-0.2, 0, 0.1, 0.2):
        shift = t_limit_flop(alpha, mac_reference=True) / t_limit_flop(alpha)
        assert shift == pytest.approx(2 ** (2 * alpha / (1 - 2 * alpha)), rel=1e-12)
    assert rounds_to(t_limit_flop(0.2, mac_reference=True) / t_limit_flop(0.2), "1.6")


# Specification 1.5.
def test_all_headlines_agree():
    compared = headlines(Study("as_published"))
    assert len(compared) == 38
    assert [h for h in compared if not h.agrees] == []


def curve(gpu="H100", sparsity="dense", law="default", *, fix="head", years=0.25, settings=(), widths=()):
    question = FrontierQuestion(
        override(of(gpu), settings),
        RunFamily(sparsity, law),
        years * YEAR_S,
        PUBLISHED,
        Assumptions().with_fix(fix),
        widths,
    )
    return frontier(question)


def test_the_grid_of_widths():
    widths = width_grid()
    assert (len(widths), widths[0], widths[-1]) == (55, 12288, 128 * 12288)


@pytest.mark.parametrize(
    ("years", "end", "wall"), [(1 / 12, "8.30e27", "3.0e30"), (0.5, "4.07e29", "2.4e32"), (1, "1.39e30", "4.7e32")]
)
def test_other_durations(years, end, wall):
    result = curve(years=years)
    assert rounds_to(result.linear_scaling_end().first_crossing_flop, end)
    assert rounds_to(result.latency_wall.last_feasible_flop, wall)


@pytest.mark.parametrize(
    ("sparsity", "end", "wall"), [("dense", "5.08e31", "2.39e33"), ("sparse", "1.00e32", "9.83e33")]
)
def test_scaled(sparsity, end, wall):
    result = curve("h100-sxm-scaled", sparsity)
    assert rounds_to(result.linear_scaling_end().first_crossing_flop, end)
    assert rounds_to(result.latency_wall.last_feasible_flop, wall)


@pytest.mark.parametrize(
    ("gpu", "sparsity", "utilization", "wall", "next_one"),
    [
        ("V100", "dense", "2.5", "2.71e31", "5.08e31"),
        ("A100", "dense", "4.3", "2.71e31", "5.08e31"),
        ("H100", "dense", "5.2", "2.71e31", "5.08e31"),
        ("V100", "sparse", "2.1", "1.00e32", "1.86e32"),
        ("A100", "sparse", "3.5", "1.00e32", "1.86e32"),
        ("H100", "sparse", "4.3", "1.00e32", "1.86e32"),
    ],
)
def test_last_feasible_run(gpu, sparsity, utilization, wall, next_one):
    result = curve(gpu, sparsity)
    assert rounds_to(100 * result.runs[-1].utilization, utilization)
    assert rounds_to(result.latency_wall.last_feasible_flop, wall)
    assert rounds_to(result.latency_wall.first_infeasible_flop, next_one)


def test_cluster_sizes_of_the_h100_curve():
    """8.4e6 GPUs at 2.05e28 (1.70 months), 6.7e7 at 2.0e29, 6.9e10 at 2.7e31."""
    runs = {f"{run.training_flop:.2e}": run for run in curve().runs}
    assert rounds_to(runs["2.05e+28"].num_gpus, "8.4e6")
    assert rounds_to(12 * runs["2.05e+28"].run_time_s / YEAR_S, "1.70")
    assert rounds_to(runs["2.04e+29"].num_gpus, "6.7e7")
    assert rounds_to(runs["2.71e+31"].num_gpus, "6.9e10")


# Specification 2.7: what each defect is said to change.
@pytest.mark.parametrize(
    ("gpu", "sparsity", "law", "before", "after"),
    [
        ("H100", "dense", "default", "2.05e28", "1.34e29"),
        ("A100", "dense", "default", "3.40e28", "5.80e28"),
        ("V100", "dense", "default", "2.85e27", "5.67e27"),
        ("H100", "sparse", "default", "6.83e28", "4.76e29"),
        ("A100", "sparse", "default", "2.32e29", "2.32e29"),
        ("h100-sxm-global-nvlink", "dense", "default", "4.07e29", "1.04e30"),
        ("H100", "dense", "none", "2.85e27", "2.85e27"),
    ],
)
def test_the_finer_grid_moves_the_end_of_linear_scaling_but_not_the_wall(gpu, sparsity, law, before, after):
    published, finer = (curve(gpu, sparsity, law, fix=fix) for fix in ("head", "finer_cluster_grid"))
    assert rounds_to(published.linear_scaling_end().first_crossing_flop, before)
    assert rounds_to(finer.linear_scaling_end().first_crossing_flop, after)
    assert finer.latency_wall == published.latency_wall


def test_the_jagged_curve():
    """H100 dense, as a share of the plateau."""
    runs = {f"{run.training_flop:.1e}": run.utilization / 0.7 for run in curve().runs}
    printed = {"2.0e+28": "0.790", "3.4e+28": "0.884", "4.5e+28": "0.787", "5.8e+28": "0.838", "1.3e+29": "0.617"}
    for flop, share in printed.items():
        assert rounds_to(runs[flop], share), flop


def test_zero_bubble_latency_bites_at_20_us():
    """HEAD reports 27.9 % at 1.4e30; mended 9.1 %, and 3e30 becomes infeasible."""
    slow = {"settings": ["network.latency=20us"]}
    published, mended = curve(**slow), curve(**slow, fix="zero_bubble_latency_order")
    utilization = [{f"{r.training_flop:.1e}": 100 * r.utilization for r in c.runs} for c in (published, mended)]
    assert rounds_to(utilization[0]["1.4e+30"], "27.9")
    assert rounds_to(utilization[1]["1.4e+30"], "9.1")
    assert "3.0e+30" in utilization[0]
    assert "3.0e+30" not in utilization[1]


def test_zero_bubble_latency_changes_none_of_the_published_settings():
    for gpu in ("V100", "A100", "H100"):
        assert curve(gpu, fix="zero_bubble_latency_order").runs == curve(gpu).runs


def test_register_capacity_on_the_v100():
    """Linear end unchanged, utilisation up to 1.6 times higher above 2e30."""
    published, mended = (curve("V100", fix=fix) for fix in ("head", "v100_register_capacity"))
    assert mended.linear_scaling_end().first_crossing_flop == published.linear_scaling_end().first_crossing_flop
    pairs = zip(published.runs, mended.runs, strict=True)
    gains = [new.utilization / old.utilization for old, new in pairs if old.training_flop > 2e30]
    assert min(gains) >= 1
    assert rounds_to(max(gains), "1.6")


def test_residency_on_the_h100():
    """Linear end unchanged, utilisation x0.27 to 0.97 above 1.4e30: 5.2 % becomes 1.4 % at 2.7e31."""
    published, mended = (curve(fix=fix) for fix in ("head", "residency_counts_all_matrices"))
    assert mended.linear_scaling_end().first_crossing_flop == published.linear_scaling_end().first_crossing_flop
    pairs = zip(published.runs, mended.runs, strict=True)
    shares = [new.utilization / old.utilization for old, new in pairs if old.training_flop > 1.4e30]
    assert rounds_to(min(shares), "0.27")
    assert rounds_to(max(shares), "0.97")
    assert rounds_to(100 * mended.runs[-1].utilization, "1.4")


def test_each_fix_is_named_once():
    assert [text[0] for text in FIXES.values()] == ["1", "2", "3", "4"]
