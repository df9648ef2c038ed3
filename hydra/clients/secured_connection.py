"""Connections that have to be let in: TLS, and SASL with its renewal in mid-connection (KIP-368). Nothing here blocks.

A connection that needs none of this is a plain ``Connection``, and goes through no line of it.
"""

from __future__ import annotations

import errno
import random
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from hydra.clients import wire_sasl as sasl
from hydra.clients.access_token import shared_token
from hydra.clients.tls_context import shared_context, tls_reason
from hydra.clients.wire_connection import CLOSED, Connection, ConnectionLostError, EventLoop, OnReply
from hydra.clients.wire_protocol import api_versions_request, read_api_versions
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.kafka_errors import TURNED_AWAY, error_name
from hydra.options.kafka_access import KafkaAccess

RENEW_FROM, RENEW_TO = 0.85, 0.95
"""When a session is renewed, as a part of its lifetime: at a random moment between, as Kafka's own client does."""

_SHORT_RECORD_BYTES = 8192
"""Brokers fill their TLS records up to 16 KiB: after a shorter one there is rarely another one yet."""


class TlsSocket(ssl.SSLSocket):
    """A TLS socket that reads and writes as much as a plain one does in one call, and says "not now" as one does."""

    def recv_into(self, buffer: Any, nbytes: int | None = None, _flags: int = 0) -> int:  # noqa: ANN401  any buffer
        """Fill the buffer as far as records are there; 0 once the broker has closed the connection."""
        filled, size = 0, nbytes or len(buffer)
        while filled < size:
            try:
                got = super().recv_into(buffer[filled:] if filled else buffer, size - filled)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not filled:
                    raise BlockingIOError(errno.EAGAIN, "no whole record yet") from None
                break
            filled += got
            if got < _SHORT_RECORD_BYTES and not self.pending():
                break
        return filled

    def send(self, data: Any, _flags: int = 0) -> int:  # noqa: ANN401  any buffer
        """Send as many records as the system takes."""
        sent, view = 0, memoryview(data)
        while sent < len(view):
            try:
                sent += super().send(view[sent:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not sent:
                    raise BlockingIOError(errno.EAGAIN, "the system takes no more") from None
                break
        return sent


class Security:
    """What all secured connections of a driver have in common.

    Raises:
        BrokerError: the wire driver does not speak the mechanism.
        UsageError: certificates or key cannot be used.
    """

    def __init__(self, access: KafkaAccess) -> None:
        if access.sasl and access.wire_mechanism not in sasl.WIRE_MECHANISMS:
            raise BrokerError(
                f"the wire driver does not speak {access.mechanism}", hint="use confluent or kafka-python"
            )
        self.access = access
        self.context = shared_context(access, TlsSocket) if access.tls else None
        self._salted = sasl.SaltedPassword(access)

    def connection(
        self, endpoint: Endpoint, loop: EventLoop, client_id: str,
        *, on_open: Callable[[], None], on_lost: Callable[[str], None],
    ) -> Connection:  # fmt: skip
        """A connection with this security."""
        return SecuredConnection(self, endpoint, loop, client_id, on_open=on_open, on_lost=on_lost)

    def conversation(self) -> sasl.Conversation:
        """What to say to one broker."""
        return sasl.conversation(self.access, self._salted, shared_token(self.access).get)


class SecuredConnection(Connection):
    """A connection that opens once TLS and SASL are done, as far as they are asked for."""

    __slots__ = ("_conversation", "_held", "_security", "_tls", "_version")

    def __init__(
        self, security: Security, endpoint: Endpoint, loop: EventLoop, client_id: str,
        *, on_open: Callable[[], None], on_lost: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__(endpoint, loop, client_id, on_open=on_open, on_lost=on_lost)
        self._security = security
        self._tls: TlsSocket | None = None
        self._conversation: sasl.Conversation | None = None
        """Of SASL, while there is one."""
        self._held: list[tuple[bytearray, OnReply | None]] | None = None
        """Requests that wait until the session is renewed; None while it is good."""
        self._version = 0

    def request(self, frame: bytearray, on_reply: OnReply | None) -> None:
        """As of a plain connection; while the session is renewed, requests wait."""
        if self._held is None:
            super().request(frame, on_reply)
        elif self._socket is not None:
            self.unsent_requests += 1
            self._held.append((frame, on_reply))

    def close(self) -> None:
        """As of a plain connection."""
        super().close()
        self._tls = self._conversation = self._held = None

    def _go_on_connecting(self, connection: socket.socket, mask: int) -> None:
        if self._tls is None and self._conversation is None and not self._awaited:
            super()._go_on_connecting(connection, mask)
        elif not self._awaited:
            self._shake_hands(connection)
        elif mask & selectors.EVENT_WRITE:
            self._send_rest(connection)
        else:
            self._receive(connection)

    def _connected(self, connection: socket.socket) -> None:
        context = self._security.context
        if context is None:
            self._identify()
            return
        wrapped = context.wrap_socket(connection, server_hostname=self.endpoint.host, do_handshake_on_connect=False)
        assert isinstance(wrapped, TlsSocket)
        self._socket = self._tls = wrapped
        self._shake_hands(wrapped)

    def _shake_hands(self, connection: socket.socket) -> None:
        assert isinstance(connection, TlsSocket)
        events = selectors.EVENT_READ
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        except ssl.SSLWantWriteError:
            done, events = False, selectors.EVENT_WRITE
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):  # the second is what Python 3.11.2 says
            raise ConnectionLostError(f"{CLOSED} {TURNED_AWAY}") from None
        except OSError as error:
            raise ConnectionLostError(tls_reason(error, self.endpoint.host)) from None
        else:
            done = True
        self._loop.selector.modify(connection, events, self._serve)
        if done:
            self._identify()

    def _receive(self, connection: socket.socket) -> None:
        try:
            super()._receive(connection)
            # What OpenSSL has read already no selector tells of.
            while (tls := self._tls) is not None and tls.pending():
                super()._receive(tls)
        except ssl.SSLError as error:
            raise ConnectionLostError(tls_reason(error, self.endpoint.host)) from None

    def _identify(self) -> None:
        """Say who we are, where the broker asks for it."""
        if self._security.access.sasl:
            super().request(api_versions_request(self.client_id), self._take_versions)
        else:
            self._let_in()

    def _take_versions(self, buffer: bytearray, start: int, _stop: int) -> None:
        self._version = sasl.chosen_version(read_api_versions(buffer, start))
        self._choose_mechanism()

    def _choose_mechanism(self) -> None:
        mechanism = self._security.access.wire_mechanism
        super().request(sasl.handshake_request(self.client_id, mechanism), self._take_mechanisms)

    def _take_mechanisms(self, buffer: bytearray, start: int, _stop: int) -> None:
        error, mechanisms = sasl.read_handshake(buffer, start)
        if error:
            raise mechanism_refused(error, self._security.access, mechanisms)
        try:
            self._conversation = self._security.conversation()
            self._say(next(self._conversation))
        except BrokerError as why:
            raise self._unfinished(why) from None

    def _say(self, said: bytes) -> None:
        super().request(sasl.authenticate_request(self.client_id, self._version, said), self._take_answer)

    def _take_answer(self, buffer: bytearray, start: int, _stop: int) -> None:
        error, words, heard, lifetime_ms = sasl.read_authenticated(self._version, buffer, start)
        if error:
            raise authentication_failed(error, self._security.access, words)
        assert self._conversation is not None
        try:
            said = self._conversation.send(heard)
        except BrokerError as why:
            raise self._unfinished(why) from None
        except StopIteration:
            self._conversation = None
            if lifetime_ms > 0:
                due_s = time.monotonic() + lifetime_ms / 1000 * random.uniform(RENEW_FROM, RENEW_TO)  # noqa: S311
                self._loop.call_at(due_s, self._renew)
            self._let_in()
        else:
            self._say(said)

    def _unfinished(self, why: BrokerError) -> BrokerError:
        """Why the conversation went wrong, as what it is: no doing of the client."""
        return BrokerError(f"SASL/{self._security.access.mechanism}: {why.message}", hint=why.hint)

    def _let_in(self) -> None:
        if self.connecting:
            self.connecting = False
            self._on_open()
            return
        held, self._held = self._held or [], None
        for frame, on_reply in held:
            self.unsent_requests -= 1
            self.request(frame, on_reply)

    def _renew(self) -> None:
        """Authenticate again before the session ends: behind the requests that are under way, and before all others."""
        if self._socket is not None and self._held is None:
            self._held = []
            self._choose_mechanism()


def mechanism_refused(code: int, access: KafkaAccess, mechanisms: tuple[str, ...]) -> BrokerError:
    """The error where a broker does not take the mechanism; ``mechanisms`` are those that it has."""
    if code == sasl.UNSUPPORTED_MECHANISM:
        text = f"{error_name(code)}: the listener does not offer {access.wire_mechanism}"
        return BrokerError(text, hint=f"it offers {', '.join(mechanisms) or 'none'} (--sasl_mechanism, sasl.mechanism)")
    if code == sasl.ILLEGAL_SASL_STATE:
        without = "SSL" if access.tls else "PLAINTEXT"
        return BrokerError(
            f"{error_name(code)}: the listener wants no SASL", hint=f"use --security_protocol={without} or another port"
        )
    return BrokerError(f"{error_name(code)} for SaslHandshake")


def authentication_failed(code: int, access: KafkaAccess, words: str) -> BrokerError:
    """The error where a broker does not believe who we are; ``words`` are its own."""
    who = f"{access.mechanism} as {access.username!r}" if access.username else access.mechanism
    said = f" ({words[:200]})" if words else ""
    return BrokerError(f"{error_name(code)} for {who}{said}", hint="check user and password, or the token")
