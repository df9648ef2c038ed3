"""Connections to brokers: requests go out, replies come back in the order of their requests. Nothing here blocks.

A driver has one EventLoop. It serves all connections of the driver on the thread of whoever calls ``run_once``.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import os
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hydra.clients.wire_addresses import Address, Addresses
from hydra.clients.wire_protocol import CORRELATION_AT, INT32, MALFORMED
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError, CapacityError
from hydra.kafka_errors import NO_ADDRESS, TURNED_AWAY
from hydra.options.kafka_access import KafkaAccess

MAX_REPLY_BYTES = 512 * 1024 * 1024
"""A larger reply is another protocol's: the first four bytes of HTTP read as 1.2 GB."""

MAX_BUFFER_BYTES = 1024 * 1024

_FIRST_BUFFER_BYTES = 64 * 1024
_HEAD = struct.Struct(">ii")
"""Of a reply: its size behind these four bytes, correlation id."""

_RESET = struct.pack("ii", 1, 0)

TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How a TLS server answers what is no TLS: with an alert, or with a record of the handshake."""

SPEAKS_TLS = "this port speaks TLS: use --security_protocol=SSL or SASL_SSL, or a listener without TLS (PLAINTEXT)"
CLOSED = "the broker closed the connection"

OnReply = Callable[[bytearray, int, int], None]
"""Handles a reply: (buffer, start, stop) of what follows the correlation id. The buffer is valid during the call only.

The handler may raise BrokerError or one of MALFORMED; the connection is then lost for that reason.
"""


class MakeConnection(Protocol):
    """What makes a connection: its class, or a function that does."""

    def __call__(
        self, endpoint: Endpoint, loop: EventLoop, client_id: str,
        *, on_open: Callable[[], None], on_lost: Callable[[str], None],
    ) -> Connection:  # fmt: skip
        """A new connection that has not begun to connect."""


class EventLoop:
    """What the connections of a driver share: selector, receive buffer and timers.

    A receive buffer for each connection would take gigabytes at 10,000 clients. ``make_connection`` makes those that
    are more than plain.
    """

    __slots__ = ("_make_connection", "_timer_numbers", "_timers", "addresses", "buffer", "selector", "view")

    def __init__(self, make_connection: MakeConnection | None = None) -> None:
        self._make_connection = make_connection or Connection
        self.selector = selectors.DefaultSelector()
        self.addresses = Addresses()
        self.buffer = bytearray(_FIRST_BUFFER_BYTES)
        self.view = memoryview(self.buffer)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_numbers = itertools.count()

    def connection(
        self, endpoint: Endpoint, client_id: str, *, on_open: Callable[[], None], on_lost: Callable[[str], None]
    ) -> Connection:
        """A new connection of the kind that this loop serves: in plain words, or secured (secured_connection.py)."""
        return self._make_connection(endpoint, self, client_id, on_open=on_open, on_lost=on_lost)

    def call_at(self, due_s: float, callback: Callable[[], None]) -> None:
        """Have ``run_once`` call this at ``due_s`` (monotonic clock). A timer cannot be cancelled."""
        heapq.heappush(self._timers, (due_s, next(self._timer_numbers), callback))

    @property
    def due_s(self) -> float:
        """When the next timer is due; infinite when there is none."""
        return self._timers[0][0] if self._timers else float("inf")

    def run_once(self, timeout_s: float) -> None:
        """Run the timers that are due, and serve the sockets; wait for one ``timeout_s`` at most.

        It does not wait when a timer has run: the caller may have something to do.
        """
        timers = self._timers
        if timers:
            now_s = time.monotonic()
            if timers[0][0] <= now_s:
                timeout_s = 0.0
            while timers and timers[0][0] <= now_s:
                heapq.heappop(timers)[2]()
            if timers:
                timeout_s = min(timeout_s, timers[0][0] - now_s)
        for key, mask in self.selector.select(max(0.0, timeout_s)):
            key.data(mask)

    def grow_buffer(self) -> None:
        """A reply filled the buffer: double it, up to 1 MiB, so that no client keeps the loop for long."""
        if len(self.buffer) < MAX_BUFFER_BYTES:
            self.buffer = bytearray(2 * len(self.buffer))
            self.view = memoryview(self.buffer)

    def close(self) -> None:
        """Forget the timers and close the selector; the connections must be closed already."""
        self._timers.clear()
        self.selector.close()


def loop_for(access: KafkaAccess) -> EventLoop:
    """A loop whose connections are let in by this access.

    Raises:
        BrokerError: the wire driver does not speak the mechanism.
        UsageError: certificates or key cannot be used.
    """
    if not access.secured:
        return EventLoop()
    from hydra.clients.secured_connection import Security

    return EventLoop(Security(access).connection)


_ENDS = {CLOSED, os.strerror(errno.ECONNRESET), os.strerror(errno.EPIPE)}
"""How a broker that ends a connection looks from here."""


class ConnectionLostError(Exception):
    """The connection cannot be used any more; the text says why."""


def _no_kafka(beginning: bytes) -> str:
    """What it is that answers so, instead of a Kafka broker."""
    if beginning in TLS_RECORDS:
        return SPEAKS_TLS
    return "the reply is not Kafka's protocol"


class Connection:
    """One connection to one broker, served by the loop.

    Kafka answers the requests of a connection one after the other, in the order in which they came.

    ``on_open`` is called when the connection may be used, ``on_lost`` with the reason when it failed, after it was
    closed; ``close`` calls neither. ``client_id`` is whose requests it carries.
    """

    __slots__ = (
        "_address", "_awaited", "_backlog", "_begun_s", "_correlation_id", "_loop", "_on_lost", "_on_open", "_partial",
        "_socket", "_unsent", "_untried", "client_id", "connecting", "endpoint", "reached", "unsent_requests",
    )  # fmt: skip

    def __init__(
        self, endpoint: Endpoint, loop: EventLoop, client_id: str,
        *, on_open: Callable[[], None], on_lost: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.endpoint = endpoint
        self.client_id = client_id
        self.connecting = True
        self.reached = False
        """Whether the broker's machine has taken it: it may wait there until the broker comes to it."""
        self.unsent_requests = 0
        """How many of the last requests the system has not taken as a whole: the broker cannot act on those."""
        self._loop = loop
        self._on_open = on_open
        self._on_lost = on_lost
        self._begun_s = time.monotonic()
        self._correlation_id = 0
        self._awaited: deque[tuple[int, OnReply, float]] = deque()
        """(correlation id, handler, when it was requested) of each reply to come."""
        self._partial: bytearray | None = None
        """The beginning of a reply that did not come in one piece."""
        self._unsent: memoryview | None = None
        """The rest of a request that the system has taken in part; the requests behind it wait in the backlog."""
        self._backlog: deque[bytearray] = deque()
        self._socket: socket.socket | None = None
        self._address: Address | None = None
        """The one that is being tried."""
        self._untried: deque[Address] = deque()

    @property
    def waiting_since_s(self) -> float | None:
        """Since when the broker owes the connection or the next reply (monotonic clock); None when it owes nothing."""
        if self.connecting:
            return self._begun_s
        return self._awaited[0][2] if self._awaited else None

    def connect(self) -> None:
        """Begin to connect, to one address of the endpoint after the other; never waits, except to look up a name.

        Raises:
            CapacityError: no file descriptor is left. ``on_lost`` was called, as for any other reason.
        """
        try:
            self._untried = deque(self._loop.addresses.of(self.endpoint))
        except (OSError, UnicodeError) as error:
            self._fail(f"{NO_ADDRESS} ({getattr(error, 'strerror', None) or error})")
            return
        self._connect_next("")

    def _connect_next(self, reason: str) -> None:
        """Try the next address; with none left the connection is lost for the reason why the last one failed."""
        while self._untried:
            self._address = family, address = self._untried.popleft()
            try:
                connection = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:
                self._check_descriptors(error)
                reason = str(error)
                continue
            connection.settimeout(0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = connection.connect_ex(address)
            if code in {0, errno.EINPROGRESS}:
                self._socket = connection
                self._loop.selector.register(connection, selectors.EVENT_WRITE, self._serve)
                return
            connection.close()
            self._loop.addresses.failed(self.endpoint, self._address)
            reason = os.strerror(code)
        self._fail(reason)

    def _check_descriptors(self, error: OSError) -> None:
        """Raise CapacityError if that is why there is no socket."""
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            return
        capacity_error = CapacityError(
            f"no file descriptor is left for a connection to {self.endpoint}: {error.strerror}",
            hint="each client needs one for each leader; raise the limit with ulimit -n, or use fewer clients per app",
        )
        self._on_lost(str(capacity_error))
        raise capacity_error from error

    def request(self, frame: bytearray, on_reply: OnReply | None) -> None:
        """Send a request, behind those that wait to be sent. On a connection that is closed this does nothing.

        The frame must not be changed until it was sent; ``on_reply`` is None where the broker does not reply.
        """
        # Hot path: once for every fetch.
        connection = self._socket
        if connection is None:
            return
        self._correlation_id = correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
        INT32.pack_into(frame, CORRELATION_AT, correlation_id)
        if on_reply is not None:
            self._awaited.append((correlation_id, on_reply, time.monotonic()))
        if self._unsent is not None:
            self.unsent_requests += 1
            self._backlog.append(frame)
            return
        try:
            sent = connection.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.unsent_requests += 1
            self._fail(error.strerror or str(error))
            return
        if sent < len(frame):
            self.unsent_requests += 1
            self._unsent = memoryview(frame)[sent:]
            self._loop.selector.modify(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, self._serve)

    def close(self) -> None:
        """Close the socket; harmless the second time. Calls no handler."""
        if self.connecting and self._address is not None:
            # Also where it was given up because nothing came back.
            self._loop.addresses.failed(self.endpoint, self._address)
        self._partial = self._unsent = None
        self._backlog.clear()
        self._awaited.clear()
        self._drop_socket()

    def _drop_socket(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            with contextlib.suppress(KeyError):
                self._loop.selector.unregister(connection)
            connection.close()

    def abort(self) -> None:
        """Close, and have the system throw away what it took and has not sent; harmless the second time."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def _serve(self, mask: int) -> None:
        """The selector says that the socket is ready."""
        if self._socket is None:
            return  # closed by an earlier event of the same round
        try:
            if self.connecting:
                self._go_on_connecting(self._socket, mask)
            elif mask & selectors.EVENT_WRITE:
                self._send_rest(self._socket)
            elif mask & selectors.EVENT_READ:
                self._receive(self._socket)
        except ConnectionLostError as error:
            self._fail(str(error))
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error.strerror or str(error))

    def _go_on_connecting(self, connection: socket.socket, _mask: int) -> None:
        """The socket is ready, and the connection may not be used yet."""
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._drop_socket()
            if self._address is not None:
                self._loop.addresses.failed(self.endpoint, self._address)
            with contextlib.suppress(CapacityError):  # that it is lost was told
                self._connect_next(os.strerror(code))
            return
        self.reached = True
        self._loop.selector.modify(connection, selectors.EVENT_READ, self._serve)
        self._connected(connection)

    def _connected(self, _connection: socket.socket) -> None:
        """The broker has taken the connection."""
        self.connecting = False
        self._on_open()

    def _send_rest(self, connection: socket.socket) -> None:
        while self._unsent is not None:
            sent = connection.send(self._unsent)
            if sent < len(self._unsent):
                self._unsent = self._unsent[sent:]
                return
            self.unsent_requests -= 1
            self._unsent = memoryview(self._backlog.popleft()) if self._backlog else None
        self._loop.selector.modify(connection, selectors.EVENT_READ, self._serve)

    def _receive(self, connection: socket.socket) -> None:  # noqa: C901  # hot path: a call more costs
        # Once for every reply to a fetch.
        loop = self._loop
        received = connection.recv_into(loop.view)
        if not received:
            beginning = bytes(self._partial[:2]) if self._partial is not None else b""
            raise ConnectionLostError(_no_kafka(beginning) if beginning in TLS_RECORDS else CLOSED)
        buffer, filled = loop.buffer, received
        if self._partial is not None:
            # Slow path: only a reply that did not come in one piece is copied.
            self._partial += loop.view[:received]
            buffer, filled = self._partial, len(self._partial)
        if received == len(loop.buffer):
            loop.grow_buffer()
        awaited = self._awaited
        at = 0
        while filled - at >= _HEAD.size:
            size, correlation_id = _HEAD.unpack_from(buffer, at)
            if not INT32.size <= size <= MAX_REPLY_BYTES:
                raise ConnectionLostError(_no_kafka(bytes(buffer[at : at + 2])))
            stop = at + INT32.size + size
            if stop > filled:
                break
            if not awaited or correlation_id != awaited[0][0]:
                raise ConnectionLostError("unexpected correlation id")
            _, on_reply, _ = awaited.popleft()
            try:
                on_reply(buffer, at + _HEAD.size, stop)
            except MALFORMED as error:
                raise ConnectionLostError(f"malformed reply: {error}") from error
            except BrokerError as error:
                raise ConnectionLostError(str(error)) from error
            if self._socket is None:
                return  # the handler closed the connection
            at = stop
        if at == filled:
            self._partial = None
        elif at or self._partial is None:
            self._partial = buffer[at:filled]

    def _fail(self, reason: str) -> None:
        if reason in _ENDS and 0 < self._correlation_id == len(self._awaited):
            reason = f"{CLOSED} {TURNED_AWAY}"
        self.close()
        self._on_lost(f"{self.endpoint}: {reason}")
