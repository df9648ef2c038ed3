"""IntervalSet against Python's set."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hydra.accounting.intervals import IntervalSet

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1])))


def numbers(spans):
    return {number for start, stop in spans for number in range(start, stop)}


@given(SPANS)
def test_add_returns_how_many_were_new(spans):
    intervals, model = IntervalSet(), set()
    for start, stop in spans:
        fresh = set(range(start, stop)) - model
        assert intervals.add(start, stop) == len(fresh)
        model |= fresh
        assert len(intervals) == len(model)


@given(SPANS)
def test_intervals_are_sorted_and_neither_overlap_nor_touch(spans):
    found = list(IntervalSet(spans))
    assert all(start < stop for start, stop in found)
    assert all(stop < start for (_, stop), (start, _) in pairwise(found))
    assert numbers(found) == numbers(spans)


@given(SPANS, SPANS)
def test_minus_is_the_difference_of_sets(spans, others):
    left = IntervalSet(spans).minus(IntervalSet(others))
    assert numbers(left) == numbers(spans) - numbers(others)
    assert left == IntervalSet(left)


@given(SPANS, SPANS)
def test_minus_changes_neither_operand(spans, others):
    one, other = IntervalSet(spans), IntervalSet(others)
    one.minus(other)
    assert (one, other) == (IntervalSet(spans), IntervalSet(others))


@given(SPANS, st.integers(0, 70), st.integers(0, 70))
def test_overlap_counts_the_intersection(spans, start, stop):
    assert IntervalSet(spans).overlap(start, stop) == len(numbers(spans) & set(range(start, stop)))


@given(SPANS, st.integers(-5, 80))
def test_contains(spans, number):
    assert (number in IntervalSet(spans)) == (number in numbers(spans))


@given(SPANS, st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_matter(spans, random):
    shuffled = list(spans)
    random.shuffle(shuffled)
    assert IntervalSet(shuffled) == IntervalSet(spans)


def test_consecutive_adds_stay_one_interval():
    intervals = IntervalSet()
    for start in range(0, 1000, 10):
        intervals.add(start, start + 10)
    assert list(intervals) == [(0, 1000)]


def test_what_is_no_number_is_not_in_it():
    assert "1" not in IntervalSet([(0, 5)])
    assert 1.5 not in IntervalSet([(0, 5)])


def test_an_interval_set_equals_interval_sets_only():
    assert IntervalSet([(0, 5)]) != [(0, 5)]
    assert repr(IntervalSet([(0, 2), (2, 5)])) == "IntervalSet([(0, 5)])"
