"""Findings of weak scaling, strong scaling and the model-parallel sweep."""

import itertools

from walltime.studies.fernandez2024.drawing import percent
from walltime.studies.fernandez2024.findings import Finding, change, finding, signed
from walltime.studies.fernandez2024.points import Point, best, fsdp
from walltime.studies.fernandez2024.scaling import WEAK_GPUS, strong_best, weak
from walltime.studies.fernandez2024.sweep import alone, of_degrees, sweep

_FEW, _MANY = 128, 2048
_MODERATE = (2, 4)
_WITHIN_NODE = 8


def _pair() -> tuple[Point, Point]:
    return fsdp(weak(_FEW)), fsdp(weak(_MANY))


def best_degrees(num_gpus: int) -> Point:
    """Return the best plan of the sweep at a number of accelerators."""
    return best(sweep(num_gpus))


@finding("abstract-fsdp")
def _fsdp_overtaken() -> Finding:
    small, large = best_degrees(8), best_degrees(_MANY)
    base = alone(_MANY)
    holds = (small.plan.tp * small.plan.pp, large.plan.tp * large.plan.pp > 1) == (1, True)
    return Finding(
        f"On 8 GPUs the fastest of all plans is {_degrees(small)}, on {_MANY:,} {_degrees(large)}, which is "
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
    weak_power = _marginal(best_degrees(1024), best_degrees(_MANY), "total_board_power_w")
    weak_share = weak_power / _average(best_degrees(_FEW), "total_board_power_w")
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
        f"Read as one training on {_MANY:,} GPUs against {runs} on {_FEW}: the one trains "
        f"{signed(change(few, many, 'tokens_per_j'))} tokens per joule. Power hardly falls while GPUs wait, "
        f"{signed(change(few, many, 'board_power_w'))}, throughput does.",
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
    return Finding(
        f"{few['board_power_w']:.0f} W become {many['board_power_w']:.0f} W: kernels of collectives spin while they "
        "wait, and draw nearly what computing does. What they draw was set by this number and the one above.",
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
    return Finding(f"The best plan is {_degrees(point)}.", ours=point["mfu"])


@finding("strong-many")
def _strong_many() -> Finding:
    two, many = strong_best(2), strong_best(32)
    tokens = [point.setting.training.batch_tokens / point.setting.num_gpus for point in (two, many)]
    return Finding(
        f"{tokens[0]:,.0f} tokens a GPU become {tokens[1]:,.0f}. The best plan is {_degrees(many)}: "
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


def _moderate(metric: str) -> tuple[Point, Point, bool]:
    """Return FSDP alone, the best plan of degree 2 to 4 by a metric, and whether the latter is better."""
    base = alone(_MANY)
    among = [
        point for point in sweep(_MANY) if _MODERATE[0] <= point.plan.tp * point.plan.pp <= _MODERATE[1] and point.runs
    ]
    found = max(among, key=lambda point: point[metric])
    return base, found, found[metric] > base[metric]


@finding("sweep-throughput")
def _sweep_throughput() -> Finding:
    base, found, holds = _moderate("tokens_per_s")
    both = {name: change(base, of_degrees(sweep(_MANY), *degrees), "tokens_per_s") for name, degrees in _PAIRS.items()}
    shown = ", ".join(f"{name} {signed(share)}" for name, share in both.items())
    return Finding(
        f"Against FSDP alone: {shown}. Where parameters are kept after the forward pass in all of them: {_kept()}.",
        ours=change(base, found, "tokens_per_s"),
        holds=holds,
        shown=signed(change(base, found, "tokens_per_s")),
    )


def _kept() -> str:
    base, *others = (of_degrees(sweep(_MANY, 0, False), *degrees) for degrees in ((1, 1), *_PAIRS.values()))
    pairs = zip(_PAIRS, others, strict=True)
    return ", ".join(f"{name} {signed(change(base, point, 'tokens_per_s'))}" for name, point in pairs)


_PAIRS = {"tp 2": (2, 1), "tp 4": (4, 1), "pp 2": (1, 2), "pp 4": (1, 4)}


@finding("sweep-energy")
def _sweep_energy() -> Finding:
    base, found, holds = _moderate("tokens_per_j")
    return Finding(
        f"{_degrees(found)}: {signed(change(base, found, 'board_power_w'))} power for "
        f"{signed(change(base, found, 'tokens_per_s'))} tokens/s.",
        ours=change(base, found, "tokens_per_j"),
        holds=holds,
        shown=signed(change(base, found, "tokens_per_j")),
    )


@finding("sweep-small")
def _sweep_small() -> Finding:
    base = alone(8)
    others = [point for point in sweep(8) if point.plan != base.plan and point.runs]
    found = best(others)
    gains = [change(base, found, metric) for metric in ("tokens_per_s", "tokens_per_j")]
    return Finding(
        f"Inside a node gathers are fast: the best other plan, {_degrees(found)}, changes tokens/s by "
        f"{signed(gains[0])} and tokens per joule by {signed(gains[1])}.",
        ours=gains[0],
        holds=max(gains) < 0,
        shown=signed(gains[0]),
    )


@finding("sweep-cause")
def _sweep_cause() -> Finding:
    base, found, _ = _moderate("tokens_per_s")
    raw = [point["communication_s"] - point.part_s("tp_comm") - point.part_s("pp_comm") for point in (base, found)]
    return Finding(
        f"{_degrees(found)} shortens the ring: {base.plan.dp:,} ranks become {found.plan.dp:,}, their gathers and "
        f"scatters {raw[0]:.2f} s become {raw[1]:.2f} s, and what is exposed of all communication "
        f"{base['exposed_communication_s']:.2f} s becomes {found['exposed_communication_s']:.2f} s.",
        holds=found["exposed_communication_s"] < base["exposed_communication_s"],
    )


@finding("sweep-nodes")
def _sweep_nodes() -> Finding:
    base = alone(_MANY)
    inside = of_degrees(sweep(_MANY), _WITHIN_NODE, 1)
    across = of_degrees(sweep(_MANY), 2 * _WITHIN_NODE, 1)
    gains = [change(base, point, "tokens_per_s") for point in (inside, across)]
    return Finding(
        f"tp {inside.plan.tp} fills a node: {signed(gains[0])} against FSDP alone; tp {across.plan.tp} spans two: "
        f"{signed(gains[1])}, for every layer’s activations then cross the slower network, and nothing hides them.",
        holds=gains[1] < gains[0],
    )


def _degrees(point: Point) -> str:
    parts = [f"{name} {degree}" for name, degree in (("tp", point.plan.tp), ("pp", point.plan.pp)) if degree > 1]
    return " × ".join(parts) or "FSDP alone"
