"""The two Kafka requests that the wire publisher sends beside those of the subscriber, and the answers, as bytes.

Produce 7 or, for brokers before 2.1, Produce 3 (the oldest that Kafka 4 takes, and the oldest with record batches), and
InitProducerId 0. Notation is that of ``wire_protocol.py``; every function here is pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from hydra.clients.wire_protocol import INT16, INT32, Buffer, frame, string

PRODUCE, INIT_PRODUCER_ID = 0, 22

PRODUCE_VERSIONS = (7, 3)
"""The Produce layouts that are known here, the better one first."""

ACKS = {"0": 0, "1": 1, "all": -1}

MESSAGE_TOO_LARGE, DUPLICATE_SEQUENCE = 10, 46

OUT_OF_ORDER = frozenset({45, 47, 59})
"""The broker did not append since the batch's number is not the one that it waits for.

In Kafka's words: OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH and UNKNOWN_PRODUCER_ID.
"""

STALE_LEADER = frozenset({3, 5, 6, 9, 13, 56, 74, 75, 100})
"""Worth another try, and a look at who leads the partition."""

RETRIABLE = STALE_LEADER | {2, 7, 14, 15, 16, 19, 20, 89}
"""Worth another try, as Kafka's own producer sees it.

Beside those above: CORRUPT_MESSAGE, REQUEST_TIMED_OUT, the three COORDINATOR errors, NOT_ENOUGH_REPLICAS,
NOT_ENOUGH_REPLICAS_AFTER_APPEND and THROTTLING_QUOTA_EXCEEDED.
"""

_PARTITION_7 = struct.Struct(">ihqqq")
_PARTITION_3 = struct.Struct(">ihqq")
_PART_HEAD = struct.Struct(">ii")


class ProduceRequest:
    """Makes Produce requests for one topic.

    Args:
        version: one of ``PRODUCE_VERSIONS``.
        topic: its name.
        acks: "0", "1" or "all".
        timeout_ms: how long the broker may wait for its replicas.
    """

    __slots__ = ("_head",)

    def __init__(self, version: int, topic: str, acks: str, timeout_ms: int) -> None:
        # No transactional id; one topic.
        body = struct.pack(">hhii", -1, ACKS[acks], timeout_ms, 1) + string(topic.encode())
        self._head = frame(PRODUCE, version, body)

    def frame(self, batches: Sequence[tuple[int, Buffer]]) -> bytearray:
        """A request with one record batch for each of some partitions: (partition, batch)."""
        pieces: list[Buffer] = [self._head, INT32.pack(len(batches))]
        for partition, records in batches:
            pieces += (_PART_HEAD.pack(partition, len(records)), records)
        request = bytearray().join(pieces)
        INT32.pack_into(request, 0, len(request) - INT32.size)
        return request


def read_produce_response(version: int, buffer: Buffer, start: int) -> Sequence[tuple[int, int]]:
    """(partition, error code) of each batch in the answer to a Produce request.

    Args:
        version: the version that was asked for.
        buffer: holds the answer.
        start: of what follows the correlation id.

    Raises:
        struct.error: (one of MALFORMED) when the bytes are no such answer.
    """
    layout = _PARTITION_7 if version >= 5 else _PARTITION_3
    found = []
    at = start + 4
    for _ in range(INT32.unpack_from(buffer, start)[0]):
        at += 2 + INT16.unpack_from(buffer, at)[0]
        partitions = INT32.unpack_from(buffer, at)[0]
        at += 4
        for _ in range(partitions):
            fields = layout.unpack_from(buffer, at)
            at += layout.size
            found.append((fields[0], fields[1]))
    return found


def init_producer_id_request() -> bytearray:
    """Which producer id may be used? (InitProducerId 0, without a transaction)."""
    return frame(INIT_PRODUCER_ID, 0, struct.pack(">hi", -1, 60_000))


def read_init_producer_id(buffer: Buffer, start: int) -> tuple[int, int, int]:
    """(error code, producer id, its epoch)."""
    error, producer_id, epoch = struct.unpack_from(">hqh", buffer, start + 4)
    return error, producer_id, epoch


def produce_version(versions: Mapping[int, tuple[int, int]]) -> int | None:
    """The best Produce version that broker and driver both know; None when there is none."""
    oldest, newest = versions.get(PRODUCE, (0, -1))
    return next((version for version in PRODUCE_VERSIONS if oldest <= version <= newest), None)
