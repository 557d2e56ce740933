"""Findings of weak scaling and strong scaling."""

import itertools

from walltime.economics.power import power
from walltime.studies.fernandez2024.choices import best, fsdp
from walltime.studies.fernandez2024.drawing import percent
from walltime.studies.fernandez2024.findings import Finding, change, finding, signed
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.scaling import WEAK_GPUS, strong_best, weak
from walltime.studies.fernandez2024.sweep import alone, sweep

_FEW, _MANY = 128, 2048


def _pair() -> tuple[Point, Point]:
    return fsdp(weak(_FEW)), fsdp(weak(_MANY))


def bestnamed(num_gpus: int) -> Point:
    """Return the best plan of the sweep at a number of accelerators."""
    return best(sweep(num_gpus))


@finding("abstract-fsdp")
def _fsdp_overtaken() -> Finding:
    small, large = bestnamed(8), bestnamed(_MANY)
    base = alone(_MANY)
    holds = (small.plan.tp * small.plan.pp, large.plan.tp * large.plan.pp > 1) == (1, True)
    return Finding(
        f"On 8 GPUs the fastest of all plans is {named(small)}, on {_MANY:,} {named(large)}, which is "
        f"{signed(change(base, large, 'tokens_per_s'))} over FSDP alone: its ring of {base.plan.dp:,} ranks leaves "
        f"{percent(base['exposed_share_of_step'])} of the step exposed, one of {large.plan.dp:,} ranks "
        f"{percent(large['exposed_share_of_step'])}.",
        holds=holds,
    )


@finding("abstract-returns")
def _diminishing() -> Finding:
    two, sixteen, many = (strong_best(nodes) for nodes in (2, 16, 32))
    of_power, of_time = (
        _marginal(sixteen, many, name) / _average(two, name) for name in ("total_board_power_w", "num_gpus")
    )
    weak_power = _marginal(bestnamed(1024), bestnamed(_MANY), "total_board_power_w")
    weak_share = weak_power / _average(bestnamed(_FEW), "total_board_power_w")
    return Finding(
        f"With the best plan at each size, the step from 16 to 32 nodes at a fixed batch brings {percent(of_time)} of "
        f"the tokens a GPU-hour, and {percent(of_power)} of the tokens a joule, that 2 nodes bring. Even with a batch "
        f"that grows, the step from 1,024 to {_MANY:,} GPUs brings {percent(weak_share)} of the tokens a joule of "
        f"{_FEW}.",
        holds=max(of_power, of_time) < 1 / 2 and weak_share < 1,
    )


def _marginal(before: Point, after: Point, of: str) -> float:
    return (after["tokens_per_s"] - before["tokens_per_s"]) / (after[of] - before[of])


def _average(point: Point, of: str) -> float:
    return point["tokens_per_s"] / point[of]


@finding("trend-flop")
def _flop_differ() -> Finding:
    reached = [point["tflop_per_s_per_gpu"] for point in sweep(_MANY) if point.runs]
    return Finding(
        f"The same model on the same {_MANY:,} H100s does {min(reached):.0f} to {max(reached):.0f} TFLOP/s per GPU, by "
        "the plan: what a FLOP costs depends on what it waits for.",
        holds=max(reached) / min(reached) > 3 / 2,
    )


@finding("trend-balance")
def _balance() -> Finding:
    few, many = fsdp(weak(8)), fsdp(weak(_MANY))
    shares = [point["communication_s"] / point["compute_s"] for point in (few, many)]
    return Finding(
        f"With FSDP, collectives last {percent(shares[0])} as long as the computation on 8 GPUs and "
        f"{percent(shares[1])} on {_MANY:,}: the computation of a GPU stays, the steps of the ring multiply.",
        holds=shares[1] > 2 * shares[0],
    )


@finding("trend-marginal")
def _marginal_gain() -> Finding:
    sixteen, many = strong_best(16), strong_best(32)
    gain = change(sixteen, many, "tokens_per_s")
    return Finding(
        f"At a fixed batch, twice the nodes (16 to 32) bring {signed(gain)} throughput: each GPU computes half as "
        "much, its collectives stay.",
        holds=gain < 1 / 2,
    )


@finding("trend-one-large")
def _one_large() -> Finding:
    few, many = _pair()
    runs = _MANY // _FEW
    return Finding(
        f"Read as one training on {_MANY:,} GPUs against {runs} on {_FEW}: the one trains on "
        f"{percent(-change(few, many, 'tokens_per_j'))} fewer tokens per joule. Power of a GPU falls by "
        f"{percent(-change(few, many, 'board_power_w'))} while it waits, throughput by "
        f"{percent(-change(few, many, 'tokens_per_s_per_gpu'))}.",
        holds=many["tokens_per_j"] < few["tokens_per_j"],
    )


@finding("weak-throughput")
def _throughput() -> Finding:
    few, many = _pair()
    return Finding(
        f"The computation stays at {many['compute_s']:.2f} s a step; what is exposed of gathers and scatters grows "
        f"from {few['exposed_communication_s']:.2f} to {many['exposed_communication_s']:.2f} s, for the ring has "
        f"{_MANY - 1:,} steps instead of {_FEW - 1}. Its latency between nodes is an estimate (the library’s own "
        "tuning constant), not fitted on this.",
        ours=change(few, many, "tokens_per_s_per_gpu"),
    )


@finding("weak-power")
def _power() -> Finding:
    few, many = _pair()
    drawn = power(many.setting.on())
    share = drawn.communication_w / drawn.compute_w if drawn else 0.0
    return Finding(
        f"{few['board_power_w']:.0f} W become {many['board_power_w']:.0f} W: kernels of collectives spin while they "
        f"wait, and draw {percent(share)} of what computing does. That share was set by this number and the one above.",
        ours=change(few, many, "board_power_w"),
    )


@finding("weak-step")
def _step() -> Finding:
    few, many = _pair()
    return Finding("The reciprocal of the throughput.", ours=many["step_time_s"] / few["step_time_s"])


@finding("weak-energy")
def _energy() -> Finding:
    few, many = _pair()
    return Finding("Throughput falls faster than power.", ours=change(few, many, "tokens_per_j"))


@finding("weak-onset")
def _onset() -> Finding:
    curve = [fsdp(weak(num_gpus)) for num_gpus in WEAK_GPUS]
    bound = next(point for point in curve if point["communication_s"] > point["compute_s"])
    base = fsdp(weak(_FEW))
    lost = {size: change(base, fsdp(weak(size)), "tokens_per_s_per_gpu") for size in (256, 512, 1024)}
    shown = ", ".join(f"{signed(share)} at {size:,}" for size, share in lost.items())
    return Finding(
        f"Collectives last longer than the computation from {bound.setting.num_gpus:,} GPUs on. Against {_FEW} GPUs, "
        f"tokens/s per GPU change by {shown}.",
        ours=float(bound.setting.num_gpus),
    )


@finding("weak-jump")
def _jump() -> Finding:
    sizes = (512, 1024, 2048)
    times = [fsdp(weak(size))["communication_s"] for size in sizes]
    before, after = (second / first for first, second in itertools.pairwise(times))
    return Finding(
        f"Communication takes {after:.2f} times as long on 256 nodes as on 128, and {before:.2f} times as long on 128 "
        "as on 64: it grows with the ring, steadily.",
        holds=after > before * 5 / 4,
    )


@finding("strong-few")
def _strong_few() -> Finding:
    point = strong_best(2)
    return Finding(f"The best plan is {named(point)}.", ours=point["mfu"])


@finding("strong-many")
def _strong_many() -> Finding:
    two, many = strong_best(2), strong_best(32)
    tokens = [point.setting.training.batch_tokens / point.setting.num_gpus for point in (two, many)]
    return Finding(
        f"{tokens[0]:,.0f} tokens a GPU become {tokens[1]:,.0f}. The best plan is {named(many)}: "
        f"{percent(many['exposed_share_of_step'])} of its step is exposed communication, of tensor parallelism "
        f"{percent(many.part_s('tp_comm') / many['step_time_s'])}.",
        ours=many["mfu"],
    )


@finding("strong-onset")
def _strong_onset() -> Finding:
    mfu = {nodes: strong_best(nodes)["mfu"] for nodes in (2, 4, 8)}
    losses = [1 - after / before for before, after in itertools.pairwise(mfu.values())]
    return Finding(
        f"MFU loses {percent(losses[0])} of itself from 2 to 4 nodes and {percent(losses[1])} from 4 to 8, where a GPU "
        "has less than a sequence and tensor parallelism has to step in.",
        holds=losses[1] > losses[0],
    )


@finding("strong-kernels")
def _kernels() -> Finding:
    reached = {}
    for nodes in (2, 32):
        point = strong_best(nodes)
        reached[nodes] = point["mfu"] * point["step_time_s"] / point["compute_s"]
    return Finding(
        f"While it computes, a GPU does {percent(reached[2])} of its peak on 2 nodes and {percent(reached[32])} on 32: "
        "matmuls that tensor parallelism has cut are shorter, and fixed times of kernels weigh more.",
        holds=reached[32] < reached[2] * 9 / 10,
    )


def named(point: Point) -> str:
    """Return the degrees of model parallelism of a plan in words."""
    parts = [f"{name} {degree}" for name, degree in (("tp", point.plan.tp), ("pp", point.plan.pp)) if degree > 1]
    return " × ".join(parts) or "FSDP alone"
