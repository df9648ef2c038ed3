"""Record identity: what makes each record of a run recognisable, in 14 bytes.

Layout, big-endian, the seed's average message length to the byte::

    offset  bytes  field
    0       4      run tag: CRC-32 of the run id
    4       2      incarnation of the publisher (a replaced task gets another)
    6       8      sequence: counts from 0 within one partition

A larger ``msg_size`` is padded behind these 14 bytes.
"""

from __future__ import annotations

import struct
import zlib

IDENTITY_BYTES = 14
FIRST_INCARNATION = 1
IDENTITY = struct.Struct(">IHQ")
"""Packs and unpacks (run tag, incarnation, sequence)."""

SEQUENCE = struct.Struct(">Q")
SEQUENCE_OFFSET = 6


def run_tag(run_id: str) -> int:
    """The 32 bits that tell this run's records from any other's."""
    return zlib.crc32(run_id.encode())


def identity_prefix(tag: int, incarnation: int) -> bytes:
    """The six bytes that all records of one publisher incarnation start with.

    Args:
        tag: the run's tag, 32 bits.
        incarnation: the publisher's incarnation, 16 bits.
    """
    return IDENTITY.pack(tag, incarnation, 0)[:SEQUENCE_OFFSET]
