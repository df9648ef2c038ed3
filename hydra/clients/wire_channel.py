"""A non-blocking TCP connection that carries one Kafka request at a time, and its answer."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
from collections.abc import Callable
from functools import lru_cache

from hydra.clients.wire_protocol import INT32, set_correlation
from hydra.endpoints import Endpoint
from hydra.errors import CapacityError

FRAME_LIMIT_BYTES = 512 * 1024 * 1024
"""A larger answer is taken for another protocol's bytes: HTTP's first four read as 1.2 GB."""

_SCRATCH_FIRST_BYTES = 64 * 1024
_SCRATCH_LAST_BYTES = 1024 * 1024
_HEAD_BYTES = 8


class ConnectionLostError(Exception):
    """The connection cannot be used any more; the text says why. Never leaves the driver."""


class ReceiveBuffer:
    """The one receive buffer of all connections of a process: a buffer for each would be gigabytes at 10,000."""

    __slots__ = ("buffer", "view")

    def __init__(self) -> None:
        self.buffer = bytearray(_SCRATCH_FIRST_BYTES)
        self.view = memoryview(self.buffer)

    def filled(self) -> None:
        """An answer filled it: give the next one more room, up to 1 MiB, so that no client keeps the loop for long."""
        if len(self.buffer) < _SCRATCH_LAST_BYTES:
            self.buffer = bytearray(2 * len(self.buffer))
            self.view = memoryview(self.buffer)


@lru_cache(maxsize=1024)
def _resolve(endpoint: Endpoint) -> tuple[int, tuple[object, ...]]:
    """(address family, socket address). Numbers cost nothing; a name is asked for once."""
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    return found[0][0], found[0][4]


class Channel:
    """One connection to one broker.

    Args:
        endpoint: the broker.
        selector: tells when the socket is ready; ``data`` of its keys is a callable that takes the event mask.
        scratch: shared by all channels of the process.
        connected: called when the connection stands.
        answered: called with (buffer, start, stop) of an answer behind its correlation id. The buffer is only valid
            during the call.
        lost: called with the reason when the connection cannot be used any more, after it was closed.

    Raises:
        CapacityError: the process has no file descriptor left.
    """

    __slots__ = (
        "_answered", "_connected", "_correlation_id", "_lost", "_pending", "_scratch", "_selector", "_socket",
        "_unsent", "asked", "connecting", "endpoint",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Endpoint,
        selector: selectors.BaseSelector,
        scratch: ReceiveBuffer,
        *,
        connected: Callable[[], None],
        answered: Callable[[bytearray, int, int], None],
        lost: Callable[[str], None],
    ) -> None:
        self.endpoint = endpoint
        self.connecting = True
        self.asked = False
        """Whether a request waits for its answer."""
        self._selector = selector
        self._scratch = scratch
        self._connected = connected
        self._answered = answered
        self._lost = lost
        self._correlation_id = 0
        self._pending: bytearray | None = None
        self._unsent: memoryview | None = None
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        """Begin to connect; never waits, but for the look-up of a host name.

        Raises:
            ConnectionLostError: when it is refused at once, or the name is unknown.
            CapacityError: when no file descriptor is left.
        """
        try:
            family, address = _resolve(self.endpoint)
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                raise CapacityError(
                    f"no file descriptor is left for a connection to {self.endpoint}: {error.strerror}",
                    hint="one is needed for each client and leader; raise the limit with ulimit -n, or use fewer"
                    " clients per app",
                ) from error
            raise ConnectionLostError(f"{self.endpoint}: {error}") from error
        self._socket = connection
        connection.settimeout(0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = connection.connect_ex(address)
        if code not in {0, errno.EINPROGRESS}:
            self.close()
            raise ConnectionLostError(f"{self.endpoint}: {os.strerror(code)}")
        self._selector.register(connection, selectors.EVENT_WRITE, self._ready)

    def ask(self, request: bytearray) -> None:
        """Send a request; it must not be changed before the answer is there."""
        connection = self._socket
        if connection is None:
            return
        self._correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
        set_correlation(request, self._correlation_id)
        self.asked = True
        try:
            sent = connection.send(request)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        if sent < len(request):
            self._unsent = memoryview(request)[sent:]
            self._selector.modify(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, self._ready)

    def close(self) -> None:
        """Let go of the socket; harmless the second time. Calls nobody."""
        connection, self._socket = self._socket, None
        self._pending = self._unsent = None
        if connection is None:
            return
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection)
        connection.close()

    def _ready(self, mask: int) -> None:
        if self._socket is None:
            return  # closed by an earlier event of the same round
        try:
            if self.connecting:
                self._finish_connect(self._socket)
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

    def _finish_connect(self, connection: socket.socket) -> None:
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise ConnectionLostError(os.strerror(code))
        self.connecting = False
        self._selector.modify(connection, selectors.EVENT_READ, self._ready)
        self._connected()

    def _send_rest(self, connection: socket.socket) -> None:
        if self._unsent is not None:
            self._unsent = self._unsent[connection.send(self._unsent) :]
        if not self._unsent:
            self._unsent = None
            self._selector.modify(connection, selectors.EVENT_READ, self._ready)

    def _receive(self, connection: socket.socket) -> None:
        scratch = self._scratch
        received = connection.recv_into(scratch.view)
        if not received:
            raise ConnectionLostError("the broker closed the connection")
        buffer, filled = scratch.buffer, received
        if self._pending is not None:
            # Slow path: only an answer that did not come in one piece is copied.
            self._pending += scratch.view[:received]
            buffer, filled = self._pending, len(self._pending)
        if received == len(scratch.buffer):
            scratch.filled()
        size = INT32.unpack_from(buffer)[0] if filled >= 4 else FRAME_LIMIT_BYTES
        if not 4 <= size <= FRAME_LIMIT_BYTES or filled > size + 4:
            raise ConnectionLostError("its answer does not look like Kafka's")
        if filled < _HEAD_BYTES or filled < size + 4:
            if self._pending is None:
                self._pending = buffer[:filled]
            return
        if not self.asked or INT32.unpack_from(buffer, 4)[0] != self._correlation_id:
            raise ConnectionLostError("it answered a request that was not asked")
        self._pending = None
        self.asked = False
        self._answered(buffer, _HEAD_BYTES, filled)

    def _fail(self, reason: str) -> None:
        self.close()
        self._lost(f"{self.endpoint}: {reason}")
