"""Connections to a local Marathon that ask for nothing: they are few, and not for long, and keep nobody out."""

import contextlib
import select
import socket
import time
from urllib.parse import urlsplit

import pytest

from hydra.localmarathon import newcomers
from tests.commands import wait_until

TOKEN = "a-token-of-this-test"
HEAD = b"GET /v2/info HTTP/1.1\r\nHost: 127.0.0.1\r\n"
ASKED = HEAD + b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
SOON_S = 0.3


@pytest.fixture
def connect(start_marathon):
    """Opens connections to a server with a token."""
    place = urlsplit(start_marathon(token=TOKEN).url)
    with contextlib.ExitStack() as closing:
        yield lambda: closing.enter_context(socket.create_connection((place.hostname, place.port), timeout=10))


def is_ended(connection, sent=b""):
    """Whether the server has hung up; sends something more if there is something."""
    try:
        if sent:
            connection.sendall(sent)
        while select.select([connection], [], [], 0)[0]:
            if connection.recv(65536) == b"":
                return True
    except ConnectionError:  # what comes after the end is reset
        return True
    return False


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"", b""),
        (HEAD + b"X-A: ", b"a"),
        (HEAD + b"\r\n", b""),
        (HEAD + b"\r\n", HEAD + b"\r\n"),
        (b"\xff" * 100, b""),
    ],
    ids=["silent", "byte by byte", "without the token", "again and again without the token", "no HTTP"],
)
def test_who_has_not_shown_the_token_in_time_is_ended(connect, monkeypatch, first, more):
    monkeypatch.setattr(newcomers, "FIRST_REQUEST_S", SOON_S)
    connection = connect()
    connection.sendall(first)
    wait_until(lambda: is_ended(connection, more), 10, "the server hangs up, whatever comes")


def test_who_has_shown_it_stays(connect, monkeypatch):
    monkeypatch.setattr(newcomers, "FIRST_REQUEST_S", SOON_S)
    connection, other = connect(), connect()
    connection.sendall(ASKED)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    wait_until(lambda: is_ended(other), 10, "its time is over")
    time.sleep(SOON_S)  # and over again
    connection.sendall(ASKED)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_crowd_of_newcomers_is_bounded_and_keeps_nobody_out(connect, monkeypatch):
    monkeypatch.setattr(newcomers, "MOST_NEWCOMERS", 4)
    known = connect()
    known.sendall(ASKED)
    assert known.recv(65536).startswith(b"HTTP/1.1 200")
    crowd = [connect() for _ in range(12)]
    wait_until(lambda: sum(map(is_ended, crowd)) == 8, 10, "of those that ask for nothing four are there")
    assert [is_ended(each) for each in crowd[-4:]] == [False] * 4, "the first ones were ended"
    for connection in (known, connect()):
        connection.sendall(ASKED)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
