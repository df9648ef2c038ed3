"""Signals over ZMQ: a REP server in each task, REQ sockets in the controller.

What a peer sends is never trusted: sizes are limited by the socket, the shape is checked by ``signals/messages.py``,
and every request gets exactly one reply. The controller opens a fresh socket for every request, so that a late reply
can never be taken for the reply to a later one.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from itertools import islice

import zmq

from hydra.codec import DecodeError, encode
from hydra.endpoints import Endpoint
from hydra.signals.messages import (
    REPLY_LIMIT_BYTES,
    REQUEST_LIMIT_BYTES,
    Request,
    SignalError,
    SignalReply,
    decode_reply,
    decode_request,
    failure,
)

MAX_REQUESTS_IN_FLIGHT = 256
"""Sockets that the controller has open at once: each takes about three file descriptors."""

STOP_POLL_MS = 500

_log = logging.getLogger(__name__)

Answerer = Callable[[Request], bytes]
"""Carries a request out and returns the bytes of its reply; raises SignalError for what it refuses."""


class SignalServer:
    """Answers signals on one port, in a thread of its own, so that a task which is busy with Kafka still answers.

    ``answer`` carries requests out; ``look`` is called several times a second, whatever the task's main thread is at.
    Both are called on the server's thread.

    Raises:
        OSError: when the port cannot be bound.
    """

    def __init__(self, host: str, port: int, answer: Answerer, *, look: Callable[[], None] = lambda: None) -> None:
        self._answer = answer
        self._look = look
        self._stopping = threading.Event()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, REQUEST_LIMIT_BYTES)
        try:
            self._socket.setsockopt(zmq.IPV6, ":" in host)
            self._socket.bind(f"tcp://{_bind_address(host)}:{port}")
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise OSError(error.errno, f"{host}:{port}: {error}") from error
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
        except Exception as error:  # noqa: BLE001  # whatever it is, the sender gets its one reply
            _log.exception("a signal failed")
            return failure(f"{type(error).__name__}: {error}")


def _bind_address(host: str) -> str:
    """The numeric address of ``host``: ZMQ binds addresses and interfaces, not names."""
    if ":" in host:
        return f"[{host}]"
    return socket.gethostbyname(host)


class ZmqSignals:
    """The controller's side; a Signals."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, MAX_REQUESTS_IN_FLIGHT + 16)

    def ask(self, requests: Mapping[Endpoint, Request], timeout_s: float) -> Mapping[Endpoint, SignalReply]:
        """Send each peer its request and wait for all answers; see the Protocol."""
        deadline_s = time.monotonic() + timeout_s
        poller = zmq.Poller()
        waiting: dict[zmq.Socket[bytes], tuple[Endpoint, float]] = {}
        answers: dict[Endpoint, SignalReply] = {}
        remaining = iter(requests.items())
        try:
            while True:
                for endpoint, request in islice(remaining, MAX_REQUESTS_IN_FLIGHT - len(waiting)):
                    peer = self._connect(endpoint)
                    waiting[peer] = endpoint, time.monotonic()
                    peer.send(encode(request), zmq.DONTWAIT)
                    poller.register(peer, zmq.POLLIN)
                ready = poller.poll(max(0, round((deadline_s - time.monotonic()) * 1000))) if waiting else []
                if not ready:
                    break
                for peer, _event in ready:
                    poller.unregister(peer)
                    endpoint, sent_s = waiting.pop(peer)
                    answers[endpoint] = _answer(peer.recv(zmq.DONTWAIT), sent_s)
                    peer.close(linger=0)
        finally:
            for peer in waiting:
                peer.close(linger=0)
        silence = SignalReply(error=f"no answer within {timeout_s:g} s", silent=True)
        return {endpoint: answers.get(endpoint, silence) for endpoint in requests}

    def _connect(self, endpoint: Endpoint) -> zmq.Socket[bytes]:
        peer = self._context.socket(zmq.REQ)
        peer.setsockopt(zmq.LINGER, 0)
        peer.setsockopt(zmq.MAXMSGSIZE, REPLY_LIMIT_BYTES)
        peer.setsockopt(zmq.RECONNECT_IVL, 20)
        peer.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        peer.setsockopt(zmq.IPV6, ":" in endpoint.host)
        peer.connect(f"tcp://{endpoint}")
        return peer

    def close(self) -> None:
        """Let go of all sockets; see the Protocol."""
        self._context.destroy(linger=0)


def _answer(data: bytes, sent_s: float) -> SignalReply:
    received_s = time.monotonic()
    try:
        reply = decode_reply(data)
    except (SignalError, DecodeError) as error:
        return SignalReply(error=str(error))
    if not reply.ok:
        return SignalReply(error=reply.error or "refused without a reason")
    return SignalReply(body=bytes(reply.result), sent_s=sent_s, received_s=received_s)
