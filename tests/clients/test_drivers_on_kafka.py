"""Every driver on a real broker: all records, none twice, none lost, positions right."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from hydra.accounting.evidence import OffsetRange
from hydra.accounting.intervals import IntervalSet
from hydra.clients.auditor import WireAuditor
from hydra.clients.protocols import publisher_driver, subscriber_driver
from hydra.errors import BrokerError, UsageError
from hydra.options.options import PUBLISHER_DRIVERS, SUBSCRIBER_DRIVERS, Options
from hydra.options.order import PartitionLeader
from tests.clients.conftest import RECORDS, START_TIMEOUT_S, TopicOrder, close_soon, endpoint_of, send_all
from tests.facts import sequences
from tests.quotas import client_quota

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("nothing_left"),
    # kafka-python leaves the sockets of refused connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*<socket.socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def subscriber(reading, until):
    made = []

    def make(broker, topic, *, positioned=True, **settings):
        driver = subscriber_driver(reading(broker.bootstrap_servers, topic, **settings))
        made.append(driver)
        driver.open()
        if positioned:
            until(
                lambda: all(tally.positioned for tally in driver.tallies),
                lambda: driver.poll(0.05),
                describe=lambda: [tally.error for tally in driver.tallies],
            )
        return driver

    yield make
    for each in made:
        close_soon(each)


@pytest.fixture
def read_all(until):
    def wait(driver, partitions, records=RECORDS):
        until(
            lambda: all(tally.received >= partitions * records for tally in driver.tallies),
            lambda: driver.poll(0.05),
            describe=lambda: [tally.stats() for tally in driver.tallies],
        )
        until(lambda: not any(tally.error for tally in driver.tallies), lambda: driver.poll(0.05))
        for tally in driver.tallies:
            assert tally.error == ""
            assert (tally.foreign, tally.corrupt) == (0, 0)
            assert tally.received_bytes > 0
            for part in tally.partitions.values():
                assert sequences(part) == [(0, records)]
                assert (part.received, part.stats().spans, part.next_offset) == (records, ((0, 0, records),), records)

    return wait


@pytest.mark.parametrize(
    ("acks", "partitions"), [("0", 3), pytest.param("1", 1, marks=pytest.mark.release), ("all", 3)]
)
@pytest.mark.parametrize("driver", PUBLISHER_DRIVERS)
def test_publishers(broker, new_topic, publisher, subscriber, read_all, driver, partitions, acks):
    topic = new_topic(broker, partitions)
    reader = subscriber(broker, topic, partitions=partitions)
    sender = publisher(broker, topic, driver=driver, partitions=partitions, acks=acks)
    send_all(sender, partitions)
    count = sender.flush(20)
    read_all(reader, partitions)
    outcomes = sender.outcomes()
    assert [each.attempted for each in outcomes] == [RECORDS] * partitions
    assert {each.failed for each in outcomes} == {()}
    acked = () if acks == "0" else ((0, RECORDS),)
    assert {each.acked for each in outcomes} == {acked}
    assert (count.acked, count.failed, count.error) == (0 if acks == "0" else partitions * RECORDS, 0, "")
    timed = sender.take_ack_latencies()
    assert len(timed) == count.acked
    assert 0 <= timed.max_us < 20_000_000
    assert timed.max_us > 0 or acks == "0"


@pytest.mark.parametrize("driver", SUBSCRIBER_DRIVERS)
def test_subscribers(broker, new_topic, publisher, subscriber, read_all, driver):
    partitions = 3
    topic = new_topic(broker, partitions)
    reader = subscriber(broker, topic, driver=driver, partitions=partitions, clients=3)
    assert all(tally.received == 0 for tally in reader.tallies)
    sender = publisher(broker, topic, partitions=partitions)
    send_all(sender, partitions)
    sender.flush(20)
    read_all(reader, partitions)
    ends = dict.fromkeys(range(partitions), RECORDS)
    assert all(tally.reached(ends) for tally in reader.tallies)


@pytest.mark.parametrize("driver", SUBSCRIBER_DRIVERS)
def test_subscribers_begin_where_they_are_told(broker, new_topic, publisher, subscriber, until, driver):
    topic = new_topic(broker)
    sender = publisher(broker, topic, msg_size=100)
    send_all(sender, 1)
    sender.flush(20)
    reader = subscriber(broker, topic, driver=driver, starts={0: 333})
    tally = reader.tallies[0]
    until(lambda: tally.received >= RECORDS - 333, lambda: reader.poll(0.05), describe=tally.stats)
    part = tally.partitions[0]
    assert (sequences(part), part.received, part.next_offset) == ([(333, RECORDS)], RECORDS - 333, RECORDS)


@pytest.mark.parametrize("driver", SUBSCRIBER_DRIVERS)
def test_offsets_that_are_gone_are_named_not_jumped_over(broker, new_topic, publisher, subscriber, until, driver):
    topic = new_topic(broker)
    sender = publisher(broker, topic)
    send_all(sender, 1)
    sender.flush(20)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for future in admin.delete_records([TopicPartition(topic, 0, 400)]).values():
        assert future.result(20).low_watermark == 400
    reader = subscriber(broker, topic, driver=driver, starts={0: 100}, positioned=False)
    tally = reader.tallies[0]
    until(lambda: tally.received >= RECORDS - 400, lambda: reader.poll(0.05), describe=tally.stats)
    assert sequences(tally.partitions[0]) == [(400, RECORDS)]
    assert "offset 100 of partition 0 is out of range" in tally.error


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_topics(broker, new_topic, publisher, subscriber, read_all, compression):
    topic = new_topic(broker, compression_type=compression)
    sender = publisher(broker, topic)
    send_all(sender, 1)
    sender.flush(20)
    reader = subscriber(broker, topic, clients=2)
    read_all(reader, 1)
    plain_bytes = RECORDS * 21
    assert reader.tallies[0].received_bytes < plain_bytes  # it was compressed indeed


@pytest.mark.parametrize("driver", SUBSCRIBER_DRIVERS)
def test_foreign_records_are_counted_apart(broker, new_topic, publisher, subscriber, until, driver):
    topic = new_topic(broker)
    other = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for number in range(20):
        other.produce(topic, None if number % 2 else b"something else, of another run", partition=0)
    other.flush(20)
    sender = publisher(broker, topic)
    send_all(sender, 1, records=50)
    sender.flush(20)
    reader = subscriber(broker, topic, driver=driver)
    tally = reader.tallies[0]
    until(lambda: tally.partitions[0].next_offset >= 70, lambda: reader.poll(0.05), describe=tally.stats)
    assert (tally.foreign, tally.received, tally.corrupt, tally.error) == (20, 50, 0, "")


@pytest.mark.parametrize("driver", SUBSCRIBER_DRIVERS)
def test_a_transaction_of_others_keeps_nothing_back(broker, new_topic, publisher, subscriber, until, driver):
    """Neither what comes behind one that is open, nor the end of the drain behind its marker, which is no record."""
    topic = new_topic(broker)
    other = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"other-{topic}"})
    other.init_transactions(START_TIMEOUT_S)
    other.begin_transaction()
    other.produce(topic, b"of a transaction that is not committed yet", partition=0)
    other.flush(20)
    sender = publisher(broker, topic)
    send_all(sender, 1, records=50)
    sender.flush(20)
    reader = subscriber(broker, topic, driver=driver)
    tally = reader.tallies[0]
    until(lambda: tally.received >= 50, lambda: reader.poll(0.05), describe=tally.stats)
    other.commit_transaction(20)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})

    def end():
        (found,) = admin.list_offsets({TopicPartition(topic, 0): OffsetSpec.latest()}).values()
        return found.result(20).offset

    until(lambda: end() == 52, lambda: reader.poll(0.05))  # the marker of the transaction is the log's last
    until(lambda: tally.reached({0: 52}), lambda: reader.poll(0.05), describe=tally.stats)
    assert (tally.foreign, tally.error) == (1, "")


@pytest.mark.parametrize("driver", PUBLISHER_DRIVERS)
def test_a_full_queue_takes_fewer(broker, new_topic, publisher, until, monkeypatch, driver):
    monkeypatch.setattr("hydra.clients.kafka_python._QUEUE_RECORDS", 5_000)
    limit = {"confluent": 100_000, "kafka-python": 5_000, "wire": 100_000}[driver]
    sender = publisher(broker, new_topic(broker), driver=driver, batch_size=500_000, drain_timeout=60.0)
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        until(lambda: stopped(broker.pid), lambda: time.sleep(0.01))
        taken = sender.send(0, 0, limit + 500)
        assert taken == limit
        assert sender.send(0, taken, 10) == 0
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    count = sender.flush(30)
    assert (count.acked, count.failed) == (limit, 0)
    assert sender.send(0, taken, 10) == 10
    assert sender.flush(20).acked == limit + 10
    assert sender.outcomes()[0].acked == ((0, limit + 10),)


def stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("driver", ["confluent", "wire"])
def test_records_that_are_too_large_are_failed(broker, new_topic, publisher, driver):
    topic = new_topic(broker, max_message_bytes=500)
    sender = publisher(broker, topic, driver=driver, msg_size=1000, linger_ms=0)
    assert sender.send(0, 0, 5) == 5
    count = sender.flush(20)
    assert (count.acked, count.failed) == (0, 5)
    assert sender.outcomes()[0].failed == ((0, 5),)
    assert "too large" in count.error.lower().replace("_", " ")


@pytest.mark.parametrize("driver", PUBLISHER_DRIVERS)
def test_nobody_listens(sending, driver):
    sender = publisher_driver(sending("127.0.0.1:1", "t", driver=driver))
    begun = time.monotonic()
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1"):
        sender.open(0.6)
    assert time.monotonic() - begun < 5
    sender.close()


@pytest.mark.parametrize("driver", PUBLISHER_DRIVERS)
def test_a_topic_that_is_not_there(broker, sending, driver):
    sender = publisher_driver(sending(broker.bootstrap_servers, "no-such-topic", driver=driver))
    with pytest.raises(BrokerError, match="no-such-topic"):
        sender.open(0.6)
    sender.close()


@pytest.mark.parametrize("driver", SUBSCRIBER_DRIVERS)
def test_subscribers_say_that_nobody_listens(reading, until, driver):
    reader = subscriber_driver(reading("127.0.0.1:1", "t", driver=driver, clients=2))
    reader.open()
    try:
        until(lambda: all(tally.error for tally in reader.tallies), lambda: reader.poll(0.05))
        assert not any(tally.positioned for tally in reader.tallies)
    finally:
        begun = time.monotonic()
        reader.close()
        assert time.monotonic() - begun < 5


def test_unknown_drivers(reading, sending):
    with pytest.raises(UsageError, match=r"unknown subscriber driver 'x'.*wire"):
        subscriber_driver(reading("h:1", "t", driver="x", leaders={}))
    with pytest.raises(UsageError, match=r"unknown publisher driver 'x'.*confluent.*wire"):
        publisher_driver(sending("h:1", "t", driver="x"))


def test_a_task_imports_the_driver_that_it_was_launched_with_and_no_other(reading, sending, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("class Driver:\n    def __init__(self, order, access):\n        self.order = order\nraised = 1\n")
    own = f"{file}:Driver"
    asked = reading("h:1", "t", driver=own, leaders={})
    assert subscriber_driver(asked, own=own).order is asked
    assert publisher_driver(sending("h:1", "t", driver=own), own=own).order.options.pub_driver == own
    for launched_with in ("", "os:system", f"{file}:Other"):
        with pytest.raises(UsageError, match="is not the one that this task was launched with"):
            subscriber_driver(asked, own=launched_with)
    for name in (f"{tmp_path}/gone.py:Driver", f"{file}:Gone", "no.such.module:Driver"):
        with pytest.raises(UsageError, match=r"cannot be imported \(.*give its file"):
            subscriber_driver(reading("h:1", "t", driver=name, leaders={}), own=name)


@pytest.fixture(scope="module")
def killed_broker(make_broker):
    """The broker of all tests that kill one."""
    with make_broker() as running:
        yield running


@pytest.fixture
def own_broker(killed_broker):
    """A broker that runs, and that a test may kill."""
    if killed_broker.returncode() is not None:
        killed_broker.start(START_TIMEOUT_S)
    return killed_broker


def kill(broker, until):
    os.kill(broker.pid, signal.SIGKILL)
    until(lambda: broker.returncode() is not None, lambda: time.sleep(0.01))
    assert broker.returncode() == -signal.SIGKILL


@pytest.mark.release
def test_a_broker_restart(own_broker, new_topic, publisher, subscriber, read_all, until, reconnects):
    """Killed and started on its port in mid-stream: all drivers read on, nothing is lost, nothing counted twice."""
    topic = new_topic(own_broker)
    readers = [subscriber(own_broker, topic, driver=driver, clients=2) for driver in SUBSCRIBER_DRIVERS]
    sender = publisher(own_broker, topic, drain_timeout=60.0, acks="all")
    send_all(sender, 1)
    assert sender.flush(20).acked == RECORDS
    for reader in readers:
        read_all(reader, 1)
    kill(own_broker, until)
    until(lambda: all(tally.error for tally in readers[0].tallies), lambda: readers[0].poll(0.05))
    assert sender.send(0, RECORDS, 500) == 500
    until(lambda: len(reconnects) >= 6, lambda: readers[0].poll(0.05))
    own_broker.start(START_TIMEOUT_S)
    count = sender.flush(30)
    assert (count.acked, count.failed) == (RECORDS + 500, 0)
    for reader in readers:
        read_all(reader, 1, RECORDS + 500)


def audited(broker, topic, partitions=1):
    """The sequences in the log, by partition, as a fresh reader finds them, and how often in all they are there."""
    ends = {}
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "ends"})
    for partition in range(partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), 20)
        ends[partition] = OffsetRange(low, high)
    consumer.close()
    leaders = tuple(PartitionLeader(part, 1, endpoint_of(broker.bootstrap_servers)) for part in range(partitions))
    order = TopicOrder("run-1", Options(), broker.bootstrap_servers, leaders=leaders, topic=topic)
    audit = WireAuditor().audit(order, ends, 20)
    assert (audit.foreign, audit.corrupt) == (0, 0)
    found = {}
    for number, part in audit.partitions.items():
        log = found[number] = IntervalSet()
        for _offset, first, records in part.spans:
            log.add(first, first + records)
        assert sum(records for _, _, records in part.spans) == ends[number].end
    return found, sum(offsets.end for offsets in ends.values())


class Sending:
    """A wire publisher to three partitions of a topic of its own, and how many records it has taken for each."""

    def __init__(self, broker, new_topic, publisher, acks):
        self.acks = acks
        self.topic = new_topic(broker, 3)
        self.publisher = publisher(
            broker, self.topic, driver="wire", partitions=3, acks=acks, drain_timeout=60.0, msg_rate=1e6
        )
        self.sent = [0, 0, 0]

    def send(self, records=300):
        for partition in range(3):
            if self.publisher._waiting < 50_000:  # what waits is to be acked soon after the broker is back
                self.sent[partition] += self.publisher.send(partition, self.sent[partition], records)
        self.publisher.pause(0.001)


@pytest.mark.release
def test_the_auditor_finds_what_the_wire_publisher_had_acked(own_broker, new_topic, publisher, until):
    """Records go out before, while and after the broker is killed and started again."""
    both = [Sending(own_broker, new_topic, publisher, acks) for acks in ("1", "all")]

    def send(records=300):
        for each in both:
            each.send(records)

    until(lambda: all(each.publisher.poll().acked > 10_000 for each in both), send)
    send(20_000)
    assert all(each.publisher._waiting > 10_000 for each in both)  # so that some are on their way when the broker dies
    kill(own_broker, until)
    until(lambda: all("refused" in each.publisher.poll().error.lower() for each in both), send)
    own_broker.start(START_TIMEOUT_S)
    acked_before = [each.publisher.poll().acked for each in both]
    until(
        lambda: all(each.publisher.poll().acked > acked for each, acked in zip(both, acked_before, strict=True)), send
    )
    for each in both:
        count = each.publisher.flush(40)
        assert (count.acked, count.failed) == (sum(each.sent), 0)
        log, appended = audited(own_broker, each.topic, 3)
        for outcome in each.publisher.outcomes():
            assert outcome.acked == ((0, each.sent[outcome.partition]),)
            assert tuple(log[outcome.partition]) == outcome.acked
        if each.acks == "all":
            assert appended == sum(each.sent)  # not one of them twice


@pytest.mark.release
def test_a_broker_that_is_gone_leaves_records_unknown(own_broker, new_topic, publisher, until):
    senders = [
        publisher(own_broker, new_topic(own_broker), driver=driver, drain_timeout=30.0) for driver in PUBLISHER_DRIVERS
    ]
    for sender in senders:
        send_all(sender, 1, records=100)
        assert sender.flush(20).acked == 100
    kill(own_broker, until)
    for sender in senders:
        assert sender.send(0, 100, 200) == 200, sender
        begun = time.monotonic()
        count = sender.flush(1.0)
        assert time.monotonic() - begun < 5, sender
        assert (count.acked, count.failed) == (100, 0), sender
        assert count.error, sender
        outcome = sender.outcomes()[0]
        assert (outcome.attempted, outcome.acked, outcome.failed) == (300, ((0, 100),), ()), sender


def pause(sender):
    """Let a little time pass, in which a publisher without a thread of its own works."""
    getattr(sender, "pause", time.sleep)(0.01)


@pytest.mark.parametrize("driver", PUBLISHER_DRIVERS)
def test_a_quota_holds_a_publisher_back_and_it_knows_for_how_long(broker, new_topic, publisher, until, driver):
    sender = publisher(broker, new_topic(broker), driver=driver, msg_size=100)
    with client_quota(broker.bootstrap_servers, "hydra-pub", producer_byte_rate=20_000.0):
        send_all(sender, 1, records=5 * RECORDS)
        # 0.5 MB, where brokers average over 11 s: the first reply that says so is enough.
        until(lambda: sender.poll().throttled_s > 0, lambda: pause(sender))
    assert sender.flush(60).failed == 0


@pytest.mark.parametrize("driver", SUBSCRIBER_DRIVERS)
def test_a_quota_holds_back_the_client_that_has_its_name_and_no_other(
    broker, new_topic, publisher, subscriber, until, driver
):
    topic = new_topic(broker)
    sender = publisher(broker, topic, msg_size=100)
    with client_quota(broker.bootstrap_servers, "c0", consumer_byte_rate=20_000.0):
        reader = subscriber(broker, topic, driver=driver, clients=2, positioned=False)
        held, free = reader.tallies
        sent = 0

        def send_and_read():
            # On and on: a broker learns of a quota some time after its controller has answered.
            nonlocal sent
            if sent < 100 * RECORDS and free.received == sent:
                send_all(sender, 1, first=sent, records=RECORDS)
                sent += RECORDS
            reader.poll(0.05)

        until(
            lambda: held.throttled_s > 0 and free.received == sent,
            send_and_read,
            describe=lambda: [tally.stats() for tally in reader.tallies],
        )
    assert free.throttled_s == 0


LARGE = {"msg_size": 2_000_000, "batch_size": 2_000_000}
"""Of a record; clients that ask for less get its batch all the same."""


@pytest.mark.parametrize("driver", SUBSCRIBER_DRIVERS)
def test_a_first_batch_above_the_buffer_is_read(broker, new_topic, publisher, subscriber, until, driver):
    topic = new_topic(broker, max_message_bytes=4_000_000)
    sender = publisher(broker, topic, driver="wire", **LARGE)
    send_all(sender, 1, records=3)
    assert sender.flush(20).acked == 3
    reader = subscriber(broker, topic, driver=driver, consumer_max_buffer_size=1000)
    (tally,) = reader.tallies
    until(lambda: tally.received == 3, lambda: reader.poll(0.05), describe=tally.stats)
    assert (tally.error, tally.own_errors.count) == ("", 0)


@pytest.mark.parametrize(
    ("driver", "module", "told"),
    [
        ("confluent", "confluent_subscriber", "Invalid response size"),
        ("kafka-python", "kafka_python", "Invalid frame length"),
    ],
)
def test_what_a_library_logs_is_the_clients_own_error(
    broker, new_topic, publisher, subscriber, until, monkeypatch, driver, module, told
):
    """A limit of the library's own, set too low here: it says so in its log, and nowhere else."""
    monkeypatch.setattr(f"hydra.clients.{module}.MOST_BYTES", 1_200_000)
    topic = new_topic(broker, max_message_bytes=4_000_000)
    sender = publisher(broker, topic, driver="wire", **LARGE)
    send_all(sender, 1, records=3)
    sender.flush(20)
    reader = subscriber(broker, topic, driver=driver, positioned=False, consumer_max_buffer_size=1000)
    (tally,) = reader.tallies
    until(lambda: tally.own_errors.count > 2, lambda: reader.poll(0.05), describe=tally.stats)
    found = tally.stats()
    assert told in found.own_errors.last
    assert re.fullmatch(rf".*{told}.* \(\d+ times\)", found.error)
    assert found.received == 0


@pytest.mark.parametrize("driver", SUBSCRIBER_DRIVERS)
def test_partitions_take_turns_with_a_small_buffer(broker, new_topic, publisher, subscriber, until, driver):
    partitions, records = 3, 4000
    topic = new_topic(broker, partitions)
    sender = publisher(broker, topic, driver="wire", partitions=partitions, msg_size=100, batch_size=2000, linger_ms=0)
    send_all(sender, partitions, records=records)
    assert sender.flush(20).acked == partitions * records
    reader = subscriber(
        broker, topic, driver=driver, partitions=partitions, consumer_max_buffer_size=4096, positioned=False
    )
    (tally,) = reader.tallies
    parts = tally.partitions.values()
    # They need not begin together, but a partition that begins when the others are at their end had no turn.
    until(lambda: all(part.received for part in parts), lambda: reader.poll(0.01), describe=tally.stats)
    before = [part.received for part in parts]
    enough = tally.received + partitions * records / 4
    until(lambda: tally.received > enough, lambda: reader.poll(0.01), describe=tally.stats)
    # librdkafka fetches ahead for each partition as its threads come to it: each gets a share, not an equal one.
    least = 0 if driver == "confluent" else records / 8
    assert min(part.received - first for part, first in zip(parts, before, strict=True)) > least
