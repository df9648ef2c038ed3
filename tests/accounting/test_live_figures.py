"""What a run costs and how late it is, out of the last sample of every task."""

import dataclasses

import pytest

from hydra.accounting.latency import SAMPLE_BITS, LatencyHistogram
from hydra.accounting.live_figures import LiveFigures, LiveSamples
from hydra.accounting.stats import MachineSample, PublisherSample, SubscriberSample


def latencies(*milliseconds):
    histogram = LatencyHistogram(SAMPLE_BITS)
    for each in milliseconds:
        histogram.add(round(each * 1000))
    return histogram.fact()


def subscriber(at_s, cpu_s=0.0, late=()):
    return SubscriberSample(at_s, 0, 0, 0, 0, cpu_s, 0, latencies(*late))


def machine(at_s, busy_s, broker_s=None):
    return MachineSample(at_s, busy_s, 0, broker_s)


def test_nothing_is_known_of_nothing():
    assert LiveSamples(2).figures([]) == LiveFigures()


def test_one_sample_is_no_share_of_a_cpu():
    samples = LiveSamples(2)
    samples.take_publisher(PublisherSample(1.0, 10, 10, 0.5, 0, 0.02))
    samples.take_subscribers([("a", subscriber(1.0, 0.5))])
    found = samples.figures([machine(1.0, 5.0, 3.0)])
    assert found == LiveFigures(publisher_lag_max_ms=20.0)


def test_shares_are_of_the_time_between_two_samples():
    samples = LiveSamples(2)
    for at_s in (1.0, 3.0):
        samples.take_publisher(PublisherSample(at_s, 10, 10, at_s * 0.1, 0, 0.0))
        samples.take_subscribers([("a", subscriber(at_s, at_s * 0.2)), ("b", subscriber(at_s, at_s * 0.5))])
    found = samples.figures([machine(0.0, 0.0, 0.0), machine(1.0, 2.0, 1.0), machine(3.0, 5.0, 2.5)])
    assert found.publisher_cpu_percent == pytest.approx(10)
    assert found.subscriber_cpu_percent_sum == pytest.approx(70)
    assert found.subscriber_cpu_percent_max == pytest.approx(50)
    assert found.broker_cpu_percent == pytest.approx(75)
    assert found.machine_cpu_percent == pytest.approx(75)


def test_a_broker_that_hydra_does_not_run_costs_nobody_knows_what():
    found = LiveSamples(1).figures([machine(0.0, 0.0), machine(1.0, 0.5)])
    assert (found.broker_cpu_percent, found.machine_cpu_percent) == (None, 50)


def test_a_sample_that_was_seen_counts_once():
    samples = LiveSamples(1)
    for _again in range(3):
        samples.take_subscribers([("a", subscriber(1.0, 0.1, late=[5, 5, 5, 100]))])
    samples.take_subscribers([("a", subscriber(2.0, 0.3, late=[5] * 97))])
    found = samples.figures([])
    assert (found.e2e_p99_ms, found.e2e_max_ms) == (5, 5)
    assert found.so_far_p99_ms == pytest.approx(5, rel=0.04)  # one of 101
    assert found.so_far_max_ms == 100
    assert found.subscriber_cpu_percent_sum == pytest.approx(20)


def test_a_second_without_arrivals_has_no_latency_and_what_was_so_far_stands():
    samples = LiveSamples(1)
    samples.take_subscribers([("a", subscriber(1.0, late=[7]))])
    samples.take_subscribers([("a", subscriber(2.0))])
    found = samples.figures([])
    assert (found.e2e_p50_ms, found.e2e_p99_ms, found.e2e_max_ms) == (None, None, None)
    assert found.so_far_p50_ms == 7


def test_what_is_kept_does_not_grow_with_time():
    samples = LiveSamples(1)
    for second in range(5000):
        samples.take_subscribers([("a", subscriber(float(second), late=[second % 50 + 1]))])
    kept = dataclasses.asdict(samples.figures([]))
    assert kept["so_far_max_ms"] == 50
    assert len(samples._subscribers["a"]) == 2
    assert len(samples._so_far.counts) <= 50
