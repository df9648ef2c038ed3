"""The clients of a task on a library with one consumer object for each client: polled in turn, without waiting."""

from __future__ import annotations

import time
from abc import abstractmethod

from hydra.accounting.tally import ClientTally
from hydra.clients.protocols import client_tallies
from hydra.errors import CapacityError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import ClientAssignment, RunOrder

_NAP_S = 0.002
_CLOSE_S = 4.0


class PolledClient:
    """One client on one consumer object of a library."""

    def __init__(self, tally: ClientTally) -> None:
        self.tally = tally
        self.unconfirmed = set(tally.partitions)
        """Partitions from which no fetch at the start offset was answered yet."""
        self.lasting_error = ""
        """An error that nothing makes good: records that were gone before they could be read."""
        self._stamps: list[tuple[int, int]] = []
        """(timestamp, records) of what was counted since the last arrival, but for the equal timestamps at its end:"""
        self._sent_ms = self._sent_together = 0

    @abstractmethod
    def poll(self, now_s: float) -> bool:
        """Move on without waiting: connect, count what is there. Returns whether there was anything."""

    @abstractmethod
    def close(self, timeout_s: float) -> None:
        """Close the consumer within about ``timeout_s``."""

    @abstractmethod
    def has_high_watermark(self, partition: int) -> bool:
        """Whether the library knows the partition's high watermark: it does once a fetch was answered."""

    def confirm(self) -> None:
        """Look which partitions are being read by now."""
        if self.unconfirmed:
            self.unconfirmed = {number for number in self.unconfirmed if not self.has_high_watermark(number)}
            self.tally.positioned = not self.unconfirmed

    def count(self, partition: int, offset: int, value: bytes | None, sent_ms: int | None) -> None:
        """Count one record; ``sent_ms`` is its timestamp, None where the log keeps none."""
        ours = self.tally.record(partition, offset, value or b"")
        self.tally.partitions[partition].next_offset = offset + 1
        if not ours or sent_ms is None:
            return
        if sent_ms == self._sent_ms:
            self._sent_together += 1
        else:
            if self._sent_together:
                self._stamps.append((self._sent_ms, self._sent_together))
            self._sent_ms, self._sent_together = sent_ms, 1

    def go_past(self, partition: int, offset: int) -> None:
        """The library reads on at this offset: before it is nothing more to count, as markers of transactions are."""
        part = self.tally.partitions.get(partition)
        if part is not None:  # a group may have given it to this client just now
            part.next_offset = max(part.next_offset, offset)

    def arrived(self, now_s: float, size_bytes: int) -> None:
        """Note that what was counted since the last call came in at ``now_s``."""
        self.tally.arrived(now_s, size_bytes)
        if self._sent_together:
            self._stamps.append((self._sent_ms, self._sent_together))
        timing = self.tally.timing
        if timing is not None:
            for sent_ms, records in self._stamps:
                timing.sent_at(now_s, sent_ms, records)
        self._stamps.clear()
        self._sent_together = 0

    def jump(self, partition: int, start_offset: int, end_offset: int) -> int:
        """The position was out of the log's range. Returns where to read on; the gap shows as missing sequences.

        Where the log holds the position by now, nothing is passed over.
        """
        part = self.tally.partitions[partition]
        at = part.next_offset
        to = min(max(at, start_offset), end_offset)
        if to == at:
            return at
        self.lasting_error = self.tally.error = (
            f"offset {at} of partition {partition} is out of range: the log holds {start_offset} to {end_offset}"
        )
        part.jump(to)
        return to

    def clear_error(self) -> None:
        """A poll succeeded: only the lasting error remains."""
        self.tally.error = self.lasting_error


class RoundRobinSubscriber:
    """Polls clients in turn; a SubscriberDriver once a subclass says which clients."""

    def __init__(self, order: RunOrder, access: KafkaAccess = NO_SECURITY) -> None:
        self.order = order
        self.access = access
        self.tallies = client_tallies(order)
        self._clients: list[PolledClient] = []

    def make_client(self, tally: ClientTally, assignment: ClientAssignment) -> PolledClient:
        """A client that connects when it is polled; a CapacityError says that this machine cannot hold it."""
        raise NotImplementedError

    def open(self) -> None:
        """Begin to connect all clients.

        Raises:
            CapacityError: this machine does not hold so many.
        """
        try:
            for tally, assignment in zip(self.tallies, self.order.clients, strict=True):
                self._clients.append(self.make_client(tally, assignment))
        except CapacityError:
            self.close()
            raise

    def poll(self, timeout_s: float) -> None:
        """Move all clients on; waits ``timeout_s`` at most when nothing is there."""
        deadline = time.monotonic() + timeout_s
        while True:
            now_s = time.monotonic()
            busy = False
            for client in self._clients:
                busy = client.poll(now_s) or busy
            left_s = deadline - time.monotonic()
            if busy or left_s <= 0:
                return
            time.sleep(min(_NAP_S, left_s))

    def close(self) -> None:
        """Close all consumers; harmless the second time."""
        clients, self._clients = self._clients, []
        deadline = time.monotonic() + _CLOSE_S
        for client in clients:
            client.close(max(0.0, deadline - time.monotonic()))
