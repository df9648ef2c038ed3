"""What one client has proven serves the others of its task, and nothing that is counted depends on it."""

from __future__ import annotations

import contextlib
import random
import struct

import cramjam
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.accounting.tally import ClientTally
from hydra.clients.proven_log import RECENT_CUTS, STRETCH_BYTES, STRETCHES, TASK_BYTES, ProvenLog
from hydra.clients.record_batch import CRC_END, HEADER_BYTES, BatchCounter
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.errors import BrokerError
from hydra.records.identity import IDENTITY, identity_prefix, run_tag
from hydra.records.send_plan import Partitioner, SendPlan
from tests.clients.conftest import RUN_ID, make_record
from tests.examples import examples
from tests.facts import sequences

TAG = run_tag(RUN_ID)
PREFIX = identity_prefix(RUN_ID)
RATE = 3000.0
NOW_S = 5.0


def identity(sequence, incarnation=1):
    return IDENTITY.pack(TAG, incarnation, sequence)


def a_batch(values, base, *, first_ms=0, deltas=(), attributes=0, last_delta=None):
    """A batch of these values, each at its own time."""
    deltas = [*deltas] or [0] * len(values)
    rows = b"".join(make_record(at, value, deltas[at]) for at, value in enumerate(values))
    if attributes & 7:
        rows = bytes(cramjam.gzip.compress(rows))
    last = len(values) - 1 if last_delta is None else last_delta
    body = struct.pack(">hiqqqhii", attributes, last, first_ms, first_ms + max(deltas), -1, -1, -1, len(values)) + rows
    return struct.pack(">qiibI", base, len(body) + 9, 0, 2, crc32c(body)) + body


def run_of(first, records, base=None, **settings):
    """A batch of consecutive sequences, sent as planned."""
    base = first if base is None else base
    steady = {"first_ms": round(first * 1000 / RATE), "deltas": [round(at * 1000 / RATE) for at in range(records)]}
    return a_batch([identity(first + at) for at in range(records)], base, **{**steady, **settings})


def random_batch(chance, base, sequence, records, now_ms):
    """One batch of a log, mostly as the publisher would write it; (bytes, sequences used)."""
    numbers = list(range(sequence, sequence + records))
    steady = [round(at * 1000 / RATE) for at in range(records)]
    kind = chance.choice(["plain"] * 14 + ["gzip", "control", "foreign", "gap", "spoilt", "slow", "stalled", "long"])
    attributes = {"gzip": 1, "control": 0x20}.get(kind, 0)
    values = [identity(number, incarnation=2 if kind == "foreign" else 1) for number in numbers]
    if kind == "gap":
        values = [identity(number + (number > sequence)) for number in numbers]
    if kind == "long":
        values = [value + bytes(5) for value in values]
    if kind == "slow":
        steady = [7 * at for at in range(records)]
    if kind == "stalled":
        steady = [0] * (records - 1) + [chance.choice([40, 400])]
    data = a_batch(values, base, first_ms=now_ms, deltas=steady, attributes=attributes)
    if kind == "spoilt":
        data = flip(chance, data)
    return data, records + (kind == "gap") + (chance.random() < 0.05)


class Log:
    """A partition's log."""

    def __init__(self, chance, batches):
        self.batches = []
        self.end = sequence = 0
        for _ in range(batches):
            records = chance.randint(1, 12)
            now_ms = round(sequence * 1000 / RATE) + (chance.random() < 0.1) * 200
            data, used = random_batch(chance, self.end, sequence, records, now_ms)
            self.batches.append((self.end, self.end + records, data))
            self.end += records
            sequence += used

    def from_offset(self, offset):
        """The batches from the one that holds the offset on."""
        return [data for _, end, data in self.batches if end > offset]


def flip(chance, data):
    spoilt = bytearray(data)
    spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
    return bytes(spoilt)


def replace(_chance, batch):
    """Other sequences at the same offsets, and everything right about the batch itself."""
    base, count = struct.unpack_from(">q", batch)[0], struct.unpack_from(">i", batch, 57)[0]
    return run_of(70_000 + base, max(1, min(count, 100)), base)


def compress(_chance, batch):
    body = bytes(cramjam.gzip.compress(batch[HEADER_BYTES:]))
    fields = struct.pack(">h", 1) + batch[23:HEADER_BYTES] + body
    return batch[:8] + struct.pack(">iibI", len(fields) + 9, 0, 2, crc32c(fields)) + fields


def anomaly(chance, fetch):
    """What one client alone receives in place of these batches."""
    fetch = [*fetch]
    at = chance.randrange(len(fetch))
    kind = chance.choice(["flip", "repeat", "replace", "lose", "swap", "compress", "magic", "shorter"])
    if kind in {"flip", "replace", "compress"}:
        fetch[at] = {"flip": flip, "replace": replace, "compress": compress}[kind](chance, fetch[at])
    elif kind == "repeat":
        fetch.insert(chance.randint(0, len(fetch)), fetch[at])
    elif kind == "lose":
        del fetch[at]
    elif kind == "swap":
        chance.shuffle(fetch)
    elif kind == "magic":
        fetch[at] = fetch[at][:16] + b"\x01" + fetch[at][17:]
    else:
        fetch[at] = fetch[at][: chance.randrange(len(fetch[at]))]
    return fetch


class Task:
    """The clients of a task, their counter, and what all of them are timed by."""

    def __init__(self, log, clients, partitions):
        self.counter = BatchCounter(PREFIX, log)
        self.timing = None
        self.clients = [ClientTally(f"c{number}", PREFIX, [(p, 0) for p in range(partitions)]) for number in clients]

    def start(self):
        self.timing = DeliveryTiming(SendPlan(RATE, 10), Partitioner(1, 10), 0.0, 0.0)
        for client in self.clients:
            client.time_by(self.timing)

    def read(self, number, partition, data, now_s):
        """What the counter says about these bytes, or how it fails."""
        client = self.clients[number]
        buffer = b"before" + data + b"\xaa" * 70  # a receive buffer has something else on both sides
        try:
            return self.counter.count(bytearray(buffer), 6, 6 + len(data), client.partitions[partition], client, now_s)
        except BrokerError as error:
            return f"raised {error}"
        finally:
            client.arrived(now_s, len(data))

    def facts(self):
        """All that is reported of the clients."""
        timing = self.timing
        if timing is not None:
            timing.take_sample()
        return [client.stats() for client in self.clients], timing and (timing.e2e(), timing.service())


@given(
    seed=st.integers(0, 2**32),
    partitions=st.sampled_from([1, 2]),
    clients=st.integers(1, 5),
    room=st.sampled_from([1, 1, 300, 1000, 3000]),
    trouble=st.sampled_from([0, 0.02, 0.2]),
)
@settings(max_examples=examples(600, at_least=120), deadline=None)
def test_nothing_that_is_counted_depends_on_what_others_have_proven(seed, partitions, clients, room, trouble):
    chance = random.Random(seed)
    logs = [Log(chance, chance.randint(1, 40)) for _ in range(partitions)]
    # So many partitions leave a stretch no more than some hundred bytes: what was proven is forgotten again.
    tasks = [Task(ProvenLog(room), range(clients), partitions), Task(None, range(clients), partitions)]
    start_at, sizes = chance.randint(0, 20), chance.choice([(1, 3000), (600, 600), (10**6, 10**6)])
    for turn in range(60):
        if turn == start_at:
            for task in tasks:
                task.start()
        number, partition = chance.randrange(clients), chance.randrange(partitions)
        position = tasks[0].clients[number].partitions[partition].next_offset
        fetch = logs[partition].from_offset(position)
        if fetch and chance.random() < trouble:
            fetch = anomaly(chance, fetch[: chance.randint(1, 6)])
        data = b"".join(fetch)[: chance.randint(*sizes)]
        answers = [task.read(number, partition, data, NOW_S + turn / 100) for task in tasks]
        assert answers[0] == answers[1]
        positions = [task.clients[number].partitions[partition].next_offset for task in tasks]
        assert positions[0] == positions[1]
        if chance.random() < 0.1:
            back = chance.randint(0, positions[0])
            for task in tasks:
                task.clients[number].partitions[partition].jump(back)
    assert tasks[0].facts() == tasks[1].facts()


class SpiedCounter(BatchCounter):
    """Counts the batches that it had to prove."""

    proofs = 0

    def _prove(self, *arguments):
        self.proofs += 1
        return super()._prove(*arguments)


class Pair:
    """A counter with a log, and clients that read through it; the first batch has taught it the shape."""

    def __init__(self, clients=3, partitions=1):
        self.log = ProvenLog(partitions)
        self.counter = SpiedCounter(PREFIX, self.log)
        self.clients = [ClientTally(f"c{number}", PREFIX, [(0, 0)]) for number in range(clients)]
        teacher = ClientTally("teacher", PREFIX, [(1, 0)])
        self.counter.count(run_of(0, 1), 0, len(run_of(0, 1)), teacher.partitions[1], teacher)
        self.counter.proofs = 0

    def read(self, number, *batches):
        """Have a client read; returns how many batches were proven for that, and what was wrong."""
        before, data, client = self.counter.proofs, bytearray(b"".join(batches)), self.clients[number]
        error = self.counter.count(data, 0, len(data), client.partitions[0], client)
        return self.counter.proofs - before, error

    def received(self, number):
        return sequences(self.clients[number].partitions[0])


BATCHES = [run_of(10 * number, 10) for number in range(12)]


def test_equal_bytes_are_proven_once():
    pair = Pair()
    assert [pair.read(number, *BATCHES) for number in range(3)] == [(12, ""), (0, ""), (0, "")]
    assert [pair.received(number) for number in range(3)] == 3 * [[(0, 120)]]
    assert len({client.partitions[0].stats() for client in pair.clients}) == 1


def test_beginnings_ends_and_continuations_are_known_too():
    pair = Pair(clients=4)
    pair.read(0, *BATCHES[:6])
    assert pair.read(1, *BATCHES[:4]) == (0, "")
    assert pair.read(1, *BATCHES[4:8]) == (2, "")
    assert pair.read(0, *BATCHES[6:]) == (4, "")
    assert pair.read(2, *BATCHES[:3], BATCHES[3][:-1]) == (0, "")
    assert pair.clients[2].partitions[0].next_offset == 30
    assert pair.read(2, *BATCHES[3:]) == (0, "")
    assert pair.read(3, *BATCHES) == (0, "")
    assert pair.read(1, *BATCHES[8:]) == (0, "")
    assert [pair.received(number) for number in range(4)] == 4 * [[(0, 120)]]


def test_known_batches_behind_others_of_one_fetch_are_timed_one_by_one():
    """Each of them continues the one before evenly enough, and the last one not the fetch's first batch."""
    late = [run_of(10 * number, 10, first_ms=first_ms) for number, first_ms in enumerate((0, 6, 11))]
    task, alone = Task(ProvenLog(1), range(3), 1), Task(None, range(3), 1)
    task.counter = SpiedCounter(PREFIX, ProvenLog(1))
    found = []
    for each in (task, alone):
        each.start()
        each.read(2, 0, late[0], 0.02)  # teaches it the shape
        each.read(0, 0, b"".join(late[1:]), 0.02)
        task.counter.proofs = 0
        each.read(1, 0, b"".join(late), 0.02)
        found.append(each.facts())
        assert each is not task or task.counter.proofs == 1  # the last two are known
    assert found[0] == found[1]
    assert [client.partitions[0].received for client in found[0][0]] == [20, 30, 10]


def test_a_gap_in_the_sequences_makes_another_stretch():
    pair = Pair()
    log = [*BATCHES[:3], run_of(95, 10, 30), run_of(105, 10, 40)]
    assert [pair.read(number, *log) for number in range(2)] == [(5, ""), (0, "")]
    assert pair.received(1) == [(0, 30), (95, 115)]
    offsets = [(offset, sequence, records) for offset, sequence, records in pair.clients[1].partitions[0].stats().spans]
    assert offsets == [(0, 0, 30), (30, 95, 20)]


@pytest.mark.parametrize("bit", [*range(0, 8 * len(BATCHES[1]), 37), 8 * len(BATCHES[1]) - 1])
def test_one_client_whose_bytes_differ_in_one_bit_is_found_out(bit):
    spoilt = bytearray(BATCHES[1])
    spoilt[bit // 8] ^= 1 << bit % 8
    data = bytes(spoilt)
    pair, alone = Pair(), Task(None, range(1), 1)
    pair.read(0, *BATCHES)
    alone.read(0, 0, BATCHES[0], 0.0)
    try:
        _, error = pair.read(1, BATCHES[0], data, *BATCHES[2:])
    except BrokerError as failure:
        error = f"raised {failure}"
    assert error == alone.read(0, 0, b"".join((data, *BATCHES[2:])), 0.0)
    assert pair.clients[1].corrupt == alone.clients[0].corrupt
    assert pair.clients[1].partitions[0].stats() == alone.clients[0].partitions[0].stats()
    head_without_crc = bit // 8 < 17
    assert error or head_without_crc
    assert pair.read(2, *BATCHES) == (0, "")
    assert pair.received(2) == [(0, 120)]


@pytest.mark.parametrize("bit", range(0, 8 * len(BATCHES[1]), 67))
def test_what_served_one_client_is_no_proof_of_the_next_one_s_bytes(bit):
    """Clients that fetch in rounds are served by what the one before found; each is compared all the same."""
    spoilt = bytearray(BATCHES[1])
    spoilt[bit // 8] ^= 1 << bit % 8
    pair = Pair(clients=4)
    pair.read(0, *BATCHES[:3])
    assert pair.read(1, *BATCHES[:3]) == (0, "")
    with contextlib.suppress(BrokerError):  # a magic number that there is none of, or a length below zero
        pair.read(2, BATCHES[0], bytes(spoilt), BATCHES[2])
    assert pair.received(2) != [(0, 30)] or bit // 8 < CRC_END  # a leader epoch has no meaning for what is counted
    assert pair.read(3, *BATCHES[:3]) == (0, "")
    assert pair.received(3) == [(0, 30)]


def test_what_served_a_client_is_looked_up_anew_once_more_is_known():
    """The end of an answer was no whole batch that is known; then it is."""
    pair = Pair(clients=4)
    pair.read(0, *BATCHES[:3])
    assert pair.read(1, *BATCHES[:4]) == (1, "")
    assert pair.read(2, *BATCHES[:4]) == (0, "")
    assert pair.read(3, *BATCHES[:3], BATCHES[3][:-1]) == (0, "")
    assert [pair.received(number) for number in range(4)] == [[(0, 30)], [(0, 40)], [(0, 40)], [(0, 30)]]


def test_what_served_clients_is_bounded():
    pair = Pair(clients=2)
    for number in range(2 * RECENT_CUTS):
        pair.read(0, run_of(10 * number, 10))
    for number in range(2 * RECENT_CUTS):
        assert pair.read(1, run_of(10 * number, 10)) == (0, "")
        assert len(pair.log.of(0)._recent) <= RECENT_CUTS
    pair.log.clear()
    assert not pair.log.of(0)._recent


def test_other_batches_at_the_same_offsets_are_found_whoever_comes_first():
    other = replace(None, BATCHES[2])
    for first, second in ((BATCHES, [*BATCHES[:2], other, *BATCHES[3:]]), ([*BATCHES[:2], other], BATCHES)):
        pair = Pair()
        pair.read(0, *first)
        pair.read(1, *second)
        odd = 0 if other in first else 1
        assert (70_020, 70_030) in pair.received(odd)
        assert (20, 30) not in pair.received(odd)
        assert pair.received(1 - odd) == [(0, 120)]


def test_a_batch_that_comes_again_is_counted_no_second_time():
    pair = Pair()
    pair.read(0, *BATCHES)
    pair.read(1, *BATCHES[:3], BATCHES[1], *BATCHES[3:])
    assert pair.clients[1].partitions[0].stats().spans == ((0, 0, 120),)
    pair.clients[1].partitions[0].next_offset = 40
    pair.read(1, *BATCHES[4:6])
    assert pair.clients[1].partitions[0].received == 140


def test_a_batch_that_is_missing_is_a_gap():
    pair = Pair()
    pair.read(0, *BATCHES)
    pair.read(1, *BATCHES[:3], *BATCHES[4:])
    assert pair.received(1) == [(0, 30), (40, 120)]


def test_records_before_the_position_are_not_counted():
    pair = Pair()
    pair.read(0, *BATCHES)
    pair.clients[1].partitions[0].next_offset = 5
    pair.read(1, *BATCHES)
    assert pair.received(1) == [(5, 120)]


def test_records_of_another_size_make_all_be_proven_anew():
    pair = Pair()
    pair.read(0, *BATCHES[:6])
    longer = a_batch([identity(60 + at) + bytes(3) for at in range(10)], 60)
    pair.read(0, longer)
    proofs, _ = pair.read(1, *BATCHES[:6])
    assert proofs >= 6
    assert pair.received(1) == [(0, 60)]


def test_memory_is_bounded_and_the_newest_stays():
    pair = Pair()
    at, data = 0, b""
    while at * len(BATCHES[0]) < 10 * STRETCH_BYTES:
        data = run_of(at, 200)
        pair.read(0, data)
        at += 200
    stretches = pair.log.of(0)._stretches
    assert sum(len(stretch.data) for stretch in stretches) <= STRETCH_BYTES
    pair.clients[1].partitions[0].next_offset = at - 200
    assert pair.read(1, data) == (0, "")


def test_gaps_make_no_more_than_a_few_stretches():
    pair = Pair()
    for number in range(50):
        pair.read(0, run_of(100 * number, 10, 10 * number))
    assert len(pair.log.of(0)._stretches) == STRETCHES
    pair.clients[1].partitions[0].next_offset = 490
    assert pair.read(1, run_of(4900, 10, 490)) == (0, "")


def test_all_partitions_together_have_one_bound():
    for partitions in (1, 2, 7, 1000):
        log = ProvenLog(partitions)
        assert sum(STRETCHES * log.of(number)._stretch_bytes for number in range(partitions)) <= TASK_BYTES


@pytest.mark.parametrize(("clients", "shared"), [(1, False), (2, True)])
def test_one_client_alone_remembers_nothing(reading, clients, shared):
    subscriber = WireSubscriber(reading("127.0.0.1:9", "t", clients=clients, partitions=2))
    assert (subscriber.settings.counter._log is not None) == shared
    subscriber.close()
