"""The planner's search returns what brute force returns, and prunes only with true lower bounds."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walltime import hardware
from walltime.engines.compatibility import broken_rules
from walltime.engines.stack import stack
from walltime.engines.transformer import estimate
from walltime.plan import SHARDINGS, Plan, PlanBatch, check_plan, divisors
from walltime.plan.plan import choices_of
from walltime.problems import BadInput
from walltime.search.bounds import least_bytes
from walltime.search.constraints import Constraints
from walltime.search.keep import Best, Front
from walltime.search.plan_search import PlanSearch
from walltime.workload import Training, Transformer

STACKS = ("megatron-core", "torchtitan", "megatron-lm-2021", "deepspeed", "generic")
ROUNDING = 1e-9


@st.composite
def questions(draw):
    """A small model on few accelerators whose memory may be too small for some plans."""
    heads = draw(st.sampled_from((2, 3, 4)))
    experts = draw(st.sampled_from((0, 0, 2)))
    layers = draw(st.integers(1, 6))
    model = Transformer(
        name="small",
        num_layers=layers,
        d_model=64 * draw(st.integers(1, 40)),
        d_ff=128 * draw(st.integers(1, 40)),
        num_heads=heads,
        num_kv_heads=draw(st.sampled_from([n for n in (1, 2, heads) if heads % n == 0])),
        head_dim=64,
        vocab_size=draw(st.integers(100, 100_000)),
        num_experts=experts,
        top_k=1,
        d_ff_expert=experts and 256,
        num_dense_layers=draw(st.integers(0, 1)) if experts else 0,
    )
    training = Training(model, 128 * draw(st.integers(1, 64)), draw(st.sampled_from((1, 2, 3, 4, 8))))
    cluster = hardware.cluster(
        draw(st.sampled_from(("h100-sxm", "a100-sxm-80gb"))), draw(st.sampled_from((1, 2, 4, 6)))
    )
    memory = 10 ** draw(st.floats(-1.5, 0.0))
    cluster = hardware.override(cluster, [f"accelerator.memory={memory:.4f}x", "network.0.size=2"])
    return training, cluster, draw(st.sampled_from(STACKS))


def every_plan(training, cluster, software):
    """Every plan of the stated space, one at a time, by the rules of plans and stacks."""
    model, num_gpus = training.model, cluster.num_gpus
    layers = model.num_layers + model.num_mtp_layers
    degrees = itertools.product(divisors(num_gpus), repeat=3)
    for tp, cp, pp in degrees:
        dp, rest = divmod(num_gpus, tp * cp * pp)
        if rest or training.batch_seqs % dp:
            continue
        experts = itertools.product(divisors(model.num_experts), {1, tp}) if model.is_moe else [(1, 1)]
        for (ep, etp), micro_batch in itertools.product(list(experts), divisors(training.batch_seqs // dp)):
            for vpp, choices in itertools.product(range(1, layers + 3), choices_of_a_layout(tp, cp, pp, dp, software)):
                in_chunk = math.ceil(layers / (pp * vpp))
                if in_chunk * vpp != math.ceil(layers / pp) or (vpp > 1 and (pp == 1 or choices["schedule"] != "1f1b")):
                    continue
                parts = {math.ceil(in_chunk * part / 16) / in_chunk for part in range(1, 17)}
                for share in parts if choices["recompute"] == "full" else [1.0]:
                    plan = Plan(
                        tp=tp,
                        cp=cp,
                        pp=pp,
                        dp=dp,
                        ep=ep,
                        etp=etp,
                        micro_batch=micro_batch,
                        vpp=vpp,
                        recompute_layers=share,
                        **choices,
                    )
                    if is_allowed(plan, training, cluster, software):
                        yield plan


def choices_of_a_layout(tp, cp, pp, dp, software):
    """Every choice that is not the same plan by another name."""
    runs = software.runs
    shardings = [(kind, reshard) for kind in SHARDINGS for reshard in ((True, False) if kind == "zero3" else (True,))]
    kinds = ("tp", "cp", "dp", "pp")
    size = dict(zip(kinds, (tp, cp, dp, pp), strict=True))
    orders = {tuple(kind for kind in order if size.get(kind, 1) > 1): order for order in reversed(runs.orders)}
    for (sharding, reshard), recompute, sequence, algorithm, order, schedule in itertools.product(
        shardings,
        ("none", "selective", "full"),
        (True, False) if tp > 1 else (True,),
        ("ring", "all-to-all") if cp > 1 else ("ring",),
        orders.values(),
        runs.schedules if pp > 1 else ("1f1b",),
    ):
        for shard in [0] if sharding == "ddp" else [0, *(d for d in divisors(dp) if 1 < d < dp)]:
            yield {
                "sharding": sharding,
                "reshard": reshard,
                "shard": shard,
                "recompute": recompute,
                "order": order,
                "sequence_parallel": sequence,
                "cp_algorithm": algorithm,
                "schedule": schedule,
            }


def is_allowed(plan, training, cluster, software):
    try:
        check_plan(plan, training, cluster)
    except BadInput:
        return False
    return not any(True for _ in broken_rules(plan, training, software))


def evaluated(plans, training, cluster, software):
    """Times and memory of plans, infinite where they do not fit."""
    groups = {}
    for plan in plans:
        groups.setdefault(str(choices_of(plan)), []).append(plan)
    for group in groups.values():
        result = estimate(training, cluster, PlanBatch.of(group), software)
        yield from zip(group, result.time_s, result.needed_bytes, result.fits, strict=True)


@settings(max_examples=60)
@given(question=questions())
def test_search_finds_the_best_plan_of_brute_force(question):
    training, cluster, name = question
    software = replace(stack(name), attention="flash2")
    known = list(evaluated(list(every_plan(training, cluster, software)), training, cluster, software))
    fitting = [(time_s, plan) for plan, time_s, _, fits in known if fits]
    search, best = PlanSearch(training, cluster, software), Best(3)
    search.search(best)
    ranked = best.ranked()
    assert bool(ranked) == bool(fitting)
    assert search.counts.considered - search.counts.rejected.total() >= search.counts.evaluated
    assert search.counts.not_fitting <= len(known) or len(known) == 0
    if not fitting:
        return
    layouts = {}
    for time_s, plan in fitting:
        key = (plan.tp, plan.cp, plan.pp, plan.dp, plan.ep, plan.etp)
        layouts[key] = min(time_s, layouts.get(key, math.inf))
    expected = sorted(layouts.values())[:3]
    assert [kept.values[0] for kept in ranked][: len(expected)] == pytest.approx(expected, rel=ROUNDING)
    for kept in ranked:
        check_plan(kept.plan, training, cluster)
        assert not list(broken_rules(kept.plan, training, software))
        again = estimate(training, cluster, PlanBatch.of([kept.plan]), software)
        assert again.fits[0]
        assert again.time_s[0] == pytest.approx(kept.values[0], rel=ROUNDING)


@settings(max_examples=25)
@given(question=questions())
def test_front_is_that_of_brute_force(question):
    training, cluster, name = question
    software = replace(stack(name), attention="flash2")
    known = list(evaluated(list(every_plan(training, cluster, software)), training, cluster, software))
    points = np.array([(time_s, needed) for _, time_s, needed, fits in known if fits]).reshape(-1, 2)
    search, front = PlanSearch(training, cluster, software), Front()
    search.search(front, ("time", "memory"))
    found = np.array([kept.values for kept in front.found]).reshape(-1, 2)
    for point in points:
        assert np.any(np.all(found <= point * (1 + ROUNDING), axis=1)), "no plan of the front is as good"
    for one in found:
        assert not np.any(np.all(points < one * (1 - ROUNDING), axis=1)), "a plan beats the front"


@settings(max_examples=40)
@given(question=questions())
def test_bounds_of_rows_bound_every_plan(question):
    training, cluster, name = question
    software = replace(stack(name), attention="flash2")
    search = PlanSearch(training, cluster, software)
    rows = {}
    for at, (row, layout) in enumerate(zip(range(len(search.rows)), search.rows.layout, strict=True)):
        plan = search.rows.plans.plan(row)
        rows[plan.tp, plan.cp, plan.pp, plan.dp, plan.ep, plan.etp, plan.micro_batch] = at, layout
    plans = list(every_plan(training, cluster, software))
    needs = least_bytes(search.space, search.rows, software, search.memory)
    for plan, time_s, needed, fits in evaluated(plans, training, cluster, software):
        at, _ = rows[plan.tp, plan.cp, plan.pp, plan.dp, plan.ep, plan.etp, plan.micro_batch]
        assert needs[at] <= needed * (1 + ROUNDING)
        assert search.least_bytes[at] <= search.capacity_bytes or not fits
        if search.least_bytes[at] <= search.capacity_bytes:
            assert search.least_times.of_row[at] <= time_s * (1 + ROUNDING)


@settings(max_examples=40)
@given(question=questions())
def test_plans_are_counted_once(question):
    training, cluster, name = question
    software = replace(stack(name), attention="flash2")
    search = PlanSearch(training, cluster, software)
    assert search.space.count(search.rows).sum() == len(list(every_plan(training, cluster, software)))


@st.composite
def constrained(draw):
    """Constraints of every kind, some of which leave no plan."""
    values = draw(
        st.sampled_from(
            [
                *({}, {"tp": (1,)}, {"cp": (1, 2)}, {"micro_batch": (2,)}, {"micro_batch": (2, 4), "dp": (1, 2)}),
                *(
                    {"sharding": ("ddp", "zero1")},
                    {"sharding": ("zero3",), "reshard": (False,)},
                    {"shard": (1, 2)},
                    {"shard": (0,)},
                ),
                *({"recompute": ("none",)}, {"recompute": ("full",)}, {"recompute_layers": (1.0,)}, {"vpp": (1,)}),
                *({"schedule": ("1f1b",)}, {"sequence_parallel": (False,)}, {"cp_algorithm": ("all-to-all",)}),
            ]
        )
    )
    most = draw(st.sampled_from([{}, {"pp": 2}, {"micro_batch": 1}, {"vpp": 2}, {"tp": 1}]))
    least = draw(st.sampled_from([{}, {"micro_batch": 2}, {"tp": 2}, {"dp": 2}]))
    return Constraints(values, least, most, draw(st.sampled_from((0.0, 1e9, 1e10))))


def laid_out(plan, order):
    """The kinds of parallelism that a plan has, as an order puts them; ep has no place of its own."""
    return [kind for kind in order if kind != "ep" and getattr(plan, kind) > 1]


def obeys(plan, constraints):
    """Whether a plan is what was asked for, memory aside; a choice that a plan does not make has any value."""
    unused = {
        "schedule": plan.pp == 1,
        "sequence_parallel": plan.tp == 1,
        "cp_algorithm": plan.cp == 1,
        "reshard": plan.sharding != "zero3",
    }
    for name in constraints.names():
        field = name.removeprefix("min_").removeprefix("max_")
        if name == "min_free_memory" or unused.get(field):
            continue
        value = getattr(plan, field)
        value = value or plan.dp if field == "shard" else value
        value = 0.0 if field == "recompute_layers" and plan.recompute == "none" else value
        if name.startswith("min_"):
            holds = value >= constraints.least[field]
        elif name.startswith("max_"):
            holds = value <= constraints.most[field]
        elif name == "order":
            holds = laid_out(plan, value) in [laid_out(plan, order) for order in constraints.values[name]]
        else:
            holds = value in constraints.values[name] or (
                field == "shard" and value == plan.dp and 0 in constraints.values[name]
            )
        if not holds:
            return False
    return True


@settings(max_examples=40)
@given(question=questions(), data=st.data())
def test_search_with_constraints_is_brute_force_over_what_obeys_them(question, data):
    training, cluster, name = question
    software = replace(stack(name), attention="flash2")
    constraints = data.draw(constrained())
    allowed = [plan for plan in every_plan(training, cluster, software) if obeys(plan, constraints)]
    search, best = PlanSearch(training, cluster, software, constraints=constraints), Best(1)
    search.search(best)
    assert search.space.count(search.rows).sum() == len(allowed)
    known = evaluated(allowed, training, cluster, software)
    times = [time_s for _, time_s, needed, _ in known if needed <= search.capacity_bytes]
    found = [kept.values[0] for kept in best.ranked()]
    assert bool(found) == bool(times)
    assert not times or found[0] == pytest.approx(min(times), rel=ROUNDING)


@settings(max_examples=100)
@given(question=questions(), data=st.data())
def test_constraints_count_what_they_exclude(question, data):
    """Searching with constraints is searching the plans that obey them; narrowing a search is no different."""
    training, cluster, name = question
    software = replace(stack(name), attention="flash2")
    constraints = data.draw(constrained())
    direct = PlanSearch(training, cluster, software, constraints=constraints)
    narrowed = PlanSearch(training, cluster, software).narrowed(constraints)
    assert direct.counts == narrowed.counts
    left = direct.counts.considered - direct.counts.rejected.total()
    assert direct.space.count(direct.rows).sum() == left
    found = []
    for search in (direct, narrowed):
        best = Best(2)
        search.search(best)
        found.append([kept.values for kept in best.ranked()])
    assert found[0] == found[1]
