"""The study fernandez2024: what it must show, with the numbers of `validate` and none of its own."""

import csv
import math
import re
from dataclasses import replace

import pytest

from walltime.catalog import data_root, sources
from walltime.economics.account import account
from walltime.engines.capabilities import EVERYTHING
from walltime.engines.stack import stack
from walltime.engines.transformer import estimate
from walltime.hardware import cluster
from walltime.plan import GROUPS, Plan, PlanBatch
from walltime.planner import Question, recommend
from walltime.search.constraints import Constraints
from walltime.studies.fernandez2024 import FIGURES, claims, counted, hangs_on, variants
from walltime.studies.fernandez2024.any_plan import any_plan
from walltime.studies.fernandez2024.choices import best, fsdp, fsdp_that_fits, layouts
from walltime.studies.fernandez2024.claims import Claim
from walltime.studies.fernandez2024.collectives import NODES, bus_bytes_per_s, deviations, ranks, time_s
from walltime.studies.fernandez2024.drawing import plan_name
from walltime.studies.fernandez2024.findings import FINDINGS, Finding
from walltime.studies.fernandez2024.hardware import FORECAST, MEASURED, generation
from walltime.studies.fernandez2024.measured import measured_tokens_per_s_per_gpu, torchtitan_point
from walltime.studies.fernandez2024.points import NOT_FITTING, NOT_SPLIT, RUNS, points
from walltime.studies.fernandez2024.published import RELATIONS, TAGS, Published, published_claims
from walltime.studies.fernandez2024.rows import with_scaling
from walltime.studies.fernandez2024.scaling import (
    DEGREES,
    STRONG_NODES,
    WEAK_GPUS,
    strong,
    strong_best,
    weak,
    weak_best,
)
from walltime.studies.fernandez2024.setting import Setting
from walltime.studies.fernandez2024.sweep import SIZES, alone, sharded, sweep
from walltime.studies.fernandez2024.workloads import CONTEXTS, MODELS
from walltime.workload import Training
from walltime.workload.catalog import transformer

FOLDER = data_root() / "published" / "fernandez2024"


@pytest.fixture(scope="module")
def figures():
    return {name: figure() for name, figure in FIGURES.items()}


@pytest.fixture(scope="module")
def found():
    return {claim.published.id: claim for claim in claims()}


def change(before, after, metric):
    return after[metric] / before[metric] - 1


# What it must show


def test_the_all_reduce_table_is_met():
    off = sorted(abs(deviation) for deviation in deviations())
    assert len(off) > 50
    assert off[len(off) // 2] < 0.12
    assert off[-1] < 0.30


def test_latency_of_rings_is_linear_in_ranks_and_of_trees_logarithmic():
    ring = {nodes: time_s("all_gather", nodes, 512) for nodes in NODES}
    tree = {nodes: time_s("all_reduce", nodes, 512) for nodes in NODES}
    per_node = [(ring[2 * nodes] - ring[nodes]) / nodes for nodes in NODES[:-1]]
    per_doubling = [tree[2 * nodes] - tree[nodes] for nodes in NODES[:-1]]
    assert per_node == pytest.approx([per_node[0]] * len(per_node), rel=0.01)
    assert per_doubling == pytest.approx([per_doubling[0]] * len(per_doubling), rel=0.01)
    assert ring[512] / ring[4] > 100
    assert tree[512] / tree[4] < 5


def test_weak_scaling_falls_as_measured_and_power_hardly_does():
    few, many = fsdp(weak(128)), fsdp(weak(2048))
    assert change(few, many, "tokens_per_s_per_gpu") == pytest.approx(-0.3722, abs=0.06)
    assert change(few, many, "board_power_w") == pytest.approx(-0.0587, abs=0.03)


def test_little_model_parallelism_beats_fsdp_at_2048_and_not_at_8():
    base, small = alone(2048), alone(8)
    for metric in ("tokens_per_s", "tokens_per_j"):
        moderate = [one[metric] for one in sweep(2048) if one.plan.tp * one.plan.pp in (2, 4)]
        assert max(moderate) > base[metric]
        assert all(one[metric] < small[metric] for one in sweep(8) if one.runs and one.plan != small.plan)


def test_pipelines_beat_fsdp_at_2048_where_parameters_are_kept():
    kept = {(one.plan.tp, one.plan.pp): one for one in sweep(2048, reshard=False)}
    assert kept[1, 2]["tokens_per_s"] > kept[1, 1]["tokens_per_s"]
    assert kept[1, 2]["tokens_per_j"] > kept[1, 1]["tokens_per_j"]


def test_strong_scaling_falls_from_40_to_under_15_percent():
    mfu = {nodes: strong_best(nodes)["mfu"] for nodes in STRONG_NODES}
    assert mfu[2] == pytest.approx(0.40, abs=0.06)
    assert mfu[32] < 0.15
    assert list(mfu.values()) == sorted(mfu.values(), reverse=True)


def test_a100s_reach_more_of_their_peak_than_h100s():
    ratio = generation("A100", 8)["mfu"] / generation("H100", 8)["mfu"]
    assert ratio == pytest.approx(59.67 / 40.77, rel=0.1)


def test_little_is_lost_up_to_128_as_torchtitan_measured():
    for num_gpus, published in ((8, 5762), (128, 5605)):
        assert measured_tokens_per_s_per_gpu(num_gpus) == pytest.approx(published)
        assert torchtitan_point(num_gpus)["tokens_per_s_per_gpu"] == pytest.approx(published, rel=0.1)
    ours = change(torchtitan_point(8), torchtitan_point(128), "tokens_per_s_per_gpu")
    assert ours == pytest.approx(5605 / 5762 - 1, abs=0.03)


# No numbers of its own


def test_a_point_is_what_estimate_says():
    point = fsdp(weak(256))
    plans = PlanBatch.of([Plan(dp=256, micro_batch=2, sharding="zero3")])
    training = Training(transformer("llama-2-7b"), 4096, 512)
    same = estimate(training, cluster("h100-sxm", 256), plans, stack("fsdp1"))
    expected = account(same).to_rows()[0]
    assert point.metrics == expected
    assert point.time_s == expected["step_time_s"]


def test_ends_of_an_estimate_bracket_it():
    times = [fsdp(weak(2048, ring_inside=end, ring_between=end)).time_s for end in ("low", "", "high")]
    assert times == sorted(times)
    assert times[0] < times[1] < times[2]


@pytest.mark.parametrize("nodes", [2, 8, 32])
def test_of_tensor_pipeline_and_fsdp_alone_the_planner_finds_the_same(nodes):
    """Fixed: full resharding over all ranks, no recomputation, no context parallelism, plain 1F1B."""
    asked = strong(nodes)
    like = {
        "sharding": ("zero3",),
        "reshard": (True,),
        "recompute": ("none",),
        "cp": (1,),
        "vpp": (1,),
        "schedule": ("1f1b",),
        "sequence_parallel": (True,),
        "order": (GROUPS,),
        "offload_optimizer": (False,),
    }
    software = replace(asked.software(), runs=replace(EVERYTHING, hybrid_shard=()))
    answer = recommend(Question(asked.training, (asked.on(),), software, constraints=Constraints(like)))
    found = strong_best(nodes)
    assert answer.best.time_s == pytest.approx(found.time_s)
    degrees = (found.plan.tp, found.plan.pp, found.plan.micro_batch)
    assert (answer.best.plan.tp, answer.best.plan.pp, answer.best.plan.micro_batch) == degrees


@pytest.mark.parametrize("of", [weak(2048), strong(8), strong(32)])
def test_any_plan_is_the_planners_and_beats_the_papers_kinds(of):
    software = replace(of.software(), runs=stack("megatron-core").runs)
    answer = recommend(Question(of.training, (of.on(),), software))
    found = any_plan(of)
    assert (found.plan, found.time_s) == (answer.best.plan, pytest.approx(answer.best.time_s))
    kinds = best(layouts(of, [(tp, pp) for tp in DEGREES for pp in DEGREES]))
    assert found["tokens_per_s"] > kinds["tokens_per_s"]


def test_with_any_plan_weak_scaling_hardly_diminishes_and_strong_scaling_does(found):
    assert change(any_plan(weak(128)), any_plan(weak(2048)), "tokens_per_s_per_gpu") == pytest.approx(0, abs=0.02)
    assert change(weak_best(128), weak_best(2048), "tokens_per_s_per_gpu") < -0.2
    many = any_plan(strong(32))
    assert many["mfu"] < any_plan(strong(2))["mfu"] / 2
    claim = found["strong-many"]
    assert (claim.verdict, claim.any_plan_verdict) == ("reproduced", "contradicted")
    assert claim.finding.any_plan == many["mfu"]
    assert found["abstract-returns"].any_plan_verdict == "reproduced"


def test_plans_have_one_name_each():
    assert plan_name(fsdp(weak(8))) == "FSDP alone"
    assert plan_name(layouts(weak(2048), [(2, 1)])[0]) == "tp 2 × FSDP 1,024"
    assert plan_name(layouts(weak(2048), [(1, 1)], shard_nodes=1)[0]) == "FSDP 2,048 in groups of 8"
    plan = Plan(dp=8, pp=4, vpp=8, cp=8, sharding="zero1")
    assert plan_name(points(strong(32), (plan,))[0]) == "cp 8 × pp 4 in 8 × zero1 8"


# Figures


def test_every_experiment_is_a_figure(figures):
    assert {figure.name for figure in figures.values()} == set(FIGURES)
    assert {f"model_parallel_sweep_{size}" for size in SIZES} <= set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_whole(figures, name):
    figure = figures[name]
    assert figure.panels
    assert figure.caption.endswith(".")
    assert not re.search(r"\b(nan|inf|None)\b", figure.caption)
    columns = list(figure.rows[0])
    for row in figure.rows:
        assert list(row) == columns
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    for panel in figure.panels:
        assert panel.series
        for series in panel.series:
            assert len(series.x) == len(series.y) > 0
            assert all(map(math.isfinite, (*series.x, *series.y)))


@pytest.mark.parametrize("name", [name for name in FIGURES if not name.startswith("collective")])
def test_rows_have_every_metric_and_their_configuration(figures, name):
    metrics = account(
        estimate(
            Training(transformer("llama-2-7b"), 4096, 8),
            cluster("h100-sxm", 8),
            PlanBatch.of([Plan(dp=8, sharding="zero3")]),
            stack("fsdp1"),
        )
    ).columns()
    configuration = {"model", "cluster", "stack", "num_gpus", "seq_len", "batch_seqs", "tp", "pp", "dp", "plan"}
    for row in figures[name].rows:
        assert set(metrics) | configuration | {"convention", "status", "reason"} <= set(row)
        assert row["convention"] == "causal-attention"
        assert row["tp"] * row["pp"] * row["cp"] * row["dp"] == row["num_gpus"] or row["status"] == NOT_SPLIT
        if row["status"] == RUNS:
            assert all(row[metric] is not None for metric in ("step_time_s", "mfu", "exposed_communication_s"))
            parts = row["compute_s"] + row["exposed_communication_s"] + row["idle_s"]
            assert parts == pytest.approx(row["step_time_s"])
        else:
            assert row["status"] in (NOT_FITTING, NOT_SPLIT)
            assert row["reason"]
            assert row["step_time_s"] is None


def test_ranges_are_those_that_were_asked_for(figures):
    assert (WEAK_GPUS[0], WEAK_GPUS[-1]) == (8, 131_072)
    assert {row["num_gpus"] for row in figures["weak_scaling"].rows} == set(WEAK_GPUS)
    assert {row["seqs_per_gpu"] for row in figures["weak_scaling"].rows} == {1, 2, 4}
    assert {row["num_nodes"] for row in figures["strong_scaling"].rows} == set(STRONG_NODES)
    table = figures["collectives"].rows
    assert {row["num_nodes"] for row in table} == set(NODES)
    assert (min(row["size_bytes"] for row in table), max(row["size_bytes"] for row in table)) == (512, 16 * 2**30)
    assert {row["collective"] for row in table} == {"all_reduce", "all_gather", "reduce_scatter"}
    assert {row["generation"] for row in figures["generations"].rows} == {*MEASURED, *FORECAST}
    assert {row["forecast"] for row in figures["generations"].rows if row["generation"] in FORECAST} == {True}
    assert {row["size"] for row in figures["model_sizes"].rows} == set(MODELS)
    assert {row["seq_len"] for row in figures["context_lengths"].rows} == set(CONTEXTS)
    assert (CONTEXTS[0], CONTEXTS[-1]) == (2048, 131_072)
    for name in ("strong_scaling", "pretraining_scale"):
        assert {row["series"] for row in figures[name].rows} == {"tp × pp × FSDP", "any plan", "FSDP alone"}


def test_the_papers_numbers_and_forecasts_can_be_told_from_ours(figures):
    [beside] = [one for one in figures["weak_scaling"].panels[0].series if not one.line]
    assert (beside.x, beside.y) == ((2048,), (fsdp(weak(128))["tokens_per_s_per_gpu"] * (1 - 0.3722),))
    [levels] = [one for one in figures["strong_scaling"].panels[0].series if not one.line]
    assert dict(zip(levels.x, levels.y, strict=True)) == {16: 0.40, 256: 0.15}
    for series in figures["generations"].panels[0].series:
        assert series.hollow == (min(series.x) >= len(MEASURED))
    assert [panel.title for panel in figures["collectives"].panels] == ["AllReduce", "AllGather, ReduceScatter"]
    assert any(one.like for one in figures["collectives"].panels[0].series)
    sweep_2048 = figures["model_parallel_sweep_2048"].panels
    assert not {one.label for one in sweep_2048[0].series} & {one.label for one in sweep_2048[2].series}


def test_v100s_train_without_flash_attention(figures):
    rows = [row for row in figures["generations"].rows if row["generation"] == "V100"]
    assert {(row["attention"], row["precision"]) for row in rows} == {("fused-softmax", "fp16")}


def test_what_cannot_be_split_or_does_not_fit_is_a_row(figures):
    strong = [row for row in figures["strong_scaling"].rows if row["status"] != RUNS]
    assert {row["num_nodes"] for row in strong} == {8, 16, 32, 64, 128}
    assert all("does not divide batch_seqs=32" in row["reason"] for row in strong)
    sizes = [row for row in figures["model_sizes"].rows if row["status"] != RUNS]
    assert [(row["size"], row["num_gpus"], row["status"]) for row in sizes] == [("405B", 256, NOT_FITTING)]
    assert re.fullmatch(r"needs \d+ GB of [\d.]+ GB on an accelerator", sizes[0]["reason"])


def test_hybrids_share_state_over_fewer_nodes():
    found = sharded(2048)
    assert {one.plan.shard for one in found["hybrid, 1 node"] if one.plan.tp == one.plan.pp == 1} == {8}
    assert {one.plan.shard * one.plan.tp for one in found["hybrid, 4 nodes"] if one.plan.pp == 1} == {32}
    assert "hybrid, 1 node" not in sharded(8)


def test_bus_bandwidth_follows_nccl_tests():
    assert bus_bytes_per_s("all_reduce", 4, 1e9, 1.0) == pytest.approx(1e9 * 2 * 31 / 32)
    assert bus_bytes_per_s("all_gather", 4, 1e9, 1.0) == pytest.approx(1e9 * 31 / 32)
    assert ranks(4) == 32


def test_marginal_returns_are_between_rows_that_run():
    rows = [
        {"status": RUNS, "num_gpus": 8, "tokens_per_s": 80.0, "tokens_per_s_per_gpu": 10.0},
        {"status": NOT_SPLIT, "num_gpus": 12, "tokens_per_s": None, "tokens_per_s_per_gpu": None},
        {"status": RUNS, "num_gpus": 16, "tokens_per_s": 120.0, "tokens_per_s_per_gpu": 7.5},
    ]
    money = [
        {"total_board_power_w": watts, "usd_per_hour": usd, "goodput_tokens_per_s": None}
        for watts, usd in ((800, 8), (None, None), (1600, None))
    ]
    first, lost, last = with_scaling([row | paid for row, paid in zip(rows, money, strict=True)])
    assert (first["scaling_efficiency"], last["scaling_efficiency"]) == (1, 0.75)
    assert "scaling_efficiency" not in lost
    assert last["base_num_gpus"] == 8
    assert last["marginal_tokens_per_s_per_gpu"] == 5
    assert last["marginal_tokens_per_j"] == pytest.approx(40 / 800)
    assert last["marginal_tokens_per_s_per_usd_per_hour"] is None
    assert "marginal_tokens_per_s_per_gpu" not in first


def test_fsdp_that_does_not_fit_is_recomputed_in_full():
    asked = Setting(8, 16, cluster="v100-sxm-32gb", precision="fp16", attention="fused-softmax")
    assert fsdp(asked).status == NOT_FITTING
    again = fsdp_that_fits(asked)
    assert (again.status, again.plan.recompute) == (RUNS, "full")


def test_layouts_of_which_none_runs_say_why():
    (point,) = layouts(Setting(8, 7), [(1, 1)])
    assert point.status == NOT_SPLIT
    assert "dp=8 does not divide batch_seqs=7" in point.reason
    assert point.metrics == {}


# Claims


def test_every_claim_has_a_source_and_a_finding(found):
    assert set(FINDINGS) == {one.id for one in published_claims()}
    assert len(found) == len(published_claims())
    for one in published_claims():
        assert one.tag in TAGS
        assert one.relation in RELATIONS
        assert one.basis in ("predicted", "calibrated")
        assert one.source in sources()
        assert one.locator.strip()
        assert (one.value is None) == (one.relation in ("holds", "above", "below", "none"))
        assert (one.tolerance is None) == (one.value is None)
        assert (one.threshold is not None) == (one.relation in ("above", "below"))
        assert set(one.same_as.split()) <= {other.id for other in published_claims()} - {one.id}
        assert 0 < len(one.title) <= 36
    with (FOLDER / "settings.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert row["tag"] in TAGS
            assert row["source"] in sources()


def test_no_claim_fails_and_none_that_is_recalled_is_judged(found):
    assert [name for name, claim in found.items() if claim.fails] == []
    recalled = [claim for claim in found.values() if claim.published.tag == "RECALLED"]
    assert len(recalled) >= 3
    assert {claim.verdict for claim in recalled} == {"unverified"}
    assert all(claim.published.value is None for claim in recalled)


def test_what_is_contradicted_is_known_and_says_why(found):
    contradicted = {name for name, claim in found.items() if claim.verdict == "contradicted"}
    known = {name for name, claim in found.items() if claim.published.deviation}
    assert contradicted == known == {"weak-onset", "weak-jump", "size-utilisation"}


def test_mechanisms_are_sentences_with_numbers(found):
    for claim in found.values():
        assert claim.finding.mechanism.endswith("."), claim.published.id
        assert not re.search(r"\b(nan|inf|None)\b", claim.finding.mechanism)


def test_restatements_are_not_counted_again(found):
    same = {name for name, claim in found.items() if claim.published.same_as}
    assert {"weak-step", "weak-energy", "trend-one-large", "generation-flop", "torchtitan-loss"} <= same
    assert sum(counted(found.values()).values()) == len(found) - len(same)


def test_what_a_verdict_cannot_tell_is_said(found):
    assert "cannot tell" in found["torchtitan-loss"].finding.mechanism
    assert "llm-foundry" in found["generation-h100"].finding.mechanism
    assert re.search(
        r"0\.8 to 6\.8 µs inside nodes and 2\.7 to 28 between them", found["weak-throughput"].finding.mechanism
    )
    assert "recalled" in found["weak-throughput"].finding.mechanism
    assert "(55 to 98)" in found["llama3-effective"].ours
    said = hangs_on([variant.row() for variant in variants()])
    assert re.search(r"−\d+\.\d % to −\d+\.\d %.*−\d\.\d % to \+\d+\.\d %", said)


def claim_of(
    relation, value, ours, tolerance=0.1, deviation="", tag="SECONDARY", holds=None, threshold=None, any_=None
):
    numbers = {"relation": relation, "value": value, "tolerance": tolerance, "threshold": threshold, "unit": "share"}
    said = {"title": "z", "says": "z", "tag": tag, "basis": "predicted", "same_as": "", "source": "s", "locator": "l"}
    of = Published(id="x", experiment="y", deviation=deviation, **numbers, **said)
    return Claim(of, Finding("Because.", ours=ours, holds=holds, any_plan=any_))


@pytest.mark.parametrize(
    ("relation", "value", "ours", "verdict"),
    [
        ("number", -0.37, -0.33, "reproduced"),
        ("number", -0.37, -0.2, "contradicted"),
        ("number", 0.0, 0.05, "reproduced"),
        ("ratio", 2.0, 2.19, "reproduced"),
        ("ratio", 2.0, 2.3, "contradicted"),
        ("at most", 0.15, 0.25, "reproduced"),
        ("at most", 0.15, 0.26, "contradicted"),
        ("at least", 0.9, 0.81, "reproduced"),
        ("at least", 0.9, 0.79, "contradicted"),
        ("number", 0.3, None, "not testable"),
        ("none", None, 0.3, "not testable"),
    ],
)
def test_verdicts(relation, value, ours, verdict):
    claim = claim_of(relation, value, ours)
    assert claim.verdict == verdict
    assert claim.fails == (verdict == "contradicted")
    assert not claim_of(relation, value, ours, deviation="known").fails
    assert claim_of(relation, value, ours, tag="RECALLED").verdict == "unverified"


@pytest.mark.parametrize(("holds", "verdict"), [(True, "reproduced"), (False, "contradicted"), (None, "not testable")])
def test_verdicts_of_what_holds(holds, verdict):
    assert claim_of("holds", None, None, holds=holds).verdict == verdict


@pytest.mark.parametrize(
    ("relation", "ours", "verdict"),
    [
        ("above", 0.6, "reproduced"),
        ("above", 0.5, "contradicted"),
        ("below", 0.4, "reproduced"),
        ("below", 0.5, "contradicted"),
        ("below", None, "not testable"),
    ],
)
def test_verdicts_by_a_threshold_of_our_own(relation, ours, verdict):
    claim = claim_of(relation, None, ours, tolerance=None, threshold=0.5)
    assert (claim.verdict, claim.tolerance, claim.paper) == (verdict, f"{relation} 50 %", "")


def test_any_plan_has_a_verdict_of_its_own():
    claim = claim_of("at most", 0.15, 0.1, tolerance=0, any_=0.2)
    assert (claim.verdict, claim.any_plan_verdict, claim.ours_any_plan) == ("reproduced", "contradicted", "20.0 %")
    assert claim_of("at most", 0.15, 0.1).any_plan_verdict is None


# Sensitivities


def test_the_first_sensitivity_is_the_study_and_every_other_changes_something():
    rows = [variant.row() for variant in variants()]
    few, many = fsdp(weak(128)), fsdp(weak(2048))
    assert rows[0]["tokens_per_s_per_gpu_change"] == change(few, many, "tokens_per_s_per_gpu")
    changes = [row["tokens_per_s_per_gpu_change"] for row in rows]
    assert len(set(changes)) == len(changes)
    assert all(row["status"] == RUNS for row in rows)
    assert min(changes) < -0.5 < changes[0] < -0.15 < max(changes)


@pytest.mark.parametrize(
    ("name", "column"), [("generations", "generation"), ("model_sizes", "size"), ("context_lengths", "seq_len")]
)
def test_rows_that_differ_in_gpus_only_say_what_the_added_ones_return(figures, name, column):
    rows = [row for row in figures[name].rows if row["status"] == RUNS]
    first = min(row["num_gpus"] for row in rows)
    for row in (row for row in rows if row["base_num_gpus"] == first):
        series = row["series"].removesuffix(f"{row['num_gpus']:,} GPUs")
        (base,) = [
            other
            for other in rows
            if other["num_gpus"] == first
            and other[column] == row[column]
            and other["series"].startswith(series + f"{first:,}")
        ]
        assert row["scaling_efficiency"] == row["tokens_per_s_per_gpu"] / base["tokens_per_s_per_gpu"]
        assert (row["return_share"] is None) == (row is base)
