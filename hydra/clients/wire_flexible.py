"""Kafka's "flexible" encoding (KIP-482): lengths are variable and one too high, and every structure ends with tags.

Of the tagged fields that follow a structure none is sent, and those that come are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from hydra.clients.wire_protocol import INT32, Buffer, Reader, string, unsigned_varint

NO_TAGS = b"\x00"
NULL = b"\x00"
"""A string or an array that is not there."""

UUID_BYTES = 16

_MOST_BITS = 32


def compact(text: str) -> bytes:
    """A string behind its length."""
    content = text.encode()
    return unsigned_varint(len(content) + 1) + content


def compact_array(items: Iterable[bytes]) -> bytes:
    """An array behind the number of its items."""
    content = list(items)
    return unsigned_varint(len(content) + 1) + b"".join(content)


def flexible_frame(client_id: str, api_key: int, version: int, body: bytes) -> bytearray:
    """A whole request, with correlation id 0 (request header 2)."""
    header = struct.pack(">hhi", api_key, version, 0) + string(client_id.encode()) + NO_TAGS
    return bytearray(INT32.pack(len(header) + len(body)) + header + body)


class FlexibleReader(Reader):
    """Walks through a reply of a flexible version, from behind its correlation id on (response header 1)."""

    def __init__(self, buffer: Buffer, at: int) -> None:
        super().__init__(buffer, at)
        self.tags()

    def unsigned_varint(self) -> int:
        """The next number of variable length."""
        number = shift = 0
        while True:
            byte = self._buffer[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
            if shift >= _MOST_BITS:
                raise struct.error("a varint of more than 32 bits")

    def count(self) -> int:
        """How many bytes or items follow; -1 for null."""
        return self.unsigned_varint() - 1

    def string(self) -> str:
        """A nullable string; empty for null."""
        size = max(0, self.count())
        self._at += size
        return bytes(self._buffer[self._at - size : self._at]).decode()

    def uuid(self) -> bytes:
        """The bytes of an id."""
        self._at += UUID_BYTES
        return bytes(self._buffer[self._at - UUID_BYTES : self._at])

    def int8(self) -> int:
        """The next byte, signed."""
        self._at += 1
        return int(struct.unpack_from(">b", self._buffer, self._at - 1)[0])

    def tags(self) -> None:
        """Pass over the tagged fields with which a structure ends."""
        for _ in range(self.unsigned_varint()):
            self.unsigned_varint()
            self.skip(self.unsigned_varint())
