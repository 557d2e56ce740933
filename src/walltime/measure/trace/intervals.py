"""Unions of intervals of time, and what is in one of them but not in another: exact, in whole nanoseconds.

A `Spans` is an array (spans, 2) of begins and ends that are sorted, disjoint and not empty. The functions here take any
intervals where they say so, and return spans.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Spans = NDArray[np.int64]
"""Disjoint intervals in order, (spans, 2): begin and end. [ns]"""
NONE: Spans = np.empty((0, 2), np.int64)
"""No time at all."""


def union(begin: NDArray[Any], end: NDArray[Any]) -> Spans:
    """Return what any of the intervals covers; those that end where they begin, or before, cover nothing.

    Parameters
    ----------
    begin, end : (intervals,)
        In any order, nested and overlapping as they may be. [ns]

    Examples
    --------
    >>> union(np.array([5, 0, 1]), np.array([6, 3, 2])).tolist()
    [[0, 3], [5, 6]]
    """
    there = end > begin
    begin, end = begin[there], end[there]
    if not len(begin):
        return NONE
    order = np.argsort(begin, kind="stable")
    begin, latest = begin[order], np.maximum.accumulate(end[order])
    opens = np.concatenate([[True], begin[1:] > latest[:-1]])
    closes = np.concatenate([opens[1:], [True]])
    return np.column_stack([begin[opens], latest[closes]]).astype(np.int64)


def joined(*parts: Spans) -> Spans:
    """Return what any of several spans covers."""
    every = np.concatenate([NONE, *parts])
    return union(every[:, 0], every[:, 1])


def without(spans: Spans, other: Spans) -> Spans:
    """Return what is in ``spans`` and not in ``other``."""
    return _where(spans, other, wanted=False)


def common(spans: Spans, other: Spans) -> Spans:
    """Return what is in both."""
    return _where(spans, other, wanted=True)


def _where(spans: Spans, other: Spans, *, wanted: bool) -> Spans:
    """Return the pieces of ``spans`` that are, or are not, in ``other``: cut at every edge, then kept or not."""
    edges = np.unique(np.concatenate([spans.ravel(), other.ravel()]))
    begin, end = edges[:-1], edges[1:]
    kept = covers(spans, begin) & (covers(other, begin) == wanted)
    return union(begin[kept], end[kept])


def covers(spans: Spans, at: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether moments are in spans; the end of one is not."""
    begun = np.searchsorted(spans[:, 0], at, side="right")
    ended = np.searchsorted(spans[:, 1], at, side="right")
    return np.asarray(begun > ended)


def within(spans: Spans, begin: int, end: int) -> Spans:
    """Return the part of spans that lies between two moments. [ns]"""
    first = int(np.searchsorted(spans[:, 1], begin, side="right"))
    last = int(np.searchsorted(spans[:, 0], end, side="left"))
    return union(np.maximum(spans[first:last, 0], begin), np.minimum(spans[first:last, 1], end))


def length_ns(spans: Spans) -> int:
    """Return how long spans are together. [ns]"""
    return int(np.sum(spans[:, 1] - spans[:, 0]))
