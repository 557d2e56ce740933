"""Findings of the model-parallel sweep."""

from walltime.studies.fernandez2024.choices import best
from walltime.studies.fernandez2024.drawing import plan_name
from walltime.studies.fernandez2024.findings import Finding, change, finding, signed
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.setting import MANY
from walltime.studies.fernandez2024.sweep import alone, of_degrees, sweep

_MODERATE = (2, 4)
_WITHIN_NODE = 8


def _moderate(metric: str) -> tuple[Point, Point, bool]:
    """Return FSDP alone, the best of degree 2 to 4 by a metric, and whether the latter is better."""
    base = alone(MANY)
    among = [
        point for point in sweep(MANY) if _MODERATE[0] <= point.plan.tp * point.plan.pp <= _MODERATE[1] and point.runs
    ]
    found = max(among, key=lambda point: point[metric])
    return base, found, found[metric] > base[metric]


@finding("trend-flop")
def _flop_differ() -> Finding:
    inside = [one for one in sweep(MANY) if one.runs and one.plan.tp * one.plan.pp <= _WITHIN_NODE]
    least, most = (pick(inside, key=lambda one: one["tflop_per_s_per_gpu"]) for pick in (min, max))
    return Finding(
        f"The same model on the same {MANY:,} H100s does {least['tflop_per_s_per_gpu']:.0f} TFLOP/s per GPU with "
        f"{plan_name(least)} and {most['tflop_per_s_per_gpu']:.0f} with {plan_name(most)}, of plans whose tensor × "
        f"pipeline degree is {_WITHIN_NODE} at most: what a FLOP costs depends on what it waits for.",
        ours=most["tflop_per_s_per_gpu"] / least["tflop_per_s_per_gpu"],
    )


@finding("sweep-throughput")
def _sweep_throughput() -> Finding:
    base, found, holds = _moderate("tokens_per_s")
    both = {name: change(base, of_degrees(sweep(MANY), *degrees), "tokens_per_s") for name, degrees in _PAIRS.items()}
    shown = ", ".join(f"{name} {signed(share)}" for name, share in both.items())
    return Finding(
        f"Against FSDP alone: {shown}. Where parameters are kept after the forward pass in all of them: {_kept()}.",
        ours=change(base, found, "tokens_per_s"),
        holds=holds,
        shown=signed(change(base, found, "tokens_per_s")),
    )


def _kept() -> str:
    base, *others = (of_degrees(sweep(MANY, 0, False), *degrees) for degrees in ((1, 1), *_PAIRS.values()))
    pairs = zip(_PAIRS, others, strict=True)
    return ", ".join(f"{name} {signed(change(base, point, 'tokens_per_s'))}" for name, point in pairs)


_PAIRS = {"tp 2": (2, 1), "tp 4": (4, 1), "pp 2": (1, 2), "pp 4": (1, 4)}


@finding("sweep-energy")
def _sweep_energy() -> Finding:
    base, found, holds = _moderate("tokens_per_j")
    return Finding(
        f"{plan_name(found)}: {signed(change(base, found, 'board_power_w'))} power for "
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
        f"Inside a node gathers are fast: the best other plan, {plan_name(found)}, changes tokens/s by "
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
        f"{plan_name(found)} shortens the ring: {base.plan.dp:,} ranks become {found.plan.dp:,}, their gathers and "
        f"scatters {raw[0]:.2f} s become {raw[1]:.2f} s, and what is exposed of all communication "
        f"{base['exposed_communication_s']:.2f} s becomes {found['exposed_communication_s']:.2f} s.",
        holds=found["exposed_communication_s"] < base["exposed_communication_s"],
    )


@finding("sweep-nodes")
def _sweep_nodes() -> Finding:
    base = alone(MANY)
    inside = of_degrees(sweep(MANY), _WITHIN_NODE, 1)
    across = of_degrees(sweep(MANY), 2 * _WITHIN_NODE, 1)
    gains = [change(base, point, "tokens_per_s") for point in (inside, across)]
    return Finding(
        f"tp {inside.plan.tp} fills a node: {signed(gains[0])} against FSDP alone; tp {across.plan.tp} spans two: "
        f"{signed(gains[1])}, for every layer’s activations then cross the slower network, and nothing hides them.",
        holds=gains[1] < gains[0],
    )
