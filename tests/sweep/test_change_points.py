"""Where a series changes, and where it does not."""

import random
from statistics import median

import pytest

from hydra.sweep.change_points import ALPHA, LEVEL, beside, best_split, change_points, level_of, min_results


def noise(chance, middle, count, by=0.05):
    return [middle * (1 + chance.gauss(0, by)) for _ in range(count)]


def energy_distance(first, second):
    """By its definition."""

    def mean(ours, theirs):
        others = len(theirs) - (ours is theirs)
        return sum(abs(a - b) for a in ours for b in theirs) / (len(ours) * others)

    weight = len(first) * len(second) / (len(first) + len(second))
    return weight * (2 * mean(first, second) - mean(first, first) - mean(second, second))


@pytest.mark.parametrize("seed", range(10))
def test_the_split_is_that_of_the_largest_distance(seed):
    chance = random.Random(seed)
    values = noise(chance, 10, 8) + noise(chance, 12, 7)
    distances = {split: energy_distance(values[:split], values[split:]) for split in range(3, 13)}
    split, distance = best_split(values)
    assert distance == pytest.approx(max(distances.values()))
    assert distances[split] == pytest.approx(distance)


def test_a_step_is_found_where_it_is():
    chance = random.Random(1)
    values = noise(chance, 10, 15) + noise(chance, 13, 15)
    assert change_points(values) == [15]
    before, after = map(median, beside(values, 15, [15]))
    assert before == pytest.approx(10, rel=0.05)
    assert after == pytest.approx(13, rel=0.05)


def test_steps_up_and_down_are_two_changes_and_the_answer_is_the_same_each_time():
    chance = random.Random(2)
    values = noise(chance, 10, 25) + noise(chance, 14, 25) + noise(chance, 10, 25)
    assert change_points(values) == [25, 50]
    assert change_points(values) == [25, 50]


def test_noise_seldom_changes():
    chance = random.Random(3)
    assert sum(bool(change_points(noise(chance, 10, 20))) for _ in range(100)) <= 4


@pytest.mark.parametrize("values", [[], [1.0] * 5, [7.0] * 30, [1.0, 1, 1, 9, 9]])
def test_too_few_values_and_equal_ones_do_not_change(values):
    assert change_points(values) == []


def test_one_outlier_is_no_change():
    assert change_points([10.0, 10.1, 9.9, 10.2, 9.8, 10.1, 99.0, 10.0, 9.9, 10.1, 10.2, 9.8, 10.0]) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_shortest_series_that_can_show_a_change_shows_the_clearest_one(seed):
    chance = random.Random(seed)
    values = noise(chance, 10, 5, by=0.001) + noise(chance, 20, 5, by=0.001)
    assert min_results() == len(values) == 10
    assert change_points(values, seed=seed) == [5]
    assert change_points(values[:9], seed=seed) == [], "in 2 of 126 shuffles all low ones are together: more than 1 %"


def test_the_more_series_the_rarer_a_change_has_to_be():
    assert [level_of(series) for series in (0, 1, 5, 50)] == [LEVEL, LEVEL, LEVEL, ALPHA / 50]
    assert [min_results(level_of(series)) for series in (1, 50, 112)] == [10, 14, 15]


@pytest.mark.parametrize("count", [10, 15, 25])
def test_a_level_that_is_reached_seldom_still_finds_a_clear_step(count):
    chance = random.Random(4)
    values = noise(chance, 10, count) + noise(chance, 14, count)
    assert change_points(values, level=level_of(112)) == [count]
    assert change_points(values[count - 5 : count + 5], level=level_of(112)) == [], "10 are too few at this level"
