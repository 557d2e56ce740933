"""Random hardware, models, plans and assumptions: far wider than any catalog, but each of them valid."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from walltime.engines import FIXES, Assumptions
from walltime.hardware import Accelerator, Cluster, Network, cluster
from walltime.plan import DEGREES, MlpPlan, smallest_num_microbatches
from walltime.workload import MlpStack


def powers_of_ten(low, high):
    """Any number between 10^low and 10^high, every decade as likely as the next."""
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


def fractions():
    return st.sampled_from((0.0, 1.0)) | st.floats(0, 1)


@st.composite
def assumptions(draw):
    return Assumptions(
        **{fix: draw(st.booleans()) for fix in FIXES},
        cluster_choice=draw(st.sampled_from(("smallest", "most_efficient"))),
        overlap_tp=draw(fractions()),
        overlap_pp=draw(fractions()),
        overlap_dp=draw(st.sampled_from((0.0, 1.0))),
    )


@st.composite
def accelerators(draw) -> Accelerator:
    """Small or large, fast or slow in each of its parts."""
    return replace(
        cluster("h100-sxm", parameters="Erdil2024").accelerator,
        peak_flop_per_s=draw(powers_of_ten(9, 16)),
        achievable_fraction=draw(st.floats(0.1, 1)),
        hbm_bytes=draw(powers_of_ten(9, 12)),
        hbm_bytes_per_s=draw(powers_of_ten(9, 14)),
        l2_bytes=draw(powers_of_ten(3, 9)),
        l2_bytes_per_s=draw(powers_of_ten(9, 14)),
        num_sms=float(draw(st.integers(1, 200))),
        max_clock_hz=draw(powers_of_ten(7, 10)),
        register_bytes_per_sm=draw(powers_of_ten(3, 6)),
        register_blocks_per_sm=float(draw(st.sampled_from((1, 4)))),
        distributed_shared_memory=draw(st.booleans()),
        matmul_latency_s=draw(st.just(0.0) | powers_of_ten(-9, -4)),
        word_bytes=float(draw(st.sampled_from((1, 2, 4)))),
        provenance={},
    )


@st.composite
def networks(draw, sizes: tuple[int, ...]) -> Network:
    """A network with these level sizes; an outer level may well be faster than an inner one."""
    levels = len(sizes) + 1
    return Network(
        id="random",
        name="random network",
        level_names=tuple(f"level{i}" for i in range(levels)),
        level_sizes=sizes,
        bytes_per_s=tuple(draw(powers_of_ten(7, 14)) for _ in range(levels)),
        latency_s=tuple(draw(st.just(0.0) | powers_of_ten(-8, -3)) for _ in range(levels)),
    )


@dataclass(frozen=True)
class Scenario:
    """A model, a cluster, a placed plan that divides both exactly, and a reading of the theory."""

    model: MlpStack
    cluster: Cluster
    plan: MlpPlan
    assumptions: Assumptions


_DEGREE = st.sampled_from((1, 1, 1, 2, 3, 4, 8))
_MULTIPLE = st.sampled_from((1, 2, 3, 5))


def _product(numbers):
    result = 1
    for number in numbers:
        result *= number
    return result


@st.composite
def scenarios(draw) -> Scenario:
    """The plan first, then a model and a cluster that it divides."""
    levels = draw(st.integers(1, 3))
    degrees = {name: tuple(draw(_DEGREE) for _ in range(levels)) for name in DEGREES}
    total = {name: _product(by_level) for name, by_level in degrees.items()}
    schedule = draw(st.sampled_from(("1f1b", "zero-bubble")))
    interleave = draw(st.integers(1, 4)) if schedule == "1f1b" and total["pp"] > 1 else 1
    microbatches = smallest_num_microbatches(schedule, total["pp"]) * draw(_MULTIPLE)
    plan = MlpPlan(
        **degrees,
        num_microbatches=microbatches,
        interleave=interleave,
        schedule=schedule,
        recompute=draw(st.booleans()),
    )
    experts = total["ep"] * draw(_MULTIPLE)
    model = MlpStack(
        d_model=total["tp_model"] * draw(st.integers(1, 2000)),
        d_ff=total["tp_ff"] * draw(st.integers(1, 4000)),
        num_layers=total["pp"] * interleave * draw(_MULTIPLE),
        num_experts=experts,
        batch_tokens=experts * total["dp"] * microbatches * draw(st.integers(1, 3000)),
        training_tokens=draw(powers_of_ten(6, 14)),
    )
    sizes = [_product(by_level[level] for by_level in degrees.values()) for level in range(levels)]
    network = draw(networks(tuple(sizes[:-1])))
    on = Cluster("random", "random cluster", draw(accelerators()), network, num_gpus=_product(sizes))
    return Scenario(model, on, plan, draw(assumptions()))


@dataclass(frozen=True)
class SmallSearch:
    """A model and a cluster so small that every plan can be tried."""

    model: MlpStack
    cluster: Cluster
    num_gpus: int
    assumptions: Assumptions


@st.composite
def small_searches(draw, largest: int = 24) -> SmallSearch:
    """The number of accelerators need not fill what the network offers, nor all of it divide the model."""
    num_gpus = draw(st.sampled_from([n for n in (1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32) if n <= largest]))
    sizes = draw(st.sampled_from(((), (2,), (4,), (8,), (1, 4), (2, 2), (3,), (2, 3))))
    experts = draw(st.sampled_from((1, 1, 2, 4, 6)))
    model = MlpStack(
        d_model=draw(st.sampled_from((1, 2, 3, 4, 8, 12))) * draw(st.sampled_from((4, 30, 256))),
        d_ff=draw(st.sampled_from((1, 2, 3, 4, 8, 12))) * draw(st.sampled_from((4, 50, 1024))),
        num_layers=draw(st.sampled_from((1, 2, 3, 4, 6, 8, 12))),
        num_experts=experts,
        batch_tokens=experts * draw(st.sampled_from((1, 6, 8, 24, 36, 64, 96, 7200))),
        training_tokens=1e9,
    )
    on = Cluster("random", "random cluster", draw(accelerators()), draw(networks(sizes)))
    return SmallSearch(model, on, num_gpus, draw(assumptions()))
