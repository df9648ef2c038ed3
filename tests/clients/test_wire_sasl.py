"""SASL as bytes and as a conversation, against the examples of the RFCs."""

from __future__ import annotations

import struct

import pytest

from hydra.clients import wire_sasl as sasl
from hydra.clients.wire_connection import loop_for
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.kafka_errors import is_own_error
from hydra.options.kafka_access import KafkaAccess, TokenSource

# RFC 7677, 3: SCRAM-SHA-256 of user "user" with password "pencil"
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_LAST = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_LAST = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def scram(monkeypatch, **changes):
    monkeypatch.setattr(sasl.secrets, "token_urlsafe", lambda _size: NONCE)
    access = KafkaAccess("SASL_SSL", "SCRAM-SHA-256", **{"username": "user", "password": "pencil", **changes})
    salted = sasl.SaltedPassword(access)
    return sasl.conversation(access, salted, no_token), salted


def no_token():
    raise AssertionError("nobody wants one")


def test_scram_says_what_the_rfc_says(monkeypatch):
    said, _ = scram(monkeypatch)
    assert next(said) == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert said.send(SERVER_FIRST) == CLIENT_LAST
    with pytest.raises(StopIteration):
        said.send(SERVER_LAST)


def test_a_password_is_salted_once(monkeypatch):
    calls = []
    pbkdf2 = sasl.hashlib.pbkdf2_hmac
    monkeypatch.setattr(sasl.hashlib, "pbkdf2_hmac", lambda *args: calls.append(args) or pbkdf2(*args))
    _, salted = scram(monkeypatch)
    assert len({salted.of(b"salt", 4096) for _ in range(3)}) == 1
    assert len(calls) == 1
    assert salted.of(b"other", 4096) != salted.of(b"salt", 4096)


def test_a_name_is_escaped(monkeypatch):
    said, _ = scram(monkeypatch, username="a,b=c")
    assert next(said).startswith(b"n,,n=a=2Cb=3Dc,r=")


@pytest.mark.parametrize(
    "server_first",
    [
        b"", b"r=other,s=W22Z,i=4096", SERVER_FIRST.replace(b"i=4096", b"i=0"), SERVER_FIRST.replace(b"4096", b"x"),
        SERVER_FIRST.replace(b"4096", b"999999999"), SERVER_FIRST.replace(b"s=W", b"s=!"), b"\xff\xfe", b"e=no",
    ],
)  # fmt: skip
def test_a_broker_that_says_something_else_is_told_of(monkeypatch, server_first):
    said, _ = scram(monkeypatch)
    next(said)
    with pytest.raises(BrokerError, match="SCRAM is"):
        said.send(server_first)


@pytest.mark.parametrize("server_last", [b"", b"v=AAAA", b"e=other-error", SERVER_LAST[:-2], b"v=\xff"])
def test_a_broker_that_does_not_know_the_password_is_not_believed(monkeypatch, server_last):
    said, _ = scram(monkeypatch)
    next(said)
    said.send(SERVER_FIRST)
    with pytest.raises(BrokerError, match="does not know the password"):
        said.send(server_last)


def test_plain_says_user_and_password():
    access = KafkaAccess("SASL_SSL", "PLAIN", "user", "pencil")
    said = sasl.conversation(access, sasl.SaltedPassword(access), no_token)
    assert next(said) == b"\0user\0pencil"
    with pytest.raises(StopIteration):
        said.send(b"")


def test_bearer_says_its_token_and_hears_why_it_is_refused():
    tokens = TokenSource(token="t.o.k", extensions=(("logicalCluster", "lkc-1"),))
    access = KafkaAccess("SASL_SSL", "OAUTHBEARER", tokens=tokens)
    for heard in (b"", b'{"status":"invalid_token"}'):
        said = sasl.conversation(access, sasl.SaltedPassword(access), lambda: ("t.o.k", 0.0))
        assert next(said) == b"n,,\x01auth=Bearer t.o.k\x01logicalCluster=lkc-1\x01\x01"
        if heard:
            assert said.send(heard) == b"\x01"
        with pytest.raises(StopIteration):
            said.send(b"")


def test_requests_are_those_of_the_protocol_guide():
    assert sasl.handshake_request("c", "PLAIN")[4:] == struct.pack(">hhih1sh5s", 17, 1, 0, 1, b"c", 5, b"PLAIN")
    assert sasl.authenticate_request("c", 1, b"ab")[4:] == struct.pack(">hhih1si2s", 36, 1, 0, 1, b"c", 2, b"ab")


def test_replies_are_read():
    assert sasl.read_handshake(struct.pack(">hih5sh3s", 33, 2, 5, b"PLAIN", 3, b"XYZ"), 0) == (33, ("PLAIN", "XYZ"))
    reply = struct.pack(">hh3si2sq", 58, 3, b"why", 2, b"ab", 5000)
    assert sasl.read_authenticated(1, reply, 0) == (58, "why", b"ab", 5000)
    assert sasl.read_authenticated(0, reply, 0) == (58, "why", b"ab", 0)
    assert sasl.read_authenticated(1, struct.pack(">hhiq", 0, -1, -1, 0), 0) == (0, "", b"", 0)


@pytest.mark.parametrize("size", range(20))
def test_a_reply_that_is_cut_off_is_malformed_or_short(size):
    reply = struct.pack(">hh3si2sq", 58, 3, b"why", 2, b"ab", 5000)[:size]
    with pytest.raises((struct.error, IndexError)):
        sasl.read_authenticated(1, reply, 0)


def test_a_broker_before_1_0_is_told_of():
    assert sasl.chosen_version({36: (0, 2)}) == 1
    assert sasl.chosen_version({36: (0, 0)}) == 0
    with pytest.raises(BrokerError, match=r"too old.*Kafka 1.0"):
        sasl.chosen_version({17: (0, 1)})


def test_a_token_that_nobody_gives_is_no_fault_of_the_client():
    loop = loop_for(KafkaAccess("SASL_PLAINTEXT", "OAUTHBEARER", tokens=TokenSource(file="/nowhere/token")))
    connection = loop.connection(Endpoint("h", 1), "c", on_open=lambda: None, on_lost=lambda _: None)
    handshake = bytearray(struct.pack(">hi", 0, 0))
    with pytest.raises(BrokerError, match=r"^SASL/OAUTHBEARER: the token file /nowhere/token cannot be read") as caught:
        connection._take_mechanisms(handshake, 0, len(handshake))
    assert not is_own_error(str(caught.value))
    loop.close()
