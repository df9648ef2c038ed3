"""Record identity: what makes each record of a run recognisable, in 14 bytes.

Layout, big-endian, the seed's average message length to the byte::

    offset  bytes  field
    0       4      run tag: CRC-32 of the run id
    4       2      version of this layout
    6       8      sequence: counts from 0 within one partition

A larger ``msg_size`` is padded behind these 14 bytes.
"""

from __future__ import annotations

import struct
import zlib

IDENTITY_BYTES = 14
LAYOUT_VERSION = 1
IDENTITY = struct.Struct(">IHQ")
"""Packs and unpacks (run tag, layout version, sequence)."""

SEQUENCE = struct.Struct(">Q")
SEQUENCE_OFFSET = 6


def run_tag(run_id: str) -> int:
    """32 bits that distinguish this run's records from those of any other."""
    return zlib.crc32(run_id.encode())


def identity_prefix(run_id: str) -> bytes:
    """The six bytes that the value of every record of a run starts with; a record without them is foreign."""
    return IDENTITY.pack(run_tag(run_id), LAYOUT_VERSION, 0)[:SEQUENCE_OFFSET]
