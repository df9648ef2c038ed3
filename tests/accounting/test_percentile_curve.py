"""Percentile curves, against the latencies themselves."""

import random

import pytest

from hydra.accounting.latency import LatencyHistogram
from hydra.accounting.percentile_curve import MIN_LONGER, curve_steps, percentile_curve


def histogram(latencies_us):
    made = LatencyHistogram()
    for latency_us in latencies_us:
        made.add(latency_us)
    return made


@pytest.mark.parametrize(
    ("latencies", "steps", "last"),
    [
        (0, 0, None),
        (9, 0, None),
        (10, 1, 1),
        (20, 4, 2),
        (99, 10, 8),
        (100, 11, 10),
        (10_000, 31, 1000),
        (10**7, 61, 10**6),
    ],
)
def test_the_last_step_is_one_that_ten_latencies_are_above_of(latencies, steps, last):
    found = curve_steps(latencies)
    assert len(found) == steps
    assert found[-1:] == ([] if last is None else [last])
    assert found == sorted(set(found))


def test_the_percentiles_of_the_table_are_among_the_steps():
    assert {1, 2, 10, 100, 1000, 10_000} <= set(curve_steps(10**6))


@pytest.mark.parametrize("count", [10, 11, 37, 1000, 12_345])
def test_each_step_is_the_latency_that_one_in_so_many_exceed(count):
    chance = random.Random(count)
    latencies_us = sorted(chance.randrange(2000) for _ in range(count))  # below 2 ms each has its own bucket
    for step, value_ms in zip(curve_steps(count), percentile_curve(histogram(latencies_us)), strict=True):
        above = int(round(100 * count) // round(100 * step))
        assert above >= MIN_LONGER
        rank = max(1, count - above)
        assert value_ms == pytest.approx(latencies_us[rank - 1] / 1000)


def test_it_goes_through_the_percentiles_of_the_summary():
    chance = random.Random(7)
    counted = histogram(round(chance.lognormvariate(9, 1.5)) for _ in range(20_000))
    curve, summary = dict(zip(curve_steps(len(counted)), percentile_curve(counted), strict=True)), counted.summary()
    for step, told_ms in ((2, summary.p50_ms), (10, summary.p90_ms), (100, summary.p99_ms), (1000, summary.p999_ms)):
        assert curve[step] == pytest.approx(told_ms, rel=1e-3)
    assert list(curve.values()) == sorted(curve.values())
    assert max(curve.values()) <= float(f"{summary.max_ms:.4g}")


def test_of_nothing_there_is_no_curve():
    assert percentile_curve(LatencyHistogram()) == ()
