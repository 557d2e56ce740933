"""The figures of errors, against numbers worked out by hand and against scipy."""

from dataclasses import replace

import numpy as np
import pytest

from walltime.validate.cases import Case, Skipped, case_of
from walltime.validate.constant_utilization import constant_utilization
from walltime.validate.errors import (
    Predictions,
    error_report,
    error_summary,
    fits_figures,
    macro_average,
    relative_errors,
)
from walltime.validate.ranking import ranking_groups, ranks, regret, spearman
from walltime.validate.source_rules import source_group

LAYOUTS = [
    {"tp": 1, "pp": 1, "dp": 64},
    {"tp": 2, "pp": 1, "dp": 32},
    {"tp": 2, "pp": 2, "dp": 16},
    {"tp": 8, "pp": 1, "dp": 8},
]


def _taking(case, time_s):
    """The case with another time, which may be one that no accelerator reaches."""
    if not isinstance(case, Case) or case.time is None:
        return case
    return replace(case, row=replace(case.row, step_time_s=time_s), time=replace(case.time, step_time_s=time_s))


@pytest.fixture
def cases(row):
    def make(times_s, **changed):
        rows = [row(**({"step_time_s": 1e6} | layout | changed)) for layout, _ in zip(LAYOUTS, times_s, strict=False)]
        return [_taking(case_of(r), t) for r, t in zip(rows, times_s, strict=True)]

    return make


def test_figures_by_hand(cases):
    four = cases([10.0, 20.0, 40.0, 80.0])
    found = error_summary(four, Predictions(np.array([11.0, 18.0, 42.0, 80.0])))
    assert found.rows_used == 4
    assert found.median_abs_error == pytest.approx((0.1 + 0.05) / 2)
    assert found.p90_abs_error == pytest.approx(0.1)
    assert found.mean_abs_error == pytest.approx((0.1 + 0.1 + 0.05 + 0) / 4)
    assert found.bias == pytest.approx(0.025)
    assert found.spearman == 1
    assert (found.mean_regret, found.median_regret, found.num_groups) == (0, 0, 1)
    assert found.memory_median_abs_error is None
    assert found.fits_accuracy is None


def test_regret_is_what_the_choice_costs():
    measured = np.array([10.0, 12.0, 15.0])
    assert regret(np.array([1.0, 2.0, 3.0]), measured) == 0
    assert regret(np.array([3.0, 2.0, 1.0]), measured) == pytest.approx(0.5)
    assert regret(np.array([2.0, 1.0, 1.0]), measured) == pytest.approx(0.35)


def test_ranks_share_ties():
    assert ranks(np.array([10.0, 30.0, 10.0, 20.0])).tolist() == [1.5, 4, 1.5, 3]


@pytest.mark.parametrize("seed", range(5))
def test_spearman_agrees_with_scipy(seed):
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    ours, theirs = rng.integers(0, 6, 20).astype(float), rng.integers(0, 6, 20).astype(float)
    assert spearman(ours, theirs) == pytest.approx(scipy_stats.spearmanr(ours, theirs).statistic)


def test_spearman_of_constants():
    assert spearman(np.ones(3), np.arange(3.0)) == 0
    assert spearman(np.arange(3.0), np.ones(3)) is None


def test_groups_need_one_question_and_different_plans(cases):
    same, other = cases([1.0, 2.0, 3.0]), cases([1.0, 2.0], global_batch_seqs=1024)
    again = cases([5.0], seq_len=4096) + cases([6.0], seq_len=4096)
    unpredicted = cases([9.0])
    everything = [*same, *other, *again, *unpredicted]
    predicted = np.ones(len(everything))
    predicted[-1] = np.nan
    groups = ranking_groups(everything, predicted)
    assert [[same.tolist() for same in group] for group in groups] == [[[0], [1], [2]], [[3], [4]]]


def test_whether_it_fits():
    ran = np.array([True, True, True, False])
    assert fits_figures(np.array([True, True, False, True]), ran) == {
        "fits_accuracy": 0.5,
        "fits_balanced_accuracy": pytest.approx((2 / 3 + 0) / 2),
        "fits_precision": pytest.approx(2 / 3),
        "fits_recall": pytest.approx(2 / 3),
    }
    only_ran = fits_figures(np.array([True, False]), np.array([True, True]))
    assert (only_ran["fits_balanced_accuracy"], only_ran["fits_recall"]) == (None, 0.5)
    assert fits_figures(np.array([False, False]), np.array([True, False]))["fits_precision"] is None


def test_rows_out_of_memory_count_for_fits_only(cases, row):
    ran = cases([10.0, 20.0])
    lost = [case_of(row(**LAYOUTS[2], status="oom", step_time_s=None))]
    found = error_summary([*ran, *lost], Predictions(np.array([10.0, 20.0, 5.0]), fits=np.array([True, True, False])))
    assert (found.median_abs_error, found.num_groups, found.fits_balanced_accuracy) == (0, 1, 1)


def test_memory_is_judged_where_it_was_measured(cases):
    two = [*cases([1.0], mem_gb=10.0), *cases([1.0])]
    memory = np.array([11 * 2.0**30, 3.0])
    assert error_summary(two, Predictions(np.ones(2), memory)).memory_median_abs_error == pytest.approx(0.1)


def test_each_source_weighs_the_same(cases):
    many, one = cases([10.0, 10.0, 10.0, 10.0], source_id="many"), cases([10.0], source_id="one")
    report = error_report([*many, *one], Predictions(np.array([11.0, 11.0, 11.0, 11.0, 13.0])))
    assert report.by_source["many"].median_abs_error == pytest.approx(0.1)
    assert report.overall.median_abs_error == pytest.approx((0.1 + 0.3) / 2)
    assert report.overall.rows_used == 5


def test_other_scopes_stay_out_of_headline_figures(cases, row):
    both = [*cases([10.0]), *cases([10.0], scope="altered_schedule")]
    left = [Skipped(row(seq_len=None), "seq_len not stated")]
    report = error_report(both, Predictions(np.array([11.0, 20.0])), left)
    own = report.by_source["mine"]
    assert own.median_abs_error == pytest.approx(0.1)
    assert (own.rows_used, own.rows_skipped) == (1, 2)
    assert own.skipped == {"seq_len not stated": 1, "scope altered_schedule": 1}
    assert report.outside["mine", "altered_schedule"].median_abs_error == pytest.approx(1)


def test_memory_of_models_cut_short_counts(cases):
    short = cases([10.0], scope="truncated_model", mem_gb=10.0)
    report = error_report(short, Predictions(np.array([99.0]), np.array([9 * 2.0**30])))
    assert report.overall.memory_median_abs_error == pytest.approx(0.1)
    assert report.overall.median_abs_error is None


def test_nothing_to_judge_is_null():
    assert macro_average([]).to_dict() == {
        **dict.fromkeys(("rows_used", "rows_skipped", "num_groups"), 0),
        **dict.fromkeys(
            (
                "median_abs_error",
                "p90_abs_error",
                "mean_abs_error",
                "bias",
                "spearman",
                "mean_regret",
                "median_regret",
                "memory_median_abs_error",
                "fits_accuracy",
                "fits_balanced_accuracy",
                "fits_precision",
                "fits_recall",
            )
        ),
        "skipped": {},
    }
    assert error_report([], Predictions(np.array([]))).to_dict()["by_source"] == {}


def test_relative_errors_leave_out_what_is_missing():
    assert relative_errors(np.array([1.1, np.nan, 3.0]), [1.0, 1.0, None]).tolist() == pytest.approx([0.1])


def test_a_constant_utilisation_is_right_where_utilisation_is_constant(cases):
    """Twice the batch in twice the time; with recomputation as work, also four passes in four thirds of the time."""
    rows = [*cases([30.0, 30.0]), *cases([60.0], global_batch_seqs=4096)]
    found = constant_utilization(rows)
    assert found.predictions.step_time_s == pytest.approx([30.0, 30.0, 60.0])
    assert len(found.flop_per_s) == 1


def test_the_constant_is_of_source_accelerator_and_precision(cases):
    rows = [*cases([30.0]), *cases([20.0], precision="fp16"), *cases([10.0], gpu="H100"), *cases([5.0], source_id="b")]
    found = constant_utilization(rows, "model")
    assert found.predictions.step_time_s == pytest.approx([30.0, 20.0, 10.0, 5.0])
    assert len(found.flop_per_s) == 4


def test_recomputation_counts_as_work_where_that_is_better(cases):
    rows = [*cases([30.0, 30.0]), *cases([39.5, 39.5], activation_recompute="full")]
    assert constant_utilization(rows).counting == "hardware"
    assert constant_utilization(rows, "model").predictions.step_time_s[-1] == pytest.approx(34.75)
    assert constant_utilization(rows, "hardware").predictions.step_time_s[-1] == pytest.approx(39.5, rel=0.03)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("dgxc_benchmarking", "nemo_user_guide", True),
        ("nemo_docs_2407", "nemo_docs_longctx", True),
        ("nemo_docs", "dgxc_benchmarking", True),
        ("torchtitan", "torchao", True),
        ("megatron_lm_2021", "korthikanti2022", True),
        ("megatron_lm_2020", "megatron_lm_2021", False),
        ("nemo_launcher_a100", "nemo_user_guide", False),
        ("a", "b", False),
    ],
)
def test_related_sources_are_left_out_together(one, other, together):
    assert (source_group(one) == source_group(other)) is together
