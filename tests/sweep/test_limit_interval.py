"""The interval of a limit holds it, for brakes whose width is known and whose runs differ."""

import math
import random

import pytest

from hydra.sweep.limit_interval import limit_interval
from hydra.sweep.search import SearchAnswer, SearchRange, SearchTrial, next_step
from tests.examples import examples

SEARCHES = examples(300, at_least=100)
LEAST_HELD = 0.93
"""28 of 30."""


def search(limit, spread, chance, *, most=16, stalls=0.0):
    """A search before a brake: each run has a limit of its own around that of all, and the machine stalls at times."""
    within = SearchRange(1000, 1, 10_000_000, max_trials=most)
    trials = []
    while not isinstance(step := next_step(trials, within), SearchAnswer):
        good = step.value <= limit * math.exp(chance.gauss(0, spread)) and chance.random() >= stalls
        trials.append(SearchTrial(step.value, "good" if good else "bad"))
    return step, trials


def test_over_many_searches_the_interval_holds_the_brakes_width():
    chance = random.Random(16)
    held = found = 0
    for number in range(SEARCHES):
        limit = math.exp(chance.uniform(math.log(300), math.log(30_000)))
        spread = (0.0, 0.01, 0.03, 0.06, 0.12)[number % 5]
        answer, _ = search(limit, spread, chance, stalls=0.02)
        if answer.interval is not None:
            found += 1
            held += answer.interval[0] <= limit <= answer.interval[1]
    assert found >= 0.95 * SEARCHES
    assert held >= LEAST_HELD * found, (held, found)


def test_more_runs_make_it_narrower():
    def width(most):
        chance = random.Random(3)
        answers = [search(5000, 0.05, chance, most=most)[0] for _ in range(15)]
        return sorted(answer.interval[1] / answer.interval[0] for answer in answers)[7]

    assert width(40) < width(14)


def test_a_brake_without_noise_has_an_interval_around_its_bracket():
    answer, trials = search(5000, 0.0, random.Random(1))
    low, high = answer.interval
    assert low < answer.best <= 5000 < answer.above < high
    assert high - low <= 0.15 * low
    assert len(trials) < 16


def test_more_of_the_same_lies_closer_around_the_middle():
    few = limit_interval({1000: (2, 0), 1100: (0, 2)})
    many = limit_interval({1000: (8, 0), 1100: (0, 8)})
    assert few[0] < many[0] < many[1] < few[1]


def test_one_run_that_was_disturbed_far_below_does_not_move_it_far():
    clear = limit_interval({500: (1, 0), 1000: (4, 0), 1050: (0, 4)})
    disturbed = limit_interval({500: (0, 1), 1000: (4, 0), 1050: (0, 4)})
    assert disturbed[1] == pytest.approx(clear[1], rel=0.1)
    assert disturbed[0] > 800


@pytest.mark.parametrize("counts", [{}, {1000: (3, 0)}, {1000: (0, 3)}, {1000: (0, 0)}])
def test_without_both_outcomes_there_is_none(counts):
    assert limit_interval(counts) is None


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_unit_does_not_matter(scale):
    counts = {1000: (3, 1), 1100: (1, 3)}
    low, high = limit_interval({value * scale: found for value, found in counts.items()})
    assert (low / scale, high / scale) == pytest.approx(limit_interval(counts), rel=1e-6)
