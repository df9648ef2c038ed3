"""A listener to events that does not read: what becomes of it, and of the others."""

import contextlib
import socket
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.integration

MEBIBYTE = 1024 * 1024
MOST_APPS = 64


def frames(text):
    """The whole data lines of a stream, without that of the listener itself."""
    return [line for line in text.split(b"\r\n")[:-1] if line.startswith(b"data: ") and b"stream_attached" not in line]


@pytest.fixture
def reader(listen):
    """One who reads as fast as it can: what it has read, in pieces."""
    return listen("api_post_event", take=lambda answer: answer.iter_content(chunk_size=None))


@pytest.fixture
def slow(server):
    """A connection that has asked for events, with little room for what it does not read; HTTP 1.0 has no chunks."""
    address = urlsplit(server.url)
    with socket.socket() as connection:
        connection.settimeout(20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((address.hostname, address.port))
        connection.sendall(b"GET /v2/events?event_type=api_post_event HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
        yield connection


def read_to_end(connection):
    text = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(MEBIBYTE):
            text += piece
    return text


def test_a_listener_that_is_too_far_behind_is_dropped_and_holds_up_nobody(server, poll, reader, slow):
    listeners = server.server._scheduler.events
    poll(lambda: listeners.listener_count == 2)
    count = 0
    while listeners.listener_count == 2:
        assert count < MOST_APPS, "what waits for the slow one grows without bound"
        server.create(f"/x{count}", cmd="exec sleep 1000", instances=0, labels={"large": "x" * MEBIBYTE})
        count += 1
        # The others are told at once, however long the slow one takes.
        poll(lambda count=count: len(frames(b"".join(reader))) == count)
    text = read_to_end(slow)
    # What had left for it is there, without gaps; what waited is gone, and so is the connection.
    told = frames(text)
    assert told == frames(b"".join(reader))[: len(told)]
    assert len(text) < (count - 8) * MEBIBYTE
    server.create("/last", cmd="exec sleep 1000", instances=0)
    poll(lambda: len(frames(b"".join(reader))) == count + 1)
