"""Replies that no broker should send: they are read to an end, and quickly."""

from __future__ import annotations

import struct

import pytest

from hydra.accounting.tally import PartitionTally
from hydra.clients import wire_group_protocol, wire_produce
from hydra.clients.wire_protocol import (
    MALFORMED,
    FetchRequest,
    Reader,
    read_fetch_reply,
    read_list_offsets,
    read_metadata,
    string,
)
from hydra.errors import BrokerError

MANY = struct.pack(">i", 2**31 - 1)
BACK = struct.pack(">h", -6)
"""A length that, taken at its word, leads from behind two counts to before them: round and round, 2^31 times."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "read",
    [
        lambda counts: read_fetch_reply(4, bytes(4) + counts, 0, 4 + len(counts)),
        lambda counts: wire_produce.read_produce_reply(7, counts, 0),
    ],
    ids=["Fetch", "Produce"],
)
def test_a_length_below_nothing_never_leads_back(read):
    with pytest.raises(MALFORMED):
        read(MANY + bytes(6) + BACK)


def a_partition(number=0, code=0, records=b"", aborted=()):
    """What a reply to Fetch 11 says of one partition."""
    transactions = b"".join(struct.pack(">qq", *each) for each in aborted)
    head = struct.pack(">ihqqqi", number, code, 7, 7, 0, len(aborted) or -1) + transactions
    return head + struct.pack(">ii", number - 1, len(records)) + records


def a_reply(*topics, throttled_ms=0, error=0):
    """A reply to Fetch 11 with these (name, partitions)."""
    reply = struct.pack(">ihii", throttled_ms, error, 0, len(topics))
    for name, partitions in topics:
        reply += string(name) + struct.pack(">i", len(partitions)) + b"".join(partitions)
    return reply


@pytest.mark.parametrize(
    "reply",
    [
        a_reply((b"t", [a_partition(3, records=b"abc")])),
        a_reply((b"t", [a_partition(code=1)]), throttled_ms=9, error=70),
        a_reply((b"t", [a_partition(), a_partition(1, records=b"abc")])),
        a_reply((b"t", [a_partition(aborted=[(1, 2), (3, 4)], records=b"abc")])),
        a_reply((b"t", [])),
        a_reply(),
        a_reply((b"t", [a_partition()]), (b"t", [a_partition()])),
        a_reply((b"u", [a_partition(records=b"abc")])),
        a_reply((b"longer", [a_partition(records=b"abc")])),
        a_reply((b"t", [a_partition(records=b"abc")]))[:-1],
        a_reply((b"t", [a_partition(records=b"abc")])) + b"more",
        a_reply((b"t", [a_partition(records=b"abc")]))[:-7] + struct.pack(">i", -3) + b"abc",
        b"",
    ],
)
@pytest.mark.parametrize("version", [4, 11])
def test_a_reply_with_one_partition_is_read_at_once_and_says_what_it_does_field_by_field(reply, version):
    found = []
    request = FetchRequest("c", version, "t", [PartitionTally(0, 0)], 1000)
    buffer = b"before" + reply + bytes(100)
    for read in (request.read_reply, lambda *place: read_fetch_reply(version, *place)):
        try:
            throttled_ms, error, parts = read(buffer, 6, 6 + len(reply))
            found.append((throttled_ms, error, [*parts]))
        except MALFORMED as failure:
            found.append(type(failure))
    assert found[0] == found[1]


def test_nothing_passed_over_is_passed_over_again():
    reader = Reader(struct.pack(">ii", 1, 2), 0)
    reader.int32()
    reader.skip(-4)
    assert reader.int32() == 2


def test_a_length_below_nothing_is_that_of_nothing():
    reply = bytes(4) + struct.pack(">h", -1) + bytes(4) + struct.pack(">ihqq", 0, 0, -1, 7)
    assert read_list_offsets(reply, 0) == (0, 7)


@pytest.mark.parametrize(("host", "port"), [(b"k", 70_000), (b"k", 0), (b"k", -5), (b"k\0", 9092)])
def test_an_address_that_cannot_be_is_not_connected_to(host, port):
    """The system would take port 70,000 for 4,464."""
    address = string(host) + struct.pack(">i", port)
    metadata = struct.pack(">iii", 0, 1, 1) + address + string(b"") + bytes(8)
    with pytest.raises(BrokerError, match=f"port {port}, as the address of a broker"):
        read_metadata(metadata, 0)
    with pytest.raises(BrokerError, match="as the address of a broker"):
        wire_group_protocol.read_coordinator(bytes(2) + struct.pack(">i", 1) + address, 0)
    error, _none = wire_group_protocol.read_coordinator(struct.pack(">hi", 15, -1) + string(b"") + b"\xff" * 4, 0)
    assert error == 15
