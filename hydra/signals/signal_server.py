"""A task's side of the signals: a REP server that one controller alone can speak to.

What a peer sends is never trusted: sizes are limited by the socket, the shape is checked by ``signals/messages.py``,
and every request gets exactly one reply.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable

import zmq

from hydra.codec import DecodeError
from hydra.signals.keys import KeyPair
from hydra.signals.messages import REQUEST_LIMIT_BYTES, Request, SignalError, decode_request, failure

STOP_POLL_MS = 500
HANDSHAKE_MS = 2000
"""A connection whose peer has not proved by then that it is the controller is closed."""

_log = logging.getLogger(__name__)

Answerer = Callable[[Request], bytes]
"""Carries a request out and returns the bytes of its reply; raises SignalError for what it refuses."""


class SignalServer:
    """Answers signals on one port, in a thread of its own, so that a task which is busy with Kafka still answers.

    ``answer`` carries requests out; ``look`` is called several times a second, whatever the task's main thread is at.
    Both are called on the server's thread. Nobody but the holder of the controller's secret key is heard.

    Raises:
        OSError: when the port cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        answer: Answerer,
        *,
        controller: bytes,
        own: KeyPair,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._answer = answer
        self._look = look
        self._stopping = threading.Event()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, REQUEST_LIMIT_BYTES)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self._socket.setsockopt(zmq.CURVE_SERVERKEY, controller)
        self._socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public_bytes)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret_bytes)
        try:
            self._socket.setsockopt(zmq.IPV6, ":" in host)
            self._socket.bind(f"tcp://{_bind_address(host)}:{port}")
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise OSError(error.errno, f"{host}:{port} ({zmq.strerror(error.errno or 0)})") from error
        self._thread = threading.Thread(target=self._serve, name="signals", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port; an answer that is under way is finished first, and waited for 5 s at most."""
        self._stopping.set()
        if self._thread.ident is None:
            self._context.destroy(linger=0)
        else:
            self._thread.join(timeout=5)

    def _serve(self) -> None:
        # A ZMQ socket belongs to one thread: this one also closes it, since a second thread that did would crash ZMQ.
        try:
            while not self._stopping.is_set():
                self._look()
                if not self._socket.poll(STOP_POLL_MS):
                    continue
                try:
                    frames = self._socket.recv_multipart(zmq.DONTWAIT)
                except zmq.Again:
                    continue  # it was no request: the socket has dropped it, and there is nobody to answer
                self._socket.send(self._reply(frames))
        finally:
            self._context.destroy(linger=0)

    def _reply(self, frames: list[bytes]) -> bytes:
        """One reply for whatever came: a fault in carrying it out is the sender's to know, and no end of the server."""
        if len(frames) != 1:
            return failure(f"a request of {len(frames)} frames: it must be one")
        try:
            return self._answer(decode_request(frames[0]))
        except (SignalError, DecodeError) as error:
            return failure(str(error))
        except BaseException as error:  # noqa: BLE001  # a SystemExit too would leave a task that lives and is deaf
            _log.exception("a signal failed")
            return failure(f"{type(error).__name__}: {error}")


def _bind_address(host: str) -> str:
    """The numeric address of ``host``: ZMQ binds addresses and interfaces, not names."""
    if ":" in host:
        return f"[{host}]"
    return socket.gethostbyname(host)
