"""What counts in a trend: the same runs as in a comparison."""

import dataclasses

from hydra.sweep.comparison import compare
from hydra.sweep.trend import trend
from tests.samples import result, run
from tests.sweep.test_comparison import point


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
