"""The wire driver against brokers that are scripted, on real sockets: what a real one does too rarely to wait for."""

from __future__ import annotations

import contextlib
import errno
import itertools
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.clients import wire_client, wire_connection, wire_subscriber
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.endpoints import Endpoint
from hydra.errors import CapacityError
from hydra.options.kafka_access import KafkaAccess
from hydra.records.send_plan import Partitioner, SendPlan
from tests.clients.scripted_broker import API_VERSIONS, FETCH, METADATA, silence
from tests.facts import duplicates, sequences


def open_descriptors():
    return list(Path("/proc/self/fd").iterdir())


@pytest.fixture
def subscriber(reading):
    made = []

    def make(broker, *, before=lambda driver: None, **settings):
        leaders = settings.pop("leaders", None) or dict.fromkeys(range(settings.get("partitions", 1)), broker.endpoint)
        made.append(WireSubscriber(reading(str(broker.endpoint), "topic", leaders=leaders, **settings)))
        before(made[-1])
        made[-1].open()
        return made[-1]

    yield make
    for each in made:
        each.close()
        each.close()


@pytest.fixture
def received(until):
    """Polls until the first client has so many records; then a little more, so that a double one would show."""

    def wait(driver, records, **settings):
        tally = driver.tallies[0]
        until(lambda: tally.received >= records, lambda: driver.poll(0.05), describe=tally.stats, **settings)
        for _ in range(5):
            driver.poll(0.01)
        assert tally.received == records
        return tally

    return wait


@pytest.mark.parametrize(("versions", "used"), [((4, 17), 11), ((0, 11), 11), ((0, 10), 4), ((2, 4), 4)])
def test_it_reads_with_the_best_version(scripted, subscriber, received, run_batch, versions, used):
    broker = scripted()
    broker.fetch_versions = versions
    broker.append(run_batch(range(10)))
    driver = subscriber(broker)
    tally = received(driver, 10)
    assert {version for _, _, version in broker.asked} == {used}
    assert (tally.positioned, tally.error, sequences(tally.partitions[0])) == (True, "", [(0, 10)])
    assert (tally.fetches > 0, tally.received_bytes) == (True, len(run_batch(range(10))))


@pytest.fixture
def replicas(scripted, run_batch):
    """(leader, follower, its node id) of partition 0: the leader sends clients to the follower, and serves none."""
    leader, follower = scripted(), scripted()
    leader.leaders, leader.brokers = {0: leader.endpoint}, [follower.endpoint]
    follower.append(run_batch(range(10)))
    node_id = int(str(follower.endpoint) > str(leader.endpoint))
    leader.closest = {0: node_id}
    return leader, follower, node_id


def test_it_reads_from_the_replica_that_the_leader_names(replicas, subscriber, received):
    leader, follower, node_id = replicas
    driver = subscriber(leader, client_rack="r2")
    tally = received(driver, 10)
    assert leader.rack == b"r2"
    assert (tally.followers, tally.positioned, tally.error) == ({node_id}, True, "")
    assert [each.leader for each in driver._clients[0].fetchers.values()] == [follower.endpoint]


def test_a_replica_that_no_broker_has_told_of_yet_is_no_fault_of_the_client(replicas, subscriber, received, until):
    leader, _, _ = replicas
    leader.closest = {0: 77}
    driver = subscriber(leader, client_rack="r2")
    tally = driver.tallies[0]
    until(lambda: "broker 77" in tally.error, lambda: driver.poll(0.05), describe=tally.stats)
    assert tally.own_errors.count == 0
    leader.closest = {}


def out_of_range(follower):
    follower.fetch = lambda asked, version: follower.response({0: (1, b"")}, version)


@pytest.mark.parametrize("fail", [out_of_range, lambda follower: follower.close()], ids=["out_of_range", "gone"])
def test_a_replica_that_fails_leads_back_to_the_leader_and_nothing_is_lost(
    replicas, subscriber, received, run_batch, fail
):
    leader, follower, _ = replicas
    driver = subscriber(leader, client_rack="r2")
    received(driver, 10)
    leader.append(run_batch(range(10)))
    leader.append(run_batch(range(10, 20)))
    leader.closest = {}
    fail(follower)
    tally = received(driver, 20)
    part = tally.partitions[0]
    assert (sequences(part), duplicates(part), part.jumps) == ([(0, 20)], 0, [])
    assert (tally.error, driver._clients[0].replicas) == ("", {})


def test_after_a_while_the_leader_is_asked_anew_which_replica_is_closest(
    replicas, subscriber, received, until, monkeypatch
):
    monkeypatch.setattr(wire_client, "REPLICA_LEASE_S", 0.0)
    leader, _, node_id = replicas
    driver = subscriber(leader, client_rack="r2")
    tally = received(driver, 10)
    tally.error = "what was, before the replica was known"
    asked = len(leader.asked)
    until(lambda: len(leader.asked) > asked + 1, lambda: driver.poll(0.05), describe=tally.stats)
    assert (tally.received, tally.followers, tally.error) == (10, {node_id}, "")


@pytest.mark.parametrize("versions", [(0, 3), (12, 17)])
def test_a_broker_without_a_known_fetch_version_is_named(scripted, subscriber, until, versions):
    broker = scripted()
    broker.fetch_versions = versions
    driver = subscriber(broker)
    tally = driver.tallies[0]
    until(lambda: tally.error, lambda: driver.poll(0.05))
    assert str(broker.endpoint) in tally.error
    assert f"Fetch {versions}" in tally.error
    assert not tally.positioned
    assert broker.asked == []


def test_a_new_leader_is_found(scripted, subscriber, received, run_batch):
    old, new = scripted(), scripted()
    for broker in (old, new):
        broker.append(run_batch(range(10)))
    new.append(run_batch(range(10, 30)))
    old.leaders = {0: new.endpoint}
    driver = subscriber(old)
    received(driver, 10)
    old.fetch = lambda asked, version: old.response({0: (6, b"")}, version)
    tally = received(driver, 30)
    assert old.metadata_asked > 0
    assert new.asked[0][1] == {0: 10}
    assert (sequences(tally.partitions[0]), tally.error, duplicates(tally.partitions[0])) == ([(0, 30)], "", 0)


@pytest.mark.parametrize("code", [3, 74, 6])
def test_an_error_is_shown_while_it_lasts(scripted, subscriber, until, received, run_batch, code):
    broker = scripted()
    broker.leaders = {0: broker.endpoint}
    broker.append(run_batch(range(4)))
    broker.fetch = lambda asked, version: broker.response({0: (code, b"")}, version)
    driver = subscriber(broker)
    tally = driver.tallies[0]
    until(lambda: tally.error, lambda: driver.poll(0.05))
    name = {3: "UNKNOWN_TOPIC_OR_PARTITION", 74: "FENCED_LEADER_EPOCH", 6: "NOT_LEADER_OR_FOLLOWER"}[code]
    assert name in tally.error
    assert not tally.positioned
    broker.fetch = broker.good_fetch
    received(driver, 4)
    until(lambda: not tally.error, lambda: driver.poll(0.05))
    assert tally.positioned


def test_each_client_has_a_connection_to_each_leader(scripted, subscriber, until, run_batch):
    first, second = scripted(), scripted()
    first.append(run_batch(range(3)), 0)
    second.append(run_batch(range(5)), 1)
    first.append(run_batch(range(7)), 2)
    leaders = {0: first.endpoint, 1: second.endpoint, 2: first.endpoint}
    driver = subscriber(first, clients=4, partitions=3, leaders=leaders)
    until(lambda: all(tally.received == 15 for tally in driver.tallies), lambda: driver.poll(0.05))
    assert (first.connections, second.connections) == (4, 4)
    assert first.metadata_asked == second.metadata_asked == 0
    assert {part: each.received for part, each in driver.tallies[3].partitions.items()} == {0: 3, 1: 5, 2: 7}


def test_two_leaders_become_one(scripted, subscriber, until, run_batch):
    first, second = scripted(), scripted()
    for broker in (first, second):
        broker.append(run_batch(range(5)), 0)
        broker.append(run_batch(range(5)), 1)
        broker.leaders = {0: first.endpoint, 1: first.endpoint}
    driver = subscriber(first, partitions=2, leaders={0: first.endpoint, 1: second.endpoint})
    tally = driver.tallies[0]
    until(lambda: tally.received == 10, lambda: driver.poll(0.05))
    second.fetch = lambda asked, version: second.response({1: (6, b"")}, version)
    first.append(run_batch(range(5, 9)), 1)
    until(lambda: tally.received == 14 and not tally.error, lambda: driver.poll(0.05), describe=tally.stats)
    until(lambda: first.asked[-1][1] == {0: 5, 1: 9}, lambda: driver.poll(0.05), describe=lambda: first.asked[-1])
    assert duplicates(tally.partitions[1]) == 0


def test_an_answer_that_ends_in_the_middle_is_asked_for_again(scripted, subscriber, received, run_batch):
    broker = scripted()
    broker.leaders = {0: broker.endpoint}
    broker.append(run_batch(range(50)))
    broker.append(run_batch(range(50, 100)))
    cuts = []

    def cut(connection, frame):
        cuts.append(len(frame) - 300)
        connection.sendall(frame[:-300])
        connection.shutdown(socket.SHUT_RDWR)

    def fetch(asked, version):
        good = broker.good_fetch(asked, version)
        return (cut, good) if len(cuts) < 2 else good

    broker.fetch = fetch
    driver = subscriber(broker)
    tally = received(driver, 100)
    assert len(cuts) == 2
    assert broker.connections >= 3
    assert (sequences(tally.partitions[0]), duplicates(tally.partitions[0]), tally.error) == ([(0, 100)], 0, "")


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_answers_that_come_in_drips(scripted, subscriber, received, run_batch, piece):
    broker = scripted()
    broker.append(run_batch(range(40)))
    broker.append(run_batch(range(40, 60)))
    drips = []

    def drip(connection, frame):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(frame), piece):
            connection.sendall(frame[at : at + piece])
            drips.append(at)

    broker.fetch = lambda asked, version: (drip, broker.good_fetch(asked, version))
    tally = received(subscriber(broker), 60)
    assert len(drips) > 1000 // piece
    assert sequences(tally.partitions[0]) == [(0, 60)]


def test_a_huge_answer_is_read_in_turns_with_the_others(scripted, subscriber, until, batch, record, value):
    broker = scripted()
    sequence = 0
    while sum(len(data) for _, _, data in broker.logs.get(0, [])) < 8_000_000:
        broker.append(batch([record(at, value(sequence + at, padding=10_000)) for at in range(50)]))
        sequence += 50
    driver = subscriber(broker, clients=3)
    until(lambda: all(tally.received == sequence for tally in driver.tallies), lambda: driver.poll(0.05))
    assert all(sequences(tally.partitions[0]) == [(0, sequence)] for tally in driver.tallies)
    assert len(driver._loop.buffer) == wire_connection.MAX_BUFFER_BYTES


def test_a_position_before_the_log_jumps_and_says_so(scripted, subscriber, received, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    broker.append(run_batch(range(10, 30)))
    broker.starts[0] = 10
    tally = received(subscriber(broker, starts={0: 3}), 20)
    part = tally.partitions[0]
    assert (sequences(part), part.next_offset) == ([(10, 30)], 30)
    assert "offset 3 of partition 0 is out of range: the log now starts at 10" in tally.error
    assert not tally.positioned  # it is not read from its start offset, and never will be


def test_a_position_behind_the_log_goes_to_its_end(scripted, subscriber, until, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    broker.fetch = lambda asked, version: (
        broker.response({0: (1, b"")}, version) if asked[0] > 10 else broker.good_fetch(asked, version)
    )
    driver = subscriber(broker, starts={0: 25})
    part = driver.tallies[0].partitions[0]
    until(lambda: part.next_offset == 10, lambda: driver.poll(0.05))
    broker.append(run_batch(range(10, 12)))
    until(lambda: part.received == 2, lambda: driver.poll(0.05))
    assert "was truncated and ends at 10" in driver.tallies[0].error


def test_a_wrong_crc_stands_in_the_tally(scripted, subscriber, received, run_batch):
    broker = scripted()
    broker.append(run_batch(range(5)))
    broker.append(run_batch(range(5, 10), spoil=True))
    broker.append(run_batch(range(10, 15)))
    tally = received(subscriber(broker), 10)
    assert (tally.corrupt, sequences(tally.partitions[0])) == (1, [(0, 5), (10, 15)])
    assert "CRC-32C" in tally.error


def test_old_message_sets_stand_in_the_tally(scripted, subscriber, until, run_batch):
    broker = scripted()
    broker.append(run_batch(range(5), magic=1))
    driver = subscriber(broker)
    tally = driver.tallies[0]
    until(lambda: "message sets (magic 1)" in tally.error, lambda: driver.poll(0.05))
    assert (tally.received, tally.partitions[0].next_offset) == (0, 0)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not Kafka's protocol"),
        (struct.pack(">ii", 6, 4711) + b"xx", "unexpected correlation id"),
        (struct.pack(">ii", 0, 0), "is not Kafka's protocol"),
        (b"", "closed the connection"),
    ],
)
def test_something_else_than_kafka(subscriber, until, reply, words):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        where = type("Peer", (), {"endpoint": Endpoint("127.0.0.1", listener.getsockname()[1])})
        driver = subscriber(where)
        until(lambda: driver.tallies[0].error, lambda: driver.poll(0.05))
        assert words in driver.tallies[0].error
        assert str(where.endpoint) in driver.tallies[0].error
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.mark.parametrize("size", [0, 5, 11, 40])
def test_a_reply_that_is_too_short_is_an_error_not_a_crash(scripted, subscriber, until, size):
    broker = scripted()
    broker.leaders = {0: broker.endpoint}
    broker.fetch = lambda asked, version: broker.response({0: (0, b"x" * 50)}, version)[:size]
    driver = subscriber(broker)
    until(lambda: "malformed reply" in driver.tallies[0].error, lambda: driver.poll(0.05))
    assert not driver.tallies[0].positioned


def test_nobody_listens_then_somebody_does(scripted, subscriber, until, received, run_batch):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    driver = subscriber(type("Nobody", (), {"endpoint": Endpoint("127.0.0.1", port)}))
    tally = driver.tallies[0]
    until(lambda: tally.error, lambda: driver.poll(0.05))
    assert f"127.0.0.1:{port}: Connection refused" in tally.error
    broker = scripted(port=port)
    broker.append(run_batch(range(6)))
    received(driver, 6)
    assert (tally.error, tally.positioned) == ("", True)


def test_attempts_get_rarer(subscriber, reconnects, until, monkeypatch):
    monkeypatch.setattr(wire_client, "BACK_OFF_FIRST_S", 0.01)
    monkeypatch.setattr(wire_client, "BACK_OFF_LAST_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    driver = subscriber(type("Nobody", (), {"endpoint": Endpoint("127.0.0.1", port)}))
    until(lambda: len(reconnects) >= 6, lambda: driver.poll(0.05))
    gaps = [later - earlier for earlier, later in itertools.pairwise(reconnects)]
    assert all(gap >= least for gap, least in zip(gaps, (0.02, 0.04, 0.05, 0.05, 0.05), strict=False))


def test_a_silent_broker_is_named_and_left(scripted, subscriber, until, received, monkeypatch, run_batch):
    monkeypatch.setattr(wire_subscriber, "_SILENCE_CHECK_S", 0.02)
    monkeypatch.setattr(wire_subscriber, "_SILENCE_S", 0.2)
    monkeypatch.setattr(wire_subscriber, "_REQUEST_TIMEOUT_S", 1.0)
    broker = scripted()
    broker.leaders = {0: broker.endpoint}
    broker.append(run_batch(range(3)))
    hold = threading.Event()

    def fetch(asked, version):
        hold.wait(10)
        return broker.good_fetch(asked, version)

    broker.fetch = fetch
    driver = subscriber(broker, fetch_wait_max_ms=10)
    tally = driver.tallies[0]
    until(lambda: "no reply for" in tally.error, lambda: driver.poll(0.05))
    assert broker.connections == 1
    until(lambda: broker.connections >= 2, lambda: driver.poll(0.05))
    hold.set()
    received(driver, 3)
    assert tally.error == ""


def test_a_broker_that_turns_a_client_away_is_told_from_one_that_is_gone(
    scripted, subscriber, until, received, run_batch
):
    broker = scripted()
    broker.leaders = {0: broker.endpoint}
    broker.append(run_batch(range(3)))
    broker.turns_away = True
    driver = subscriber(broker)
    tally = driver.tallies[0]
    until(lambda: tally.turned_away >= 3, lambda: driver.poll(0.05))
    assert "the broker closed the connection before it had answered anything" in tally.error
    broker.turns_away = False
    received(driver, 3)
    turned_away = tally.turned_away
    broker.close()
    until(lambda: tally.error, lambda: driver.poll(0.05))
    until(lambda: "refused" in tally.error, lambda: driver.poll(0.05))
    assert tally.turned_away == turned_away  # it had been answered, and then there was nobody
    assert tally.stats().turned_away == turned_away
    assert tally.own_errors.count == 0


def test_a_connection_that_a_broker_leaves_in_its_queue_is_told(scripted, subscriber, until, monkeypatch):
    monkeypatch.setattr(wire_subscriber, "_SILENCE_CHECK_S", 0.02)
    monkeypatch.setattr(wire_subscriber, "_SILENCE_S", 0.2)
    broker, hold = scripted(), threading.Event()
    answer = broker.apis

    def apis():
        hold.wait(10)
        return answer()

    broker.apis = apis
    driver = subscriber(broker, fetch_wait_max_ms=10)
    tally = driver.tallies[0]
    until(lambda: "not let in: no reply for" in tally.error, lambda: driver.poll(0.05))
    assert broker.connections == 1
    hold.set()
    until(lambda: not tally.error, lambda: driver.poll(0.05))


def test_what_another_broker_answers_does_not_hide_that_one_lets_nobody_in(
    scripted, subscriber, until, monkeypatch, run_batch
):
    monkeypatch.setattr(wire_subscriber, "_SILENCE_CHECK_S", 0.02)
    monkeypatch.setattr(wire_subscriber, "_SILENCE_S", 0.2)
    reads, lets_nobody_in, hold = scripted(), scripted(), threading.Event()
    reads.append(run_batch(range(3)))
    answer = lets_nobody_in.apis

    def apis():
        hold.wait(10)
        return answer()

    lets_nobody_in.apis = apis
    leaders = {0: reads.endpoint, 1: lets_nobody_in.endpoint}
    driver = subscriber(reads, leaders=leaders, partitions=2, fetch_wait_max_ms=10)
    tally = driver.tallies[0]
    # The run goes on: before its start those that are in would hold still.
    tally.time_by(DeliveryTiming(SendPlan(1000, 12), Partitioner(2, 100), time.monotonic(), time.time()))
    until(lambda: "not let in: no reply for" in tally.error, lambda: driver.poll(0.05))
    monkeypatch.setattr(wire_subscriber, "_SILENCE_S", 1000.0)  # it is not told once more
    fetches = tally.fetches
    until(lambda: tally.fetches >= fetches + 5, lambda: driver.poll(0.05))
    assert "not let in: no reply for" in tally.error
    hold.set()
    until(lambda: not tally.error, lambda: driver.poll(0.05))


def test_a_secured_connection_keeps_its_place_in_a_brokers_queue(reading, until, monkeypatch):
    """The broker's machine has taken it; anew it would be the last that the broker comes to."""
    monkeypatch.setattr(wire_subscriber, "_SILENCE_CHECK_S", 0.02)
    monkeypatch.setattr(wire_subscriber, "_SILENCE_S", 0.5)
    monkeypatch.setattr(wire_subscriber, "_CONNECT_TIMEOUT_S", 0.1)
    access = KafkaAccess("SASL_PLAINTEXT", "PLAIN", "user", "pencil")
    with socket.create_server(("127.0.0.1", 0)) as queue:
        endpoint = Endpoint("127.0.0.1", queue.getsockname()[1])
        with contextlib.closing(WireSubscriber(reading(str(endpoint), "topic"), access)) as driver:
            driver.open()
            until(lambda: "not let in: no reply for" in driver.tallies[0].error, lambda: driver.poll(0.05))
            first, _ = queue.accept()
            with first:
                queue.setblocking(False)
                with pytest.raises(BlockingIOError):
                    queue.accept()
                assert first.recv(1000), "it is still there, and says who it is"


def test_the_pace_is_kept(scripted, subscriber, run_batch, until):
    broker = scripted()
    broker.append(run_batch(range(5)))
    driver = subscriber(broker, clients=3, pace_ms=100.0)
    until(lambda: all(tally.positioned for tally in driver.tallies), lambda: driver.poll(0.05))
    begun, before = time.monotonic(), [tally.fetches for tally in driver.tallies]
    until(lambda: driver.tallies[0].fetches >= before[0] + 6, lambda: driver.poll(0.05))
    rounds = (time.monotonic() - begun) / 0.1
    for tally, count in zip(driver.tallies, before, strict=True):
        assert 3 <= tally.fetches - count <= rounds + 1


def test_a_client_without_a_pace_fetches_as_soon_as_it_was_answered(scripted, subscriber, run_batch, until):
    broker = scripted()
    broker.append(run_batch(range(5)))
    driver = subscriber(broker, clients=3, pace_ms=60_000.0, unpaced=(1,), fetch_wait_max_ms=10)
    until(lambda: all(tally.positioned for tally in driver.tallies), lambda: driver.poll(0.05))
    before = [tally.fetches for tally in driver.tallies]
    until(lambda: driver.tallies[1].fetches >= before[1] + 20, lambda: driver.poll(0.05))
    assert [tally.fetches - count <= 1 for tally, count in zip(driver.tallies, before, strict=True)] == [
        True,
        False,
        True,
    ]


def test_the_first_fetch_does_not_wait(scripted, subscriber, until):
    broker = scripted()
    waits = []
    answer = broker._answer

    def spy(key, version, body):
        if key == FETCH:
            waits.append(struct.unpack_from(">i", body, 4)[0])
        return answer(key, version, body)

    broker._answer = spy
    driver = subscriber(broker, fetch_wait_max_ms=777)
    until(lambda: len(waits) > 3, lambda: driver.poll(0.05))
    assert waits[0] == 0
    assert set(waits[1:]) == {777}


def test_a_client_without_partitions_is_positioned_and_idle(scripted, subscriber):
    driver = subscriber(scripted(), partitions=0, leaders={})
    driver.poll(0.01)
    assert driver.tallies[0].positioned
    assert driver.tallies[0].error == ""


def test_ipv6_literals(scripted, subscriber, received, run_batch):
    try:
        broker = scripted(host="::1")
    except OSError:
        pytest.skip("there is no IPv6 loopback here")
    broker.append(run_batch(range(3)))
    assert received(subscriber(broker), 3).positioned


def test_no_descriptor_left_is_said_with_the_number(scripted, reading):
    broker = scripted()
    driver = WireSubscriber(reading(str(broker.endpoint), "topic", clients=400))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(each.name) for each in open_descriptors())
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, hard))
    try:
        with pytest.raises(CapacityError, match=r"after \d+ of 400 clients.*ulimit"):
            driver.open()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        driver.close()


def test_a_client_without_descriptors_reads_all_its_partitions_once_there_are_some(
    scripted, reading, run_batch, until, monkeypatch
):
    first, second = scripted(), scripted()
    first.append(run_batch(range(3)), 0)
    second.append(run_batch(range(5)), 1)
    leaders = {0: first.endpoint, 1: second.endpoint}
    driver = WireSubscriber(reading(str(first.endpoint), "topic", partitions=2, leaders=leaders))
    with monkeypatch.context() as none_left:
        none_left.setattr(wire_connection.socket, "socket", no_descriptor)
        with pytest.raises(CapacityError):
            driver.open()
        assert "no file descriptor" in driver.tallies[0].error
    try:
        until(lambda: driver.tallies[0].received == 8, lambda: driver.poll(0.05), describe=driver.tallies[0].stats)
        assert driver.tallies[0].error == ""
    finally:
        driver.close()


def no_descriptor(*_arguments):
    raise OSError(errno.EMFILE, "Too many open files")


def test_closing_leaves_no_descriptor(scripted, reading, until):
    before = len(open_descriptors())
    broker = scripted()
    driver = WireSubscriber(reading(str(broker.endpoint), "topic", clients=20))
    driver.open()
    until(lambda: all(tally.positioned for tally in driver.tallies), lambda: driver.poll(0.05))
    driver.close()
    driver.poll(0.1)
    broker.close()
    assert len(open_descriptors()) == before


_TASK = """
import sys
from hydra.options.order import *
from hydra.clients.protocols import subscriber_driver
port = int(sys.argv[1])
where = Endpoint("127.0.0.1", port)
driver = subscriber_driver(RunOrder("run-1", Options(fetch_wait_max_ms=100), str(where),
    (ClientAssignment("c0", "g0", (PartitionStart(0, 0),)),), (PartitionLeader(0, 1, where),)))
driver.open()
for _ in range(200):
    driver.poll(0.05)
    if driver.tallies[0].received == 7:
        break
driver.close()
print(driver.tallies[0].received, *sorted({"kafka", "confluent_kafka", "cramjam"} & set(sys.modules)))
"""


def test_a_task_without_errors_imports_no_client_library(scripted, run_batch):
    broker = scripted()
    broker.append(run_batch(range(7)))
    command = [sys.executable, "-c", _TASK, str(broker.endpoint.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout.split(), done.stderr) == (["7"], "")


def test_each_client_has_its_own_name_to_the_broker_and_counts_for_how_long_a_quota_holds_it_back(
    scripted, subscriber, run_batch, until
):
    broker, gone = scripted(), Endpoint("127.0.0.1", 1)
    broker.leaders = {0: broker.endpoint}
    broker.throttle_ms = 250
    broker.append(run_batch(range(10)))
    driver = subscriber(broker, clients=2, leaders={0: gone})
    until(lambda: all(tally.received == 10 for tally in driver.tallies), lambda: driver.poll(0.05))
    assert broker.heard_from == {"hydra-leaders": {METADATA}, "c0": {API_VERSIONS, FETCH}, "c1": {API_VERSIONS, FETCH}}
    for tally in driver.tallies:
        assert tally.stats().throttled_s == tally.fetches * 0.25


@pytest.mark.parametrize("versions", [(0, 11), (0, 10)])
def test_no_quota_no_time(scripted, subscriber, received, run_batch, versions):
    broker = scripted()
    broker.fetch_versions = versions
    broker.append(run_batch(range(10)))
    assert received(subscriber(broker), 10).stats().throttled_s == 0


def test_partitions_take_turns_where_a_reply_has_no_room_for_all(scripted, subscriber, run_batch, until):
    broker = scripted()
    for partition in range(3):
        for number in range(40):
            broker.append(run_batch(range(10 * number, 10 * number + 10)), partition)

    def room_for_one(asked, version):
        """As a broker under fetch.max.bytes: the partitions in the order of the request, until it is used up."""
        found = {}
        room = 1
        for partition, offset in asked.items():
            rows = [data for base, count, data in broker.logs[partition] if base + count > offset][:room]
            found[partition] = (0, b"".join(rows))
            room -= len(rows)
        return broker.response(found, version)

    broker.fetch = room_for_one
    driver = subscriber(broker, partitions=3)
    (tally,) = driver.tallies

    def spread():
        read = [part.next_offset for part in tally.partitions.values()]
        return max(read) - min(read)

    widest = 0
    while tally.received < 3 * 400:
        driver.poll(0.05)
        widest = max(widest, spread())
    assert widest == 10
    assert all(sequences(part) == [(0, 400)] for part in tally.partitions.values())
    assert tally.error == ""


@pytest.mark.parametrize("versions", [(0, 11), (0, 10), (0, 4)])
def test_the_order_of_turns_changes_nothing_but_the_order(scripted, subscriber, run_batch, until, versions):
    """Partitions that get records at different times: whichever was served last, each goes on where it was."""
    broker = scripted()
    broker.fetch_versions = versions
    driver = subscriber(broker, partitions=4)
    (tally,) = driver.tallies
    for number, partition in enumerate([2, 0, 3, 3, 1, 0, 2, 1]):
        before = tally.received
        start = tally.partitions[partition].next_offset
        broker.append(run_batch(range(start, start + 5)), partition)
        until(lambda: tally.received == before + 5, lambda: driver.poll(0.05), describe=tally.stats)  # noqa: B023
        assert tally.received == 5 * (number + 1)
    assert [part.next_offset for part in tally.partitions.values()] == [10, 10, 10, 10]
    assert all(sequences(part) == [(0, 10)] for part in tally.partitions.values())


@pytest.mark.parametrize("throttle_ms", [600_000, 0])
def test_a_broker_that_holds_a_client_back_is_not_silent(
    scripted, subscriber, received, run_batch, monkeypatch, throttle_ms
):
    """It says for how long it will not read the next request; without that, silence is what it looks like."""
    monkeypatch.setattr(wire_subscriber, "_SILENCE_CHECK_S", 0.02)
    monkeypatch.setattr(wire_subscriber, "_SILENCE_S", 0.1)
    monkeypatch.setattr(wire_subscriber, "_REQUEST_TIMEOUT_S", 0.2)
    broker = scripted()
    broker.throttle_ms = throttle_ms
    broker.append(run_batch(range(10)))

    def once(asked, version):
        broker.fetch = lambda _asked, _version: (silence, b"")
        return broker.good_fetch(asked, version)

    broker.fetch = once
    driver = subscriber(broker, fetch_wait_max_ms=0)
    tally = received(driver, 10)
    looked = time.monotonic()
    while time.monotonic() < looked + 0.6:
        driver.poll(0.02)
    assert bool(tally.error) == (not throttle_ms)
    assert (broker.connections == 1) == bool(throttle_ms)
