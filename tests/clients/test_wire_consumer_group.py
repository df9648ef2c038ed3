"""Members of the wire driver by the consumer protocol (KIP-848), against a coordinator that is scripted."""

from __future__ import annotations

import struct
import threading
import time

import pytest

from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.accounting.intervals import received
from hydra.clients import wire_group
from hydra.clients.wire_flexible import FlexibleReader, unsigned_varint
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.kafka_errors import error_hint, final_error_in
from hydra.options.order import ClientAssignment
from hydra.records.send_plan import Partitioner, SendPlan
from tests.clients.scripted_broker import FETCH, ScriptedBroker, text
from tests.facts import sequences

FIND, COMMIT, COMMITTED, HEARTBEAT = 10, 8, 9, 68
NAMES = {FIND: "find", COMMIT: "commit", COMMITTED: "committed", HEARTBEAT: "heartbeat"}
TOPIC_ID = bytes(range(16))


def compact(words):
    return unsigned_varint(len(words) + 1) + words.encode()


class Coordinator(ScriptedBroker):
    """A broker that looks after one group of one member, as CurrentAssignmentBuilder does; assigns ``target``."""

    def __init__(self, **settings):
        self.errors = {}
        """What it says first, by request."""
        self.heard = []
        """(what, epoch, the partitions that the member says it has) of each request; None where it says nothing."""
        self.members = set()
        self.committed = {}
        self.target = {0}
        self.epoch = 0
        self.target_epoch = 1
        self.told = None
        self.owned = set()
        self.message = ""
        self.knows = ((HEARTBEAT, 0, 1), (COMMIT, 2, 10), (COMMITTED, 1, 10))
        self.lock = threading.Lock()
        super().__init__(**settings)
        self.coordinator = self.endpoint

    def reassign(self, *partitions):
        with self.lock:
            self.target = set(partitions)
            self.target_epoch += 1

    def fence(self):
        """It has lost the member."""
        with self.lock:
            self.epoch, self.told = 0, None
            self.target_epoch += 1
            self.errors[HEARTBEAT] = [110]

    def apis(self):
        return [(FETCH, *self.fetch_versions), *self.knows]

    def _answer(self, key, version, body):
        if key not in NAMES:
            return super()._answer(key, version, body)
        with self.lock:
            codes = self.errors.get(key, [])
            code = codes.pop(0) if codes else 0
            if key == FIND:
                self.heard.append(("find", None, None))
                where = self.coordinator
                return struct.pack(">hi", code, 1) + text("" if code else where.host) + struct.pack(">i", where.port)
            reader = FlexibleReader(body, 0)
            return b"\0" + struct.pack(">i", 0) + getattr(self, f"_{NAMES[key]}")(code, reader, version)

    def _heartbeat(self, code, reader, version):
        reader.string()
        self.members.add(reader.string())
        epoch = reader.int32()
        reader.string()
        reader.string()
        timeout_ms = reader.int32()
        topics = [reader.string() for _ in range(max(0, reader.count()))]
        if version:
            reader.string()
        reader.string()
        count = reader.count()
        owned = None if count < 0 else set()
        for _ in range(count):
            assert reader.uuid() == TOPIC_ID
            owned |= {reader.int32() for _ in range(reader.count())}
            reader.tags()
        everything = timeout_ms > 0 and topics == ["topic"] and owned is not None
        self.heard.append(("leave" if epoch < 0 else "heartbeat", epoch, owned))
        if not code and epoch == 0:
            assert everything
            assert not owned
            self.epoch, self.told = self.target_epoch, None
        elif not code and epoch > 0 and epoch != self.epoch:
            code = 110
        if code or epoch < 0:
            return (
                struct.pack(">h", code)
                + compact(self.message)
                + compact("m")
                + struct.pack(">ii", epoch, 0)
                + b"\xff\0"
            )
        self.owned = self.owned if owned is None else owned
        if self.owned - self.target:
            now = (self.told or set()) & self.target
        else:
            self.epoch, now = self.target_epoch, set(self.target)
        told, self.told = self.told, now
        fixed = struct.pack(">h", 0) + b"\0" + compact("m") + struct.pack(">ii", self.epoch, 50)
        if now == told and not everything:
            return fixed + b"\xff\0"
        numbers = unsigned_varint(len(now) + 1) + b"".join(struct.pack(">i", each) for each in sorted(now))
        return fixed + b"\1" + (b"\2" + TOPIC_ID + numbers + b"\0" if now else b"\1") + b"\0\0"

    def _commit(self, code, reader, _version):
        reader.string()
        epoch = reader.int32()
        reader.string()
        reader.string()
        assert reader.count() == 1
        topic, out = reader.string(), b""
        count = reader.count()
        for _ in range(count):
            partition, offset = reader.int32(), reader.int64()
            reader.int32()
            reader.string()
            reader.tags()
            out += struct.pack(">ih", partition, code) + b"\0"
            if not code:
                self.committed[partition] = offset
        self.heard.append(("commit", epoch, None))
        return b"\2" + compact(topic) + unsigned_varint(count + 1) + out + b"\0\0"

    def _committed(self, code, reader, _version):
        assert reader.count() == 1
        group, _ = reader.string(), reader.string()
        epoch = reader.int32()
        assert reader.count() == 1
        topic, out = reader.string(), b""
        count = reader.count()
        for _ in range(count):
            partition = reader.int32()
            out += struct.pack(">iqi", partition, self.committed.get(partition, -1), -1) + compact("") + b"\0\0\0"
        self.heard.append(("committed", epoch, None))
        topics = b"\2" + compact(topic) + unsigned_varint(count + 1) + out + b"\0"
        return b"\2" + compact(group) + topics + struct.pack(">h", code) + b"\0\0"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(wire_group, "HEARTBEAT_BEFORE_START_S", 0.05)
    monkeypatch.setattr(wire_group, "COMMIT_S", 0.2)
    monkeypatch.setattr(wire_group, "_BACK_OFF_FIRST_S", 0.01)


@pytest.fixture
def scripted():
    made = []

    def make():
        made.append(Coordinator())
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def member(reading):
    """A task of one client that is alone in its group."""
    made = []

    def make(broker, *, shared=True, partitions=1, started=False):
        leaders = dict.fromkeys(range(partitions), broker.endpoint)
        asked = reading(
            str(broker.endpoint), "topic", partitions=partitions, leaders=leaders,
            group_mode="group", group_protocol="consumer",
        )  # fmt: skip
        (client,) = asked.clients
        lone = ClientAssignment("c0", "the-group", () if shared else client.starts)
        made.append(WireSubscriber(type(asked)(**{**vars(asked), "clients": (lone,)})))
        if started:
            timing = DeliveryTiming(SendPlan(1000, 12), Partitioner(partitions, 100), time.monotonic(), time.time())
            made[-1].tallies[0].time_by(timing)
        made[-1].open()
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def reads(until):
    """Polls until the client has so many records."""

    def wait(driver, records):
        tally = driver.tallies[0]
        until(
            lambda: tally.received >= records, lambda: driver.poll(0.02), describe=lambda: (tally.stats(), tally.held)
        )
        assert tally.received == records
        return tally

    return wait


def said(broker):
    return [what for what, *_ in broker.heard]


@pytest.mark.parametrize("shared", [False, True])
def test_it_joins_acknowledges_reads_heartbeats_commits_and_leaves(scripted, member, reads, until, run_batch, shared):
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker, shared=shared)
    assert not driver.tallies[0].positioned
    tally = reads(driver, 10)
    until(lambda: said(broker).count("heartbeat") >= 4 and broker.committed == {0: 10}, lambda: driver.poll(0.02))
    assert broker.heard[:4] == [
        ("find", None, None), ("heartbeat", 0, set()), ("committed", 1, None), ("heartbeat", 1, {0}),
    ]  # fmt: skip
    assert (tally.held, tally.positioned, tally.error) == ({0}, True, "")
    broker.append(run_batch(range(10, 15)))
    reads(driver, 15)
    driver.close()
    assert (broker.heard[-1], broker.committed) == (("leave", -1, None), {0: 15})
    assert len(broker.members) == 1
    assert set(broker.heard_from) == {"c0"}


def test_alone_in_its_group_a_member_without_partitions_is_not_ready_and_one_of_many_is(scripted, member, until):
    for shared in (False, True):
        broker = scripted()
        broker.target = set()
        driver = member(broker, shared=shared)
        until(lambda broker=broker: said(broker).count("heartbeat") >= 3, lambda driver=driver: driver.poll(0.02))
        assert (driver.tallies[0].positioned, driver.tallies[0].held) == (shared, frozenset())
        driver.close()


def test_what_is_taken_away_counts_no_more_and_what_is_kept_is_not_disturbed(scripted, member, reads, until, run_batch):
    """A fetch of both partitions is under way when one is revoked; its reply has records of both."""
    broker = scripted()
    broker.target = {0, 1}
    for partition in (0, 1):
        broker.append(run_batch(range(10)), partition)
    driver = member(broker, partitions=2, started=True)
    tally = reads(driver, 20)
    holds_back, under_way = threading.Event(), threading.Event()

    def hold_back(asked, version):
        under_way.set()
        assert holds_back.wait(20)
        broker.fetch = broker.good_fetch
        return broker.good_fetch(asked, version)

    broker.fetch = hold_back
    until(under_way.is_set, lambda: driver.poll(0.02))
    connections = broker.connections
    broker.reassign(0)
    until(lambda: broker.heard[-1][:2] == ("heartbeat", 2), lambda: driver.poll(0.02))
    assert (tally.held, tally.rebalances, tally.positioned) == ({0}, 1, True)
    gone = max(at for at, heard in enumerate(broker.heard) if heard == ("heartbeat", 1, {0}))
    assert broker.heard[gone - 1] == ("commit", 1, None)
    assert broker.committed == {0: 10, 1: 10}
    for partition in (0, 1):
        broker.append(run_batch(range(10, 15)), partition)
    holds_back.set()
    until(lambda: tally.partitions[0].next_offset == 15, lambda: driver.poll(0.02))
    assert (tally.partitions[1].next_offset, sequences(tally.partitions[1])) == (10, [(0, 10)])
    broker.reassign(0, 1)
    until(lambda: tally.partitions[1].next_offset == 15, lambda: driver.poll(0.02))
    assert [sequences(tally.partitions[number]) for number in (0, 1)] == [[(0, 15)]] * 2
    assert all(received(part.stats().spans).duplicates == 0 for part in tally.partitions.values())
    assert (broker.connections, tally.rebalances, len(broker.members)) == (connections, 1, 1)


def test_a_partition_that_another_one_has_read_on_is_taken_over_where_it_is(scripted, member, reads, until, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker, started=True)
    tally = reads(driver, 10)
    broker.reassign()
    until(lambda: broker.heard[-1][:2] == ("heartbeat", 2), lambda: driver.poll(0.02))
    assert (tally.held, broker.committed) == (frozenset(), {0: 10})
    broker.append(run_batch(range(10, 15)))
    broker.append(run_batch(range(15, 20)))
    broker.committed = {0: 15}
    broker.reassign(0)
    until(lambda: tally.partitions[0].next_offset == 20, lambda: driver.poll(0.02))
    part = tally.partitions[0]
    assert (part.handed_over, sequences(part), tally.rebalances) == ([(10, 15)], [(0, 10), (15, 20)], 1)


@pytest.mark.parametrize("key", [HEARTBEAT, COMMITTED])
@pytest.mark.parametrize("code", [-1, 14, 15, 16, 25, 69, 110, 111, 112, 113])
def test_errors_on_the_way_in_are_overcome(scripted, member, reads, run_batch, key, code):
    broker = scripted()
    broker.append(run_batch(range(10)))
    broker.errors = {key: [code, code]}
    tally = reads(member(broker), 10)
    assert broker.errors == {key: []}
    assert sequences(tally.partitions[0]) == [(0, 10)]
    assert said(broker).count("find") == (3 if code in {15, 16} else 1)


@pytest.mark.parametrize("key", [HEARTBEAT, COMMIT])
@pytest.mark.parametrize("code", [14, 16, 113])
def test_a_coordinator_that_moved_costs_no_position_and_no_rebalance(
    scripted, member, reads, until, run_batch, key, code
):
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker, started=True)
    reads(driver, 10)
    with broker.lock:
        before = len(broker.heard)
        broker.errors = {key: [code]}
    broker.append(run_batch(range(10, 20)))
    until(lambda: broker.errors == {key: []}, lambda: driver.poll(0.01))
    tally = reads(driver, 20)
    until(lambda: broker.committed == {0: 20} and not tally.error, lambda: driver.poll(0.01))
    assert ("heartbeat", 1, {0}) in broker.heard[before:]  # everything once more
    assert (said(broker).count("find"), tally.rebalances) == (2 if code == 16 else 1, 0)


def test_a_member_that_was_fenced_joins_again_and_reads_nothing_twice(scripted, member, reads, until, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker, started=True)
    reads(driver, 10)
    broker.fence()
    until(lambda: ("heartbeat", 2, {0}) in broker.heard, lambda: driver.poll(0.01))
    broker.append(run_batch(range(10, 20)))
    tally = reads(driver, 20)
    part = tally.partitions[0].stats()
    assert (part.spans, part.handed_over, tally.rebalances) == (((0, 0, 20),), (), 1)
    assert (len(broker.members), broker.heard.count(("heartbeat", 0, set()))) == (1, 2)


def test_a_coordinator_that_dies_is_replaced_while_the_client_reads_on(scripted, member, reads, until, run_batch):
    broker, first, second = scripted(), scripted(), scripted()
    broker.coordinator = first.endpoint
    broker.append(run_batch(range(10)))
    driver = member(broker, started=True)
    tally = reads(driver, 10)
    until(lambda: ("heartbeat", 1, {0}) in first.heard, lambda: driver.poll(0.01))
    second.epoch, second.told = 1, {0}
    first.close()
    until(lambda: said(broker).count("find") > 1, lambda: driver.poll(0.01))
    broker.append(run_batch(range(10, 20)))
    reads(driver, 20)
    broker.coordinator = second.endpoint
    until(lambda: second.committed == {0: 20} and not tally.error, lambda: driver.poll(0.01))
    assert second.heard[0] == ("heartbeat", 1, {0})
    assert (tally.rebalances, tally.positioned, first.members) == (0, True, second.members)


def test_a_broker_that_does_not_know_the_protocol_is_named_with_the_way_out(scripted, member, until):
    broker = scripted()
    broker.knows = ()
    driver = member(broker)
    until(lambda: "KIP-848" in driver.tallies[0].error, lambda: driver.poll(0.01))
    error = driver.tallies[0].error
    assert f"{broker.endpoint}: UNSUPPORTED_VERSION: the broker does not take ConsumerGroupHeartbeat" in error
    assert "group.version=1" in error_hint(final_error_in(error), "READ")
    assert "heartbeat" not in said(broker)


def test_a_broker_that_has_it_turned_off_is_quoted(scripted, member, until):
    broker = scripted()
    broker.errors = {HEARTBEAT: [35] * 100}
    broker.message = "The consumer group protocol is off."
    driver = member(broker)
    until(lambda: driver.tallies[0].error, lambda: driver.poll(0.01))
    assert driver.tallies[0].error == (
        f"group the-group: {broker.endpoint}: UNSUPPORTED_VERSION (The consumer group protocol is off)"
    )
