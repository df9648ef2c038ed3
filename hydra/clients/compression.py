"""The codecs of Kafka's record batches, at the levels that Kafka's own producer has by default."""

from __future__ import annotations

import struct
from typing import Any

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4

CODECS = {"none": 0, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
"""By their names in Kafka's ``compression.type``."""

_GZIP_LEVEL, _ZSTD_LEVEL = 6, 3

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK_BYTES = 32 * 1024
"""Snappy's default of Kafka's own producer."""

_LZ4_HEADER = bytes.fromhex("04224d18604082")
"""Of an LZ4 frame: version 1, blocks that do not depend on each other (Kafka takes no others) of 64 KiB at most, no
checksums but the header's own, which is the last byte."""
_LZ4_BLOCK_BYTES = 64 * 1024
_LZ4_PLAIN = 1 << 31
_LZ4_END = bytes(4)


def compress(codec: int, records: memoryview) -> bytes:
    """The records of a batch compressed, as Kafka's own producer does it; the same bytes each time."""
    import cramjam  # most runs compress nothing

    if codec == GZIP:
        return bytes(cramjam.gzip.compress(records, level=_GZIP_LEVEL))
    if codec == SNAPPY:
        return _compress_snappy(records)
    if codec == LZ4:
        return _compress_lz4(records)
    return bytes(cramjam.zstd.compress(records, level=_ZSTD_LEVEL))


def _compress_snappy(records: memoryview) -> bytes:
    from cramjam import snappy

    pieces = [_XERIAL_HEADER]
    for at in range(0, len(records), _XERIAL_BLOCK_BYTES):
        block = bytes(snappy.compress_raw(records[at : at + _XERIAL_BLOCK_BYTES]))
        pieces += (struct.pack(">i", len(block)), block)
    return b"".join(pieces)


def _compress_lz4(records: memoryview) -> bytes:
    """Cramjam makes LZ4 frames of blocks that depend on each other only; these are made of its single blocks."""
    from cramjam import lz4

    pieces: list[Any] = [_LZ4_HEADER]
    for at in range(0, len(records), _LZ4_BLOCK_BYTES):
        plain = records[at : at + _LZ4_BLOCK_BYTES]
        block = bytes(lz4.compress_block(plain, store_size=False))
        if len(block) < len(plain):
            pieces += (struct.pack("<I", len(block)), block)
        else:
            pieces += (struct.pack("<I", len(plain) | _LZ4_PLAIN), plain)
    return b"".join((*pieces, _LZ4_END))


def decompress(codec: int, compressed: memoryview) -> bytes:
    """The records of a batch as they were before compression; ``codec`` is from its attributes.

    Raises:
        ValueError: Kafka does not define the codec, or the bytes are not of that codec.
    """
    import cramjam  # most runs never see a compressed batch

    try:
        if codec == GZIP:
            return bytes(cramjam.gzip.decompress(compressed))
        if codec == SNAPPY:
            return _decompress_snappy(compressed)
        if codec == LZ4:
            return bytes(cramjam.lz4.decompress(compressed))
        if codec == ZSTD:
            return bytes(cramjam.zstd.decompress(compressed))
    except (cramjam.DecompressionError, struct.error, OSError) as error:
        raise ValueError(f"the batch cannot be decompressed (codec {codec}): {error}") from error
    raise ValueError(f"the batch has the unknown compression codec {codec}")


def _decompress_snappy(compressed: memoryview) -> bytes:
    """Java clients and the broker write xerial's framing (blocks with their lengths), librdkafka one bare block."""
    from cramjam import snappy

    if compressed[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return bytes(snappy.decompress_raw(compressed))
    blocks = []
    at = _XERIAL_HEADER_BYTES
    while at < len(compressed):
        (size,) = struct.unpack_from(">i", compressed, at)
        at += 4
        if not 0 <= size <= len(compressed) - at:
            raise ValueError(f"invalid snappy block: {size} bytes, {len(compressed) - at} are left")
        blocks.append(bytes(snappy.decompress_raw(compressed[at : at + size])))
        at += size
    return b"".join(blocks)
