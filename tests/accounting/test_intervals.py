"""IntervalSet against Python's set."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.accounting.intervals import NO_OFFSET, IntervalSet, SpanIndex, received

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


def test_an_interval_set_equals_interval_sets_only():
    assert IntervalSet([(0, 5)]) != [(0, 5)]
    assert repr(IntervalSet([(0, 2), (2, 5)])) == "IntervalSet([(0, 5)])"


STRETCHES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 15)), max_size=25)
SHIFTED = st.lists(
    # Of few shifts, so that stretches often meet and become one.
    st.tuples(st.integers(0, 60), st.sampled_from([0, 3]), st.integers(1, 15)).map(
        lambda stretch: (stretch[0], stretch[0] + stretch[1], stretch[2])
    ),
    max_size=25,
)


def put_all(stretches):
    index, naive = SpanIndex(), {}
    for key, value, count in stretches:
        expected = sum(1 for k in range(count) if naive.get(key + k, value + k) != value + k)
        assert index.put(key, value, count) == expected
        for k in range(count):
            naive.setdefault(key + k, value + k)
    return index, naive


@given(st.one_of(STRETCHES, SHIFTED))
def test_an_index_is_the_function_that_was_put_in_first(stretches):
    index, naive = put_all(stretches)
    assert {key + k: value + k for key, value, count in index for k in range(count)} == naive
    assert numbers(index.keys()) == set(naive)
    assert numbers(index.values()) == set(naive.values())


@given(st.one_of(STRETCHES, SHIFTED))
def test_stretches_rise_and_none_goes_on_where_another_one_ends(stretches):
    whole = list(put_all(stretches)[0])
    for (key, value, count), (key_2, value_2, _) in pairwise(whole):
        assert key + count <= key_2
        assert (key + count, value + count) != (key_2, value_2)


@given(st.one_of(STRETCHES, SHIFTED), st.integers(0, 90), st.integers(0, 40))
def test_pieces_cover_all_keys_once(stretches, start, count):
    index, naive = put_all(stretches)
    found, at = {}, start
    for key, value, records in index.pieces(start, start + count):
        assert key == at
        assert records > 0
        at += records
        found |= {key + k: value + k if value != NO_OFFSET else NO_OFFSET for k in range(records)}
    assert at == start + count
    assert found == {key: naive.get(key, NO_OFFSET) for key in range(start, start + count)}


@pytest.mark.parametrize(
    ("first", "second", "differing", "stretches"),
    [
        ((0, 0, 5), (5, 5, 5), 0, [(0, 0, 10)]),
        ((5, 5, 5), (0, 0, 5), 0, [(0, 0, 10)]),
        ((0, 0, 5), (0, 0, 5), 0, [(0, 0, 5)]),
        ((0, 0, 5), (2, 2, 9), 0, [(0, 0, 11)]),
        ((0, 0, 5), (2, 3, 2), 2, [(0, 0, 5)]),
        ((0, 0, 5), (3, 9, 4), 2, [(0, 0, 5), (5, 11, 2)]),
        ((3, 3, 2), (0, 10, 9), 2, [(0, 10, 3), (3, 3, 2), (5, 15, 4)]),
        ((0, 0, 5), (5, 9, 2), 0, [(0, 0, 5), (5, 9, 2)]),
    ],
)
def test_what_is_known_stays(first, second, differing, stretches):
    index = SpanIndex()
    assert index.put(*first) == 0
    assert index.put(*second) == differing
    assert list(index) == stretches


def test_an_empty_index_knows_nothing():
    index = SpanIndex()
    assert list(index.pieces(3, 8)) == [(3, NO_OFFSET, 5)]
    assert list(index.pieces(3, 3)) == []
    assert (len(index.keys()), len(index.values())) == (0, 0)


def naive_receipt(spans):
    seen, duplicates, reordered, highest = set(), 0, 0, -1
    for _, first, records in spans:
        for sequence in range(first, first + records):
            if sequence in seen:
                duplicates += 1
            elif sequence < highest:
                reordered += 1
            seen.add(sequence)
            highest = max(highest, sequence)
    return seen, duplicates, reordered


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 50), st.integers(1, 12)), max_size=30))
def test_a_receipt_is_what_counting_each_record_gives(spans):
    found = received(spans)
    assert (numbers(found.sequences), found.duplicates, found.reordered) == naive_receipt(spans)


@pytest.mark.parametrize(
    ("spans", "sequences", "duplicates", "reordered"),
    [
        ([], [], 0, 0),
        ([(0, 0, 5)], [(0, 5)], 0, 0),
        ([(0, 0, 5), (5, 5, 5)], [(0, 10)], 0, 0),
        ([(0, 0, 5), (7, 7, 3)], [(0, 5), (7, 10)], 0, 0),
        ([(0, 0, 5), (0, 0, 5)], [(0, 5)], 5, 0),
        ([(0, 0, 5), (5, 3, 4)], [(0, 7)], 2, 0),
        ([(0, 5, 5), (5, 0, 5)], [(0, 10)], 0, 5),
        ([(0, 5, 2), (2, 0, 10)], [(0, 10)], 2, 5),
        ([(0, 5, 2), (2, 5, 1), (3, 0, 2), (5, 0, 2)], [(0, 2), (5, 7)], 3, 2),
    ],
)
def test_receipts(spans, sequences, duplicates, reordered):
    found = received(spans)
    assert found.sequences == IntervalSet(sequences)
    assert (found.duplicates, found.reordered) == (duplicates, reordered)
