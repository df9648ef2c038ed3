"""Record identity: what makes each record of a run recognisable, in 14 bytes.

Layout, big-endian, the seed's average message length to the byte::

    offset  bytes  field
    0       4      run tag: CRC-32 of the run id
    4       2      version of this layout
    6       8      sequence: counts from 0 within one partition

A larger ``msg_size`` is padded behind these 14 bytes.
"""

from __future__ import annotations

import re
import struct
import zlib

IDENTITY_BYTES = 14
LAYOUT_VERSION = 1
IDENTITY = struct.Struct(">IHQ")
"""Packs and unpacks (run tag, layout version, sequence)."""

SEQUENCE = struct.Struct(">Q")
SEQUENCE_OFFSET = 6

RUN_ID = re.compile(r"hydra-\d{8}-\d{6}-[0-9a-f]{6}")
"""The name of a run, of its own topic, and what the names of its groups begin with."""

RECORD_OVERHEAD_BYTES = 10
"""Of a record in a log beside its value, as an estimate: its own lengths and deltas, and its share of a batch."""

BATCH_HEADER_BYTES = 61
"""Of a record batch (magic 2), before its first record."""


def run_tag(run_id: str) -> int:
    """32 bits that distinguish this run's records from those of any other."""
    return zlib.crc32(run_id.encode())


def identity_prefix(run_id: str) -> bytes:
    """The six bytes that the value of every record of a run starts with; a record without them is foreign."""
    return IDENTITY.pack(run_tag(run_id), LAYOUT_VERSION, 0)[:SEQUENCE_OFFSET]


def one_record_batch_bytes(value_bytes: int) -> int:
    """The size of a record batch (magic 2) with one record, which has neither key nor headers."""
    # Attributes, timestamp delta, offset delta, key length and header count take a byte each.
    body_bytes = 5 + _varint_bytes(value_bytes) + value_bytes
    return BATCH_HEADER_BYTES + _varint_bytes(body_bytes) + body_bytes


def _varint_bytes(value: int) -> int:
    """How many bytes a zigzag varint takes."""
    return max(1, -(-(2 * value).bit_length() // 7))
