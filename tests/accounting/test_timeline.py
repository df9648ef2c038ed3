"""A run over time, from what each task noted."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.accounting.evidence import Evidence
from hydra.accounting.latency import SAMPLE_BITS, LatencyCounts, LatencyHistogram
from hydra.accounting.stats import (
    HostTraffic,
    MachineSample,
    ProcessUsage,
    PublisherSample,
    PublisherStats,
    SubscriberSample,
    SubscriberStats,
)
from hydra.accounting.timeline import longest_pause_s, points
from hydra.options.options import Options
from hydra.options.order import RunOrder

USAGE = ProcessUsage(0.0, 0, 0.0)


def publisher(*samples):
    return PublisherStats(
        run_id="r", task_id="p", planned=0, attempted=0, acked=0, failed=0, unknown=0, queue_full=0, send_window_s=1.0,
        ack_window_s=1.0, lag_max_s=0.0, lag=LatencyCounts(), partitions=(), usage=USAGE,
        traffic=HostTraffic(0.0, 0.0), samples=tuple(samples),
    )  # fmt: skip


def sent(at_s, attempted, acked=None, cpu_s=0.0, lag_max_s=0.0):
    return PublisherSample(at_s, attempted, attempted if acked is None else acked, cpu_s, 1000, lag_max_s)


def subscriber(*samples):
    return SubscriberStats("r", "s", (), USAGE, samples=tuple(samples))


def got(at_s, received, *, slowest=0, fetches=0, received_bytes=0, cpu_s=0.0, latencies_us=()):
    histogram = LatencyHistogram(SAMPLE_BITS)
    for latency_us in latencies_us:
        histogram.add(latency_us)
    return SubscriberSample(at_s, received, slowest, fetches, received_bytes, cpu_s, 2000, histogram.fact())


def series(pub=None, subs=(), machine=(), *, every_s=1.0, cores=2, readers=1, has_acks=True):
    options = Options(
        total_sub_apps=1, clients_per_app=readers, test_duration=1000 * every_s, acks="1" if has_acks else "0"
    )
    evidence = Evidence(publisher=pub, subscribers=tuple(subs), machine=tuple(machine), cores=cores)
    return points(RunOrder("r", options), evidence)


def column(found, name):
    return [getattr(point, name) for point in found]


def test_a_point_is_what_happened_since_the_one_before():
    found = series(
        publisher(sent(0.0, 0), sent(1.01, 100, 90), sent(2.0, 200, 200)),
        [
            subscriber(got(0.0, 0), got(1.0, 150, fetches=3, received_bytes=30), got(2.0, 400, fetches=9)),
            subscriber(got(0.0, 0), got(1.02, 80), got(2.0, 390)),
        ],
        readers=4,
    )
    assert column(found, "at_s") == [1.0, 2.0]
    assert column(found, "sent") == [100, 100]
    assert column(found, "acked") == [90, 110]
    assert column(found, "delivered") == [230, 560]
    assert column(found, "backlog") == [90 * 4 - 230, 800 - 790]
    assert column(found, "fetches") == [3, 6]
    assert column(found, "received_bytes") == [30, -30]
    assert column(found, "publisher_rss_bytes") == [1000, 1000]
    assert column(found, "subscriber_rss_bytes_sum") == [4000, 4000]


def test_without_acks_the_backlog_is_of_what_was_sent():
    pub = publisher(sent(0, 0), sent(1, 100, 0))
    subs = [subscriber(got(0, 0), got(1, 40))]
    assert column(series(pub, subs, readers=2, has_acks=False), "backlog") == [160]
    assert column(series(pub, subs, readers=2), "backlog") == [0]


def test_more_than_was_acked_so_far_is_no_backlog_below_zero():
    found = series(publisher(sent(0, 0), sent(1, 100, 50)), [subscriber(got(0, 0), got(1, 90))])
    assert column(found, "backlog") == [0]


def test_a_task_that_stood_still_repeats_its_counts_and_catches_up_where_it_went_on():
    found = series(
        publisher(sent(0, 0), sent(1, 100), sent(4.2, 420), sent(5, 500)),
        [subscriber(*(got(float(at), at * 100) for at in range(6)))],
    )
    assert column(found, "at_s") == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert column(found, "sent") == [100, 0, 0, 320, 80]
    assert column(found, "delivered") == [100] * 5
    assert column(found, "publisher_lag_max_ms") == [0.0] * 5
    assert sum(column(found, "sent")) == 500


def test_a_subscriber_that_stood_still_is_the_slowest_meanwhile():
    found = series(
        None,
        [
            subscriber(got(0, 0), got(1, 20, slowest=8), got(3, 60, slowest=25)),
            subscriber(got(0, 0), got(1, 30, slowest=12), got(2, 50, slowest=22), got(3, 70, slowest=30)),
        ],
    )
    assert column(found, "slowest_client_records") == [8, 8, 25]
    assert column(found, "delivered") == [50, 20, 60]


def test_the_last_sample_between_two_full_seconds_has_a_point_of_its_own():
    found = series(publisher(sent(0, 0), sent(1, 100), sent(2, 200), sent(2.3, 230)))
    assert column(found, "at_s") == [1.0, 2.0, 3.0]
    assert column(found, "sent") == [100, 100, 30]


def test_a_run_that_is_shorter_than_a_second_has_a_point():
    found = series(publisher(sent(0, 0), sent(0.3, 30)), [subscriber(got(0, 0), got(0.4, 30))])
    assert (column(found, "sent"), column(found, "delivered")) == ([30], [30])


@pytest.mark.parametrize("pub", [None, publisher(), publisher(sent(0.0, 0))])
def test_nothing_noted_is_no_point(pub):
    assert series(pub, [subscriber(), subscriber(got(0, 0))]) == ()


def test_machines_alone_make_no_point():
    assert series(None, (), [MachineSample(float(at), 1.0, 1) for at in range(5)]) == ()


def test_latencies_are_of_what_arrived_in_that_second_over_all_tasks():
    found = series(
        None,
        [
            subscriber(got(0, 0), got(1, 1, latencies_us=[1000] * 90), got(2, 1)),
            subscriber(got(0, 0), got(1, 1, latencies_us=[64_000] * 10), got(2, 1, latencies_us=[7])),
        ],
    )
    assert found[0].e2e_p50_ms == pytest.approx(1.0, rel=0.04)
    assert found[0].e2e_p99_ms == pytest.approx(64.0, rel=0.04)
    assert column(found, "e2e_max_ms") == [64.0, 0.007]


def test_cpu_is_in_percent_of_one_core_and_of_all_for_the_machine():
    found = series(
        publisher(sent(0, 0, cpu_s=5.0), sent(1, 1, cpu_s=5.5), sent(3, 1, cpu_s=6.5)),
        [
            subscriber(got(0, 0, cpu_s=1.0), got(1, 1, cpu_s=1.9), got(2, 1, cpu_s=2.1), got(3, 1, cpu_s=2.1)),
            subscriber(got(0, 0, cpu_s=1.0), got(1, 1, cpu_s=1.2), got(2, 1, cpu_s=1.7), got(3, 1, cpu_s=1.7)),
        ],
        [MachineSample(float(at), 2.0 * at, 1, broker_cpu_s=0.25 * at, broker_rss_bytes=9) for at in range(3)],
        cores=4,
    )
    assert column(found, "publisher_cpu_percent") == pytest.approx([50.0, 50.0, 50.0])
    assert column(found, "subscriber_cpu_percent_max") == pytest.approx([90.0, 50.0, 0.0])
    assert column(found, "subscriber_cpu_percent_sum") == pytest.approx([110.0, 70.0, 0.0])
    assert column(found, "machine_cpu_percent") == [pytest.approx(50.0), pytest.approx(50.0), None]
    assert column(found, "broker_cpu_percent") == [pytest.approx(25.0), pytest.approx(25.0), None]
    assert column(found, "broker_rss_bytes") == [9, 9, None]


def test_who_is_too_busy_to_note_a_second_is_not_idle_in_it():
    late = [0.0, 2.6, 5.2, 7.8, 10.4]
    found = series(
        publisher(*(sent(at_s, 1, cpu_s=0.9 * at_s) for at_s in late)),
        [subscriber(*(got(at_s, 1, cpu_s=at_s, fetches=round(at_s)) for at_s in late))],
        [MachineSample(at_s, 2 * at_s, 1, broker_cpu_s=0.5 * at_s) for at_s in late],
    )
    assert column(found, "at_s") == [float(second) for second in range(1, 11)]
    assert column(found, "publisher_cpu_percent") == pytest.approx([90.0] * 10)
    assert column(found, "subscriber_cpu_percent_max") == pytest.approx([100.0] * 10)
    assert column(found, "machine_cpu_percent") == pytest.approx([100.0] * 10)
    assert column(found, "broker_cpu_percent") == pytest.approx([50.0] * 10)
    assert column(found, "fetches") == [0, 3, 0, 0, 2, 0, 3, 0, 0, 2], "counts stand where the task went on"


def test_a_broker_that_hydra_does_not_run_has_no_cpu():
    machine = [
        MachineSample(0.0, 0.0, 1, broker_cpu_s=1.0),
        MachineSample(1.0, 1.0, 1),
        MachineSample(2.0, 2.0, 1, 5.0),
    ]
    found = series(publisher(sent(0, 0), sent(1, 1), sent(2, 1)), machine=machine)
    assert column(found, "broker_cpu_percent") == [None, None]


def test_over_a_very_short_window_cpu_ticks_do_not_become_a_full_core():
    found = series(publisher(sent(0, 0), sent(1, 1, cpu_s=0.1), sent(1.001, 1, cpu_s=0.11)))
    assert found[-1].publisher_cpu_percent == pytest.approx(2.0)


def test_points_may_be_further_apart():
    found = series(publisher(sent(0, 0), sent(5.1, 500), sent(9.9, 1000), sent(10.4, 1040)), every_s=5.0)
    assert column(found, "at_s") == [5.0, 10.0, 15.0]
    assert column(found, "sent") == [500, 500, 40]


@given(
    st.lists(st.lists(st.tuples(st.floats(0.2, 3), st.integers(0, 50)), max_size=8), min_size=1, max_size=4),
)
def test_nothing_that_was_noted_is_left_out(tasks):
    subs, last = [], 0
    for steps in tasks:
        at_s, received, samples = 0.0, 0, [got(0.0, 0)]
        for step_s, records in steps:
            at_s, received = at_s + step_s, received + records
            samples.append(got(at_s, received, fetches=received, latencies_us=[1] * records))
        subs.append(subscriber(*samples))
        last += received
    found = series(None, subs)
    assert sum(column(found, "delivered")) == sum(column(found, "fetches")) == last
    assert min(column(found, "delivered"), default=0) >= 0
    assert column(found, "at_s") == [float(number) for number in range(1, len(found) + 1)]


def test_what_was_noted_late_stands_in_its_own_second_and_moves_no_other():
    found = series(
        publisher(sent(0, 0), sent(1.6, 160), sent(2.0, 200), sent(6.9, 690), sent(7.0, 700), sent(7.3, 730))
    )
    assert column(found, "sent") == [160, 40, 0, 0, 0, 490, 10, 30]


@pytest.mark.parametrize(
    ("times", "pause_s"),
    [([], 0.0), ([0.0], 0.0), ([0, 1, 2], 0.0), ([0, 1.5, 2], 0.5), ([0, 1, 6, 7, 10], 4.0), ([0, 0.3], -0.7)],
)
def test_the_longest_pause(times, pause_s):
    samples = [sent(float(at_s), 0) for at_s in times]
    assert longest_pause_s(samples, 1.0) == pytest.approx(pause_s)


def test_every_field_of_a_point_is_filled():
    found = series(
        publisher(sent(0, 0), sent(1, 100, 90, cpu_s=0.5, lag_max_s=0.25)),
        [subscriber(got(0, 0), got(1, 7, slowest=3, fetches=2, received_bytes=9, cpu_s=0.1, latencies_us=[5000]))],
        [MachineSample(0.0, 0.0, 1, 0.0, 5), MachineSample(1.0, 1.0, 1, 0.5, 5)],
    )
    assert len(found) == 1
    assert all(value for value in dataclasses.asdict(found[0]).values())
    assert found[0].publisher_lag_max_ms == 250.0
