"""Memberships of the wire driver against a coordinator that is scripted: what a real one says too rarely."""

from __future__ import annotations

import struct
import threading
import time

import pytest

from hydra.accounting.intervals import received
from hydra.clients import wire_classic_member, wire_group
from hydra.clients import wire_group_protocol as protocol
from hydra.clients.wire_protocol import MALFORMED, Reader
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.endpoints import Endpoint
from hydra.options.order import ClientAssignment
from tests.clients.scripted_broker import ScriptedBroker, silence, text
from tests.facts import sequences

FIND, JOIN, SYNC, HEARTBEAT, COMMIT, COMMITTED, LEAVE = 10, 11, 14, 12, 8, 9, 13
NAMES = {10: "find", 11: "join", 14: "sync", 12: "heartbeat", 8: "commit", 9: "committed", 13: "leave"}


class ScriptedCoordinator(ScriptedBroker):
    """A broker that looks after one group of one member; ``errors`` are what it says first, by request."""

    def __init__(self, **settings):
        self.errors = {}
        self.heard = []
        self.members_seen = []
        self.committed = {}
        self.generation = 0
        self.coordinator = None
        self.mute = set()
        self.lock = threading.Lock()
        super().__init__(**settings)

    def _answer(self, key, version, body):
        if key not in NAMES:
            return super()._answer(key, version, body)
        with self.lock:
            self.heard.append(NAMES[key])
            if key in self.mute:
                return silence, b""
            codes = self.errors.get(key, [])
            return getattr(self, f"_{NAMES[key]}")(codes.pop(0) if codes else 0, body)

    def _find(self, code, _body):
        where = self.coordinator or self.endpoint
        return struct.pack(">hi", code, 1) + text("" if code else where.host) + struct.pack(">i", where.port)

    def _join(self, code, body):
        reader = Reader(body, 0)
        reader.string()
        reader.skip(8)
        self.members_seen.append(reader.string())
        if code:
            return struct.pack(">ihi", 0, code, -1) + text("") * 3 + struct.pack(">i", 0)
        self.generation += 1
        me = self.members_seen[-1] or f"m{self.generation}"
        metadata = struct.pack(">hi", 0, 0) + struct.pack(">i", -1)
        head = struct.pack(">ihi", 0, 0, self.generation) + text("range") + text(me) * 2
        return head + struct.pack(">i", 1) + text(me) + struct.pack(">i", len(metadata)) + metadata

    def _sync(self, code, body):
        reader = Reader(body, 0)
        reader.string()
        reader.int32()
        reader.string()
        assert reader.int32() == 1  # it leads, and deals out to itself
        reader.string()
        size = reader.int32()
        assignment = body[-size:]
        return struct.pack(">h", code) + (struct.pack(">i", 0) if code else struct.pack(">i", size) + assignment)

    def _heartbeat(self, code, _body):
        return struct.pack(">h", code)

    def _leave(self, code, _body):
        return struct.pack(">h", code)

    def _commit(self, code, body):
        reader = Reader(body, 0)
        reader.string()
        reader.int32()
        reader.string()
        reader.skip(12)
        topic = reader.string()
        found = []
        for _ in range(reader.int32()):
            partition, offset = reader.int32(), reader.int64()
            reader.string()
            found.append(partition)
            if not code:
                self.committed[partition] = offset
        parts = b"".join(struct.pack(">ih", partition, code) for partition in found)
        return struct.pack(">i", 1) + text(topic) + struct.pack(">i", len(found)) + parts

    def _committed(self, code, body):
        reader = Reader(body, 0)
        reader.string()
        reader.int32()
        topic = reader.string()
        asked = [reader.int32() for _ in range(reader.int32())]
        parts = b"".join(
            struct.pack(">iq", partition, self.committed.get(partition, -1)) + text("") + struct.pack(">h", code)
            for partition in asked
        )
        return struct.pack(">i", 1) + text(topic) + struct.pack(">i", len(asked)) + parts


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(wire_classic_member, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(wire_group, "HEARTBEAT_BEFORE_START_S", 0.05)
    monkeypatch.setattr(wire_group, "COMMIT_S", 0.2)


@pytest.fixture
def scripted():
    made = []

    def make():
        made.append(ScriptedCoordinator())
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def member(reading):
    """A task of one client that is alone in its group."""
    made = []

    def make(broker, *, shared=False):
        asked = reading(str(broker.endpoint), "topic", leaders={0: broker.endpoint}, group_mode="group")
        (client,) = asked.clients
        lone = ClientAssignment("c0", "the-group", () if shared else client.starts)
        made.append(WireSubscriber(type(asked)(**{**vars(asked), "clients": (lone,)})))
        made[-1].open()
        return made[-1]

    yield make
    for each in made:
        each.close()
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


def count(broker, what):
    return broker.heard.count(what)


@pytest.mark.parametrize("shared", [False, True])
def test_it_joins_reads_heartbeats_commits_and_leaves(scripted, member, reads, until, run_batch, shared):
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker, shared=shared)
    assert not driver.tallies[0].positioned
    tally = reads(driver, 10)
    until(lambda: count(broker, "heartbeat") >= 3 and broker.committed == {0: 10}, lambda: driver.poll(0.02))
    assert broker.heard[:4] == ["find", "join", "sync", "committed"]
    assert (tally.held, tally.positioned, tally.error) == ({0}, True, "")
    assert tally.reached({0: 10})
    broker.append(run_batch(range(10, 15)))
    reads(driver, 15)
    driver.close()
    assert (broker.heard[-1], broker.committed) == ("leave", {0: 15})


def test_a_member_begins_where_its_group_is(scripted, member, reads, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    broker.append(run_batch(range(10, 30)))
    broker.committed = {0: 10}
    tally = reads(member(broker, shared=True), 20)
    assert (tally.partitions[0].start_offset, sequences(tally.partitions[0])) == (10, [(10, 30)])


@pytest.mark.parametrize("key", [JOIN, SYNC, COMMITTED])
@pytest.mark.parametrize("code", [14, 15, 16, 22, 25, 27, 30])
def test_errors_on_the_way_in_are_overcome(scripted, member, reads, run_batch, key, code):
    broker = scripted()
    broker.append(run_batch(range(10)))
    broker.errors = {key: [code, code]}
    tally = reads(member(broker), 10)
    assert broker.errors == {key: []}
    assert sequences(tally.partitions[0]) == [(0, 10)]
    assert count(broker, "find") == (3 if code in {15, 16} else 1)


def test_a_coordinator_that_is_not_there_yet_is_asked_for_again(scripted, member, reads, run_batch, until):
    broker = scripted()
    broker.append(run_batch(range(10)))
    broker.errors = {FIND: [15, 15, 14]}
    driver = member(broker)
    until(lambda: "COORDINATOR_NOT_AVAILABLE" in driver.tallies[0].error, lambda: driver.poll(0.01))
    assert reads(driver, 10).error == ""
    assert count(broker, "find") == 4


@pytest.mark.parametrize("key", [HEARTBEAT, COMMIT])
@pytest.mark.parametrize("code", [14, 16])
def test_a_coordinator_that_moved_costs_no_position_and_no_rebalance(
    scripted, member, reads, until, run_batch, key, code
):
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker)
    reads(driver, 10)
    broker.errors = {key: [code]}
    until(lambda: broker.errors == {key: []}, lambda: driver.poll(0.01))
    before = count(broker, "heartbeat")
    until(lambda: count(broker, "heartbeat") > before + 2 and broker.committed == {0: 10}, lambda: driver.poll(0.01))
    broker.append(run_batch(range(10, 20)))
    tally = reads(driver, 20)
    assert (count(broker, "join"), broker.generation, tally.error) == (1, 1, "")
    assert count(broker, "find") == (2 if code == 16 else 1)


def test_a_rebalance_commits_joins_again_and_reads_on(scripted, member, reads, until, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker)
    reads(driver, 10)
    broker.errors = {HEARTBEAT: [27]}
    until(lambda: broker.generation == 2 and driver.tallies[0].positioned, lambda: driver.poll(0.01))
    join = len(broker.heard) - 1 - broker.heard[::-1].index("join")
    assert "commit" in broker.heard[:join]
    assert broker.committed == {0: 10}
    assert broker.members_seen == ["", "m1"]
    broker.append(run_batch(range(10, 20)))
    tally = reads(driver, 20)
    assert tally.partitions[0].stats().spans == ((0, 0, 20),)


@pytest.mark.parametrize(("code", "member_id"), [(25, ""), (22, "m1")])
@pytest.mark.parametrize("key", [HEARTBEAT, COMMIT])
def test_a_member_that_was_thrown_out_joins_again_and_reads_nothing_twice(
    scripted, member, reads, until, run_batch, monkeypatch, key, code, member_id
):
    broker = scripted()
    broker.append(run_batch(range(10)))
    if key == HEARTBEAT:
        monkeypatch.setattr(wire_group, "COMMIT_S", 60)
    broker.errors = {key: [code]}
    driver = member(broker)
    reads(driver, 10)
    until(lambda: broker.generation == 2 and driver.tallies[0].positioned, lambda: driver.poll(0.01))
    assert broker.members_seen == ["", member_id]
    broker.append(run_batch(range(10, 20)))
    tally = reads(driver, 20)
    part = tally.partitions[0].stats()
    assert (part.spans, received(part.spans).duplicates, part.handed_over) == (((0, 0, 20),), 0, ())


def test_a_group_that_is_further_is_followed(scripted, member, reads, until, run_batch, monkeypatch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker)
    reads(driver, 10)
    until(lambda: broker.committed == {0: 10}, lambda: driver.poll(0.01))
    monkeypatch.setattr(wire_group, "COMMIT_S", 60)
    broker.fetch = lambda asked, version: broker.response(dict.fromkeys(asked, (0, b"")), version)
    broker.append(run_batch(range(10, 15)))
    broker.append(run_batch(range(15, 20)))
    with broker.lock:
        broker.errors = {HEARTBEAT: [25]}
        broker.committed = {0: 15}  # by another member, of which this one knows nothing
    until(lambda: broker.generation == 2 and driver.tallies[0].positioned, lambda: driver.poll(0.01))
    broker.fetch = broker.good_fetch
    part = driver.tallies[0].partitions[0]
    until(lambda: part.next_offset == 20, lambda: driver.poll(0.01))
    assert (part.handed_over, sequences(part)) == ([(10, 15)], [(0, 10), (15, 20)])


def test_a_coordinator_that_dies_is_replaced_while_the_client_reads_on(scripted, member, reads, until, run_batch):
    broker, first, second = scripted(), scripted(), scripted()
    broker.coordinator = first.endpoint
    broker.append(run_batch(range(10)))
    driver = member(broker)
    tally = reads(driver, 10)
    until(lambda: count(first, "heartbeat"), lambda: driver.poll(0.01))
    first.close()
    until(lambda: str(first.endpoint) in tally.error or count(broker, "find") > 1, lambda: driver.poll(0.01))
    broker.append(run_batch(range(10, 20)))
    reads(driver, 20)
    assert tally.positioned
    broker.coordinator = second.endpoint
    until(lambda: count(second, "heartbeat") and second.committed == {0: 20}, lambda: driver.poll(0.01))
    assert (count(first, "join"), count(second, "join"), tally.rebalances) == (1, 0, 0)
    until(lambda: tally.error == "", lambda: driver.poll(0.01))


def test_a_coordinator_that_stays_silent_is_left(scripted, member, reads, until, run_batch, monkeypatch):
    monkeypatch.setattr(wire_group, "REPLY_TIMEOUT_S", 0.3)
    broker, silent = scripted(), scripted()
    broker.coordinator = silent.endpoint
    silent.mute = {HEARTBEAT}
    broker.append(run_batch(range(10)))
    driver = member(broker)
    tally = reads(driver, 10)
    until(lambda: "no reply" in tally.error, lambda: driver.poll(0.01))
    broker.coordinator = broker.endpoint
    until(lambda: count(broker, "heartbeat") > 1 and not tally.error, lambda: driver.poll(0.01))


def test_a_member_keeps_its_place_in_a_brokers_queue_until_the_start(scripted, member, until, monkeypatch):
    monkeypatch.setattr(wire_group, "REPLY_TIMEOUT_S", 0.2)
    broker, hold = scripted(), threading.Event()
    find = broker._find
    monkeypatch.setattr(broker, "_find", lambda *asked: hold.wait(10) and find(*asked))
    driver = member(broker)
    (tally,) = driver.tallies
    until(lambda: "not let in: no reply for" in tally.error, lambda: driver.poll(0.01))
    connections = broker.connections
    until(lambda: "no reply for 1 s" in tally.error, lambda: driver.poll(0.01))
    assert broker.connections == connections
    hold.set()
    until(lambda: count(broker, "heartbeat") and not tally.error, lambda: driver.poll(0.01))


def test_closing_waits_for_no_silent_coordinator(scripted, member, reads, run_batch, monkeypatch):
    monkeypatch.setattr(wire_group, "LEAVE_TIMEOUT_S", 0.3)
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker)
    reads(driver, 10)
    broker.mute = {LEAVE}
    begun_s = time.monotonic()
    driver.close()
    assert 0.25 < time.monotonic() - begun_s < 3
    assert broker.heard[-1] == "leave"


def test_a_refused_connection_is_an_error_not_an_end(reading, until):
    nobody = Endpoint("127.0.0.1", 1)
    asked = reading(str(nobody), "topic", leaders={0: nobody}, group_mode="group")
    driver = WireSubscriber(asked)
    driver.open()
    until(lambda: "127.0.0.1:1" in driver.tallies[0].error, lambda: driver.poll(0.01))
    driver.close()


def test_partitions_are_assigned_in_ranges():
    assert protocol.range_assign(["b", "a", "c"], range(7)) == {"a": (0, 1, 2), "b": (3, 4), "c": (5, 6)}
    assert protocol.range_assign(["b", "a"], range(1)) == {"a": (0,), "b": ()}


def test_what_is_assigned_is_read_back():
    request = bytes(protocol.sync_request(protocol.MemberName("c", "g", 3, "m"), "topic", {"m": (4, 5), "n": ()}))
    assert request.count(b"topic") == 1
    at = request.index(b"\x00\x01m\x00\x00", request.index(b"\x00\x01m") + 3) + 3
    content = b"\x00\x00" + request[at : at + 4 + struct.unpack_from(">i", request, at)[0]]
    assert protocol.read_synced(content, 0, "topic") == (0, (4, 5))
    assert protocol.read_synced(content, 0, "other") == (0, ())
    with pytest.raises(MALFORMED):
        protocol.read_synced(content[:-12], 0, "topic")


def test_all_requests_of_a_member_have_its_name(scripted, member, reads, until, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    driver = member(broker)
    reads(driver, 10)
    until(lambda: count(broker, "heartbeat") and count(broker, "commit"), lambda: driver.poll(0.02))
    driver.close()
    assert set(broker.heard_from) == {"c0"}
    assert broker.heard_from["c0"] > set(NAMES)
