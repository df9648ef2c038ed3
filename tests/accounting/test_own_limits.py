"""What was asked for is weighed before a broker is named: each limit of our own, and how far it reaches."""

import dataclasses

import pytest

from hydra.accounting.bottleneck import find_bottleneck
from hydra.accounting.evidence import Evidence
from hydra.accounting.latency import LatencyCounts, LatencySummary
from hydra.accounting.own_limits import hold_ms, linger_wait_ms
from hydra.accounting.stats import ClientStats, PartitionStats, SubscriberSample
from hydra.accounting.totals import ThresholdOutcome
from hydra.endpoints import Endpoint
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, PartitionLeader, PartitionStart, RunOrder
from tests.accounting.test_bottleneck import FIGURES, publisher, subscriber
from tests.facts import NO_LATENCY

LATE = dataclasses.replace(NO_LATENCY, e2e=LatencySummary(deliveries=1, p99_ms=5000.0, max_ms=6000.0))
BUFFER = "raise --consumer_max_buffer_size"


def order_of(pace_ms=0.0, clients=(), leaders=(), **options):
    """A megabyte a second."""
    asked = Options(**{"msg_rate": 10_000.0, "msg_size": 93, "linger_ms": 0, **options})
    return RunOrder("r", asked, "", clients, leaders, pace_ms=pace_ms)


def fetching(fetches, received_bytes):
    """A subscriber that did so between two samples."""
    samples = tuple(
        SubscriberSample(
            float(second), 0, 0, 100 + second * fetches, 500 + second * received_bytes, 0.0, 0, LatencyCounts()
        )
        for second in range(2)
    )
    return dataclasses.replace(subscriber(), samples=samples)


def limit_of(order, *, latency=LATE, totals=FIGURES, thresholds=(), subscribers=None):
    evidence = Evidence(publisher=publisher(queue_full=1), subscribers=subscribers or (subscriber(),), cores=2)
    totals = dataclasses.replace(totals, tx_rate_per_s=order.options.msg_rate)
    return find_bottleneck(order, evidence, totals, latency, points=(), thresholds=thresholds)


@pytest.mark.parametrize(
    ("order", "subscribers", "evidence", "advice"),
    [
        (
            # 1 MB/s are asked for.
            order_of(consumer_max_buffer_size=4096, pace_ms=10.0),
            (fetching(100, 409_600),),
            "each fetch brings 4,096 bytes at most, and comes every 10 ms: 0.41 MB/s of 1 MB/s for each client",
            f"{BUFFER}, or lower --fetch_pace_ms",
        ),
        (
            # The first batch of a reply may be larger than the buffer.
            order_of(consumer_max_buffer_size=1000, pace_ms=10.0),
            (fetching(100, 500_000),),
            "each fetch brings 5,000 bytes at most, and comes every 10 ms: 0.5 MB/s of 1 MB/s for each client",
            f"{BUFFER}, or lower --fetch_pace_ms",
        ),
        (
            # No pace: how many fetches a second there can be is not known, but that each was full.
            order_of(consumer_max_buffer_size=4096),
            (fetching(10, 1000), fetching(100, 400_000)),
            "each fetch brings 4,096 bytes at most (--consumer_max_buffer_size), and on average they brought 4,000",
            BUFFER,
        ),
        (
            order_of(consumer_max_buffer_size=4096, sub_driver="confluent"),
            (),
            "each fetch brings 4,096 bytes at most: for 1 MB/s each client would have to fetch 244 times a second",
            BUFFER,
        ),
    ],
)
def test_a_small_buffer_is_our_own_limit(order, subscribers, evidence, advice):
    found = limit_of(order, subscribers=subscribers)
    assert (found.limit, found.harness_limited, found.evidence) == ("harness", True, (evidence,))
    assert found.advice == advice


ONE_OF_TWO = tuple(ClientAssignment(f"c{number}", "g", (PartitionStart(number, 0),)) for number in range(2))
TWO_BROKERS = tuple(PartitionLeader(number, number, Endpoint("h", number + 1)) for number in range(2))


@pytest.mark.parametrize(
    ("order", "subscribers"),
    [
        (order_of(pace_ms=10.0), (fetching(100, 400_000),)),
        (order_of(consumer_max_buffer_size=10_001, pace_ms=10.0), (fetching(100, 700_000),)),
        (order_of(consumer_max_buffer_size=4096), (fetching(100, 300_000),)),
        (order_of(consumer_max_buffer_size=4096), (fetching(0, 0),)),
        (order_of(consumer_max_buffer_size=50_000, sub_driver="confluent"), (fetching(100, 5_000_000),)),
        (
            order_of(
                consumer_max_buffer_size=6000, pace_ms=10.0, partitions=2, group="shared", total_sub_apps=1,
                clients_per_app=2, clients=ONE_OF_TWO,
            ),
            (),
        ),
        (order_of(consumer_max_buffer_size=6000, pace_ms=10.0, partitions=2, leaders=TWO_BROKERS), ()),
    ],
)  # fmt: skip
def test_a_buffer_with_room_is_none(order, subscribers):
    assert limit_of(order, subscribers=subscribers).limit == "broker"


@pytest.mark.parametrize(
    ("options", "held_ms"),
    [
        ({}, 0.0),
        ({"fetch_min_bytes": 100_000}, 100.0),
        ({"fetch_min_bytes": 100_000, "fetch_wait_max_ms": 30}, 30.0),
        ({"fetch_min_bytes": 100_000_000, "fetch_wait_max_ms": 60_000}, 60_000.0),
        ({"fetch_min_bytes": 100_000, "compression": "lz4"}, 500.0),  # what is stored may be little
    ],
)
def test_brokers_hold_back_for_as_long_as_they_were_told(options, held_ms):
    order = order_of(**options)
    assert hold_ms(order) == held_ms
    for p99_ms, limit in ((999.0 + held_ms, "none"), (1001.0 + held_ms, "broker")):
        e2e = LatencySummary(deliveries=1, p99_ms=p99_ms, max_ms=p99_ms)
        assert limit_of(order, latency=dataclasses.replace(NO_LATENCY, e2e=e2e)).limit == limit


def broken(threshold, limit, value=5000.0):
    metric = threshold.partition("<")[0]
    return ThresholdOutcome(threshold, metric, value, limit, "ms", kept=False)


LARGE_BATCHES = {"msg_batch": 10_000}
"""Those that a tenth of a second does not fill."""
WAITS = order_of(linger_ms=100, **LARGE_BATCHES)


@pytest.mark.parametrize(
    ("order", "threshold", "evidence"),
    [
        (WAITS, broken("e2e_p99<50ms", 50.0), "e2e_p99<50ms cannot be kept: --linger_ms alone makes it 99 ms"),
        (WAITS, broken("worst_client_p99<99ms", 99.0), "worst_client_p99<99ms cannot be kept: --linger_ms"),
        (order_of(pace_ms=400.0), broken("e2e_p50<=0.2s", 200.0), "e2e_p50<=0.2s cannot be kept: the fetch pace alone"),
        (
            order_of(fetch_min_bytes=10_000_000),
            broken("service_max<500ms", 500.0),
            "service_max<500ms cannot be kept: --fetch_min_bytes alone makes it 500 ms",
        ),
    ],
)
def test_a_latency_below_what_we_wait_ourselves_is_our_own_doing(order, threshold, evidence):
    found = limit_of(order, latency=NO_LATENCY, thresholds=(threshold,))
    assert (found.limit, found.harness_limited) == ("harness", True)
    assert found.evidence[0].startswith(evidence)
    # Deliveries that are later than all that explains are another matter.
    assert limit_of(order, latency=LATE, thresholds=(threshold,)).limit == "broker"


@pytest.mark.parametrize(
    "threshold", [broken("e2e_p50<51ms", 51.0), broken("e2e_p99<100ms", 100.0), broken("pub_lag_p99<10ms", 10.0)]
)
def test_a_latency_that_could_be_kept_is_not(threshold):
    assert limit_of(WAITS, latency=NO_LATENCY, thresholds=(threshold,)).limit == "broker"


@pytest.mark.parametrize(
    ("waits", "threshold"),
    [
        # An ack waits for no fetch, and a client without a pace for no round.
        ({"pace_ms": 125.0}, broken("ack_p99<50ms", 50.0)),
        ({"pace_ms": 125.0}, broken("unpaced_p99<50ms", 50.0)),
        ({"fetch_min_bytes": 10_000_000}, broken("ack_max<50ms", 50.0)),
        # A batch of 100 records of 100 bytes is full after 10 ms.
        ({"linger_ms": 100}, broken("e2e_p99<50ms", 50.0)),
    ],
)
def test_what_a_latency_does_not_wait_for_is_no_excuse(waits, threshold):
    assert limit_of(order_of(**waits), latency=NO_LATENCY, thresholds=(threshold,)).limit == "broker"


@pytest.mark.parametrize(
    ("options", "wait_ms"),
    [
        ({"linger_ms": 100}, 9.2),
        ({"linger_ms": 5}, 5.0),
        ({"linger_ms": 100, "partitions": 4}, 36.8),
        ({"linger_ms": 100, "compression": "lz4"}, 100.0),  # nobody knows how many records fill a batch
        ({"linger_ms": 100, "batch_size": 10}, 0.0),  # each record is a batch
    ],
)
def test_a_publisher_holds_a_record_back_until_its_batch_is_full(options, wait_ms):
    assert linger_wait_ms(order_of(**options)) == pytest.approx(wait_ms)


def test_a_drain_that_ends_before_what_is_held_back_can_come():
    unread = dataclasses.replace(FIGURES, records_unread=7)
    held = {"fetch_min_bytes": 10_000_000, "linger_ms": 100, **LARGE_BATCHES}
    found = limit_of(order_of(drain_timeout=0.5, **held), latency=NO_LATENCY, totals=unread)
    assert (found.limit, found.evidence) == (
        "harness",
        ("the drain ended after 500 ms, and records may wait for 600 ms",),
    )
    assert limit_of(order_of(drain_timeout=0.7, **held), latency=NO_LATENCY, totals=unread).limit == "broker"


def test_a_retention_shorter_than_what_is_held_back():
    expired = dataclasses.replace(FIGURES, records_expired=7)
    held = {"fetch_min_bytes": 10_000_000, "fetch_wait_max_ms": 5000}
    found = limit_of(order_of(retention_ms=1000, **held), latency=NO_LATENCY, totals=expired)
    assert (found.limit, found.evidence) == (
        "harness",
        ("the topic keeps records for 1,000 ms, and records may wait for 5,000 ms",),
    )
    assert limit_of(order_of(retention_ms=6000, **held), latency=NO_LATENCY, totals=expired).limit == "broker"
    assert limit_of(order_of(**held), latency=NO_LATENCY, totals=expired).limit == "broker"


@pytest.mark.parametrize(("received_bytes", "limit"), [(10_000, "harness"), (1_000, "broker")])
def test_a_buffer_is_held_against_what_compressed_records_take(received_bytes, limit):
    # 1,000 records: 10 bytes each want 100 kB/s, of which the buffer lets 60 through; 1 byte each wants 10.
    order = order_of(consumer_max_buffer_size=600, pace_ms=10.0, compression="zstd", sub_driver="wire")
    part = PartitionStats(0, 0, 1000, ((0, 0, 1000),))
    client = ClientStats("c0", (part,), True, 1, received_bytes, 1.0, 0, 0, 0, "")
    assert limit_of(order, subscribers=(dataclasses.replace(subscriber(), clients=(client,)),)).limit == limit


@pytest.mark.parametrize("driver", ["confluent", "kafka-python"])
def test_where_nobody_knows_what_compressed_records_take_no_buffer_is_blamed(driver):
    order = order_of(consumer_max_buffer_size=600, compression="zstd", sub_driver=driver)
    assert limit_of(order).limit == "broker"
