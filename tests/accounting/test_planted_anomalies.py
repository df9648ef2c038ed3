"""The checker is checked: anomalies planted in random histories, each found with its exact count, and nothing else.

A history is a log by partition, what the publisher says of it, and what each client made of it. It is made from a
number, so that a failure names the history that shows it.
"""

from __future__ import annotations

import dataclasses
import random

import pytest

from hydra.accounting.account import account
from hydra.accounting.evidence import Audit, AuditedPartition, Evidence, OffsetRange
from hydra.accounting.latency import LatencyCounts
from hydra.accounting.stats import (
    ClientStats,
    HostTraffic,
    PartitionOutcomes,
    ProcessUsage,
    PublisherStats,
    SubscriberStats,
)
from hydra.accounting.tally import PartitionTally
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, PartitionStart, RunOrder
from tests.examples import examples

HISTORIES = examples(1_000)
CLEAN_HISTORIES = examples(10_000)
USAGE = ProcessUsage(cpu_percent=1.0, rss_bytes=1, window_s=1.0)

CLASSES = (
    "broker_lost", "expired", "unread", "skipped", "duplicates", "reordered", "ghost", "foreign", "corrupt",
    "contradicted",
)  # fmt: skip


class Reader:
    """One client: what it received, as (offset, sequence) by partition in the order in which it came."""

    def __init__(self, name, partitions):
        self.name = name
        self.received = {partition: [] for partition in partitions}
        self.position = dict.fromkeys(partitions, 0)
        self.jumps = {partition: [] for partition in partitions}
        self.foreign = self.corrupt = 0

    def stats(self, rng):
        parts = []
        for partition, records in self.received.items():
            tally = PartitionTally(partition, 0)
            for offset, sequences in batches(records, rng):
                tally.add(offset, *sequences)
                tally.take_fresh()
            tally.next_offset = self.position[partition]
            tally.jumps = self.jumps[partition]
            parts.append(tally.stats())
        return ClientStats(
            name=self.name, partitions=tuple(parts), positioned=True, fetches=1, received_bytes=1,
            receive_window_s=1.0, first_arrival_records=0, foreign=self.foreign, corrupt=self.corrupt, error="",
        )  # fmt: skip


def batches(records, rng):
    """Consecutive records in pieces of random size, as a client gets them: (offset, (sequence, records))."""
    at = 0
    while at < len(records):
        end = at + 1
        limit = rng.randint(1, 8)
        while (
            end < len(records)
            and end - at < limit
            and records[end] == (records[end - 1][0] + 1, records[end - 1][1] + 1)
        ):
            end += 1
        yield records[at][0], (records[at][1], end - at)
        at = end


class History:
    """A run in which nothing went wrong yet."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.partitions = range(rng.randint(1, 3))
        self.audited = rng.random() < 0.7
        self.log, self.acked, self.failed, self.attempted = {}, {}, {}, {}
        for partition in self.partitions:
            count = rng.randint(12, 60)
            self.attempted[partition] = count
            self.log[partition] = list(range(count))
            self.acked[partition] = set(range(count))
            self.failed[partition] = set()
        self.starts = dict.fromkeys(self.partitions, 0)
        self.missing = 0
        self.readers = [Reader(f"c{number}", self.partitions) for number in range(rng.randint(1, 4))]

    def read(self):
        """All clients read the whole log."""
        for reader in self.readers:
            for partition, log in self.log.items():
                reader.received[partition] = list(enumerate(log))
                reader.position[partition] = len(log)
        return self

    def somewhere(self):
        """(reader, partition) to plant something at."""
        return self.rng.choice(self.readers), self.rng.choice(self.partitions)

    def some(self, records, most=6):
        """A few of the records, in their order."""
        return sorted(self.rng.sample(records, self.rng.randint(1, min(most, len(records)))))

    def evidence(self):
        outcomes = tuple(
            PartitionOutcomes(
                partition, self.attempted[partition], pieces(self.acked[partition]), pieces(self.failed[partition])
            )
            for partition in self.partitions
        )
        attempted = sum(self.attempted.values())
        acked = sum(map(len, self.acked.values()))
        failed = sum(map(len, self.failed.values()))
        publisher = PublisherStats(
            run_id="r", task_id="p", planned=attempted, attempted=attempted, acked=acked, failed=failed,
            unknown=attempted - acked - failed, queue_full=0, send_window_s=1.0, ack_window_s=1.0, lag_max_s=0.0,
            lag=LatencyCounts(), partitions=outcomes, usage=USAGE, traffic=HostTraffic(0.0, 0.0),
        )  # fmt: skip
        starts = tuple(PartitionStart(partition, 0) for partition in self.partitions)
        gone = tuple(f"m{number}" for number in range(self.missing))
        clients = [ClientAssignment(reader.name, reader.name, starts, "t") for reader in self.readers]
        clients += [ClientAssignment(name, name, starts, "gone") for name in gone]
        order = RunOrder("r", Options(acks="1", msg_rate=float(attempted)), clients=tuple(clients))
        return order, Evidence(
            publisher=publisher,
            subscribers=(SubscriberStats("r", "t", tuple(item.stats(self.rng) for item in self.readers), USAGE),),
            missing={"gone": "its process ended"} if gone else {},
            begin_offsets=dict.fromkeys(self.partitions, 0),
            log={partition: OffsetRange(self.starts[partition], len(log)) for partition, log in self.log.items()},
            audit=self.audit() if self.audited else None,
        )

    def audit(self):
        parts = {}
        for partition, log in self.log.items():
            start = self.starts[partition]
            tally = PartitionTally(partition, start)
            for offset in range(start, len(log)):
                tally.add(offset, log[offset], 1)
            parts[partition] = AuditedPartition(start, len(log), tally.stats().spans)
        return Audit(parts)


def pieces(numbers):
    ordered = sorted(numbers)
    return tuple((number, number + 1) for number in ordered)


def broker_lost(history):
    """The broker lost what it had acked: no client can have it."""
    partition = history.rng.choice(history.partitions)
    gone = set(history.some(history.log[partition]))
    history.log[partition] = [sequence for sequence in history.log[partition] if sequence not in gone]
    history.read()
    return {"broker_lost": len(gone) * len(history.readers)}


def skipped(history):
    """A client's position passed records that are in the log."""
    history.read()
    reader, partition = history.somewhere()
    gone = history.some(reader.received[partition])
    history.audited = history.audited or len(history.readers) == 1
    reader.received[partition] = [record for record in reader.received[partition] if record not in gone]
    return {"skipped": len(gone)}


def expired(history):
    """A client came to a position that had left the log, and jumped to the log's start."""
    history.read()
    reader, partition = history.somewhere()
    end = len(history.log[partition])
    position = history.rng.randint(0, end - 2)
    start = history.rng.randint(position + 1, end)
    history.starts[partition] = start
    # With one client nobody saw what expired, and the log does not hold it any more.
    reader.received[partition] = [record for record in reader.received[partition] if not position <= record[0] < start]
    reader.jumps[partition].append((position, start))
    return {"expired": start - position}


def unread(history):
    """A client did not get to the log's end before the drain was over."""
    history.read()
    reader, partition = history.somewhere()
    left = history.rng.randint(1, len(history.log[partition]))
    reader.position[partition] -= left
    reader.received[partition] = reader.received[partition][:-left]
    return {"unread": left}


def duplicate(history):
    """A client read some offsets again."""
    history.read()
    reader, partition = history.somewhere()
    first, *others = again = history.some(reader.received[partition])
    at = history.rng.randint(max([first, *others])[0] + 1, len(reader.received[partition]))
    reader.received[partition][at:at] = again
    return {"duplicates": len(again)}


def reordered(history):
    """A client got some records later than those behind them."""
    history.read()
    reader, partition = history.somewhere()
    late = history.some(reader.received[partition][:-1])
    rest = [record for record in reader.received[partition] if record not in late]
    at = rest.index(next(record for record in rest if record > late[-1])) + 1
    reader.received[partition] = rest[:at] + late + rest[at:]
    return {"reordered": len(late)}


def ghost(history):
    """The publisher says of some records that they are not in the log, and there they are."""
    history.read()
    partition = history.rng.choice(history.partitions)
    refused = set(history.some(history.log[partition]))
    history.acked[partition] -= refused
    history.failed[partition] |= refused
    return {"ghost": len(refused) * len(history.readers)}


def foreign(history):
    """Records of someone else's came."""
    history.read()
    reader, _ = history.somewhere()
    reader.foreign = history.rng.randint(1, 9)
    return {"foreign": reader.foreign}


def corrupt(history):
    """Batches of one record each came with a wrong CRC: what was in them is passed over."""
    found = skipped(history)
    reader = next(
        item for item in history.readers if any(len(r) < len(history.log[p]) for p, r in item.received.items())
    )
    reader.corrupt = found["skipped"]
    return {**found, "corrupt": reader.corrupt}


def contradicted(history):
    """At two offsets a client got each other's record."""
    history.read()
    history.audited = True
    reader, partition = history.somewhere()
    one, other = sorted(history.rng.sample(range(len(history.log[partition])), 2))
    records = reader.received[partition]
    records[one], records[other] = (one, other), (other, one)
    # The one that came early is ahead of all that stand between, and of the one it changed places with.
    return {"contradicted": 2, "reordered": other - one}


def compensated(history):
    """As many records are lost as are received twice, so that the counts are right."""
    history.read()
    history.audited = True
    reader, partition = history.somewhere()
    records = reader.received[partition]
    gone = history.some(records[:6], most=5)
    again = records[-len(gone) :]
    reader.received[partition] = [record for record in records if record not in gone] + again
    assert len(reader.received[partition]) == len(records)
    return {"skipped": len(gone), "duplicates": len(gone)}


def missing(history):
    """Clients that were asked for and did not report."""
    history.read()
    history.missing = history.rng.randint(1, 5)
    return {"missing": history.missing}


ANOMALIES = (
    broker_lost, skipped, expired, unread, duplicate, reordered, ghost, foreign, corrupt, contradicted, compensated,
    missing,
)  # fmt: skip
FAILS = {"broker_lost", "expired", "skipped", "ghost", "corrupt", "contradicted"}


def found_in(result):
    """Every anomaly that the result names, with its count over all clients."""
    counts = {name: sum(getattr(client, name) for client in result.clients) for name in CLASSES}
    counts["missing"] = result.totals.clients_missing
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize("plant", ANOMALIES, ids=lambda plant: plant.__name__)
def test_each_planted_anomaly_is_found_with_its_exact_count_and_nothing_else_is(plant):
    for seed in range(HISTORIES):
        history = History(f"{plant.__name__}-{seed}")
        planted = plant(history)
        result = account(*history.evidence())
        assert found_in(result) == planted, f"history {seed}"
        verdict = (
            "fail" if FAILS & set(planted) else "indeterminate" if {"unread", "missing"} & set(planted) else "pass"
        )
        # Records that the publisher saw refused are a doubt of their own, beside the ghosts that they turned out to be.
        assert result.verdict == verdict, f"history {seed}"
        assert all(
            item.lost == item.expected - len_delivered(history, item) for item in result.clients if item.task_id == "t"
        )


def len_delivered(history, item):
    """How many expected records a client has, counted one by one."""
    reader = next(reader for reader in history.readers if reader.name == item.name)
    return sum(
        len(history.acked[partition] & {sequence for _, sequence in records})
        for partition, records in reader.received.items()
    )


def test_no_alarm_on_clean_histories():
    for seed in range(CLEAN_HISTORIES):
        result = account(*History(seed).read().evidence())
        assert found_in(result) == {}, f"history {seed}"
        assert result.verdict == "pass", f"history {seed}"


@pytest.mark.parametrize("acks", ["0", "1"])
def test_without_the_publishers_word_the_log_is_the_reference(acks):
    """Nothing acked, or a publisher that died: what is in the log is what should have been received."""
    for seed in range(HISTORIES):
        history = History(f"acks-{acks}-{seed}")
        history.audited = True
        planted = history.rng.choice([skipped, expired, unread, duplicate])(history)
        order, whole = history.evidence()
        sent = whole.publisher
        if acks == "0":
            parts = tuple(dataclasses.replace(part, acked=()) for part in sent.partitions)
            sent = dataclasses.replace(sent, acked=0, unknown=sent.attempted, partitions=parts)
        else:
            sent = None
        order = dataclasses.replace(order, options=dataclasses.replace(order.options, acks=acks))
        result = account(order, dataclasses.replace(whole, publisher=sent, publisher_error="gone"))
        assert found_in(result) == planted, f"history {seed}"
        assert result.totals.records_counted == sum(map(len, history.log.values()))
        assert result.verdict != "pass"


def test_without_an_audit_what_nobody_received_and_is_in_the_log_was_skipped_by_all():
    for seed in range(HISTORIES):
        history = History(f"unseen-{seed}").read()
        history.audited = False
        partition = history.rng.choice(history.partitions)
        gone = set(history.some(list(enumerate(history.log[partition]))))
        for reader in history.readers:
            reader.received[partition] = [record for record in reader.received[partition] if record not in gone]
        result = account(*history.evidence())
        assert found_in(result) == {"skipped": len(gone) * len(history.readers)}, f"history {seed}"


def test_a_record_that_timed_out_and_is_in_the_log_is_no_loss_to_who_missed_it():
    for seed in range(HISTORIES):
        history = History(f"unknown-{seed}").read()
        reader, partition = history.somewhere()
        unsure = set(history.some(history.log[partition]))
        history.acked[partition] -= unsure
        reader.received[partition] = [record for record in reader.received[partition] if record[1] not in unsure]
        result = account(*history.evidence())
        assert found_in(result) == {}, f"history {seed}"
        assert result.verdict == "indeterminate"
