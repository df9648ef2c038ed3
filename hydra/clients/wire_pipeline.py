"""A connection that carries several Kafka requests at a time."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable

from hydra.clients.wire_channel import FRAME_LIMIT_BYTES, Channel, ConnectionLostError, ReceiveBuffer
from hydra.clients.wire_protocol import INT32, set_correlation
from hydra.endpoints import Endpoint

_HEAD_BYTES = 8
_RESET = struct.pack("ii", 1, 0)


class PipelinedChannel(Channel):
    """A Channel that need not wait for an answer before it sends the next request.

    Kafka answers the requests of one connection in the order in which it got them, and begins with one when the one
    before is done. Args and errors are those of Channel; ``answered`` is called once for each answer.
    """

    __slots__ = ("_backlog", "_expected", "handed_bytes", "sent_bytes")

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
        super().__init__(endpoint, selector, scratch, connected=connected, answered=answered, lost=lost)
        self.handed_bytes = 0
        """Bytes of all requests so far."""
        self.sent_bytes = 0
        """Those of them that the system has taken: a broker cannot act on a request before all of it was."""
        self._backlog: deque[bytearray] = deque()
        self._expected: deque[int] = deque()

    def ask(self, request: bytearray, *, silent: bool = False) -> None:
        """Send a request, behind those that wait to be sent.

        Args:
            request: must not be changed any more.
            silent: the broker will not answer it.
        """
        connection = self._socket
        if connection is None:
            return
        self._correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
        set_correlation(request, self._correlation_id)
        if not silent:
            self._expected.append(self._correlation_id)
        self.handed_bytes += len(request)
        if self._unsent is not None:
            self._backlog.append(request)
            return
        try:
            sent = connection.send(request)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        self.sent_bytes += sent
        if sent < len(request):
            self._unsent = memoryview(request)[sent:]
            self._selector.modify(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, self._ready)

    def abort(self) -> None:
        """Close, and have the system throw away what it took and has not sent; harmless the second time."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def _send_rest(self, connection: socket.socket) -> None:
        while self._unsent is not None:
            sent = connection.send(self._unsent)
            self.sent_bytes += sent
            if sent < len(self._unsent):
                self._unsent = self._unsent[sent:]
                return
            self._unsent = memoryview(self._backlog.popleft()) if self._backlog else None
        self._selector.modify(connection, selectors.EVENT_READ, self._ready)

    def _receive(self, connection: socket.socket) -> None:
        scratch = self._scratch
        received = connection.recv_into(scratch.view)
        if not received:
            raise ConnectionLostError("the broker closed the connection")
        buffer, filled = scratch.buffer, received
        if self._pending is not None:
            self._pending += scratch.view[:received]
            buffer, filled = self._pending, len(self._pending)
            self._pending = None
        at = 0
        while filled - at >= _HEAD_BYTES:
            size, correlation_id = INT32.unpack_from(buffer, at)[0], INT32.unpack_from(buffer, at + 4)[0]
            if not 4 <= size <= FRAME_LIMIT_BYTES:
                raise ConnectionLostError("its answer does not look like Kafka's")
            stop = at + 4 + size
            if not self._expected or correlation_id != self._expected[0]:
                raise ConnectionLostError("it answered a request that was not asked")
            if stop > filled:
                break
            self._expected.popleft()
            self._answered(buffer, at + _HEAD_BYTES, stop)
            if self._socket is None:
                return  # the answer was reason enough to close
            at = stop
        if at < filled:
            self._pending = buffer[at:filled]
