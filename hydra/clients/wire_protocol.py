"""Kafka's protocol as bytes: what all requests and records share, and ApiVersions, Metadata, ListOffsets and Fetch.

Layouts are those of Kafka's protocol guide, in versions that are not "flexible" (fixed-width lengths, no tagged
fields): ApiVersions 0, Metadata 1, ListOffsets 1, and Fetch 11 or, for brokers before 2.3, Fetch 4. Kafka 4 still takes
them all. Integers are big-endian; a string is an int16 length and its bytes. Every function here is pure; ``start`` is
where a reply goes on after its correlation id, and reading one may raise one of ``MALFORMED``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from hydra.accounting.tally import PartitionTally
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.kafka_errors import error_name

Buffer = bytes | bytearray

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS, INIT_PRODUCER_ID = 0, 1, 2, 3, 18, 22

_SPOKEN = {
    PRODUCE: ("Produce", "--pub_driver", (7, 3)),
    FETCH: ("Fetch", "--sub_driver", (11, 4)),
    INIT_PRODUCER_ID: ("InitProducerId", "--pub_driver", (0,)),
}
"""The requests that not every broker takes: name, the flag that chooses the driver, versions, the best one first."""

EARLIEST, LATEST = -2, -1
"""The timestamps that ask ListOffsets for the log's two ends."""

OFFSET_OUT_OF_RANGE = 1

MAX_PORT = 65535

MALFORMED = (struct.error, IndexError, UnicodeDecodeError)
"""What reading a reply raises when its bytes do not fit the layout."""

INT16 = struct.Struct(">h")
INT32 = struct.Struct(">i")
INT64 = struct.Struct(">q")

CORRELATION_AT = 8
"""Where the correlation id is in a request: the number that the reply must carry, put in when it is sent."""

_FETCH_SETTINGS = struct.Struct(">iiiib")
_PARTITION_11 = struct.Struct(">ihqqqi")
_PARTITION_4 = struct.Struct(">ihqqi")


def string(text: bytes) -> bytes:
    """A string as Kafka writes it: an int16 length, then its bytes."""
    return INT16.pack(len(text)) + text


def unsigned_varint(number: int) -> bytes:
    """A number as an unsigned varint: seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def varint(number: int) -> bytes:
    """A number as a zigzag varint."""
    return unsigned_varint((number << 1) ^ (number >> 63))


def read_varint(buffer: Buffer, at: int) -> tuple[int, int]:
    """(number, where it ends) of the zigzag varint at ``at``.

    Raises:
        IndexError: the buffer ends within it.
        ValueError: it is longer than 64 bits.
    """
    rest = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        rest |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (rest >> 1) ^ -(rest & 1), at
        shift += 7
        if shift > 63:
            raise ValueError("a varint of more than 64 bits")


def frame(client_id: str, api_key: int, version: int, body: bytes) -> bytearray:
    """A whole request, with correlation id 0; a broker's quotas and logs know the client by its id."""
    header = struct.pack(">hhi", api_key, version, 0) + string(client_id.encode())
    return bytearray(INT32.pack(len(header) + len(body)) + header + body)


def api_versions_request(client_id: str) -> bytearray:
    """Which requests the broker takes (ApiVersions 0)."""
    return frame(client_id, API_VERSIONS, 0, b"")


def metadata_request(client_id: str, *topics: str) -> bytearray:
    """Which brokers there are, and which lead the partitions of topics.

    Metadata 4: no broker makes a topic that is not there.
    """
    names = b"".join(string(topic.encode()) for topic in topics)
    return frame(client_id, METADATA, 4, INT32.pack(len(topics)) + names + b"\x00")


def list_offsets_request(client_id: str, topic: str, partition: int, timestamp: int) -> bytearray:
    """Where the partition's log begins (``EARLIEST``) or ends (``LATEST``) (ListOffsets 1)."""
    body = struct.pack(">ii", -1, 1) + string(topic.encode()) + struct.pack(">iiq", 1, partition, timestamp)
    return frame(client_id, LIST_OFFSETS, 1, body)


class FetchRequest:
    """A Fetch request that is written once; offsets and waiting time are then patched in place.

    A reply holds ``max_bytes`` at most, but for a first batch that is larger. ``rack`` is where the client stands; the
    requests before Fetch 11 do not tell it.
    """

    __slots__ = ("_begin", "_head", "_only", "_order", "_part_bytes", "_place", "_topic", "_version", "frame")

    def __init__(
        self, client_id: str, version: int, topic: str, parts: Sequence[PartitionTally], max_bytes: int,
        *, rack: str = "",
    ) -> None:  # fmt: skip
        body = bytearray(_FETCH_SETTINGS.pack(-1, 0, 0, max_bytes, 0))
        if version >= 7:
            # Session id 0 with epoch -1: no fetch session, so each request stands alone.
            body += struct.pack(">ii", 0, -1)
        body += INT32.pack(1) + string(topic.encode()) + INT32.pack(len(parts))
        begin = len(body)
        for part in parts:
            # Leader epoch -1 asks for no fencing; log start -1 is what a consumer gives.
            body += struct.pack(">ii", part.partition, -1) if version >= 9 else INT32.pack(part.partition)
            body += struct.pack(">qqi", 0, -1, max_bytes) if version >= 5 else struct.pack(">qi", 0, max_bytes)
        self._order = list(parts)
        self._part_bytes = (len(body) - begin) // max(1, len(parts))
        self._place = 2 * INT32.size if version >= 9 else INT32.size
        if version >= 11:
            body += INT32.pack(0) + string(rack.encode())
        self.frame = frame(client_id, FETCH, version, bytes(body))
        head = self._head = len(self.frame) - len(body)
        self._version = version
        self._topic = string(topic.encode())
        self._only = struct.Struct(f">ihii{len(self._topic)}siihqqqiii") if version >= 11 else None
        """The layout of a reply up to the records of its only partition."""
        self._begin = head + begin

    def set_wait(self, wait_max_ms: int, min_bytes: int) -> None:
        """Set how long the broker may hold the reply back, and how many bytes make it reply at once."""
        struct.pack_into(">ii", self.frame, self._head + INT32.size, wait_max_ms, min_bytes)

    def set_offsets(self) -> None:
        """Fetch each partition from its position."""
        place = self._begin + self._place
        for part in self._order:
            INT64.pack_into(self.frame, place, part.next_offset)
            place += self._part_bytes

    def read_reply(
        self, buffer: Buffer, start: int, stop: int
    ) -> tuple[int, int, Sequence[tuple[int, int, int, int, int]]]:
        """What ``read_fetch_reply`` says of a reply to it."""
        # Hot path: once for every reply. Most have one partition, and then every field has its place.
        only = self._only
        if only is not None and stop - start >= only.size:
            (throttled_ms, error, _, topics, topic, partitions, partition, code, _, _, _, aborted, replica, size) = (
                only.unpack_from(buffer, start)
            )
            at = start + only.size
            if topics == partitions == 1 and topic == self._topic and aborted <= 0 <= size == stop - at:
                return throttled_ms, error, ((partition, code, at, stop, replica),)
        return read_fetch_reply(self._version, buffer, start, stop)

    def begin_behind(self, part: PartitionTally) -> None:
        """Let the partitions take turns: what a full reply had no room for comes first in the next one."""
        order = self._order
        if part not in order or part is order[-1]:
            return
        served = order.index(part) + 1
        self._order = order[served:] + order[:served]
        at, stop = self._begin + served * self._part_bytes, self._begin + len(order) * self._part_bytes
        self.frame[self._begin : stop] = self.frame[at:stop] + self.frame[self._begin : at]


def read_fetch_reply(
    version: int, buffer: Buffer, start: int, stop: int
) -> tuple[int, int, Sequence[tuple[int, int, int, int, int]]]:
    """Find the record batches in the reply to a Fetch of this version; nothing is copied.

    Returns:
        For how many milliseconds a quota holds the client back, the reply's own error code, and (partition, error code,
        start, stop, replica) of each partition's records: the node id of the replica that the leader would have it read
        from instead (KIP-392), -1 for none.
    """
    throttled_ms = INT32.unpack_from(buffer, start)[0]
    error = 0
    at = start + 4
    if version >= 7:
        error = INT16.unpack_from(buffer, at)[0]
        at += 6
    found = []
    layout = _PARTITION_11 if version >= 5 else _PARTITION_4
    topics = INT32.unpack_from(buffer, at)[0]
    at += 4
    for _ in range(topics):
        at += 2 + max(0, INT16.unpack_from(buffer, at)[0])
        partitions = INT32.unpack_from(buffer, at)[0]
        at += 4
        for _ in range(partitions):
            fields = layout.unpack_from(buffer, at)
            at += layout.size + 16 * max(0, fields[-1])
            replica = -1
            if version >= 11:
                replica = INT32.unpack_from(buffer, at)[0]
                at += 4
            size = max(0, INT32.unpack_from(buffer, at)[0])
            at += 4
            found.append((fields[0], fields[1], at, at + size, replica))
            at += size
    if at > stop:
        raise struct.error("a partition's records end after the reply")
    return throttled_ms, error, found


def read_api_versions(buffer: Buffer, start: int) -> dict[int, tuple[int, int]]:
    """Api key -> (oldest, newest version).

    Raises:
        BrokerError: the broker answered with an error.
    """
    error, count = struct.unpack_from(">hi", buffer, start)
    if error:
        raise BrokerError(f"{error_name(error)} for ApiVersions")
    versions = {}
    for at in range(start + 6, start + 6 + 6 * count, 6):
        key, oldest, newest = struct.unpack_from(">hhh", buffer, at)
        versions[key] = (oldest, newest)
    return versions


def choose_version(api_key: int, versions: Mapping[int, tuple[int, int]]) -> int:
    """The best version of a request that the driver knows and the broker takes, as ``read_api_versions`` gives them.

    Raises:
        BrokerError: there is none.
    """
    name, flag, known = _SPOKEN[api_key]
    oldest, newest = versions.get(api_key, (0, -1))
    version = next((version for version in known if oldest <= version <= newest), None)
    if version is None:
        raise BrokerError(
            f"the broker takes {name} {versions.get(api_key, 'in no version')}, the wire driver speaks"
            f" {' and '.join(str(each) for each in sorted(known))}",
            hint=f"use Kafka 0.11 or later, or {flag}=kafka-python",
        )
    return version


def read_list_offsets(buffer: Buffer, start: int) -> tuple[int, int]:
    """(error code, offset) of the one partition of the request."""
    at = start + 4
    at += 2 + max(0, INT16.unpack_from(buffer, at)[0]) + 4
    _, error, _, offset = struct.unpack_from(">ihqq", buffer, at)
    return error, offset


def read_metadata(buffer: Buffer, start: int) -> tuple[dict[int, Endpoint], dict[int, Endpoint]]:
    """(node id -> broker, partition -> its leader, for those that have one); the request was for one topic."""
    reader = Reader(buffer, start)
    reader.int32()
    nodes = {}
    for _ in range(reader.int32()):
        node_id = reader.int32()
        nodes[node_id] = reader.endpoint()
        reader.string()
    reader.string()
    reader.int32()
    leaders = {}
    for _ in range(reader.int32()):
        reader.int16()
        reader.string()
        reader.skip(1)
        for _ in range(reader.int32()):
            reader.int16()
            partition, leader = reader.int32(), reader.int32()
            reader.skip(4 * reader.int32())
            reader.skip(4 * reader.int32())
            if leader in nodes:
                leaders[partition] = nodes[leader]
    return nodes, leaders


class Reader:
    """Walks through a reply whose fields have no fixed place, and never back: else it could be read without end."""

    def __init__(self, buffer: Buffer, at: int) -> None:
        self._buffer = buffer
        self._at = at

    def skip(self, size: int) -> None:
        """Pass over so many bytes; none for a length that is negative, as that of null is."""
        self._at += max(0, size)

    def int16(self) -> int:
        """The next two bytes, signed."""
        self._at += 2
        return int(INT16.unpack_from(self._buffer, self._at - 2)[0])

    def int32(self) -> int:
        """The next four bytes, signed."""
        self._at += 4
        return int(INT32.unpack_from(self._buffer, self._at - 4)[0])

    def int64(self) -> int:
        """The next eight bytes, signed."""
        self._at += 8
        return int(INT64.unpack_from(self._buffer, self._at - 8)[0])

    def string(self) -> str:
        """A nullable string; empty for null."""
        size = max(0, self.int16())
        text = bytes(self._buffer[self._at : self._at + size]).decode()
        self._at += size
        return text

    def octets(self) -> bytes:
        """Bytes behind their length; empty for null."""
        size = max(0, self.int32())
        self._at += size
        return bytes(self._buffer[self._at - size : self._at])

    def endpoint(self) -> Endpoint:
        """A host and a port.

        Raises:
            BrokerError: nobody can connect to that.
        """
        host, port = self.string(), self.int32()
        if not 0 < port <= MAX_PORT or "\0" in host:
            raise BrokerError(f"the broker names {host[:80]!r}, port {port}, as the address of a broker")
        return Endpoint(host, port)
