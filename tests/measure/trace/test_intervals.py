"""The algebra of intervals against sets of whole moments."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from walltime.measure.trace.intervals import NONE, common, covers, joined, length_ns, union, within, without

INTERVALS = st.lists(st.tuples(st.integers(-30, 30), st.integers(-5, 20)).map(lambda x: (x[0], x[0] + x[1])))


def spans_of(intervals):
    table = np.array(intervals, np.int64).reshape(-1, 2)
    return union(table[:, 0], table[:, 1])


def moments(intervals):
    return {moment for begin, end in intervals for moment in range(begin, end)}


@given(INTERVALS)
def test_a_union_is_what_any_interval_covers(intervals):
    spans = spans_of(intervals)
    assert moments(spans.tolist()) == moments(intervals)
    assert length_ns(spans) == len(moments(intervals))


@given(INTERVALS)
def test_a_union_is_sorted_disjoint_and_as_short_as_can_be(intervals):
    spans = spans_of(intervals)
    assert (spans[:, 1] > spans[:, 0]).all()
    assert (spans[1:, 0] > spans[:-1, 1]).all()


@given(INTERVALS, INTERVALS)
def test_differences_and_intersections(first, second):
    a, b = spans_of(first), spans_of(second)
    assert moments(without(a, b).tolist()) == moments(first) - moments(second)
    assert moments(common(a, b).tolist()) == moments(first) & moments(second)
    assert moments(joined(a, b).tolist()) == moments(first) | moments(second)
    assert length_ns(without(a, b)) + length_ns(common(a, b)) == length_ns(a)


@given(INTERVALS, st.integers(-30, 30), st.integers(0, 40))
def test_what_lies_between_two_moments(intervals, begin, length):
    inside = within(spans_of(intervals), begin, begin + length)
    assert moments(inside.tolist()) == moments(intervals) & set(range(begin, begin + length))


@given(INTERVALS, st.integers(-35, 60))
def test_whether_a_moment_is_covered(intervals, moment):
    assert covers(spans_of(intervals), np.array([moment]))[0] == (moment in moments(intervals))


def test_nothing_is_nothing():
    assert length_ns(NONE) == 0
    assert len(without(NONE, NONE)) == len(joined()) == len(within(NONE, 0, 9)) == 0
