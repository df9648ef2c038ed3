"""Drivers with planted faults, which write down what they did: a run through them has to find exactly that.

They are given to a run as ``--sub_driver=tests.faulty_drivers:Lossy``, and write to ``faults.log`` in the temporary
folder.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import time

from hydra.accounting.stats import PartitionOutcomes
from hydra.clients.confluent_publisher import ConfluentPublisher
from hydra.clients.proven_log import ProvenLog
from hydra.clients.record_batch import HEADER, HEADER_BYTES, LENGTH_END, BatchCounter
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.options.kafka_access import NO_SECURITY

LOG = "faults.log"
FROM_OFFSET = 200
FEW = 5


def write_down(client, **counts) -> None:
    with open(os.path.join(os.environ["TMPDIR"], LOG), "a", encoding="utf-8") as log:
        log.write(json.dumps({"client": client.name, **counts}) + "\n")


def records_in(batches):
    return sum(records for *_, records in batches)


def drop(count, buffer, batches, part, client, now_s):
    """Pass over what one answer brought."""
    write_down(client, skipped=records_in(batches))
    part.next_offset = batches[-1][2] + batches[-1][3]
    return ""


def repeat(count, buffer, batches, part, client, now_s):
    """Count what one answer brought twice."""
    for _ in range(2):
        part.next_offset = batches[0][2]
        count(buffer, batches[0][0], batches[-1][1], part, client, now_s)
    write_down(client, duplicates=records_in(batches))
    return ""


def swap(count, buffer, batches, part, client, now_s):
    """Count the last batch of an answer before the others."""
    if len(batches) < 2:
        return None
    start, stop, _, _ = batches[-1]
    count(buffer, start, stop, part, client, now_s)
    part.next_offset, end = batches[0][2], part.next_offset
    count(buffer, batches[0][0], start, part, client, now_s)
    part.next_offset = end
    write_down(client, reordered=records_in(batches[:-1]))
    return ""


def corrupt(count, buffer, batches, part, client, now_s):
    """Flip a bit in the first batch of an answer."""
    start, stop, _, records = batches[0]
    spoilt = bytearray(buffer[start:stop])
    spoilt[-3] ^= 1
    write_down(client, corrupt=1, skipped=records)
    error = count(spoilt, 0, len(spoilt), part, client, now_s)
    count(buffer, stop, batches[-1][1], part, client, now_s)
    return error


def compensate(count, buffer, batches, part, client, now_s):
    """Drop five records and count five others twice: the numbers of records are right."""
    before = part.received
    count(buffer, batches[0][0], batches[-1][1], part, client, now_s)
    records = part.received - before
    if records < 2 * FEW:
        return ""
    # What was just counted stands at the end of the span that grows: take five off, count the first five again.
    last, end = part._end_sequence, part._end_offset
    part._end_sequence, part._end_offset, part.received = last - FEW, end - FEW, part.received - FEW
    part.add(end - records, last - records, FEW)
    write_down(client, skipped=FEW, duplicates=FEW)
    return ""


class FaultyCounter(BatchCounter):
    """Counts right but for one answer of each client, with the faults in turn."""

    def __init__(self, prefix, faults, partitions):
        super().__init__(prefix, ProvenLog(partitions))
        self._faults = itertools.cycle(faults)
        self._fault_of = {}
        self._done = set()

    def count(self, buffer, start, stop, part, client, now_s=0.0):
        batches = list(split(buffer, start, stop))
        if client.name in self._done or not batches or batches[0][2] < max(FROM_OFFSET, part.next_offset):
            return super().count(buffer, start, stop, part, client, now_s)
        if client.name not in self._fault_of:
            self._fault_of[client.name] = next(self._faults)
        error = self._fault_of[client.name](super().count, buffer, batches, part, client, now_s)
        if error is None:
            return super().count(buffer, start, stop, part, client, now_s)
        self._done.add(client.name)
        rest = batches[-1][1]
        return super().count(buffer, rest, stop, part, client, now_s) or error


def split(buffer, start, stop):
    """(start, stop, base offset, records) of every whole batch."""
    while stop - start >= HEADER_BYTES:
        head = HEADER.unpack_from(buffer, start)
        end = start + LENGTH_END + head[1]
        if end > stop:
            return
        yield start, end, head[0], head[-1]
        start = end


class Lossless(WireSubscriber):
    """Every record is counted, and not as it came."""

    FAULTS = (repeat, swap)

    def __init__(self, order, access=NO_SECURITY):
        super().__init__(order, access)
        counter = FaultyCounter(order.identity_prefix, self.FAULTS, len(order.leaders))
        self.settings = dataclasses.replace(self.settings, counter=counter)


class Lossy(Lossless):
    """Each client misses records."""

    FAULTS = (drop, corrupt, compensate)


class Slow(WireSubscriber):
    """Takes its time, and no more than a little at once."""

    def __init__(self, order, access=NO_SECURITY):
        super().__init__(order, access)
        self.settings = dataclasses.replace(self.settings, max_bytes=2000)

    def poll(self, timeout_s):
        super().poll(timeout_s)
        time.sleep(0.3)


class FaultyPublisher(ConfluentPublisher):
    """Says of five records that the broker refused them, and of seven that it never sent that they were acked."""

    GHOSTS, NEVER_SENT = 5, 7

    def outcomes(self):
        (part,) = super().outcomes()
        if part.attempted < FROM_OFFSET:
            return (part,)
        stop = part.attempted + self.NEVER_SENT
        return (
            PartitionOutcomes(0, stop, acked=((0, 100), (100 + self.GHOSTS, stop)), failed=((100, 100 + self.GHOSTS),)),
        )
