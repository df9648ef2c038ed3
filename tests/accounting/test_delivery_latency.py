"""How late deliveries are: whole arrivals and whole batches, against timing each record."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hydra.accounting.delivery_latency import EVEN_SPREAD_MS, TIMESTAMP_ERROR_S, DeliveryTiming, sent_times
from hydra.accounting.latency import FINE_BITS, LatencyHistogram, SpacedLatencies, bucket_end
from hydra.records.send_plan import Partitioner, SendPlan

START_S = 500.0
START_WALL_S = 1_700_000_000.25
SPREAD_ERROR_MS = 7.0
RATES = st.one_of(st.sampled_from([0.5, 100.0, 1000.0, 1e6]), st.floats(0.5, 2e6))


def make_timing(rate=1000.0, partitions=1, block_records=10):
    return DeliveryTiming(SendPlan(rate, 1e6), Partitioner(partitions, block_records), START_S, START_WALL_S)


def count_batch(timing, now_s, first_ms, last_ms, records):
    """Count the service latencies of one batch; returns whether its two timestamps told enough."""
    times = sent_times([(0, records, first_ms, last_ms)], timing.interval_ms)
    timing.sent(now_s, times)
    return not times.unread


def count_steady_batch(timing, now_s, first_ms, records):
    """The same of a batch that was sent as the plan says."""
    assert count_batch(timing, now_s, first_ms, first_ms + (records - 1) * timing.interval_ms, records)


def histogram_of(counts):
    histogram = LatencyHistogram(counts.bits)
    histogram.merge(counts)
    return histogram


def upper_ends(histogram):
    """The upper end of the bucket of each latency, in rising order."""
    return [
        bucket_end(bucket, histogram.bits)
        for bucket in sorted(histogram.counts)
        for _ in range(histogram.counts[bucket])
    ]


def assert_near(histogram, exact_us, off_us=2.0):
    found = upper_ends(histogram)
    assert len(found) == len(exact_us)
    assert histogram.negative <= sum(1 for latency_us in exact_us if latency_us < off_us)
    for exact, end_us in zip(sorted(max(0.0, each) for each in exact_us), found, strict=True):
        assert end_us == pytest.approx(exact, rel=2 ** (2 - FINE_BITS), abs=off_us)


@given(
    RATES,
    st.integers(1, 4),
    st.integers(1, 12),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 200), st.integers(1, 60), st.floats(0, 30)),
        min_size=1,
        max_size=8,
    ),
)
def test_end_to_end_latencies_are_those_of_each_record(rate, partitions, block_records, arrivals):
    timing = make_timing(rate, partitions, block_records)
    partitioner = Partitioner(partitions, block_records)
    client = SpacedLatencies(timing.spacing)
    exact_us = []
    for number, sequence, records, late_s in arrivals:
        partition = number % partitions
        due_s = [partitioner.index(partition, sequence + k) / rate for k in range(records)]
        now_s = START_S + max(due_s) + late_s
        timing.arrived(client, partition, sequence, records, now_s)
        exact_us += [(now_s - START_S - each) * 1e6 for each in due_s]
    timing.take_sample()
    assert_near(client.fold(), exact_us)
    assert histogram_of(timing.e2e()).fact() == client.fold().fact()


@pytest.mark.parametrize("partitions", [1, 3])
def test_records_that_came_before_they_were_due_are_told(partitions):
    timing = make_timing(1000.0, partitions, 10)
    client = SpacedLatencies(timing.spacing)
    timing.arrived(client, 0, 0, 10, START_S + 0.0045)
    timing.take_sample()
    found = timing.e2e()
    assert (len(histogram_of(found)), found.negative) == (10, 5)
    assert found.max_us == pytest.approx(4500, abs=2)


def test_a_sample_holds_what_came_since_the_one_before():
    timing = make_timing()
    client = SpacedLatencies(timing.spacing)
    timing.arrived(client, 0, 0, 5, START_S + 0.1)
    first = timing.take_sample().fold()
    timing.arrived(client, 0, 5, 7, START_S + 0.2)
    second = timing.take_sample().fold()
    assert (len(first), len(second), len(timing.take_sample().fold())) == (5, 7, 0)
    assert len(histogram_of(timing.e2e())) == len(client.fold()) == 12


def test_the_whole_is_known_up_to_the_last_sample():
    timing = make_timing()
    client = SpacedLatencies(timing.spacing)
    timing.arrived(client, 0, 0, 5, START_S + 0.1)
    assert timing.e2e().counts == ()
    timing.take_sample()
    assert len(histogram_of(timing.e2e())) == 5


@given(RATES, st.integers(1, 100), st.floats(0, 5), st.integers(0, 10_000))
def test_records_sent_evenly_are_a_plan_interval_apart(rate, records, late_s, first_ms):
    timing = make_timing(rate)
    first_wall_s = START_WALL_S + first_ms / 1000
    now_s = START_S + (first_wall_s - START_WALL_S) + (records - 1) / rate + late_s
    count_steady_batch(timing, now_s, first_wall_s * 1000, records)
    exact_us = [(late_s + (records - 1 - k) / rate) * 1e6 for k in range(records)]
    # Wall clock times of today have a granularity of a quarter of a microsecond, and more in sums.
    assert_near(histogram_of(timing.service()), exact_us, off_us=4.0)


@given(st.integers(1, 400), st.integers(0, int(EVEN_SPREAD_MS)), st.integers(0, 3000))
@example(2, 50, 0)
@example(5, 50, 0)
@example(6, 50, 0)
@example(400, 50, 0)
@example(104, 44, 2065)
def test_a_batch_that_spans_little_is_spread_over_its_span(records, span_ms, late_ms):
    span_ms = span_ms if records > 1 else 0
    timing = make_timing()
    first_ms = int(START_WALL_S * 1000)
    now_s = START_S + (span_ms + late_ms) / 1000
    assert count_batch(timing, now_s, first_ms, first_ms + span_ms, records)
    exact_us = [(span_ms + late_ms - span_ms * k / max(1, records - 1)) * 1000 for k in range(records)]
    bucket_us = 2 ** (1 - FINE_BITS) * exact_us[0]  # what is told may be at the beginning of its bucket
    assert_near(histogram_of(timing.service()), exact_us, off_us=SPREAD_ERROR_MS * 1000 + bucket_us)


@pytest.mark.parametrize("records", [2, 3, 4])
def test_the_first_and_the_last_record_of_a_short_batch_have_their_own_time(records):
    timing = make_timing()
    first_ms = int(START_WALL_S * 1000)
    count_batch(timing, START_S + 0.1, first_ms, first_ms + 48, records)
    ends_us = upper_ends(histogram_of(timing.service()))
    assert ends_us[0] == pytest.approx(52_000, rel=0.002)
    assert ends_us[-1] == pytest.approx(100_000, rel=0.002)


@pytest.mark.parametrize(("span_ms", "told"), [(-1, False), (0, True), (50, True), (51, False), (60_000, False)])
def test_a_batch_that_tells_too_little_is_to_be_read_and_counts_nothing_yet(span_ms, told):
    timing = make_timing()
    first_ms = int(START_WALL_S * 1000)
    assert count_batch(timing, START_S + 100, first_ms, first_ms + span_ms, 10) is told
    assert len(histogram_of(timing.service())) == (10 if told else 0)


@given(st.lists(st.tuples(st.integers(-50, 5000), st.integers(1, 9)), min_size=1, max_size=20))
def test_records_that_are_read_each_are_timed_each(records):
    timing = make_timing()
    first_ms = int(START_WALL_S * 1000)
    exact_us = []
    for late_ms, count in records:
        timing.sent_at(START_S + 1.0, first_ms + 1000 - late_ms, count)
        exact_us += [late_ms * 1000] * count
    found = histogram_of(timing.service())
    assert_near(found, exact_us)
    # By less than a timestamp may be off, a latency below zero is none.
    error_us = TIMESTAMP_ERROR_S * 1e6
    assert sum(us < -error_us for us in exact_us) <= found.negative <= sum(us <= -error_us for us in exact_us)


def test_service_latencies_of_all_kinds_are_one_histogram():
    timing = make_timing()
    first_ms = int(START_WALL_S * 1000)
    count_steady_batch(timing, START_S + 1, first_ms, 10)
    count_batch(timing, START_S + 1, first_ms, first_ms + 20, 7)
    timing.sent_at(START_S + 1, first_ms, 3)
    assert len(histogram_of(timing.service())) == 20


def test_a_service_latency_below_zero_by_less_than_a_timestamp_may_be_off_is_no_sign_of_clocks():
    timing = DeliveryTiming(SendPlan(1000.0, 1.0), Partitioner(1, 100), start_s=0.0, start_wall_s=0.0)
    count_steady_batch(timing, 0.099, 0, 101)  # by the plan the last one was sent at 0.100 s
    timing.sent_at(0.099, 100, 1)
    assert timing.service().negative == 0
    timing.sent_at(0.050, 100, 1)
    assert timing.service().negative == 1


@pytest.mark.parametrize(("off_ms", "told"), [(0, True), (20, True), (-20, True), (21, False), (-21, False)])
def test_a_batch_of_a_low_rate_is_read_only_where_it_is_far_off_its_plan(off_ms, told):
    """60 records at 1,000/s are due over 59 ms, which is more than a batch is spread over at a high rate."""
    timing = DeliveryTiming(SendPlan(1000.0, 1.0), Partitioner(1, 100), start_s=0.0, start_wall_s=0.0)
    assert count_batch(timing, 1.0, 0, 89 + off_ms, 90) is told
    assert len(histogram_of(timing.service())) == (90 if told else 0)


@pytest.mark.parametrize(("sequence", "records", "counted"), [(0, 5, 5), (3, 5, 2), (5, 5, 0), (2**40, 1, 0)])
@pytest.mark.parametrize("partitions", [1, 2])
def test_what_is_beyond_the_plan_was_never_due(sequence, records, counted, partitions):
    plan = SendPlan(1.0, 5.0 * partitions)
    timing = DeliveryTiming(plan, Partitioner(partitions, 5), START_S, START_WALL_S)
    client = SpacedLatencies(timing.spacing)
    for partition in range(partitions):
        timing.arrived(client, partition, sequence, records, START_S + 60)
    timing.arrived(client, partitions, 0, 1, START_S + 60)  # a partition that somebody added
    histogram = client.fold()
    assert (histogram.summary().deliveries, histogram.negative) == (counted * partitions, 0)
