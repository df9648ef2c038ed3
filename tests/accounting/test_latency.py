"""Latencies in buckets, against the latencies themselves; whole arrivals, against counting record by record."""

import math
from fractions import Fraction
from statistics import fmean

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hydra.accounting.latency import (
    CLIENT_BITS,
    FINE_BITS,
    PERCENTS,
    SAMPLE_BITS,
    LatencyCounts,
    LatencyHistogram,
    LatencySummary,
    SpacedLatencies,
    Spacing,
    bucket_end,
    bucket_of,
    rank_of,
)
from hydra.codec import decode, encode

HOUR_US = 3_600_000_000
MASK = 2**24 - 1
OFF_US = 2
"""The rounding to whole ticks and to whole microseconds."""
BITS = st.sampled_from([SAMPLE_BITS, CLIENT_BITS, FINE_BITS])
LATENCIES = st.lists(st.one_of(st.integers(0, 5000), st.integers(0, HOUR_US)), max_size=60)
RATES = st.one_of(
    st.sampled_from([0.5, 1.0, 3.0, 999.9, 1000.0, 333_333.3, 1e6, 5e6]), st.floats(0.5, 5e6, allow_nan=False)
)
ARRIVALS = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 0.01), st.floats(0, 3600)),
        st.integers(1, 60),
    ),
    min_size=1,
    max_size=12,
)


def bounds(histogram):
    """(lowest, end) of the bucket of each latency that was counted, in rising order."""
    return [
        (bucket_end(bucket - 1, histogram.bits) if bucket else 0, bucket_end(bucket, histogram.bits))
        for bucket in sorted(histogram.counts)
        for _ in range(histogram.counts[bucket])
    ]


def assert_near(histogram, latencies_us):
    """The histogram holds these, each of them rounded before it went into its bucket.

    Down to its precision, where that is less than the finest to the middle of it; and down to two bits more.
    """
    bits = histogram.bits
    found = bounds(histogram)
    assert len(found) == len(latencies_us)
    for exact, (low, end) in zip(sorted(latencies_us), found, strict=True):
        assert low <= exact * (1 if bits >= FINE_BITS else 1 + 2.0**-bits) + OFF_US
        assert end >= exact * (1 - 2.0 ** (1 - bits)) * (1 - 2.0 ** (-1 - bits)) - OFF_US


@pytest.mark.parametrize("rate", [50.0, 999.9, 3000.0, 333_333.3])
def test_long_arrivals_are_a_small_part_of_their_span_off_at_most(rate):
    interval_us = 1e6 / rate
    arrivals = [(0.0004 * (1 + index % 7) + index / 1e6, 128 + 97 * index) for index in range(40)]
    counted = SpacedLatencies(Spacing(1 / rate))
    for lowest_s, records in arrivals:
        counted.add(lowest_s, records)
    histogram = counted.fold()
    exact_us = sorted(low * 1e6 + interval_us * place for low, records in arrivals for place in range(records))
    found = bounds(histogram)
    assert len(found) == len(exact_us)
    off_us = 1 + interval_us * arrivals[-1][1] / 4096
    for exact, (low, end) in zip(exact_us, found, strict=True):
        assert low <= exact + off_us
        assert end >= exact * (1 - 2.0**-10) - off_us
    assert histogram.max_us == pytest.approx(exact_us[-1], abs=2)


@pytest.mark.parametrize("bits", [SAMPLE_BITS, CLIENT_BITS, FINE_BITS])
def test_buckets_follow_each_other_without_gaps_and_are_narrow(bits):
    start, bucket = 0, 0
    while start <= HOUR_US:
        end = bucket_end(bucket, bits)
        assert bucket_of(start, bits) == bucket_of(end - 1, bits) == bucket
        assert end - start <= max(1, start * 2 ** (1 - bits))
        start, bucket = end, bucket + 1


@given(LATENCIES, BITS)
def test_each_latency_is_in_the_bucket_that_spans_it(latencies, bits):
    histogram = LatencyHistogram(bits)
    for latency_us in latencies:
        histogram.add(latency_us)
    assert len(histogram) == len(latencies)
    assert histogram.max_us == max(latencies, default=0)
    for exact, (low, end) in zip(sorted(latencies), bounds(histogram), strict=True):
        assert low <= exact < end


@given(LATENCIES, st.sampled_from([1, 25, 50, 90, 99, 99.9, 99.99, 100]))
def test_a_percentile_is_the_latency_of_its_rank_rounded_up(latencies, percent):
    histogram = LatencyHistogram()
    for latency_us in latencies:
        histogram.add(latency_us)
    rank = math.ceil(len(latencies) * Fraction(str(percent)) / 100)
    exact = sorted(latencies)[rank - 1] if latencies else 0
    assert (
        exact <= histogram.percentiles_us([percent])[0] <= min(max(latencies, default=0), exact * (1 + 2 ** (1 - 11)))
    )


@pytest.mark.parametrize(
    ("latencies", "percent", "found"),
    [
        ([], 50, 0),
        ([], 100, 0),
        ([7], 0.01, 7),
        ([7], 50, 7),
        ([7], 100, 7),
        ([1, 2, 3], 50, 2),
        ([1, 2, 3, 4], 50, 2),
        ([1, 2, 3, 4], 50.001, 3),
        ([1, 2, 3, 4], 75, 3),
        ([1, 2, 3, 4], 99, 4),
        (list(range(1, 101)), 99, 99),
        (list(range(1, 1001)), 99.9, 999),
        (list(range(1, 1001)), 99.99, 1000),
        ([0, 0, 0], 99, 0),
    ],
)
def test_ranks(latencies, percent, found):
    histogram = LatencyHistogram()
    for latency_us in latencies:
        histogram.add(latency_us)
    assert histogram.percentiles_us([percent])[0] == found


@pytest.mark.parametrize("total", [1000, 10_000, 21_000_000, 85_000_000, 171_000_000, 10**9])
@pytest.mark.parametrize("percent", PERCENTS.values())
def test_ranks_of_very_many_are_exact(total, percent):
    """The product of a count and a percent that no float holds exactly must not be rounded up to the next rank."""
    rank = math.ceil(total * Fraction(str(percent)) / 100)
    at_the_rank, behind_it = LatencyHistogram(), LatencyHistogram()
    at_the_rank.add(1, rank)
    at_the_rank.add(2, total - rank)
    behind_it.add(1, rank - 1)
    behind_it.add(2, total - rank + 1)
    assert (at_the_rank.percentiles_us([percent])[0], behind_it.percentiles_us([percent])[0]) == (1, 2)


def test_percentiles_are_never_above_the_highest_latency():
    histogram = LatencyHistogram(SAMPLE_BITS)
    histogram.add(1_000_001)
    assert histogram.percentiles_us((50, 99, 100)) == [1_000_001] * 3


def test_a_summary_is_in_milliseconds():
    histogram = LatencyHistogram()
    histogram.add(1000, 98)
    histogram.add(2000, 2)
    histogram.add(-5)
    assert histogram.summary() == LatencySummary(
        deliveries=101, p50_ms=1.0, p90_ms=1.0, p99_ms=2.0, p999_ms=2.0, p9999_ms=2.0, max_ms=2.0, negative=1,
        mean_ms=102 / 101,
    )  # fmt: skip
    assert LatencyHistogram().summary() == LatencySummary()


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50), BITS)
def test_a_mean_is_as_exact_as_the_buckets(latencies_us, bits):
    histogram = LatencyHistogram(bits)
    for latency_us in latencies_us:
        histogram.add(latency_us)
    true_ms = fmean(latencies_us) / 1000
    assert histogram.summary().mean_ms == pytest.approx(true_ms, rel=2.0**-bits, abs=1e-9)


@given(
    RATES,
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 500)), min_size=1, max_size=20),
)
def test_the_mean_of_spaced_latencies_is_that_of_each(rate, arrivals):
    spacing = Spacing(1 / rate)
    spaced = SpacedLatencies(spacing)
    latencies_ms = []
    for lowest_s, records in arrivals:
        spaced.add(lowest_s, records)
        latencies_ms += [1000 * (lowest_s + number / rate) for number in range(records)]
    for summary in (spaced.summary(), spaced.fold().summary()):
        assert summary.mean_ms == pytest.approx(fmean(latencies_ms), rel=2e-3, abs=2e-3)


def test_negative_latencies_are_counted_as_zero_and_told():
    histogram = LatencyHistogram()
    histogram.add(-1, 3)
    histogram.add(0)
    assert (len(histogram), histogram.negative, histogram.max_us, histogram.counts) == (4, 3, 0, {0: 4})


@given(st.lists(LATENCIES, max_size=5), BITS)
def test_histograms_add_up_to_that_of_all(parts, bits):
    whole, merged = LatencyHistogram(bits), LatencyHistogram(bits)
    for latencies in parts:
        part = LatencyHistogram(bits)
        for latency_us in latencies:
            part.add(latency_us - 100)
            whole.add(latency_us - 100)
        merged.merge(part.fact())
    assert merged.fact() == whole.fact()


def test_other_buckets_are_not_added():
    with pytest.raises(ValueError, match="6 bits cannot be added to one of 11"):
        LatencyHistogram(FINE_BITS).merge(LatencyCounts(bits=SAMPLE_BITS))


@given(LATENCIES, BITS)
def test_counts_travel_as_json(latencies, bits):
    histogram = LatencyHistogram(bits)
    for latency_us in latencies:
        histogram.add(latency_us - 10)
    fact = histogram.fact()
    back = decode(encode(fact), LatencyCounts)
    assert back == fact
    assert list(back.buckets) == sorted(set(back.buckets))
    assert all(count > 0 for count in back.counts)
    again = LatencyHistogram(bits)
    again.merge(back)
    assert again.summary() == histogram.summary()


@given(RATES)
def test_a_tick_is_at_most_a_microsecond(rate):
    spacing = Spacing(1 / rate)
    assert 0 < spacing.us_per_tick <= 1
    assert spacing.interval_ticks * spacing.us_per_tick == pytest.approx(1e6 / rate)
    assert spacing.interval_ticks.bit_count() == 1


@given(RATES, ARRIVALS, BITS)
@example(0.5, [(3599.9, 60)], FINE_BITS)
@example(5e6, [(0.0, 60), (1e-7, 1)], FINE_BITS)
def test_arrivals_count_as_if_record_by_record(rate, arrivals, bits):
    spaced = SpacedLatencies(Spacing(1 / rate), bits)
    exact_us = []
    for lowest_s, records in arrivals:
        spaced.add(lowest_s, records)
        exact_us += [(lowest_s + number / rate) * 1e6 for number in range(records)]
    histogram = spaced.fold()
    assert_near(histogram, exact_us)
    assert histogram.max_us == pytest.approx(max(exact_us), rel=1e-9, abs=2)
    assert histogram.negative == 0


@given(RATES, ARRIVALS, st.sampled_from([SAMPLE_BITS, CLIENT_BITS]))
def test_a_coarser_fold_is_as_exact_as_it_says(rate, arrivals, bits):
    spaced = SpacedLatencies(Spacing(1 / rate), FINE_BITS)
    exact_us = []
    for lowest_s, records in arrivals:
        spaced.add(lowest_s, records)
        exact_us += [(lowest_s + number / rate) * 1e6 for number in range(records)]
    histogram = spaced.fold(bits)
    assert histogram.bits == bits
    assert_near(histogram, exact_us)


@given(
    RATES,
    st.lists(st.tuples(st.integers(0, 50), st.floats(0.1, 0.9), st.integers(1, 80)), min_size=1, max_size=8),
)
def test_records_before_their_time_are_counted_as_zero_and_told(rate, arrivals):
    spaced = SpacedLatencies(Spacing(1 / rate))
    exact_us, negative = [], 0
    for early, part, records in arrivals:
        lowest_s = -(early + part) / rate
        spaced.add(lowest_s, records)
        negative += min(records, early + 1)
        exact_us += [max(0.0, (lowest_s + number / rate) * 1e6) for number in range(records)]
    histogram = spaced.fold()
    assert histogram.negative == negative
    assert_near(histogram, exact_us)


@pytest.mark.parametrize("records", [MASK - 1, MASK, MASK + 1, 2 * MASK + 3])
@pytest.mark.parametrize("rate", [1000.0, 5e6])
def test_very_many_records_that_arrive_at_once(rate, records):
    spaced = SpacedLatencies(Spacing(1 / rate))
    spaced.add(0.001, records)
    histogram = spaced.fold()
    assert (len(histogram), histogram.negative) == (records, 0)
    assert histogram.max_us == pytest.approx(1000 + (records - 1) / rate * 1e6, rel=1e-9, abs=2)
    for percent in (50, 99, 99.9):
        exact_us = 1000 + (math.ceil(records * percent / 100) - 1) / rate * 1e6
        assert histogram.percentiles_us([percent])[0] == pytest.approx(exact_us, rel=2 ** (1 - FINE_BITS))


def test_very_many_records_of_which_some_came_before_their_time():
    spaced = SpacedLatencies(Spacing(1 / 1000.0))
    spaced.add(-9.9995, MASK + 20_000)
    histogram = spaced.fold()
    assert (len(histogram), histogram.negative) == (MASK + 20_000, 10_000)
    assert histogram.max_us == pytest.approx((MASK + 19_999) * 1000 - 9_999_500, abs=2)


def test_nothing_arrived():
    assert SpacedLatencies(Spacing(0.001)).fold().fact() == LatencyCounts()


@given(RATES, st.lists(st.tuples(st.floats(-0.01, 100), st.sampled_from([1, 2, 75, 2**24, 2**24 + 1])), max_size=9))
def test_an_arrival_counts_in_two_places_as_it_does_in_each(rate, arrivals):
    spacing = Spacing(1 / rate)
    apart, together = ((SpacedLatencies(spacing), SpacedLatencies(spacing, CLIENT_BITS)) for _ in range(2))
    for lowest_s, records in arrivals:
        for latencies in apart:
            latencies.add(lowest_s, records)
        together[0].add_to_both(together[1], lowest_s, records)
    for one, other in zip(apart, together, strict=True):
        assert one._arrivals == other._arrivals
        assert (one._highest, one.negative) == (other._highest, other.negative)


@given(RATES, st.lists(st.tuples(st.floats(-0.01, 10), st.integers(1, 40)), max_size=20), st.integers(0, 20))
def test_what_was_counted_apart_adds_up(rate, arrivals, cut):
    spacing = Spacing(1 / rate)
    whole, first, second = (SpacedLatencies(spacing) for _ in range(3))
    for number, (lowest_s, records) in enumerate(arrivals):
        whole.add(lowest_s, records)
        (first if number < cut else second).add(lowest_s, records)
    first.take(second)
    assert first.fold().fact() == whole.fold().fact()


@given(
    RATES,
    st.lists(st.tuples(st.floats(-0.01, 100), st.integers(1, 2000), st.integers(1, 3)), max_size=30),
    BITS,
    st.integers(0, 30),
)
def test_what_has_settled_counts_as_what_has_not(rate, arrivals, bits, when):
    spaced, settled = (SpacedLatencies(Spacing(1 / rate), bits) for _ in range(2))
    for number, (lowest_s, records, times) in enumerate(arrivals):
        for _ in range(times):
            spaced.add(lowest_s, records)
            settled.add(lowest_s, records)
        if number >= when:
            settled.settle(0)
    assert settled.fold().fact() == spaced.fold().fact()
    assert settled.summary() == spaced.summary()


@pytest.mark.parametrize("bits", [CLIENT_BITS, FINE_BITS])
def test_what_is_kept_of_a_long_run_is_bounded(bits):
    """Arrivals of two minutes that all differ: some of them are kept, and buckets up to the highest latency."""
    spaced = SpacedLatencies(Spacing(0.001), bits)
    most = 0
    for second in range(120):
        for number in range(100):
            spaced.add(0.001 + (7919 * (100 * second + number) % 100_000) / 1e6, 1 + (100 * second + number) % 97)
        spaced.settle(256)
        most = max(most, len(spaced))
    assert most <= 256
    assert spaced._settled is not None
    assert len(spaced._settled._changes) <= 10 << bits + 1  # an octave each up to 0.2 s, 8 B for a bucket
    assert spaced.summary().deliveries == len(spaced.fold()) == sum(1 + number % 97 for number in range(12_000))


def test_very_many_arrivals_settle_a_part_at_a_time():
    spaced = SpacedLatencies(Spacing(0.001))
    for number in range(8000):
        spaced.add(0.001, 1 + number)
    left = []
    for _ in range(3):
        spaced.settle(1000)
        left.append(len(spaced))
    assert left == [6250, 4938, 3954]
    assert len(spaced.fold()) == 8000 * 8001 // 2


def test_what_is_kept_grows_with_different_arrivals_and_not_with_records():
    spaced = SpacedLatencies(Spacing(1e-6), CLIENT_BITS)
    for number in range(20_000):
        spaced.add(0.004 + (number % 1000) * 1e-6, 500)
    assert len(spaced._arrivals) < 200
    assert len(spaced.fold()) == 10_000_000


@example(1e6, [(0.34538198669149794, 2, 1), (1.3823531724253943, 232, 2)], FINE_BITS)
@given(
    RATES,
    st.lists(st.tuples(st.floats(-0.01, 3.0), st.integers(1, 300), st.integers(1, 3)), max_size=30),
    st.sampled_from([CLIENT_BITS, FINE_BITS]),
)
def test_a_summary_without_a_histogram_is_that_of_all_latencies(rate, arrivals, bits):
    spacing = Spacing(1 / rate)
    spaced = SpacedLatencies(spacing, bits)
    for lowest_s, records, times in arrivals:
        for _ in range(times):
            spaced.add(lowest_s, records)
    summary = spaced.summary()
    interval_us = spacing.interval_ticks * spacing.us_per_tick
    latencies_us = sorted(
        max(0.0, lowest_s * 1e6 + number * interval_us)
        for lowest_s, records, times in arrivals
        for number in range(records)
        for _ in range(times)
    )
    assert summary.deliveries == len(latencies_us)
    assert summary.negative == sum(
        lowest_s * 1e6 + number * interval_us < 0
        for lowest_s, records, times in arrivals
        for number in range(records)
        for _ in range(times)
    )
    for name, percent in PERCENTS.items():
        true_us = latencies_us[rank_of(percent, len(latencies_us)) - 1] if latencies_us else 0.0
        # Half of what the bits that are not kept may have been of the latency itself or of its arrival's lowest one, or
        # all of it where they are not guessed. And half of its bucket, in a table of two bits more.
        cut = 1.0 if bits < FINE_BITS else 2.0
        assert getattr(summary, name) * 1000 == pytest.approx(true_us, rel=(cut + 0.25) * 2.0**-bits, abs=3)


def test_an_arrival_costs_the_same_however_many_records_it_has():
    """The 99.99th percentile of 16 million latencies, of two arrivals."""
    spaced = SpacedLatencies(Spacing(0.001), FINE_BITS)
    spaced.add(0.001, 8_000_000)
    spaced.add(0.0015, 8_000_000)
    summary = spaced.summary()
    assert (summary.deliveries, summary.max_ms) == (16_000_000, 8_000_000.5)
    found = [getattr(summary, name) for name in PERCENTS]
    assert found == pytest.approx([4_000_000.5, 7_200_000.5, 7_920_000.5, 7_992_000.5, 7_999_200.5], rel=2.0**-13)
