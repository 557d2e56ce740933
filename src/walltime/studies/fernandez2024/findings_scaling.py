"""Findings of weak scaling and strong scaling."""

import itertools
from collections.abc import Callable

from walltime.economics.power import power
from walltime.studies.fernandez2024.any_plan import any_plan
from walltime.studies.fernandez2024.choices import fsdp
from walltime.studies.fernandez2024.drawing import percent, plan_name
from walltime.studies.fernandez2024.findings import Finding, change, finding, signed
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.scaling import WEAK_GPUS, strong, strong_best, weak, weak_best
from walltime.studies.fernandez2024.sensitivity import ring_waits
from walltime.studies.fernandez2024.setting import FEW, MANY
from walltime.studies.fernandez2024.sweep import alone


def _pair() -> tuple[Point, Point]:
    return fsdp(weak(FEW)), fsdp(weak(MANY))


def _strong_any(nodes: int) -> Point:
    return any_plan(strong(nodes))


@finding("abstract-fsdp")
def _fsdp_overtaken() -> Finding:
    small, large, base = weak_best(8), weak_best(MANY), alone(MANY)
    return Finding(
        f"Of tensor × pipeline × FSDP, on 8 GPUs {plan_name(small)} is fastest, on {MANY:,} {plan_name(large)}, which "
        f"is {signed(change(base, large, 'tokens_per_s'))} over FSDP alone: its ring of {base.plan.dp:,} ranks leaves "
        f"{percent(base['exposed_share_of_step'])} of the step exposed, one of {large.plan.dp:,} ranks "
        f"{percent(large['exposed_share_of_step'])}. {_hangs()}",
        holds=(small.plan.tp * small.plan.pp, large.plan.tp * large.plan.pp > 1) == (1, True),
    )


def _hangs() -> str:
    return f"It hangs on what a step of the ring waits, an estimate: {ring_waits()}."


@finding("abstract-returns")
def _diminishing() -> Finding:
    shares = [
        _marginal(of(16), of(32)) / (of(2)["tokens_per_s"] / of(2).setting.num_gpus)
        for of in (strong_best, _strong_any)
    ]
    return Finding(
        f"From 16 to 32 nodes an added GPU-hour brings {percent(shares[0])} of the tokens that one of 2 nodes does "
        f"with the best of tensor × pipeline × FSDP, and {percent(shares[1])} with any plan: whatever the plan, "
        "returns diminish. Per unit of power is not judged: what communication draws was fitted on this paper.",
        ours=shares[0],
        any_plan=shares[1],
    )


@finding("abstract-returns-weak")
def _weakly_diminishing() -> Finding:
    curves: tuple[Callable[[int], Point], ...] = (weak_best, lambda size: any_plan(weak(size)))
    paper_like, best_of_all = (
        _marginal(of(MANY // 2), of(MANY)) / (of(FEW)["tokens_per_s"] / of(FEW).setting.num_gpus) for of in curves
    )
    return Finding(
        f"From {MANY // 2:,} to {MANY:,} GPUs an added GPU-hour brings {percent(paper_like)} of the tokens that one of "
        f"{FEW} does with the best of tensor × pipeline × FSDP, but {percent(best_of_all)} with any plan "
        f"({plan_name(curves[1](MANY))}). What scaling costs here is the latency of rings over all ranks. A plan that "
        "shares state out over a few nodes and keeps copies of it has short rings at any size, so that hardly anything "
        "diminishes. No measurement of such a plan at this size was there to back that, and the paper is not known to "
        "have run one.",
        ours=paper_like,
        any_plan=best_of_all,
    )


def _marginal(before: Point, after: Point) -> float:
    """Return the tokens a second that an added accelerator brings."""
    added = after.setting.num_gpus - before.setting.num_gpus
    return (after["tokens_per_s"] - before["tokens_per_s"]) / added


@finding("trend-balance")
def _balance() -> Finding:
    few, many = fsdp(weak(8)), fsdp(weak(MANY))
    shares = [point["communication_s"] / point["compute_s"] for point in (few, many)]
    return Finding(
        f"With FSDP, collectives last {percent(shares[0])} as long as the computation on 8 GPUs and "
        f"{percent(shares[1])} on {MANY:,}: the computation of a GPU stays, the steps of the ring multiply.",
        ours=shares[1] / shares[0],
    )


@finding("trend-marginal")
def _marginal_gain() -> Finding:
    gains = [change(of(16), of(32), "tokens_per_s") for of in (strong_best, _strong_any)]
    return Finding(
        f"At a fixed batch, twice the nodes (16 to 32) bring {signed(gains[0])} throughput with the best of tensor × "
        f"pipeline × FSDP and {signed(gains[1])} with any plan: each GPU computes half as much, its collectives stay.",
        ours=gains[0],
        any_plan=gains[1],
    )


@finding("trend-one-large")
def _one_large() -> Finding:
    few, many = _pair()
    return Finding(
        f"Read as one training on {MANY:,} GPUs against {MANY // FEW} on {FEW}, that is the tokens per joule of weak "
        f"scaling with FSDP. Power of a GPU falls by {percent(-change(few, many, 'board_power_w'))} while it waits, "
        f"throughput by {percent(-change(few, many, 'tokens_per_s_per_gpu'))}.",
        ours=change(few, many, "tokens_per_j"),
    )


@finding("weak-throughput")
def _throughput() -> Finding:
    few, many = _pair()
    return Finding(
        f"The computation stays at {many['compute_s']:.2f} s a step; what is exposed of gathers and scatters grows "
        f"from {few['exposed_communication_s']:.2f} to {many['exposed_communication_s']:.2f} s, for the ring has "
        f"{MANY - 1:,} steps instead of {FEW - 1}. Not fitted on this, but it hangs on two things that are not known. "
        f"{_weakly()}",
        ours=change(few, many, "tokens_per_s_per_gpu"),
    )


def _weakly() -> str:
    lost = []
    for end in ("low", "high"):
        few, many = (fsdp(weak(size, ring_inside=end, ring_between=end)) for size in (FEW, MANY))
        lost.append(signed(change(few, many, "tokens_per_s_per_gpu")))
    return (
        f"What a step of the ring waits is an estimate, {ring_waits()}: {' to '.join(lost)}. Batch and length are "
        "recalled, not read."
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
    return Finding("Throughput over power: it falls faster than power does.", ours=change(few, many, "tokens_per_j"))


@finding("weak-onset")
def _onset() -> Finding:
    curve = [fsdp(weak(num_gpus)) for num_gpus in WEAK_GPUS]
    bound = next(point for point in curve if point["communication_s"] > point["compute_s"])
    base = fsdp(weak(FEW))
    lost = {size: change(base, fsdp(weak(size)), "tokens_per_s_per_gpu") for size in (256, 512, 1024)}
    shown = ", ".join(f"{signed(share)} at {size:,}" for size, share in lost.items())
    return Finding(
        f"Collectives last longer than the computation from {bound.setting.num_gpus:,} GPUs on. Against {FEW} GPUs, "
        f"tokens/s per GPU change by {shown}.",
        ours=float(bound.setting.num_gpus),
    )


@finding("weak-jump")
def _jump() -> Finding:
    times = [fsdp(weak(size))["communication_s"] for size in (MANY // 4, MANY // 2, MANY)]
    before, after = (second / first for first, second in itertools.pairwise(times))
    return Finding(
        f"Communication takes {after:.2f} times as long on 256 nodes as on 128, and {before:.2f} times as long on 128 "
        "as on 64: it grows with the ring, steadily.",
        ours=after / before,
    )


@finding("strong-few")
def _strong_few() -> Finding:
    point, other = strong_best(2), _strong_any(2)
    return Finding(
        f"The best of tensor × pipeline × FSDP is {plan_name(point)}, of any plan {plan_name(other)}.",
        ours=point["mfu"],
        any_plan=other["mfu"],
    )


@finding("strong-many")
def _strong_many() -> Finding:
    two, many, other = strong_best(2), strong_best(32), _strong_any(32)
    tokens = [point.setting.training.batch_tokens / point.setting.num_gpus for point in (two, many)]
    return Finding(
        f"{tokens[0]:,.0f} tokens a GPU become {tokens[1]:,.0f}. The best of tensor × pipeline × FSDP is "
        f"{plan_name(many)}: {percent(many['exposed_share_of_step'])} of its step is exposed communication, of tensor "
        f"parallelism {percent(many.part_s('tp_comm') / many['step_time_s'])}. Any plan does better, with "
        f"{plan_name(other)}, and stays above what the paper says.",
        ours=many["mfu"],
        any_plan=other["mfu"],
    )


@finding("strong-onset")
def _strong_onset() -> Finding:
    losses = [_losses(of) for of in (strong_best, _strong_any)]
    return Finding(
        f"MFU loses {percent(losses[0][0])} of itself from 2 to 4 nodes and {percent(losses[0][1])} from 4 to 8, where "
        f"a GPU has less than a sequence and tensor parallelism has to step in; with any plan {percent(losses[1][0])} "
        f"and {percent(losses[1][1])}, there context parallelism splits more.",
        ours=losses[0][1] / losses[0][0],
        any_plan=losses[1][1] / losses[1][0],
    )


def _losses(of: Callable[[int], Point]) -> list[float]:
    """Return the share of MFU that is lost from 2 to 4 nodes, and from 4 to 8."""
    return [1 - after / before for before, after in itertools.pairwise(of(nodes)["mfu"] for nodes in (2, 4, 8))]


@finding("strong-kernels")
def _kernels() -> Finding:
    pairs = [[_while_computing(of(nodes)) for nodes in (2, 32)] for of in (strong_best, _strong_any)]
    return Finding(
        f"While it computes, a GPU does {percent(pairs[0][0])} of its peak on 2 nodes and {percent(pairs[0][1])} on 32 "
        f"({percent(pairs[1][1])} with any plan): matmuls that were cut are shorter, and fixed times of kernels weigh "
        "more.",
        ours=pairs[0][1] / pairs[0][0],
        any_plan=pairs[1][1] / pairs[1][0],
    )


def _while_computing(point: Point) -> float:
    return point["mfu"] * point["step_time_s"] / point["compute_s"]
