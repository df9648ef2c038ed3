"""Fourteen bytes that tell a record from all others."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from hydra.records.identity import IDENTITY, IDENTITY_BYTES, SEQUENCE, SEQUENCE_OFFSET, identity_prefix, run_tag


def test_the_layout_is_the_one_that_the_module_describes():
    assert IDENTITY.size == IDENTITY_BYTES == 14
    assert IDENTITY.pack(0x01020304, 0x0506, 0x0708) == bytes([1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 7, 8])


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1))
def test_prefix_and_sequence_make_the_identity(tag, incarnation, sequence):
    value = identity_prefix(tag, incarnation) + SEQUENCE.pack(sequence)
    assert IDENTITY.unpack(value) == (tag, incarnation, sequence)
    assert SEQUENCE.unpack_from(value, SEQUENCE_OFFSET) == (sequence,)


def test_the_tag_is_the_crc_32_of_the_run_id():
    assert run_tag("hydra-1") == zlib.crc32(b"hydra-1")
    assert run_tag("hydra-1") != run_tag("hydra-2")
    assert 0 <= run_tag("läuft") < 2**32
