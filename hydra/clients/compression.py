"""The codecs of Kafka's record batches."""

from __future__ import annotations

import struct

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16


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
