"""Produce requests: their bytes, and the connection that sends them to one broker.

Produce 7 or, for brokers before 2.1, Produce 3 (the oldest that Kafka 4 takes, and the oldest with record batches), and
InitProducerId 0. Notation is that of ``wire_protocol.py``.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hydra.clients import wire_protocol as protocol
from hydra.clients.protocols import PUBLISHER_CLIENT_ID
from hydra.clients.wire_batches import PendingBatch, most_in_flight
from hydra.clients.wire_connection import EventLoop
from hydra.clients.wire_protocol import INIT_PRODUCER_ID, INT16, INT32, PRODUCE, Buffer, frame, string
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError, CapacityError

ACKS = {"0": 0, "1": 1, "all": -1}

MESSAGE_TOO_LARGE, DUPLICATE_SEQUENCE = 10, 46

OUT_OF_ORDER = frozenset({45, 47, 59})
"""The broker did not append, because it expected another sequence number of this producer.

In Kafka's words: OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH and UNKNOWN_PRODUCER_ID.
"""

STALE_LEADER = frozenset({3, 5, 6, 9, 13, 56, 74, 75, 100})
"""Retriable once the leader was looked up again."""

RETRIABLE = STALE_LEADER | {2, 7, 14, 15, 16, 19, 20, 89}
"""Retriable, as Kafka's own producer sees it.

Beside those above: CORRUPT_MESSAGE, REQUEST_TIMED_OUT, the three COORDINATOR errors, NOT_ENOUGH_REPLICAS,
NOT_ENOUGH_REPLICAS_AFTER_APPEND and THROTTLING_QUOTA_EXCEEDED.
"""

_PARTITION_7 = struct.Struct(">ihqqq")
_PARTITION_3 = struct.Struct(">ihqq")
_PART_HEAD = struct.Struct(">ii")


def read_produce_reply(version: int, buffer: Buffer, start: int) -> tuple[int, Sequence[tuple[int, int]]]:
    """Read the reply to a Produce request of this version.

    Returns:
        For how many milliseconds a quota holds the client back, and (partition, error code) of each batch.
    """
    layout = _PARTITION_7 if version >= 5 else _PARTITION_3
    found = []
    at = start + 4
    for _ in range(INT32.unpack_from(buffer, start)[0]):
        at += 2 + max(0, INT16.unpack_from(buffer, at)[0])
        partitions = INT32.unpack_from(buffer, at)[0]
        at += 4
        for _ in range(partitions):
            fields = layout.unpack_from(buffer, at)
            at += layout.size
            found.append((fields[0], fields[1]))
    return INT32.unpack_from(buffer, at)[0], found


def init_producer_id_request(client_id: str) -> bytearray:
    """Ask for a producer id (InitProducerId 0, without a transaction)."""
    return frame(client_id, INIT_PRODUCER_ID, 0, struct.pack(">hi", -1, 60_000))


def read_init_producer_id(buffer: Buffer, start: int) -> tuple[int, int, int]:
    """(error code, producer id, its epoch)."""
    error, producer_id, epoch = struct.unpack_from(">hqh", buffer, start + 4)
    return error, producer_id, epoch


class _InFlight(NamedTuple):
    """A Produce request that is not settled."""

    batches: Sequence[PendingBatch]
    requested_s: float


class Sender:
    """The publisher's connection to one broker: asks for the API versions, then sends Produce requests.

    ``timeout_ms`` is how long the broker may wait for its replicas.

    ``on_settled`` is called with (batch, code, leader) for the outcome of a batch: Kafka's error code, 0 for an ack;
    None when the batch was sent and will not be answered (acks=0). ``on_lost`` is called with (sender, reason, batches)
    when the connection failed; ``ready`` still says whether it was ready, the batches have no outcome, and their
    ``maybe_appended`` says whether they may be in the log. ``on_throttled`` is called with the milliseconds for which a
    quota holds the publisher back.
    """

    def __init__(
        self, leader: Endpoint, loop: EventLoop, topic: str, acks: str, timeout_ms: int,
        *,
        idempotent: bool,
        on_settled: Callable[[PendingBatch, int | None, Endpoint], None],
        on_lost: Callable[[Sender, str, Sequence[PendingBatch]], None],
        on_throttled: Callable[[int], None],
    ) -> None:  # fmt: skip
        self.leader = leader
        self.unsupported: BrokerError | None = None
        """Why this broker can never be written to."""
        self._topic = topic
        self._acks = acks
        self._idempotent = idempotent
        self._most_in_flight = most_in_flight(idempotent=idempotent)
        self._timeout_ms = timeout_ms
        self._on_settled = on_settled
        self._on_lost = on_lost
        self._on_throttled = on_throttled
        self._version = 0
        self._throttled_until_s = float("-inf")
        """Until then a quota keeps the broker from reading the next request."""
        self._request_head = b""
        """Of each Produce request; empty until the version is known."""
        self._in_flight: deque[_InFlight] = deque()
        self.connection = loop.connection(leader, PUBLISHER_CLIENT_ID, on_open=self._ask_versions, on_lost=self.lost)

    @property
    def ready(self) -> bool:
        """Whether it may send."""
        return bool(self._request_head)

    @property
    def has_room(self) -> bool:
        """Whether one more Produce request may be sent."""
        return self.ready and len(self._in_flight) < self._most_in_flight

    @property
    def waiting_since_s(self) -> float | None:
        """As of a Connection, less the time of a quota; with acks=0 since when the oldest request waits to be sent."""
        if self._acks == "0" and self._in_flight:
            return self._in_flight[0].requested_s
        since_s = self.connection.waiting_since_s
        return None if since_s is None else max(since_s, self._throttled_until_s)

    def connect(self) -> None:
        """Begin to connect; ``on_lost`` is called at once when that fails."""
        with contextlib.suppress(CapacityError):
            self.connection.connect()

    def produce(self, batches: Sequence[PendingBatch], records: Sequence[bytearray]) -> None:
        """Send batches, one for each of some partitions; ``records`` are their bytes."""
        pieces: list[Buffer] = [self._request_head, INT32.pack(len(batches))]
        for batch, content in zip(batches, records, strict=True):
            pieces += (_PART_HEAD.pack(batch.queue.partition, len(content)), content)
        request = bytearray().join(pieces)
        INT32.pack_into(request, 0, len(request) - INT32.size)
        # Noted before it is sent: sending may find out that the connection is gone.
        self._in_flight.append(_InFlight(batches, time.monotonic()))
        self.connection.request(request, None if self._acks == "0" else self._take_outcomes)

    def settle_sent(self) -> None:
        """With acks=0: settle what was sent whole."""
        while len(self._in_flight) > self.connection.unsent_requests:
            for batch in self._in_flight.popleft().batches:
                self._on_settled(batch, None, self.leader)

    def lost(self, reason: str) -> None:
        """The connection failed, or is given up for this reason."""
        if self._acks == "0":
            self.settle_sent()
        sent = len(self._in_flight) - self.connection.unsent_requests
        unanswered = []
        for number, request in enumerate(self._in_flight):
            for batch in request.batches:
                batch.maybe_appended = batch.maybe_appended or number < sent
                batch.error = "connection lost"
                unanswered.append(batch)
        self._in_flight.clear()
        self.connection.abort()
        self._on_lost(self, reason, unanswered)

    def abort(self) -> None:
        """Close the connection and drop what it has not sent yet."""
        self._request_head = b""
        self._in_flight.clear()
        self.connection.abort()

    def _ask_versions(self) -> None:
        self.connection.request(protocol.api_versions_request(PUBLISHER_CLIENT_ID), self._take_versions)

    def _take_versions(self, buffer: bytearray, start: int, _stop: int) -> None:
        versions = protocol.read_api_versions(buffer, start)
        try:
            version = protocol.choose_version(PRODUCE, versions)
            if self._idempotent:
                protocol.choose_version(INIT_PRODUCER_ID, versions)
        except BrokerError as unsupported:
            self.unsupported = unsupported
            raise
        self._version = version
        # No transactional id; one topic.
        body = struct.pack(">hhii", -1, ACKS[self._acks], self._timeout_ms, 1) + string(self._topic.encode())
        self._request_head = bytes(frame(PUBLISHER_CLIENT_ID, PRODUCE, version, body))

    def _take_outcomes(self, buffer: bytearray, start: int, _stop: int) -> None:
        # Hot path: once for every request.
        batches = self._in_flight[0].batches
        throttled_ms, found = read_produce_reply(self._version, buffer, start)
        codes = dict(found)
        if throttled_ms:
            self._throttled_until_s = time.monotonic() + throttled_ms / 1000
            self._on_throttled(throttled_ms)
        if codes.keys() != {batch.queue.partition for batch in batches}:
            raise IndexError("it names other partitions than the request")
        self._in_flight.popleft()
        for batch in batches:
            self._on_settled(batch, codes[batch.queue.partition], self.leader)
