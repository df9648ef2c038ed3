"""The rank test against enumeration and tables, and how often whole comparisons are wrong."""

import itertools
import math
import random

import pytest

from hydra.sweep.judgement import (
    Pair,
    advised_runs,
    holm_levels,
    judge,
    median_atoms,
    rank_p,
    runs_for_shift,
    runs_needed,
    shift_interval,
    shown_shift,
    smallest_p,
)

POINTS, METRICS, FLOOR, TOLERANCE = 16, 7, 1.0, 0.1
NOISE = 0.05
"""Of runs of one point on a machine of their own: the spread of their p99, as a share."""


def enumerated_p(first, second):
    """The p of the definition: every division of the pooled values."""
    pooled = [*first, *second]
    ranks = [sum(other < value for other in pooled) + (pooled.count(value) + 1) / 2 for value in pooled]
    middle = len(first) * (len(pooled) + 1) / 2
    sums = [sum(chosen) for chosen in itertools.combinations(ranks, len(first))]
    mine = abs(sum(ranks[: len(first)]) - middle)
    return sum(abs(value - middle) >= mine - 1e-9 for value in sums) / len(sums)


@pytest.mark.parametrize("seed", range(40))
def test_p_is_that_of_all_divisions_with_ties_and_unlike_sizes(seed):
    chance = random.Random(seed)
    first = [chance.randrange(5 if seed % 2 else 1000) for _ in range(chance.randint(1, 6))]
    second = [chance.randrange(5 if seed % 2 else 1000) for _ in range(chance.randint(1, 6))]
    assert rank_p(first, second) == pytest.approx(enumerated_p(first, second))


def test_many_values_have_nearly_the_exact_p():
    chance = random.Random(1)
    first = [chance.gauss(0, 1) for _ in range(30)]
    second = [chance.gauss(0.6, 1) for _ in range(30)]
    exact = rank_p(first, second)
    assert rank_p([*first, 0.1], [*second, 0.7]) == pytest.approx(exact, rel=0.5)


def test_the_smallest_p_is_that_of_values_set_apart():
    assert smallest_p([1, 2, 3, 4], [5, 6, 7, 8]) == smallest_p([1, 6, 3, 8], [5, 2, 7, 4]) == 2 / math.comb(8, 4)
    assert smallest_p([7] * 4, [7] * 4) == 1.0


def test_runs_that_are_needed_grow_with_what_is_looked_at():
    assert [runs_needed(family) for family in (1, 5, 16, 80, 112)] == [4, 5, 6, 7, 8]
    assert [advised_runs(family) for family in (1, 5, 80, 112)] == [6, 8, 11, 12]


def test_holm_goes_on_only_as_long_as_each_is_small_enough():
    assert holm_levels([0.04, 0.01, 0.02]) == [(0.05, True), (0.05 / 3, True), (0.025, True)]
    assert [shown for _, shown in holm_levels([0.04, 0.03, 0.01])] == [False, False, True]


@pytest.mark.parametrize("values", [(1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 4.0), (3.0, 3.0, 5.0, 9.0)])
def test_the_drawn_median_has_the_chances_of_all_draws(values):
    draws = [sorted(draw) for draw in itertools.product(values, repeat=len(values))]
    middle = len(values) // 2
    medians = [draw[middle] if len(values) % 2 else (draw[middle - 1] + draw[middle]) / 2 for draw in draws]
    for value in {*medians}:
        chance = sum(chance for each, chance in median_atoms(values) if each == value)
        assert chance == pytest.approx(medians.count(value) / len(medians))


def test_there_is_no_interval_below_six_runs():
    assert shift_interval(range(5), range(9)) is None
    low, high = shift_interval([10.0, 11, 12, 13, 14, 15], [20.0, 21, 22, 23, 24, 25])
    assert 5 < low < 10 < high < 15


def test_the_smallest_shift_that_would_have_been_shown_is_shown_and_a_smaller_one_is_not():
    chance = random.Random(3)
    first, second = ([chance.gauss(100, 5) for _ in range(8)] for _ in range(2))
    shift = shown_shift(first, second, 0.001)
    ours = [value - sum(sorted(first)[3:5]) / 2 for value in first]
    theirs = [value - sum(sorted(second)[3:5]) / 2 for value in second]
    assert rank_p(ours, [value + shift * 1.0001 for value in theirs]) <= 0.001
    assert rank_p(ours, [value + shift * 0.98 for value in theirs]) > 0.001
    assert shown_shift(first[:4], second[:4], 0.001) is None


def test_more_spread_takes_more_runs():
    steady, unsteady = [100.0, 101, 102, 103, 104, 105], [90.0, 95, 100, 105, 110, 115]
    assert runs_for_shift(steady, steady, 10, 0.001) < runs_for_shift(unsteady, unsteady, 10, 0.001)


def side(chance, middle, runs):
    """A point's runs: a hump with now and then a run that the machine disturbed."""
    return tuple(
        middle * math.exp(chance.gauss(0, NOISE)) * (1.5 if chance.random() < 0.03 else 1) for _ in range(runs)
    )


@pytest.mark.parametrize("comparisons", [100, pytest.param(1000, marks=pytest.mark.release)])
def test_at_most_one_comparison_in_twenty_of_a_thing_with_itself_has_any_false_difference(comparisons):
    """Comparisons of 16 points x 7 metrics, of runs drawn from 60 made-up runs of each figure."""
    chance = random.Random(20)
    runs = advised_runs(POINTS * METRICS)
    made = [side(chance, 20.0 * (index + 1), 60) for index in range(POINTS * METRICS)]
    wrong = 0
    for _ in range(comparisons):
        drawn = [chance.sample(values, 2 * runs) for values in made]
        pairs = [Pair(tuple(values[:runs]), tuple(values[runs:]), FLOOR) for values in drawn]
        # What is more than the tolerance for is only a further hurdle: without it each false difference is counted.
        wrong += any(found is not None and found.shown for found in judge(pairs, share=0.0))
    assert wrong <= comparisons / 20


@pytest.mark.parametrize("points", [1, 16])
def test_a_fifth_slower_is_found_and_a_twentieth_is_never_called_a_fifth(points):
    chance = random.Random(points)
    runs = advised_runs(points * METRICS)
    found = called = 0
    for _ in range(100):
        unchanged = [
            Pair(side(chance, 50.0, runs), side(chance, 50.0, runs), FLOOR) for _ in range(points * METRICS - 1)
        ]
        fifth = Pair(side(chance, 50.0, runs), side(chance, 60.0, runs), FLOOR)
        result = judge([*unchanged, fifth], share=TOLERANCE)[-1]
        found += result is not None and result.shown
        twentieth = Pair(side(chance, 50.0, runs), side(chance, 52.5, runs), FLOOR)
        result = judge([*unchanged, twentieth], share=TOLERANCE)[-1]
        called += result is not None and result.shown and twentieth.difference >= 10.0
    assert found >= 80
    assert called == 0
