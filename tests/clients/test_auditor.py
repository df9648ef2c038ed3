"""The auditor, against a scripted broker: what it finds in a log, and what keeps it from reading it."""

import time

import pytest

from hydra.accounting.evidence import AuditedPartition, OffsetRange
from hydra.clients.auditor import WireAuditor
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.options.options import Options
from hydra.options.order import PartitionLeader
from tests.clients.conftest import TopicOrder

TIMEOUT_S = 20.0


def order_of(*brokers, endpoints=None):
    endpoints = endpoints or [broker.endpoint for broker in brokers]
    leaders = tuple(PartitionLeader(part, part + 1, where) for part, where in enumerate(endpoints))
    return TopicOrder("run-1", Options(), str(endpoints[0]), leaders=leaders, topic="topic")


def read(*brokers, timeout_s=TIMEOUT_S, **ranges):
    log = {int(part.removeprefix("p")): OffsetRange(*offsets) for part, offsets in ranges.items()}
    return WireAuditor().audit(order_of(*brokers), log, timeout_s)


def test_it_says_which_sequence_stands_at_which_offset(scripted, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    broker.append(run_batch(range(20, 25)))
    broker.append(run_batch([3, 4, 30]))
    found = read(broker, p0=(0, 18))
    assert found.partitions == {0: AuditedPartition(0, 18, ((0, 0, 10), (10, 20, 5), (15, 3, 2), (17, 30, 1)))}
    assert (found.foreign, found.corrupt) == (0, 0)


def test_it_reads_all_partitions_at_their_leaders(scripted, run_batch):
    first, second = scripted(), scripted()
    first.append(run_batch(range(4)), 0)
    second.append(run_batch(range(6)), 1)
    found = read(first, second, p0=(0, 4), p1=(0, 6))
    assert {part: each.spans for part, each in found.partitions.items()} == {0: ((0, 0, 4),), 1: ((0, 0, 6),)}


def test_an_empty_log_is_nothing_to_read(scripted):
    broker = scripted()
    assert read(broker, p0=(7, 7)).partitions == {0: AuditedPartition(7, 7, ())}


def test_it_begins_where_the_log_does(scripted, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    broker.append(run_batch(range(10, 20)))
    broker.starts[0] = 10
    assert read(broker, p0=(10, 20)).partitions == {0: AuditedPartition(10, 20, ((10, 10, 10),))}


def test_what_leaves_the_log_while_it_reads_is_a_jump(scripted, run_batch):
    broker = scripted()
    for first in (0, 10, 20):
        broker.append(run_batch(range(first, first + 10)))

    def fetch(asked, version):
        if asked[0] == 10:
            broker.starts[0] = 20
        if asked[0] == 0:
            return broker.response({0: (0, broker.logs[0][0][2])}, version)
        return broker.good_fetch(asked, version)

    broker.fetch = fetch
    found = read(broker, p0=(0, 30))
    assert found.partitions == {0: AuditedPartition(0, 30, ((0, 0, 10), (20, 20, 10)), ((10, 20),))}


def test_what_is_foreign_or_corrupt_in_the_log_is_counted(scripted, run_batch, batch, record, value):
    broker = scripted()
    broker.append(run_batch(range(5)))
    broker.append(run_batch(range(5, 10), spoil=True))
    broker.append(batch([record(0, b"hello"), record(1, value(10, run_id="another"))]))
    broker.append(run_batch(range(10, 12)))
    found = read(broker, p0=(0, 14))
    assert (found.foreign, found.corrupt) == (2, 1)
    assert found.partitions[0].spans == ((0, 0, 5), (12, 10, 2))


def test_a_log_that_does_not_come_to_its_end_is_given_up_at_the_deadline(scripted, run_batch):
    broker = scripted()
    broker.append(run_batch(range(5)))
    began_s = time.monotonic()
    with pytest.raises(BrokerError, match=r"^the auditor timed out after 0\.2 s$"):
        read(broker, p0=(0, 6), timeout_s=0.2)
    assert time.monotonic() - began_s >= 0.2
    assert broker.asked


def test_the_brokers_error_is_named_at_the_deadline(scripted):
    broker = scripted()
    broker.leaders = {0: broker.endpoint}
    broker.fetch = lambda asked, version: broker.response({0: (74, b"")}, version)
    with pytest.raises(BrokerError, match=r"timed out after 1 s \(.*FENCED_LEADER_EPOCH"):
        read(broker, p0=(0, 6), timeout_s=1.0)


def test_a_broker_that_is_gone_is_named(scripted):
    broker = scripted()
    where = broker.endpoint
    broker.close()
    with pytest.raises(BrokerError, match=r"timed out after 0\.2 s \(.+"):
        WireAuditor().audit(order_of(endpoints=[Endpoint(where.host, where.port)]), {0: OffsetRange(0, 1)}, 0.2)


def test_a_quota_that_holds_it_back_is_why_it_timed_out(scripted, run_batch):
    broker = scripted()
    broker.throttle_ms = 400
    broker.append(run_batch(range(10)))
    with pytest.raises(BrokerError, match=r"timed out after 0\.3 s \(a quota held it back for [0-9]+\.[0-9] s\)"):
        read(broker, timeout_s=0.3, p0=(0, 20))
    assert set(broker.heard_from) == {"auditor"}
