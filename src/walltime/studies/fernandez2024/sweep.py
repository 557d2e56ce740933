"""Every tensor × pipeline plan on a fixed number of accelerators, FSDP over the rest: over all of it, or hybrid."""

import functools
from collections.abc import Iterable
from typing import Any

from walltime.studies.captions import listed
from walltime.studies.fernandez2024.choices import best, layouts
from walltime.studies.fernandez2024.drawing import panel, percent, plan_name
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.rows import complete
from walltime.studies.fernandez2024.scaling import weak
from walltime.studies.fernandez2024.setting import MANY
from walltime.studies.figure import Figure

SIZES = (8, 256, MANY)
TENSOR, PIPELINE = (1, 2, 4, 8, 16), (1, 2, 4, 8, 16)
SHARD_NODES = (1, 4)
"""Nodes that share out state in the hybrids; copies of it average gradients."""


@functools.cache
def sweep(num_gpus: int, shard_nodes: int = 0, reshard: bool = True, **settings: Any) -> tuple[Point, ...]:
    """Return the fastest micro-batch of every (tp, pp); ``shard_nodes`` and ``reshard`` as for `layouts`."""
    pairs = [(tp, pp) for tp in TENSOR for pp in PIPELINE if tp * pp <= num_gpus]
    return tuple(layouts(weak(num_gpus, **settings), pairs, shard_nodes=shard_nodes, reshard=reshard))


def of_degrees(found: Iterable[Point], tp: int, pp: int) -> Point:
    """Return one point of a sweep."""
    return next(one for one in found if (one.plan.tp, one.plan.pp) == (tp, pp))


def alone(num_gpus: int) -> Point:
    """Return the point of a sweep without model parallelism."""
    return of_degrees(sweep(num_gpus), 1, 1)


def sharded(num_gpus: int) -> dict[str, tuple[Point, ...]]:
    """Return the sweeps of a number of accelerators by how state is shared out; hybrids where they differ."""
    found = {"FSDP over all": sweep(num_gpus), "parameters kept": sweep(num_gpus, reshard=False)}
    for nodes in SHARD_NODES:
        name = f"hybrid, {nodes} node{'s' if nodes > 1 else ''}"
        if num_gpus > nodes * 8:
            found[name] = sweep(num_gpus, nodes)
    return found


def model_parallel_sweep(num_gpus: int) -> Figure:
    """Tensor × pipeline plans on a number of H100s, FSDP over all of the rest and over a node or a few."""
    sweeps = sharded(num_gpus)
    rows = [_row(name, point, num_gpus) for name, found in sweeps.items() for point in found]
    full = sweeps["FSDP over all"]
    curves = {f"pp {pp}": [point for point in full if point.plan.pp == pp] for pp in PIPELINE[:-1]}
    at = {name: [float(point.plan.tp) for point in points] for name, points in curves.items()}
    panels = [
        panel("tokens/s per GPU, FSDP over all", curves, "tokens_per_s_per_gpu", x=at),
        panel("tokens/J of the boards, FSDP over all", curves, "tokens_per_j", x=at),
    ]
    if len(sweeps) > 2:
        flat = {name: [point for point in found if point.plan.pp == 1] for name, found in sweeps.items()}
        tps = {name: [float(point.plan.tp) for point in points] for name, points in flat.items()}
        panels.append(panel("tokens/s per GPU, pp 1", flat, "tokens_per_s_per_gpu", x=tps))
    return Figure(
        f"model_parallel_sweep_{num_gpus}",
        f"Tensor × pipeline parallelism with FSDP on {num_gpus:,} H100s",
        _caption(num_gpus, sweeps),
        "tensor-parallel degree",
        "",
        tuple(panels),
        complete(rows),
        x_ticks=tuple((float(tp), str(tp)) for tp in TENSOR if tp <= num_gpus),
    )


def _row(name: str, point: Point, num_gpus: int) -> dict[str, Any]:
    base = alone(num_gpus)
    gain = point["tokens_per_s"] / base["tokens_per_s"] - 1 if point.runs and base.runs else None
    return point.row(series=name) | {"gain_over_fsdp": gain}


def _caption(num_gpus: int, sweeps: dict[str, tuple[Point, ...]]) -> str:
    """Say which plan is fastest, why, and what sharing state differently brings."""
    found, local = best(sweeps["FSDP over all"]), alone(num_gpus).setting.batch_seqs // num_gpus
    lost = [one for tried in sweeps.values() for one in tried if not one.runs]
    said = (
        f"Llama 2 7B at {local} sequences a GPU, every tensor × pipeline plan with FSDP over the other ranks, "
        f"the fastest micro-batch of each. {_fastest(num_gpus, found)} {_others(sweeps, found)}"
    )
    return said + (f" {len(lost)} combinations do not run; the table says why." if lost else "")


def _fastest(num_gpus: int, found: Point) -> str:
    base = alone(num_gpus)
    if found.plan == base.plan:
        second = best(one for one in sweep(num_gpus) if one.plan != found.plan and one.runs)
        slower = percent(1 - second["tokens_per_s"] / found["tokens_per_s"])
        return f"FSDP alone is fastest: the next, {plan_name(second)}, is {slower} slower."
    rate, energy = (percent(found[of] / base[of] - 1, signed=True) for of in ("tokens_per_s", "tokens_per_j"))
    shares = [percent(point["exposed_share_of_step"]) for point in (found, base)]
    return (
        f"{plan_name(found)} is fastest: {rate} tokens/s and {energy} tokens/J over FSDP alone. Of its step "
        f"{shares[0]} is exposed communication, of that of FSDP alone {shares[1]}."
    )


def _others(sweeps: dict[str, tuple[Point, ...]], found: Point) -> str:
    others = {name: best(tried) for name, tried in sweeps.items() if name != "FSDP over all"}
    compared = listed(
        f"{name} {percent(point['tokens_per_s'] / found['tokens_per_s'] - 1, signed=True)} ({plan_name(point)})"
        for name, point in others.items()
        if point.runs
    )
    hybrid = ", and state shared out over fewer nodes, which is not known of the paper" if len(others) > 1 else ""
    said = f"Parameters may be kept after the forward pass instead of gathered again{hybrid}"
    return f"{said}; the best of these against that plan: {compared}."
