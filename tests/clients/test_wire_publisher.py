"""The wire publisher against brokers that err, fall silent, hang up and forget, and what it says of its records."""

from __future__ import annotations

import random
import struct
import threading
import time

import pytest
from kafka.record.default_records import DefaultRecordBatch

from hydra.accounting.stats import Refusal
from hydra.clients.ledger import sequence_of
from hydra.clients.wire_batches import queue_records
from hydra.clients.wire_publisher import WirePublisher
from hydra.errors import BrokerError
from hydra.records.identity import IDENTITY
from tests.clients.scripted_broker import ScriptedBroker, hang_up, silence
from tests.examples import examples

PRODUCE, INIT_PRODUCER_ID = 0, 22
TOO_LARGE, NOT_LEADER, TIMED_OUT, NOT_ENOUGH, TOPIC_REFUSED, OUT_OF_ORDER, INVALID_RECORD = 10, 6, 7, 19, 29, 45, 87


class Log:
    """What all brokers of a cluster share: one log a partition, and what is known of producers."""

    def __init__(self, partitions=1):
        self.lock = threading.Lock()
        self.partitions = partitions
        self.sequences = {partition: [] for partition in range(partitions)}
        self.timestamps = {partition: [] for partition in range(partitions)}
        self.batches = {partition: [] for partition in range(partitions)}
        self.producers = {}

    def append(self, partition, batch):
        """Append as Kafka does; returns its error code. A batch that is there already is acked and not appended."""
        key = (partition, batch.producer_id)
        if batch.producer_id >= 0:
            epoch, expected, known = self.producers.get(key, (batch.producer_epoch, 0, ()))
            if (batch.producer_epoch, batch.base_sequence) in known:
                return 0
            if batch.producer_epoch != epoch:
                expected = 0 if batch.producer_epoch > epoch else -1
            if batch.base_sequence != expected:
                return OUT_OF_ORDER
            known = (*known[-4:], (batch.producer_epoch, batch.base_sequence))
            self.producers[key] = (batch.producer_epoch, expected + batch.last_offset_delta + 1, known)
        records = list(batch)
        self.sequences[partition] += [sequence_of(record.value) for record in records]
        self.timestamps[partition] += [record.timestamp for record in records]
        self.batches[partition].append(len(records))
        return 0


def answer_another(connection, frame):
    """Send an answer to a request that was not made."""
    (number,) = struct.unpack_from(">i", frame, 4)
    connection.sendall(frame[:4] + struct.pack(">i", number + 1) + frame[8:])


class ScriptedLeader(ScriptedBroker):
    """Takes Produce requests. ``script(broker, {partition: batch})`` says what becomes of each.

    It is a code for all its partitions (0 appends), or one of "append and hang up", "hang up", "append and time out",
    "silent", "nonsense", "wrong number", "wrong partition".
    """

    def __init__(self, log, script=lambda broker, batches: 0):
        self.log = log
        self.script = script
        self.produce_versions = (3, 13)
        self.producer_errors = []
        self.requests = []
        self.acks = set()
        super().__init__()

    def apis(self):
        return [(PRODUCE, *self.produce_versions), (INIT_PRODUCER_ID, 0, 4)]

    def _answer(self, key, version, body):
        if key == PRODUCE:
            return self._produce(version, body)
        if key == INIT_PRODUCER_ID:
            error = self.producer_errors.pop(0) if self.producer_errors else 0
            return struct.pack(">ihqh", 0, error, -1 if error else 77, -1 if error else 0)
        return super()._answer(key, version, body)

    def _produce(self, version, body):
        transaction, acks, _timeout, topics = struct.unpack_from(">hhii", body)
        assert (transaction, topics) == (-1, 1)
        self.acks.add(acks)
        name_size = struct.unpack_from(">h", body, 12)[0]
        at = 14 + name_size
        batches = {}
        for _ in range(struct.unpack_from(">i", body, at)[0]):
            partition, size = struct.unpack_from(">ii", body, at + 4)
            batches[partition] = DefaultRecordBatch(body[at + 12 : at + 12 + size])
            assert batches[partition].validate_crc()
            at += 8 + size
        with self.log.lock:
            self.requests.append((time.monotonic(), batches))
            verdict = self.script(self, batches)
            codes = {partition: verdict if isinstance(verdict, int) else 0 for partition in batches}
            if verdict in {0, "append and hang up", "append and time out"}:
                for partition, batch in batches.items():
                    codes[partition] = self.log.append(partition, batch)
                    if verdict == "append and time out" and not codes[partition]:
                        codes[partition] = TIMED_OUT
        if acks == 0:
            return (hang_up if any(codes.values()) or verdict == "hang up" else silence), b""
        if verdict == "silent":
            return silence, b""
        if verdict in {"append and hang up", "hang up"}:
            return hang_up, b""
        if verdict == "wrong number":
            return answer_another, b""
        if verdict == "nonsense":
            return b"\x7f\xff\xff\xff\x00"
        if verdict == "wrong partition":
            codes = {partition + 100: 0 for partition in codes}
        out = struct.pack(">i", 1) + body[12 : 14 + name_size] + struct.pack(">i", len(codes))
        for partition, code in codes.items():
            out += struct.pack(">ihqq", partition, code, -1, -1) + (struct.pack(">q", -1) if version >= 5 else b"")
        return out + struct.pack(">i", self.throttle_ms)


@pytest.fixture
def cluster():
    """A broker (or several) that leads all partitions of a log; more of them are made by calling it again."""
    made = []

    def make(script=lambda broker, batches: 0, *, partitions=1, log=None):
        broker = ScriptedLeader(log or Log(partitions), script)
        broker.leaders = dict.fromkeys(range(broker.log.partitions), broker.endpoint)
        made.append(broker)
        return broker

    yield make
    for each in made:
        each.close()


@pytest.fixture
def publisher(sending):
    made = []

    def make(broker, *, opened=True, **settings):
        partitions = broker.log.partitions
        made.append(
            WirePublisher(sending(str(broker.endpoint), "topic", driver="wire", partitions=partitions, **settings))
        )
        if opened:
            made[-1].open(10)
        return made[-1]

    yield make
    for each in made:
        each.close()
        each.close()


def once(verdict, then=0):
    """The first request meets ``verdict``, later ones ``then``."""
    left = [verdict]
    return lambda broker, batches: left.pop() if left else then


def outcome(sender, partition=0):
    found = sender.outcomes()[partition]
    return found.attempted, found.acked, found.failed


@pytest.mark.parametrize("acks", ["1", "all"])
@pytest.mark.parametrize(
    "fault", [NOT_LEADER, NOT_ENOUGH, 3, 2, "hang up", "nonsense", "wrong number", "wrong partition"]
)
def test_what_was_not_appended_is_sent_again(cluster, publisher, fault, acks):
    broker = cluster(once(fault))
    sender = publisher(broker, acks=acks)
    assert sender.send(0, 0, 40) == 40
    count = sender.flush(10)
    assert (count.acked, count.failed) == (40, 0)
    assert count.error
    assert outcome(sender) == (40, ((0, 40),), ())
    assert broker.log.sequences[0] == list(range(40))
    assert len(broker.requests) == 2
    assert broker.requests[1][0] - broker.requests[0][0] > 0.09  # the back-off
    assert broker.acks == {-1 if acks == "all" else 1}


@pytest.mark.parametrize(("acks", "times"), [("all", 1), ("1", 2)])
@pytest.mark.parametrize("fault", ["append and hang up", "append and time out"])
def test_a_lost_ack_makes_a_duplicate_only_without_idempotence(cluster, publisher, fault, acks, times):
    broker = cluster(once(fault))
    sender = publisher(broker, acks=acks)
    sender.send(0, 0, 40)
    assert sender.flush(10).acked == 40
    assert len(broker.requests) == 2
    assert broker.log.sequences[0] == list(range(40)) * times


@pytest.mark.parametrize("code", [TOPIC_REFUSED, INVALID_RECORD, 18])
@pytest.mark.parametrize("acks", ["1", "all"])
def test_a_refusal_of_the_first_try_is_a_proof(cluster, publisher, acks, code):
    broker = cluster(once(code))
    sender = publisher(broker, acks=acks)
    sender.send(0, 0, 40)
    count = sender.flush(10)
    assert (count.acked, count.failed) == (0, 40)
    sender.send(0, 40, 40)
    assert sender.flush(10).acked == 40
    assert outcome(sender) == (80, ((40, 80),), ((0, 40),))
    assert broker.log.sequences[0] == list(range(40, 80))


@pytest.mark.parametrize("before", ["append and hang up", "append and time out", "hang up", NOT_LEADER])
def test_a_refusal_of_a_later_try_proves_nothing(cluster, publisher, before):
    broker = cluster(once(before, then=INVALID_RECORD))
    sender = publisher(broker)
    sender.send(0, 0, 40)
    count = sender.flush(10)
    assert (count.acked, count.failed) == (0, 0)
    assert len(broker.requests) == 2
    assert outcome(sender) == (40, (), ())


@pytest.mark.parametrize("acks", ["1", "all"])
def test_an_error_that_says_nothing_leaves_records_unknown_and_the_rest_goes_on(cluster, publisher, acks):
    broker = cluster(once(-1))
    sender = publisher(broker, acks=acks, linger_ms=0)
    for first in range(0, 600, 40):
        sender.send(0, first, 40)
    count = sender.flush(10)
    lost = 600 - len(broker.log.sequences[0])
    assert lost > 0
    assert (count.acked, count.failed) == (600 - lost, 0)
    assert broker.log.sequences[0] == list(range(lost, 600))
    assert outcome(sender) == (600, ((lost, 600),), ())


@pytest.mark.parametrize("acks", ["1", "all"])
def test_a_batch_that_is_too_large_for_the_broker_is_halved(cluster, publisher, acks):
    broker = cluster(lambda broker, batches: TOO_LARGE if batches[0].last_offset_delta >= 10 else 0)
    sender = publisher(broker, acks=acks)
    sender.send(0, 0, 300)
    count = sender.flush(20)
    assert (count.acked, count.failed) == (300, 0)
    assert (count.error, count.refusals) == ("", ()), "nothing was refused for good"
    assert sorted(broker.log.sequences[0]) == list(range(300))
    assert max(broker.log.batches[0]) <= 10
    if acks == "all":
        assert broker.log.sequences[0] == list(range(300))


def test_a_record_that_is_too_large_for_the_broker_is_failed(cluster, publisher):
    broker = cluster(lambda broker, batches: TOO_LARGE)
    sender = publisher(broker)
    sender.send(0, 0, 5)
    count = sender.flush(10)
    assert (count.acked, count.failed) == (0, 5)
    assert "MESSAGE_TOO_LARGE" in count.error
    assert count.refusals == (Refusal("MESSAGE_TOO_LARGE", 5, TOO_LARGE),)


@pytest.mark.parametrize("acks", ["1", "all"])
def test_what_was_tried_again_until_its_time_was_up_says_what_the_broker_said(cluster, publisher, acks):
    broker = cluster(lambda broker, batches: NOT_ENOUGH)
    sender = publisher(broker, acks=acks)
    sender.send(0, 0, 5)
    count = sender.flush(0.5)
    assert (count.acked, count.failed) == (0, 0)
    assert count.refusals == (Refusal("NOT_ENOUGH_REPLICAS", 5, NOT_ENOUGH),)


def test_what_was_never_answered_says_so(cluster, publisher):
    sender = publisher(cluster(lambda broker, batches: "silent"))
    sender.send(0, 0, 5)
    assert sender.flush(0.3).refusals == (Refusal("no ack in time", 5),)


def test_batches_behind_one_that_is_sent_again_keep_their_order(cluster, publisher):
    broker = cluster(once(NOT_ENOUGH))
    sender = publisher(broker, acks="all", linger_ms=0)
    sender.send(0, 0, 1000)
    assert sender.flush(10).acked == 1000
    assert broker.log.sequences[0] == list(range(1000))
    assert outcome(sender) == (1000, ((0, 1000),), ())
    assert len(broker.requests) > len(broker.log.batches[0]) + 1  # those behind it were refused, too
    assert {batches[0].producer_epoch for _, batches in broker.requests} == {0}


def test_a_broker_that_lost_count_is_gone_on_with_under_another_epoch(cluster, publisher):
    broker = cluster()
    sender = publisher(broker, acks="all")
    sender.send(0, 0, 40)
    assert sender.flush(10).acked == 40
    broker.log.producers.clear()
    sender.send(0, 40, 40)
    assert sender.flush(10).acked == 80
    assert [batches[0].producer_epoch for _, batches in broker.requests] == [0, 0, 1]
    assert broker.log.sequences[0] == list(range(80))


def test_what_may_be_in_the_log_is_not_sent_under_another_epoch(cluster, publisher):
    """The broker appended, hung up, and then forgot the producer: a try under new numbers would be a duplicate."""

    def forgetful(broker, batches, tries=[]):  # noqa: B006 - one list for all calls
        tries.append(1)
        if len(tries) == 1:
            return "append and hang up"
        return OUT_OF_ORDER if batches[0].producer_epoch == 0 else 0

    broker = cluster(forgetful)
    sender = publisher(broker, acks="all")
    sender.send(0, 0, 40)
    count = sender.flush(10)
    assert (count.acked, count.failed) == (0, 0)
    sender.send(0, 40, 40)
    sender.flush(10)
    assert outcome(sender) == (80, ((40, 80),), ())
    assert broker.log.sequences[0] == list(range(80))


def test_a_leader_that_moved_is_looked_up(cluster, publisher):
    broker = cluster()
    other = cluster(log=broker.log)
    sender = publisher(broker, acks="all")
    asked = broker.metadata_asked
    broker.leaders = other.leaders = {0: other.endpoint}
    broker.script = lambda _broker, _batches: NOT_LEADER
    sender.send(0, 0, 40)
    assert sender.flush(10).acked == 40
    assert broker.metadata_asked + other.metadata_asked > asked
    assert len(other.requests) == 1
    assert broker.log.sequences[0] == list(range(40))


def test_several_partitions_on_several_leaders(cluster, publisher):
    broker = cluster(partitions=5)
    other = cluster(log=broker.log)
    broker.leaders = {part: (broker, other)[part % 2].endpoint for part in range(5)}
    sender = publisher(broker, acks="all")
    for first in range(0, 2000, 100):
        for partition in range(5):
            assert sender.send(partition, first, 100) == 100
    assert sender.flush(10).acked == 10_000
    assert all(broker.log.sequences[part] == list(range(2000)) for part in range(5))
    assert {part for _, batches in broker.requests for part in batches} == {0, 2, 4}
    assert {part for _, batches in other.requests for part in batches} == {1, 3}
    assert max(len(batches) for _, batches in broker.requests) == 3  # one batch each of several in one request


@pytest.mark.parametrize(("acks", "limit"), [("1", 32), ("all", 5)])
def test_so_many_requests_are_in_flight_and_no_more(cluster, publisher, until, acks, limit):
    broker = cluster()
    sender = publisher(broker, acks=acks)
    broker.log.lock.acquire()
    try:
        sender.send(0, 0, 63 * 40)
        for _ in range(40):
            sender.pause(0.005)
        assert len(sender._senders[broker.endpoint]._in_flight) == limit
        assert len(sender._queues[0].in_flight) == limit
    finally:
        broker.log.lock.release()
    assert sender.flush(10).acked == 63 * 40


def test_linger_holds_a_batch_back_until_it_is_over_or_the_batch_is_full(cluster, publisher, until):
    broker = cluster()
    sender = publisher(broker, linger_ms=300)
    begun = time.monotonic()
    sender.send(0, 0, 10)
    until(lambda: sender.poll().acked == 10, lambda: sender.pause(0.01))
    assert 0.29 < broker.requests[0][0] - begun < 5
    begun = time.monotonic()
    sender.send(0, 10, 70)  # 63 fill a batch of 1400 bytes, 7 linger
    until(lambda: sender.poll().acked == 80, lambda: sender.pause(0.01))
    assert broker.log.batches[0] == [10, 63, 7]
    assert broker.requests[1][0] < broker.requests[2][0] - 0.2
    assert broker.requests[2][0] - begun > 0.29


def test_pause_sends_what_falls_due_within_it(cluster, publisher):
    broker = cluster()
    sender = publisher(broker, linger_ms=20)
    sender.send(0, 0, 10)
    begun = time.monotonic()
    sender.pause(0.5)
    assert time.monotonic() - begun >= 0.5
    assert 0.015 < broker.requests[0][0] - begun < 0.45
    assert sender.poll().acked == 10


def test_each_record_has_the_time_at_which_it_was_handed_over(cluster, publisher):
    broker = cluster()
    sender = publisher(broker, linger_ms=200)
    moments = []
    for first in range(0, 30, 10):
        begun = time.time_ns() // 1_000_000
        sender.send(0, first, 10)
        moments.append((begun, time.time_ns() // 1_000_000))
        sender.pause(0.02)
    sender.flush(10)
    stamps = broker.log.timestamps[0]
    assert len(broker.log.batches[0]) == 1
    for at, stamp in enumerate(stamps):
        begun, ended = moments[at // 10]
        assert begun <= stamp <= ended
    assert len(set(stamps)) == 3


def test_acks_0_waits_until_the_broker_is_through(cluster, publisher):
    broker = cluster()
    sender = publisher(broker, acks="0")
    asked = broker.versions_asked
    sender.send(0, 0, 5_000)
    count = sender.flush(10)
    assert broker.log.sequences[0] == list(range(5_000))
    assert broker.versions_asked == asked + 1
    assert (count.acked, count.failed, count.error) == (0, 0, "")
    assert outcome(sender) == (5_000, (), ())
    assert broker.acks == {0}


def test_acks_0_is_not_sent_again(cluster, publisher):
    broker = cluster(once("hang up"))
    sender = publisher(broker, acks="0", linger_ms=0)
    sender.send(0, 0, 10)
    sender.flush(10)
    sender.send(0, 10, 10)
    sender.flush(10)
    assert broker.log.sequences[0] == list(range(10, 20))


def test_a_broker_that_stays_silent_leaves_records_unknown(cluster, publisher):
    broker = cluster(lambda broker, batches: "silent")
    sender = publisher(broker)
    sender.send(0, 0, 100)
    begun = time.monotonic()
    count = sender.flush(0.5)
    assert 0.4 < time.monotonic() - begun < 5
    assert (count.acked, count.failed) == (0, 0)
    assert "100 records had no ack after 0.5 s" in count.error
    assert outcome(sender) == (100, (), ())


def test_after_the_delivery_time_out_nothing_is_tried_again(cluster, publisher, until):
    broker = cluster(lambda broker, batches: NOT_ENOUGH)
    sender = publisher(broker, drain_timeout=0.5, acks="all")
    sender.send(0, 0, 40)
    until(lambda: not sender._waiting, lambda: sender.pause(0.02))
    tries = len(broker.requests)
    assert 2 <= tries <= 6
    broker.script = lambda _broker, _batches: 0
    sender.send(0, 40, 10)
    assert sender.flush(10).acked == 10
    assert len(broker.requests) == tries + 1
    assert outcome(sender) == (50, ((40, 50),), ())


def test_while_everybody_connects_a_short_delivery_timeout_gives_up_no_connection(cluster, publisher):
    broker = cluster()
    known = broker.apis

    def slowly():
        time.sleep(0.4)  # eight times the delivery timeout
        return known()

    broker.apis = slowly
    sender = publisher(broker, opened=False)
    sender.timeout_ms = 50
    sender.open(20)
    assert broker.versions_asked == 1, "the first connection was waited for"
    assert sender._connect_timeout_s == 0.05, "from then on records would be late"


def test_a_silent_broker_is_hung_up_on_after_the_request_time_out(cluster, publisher):
    broker = cluster(once("silent"))
    sender = publisher(broker, drain_timeout=60.0, acks="all")
    sender.timeout_ms = 300
    sender.send(0, 0, 40)
    count = sender.flush(10)
    assert count.acked == 40
    assert len(broker.requests) == 2
    assert "no reply for" in count.error
    assert broker.log.sequences[0] == list(range(40))


def test_a_broker_that_is_too_old_is_refused_with_a_hint(cluster, publisher):
    broker = cluster()
    broker.produce_versions = (0, 2)
    sender = publisher(broker, opened=False)
    begun = time.monotonic()
    with pytest.raises(BrokerError, match=r"takes Produce \(0, 2\).*--pub_driver=kafka-python"):
        sender.open(10)
    assert time.monotonic() - begun < 5


def test_an_older_layout_is_spoken_where_the_newer_one_is_unknown(cluster, publisher):
    broker = cluster()
    broker.produce_versions = (0, 6)
    sender = publisher(broker, acks="all")
    sender.send(0, 0, 40)
    assert sender.flush(10).acked == 40


def test_a_producer_id_is_asked_for_until_there_is_one(cluster, publisher):
    broker = cluster()
    broker.producer_errors = [15, 14]
    sender = publisher(broker, acks="all")
    sender.send(0, 0, 10)
    assert sender.flush(10).acked == 10
    assert broker.requests[0][1][0].producer_id == 77
    assert broker.producer_errors == []


def test_the_queue_is_bounded(sending):
    def bound(**settings):
        publisher = WirePublisher(sending("127.0.0.1:1", "t", driver="wire", **settings))
        publisher.close()
        return queue_records(publisher._order, publisher._writer)

    assert bound() == 100_000
    assert bound(msg_rate=1e6) == 2_000_000
    assert bound(msg_rate=1e6, batch_size=14) == 1 << 20


def test_values_are_padded_to_the_asked_size(cluster, publisher):
    sizes = set()

    def look(broker, batches):
        sizes.update(len(record.value) for record in batches[0])
        assert all(IDENTITY.unpack_from(record.value)[1] == 1 for record in batches[0])
        return 0

    sender = publisher(cluster(look), msg_size=500)
    sender.send(0, 0, 10)
    assert sender.flush(10).acked == 10
    assert sizes == {500}


FAULTS = [0] * 6 + [NOT_LEADER, NOT_ENOUGH, TOPIC_REFUSED, -1, TOO_LARGE, "hang up", "append and hang up"]
FAULTS += ["append and time out", "nonsense", "wrong number"]


@pytest.mark.parametrize("seed", range(examples(20)))
@pytest.mark.parametrize("acks", ["1", "all"])
def test_whatever_happens_the_ledger_says_what_is_in_the_log(cluster, publisher, monkeypatch, acks, seed):
    monkeypatch.setattr("hydra.clients.wire_publisher.BACK_OFF_FIRST_S", 0.002)
    monkeypatch.setattr("hydra.clients.wire_publisher.BACK_OFF_LAST_S", 0.01)
    monkeypatch.setattr("hydra.clients.wire_publisher.RECONNECT_FIRST_S", 0.001)
    monkeypatch.setattr("hydra.clients.wire_publisher.RECONNECT_LAST_S", 0.005)
    chance = random.Random(seed)
    calm = threading.Event()
    broker = cluster(lambda broker, batches: 0 if calm.is_set() else chance.choice(FAULTS), partitions=2)
    other = cluster(broker.script, log=broker.log)
    broker.leaders = other.leaders = {0: broker.endpoint, 1: other.endpoint}
    sender = publisher(broker, acks=acks, linger_ms=1)
    sent = [0, 0]
    while min(sent) < 3000:
        partition = chance.randrange(2)
        sent[partition] += sender.send(partition, sent[partition], chance.randrange(1, 200))
        sender.pause(0.001)
    calm.set()
    sender.flush(30)
    assert sender._waiting == 0
    assert len(broker.requests) + len(other.requests) > 60
    for partition, found in enumerate(sender.outcomes()):
        log = broker.log.sequences[partition]
        acked = {each for start, stop in found.acked for each in range(start, stop)}
        failed = {each for start, stop in found.failed for each in range(start, stop)}
        assert found.attempted == sent[partition]
        assert acked <= set(log)
        assert not failed & set(log)
        assert set(log) <= set(range(sent[partition]))
        assert len(acked) > 500
        if acks == "all":
            assert log == sorted(set(log))


@pytest.mark.parametrize("versions", [(3, 13), (3, 6)])
def test_it_has_a_name_to_the_broker_and_counts_for_how_long_a_quota_holds_it_back(cluster, publisher, versions):
    broker = cluster()
    broker.produce_versions = versions
    broker.throttle_ms = 300
    sender = publisher(broker, acks="all")
    sender.send(0, 0, 5)
    assert sender.flush(5).throttled_s == pytest.approx(0.3 * len(broker.requests))
    assert broker.requests
    assert set(broker.heard_from) == {"hydra-pub"}


@pytest.mark.parametrize("throttle_ms", [600_000, 0])
def test_a_broker_that_holds_the_publisher_back_is_not_silent(cluster, publisher, until, monkeypatch, throttle_ms):
    monkeypatch.setattr("hydra.clients.wire_publisher._REQUEST_TIMEOUT_S", 0.2)
    broker = cluster(lambda broker, batches: "silent" if len(broker.requests) > 1 else 0)
    broker.throttle_ms = throttle_ms
    sender = publisher(broker, acks="1", linger_ms=0)
    sender.send(0, 0, 5)
    until(lambda: sender.poll().acked == 5, lambda: sender.pause(0.01))
    sender.send(0, 5, 5)
    until(lambda: len(broker.requests) > 1, lambda: sender.pause(0.01))
    sender.pause(0.6)
    assert (len(broker.requests) == 2) == bool(throttle_ms)
    assert ("no reply for" in sender.poll().error) == (not throttle_ms)
