"""Which plan a setting gets: FSDP alone, the fastest of each layout, the fastest of these."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from walltime.plan import Plan
from walltime.studies.fernandez2024.points import NOT_FITTING, Point, points
from walltime.studies.fernandez2024.setting import Setting, node_size

BEST_MEANS = (
    "“tp × pp × FSDP” is the fastest plan of tensor × pipeline parallelism with FSDP over all other ranks (parameters "
    "dropped after the forward pass, plain 1F1B), the kinds of plans that are known of the paper"
)
"""What the best of tensor × pipeline × FSDP is, in words for captions."""


def fsdp(setting: Setting, **choices: Any) -> Point:
    """Return FSDP alone: a step is one micro-batch of each accelerator, without recomputation unless that is chosen."""
    local = max(setting.batch_seqs // setting.num_gpus, 1)
    values = {"dp": setting.num_gpus, "micro_batch": local} | choices
    return points(setting, (Plan(sharding="zero3", precision=setting.precision, **values),))[0]


def fsdp_that_fits(setting: Setting, **choices: Any) -> Point:
    """Return FSDP alone, with full recomputation if it does not fit without."""
    plain = fsdp(setting, **choices)
    return plain if plain.status != NOT_FITTING else fsdp(setting, recompute="full", **choices)


def layouts(
    setting: Setting,
    degrees: Iterable[tuple[int, ...]],
    *,
    shard_nodes: int = 0,
    reshard: bool = True,
    recomputes: Sequence[str] = ("none",),
) -> list[Point]:
    """Return the fastest plan of each (tp, pp) or (tp, pp, cp), FSDP over the rest; where none runs, why not.

    Parameters
    ----------
    setting
        What is trained.
    degrees
        Of tensor, pipeline and context parallelism.
    shard_nodes
        Nodes over which state is shared out (hybrid shard); 0 for all data-parallel ranks.
    reshard
        Whether parameters are dropped after the forward pass and gathered again.
    recomputes
        Kinds of recomputation that are tried, besides every micro-batch that divides the batch.
    """
    choices = [{"recompute": recompute, "reshard": reshard} for recompute in recomputes]
    tried = [tuple(_plans(setting, one, shard_nodes, choices)) for one in degrees]
    found = iter(points(setting, tuple(plan for plans in tried for plan in plans)))
    return [min((next(found) for _ in plans), key=_preference) for plans in tried]


def _preference(point: Point) -> tuple[float, float, str]:
    """Order by time; where nothing runs, what needs least memory, and what can be split, come first."""
    needed = float("inf") if point.batch is None else float(point.batch.estimate.needed_bytes[point.index])
    return point.time_s, needed, str(point.plan)


def _plans(
    setting: Setting, degrees: tuple[int, ...], shard_nodes: int, choices: Sequence[dict[str, Any]]
) -> Iterator[Plan]:
    tp, pp, cp = (*degrees, 1)[:3]
    dp = max(setting.num_gpus // (tp * pp * cp), 1)
    shard = min(max(shard_nodes * node_size(setting) // (tp * cp), 1), dp) if shard_nodes else 0
    local = max(setting.batch_seqs // dp, 1)
    for micro_batch in (size for size in (1, 2, 4, 8, 16) if local % size == 0):
        for chosen in choices:
            values: dict[str, Any] = chosen | {"precision": setting.precision, "shard": shard}
            yield Plan(tp=tp, pp=pp, cp=cp, dp=dp, micro_batch=micro_batch, sharding="zero3", **values)


def best(found: Iterable[Point]) -> Point:
    """Return the fastest point; where none runs, the nearest to it."""
    return min(found, key=_preference)
