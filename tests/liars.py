"""Drivers that lie, each in one way, and write down what they did: a run through them has to find exactly that.

They are given to a run as ``--sub_driver=tests.liars:Dropping``, and write to ``liars.log`` in the temporary folder.
"""

from __future__ import annotations

import json
import os
import time

from hydra.accounting.stats import PartitionOutcomes
from hydra.clients.confluent_publisher import ConfluentPublisher
from hydra.clients.record_batch import HEADER, HEADER_BYTES, LENGTH_END, BatchCounter
from hydra.clients.wire_subscriber import WireSubscriber

LOG = "liars.log"
FROM_OFFSET = 200
FEW = 5


def confess(**facts) -> None:
    with open(os.path.join(os.environ["TMPDIR"], LOG), "a", encoding="utf-8") as log:
        log.write(json.dumps(facts) + "\n")


class LyingCounter(BatchCounter):
    """Counts honestly but for one batch of each client."""

    def __init__(self, prefix, driver):
        super().__init__(prefix)
        self._driver = driver
        self._lied_to = set()

    def count(self, buffer, start, stop, part, client, now_s=0.0):
        batches = list(split(buffer, start, stop))
        if client.name in self._lied_to or not batches or batches[0][2] < max(FROM_OFFSET, part.next_offset):
            return super().count(buffer, start, stop, part, client, now_s)
        trouble = self._driver.lie(super().count, buffer, batches, part, client, now_s)
        if trouble is None:
            return super().count(buffer, start, stop, part, client, now_s)
        self._lied_to.add(client.name)
        rest = batches[-1][1]
        return super().count(buffer, rest, stop, part, client, now_s) or trouble


def split(buffer, start, stop):
    """(start, stop, base offset, records) of every whole batch."""
    while stop - start >= HEADER_BYTES:
        head = HEADER.unpack_from(buffer, start)
        end = start + LENGTH_END + head[1]
        if end > stop:
            return
        yield start, end, head[0], head[-1]
        start = end


class Liar(WireSubscriber):
    def __init__(self, order):
        super().__init__(order)
        self.counter = LyingCounter(order.identity_prefix, self)


class Dropping(Liar):
    """Passes over what one answer brought."""

    def lie(self, count, buffer, batches, part, client, now_s):
        confess(client=client.name, skipped=sum(records for *_, records in batches))
        part.next_offset = batches[-1][2] + batches[-1][3]
        return ""


class Repeating(Liar):
    """Counts what one answer brought twice."""

    def lie(self, count, buffer, batches, part, client, now_s):
        for _ in range(2):
            part.next_offset = batches[0][2]
            count(buffer, batches[0][0], batches[-1][1], part, client, now_s)
        confess(client=client.name, duplicates=sum(records for *_, records in batches))
        return ""


class Swapping(Liar):
    """Counts the last batch of an answer before the others."""

    def lie(self, count, buffer, batches, part, client, now_s):
        if len(batches) < 2:
            return None
        start, stop, _, _ = batches[-1]
        count(buffer, start, stop, part, client, now_s)
        part.next_offset, end = batches[0][2], part.next_offset
        count(buffer, batches[0][0], start, part, client, now_s)
        part.next_offset = end
        confess(client=client.name, reordered=sum(records for *_, records in batches[:-1]))
        return ""


class Corrupting(Liar):
    """Flips a bit in the first batch of an answer."""

    def lie(self, count, buffer, batches, part, client, now_s):
        start, stop, _, records = batches[0]
        spoilt = bytearray(buffer[start:stop])
        spoilt[-3] ^= 1
        confess(client=client.name, corrupt=1, skipped=records)
        trouble = count(spoilt, 0, len(spoilt), part, client, now_s)
        count(buffer, stop, batches[-1][1], part, client, now_s)
        return trouble


class Compensating(Liar):
    """Drops five records and counts five others twice: the numbers of records are right."""

    def lie(self, count, buffer, batches, part, client, now_s):
        before = part.received
        count(buffer, batches[0][0], batches[-1][1], part, client, now_s)
        records = part.received - before
        if records < 2 * FEW:
            return ""
        # What was just counted stands at the end of the span that grows: take five off, count the first five again.
        last, end = part._end_sequence, part._end_offset
        part._end_sequence, part._end_offset, part.received = last - FEW, end - FEW, part.received - FEW
        part.add(end - records, last - records, FEW)
        confess(client=client.name, skipped=FEW, duplicates=FEW)
        return ""


class Slow(WireSubscriber):
    """Takes its time, and no more than a little at once."""

    def __init__(self, order):
        super().__init__(order)
        self.max_bytes = 2000

    def poll(self, timeout_s):
        super().poll(timeout_s)
        time.sleep(0.3)


class LyingPublisher(ConfluentPublisher):
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
