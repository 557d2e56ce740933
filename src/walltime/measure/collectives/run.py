"""Measures collectives: for each kind and group a ladder of sizes, every step checked once and then timed.

A time is the mean of many calls one after another, as nccl-tests take it, of the slowest rank; repetitions say how sure
it is. Calls go through PyTorch: what its host side costs is in the time of small messages.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from walltime.measure.collective_rows import NOT_FOR_FITS, OOM, WRONG, CollectiveRow, bus_factor
from walltime.measure.collectives.groups import Shape, process_group_of
from walltime.measure.collectives.operations import IN_PLACE, Operation, Ring, actual_bytes, buffer_bytes, operation
from walltime.measure.devices import host_memory_bytes
from walltime.measure.environment import now
from walltime.measure.memory_errors import is_out_of_memory, shortened_message
from walltime.measure.requirements import torch_module
from walltime.measure.together import Together

_T = TypeVar("_T")

_ON_ANOTHER_RANK = "out of memory on another rank"
_WARMUP_CALLS = 2
_LEAST_CALLS, _MOST_CALLS = 1, 200
_REPETITIONS = 3
"""Of the calls, each of which is timed as a whole: the fastest and the slowest are kept beside the mean."""
_STRIDE = 4
"""Sizes of a ladder that are measured first are so many steps apart: if the time does not do, they span it."""
_CHECKED_BYTES = 2**24
"""Results up to this size are checked: what makes them wrong does so in small ones too, and looking takes memory."""
_COPIES = 2
"""On a CPU: gloo keeps copies of what it sends."""
_LEAST_POINT_S, _MOST_POINT_S = 0.02, 1.0
"""Time that a point gets: some calls of a small message, and no more than makes a difference."""


@dataclass(frozen=True)
class Ladder:
    """Sizes of one collective in groups of one shape, smallest first; rows in which only what is asked for stands."""

    shape: Shape
    points: Sequence[CollectiveRow]


def ladders(
    shapes: Sequence[Shape], collectives: Sequence[str], sizes: Sequence[int], dtype: str, common: CollectiveRow
) -> list[Ladder]:
    """Return what is to be measured.

    Parameters
    ----------
    shapes, collectives
        Groups and kinds.
    sizes
        By the convention of nccl-tests. [B]
    dtype
        Of the numbers.
    common
        What all rows share: device, ranks of a node, library, notes, environment, command.
    """
    return [
        Ladder(shape, [_asked(common, shape, name, size, dtype) for size in _distinct(name, shape, sizes, dtype)])
        for shape in shapes
        for name in collectives
    ]


def _distinct(collective: str, shape: Shape, sizes: Sequence[int], dtype: str) -> list[int]:
    return list(dict.fromkeys(actual_bytes(collective, size, shape.num_ranks, dtype) for size in sizes))


def _asked(common: CollectiveRow, shape: Shape, collective: str, size: int, dtype: str) -> CollectiveRow:
    return replace(
        common,
        collective=collective,
        n_gpus=shape.num_ranks,
        n_nodes=shape.num_nodes,
        size_bytes=size,
        dtype=dtype,
        group=shape.name,
        concurrent_groups=shape.num_groups,
        in_place=collective in IN_PLACE,
    )


def measure(todo: Sequence[Ladder], together: Together, budget_s: float) -> Iterator[CollectiveRow]:
    """Yield the points measured, until the budget is spent; all processes get the same rows.

    The budget is shared by the ladders. Where memory does not do or a result is wrong, larger sizes are not tried;
    where a ladder's share of the time is spent, the sizes between those that were measured are left out.
    """
    started = time.perf_counter()
    rings: dict[Shape, Ring] = {}
    for number, ladder in enumerate(todo):
        left_s = budget_s - together.largest(time.perf_counter() - started)
        if left_s <= 0:
            return
        if ladder.shape not in rings:
            rings[ladder.shape] = _ring(ladder.shape, together)
        yield from _climbed(ladder, rings[ladder.shape], together, left_s / (len(todo) - number))


def spread(points: Sequence[CollectiveRow]) -> list[CollectiveRow]:
    """Return sizes in the order in which they are measured: every fourth up to the largest, then those between."""
    return [point for start in range(_STRIDE) for point in points[(len(points) - 1 - start) % _STRIDE :: _STRIDE]]


def _ring(shape: Shape, together: Together) -> Ring:
    rank = together.where.rank
    ranks = shape.ranks(rank)
    return Ring(process_group_of(shape, rank), ranks, ranks.index(rank))


def _climbed(ladder: Ladder, ring: Ring, together: Together, share_s: float) -> Iterator[CollectiveRow]:
    started = time.perf_counter()
    too_large = math.inf
    for number, point in enumerate(spread(ladder.points)):
        left_s = share_s - together.largest(time.perf_counter() - started)
        if left_s <= 0:
            return
        size = point.size_bytes or 0
        if size >= too_large:
            continue
        steps_left = len(ladder.points) - number
        row = _measured(point, ring, together, min(_MOST_POINT_S, max(_LEAST_POINT_S, left_s / steps_left)))
        yield row
        if row.time_s is None:
            too_large = size


def _measured(point: CollectiveRow, ring: Ring, together: Together, time_s: float) -> CollectiveRow:
    point = replace(point, date=now())
    made, problem = _prepared(point, ring, together)
    if not together.all_agree(problem is None) or made is None:
        return _without_time(point, OOM, problem or _ON_ANOTHER_RANK)
    right, problem = _tried(partial(_is_right, made, point))
    if not together.all_agree(problem is None):  # the first call makes room for what the library keeps
        return _without_time(point, OOM, problem or _ON_ANOTHER_RANK)
    if not together.all_agree(bool(right)):
        return _without_time(point, WRONG, f"the result of {point.collective} is wrong")
    calls = _calls(made, together, time_s)
    times = [together.largest(_timed(made, calls, together)) for _ in range(_REPETITIONS)]
    return _filled(point, calls, times)


def _is_right(made: Operation, point: CollectiveRow) -> bool:
    """Whether a collective does what it should; large ones are run, but not looked at."""
    if (point.size_bytes or 0) > _CHECKED_BYTES:
        made.run()
        return True
    made.fill()
    made.run()
    right = made.is_right()
    made.clear()
    return right


def _without_time(point: CollectiveRow, status: str, why: str) -> CollectiveRow:
    return replace(point, status=status, notes="; ".join(filter(None, [why, point.notes, NOT_FOR_FITS])))


def _prepared(point: CollectiveRow, ring: Ring, together: Together) -> tuple[Operation | None, str | None]:
    """Return a collective on its buffers, or what the device said when its memory did not do."""
    size = point.size_bytes or 0
    problem = _too_large(point.collective, size, ring.size, together)
    if problem:
        return None, problem
    if together.device.kind == "cuda":
        torch_module().cuda.empty_cache()  # smaller buffers do not make room for larger ones by themselves
    return _tried(partial(operation, point.collective, size, point.dtype, ring, together.device.torch_name))


def _tried(action: Callable[[], _T]) -> tuple[_T | None, str | None]:
    """Return what an action gives, or what the device said when its memory did not do."""
    try:
        return action(), None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None, shortened_message(error)


def _too_large(collective: str, size: int, num_ranks: int, together: Together) -> str | None:
    """Say that a host has not the memory; Linux would grant it, and kill the process later."""
    if together.device.kind != "cpu":
        return None
    available = host_memory_bytes("MemAvailable")
    needed = _COPIES * buffer_bytes(collective, size, num_ranks) * together.where.num_local_ranks
    if available is None or needed < available:
        return None
    return f"out of memory: {needed:,.0f} B for {together.where.num_local_ranks} processes, {available:,} B available"


def _synchronize(together: Together) -> None:
    if together.device.kind == "cuda":
        torch_module().cuda.synchronize()


def _timed(made: Operation, calls: int, together: Together) -> float:
    """Return the mean time of calls one after another on this rank. [s]"""
    _synchronize(together)
    together.barrier()
    started = time.perf_counter()
    for _ in range(calls):
        made.run()
    _synchronize(together)
    return (time.perf_counter() - started) / calls


def _calls(made: Operation, together: Together, time_s: float) -> int:
    """Return how many calls fill a repetition's share of the time, the same on all ranks."""
    for _ in range(_WARMUP_CALLS - 1):
        made.run()
    once_s = together.largest(_timed(made, 1, together))
    return max(_LEAST_CALLS, min(_MOST_CALLS, round(time_s / _REPETITIONS / max(once_s, 1e-9))))


def _filled(point: CollectiveRow, calls: int, times: Sequence[float]) -> CollectiveRow:
    mean_s = sum(times) / len(times)
    algorithm = (point.size_bytes or 0) / mean_s / 1e9
    return replace(
        point,
        latency_us=mean_s * 1e6,
        algbw_gb_per_s=algorithm,
        busbw_gb_per_s=algorithm * bus_factor(point.collective, point.n_gpus or 1),
        iterations=calls,
        min_us=min(times) * 1e6,
        max_us=max(times) * 1e6,
    )


def library(device_kind: str, environment: dict[str, Any]) -> str:
    """Return what moves the data, with its version."""
    if device_kind != "cuda":
        return f"gloo (PyTorch {environment['torch']})"
    name = "RCCL" if environment.get("rocm") else "NCCL"
    return f"{name} {environment.get('nccl') or '(version not told)'} (PyTorch {environment['torch']})"


def settings(environment: dict[str, Any]) -> str:
    """Return the settings of the library that the environment has."""
    chosen = ("NCCL_", "RCCL_", "GLOO_")
    variables = environment.get("variables", {})
    return "; ".join(f"{name}={value}" for name, value in variables.items() if name.startswith(chosen))
