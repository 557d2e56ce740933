"""What a thread of the host does at each moment, where events nest: the innermost of them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from walltime.measure.trace.events import Trace
from walltime.measure.trace.names import Role

Pieces = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.intp]]
"""Begins and ends [ns] of pieces of time, and the event that each belongs to."""
_NESTED = (Role.FRAME, Role.OPERATOR, Role.CALL)


def host_pieces(trace: Trace) -> Pieces:
    """Return the time of every thread that runs the program, cut into pieces of its innermost events.

    Threads on which gloo works are left out: what they copy is a part of the collective.
    """
    found: list[tuple[int, int, int]] = []
    for lane in np.unique(trace.lane[trace.of(*_NESTED)]):
        here = trace.lane == lane
        if not _is_gloos(trace, here):
            found += _innermost(trace, np.flatnonzero(here & trace.of(*_NESTED)))
    table = np.array(found, np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2].astype(np.intp)


def _is_gloos(trace: Trace, here: NDArray[np.bool_]) -> bool:
    """Whether a thread runs collectives and nothing of the program: no call of one, and no frame around operators."""
    runs = bool((here & trace.of(Role.BACKGROUND)).any())
    return runs and not (here & trace.of(Role.CALL, Role.FRAME, Role.STEP)).any()


def _innermost(trace: Trace, events: NDArray[np.intp]) -> Iterator[tuple[int, int, int]]:
    """Yield pieces of one thread's time, in order, by a stack of the events that are open."""
    begin, end, role = trace.begin_ns[events], trace.end_ns[events], trace.role[events]
    order = np.lexsort((role, -end, begin))
    begins, ends, names = begin[order].tolist(), end[order].tolist(), events[order].tolist()
    opened: list[int] = []
    now = 0
    for position, at in enumerate(begins):
        while opened and ends[opened[-1]] <= at:
            last = opened.pop()
            if ends[last] > now:
                yield now, ends[last], names[last]
                now = ends[last]
        if opened and at > now:
            yield now, at, names[opened[-1]]
        now = at
        opened.append(position)
    while opened:
        last = opened.pop()
        if ends[last] > now:
            yield now, ends[last], names[last]
            now = ends[last]
