"""Fourteen bytes that tell a record from all others."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from hydra.clients.record_writer import RecordWriter
from hydra.records.identity import (
    IDENTITY,
    IDENTITY_BYTES,
    LAYOUT_VERSION,
    SEQUENCE,
    SEQUENCE_OFFSET,
    identity_prefix,
    one_record_batch_bytes,
    run_tag,
)


def test_the_layout_is_the_one_that_the_module_describes():
    assert IDENTITY.size == IDENTITY_BYTES == 14
    assert IDENTITY.pack(0x01020304, 0x0506, 0x0708) == bytes([1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 7, 8])


@given(st.text(max_size=30), st.integers(0, 2**64 - 1))
def test_the_prefix_and_the_sequence_are_the_identity(run_id, sequence):
    value = identity_prefix(run_id) + SEQUENCE.pack(sequence)
    assert len(identity_prefix(run_id)) == SEQUENCE_OFFSET
    assert IDENTITY.unpack(value) == (run_tag(run_id), LAYOUT_VERSION, sequence)


def test_the_tag_is_the_crc_32_of_the_run_id():
    assert run_tag("hydra-1") == zlib.crc32(b"hydra-1")
    assert run_tag("hydra-1") != run_tag("hydra-2")
    assert 0 <= run_tag("läuft") < 2**32


@given(value_bytes=st.integers(IDENTITY_BYTES, 1_000_000))
def test_a_batch_of_one_record_is_as_large_as_it_is_told(value_bytes):
    batch = RecordWriter(identity_prefix("r"), value_bytes).batch(0, [(1, 0)])
    assert len(batch) == one_record_batch_bytes(value_bytes)
