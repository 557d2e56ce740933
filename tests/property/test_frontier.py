"""Frontiers: hardware that gets worse never helps, clusters meet deadlines, thresholds are in order."""

import functools
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.engines import Assumptions
from walltime.hardware import cluster
from walltime.limits import (
    Frontier,
    FrontierQuestion,
    Run,
    RunFamily,
    cluster_sizes,
    frontier,
    sufficient_cluster,
    width_grid,
)
from walltime.limits.scaling_laws import round_to_grid
from walltime.plan import MlpPlan
from walltime.search import FULL, PUBLISHED, Search

TINY = 1e-12
QUARTER_S = 0.25 * 3.154e7
REFERENCE = Path(__file__).parents[1] / "data" / "erdil2024" / "frontier.jsonl"
SETTINGS = {"Default scaling": "default", "DeepSeek scaling": "deepseek", "No scaling": "none"}
SPACES = pytest.mark.parametrize("space", [PUBLISHED, FULL], ids=lambda space: space.name)
READINGS = pytest.mark.parametrize("reading", ["as_published", "corrected"])

WIDTHS = (12288, 20480, 36864, 53248, 81920, 114688, 163840, 262144)
SLOW_ON_THREE_LEVELS = 163840  # at the wall nothing can be pruned, and three levels have many placements
CORRECTED = Assumptions.named("corrected")


def of(name):
    return cluster(name, parameters="Erdil2024")


@functools.cache
def utilizations(on, space, family=RunFamily(), deadline_s=QUARTER_S):  # noqa: B008
    """Best utilisation at each width, corrected; 0 where no cluster finishes in time."""
    question = FrontierQuestion(on, family, deadline_s, space, CORRECTED)
    widths = [w for w in WIDTHS if on.network.num_levels < 3 or w != SLOW_ON_THREE_LEVELS]
    return np.array([run.utilization if (run := question.run(width)) else 0.0 for width in widths])


def with_level(on, attribute, level, value):
    numbers = list(getattr(on.network, attribute))
    numbers[level] = value(numbers[level])
    return replace(on, network=replace(on.network, **{attribute: tuple(numbers)}))


NAMES = ("h100-sxm", "v100-sxm", "h100-sxm-superpod")
LEVELS = [(name, level) for name in NAMES for level in range(of(name).network.num_levels)]
LATER = {"2x": lambda s: 2 * s, "10x": lambda s: 10 * s, "20us": lambda s: max(s, 20e-6)}


@SPACES
@pytest.mark.parametrize("how", LATER)
@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_more_latency_never_gives_more_utilization(name, level, how, space):
    on = of(name)
    before = utilizations(on, space)
    after = utilizations(with_level(on, "latency_s", level, LATER[how]), space)
    assert before[0] > 0
    assert (after <= before * (1 + TINY)).all()


@SPACES
@pytest.mark.parametrize("factor", [0.5, 0.1])
@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_less_bandwidth_never_gives_more_utilization(name, level, factor, space):
    on = of(name)
    before = utilizations(on, space)
    after = utilizations(with_level(on, "bytes_per_s", level, lambda b: factor * b), space)
    assert (after <= before * (1 + TINY)).all()


@SPACES
@pytest.mark.parametrize("sparsity", ["dense", "sparse"])
def test_less_time_never_gives_more_utilization(space, sparsity):
    family = RunFamily(sparsity)
    durations = [utilizations(of("a100-sxm"), space, family, share * QUARTER_S) for share in (1, 1 / 2, 1 / 10)]
    for longer, shorter in itertools.pairwise(durations):
        assert (shorter <= longer * (1 + TINY)).all()


def test_the_full_space_never_gives_less_utilization():
    for name in NAMES:
        published, full = (utilizations(of(name), space) for space in (PUBLISHED, FULL))
        assert (published <= full * (1 + TINY)).all()


def reference_cases():
    """Every (setting, width, cluster size) of the stored frontiers, once."""
    cases = set()
    for line in REFERENCE.read_text().splitlines():
        row = json.loads(line)
        if row["feasible"]:
            law = SETTINGS.get(row["setting"])
            name = "H100 SXM" if law else row["setting"]
            sparsity = "sparse" if row["study"].endswith("sparse") else "dense"
            cases.add((name, sparsity, law or "default", row["d_model"], row["n_gpus"]))
    return sorted(cases)


@READINGS
def test_the_full_space_is_never_worse_than_the_published_one(reading):
    """At every width and cluster size of the reference."""
    cases, read = reference_cases(), Assumptions.named(reading)
    assert len(cases) > 150
    strictly = 0
    for name, sparsity, law, width, num_gpus in cases:
        model = RunFamily(sparsity, law).model(width)
        published, full = (Search(model, of(name), space, read).best(num_gpus) for space in (PUBLISHED, FULL))
        assert full.step_time_s <= published.step_time_s * (1 + TINY), (name, sparsity, law, width, num_gpus)
        strictly += full.step_time_s < published.step_time_s
    assert strictly > 0


@READINGS
@SPACES
@pytest.mark.parametrize(("name", "sparsity"), [("h100-sxm", "dense"), ("h100-sxm-global-nvlink", "sparse")])
def test_a_sufficient_cluster_finishes_in_time(name, sparsity, space, reading):
    for width in WIDTHS:
        model = RunFamily(sparsity).model(width)
        run = sufficient_cluster(model, of(name), QUARTER_S, space, Assumptions.named(reading))
        if run is not None:
            assert run.run_time_s < QUARTER_S
            assert run.num_gpus in set(cluster_sizes(model, space, Assumptions.named(reading)))
            assert run.run_time_s == pytest.approx(model.num_steps * run.step_time_s, rel=TINY)
            flop_per_s = run.utilization * of(name).accelerator.peak_flop_per_s * run.num_gpus
            assert flop_per_s == pytest.approx(model.training_flop / run.run_time_s, rel=TINY)


@READINGS
@pytest.mark.parametrize(
    ("name", "sparsity", "width", "share"),
    [("h100-sxm", "dense", 20480, 1), ("v100-sxm", "dense", 196608, 1), ("h100-sxm", "sparse", 65536, 0.4)],
)
def test_the_sufficient_cluster_is_that_of_trying_every_size(name, sparsity, width, share, reading):
    """The first size in time or, corrected, the one with fewest accelerator-seconds of all 60 and more sizes."""
    read, on, deadline_s = Assumptions.named(reading), of(name), share * QUARTER_S
    model = RunFamily(sparsity).model(width)
    tried = {n: Search(model, on, PUBLISHED, read).best(n) for n in cluster_sizes(model, PUBLISHED, read)}
    in_time = {n: found.run_time_s for n, found in tried.items() if found and found.run_time_s < deadline_s}
    run = sufficient_cluster(model, on, deadline_s, PUBLISHED, read)
    assert in_time
    assert len(in_time) < len(tried)
    if reading == "as_published":
        assert run.num_gpus == min(in_time)
    else:
        fewest = min(n * in_time[n] for n in in_time)
        assert run.gpu_s == pytest.approx(fewest, rel=1e-9)
        assert run.num_gpus == min(n for n in in_time if n * in_time[n] <= fewest * (1 + TINY))


def test_a_deadline_that_nothing_meets():
    result = frontier(FrontierQuestion(of("h100-sxm"), RunFamily(), 1.0))
    assert result.runs == ()
    assert result.infeasible_d_model == width_grid()[0]
    assert result.latency_wall.last_feasible_flop is None


# A number of the grid is odd (up to 9) times a power of two, as specification 2.2 says.
GRID = sorted(k * 2**i for k in (1, 3, 5, 7, 9) for i in range(60))


@given(value=st.floats(1e-3, 1e21) | st.integers(1, 10**6).map(float) | st.sampled_from([float(g) for g in GRID]))
def test_rounding_goes_to_the_nearest_number_of_the_grid(value):
    rounded = round_to_grid(value)
    assert rounded in GRID
    distance = min(abs(g - value) for g in GRID)
    assert rounded == min(g for g in GRID if abs(g - value) == distance)
    assert round_to_grid(float(rounded)) == rounded


@given(one=st.floats(1e-3, 1e21), other=st.floats(1e-3, 1e21))
def test_rounding_keeps_the_order(one, other):
    small, large = sorted((one, other))
    assert round_to_grid(small) <= round_to_grid(large)


@given(index=st.integers(0, len(GRID) - 2))
def test_a_tie_goes_to_the_smaller(index):
    below, above = GRID[index], GRID[index + 1]
    if (below + above) % 2 == 0 and above < 2**50:
        assert round_to_grid((below + above) / 2) == below


def test_rounding_stays_on_the_grid_at_its_ends():
    assert round_to_grid(0.0) == 1
    assert round_to_grid(1e30) == GRID[-1] == 9 * 2**59


QUESTION = FrontierQuestion(of("h100-sxm"), RunFamily(), QUARTER_S)
_MODELS = [RunFamily().model(width) for width in width_grid()]


@st.composite
def frontiers(draw):
    """A curve of any shape, jagged or flat."""
    shape = draw(st.lists(st.floats(1e-3, 0.7) | st.sampled_from((0.3, 0.56, 0.7)), min_size=1, max_size=len(_MODELS)))
    runs = tuple(Run(model, 1, MlpPlan(), 1.0, 1.0, u) for model, u in zip(_MODELS, shape, strict=False))
    return Frontier(QUESTION, runs, None)


@given(curve=frontiers())
def test_the_envelope_only_falls_and_stays_between_the_extremes(curve):
    envelope = curve.envelope()
    assert (np.diff(envelope) <= 0).all()
    assert (envelope <= curve.utilization.max() * (1 + TINY)).all()
    assert (envelope >= curve.utilization.min() * (1 - TINY)).all()


@given(curve=frontiers())
def test_the_envelope_of_a_falling_curve_is_the_curve(curve):
    falling = sorted((run.utilization for run in curve.runs), reverse=True)
    runs = tuple(replace(run, utilization=u) for run, u in zip(curve.runs, falling, strict=True))
    np.testing.assert_allclose(replace(curve, runs=runs).envelope(), falling, rtol=TINY)


@given(curve=frontiers(), fraction=st.floats(0.01, 0.99) | st.just(0.8))
def test_the_three_crossings_are_in_order(curve, fraction):
    end = curve.linear_scaling_end(fraction)
    flop, threshold = [run.training_flop for run in curve.runs], fraction * curve.plateau
    below = [run.utilization <= threshold for run in curve.runs]
    first = below.index(True) if True in below else None
    assert end.first_crossing_flop == (None if first is None else flop[first])
    last = next((i for i in range(len(flop)) if all(below[i:])), None)
    assert end.last_crossing_flop == (None if last is None else flop[last])
    if end.envelope_flop is not None:
        assert end.envelope_flop >= flop[max(0, first - 1)] * (1 - TINY)
        assert end.envelope_flop <= (flop[-1] if last is None else flop[last]) * (1 + TINY)
    if last is not None:
        assert end.envelope_flop is not None


@given(curve=frontiers(), fractions=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_a_lower_threshold_is_crossed_later(curve, fractions):
    higher, lower = (curve.linear_scaling_end(f) for f in sorted(fractions, reverse=True))
    for name in ("first_crossing_flop", "last_crossing_flop", "envelope_flop"):
        early, late = getattr(higher, name) or math.inf, getattr(lower, name) or math.inf
        assert early <= late * (1 + TINY), name


@given(
    width=st.integers(64, 2_000_000),
    sparsity=st.sampled_from(("dense", "sparse")),
    law=st.sampled_from(("default", "deepseek", "none")),
    seq_len=st.sampled_from((1, 512, 2048, 4096)),
)
def test_members_of_a_family_divide_well(width, sparsity, law, seq_len):
    model = RunFamily(sparsity, law, seq_len=seq_len).model(width)
    assert model.num_layers in GRID
    assert model.num_experts in GRID
    assert model.d_ff == 4 * width
    assert model.batch_tokens % seq_len == 0
    assert model.training_tokens == pytest.approx(20 * model.num_parameters, rel=TINY)
    if law != "none":
        assert model.batch_tokens % (model.num_experts * seq_len) == 0
        assert model.batch_tokens // (model.num_experts * seq_len) in GRID
