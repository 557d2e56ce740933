"""What must hold of any estimate: parts, bounds, utilisation, better hardware, relabelling."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from walltime.engines import estimate, matmul_device, step_terms
from walltime.plan import DEGREES, MlpPlanBatch, check_mlp_plan, level_sizes, placements
from walltime.problems import BadInput

from .strategies import Scenario, powers_of_ten, scenarios

TINY = 1e-12


def estimated(case: Scenario):
    return estimate(case.model, case.cluster, MlpPlanBatch.of([case.plan]), case.assumptions)


def terms_of(case: Scenario):
    device = matmul_device(case.cluster.accelerator, case.assumptions)
    return step_terms(case.model, device, case.cluster.network, MlpPlanBatch.of([case.plan]))


def step_s(case: Scenario) -> float:
    """Time of a step by the formula of specification 2.4, step 5; not by adding parts."""
    t, a = {name: float(np.max(value)) for name, value in vars(terms_of(case)).items()}, case.assumptions
    latency = t["tp_latency_s"] + t["pp_latency_s"]
    zero_bubble = case.plan.schedule == "zero-bubble"
    network = a.overlap_tp * t["tp_s"] + a.overlap_pp * t["pp_s"]
    if zero_bubble and a.zero_bubble_latency_order:
        network = max(network, latency)
    exposed = (1 - a.overlap_tp) * t["tp_s"] + (1 - a.overlap_pp) * t["pp_s"]
    pp, v, m = case.plan.degree("pp"), case.plan.interleave, case.plan.num_microbatches
    bubble = 0 if zero_bubble else (pp - 1) / (pp - 1 + v * m)
    pipeline = (max(t["matmul_s"], network) + exposed) / (1 - bubble)
    if not zero_bubble:
        pipeline += latency
    return (max(pipeline, t["dp_s"]) if a.overlap_dp else pipeline + t["dp_s"]) + t["dp_latency_s"]


@given(case=scenarios())
def test_parts_add_up_to_the_formula_of_the_paper(case):
    result = estimated(case)
    event(max(result.parts_s, key=lambda name: float(result.parts_s[name][0])) + " is the largest part")
    assert math.fsum(float(part[0]) for part in result.parts_s.values()) == pytest.approx(step_s(case), rel=TINY)
    assert float(result.time_s[0]) == pytest.approx(step_s(case), rel=TINY)
    assert float(result.run_time_s[0]) == pytest.approx(
        case.model.training_tokens / case.model.batch_tokens * step_s(case), rel=TINY
    )


@given(case=scenarios())
def test_time_lies_between_its_bounds(case):
    result = estimated(case)
    assert result.lower_s[0] <= result.time_s[0] * (1 + TINY)
    assert result.time_s[0] <= result.upper_s[0] * (1 + TINY)


@given(case=scenarios())
def test_nothing_is_negative_or_undefined(case):
    result = estimated(case)
    numbers = {
        **result.parts_s,
        **{f"busy {name}": time_s for name, time_s in result.busy_s.items()},
        **result.memory_bytes,
        "lower": result.lower_s,
        "upper": result.upper_s,
        "utilization": result.utilization,
    }
    for name, value in numbers.items():
        assert math.isfinite(value[0]), name
        assert value[0] >= 0, name


@given(case=scenarios())
def test_no_part_is_longer_than_its_resource_is_busy(case):
    result = estimated(case)
    for name in ("matmul", "tp_comm", "pp_comm", "dp_comm"):
        assert result.parts_s[name][0] <= result.busy_s[name][0] * (1 + TINY)
    latency_s = result.parts_s["latency"][0] + result.parts_s["dp_latency"][0]
    assert latency_s <= result.busy_s["latency"][0] * (1 + TINY)


@given(case=scenarios())
def test_utilization_is_useful_flop_over_the_peak_and_below_the_plateau(case):
    result, chip = estimated(case), case.cluster.accelerator
    model = case.model
    step_flop = 6 * (2 * model.d_model * model.d_ff * model.num_layers) * model.batch_tokens
    available = chip.peak_flop_per_s * case.cluster.num_gpus * step_s(case)
    assert float(result.utilization[0]) == pytest.approx(step_flop / available, rel=TINY)
    assert result.utilization[0] <= chip.achievable_fraction * (1 + TINY)


@given(case=scenarios())
def test_a_plan_that_divides_is_accepted_and_fills_the_cluster(case):
    check_mlp_plan(case.plan, case.model, case.cluster)
    assert math.prod(case.plan.degree(name) for name in DEGREES) == case.cluster.num_gpus


@given(case=scenarios(), field=st.sampled_from(("tp_ff", "tp_model", "pp", "ep", "dp", "num_microbatches")))
def test_a_plan_that_does_not_divide_is_refused_by_name(case, field):
    """One field becomes the smallest number that does not divide what it splits."""
    plan, model = case.plan, case.model
    tokens = model.batch_tokens // model.num_experts
    whole = {
        "tp_ff": model.d_ff,
        "tp_model": model.d_model,
        "pp": model.num_layers,
        "ep": model.num_experts,
        "dp": tokens,
        "num_microbatches": tokens // plan.degree("dp"),
    }[field]
    wrong = next(n for n in range(2, whole + 2) if whole % n)
    plan = replace(plan, **{name: plan.degree(name) for name in DEGREES}, interleave=1, schedule="1f1b")
    wrong_plan = replace(plan, **{field: wrong})
    with pytest.raises(BadInput, match=rf"^{field}={wrong} does not divide .*={whole}\. Nearest: ") as refusal:
        check_mlp_plan(wrong_plan, model, case.cluster)
    nearest = [int(n) for n in str(refusal.value).split("Nearest: ")[1].strip(".").split(", ")]
    below = max(n for n in range(1, wrong) if whole % n == 0)
    above = [next(n for n in range(wrong, whole + 1) if whole % n == 0)] if wrong < whole else []
    assert nearest == [below, *above]


@given(case=scenarios(), data=st.data())
def test_a_batch_of_plans_is_its_plans_one_by_one(case, data):
    """Every placement of one plan at once, or any of them alone."""
    flat = MlpPlanBatch.of([replace(case.plan, **{name: (case.plan.degree(name),) for name in DEGREES})])
    placed, index = placements(flat, level_sizes(case.cluster.num_gpus, case.cluster.network.level_sizes))
    event(f"{min(len(placed), 8)} placements or more")
    assert (index == 0).all()
    assert case.plan in [placed.plan(i) for i in range(len(placed))]
    together = estimate(case.model, case.cluster, placed, case.assumptions)
    i = data.draw(st.integers(0, len(placed) - 1))
    alone = estimate(case.model, case.cluster, MlpPlanBatch.of([placed.plan(i)]), case.assumptions)
    for name in alone.parts_s:
        assert together.parts_s[name][i] == pytest.approx(alone.parts_s[name][0], rel=TINY, abs=0), name
    assert together.to_rows()[i] == alone.to_rows()[0]


BETTER = {
    "network bandwidth": ("network", "bytes_per_s", max),
    "network latency": ("network", "latency_s", min),
    "peak arithmetic": ("accelerator", "peak_flop_per_s", max),
    "memory bandwidth": ("accelerator", "hbm_bytes_per_s", max),
    "cache": ("accelerator", "l2_bytes", max),
    "cache bandwidth": ("accelerator", "l2_bytes_per_s", max),
    "matmul latency": ("accelerator", "matmul_latency_s", min),
}


def improved(case: Scenario, what: str, factor: float, level: int) -> Scenario:
    room, attribute, better = BETTER[what]
    factor = factor if better is max else 1 / factor
    part = getattr(case.cluster, room)
    present = getattr(part, attribute)
    if room == "network":
        changed = tuple(v * factor if i == level % len(present) else v for i, v in enumerate(present))
    else:
        changed = present * factor
    return replace(case, cluster=replace(case.cluster, **{room: replace(part, **{attribute: changed})}))


@pytest.mark.parametrize("what", BETTER)
@given(case=scenarios(), factor=powers_of_ten(0, 4), level=st.integers(0, 2))
def test_better_hardware_never_makes_a_plan_slower(what, case, factor, level):
    before, after = estimated(case), estimated(improved(case, what, factor, level))
    for bound in ("lower_s", "time_s", "upper_s"):
        assert getattr(after, bound)[0] <= getattr(before, bound)[0] * (1 + TINY)


@pytest.mark.parametrize("overlap", ["overlap_tp", "overlap_pp", "overlap_dp"])
@given(case=scenarios(), more=st.floats(0, 1))
def test_more_overlap_never_makes_a_plan_slower(overlap, case, more):
    present = getattr(case.assumptions, overlap)
    more = 1.0 if overlap == "overlap_dp" else min(1.0, present + more)
    after = replace(case, assumptions=replace(case.assumptions, **{overlap: more}))
    assert estimated(after).time_s[0] <= estimated(case).time_s[0] * (1 + TINY)


@given(case=scenarios())
def test_recomputation_never_makes_a_plan_faster(case):
    with_, without = (replace(case, plan=replace(case.plan, recompute=again)) for again in (True, False))
    assert estimated(without).time_s[0] <= estimated(with_).time_s[0] * (1 + TINY)


def with_levels(case: Scenario, edit) -> Scenario:
    """The same case after ``edit(values, fill)`` of everything that is given by level."""
    network = case.cluster.network
    degrees = {name: tuple(edit(list(getattr(case.plan, name)), "degree")) for name in DEGREES}
    plan = replace(case.plan, **degrees)
    sizes = [math.prod(plan_degrees) for plan_degrees in zip(*degrees.values(), strict=True)]
    changed = replace(
        network,
        level_names=tuple(edit(list(network.level_names), "name")),
        level_sizes=tuple(sizes[:-1]),
        bytes_per_s=tuple(edit(list(network.bytes_per_s), "bandwidth")),
        latency_s=tuple(edit(list(network.latency_s), "latency")),
    )
    return replace(case, plan=plan, cluster=replace(case.cluster, network=changed))


def assert_same_estimate(before: Scenario, after: Scenario):
    one, other = estimated(before), estimated(after)
    for name in one.busy_s:
        assert other.busy_s[name][0] == pytest.approx(one.busy_s[name][0], rel=TINY, abs=0), name
    for name in one.parts_s:  # a part is a difference of times: to within the rounding of the whole
        assert other.parts_s[name][0] == pytest.approx(one.parts_s[name][0], rel=1e-9, abs=TINY * step_s(before)), name
    assert other.time_s[0] == pytest.approx(one.time_s[0], rel=TINY)
    assert other.upper_s[0] == pytest.approx(one.upper_s[0], rel=TINY)


@given(case=scenarios(), where=st.integers(0, 3), slow=powers_of_ten(1, 15), late=powers_of_ten(-9, 1))
def test_a_level_that_joins_one_changes_nothing(case, where, slow, late):
    fill = {"degree": 1, "name": "of one", "bandwidth": slow, "latency": late}

    def insert(values, what):
        values.insert(where, fill[what])
        return values

    assert_same_estimate(case, with_levels(case, insert))


def on_one_level(case: Scenario, tensor_level: int, data_level: int) -> Scenario:
    """The same degrees, tensor parallelism on one level and data parallelism on one."""
    levels = len(case.plan.dp)

    def all_on(name, level):
        return tuple(case.plan.degree(name) if i == level % levels else 1 for i in range(levels))

    plan = replace(
        case.plan,
        dp=all_on("dp", data_level),
        tp_model=all_on("tp_model", tensor_level),
        tp_ff=all_on("tp_ff", tensor_level),
    )
    return with_levels(replace(case, plan=plan), lambda values, _: values)


@given(case=scenarios(), places=st.tuples(st.integers(0, 2), st.integers(0, 2)), data=st.data())
def test_levels_that_are_alike_may_be_split_and_merged(case, places, data):
    """Of two adjacent levels with the same links, stages and experts may sit on either, in any shares.

    Collectives may not: levels of one all-reduce work at the same time, so they are kept on one level here.
    """
    case = on_one_level(case, *places)
    where = data.draw(st.integers(0, len(case.plan.dp) - 1))
    below = {name: data.draw(st.sampled_from(_divisors(getattr(case.plan, name)[where]))) for name in ("pp", "ep")}
    for name in ("dp", "tp_model", "tp_ff"):
        below[name] = 1
    tensor_below, data_below = data.draw(st.booleans()), data.draw(st.booleans())
    for name, is_below in (("tp_model", tensor_below), ("tp_ff", tensor_below), ("dp", data_below)):
        below[name] = getattr(case.plan, name)[where] if is_below else 1
    remaining = iter([(below[name], getattr(case.plan, name)[where] // below[name]) for name in DEGREES])

    def split(values, what):
        pair = next(remaining) if what == "degree" else (values[where], values[where])
        return values[:where] + list(pair) + values[where + 1 :]

    assert_same_estimate(case, with_levels(case, split))


def _divisors(number):
    return [d for d in range(1, number + 1) if number % d == 0]


@given(case=scenarios(), places=st.tuples(st.integers(0, 2), st.integers(0, 2)), data=st.data())
def test_levels_that_are_alike_may_change_places(case, places, data):
    network = case.cluster.network
    alike = replace(
        network,
        bytes_per_s=(network.bytes_per_s[0],) * network.num_levels,
        latency_s=(network.latency_s[0],) * network.num_levels,
    )
    case = on_one_level(replace(case, cluster=replace(case.cluster, network=alike)), *places)
    order = data.draw(st.permutations(range(network.num_levels)))
    assert_same_estimate(case, with_levels(case, lambda values, _: [values[i] for i in order]))


@given(case=scenarios(), factor=powers_of_ten(-3, 3))
def test_time_has_no_unit_of_its_own(case, factor):
    """All rates slower and all waits longer by one factor: every time grows by it."""
    chip, network = case.cluster.accelerator, case.cluster.network
    rates = ("peak_flop_per_s", "hbm_bytes_per_s", "l2_bytes_per_s", "max_clock_hz")
    slower_chip = replace(
        chip,
        **{name: getattr(chip, name) / factor for name in rates},
        matmul_latency_s=chip.matmul_latency_s * factor,
    )
    slower_network = replace(
        network,
        bytes_per_s=tuple(b / factor for b in network.bytes_per_s),
        latency_s=tuple(s * factor for s in network.latency_s),
    )
    slower = replace(case, cluster=replace(case.cluster, accelerator=slower_chip, network=slower_network))
    assert estimated(slower).time_s[0] == pytest.approx(factor * estimated(case).time_s[0], rel=1e-11)
