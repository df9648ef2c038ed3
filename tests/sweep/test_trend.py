"""What counts in a trend: the same runs as in a comparison."""

import dataclasses
import itertools
import random

import pytest

from hydra.sweep.comparison import compare
from hydra.sweep.trend import Change, Series, trend
from tests.samples import result, run, sweep
from tests.sweep.test_comparison import overloaded, point


def nights(*results):
    return [
        dataclasses.replace(run(made=made), started_at=f"2026-11-{number:02}T07:00:00.000+00:00")
        for number, made in enumerate(results, 1)
    ]


def worse(history):
    return {series.metric for series in trend(history, tolerance_percent=10) if series.worse}


def test_nights_in_which_nobody_can_say_where_the_loss_came_from_are_no_change_for_the_worse():
    good = [result("pass")] * 6
    blind = [result("indeterminate", missing=3, harness_limited=True, p50_ms=400.0)] * 6
    history = nights(*good, *blind)
    assert worse(history) == set()
    compared = compare(point(*history[:6]), point(*history[6:]), tolerance_percent=10)
    assert compared.regressions == (), "as a comparison of the same nights"


def test_nights_that_lost_records_are_a_change_for_the_worse_whatever_the_limit_was():
    lossy = [result("fail", lost=3, harness_limited=True)] * 6
    assert worse(nights(*([result("pass")] * 6), *lossy)) == {"loss", "failing_clients"}


def changes(*medians):
    steps = itertools.pairwise(medians)
    return tuple(Change(str(n), a, b, "worse" if b > a else "better") for n, (a, b) in enumerate(steps))


@pytest.mark.parametrize(
    ("medians", "since"),
    [
        ((10, 20), ("0", 10, 20)),
        ((10, 20, 18), ("0", 10, 18)),
        ((10, 20, 10.5), None),
        ((10, 20, 10.5, 15), ("2", 10.5, 15)),
        ((10, 14, 20), ("0", 10, 20)),
        ((20, 10), None),
        ((20, 10, 15), ("1", 10, 15)),
    ],
)
def test_what_is_half_mended_is_still_worse(medians, since):
    series = Series("p", "e2e_p99", "ms", ("0",), (1.0,), changes(*medians), tolerance_percent=10)
    found = series.worsening
    assert (found and (found.at, found.before, found.after)) == since
    assert series.worse == (since is not None)


def test_nights_in_which_the_broker_gave_way_are_a_change_for_the_worse():
    good, bad = [result()] * 6, [overloaded(4000.0).result] * 6
    assert worse(nights(*good, *bad)) == {"e2e_p50", "e2e_p99", "e2e_p999", "failing_clients"}


def test_among_many_points_a_change_takes_more_nights_and_steady_ones_are_not_counted():
    """Six nights at 30 ms and six at 60, beside points that only sway: what is clear alone is not clear among 60."""

    def night(number, p50s_ms):
        rates = [{"msg_rate": 1000.0 + index} for index in range(len(p50s_ms))]
        made = sweep(rates, of=lambda point, _: run(p50_ms=p50s_ms[point.number - 1]))
        return dataclasses.replace(made, started_at=f"2026-11-{number:02}T07:00:00.000+00:00")

    chance = random.Random(1)
    stepped = [30 * (1 + number / 1000) if number < 6 else 60 * (1 + number / 1000) for number in range(12)]
    swaying = [[chance.uniform(20, 40) for _ in range(12)] for _ in range(20)]
    steady = [[30 + number / 100 for number in range(12)] for _ in range(20)]

    def found(*others):
        history = [night(number + 1, values) for number, values in enumerate(zip(stepped, *others, strict=True))]
        return trend(history, tolerance_percent=10)

    assert {series.point for series in found(*steady) if series.changes} == {"msg_rate=1000"}
    among = found(*swaying)
    assert not any(series.changes for series in among)
    assert {series.needed for series in among if series.metric == "e2e_p99"} == {14}
    assert all(series.too_few for series in among if series.metric == "e2e_p99")
