"""What each added GPU returns: by hand on made-up sizes; the same fastest plans as the planner's; better hardware."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import walltime as wt
from walltime import hardware
from walltime.economics.terms import Terms
from walltime.planner import recommend
from walltime.planner.scaling import (
    HALF,
    ScaleQuestion,
    Totals,
    halving,
    hull,
    hull_shares,
    marginals,
    require_possible,
    scale,
    sequences_per_gpu,
    shortfall,
)
from walltime.planner.sizes import doublings
from walltime.problems import BadInput, NegativeAnswer

from .small import MODEL, TRAINING, cluster, question

ASKED = {"seq_len": TRAINING.seq_len, "fix": {"cp": 1}, "most": {"micro_batch": 2}}


def sizes(*pairs, usd=2.0, watts=500.0, share=None):
    """Made-up sizes from numbers of GPUs and tokens a second."""
    return [
        Totals(
            num_gpus=count,
            tokens_per_s=tokens,
            goodput_tokens_per_s=None if share is None else tokens * share**count,
            power_w=None if watts is None else count * watts,
            usd_per_hour=None if usd is None else count * usd,
        )
        for count, tokens in pairs
    ]


# Marginal returns


def test_marginals_by_hand():
    first, second = marginals(sizes((8, 800.0), (16, 1200.0), (64, 1200.0)))
    assert first.per("num_gpus") == 400 / 8
    assert first.per("power_w") == 400 / (8 * 500)
    assert first.per("usd_per_hour") == 400 / (8 * 2)
    assert first.share() == 0.5  # 50 tokens/s a GPU over 100
    assert first.num_gpus == pytest.approx(128**0.5)
    assert second.share() == second.per("num_gpus") == 0
    row = first.to_row()
    assert row["marginal_tokens_per_s_per_gpu"] == 50
    assert row["marginal_tokens_per_j"] == 0.1
    assert row["return_share"] == 0.5
    assert row["goodput_return_share"] is row["marginal_goodput_tokens_per_j"] is None


def test_returns_are_over_the_size_that_returns_most():
    """A first size that is short of memory, say, is no measure of what a GPU can do."""
    first, second = marginals(sizes((8, 400.0), (16, 1600.0), (32, 2400.0)))
    assert first.share() == (1200 / 8) / 100
    assert second.share() == (800 / 16) / 100


def test_a_size_that_gives_less_returns_less_than_nothing():
    assert marginals(sizes((8, 800.0), (9, 600.0)))[0].share() == -2


def test_what_is_not_known_is_not_zero():
    [one] = marginals(sizes((8, 800.0), (16, 1500.0), usd=None, watts=None))
    assert one.per("power_w") is one.per("usd_per_hour") is one.per("num_gpus", goodput=True) is None
    assert one.share() == (700 / 8) / 100  # for each GPU instead of each dollar
    assert one.share(goodput=True) is None
    assert halving([one.before, one.after], goodput=True) is None


def test_power_that_does_not_grow_has_no_marginal_return():
    before, after = sizes((8, 800.0))[0], Totals(16, 900.0, power_w=4000.0, usd_per_hour=32.0)
    assert marginals([before, after])[0].per("power_w") is None


def test_failures_lower_returns_the_more_the_larger():
    found = marginals(sizes((8, 8.0), (16, 16.0), (32, 32.0), share=0.99))
    assert [one.share() for one in found] == [1, 1]
    first, second = (one.share(goodput=True) for one in found)
    assert 1 > first > second > 0


def test_dollars_that_differ_by_size_count():
    """The second size pays twice as much for a GPU: its added dollars return a third."""
    cheap, dear = Totals(8, 80.0, usd_per_hour=8.0), Totals(16, 160.0, usd_per_hour=32.0)
    assert marginals([cheap, dear])[0].share() == pytest.approx(80 / 24 / 10)


# What is worth having


def test_the_hull_by_hand():
    """80 are slower than 64; 48 are beaten by a mix of 32 and 64; 8 return less for each GPU than 32."""
    found = sizes((8, 6.0), (32, 32.0), (48, 40.0), (64, 56.0), (80, 50.0), (128, 60.0), (256, 55.0))
    assert [one.num_gpus for one in hull(found)] == [32, 64, 128]
    at, shares = zip(*hull_shares(found), strict=True)
    assert at == pytest.approx((32, 32 * 2**0.5, 64 * 2**0.5, 128))
    assert shares == pytest.approx((1, 24 / 32, 4 / 64, 0))
    short = [shortfall(one, found) for one in found]
    assert short == pytest.approx([1 - 6 / 8, 0, 1 - 40 / 44, 0, 1 - 50 / 57, 0, 1 - 55 / 60])


def test_the_hull_is_over_dollars():
    """32 GPUs give twice as much as 16, for four times the price: half a dollar's worth."""
    cheap = Totals(16, 16.0, usd_per_hour=16.0), Totals(32, 32.0, usd_per_hour=64.0)
    assert hull_shares(cheap)[1][1] == pytest.approx(1 / 3)
    assert shortfall(cheap[1], cheap) == 0


def test_nothing_known_and_nothing_gained_have_no_hull():
    assert hull([]) == hull(sizes((8, 8.0), (16, 16.0)), goodput=True) == ()
    assert hull(sizes((8, 0.0), (16, 0.0))) == hull_shares(sizes((8, 0.0))) == ()
    assert shortfall(*[one := sizes((8, 0.0))[0], [one]]) is None


CURVES = st.lists(
    st.tuples(st.integers(1, 4096), st.floats(0.01, 1)), min_size=1, max_size=12, unique_by=lambda pair: pair[0]
).map(lambda pairs: sizes(*[(count, count * share) for count, share in sorted(pairs)]))


@given(CURVES, st.integers(1, 4095), st.floats(0.001, 0.999))
def test_sizes_below_the_hull_do_not_matter(found, count, share):
    """Neither for the hull nor for where the return has halved, as long as they are no larger than the largest."""
    assume(count < found[-1].num_gpus and count not in [one.num_gpus for one in found])
    [least] = sizes((count, 1e-3))
    reached = least.tokens_per_s / (1 - shortfall(least, found))
    more = sorted([*found, *sizes((count, reached * share))], key=lambda one: one.num_gpus)
    assert hull(more) == hull(found)
    assert halving(more) == halving(found)


@given(CURVES)
def test_returns_fall_along_the_hull(found):
    shares = [share for _, share in hull_shares(found)]
    at = [size for size, _ in hull_shares(found)]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert at == sorted(at)
    assert min(shares) >= 0
    assert all(0 <= shortfall(one, found) < 1 for one in found)
    assert all(shortfall(one, found) == pytest.approx(0, abs=1e-12) for one in hull(found))


@given(CURVES)
def test_halving_is_where_the_shares_cross(found):
    at, shares = halving(found), hull_shares(found)
    assert (at is None) == (shares[-1][1] >= HALF)
    if at is not None:
        assert all(share >= HALF for size, share in shares if size < at * (1 - 1e-9))
        assert all(share <= HALF + 1e-9 for size, share in shares if size > at * (1 + 1e-9))


# Where the return has halved


def test_halving_is_between_the_middles():
    """Returns 0.75 at 2 and 0.25 at 8: one half at 4, on a logarithmic axis."""
    found = sizes((1, 1.0), (4, 1 + 3 * 0.75), (16, 1 + 3 * 0.75 + 12 * 0.25))
    assert halving(found) == pytest.approx(4)


def test_halving_before_the_first_middle():
    """A return of 1 at the first size falls to (nearly) 0 at the first middle, 4."""
    assert halving(sizes((1, 1.0), (16, 1.0 + 1e-9))) == pytest.approx(2)


def test_halving_at_the_size_that_gives_most():
    """Whatever the size of the larger ones that give less."""
    for larger in (65, 80, 4096):
        assert halving(sizes((32, 32.0), (64, 64.0), (larger, 60.0))) == pytest.approx(64)


def test_a_dip_is_no_halving():
    """Plans do not divide 40 and 48 GPUs: nobody uses them."""
    assert halving(sizes((8, 8.0), (32, 31.0), (40, 31.5), (48, 40.0), (64, 60.0))) is None
    assert halving(sizes((31, 15.0), (32, 32.0), (64, 63.0))) is None


def test_never_halved():
    assert halving(sizes((8, 8.0), (16, 15.0), (32, 28.0))) is None
    assert halving(sizes((8, 8.0))) is None


def test_a_range_from_elsewhere_halves_at_the_same_size():
    """As long as the best size is in it, and more than one size before the crossing."""
    curve = [(2**k, 2**k / (1 + 2**k / 512)) for k in range(3, 14)]
    whole = halving(sizes(*curve))
    assert halving(sizes(curve[0], *curve[3:])) == pytest.approx(whole)
    assert 128 < whole < 512  # of x / (1 + x/c) the return is 1 / (1 + x/c)^2: one half at 0.41 c


# Batches and sizes


@pytest.mark.parametrize(
    ("given", "is_"),
    [("2", 2), (2, 2), ("0.125", Fraction(1, 8)), (0.125, Fraction(1, 8)), ("1/8", Fraction(1, 8)), (" 3 ", 3)],
)
def test_sequences_of_a_gpu(given, is_):
    assert sequences_per_gpu(given) == is_


@pytest.mark.parametrize(
    "given", ["0", "0/3", "1/0", "1/00", "-1", "nan", "inf", "x", "", "1e3", "9" * 40, "2 2", True]
)
def test_sequences_of_a_gpu_refused(given):
    with pytest.raises(BadInput, match=r"batch_per_gpu=.*must be a positive number of sequences"):
        sequences_per_gpu(given)


def test_weak_scaling_keeps_the_batch_of_a_gpu():
    asked = ScaleQuestion(question(), Fraction(1, 8))
    assert [asked.batch_seqs(count) for count in (4, 8, 12, 16, 1024)] == [None, 1, None, 2, 128]
    assert asked.mode == "weak"
    assert asked.at(cluster(16)).training.batch_seqs == 2
    assert asked.at(cluster(12)) is None


def test_strong_scaling_keeps_the_batch():
    asked = ScaleQuestion(question())
    assert asked.mode == "strong"
    assert {asked.batch_seqs(count) for count in (4, 12, 1024)} == {TRAINING.batch_seqs}


def test_doublings():
    h100, nvl72 = hardware.cluster("h100-sxm"), hardware.cluster("gb200-nvl72")
    assert doublings(8, 8, h100) == [8]
    assert doublings(24, 100, h100) == [24, 32, 64, 100]
    assert doublings(1, 16, h100, 2) == [1, 2, 3, 4, 6, 8, 16]
    assert doublings(64, 256, h100, 4) == [64, 80, 96, 112, 128, 160, 192, 224, 256]
    assert doublings(72, 512, nvl72) == [72, 128, 256, 512]


# With the planner


def test_points_are_the_planners_fastest_plans():
    found = scale(ScaleQuestion(question(cluster(2), cluster(4), cluster(1))))
    [curve] = found.curves
    assert [point.num_gpus for point in curve.points] == [1, 2, 4]
    for point in curve.possible:
        again = recommend(question(point.cluster))
        assert point.option.plan == again.best.plan
        assert point.metrics["step_time_s"] == again.best.time_s
        assert point.totals.tokens_per_s == pytest.approx(TRAINING.batch_tokens / again.best.time_s)


def test_sizes_that_are_not_possible_stay_and_say_why():
    found = wt.scale(MODEL, cluster(), [1, 3, 4, 16], batch_per_gpu="1/4", **ASKED)
    [curve] = found.curves
    whole, small = curve.points[1].why_not, curve.points[0].why_not
    assert whole == "1/4 sequences on each of 3 GPUs are 0.75, not a whole batch"
    assert "0.25, not a whole batch" in small
    assert [point.num_gpus for point in curve.possible] == [4, 16]
    [one] = curve.marginals
    assert (one.before.num_gpus, one.after.num_gpus) == (4, 16)
    assert [row["is_possible"] for row in found.to_rows()] == [False, False, True, True]
    assert found.to_rows()[0]["tokens_per_s"] is None


def test_memory_and_batch_say_why_not():
    tight = cluster(4, "accelerator.memory=0.01x")
    [point] = scale(ScaleQuestion(question(tight))).points
    assert point.why_not.startswith("does not fit: needs ")
    [point] = scale(ScaleQuestion(question(cluster(7), fix={"tp": (1,)}, most={"pp": 1}))).points
    assert point.why_not == "no plan splits 16 sequences over 7 GPUs with megatron-core and tp=1 and max_pp=1"
    with pytest.raises(NegativeAnswer, match=r"no size is possible\. On 4 x h100-sxm: no plan: of .* memory"):
        require_possible(scale(ScaleQuestion(question(tight))))


@pytest.mark.parametrize("per_gpu", [None, Fraction(2)])
@pytest.mark.parametrize(
    "better", ["network.bandwidth=2x", "network.latency=0.5x", "accelerator.memory=2x", "accelerator.peak=2x"]
)
def test_better_hardware_never_lowers_throughput(better, per_gpu):
    """At no size: the fastest plan is at least as fast."""
    short = "accelerator.memory=0.16x" if "memory" in better else "accelerator.memory=0.08x"
    more = (short,) if "memory" in better else (short, better)
    counts = (2, 4, 16)

    def throughput(*settings):
        kinds = [cluster(count, *settings) for count in counts]
        points = scale(ScaleQuestion(question(*kinds, fix={"cp": (1,)}), per_gpu)).points
        return [point.totals.tokens_per_s if point.is_possible else 0.0 for point in points]

    plain, improved = throughput("accelerator.memory=0.08x"), throughput(*more)
    assert all(after >= before * (1 - 1e-9) for before, after in zip(plain, improved, strict=True))
    assert any(improved)


def test_prices_of_the_question_are_those_of_the_account():
    asked = question(cluster(4), terms=Terms(price_usd_per_gpu_hour={"h100-sxm": 5.0}))
    [point] = scale(ScaleQuestion(asked)).points
    assert point.metrics["usd_per_hour"] == 20


def test_each_kind_of_cluster_is_a_curve():
    found = wt.scale(MODEL, [cluster(1), cluster(1, name="a100-sxm-80gb")], [4, 2, 4], batch_seqs=16, **ASKED)
    assert [[point.num_gpus for point in curve.points] for curve in found.curves] == [[2, 4], [2, 4]]
    assert [curve.cluster.id for curve in found.curves] == ["h100-sxm", "a100-sxm-80gb"]


def test_what_helps_most_is_said_where_the_return_has_halved():
    found = wt.scale(MODEL, cluster(), [2, 4, 64, 512], batch_seqs=16, **ASKED)
    [curve] = found.curves
    assert curve.halving_gpus < 512
    assert curve.critical in curve.possible
    gains = [one.gain for one in curve.elasticities]
    assert gains == sorted(gains, reverse=True)
    assert {"FLOP/s", "nvlink bandwidth", "infiniband bandwidth", "memory capacity"} < {
        one.resource for one in curve.elasticities
    }


def test_failures_at_their_ends_bracket_goodput_and_halving():
    found = wt.scale(MODEL, cluster(), [4, 64, 512, 4096], batch_seqs=4096, **ASKED)
    [curve] = found.curves
    for point in curve.possible:
        worse, better = point.goodput_range
        assert worse < point.totals.goodput_tokens_per_s < better < point.totals.tokens_per_s
    worse, better = curve.halving_gpus_range
    assert worse is None or better is None or worse <= better


def test_what_the_terms_set_of_failures_has_no_range():
    kept = Terms(settings={"failures.gpu_mtbf_s": 1e12, "failures.node_mtbf_s": 1e12, "failures.slow_share": 0.0})
    [point] = wt.scale(MODEL, cluster(), [64], batch_seqs=64, terms=kept, **ASKED).points
    worse, better = point.goodput_range
    assert worse == pytest.approx(better, rel=1e-3)
    often = Terms(settings={"failures.interval_s": 30.0})
    [point] = wt.scale(MODEL, cluster(), [4], batch_seqs=16, terms=often, **ASKED).points
    assert point.goodput_range is None or point.goodput_range[0] < point.goodput_range[1]


# From Python


def test_a_batch_that_is_not_given_is_4m_tokens():
    [point] = wt.scale(MODEL, cluster(64), seq_len=2048, most={"pp": 1}, fix={"cp": 1}).points
    assert point.batch_seqs == 2048


def test_result_shows_itself():
    found = wt.scale(MODEL, cluster(), [3, 4], batch_seqs=16, **ASKED)
    assert repr(found).startswith("Scaling(small, strong):")
    assert "4 x h100-sxm" in repr(found)
    html = found._repr_html_()
    assert html.startswith("<table>")
    assert "4 x h100-sxm" in html
    assert found.to_rows()[-1]["plan.dp"] >= 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch_seqs": 16, "batch_per_gpu": 1}, "both given"),
        ({"batch_per_gpu": -1}, "batch_per_gpu=-1"),
        ({"batch_seqs": 0}, "batch_seqs=0"),
        ({"batch_seqs": 16, "sizes": []}, "sizes is empty"),
        ({"batch_seqs": 16, "sizes": [0]}, "number of accelerators=0"),
        ({"batch_seqs": 16, "sizes": [2.5]}, "number of accelerators=2.5"),
        ({"batch_seqs": 16, "stack": "torchtitn"}, "Did you mean 'torchtitan'"),
        ({"batch_seqs": 16, "fix": 8}, "fix=8"),
    ],
)
def test_refused(given, said):
    with pytest.raises(BadInput, match=said):
        wt.scale(MODEL, **({"cluster": cluster(), "sizes": [2]} | given))


def test_only_real_models_on_clusters():
    with pytest.raises(BadInput, match="is no real model"):
        wt.scale("mlp-12288", cluster(), [2], batch_seqs=16)
    with pytest.raises(BadInput, match="is no cluster"):
        wt.scale(MODEL, "h100-sxm", [2], batch_seqs=16)


@pytest.mark.parametrize(
    ("cluster", "sizes", "said"),
    [
        (None, [8], "cluster=None is no cluster"),
        ("h100-sxm", [8], "cluster='h100-sxm' is no cluster"),
        ([], [8], "is no cluster"),
        (wt.cluster("h100-sxm"), 16, "sizes=16 must list"),
        (wt.cluster("h100-sxm"), None, "sizes=None must list"),
        (wt.cluster("h100-sxm"), [], "sizes is empty"),
    ],
)
def test_clusters_and_sizes_that_are_none(cluster, sizes, said):
    with pytest.raises(BadInput, match=said):
        wt.scale("llama-2-7b", cluster, sizes, batch_seqs=64)
