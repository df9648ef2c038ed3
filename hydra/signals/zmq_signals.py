"""The controller's side of the signals: a REQ socket to each task, over connections that both ends have proved.

The controller is the CURVE server of every connection (``keys.py``); which tasks it speaks to is decided here, by their
keys (RFC 27/ZAP). A socket is used again only after the reply to its request has come, so that a late reply can never
be taken for the reply to a later request.
"""

from __future__ import annotations

import contextlib
import math
import resource
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import recv_monitor_message

from hydra.codec import DecodeError, encode
from hydra.endpoints import Endpoint
from hydra.signals.keys import SignalKeys
from hydra.signals.messages import REPLY_LIMIT_BYTES, Request, SignalError, SignalReply, decode_reply
from hydra.signals.signal_server import HANDSHAKE_MS

MAX_REQUESTS_IN_FLIGHT = 256
"""Sockets with an open request: each takes about five file descriptors until its connection is proved, then three."""

MAX_HANDSHAKES = 32
"""How many connections are proved at a time. Each costs both ends about a millisecond of CPU, and what is not proved
when the time is up was in vain: with hundreds at once none would be on a busy machine, however often they are tried."""

CONNECT_S = 0.05
"""A connection that is not there after so long is not being proved: nobody listens there yet, or it is far away."""

PROVE_S = 0.5
"""What is not proved after so long keeps no other from it."""

MAX_IDLE = 1024
"""Connections that are kept for the next request."""

OTHER_DESCRIPTORS = 200
"""What else the process may have open."""

SPARE_SOCKETS = 1024
"""ZMQ counts a closed socket until a thread of its own has let go of it."""

ZAP_ADDRESS = "inproc://zeromq.zap.01"
ZAP_STOP = b"stop"
TOLD_TIMES = 2

_FAILED_HANDSHAKES = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


@dataclass(frozen=True)
class _Question:
    """A request that is under way."""

    endpoint: Endpoint
    sent_s: float
    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes] | None
    """Tells of a handshake that failed; None on a connection that was proved before."""

    @property
    def sockets(self) -> tuple[zmq.Socket[bytes], ...]:
        """What may have something to tell."""
        return (self.socket,) if self.monitor is None else (self.socket, self.monitor)


class _Round:
    """The requests that are under way, and the replies so far."""

    def __init__(self) -> None:
        self.replies: dict[Endpoint, SignalReply] = {}
        self.open = 0
        self._poller = zmq.Poller()
        self._waiting: dict[zmq.Socket[bytes], _Question] = {}
        """By what has something to tell: the socket of a request, or its monitor."""
        self._proving: dict[Endpoint, float] = {}
        """Until when a connection counts as one that is being proved."""

    def may_connect(self) -> bool:
        """Whether one more connection may be made now."""
        if len(self._proving) >= MAX_HANDSHAKES:
            now_s = time.monotonic()
            self._proving = {endpoint: until_s for endpoint, until_s in self._proving.items() if until_s > now_s}
        return len(self._proving) < MAX_HANDSHAKES

    def begin(self, question: _Question) -> None:
        """Wait for its reply, too."""
        self.open += 1
        if question.monitor is not None:
            self._proving[question.endpoint] = question.sent_s + CONNECT_S
        for each in question.sockets:
            self._waiting[each] = question
            self._poller.register(each, zmq.POLLIN)

    def wait(self, deadline_s: float, *, until_may_connect: bool) -> list[tuple[_Question, SignalReply]]:
        """Wait until a peer answers, or refuses; none where the time is up. Their sockets are the caller's again.

        The time may be up earlier: as soon as one more connection may be made.
        """
        until_s = min(self._proving.values(), default=deadline_s) if until_may_connect else deadline_s
        left_ms = max(0, math.ceil((min(until_s, deadline_s) - time.monotonic()) * 1000))
        answered = []
        for each, _event in self._poller.poll(left_ms):
            if (question := self._waiting.get(each)) is None:
                continue  # its other socket has told already
            if each is question.socket:
                reply = _answer(each.recv(zmq.DONTWAIT), question.sent_s)
            else:
                told = recv_monitor_message(each)
                if told["event"] == zmq.EVENT_CONNECTED:
                    self._proving[question.endpoint] = question.sent_s + PROVE_S
                    continue
                reply = _refusal(told["event"], told["value"], question.endpoint)
            self._end(question)
            self.replies[question.endpoint] = reply
            answered.append((question, reply))
        return answered

    def _end(self, question: _Question) -> None:
        self.open -= 1
        self._proving.pop(question.endpoint, None)
        for each in question.sockets:
            self._poller.unregister(each)
            del self._waiting[each]
        if question.monitor is not None:
            question.socket.disable_monitor()
            question.monitor.close(linger=0)

    def close(self) -> None:
        """Give up those that are still under way."""
        while self._waiting:
            question = next(iter(self._waiting.values()))
            self._end(question)
            question.socket.close(linger=0)


class ZmqSignals:
    """A Signals. Not thread-safe; one thread of its own decides which tasks' keys are good.

    Args:
        keys: of the controller and the tasks.
        relayed: what listens for the tasks is a relay, which may not reach them for a while. That a connection ends
            before anything is proved then says nothing of the task: it is made again, and is silent until then.
    """

    def __init__(self, keys: SignalKeys, *, relayed: bool = False) -> None:
        self._keys = keys
        self._refusals = _FAILED_HANDSHAKES & ~(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL if relayed else 0)
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 3 * MAX_REQUESTS_IN_FLIGHT + MAX_IDLE + SPARE_SOCKETS)
        # Half of the descriptors for each: five for a request, three for a connection that waits for one.
        room = max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_DESCRIPTORS)
        self._max_in_flight = max(1, min(MAX_REQUESTS_IN_FLIGHT, room // 10))
        self._max_idle = min(MAX_IDLE, room // 6)
        self._idle: dict[Endpoint, zmq.Socket[bytes]] = {}
        self._silent: set[Endpoint] = set()
        """Who was asked last time, and did not answer."""
        self._gate = _Gate(self._context, bytes.fromhex(keys.tasks_public))

    def ask(
        self, requests: Mapping[Endpoint, Request], timeout_s: float, *, first_contact: bool = False
    ) -> Mapping[Endpoint, SignalReply]:
        """Send each peer its request and wait for all answers; see the Protocol."""
        deadline_s = time.monotonic() + timeout_s
        if first_contact:
            for endpoint in requests:
                self._forget(endpoint)
        # Whoever stays silent keeps its socket to the end: those that may answer come first, and of them the connected.
        waiting = deque(sorted(requests.items(), key=lambda each: (each[0] in self._silent, each[0] not in self._idle)))
        asked = []
        with contextlib.closing(_Round()) as questions:
            while True:
                while waiting and questions.open < self._max_in_flight:
                    if waiting[0][0] not in self._idle and not questions.may_connect():
                        break
                    endpoint, request = waiting.popleft()
                    asked.append(endpoint)
                    questions.begin(self._send(endpoint, request))
                if not questions.open:
                    break
                more = bool(waiting) and questions.open < self._max_in_flight
                answered = questions.wait(deadline_s, until_may_connect=more)
                if not answered and time.monotonic() >= deadline_s:
                    break
                for question, reply in answered:
                    # After a refusal there is no connection.
                    if reply.refused or len(self._idle) >= self._max_idle:
                        question.socket.close(linger=0)
                    else:
                        self._idle[question.endpoint] = question.socket
        self._silent.difference_update(questions.replies)
        self._silent.update(endpoint for endpoint in asked if endpoint not in questions.replies)
        silence = SignalReply(error=f"no answer within {timeout_s:g} s", silent=True)
        return {endpoint: questions.replies.get(endpoint, silence) for endpoint in requests}

    def _forget(self, endpoint: Endpoint) -> None:
        """Whoever answers there next is somebody new."""
        if (idle := self._idle.pop(endpoint, None)) is not None:
            idle.close(linger=0)
        self._gate.forget(endpoint)

    def _send(self, endpoint: Endpoint, request: Request) -> _Question:
        sent_s = time.monotonic()
        if (idle := self._idle.pop(endpoint, None)) is not None:
            try:
                idle.send(encode(request), zmq.DONTWAIT)
            except zmq.Again:  # its connection has broken, and was not taken up again
                idle.close(linger=0)
            else:
                return _Question(endpoint, sent_s, idle, None)
        peer, monitor = self._connect(endpoint)
        with contextlib.suppress(zmq.Again):  # the handshake has failed already, as its monitor tells
            peer.send(encode(request), zmq.DONTWAIT)
        return _Question(endpoint, sent_s, peer, monitor)

    def _connect(self, endpoint: Endpoint) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        peer = self._context.socket(zmq.REQ)
        peer.setsockopt(zmq.LINGER, 0)
        peer.setsockopt(zmq.MAXMSGSIZE, REPLY_LIMIT_BYTES)
        peer.setsockopt(zmq.RECONNECT_IVL, 20)
        peer.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        peer.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        peer.setsockopt(zmq.IPV6, ":" in endpoint.host)
        peer.setsockopt(zmq.CURVE_SERVER, 1)
        peer.setsockopt(zmq.CURVE_PUBLICKEY, self._keys.controller.public_bytes)
        peer.setsockopt(zmq.CURVE_SECRETKEY, self._keys.controller.secret_bytes)
        peer.setsockopt(zmq.ZAP_DOMAIN, str(endpoint).encode())
        self._gate.expect(endpoint)
        monitor = peer.get_monitor_socket(self._refusals | zmq.EVENT_CONNECTED)
        peer.connect(f"tcp://{endpoint}")
        return peer, monitor

    def close(self) -> None:
        """Let go of all sockets; see the Protocol."""
        self._gate.close()
        self._context.destroy(linger=0)


class _Gate:
    """Decides, on a thread of its own, which keys are those of tasks: RFC 27/ZAP.

    Where tasks share a key, it is that one. Elsewhere the key that answers first at a task's address is the task's, and
    no other one is good there until it is forgotten.

    A wrong key is told so twice for each new connection, and is kept waiting from then on: libzmq would connect again
    and again, and aborts the process if a connection comes to the question of its key just as its socket is closed.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], only: bytes) -> None:
        self._only = only
        self._known: dict[bytes, bytes] = {}
        self._refused: Counter[bytes] = Counter()
        """How often a wrong key was told so since the last new connection, by the task's address."""
        self._lock = threading.Lock()
        self._context = context
        self._socket = context.socket(zmq.ROUTER)
        self._socket.bind(ZAP_ADDRESS)
        self._thread = threading.Thread(target=self._serve, name="signal-keys", daemon=True)
        self._thread.start()

    def forget(self, endpoint: Endpoint) -> None:
        """The next key there is good."""
        with self._lock:
            self._known.pop(str(endpoint).encode(), None)

    def expect(self, endpoint: Endpoint) -> None:
        """A new connection is made to there: whoever has the wrong key is told so."""
        with self._lock:
            del self._refused[str(endpoint).encode()]

    def close(self) -> None:
        """End the thread."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(zmq.ZMQError), self._context.socket(zmq.REQ) as last:
            last.setsockopt(zmq.LINGER, 0)
            last.connect(ZAP_ADDRESS)
            last.send(ZAP_STOP)
            self._thread.join(5)

    def _serve(self) -> None:
        while True:
            sender, _empty, *frames = self._socket.recv_multipart()
            if frames[0] == ZAP_STOP:
                self._socket.close(linger=0)
                return
            version, request_id, domain, *_rest = frames
            if len(frames) == 7 and self._is_good(domain, frames[6]):
                status = (b"200", b"OK")
            elif self._is_to_be_told(domain):
                status = (b"400", b"not the key of this task")
            else:
                continue
            self._socket.send_multipart([sender, b"", version, request_id, *status, b"", b""])

    def _is_to_be_told(self, domain: bytes) -> bool:
        with self._lock:
            self._refused[domain] += 1
            return self._refused[domain] <= TOLD_TIMES

    def _is_good(self, domain: bytes, key: bytes) -> bool:
        if self._only:
            return key == self._only
        with self._lock:
            return self._known.setdefault(domain, key) == key


def _answer(data: bytes, sent_s: float) -> SignalReply:
    received_s = time.monotonic()
    try:
        reply = decode_reply(data)
    except (SignalError, DecodeError) as error:
        return SignalReply(error=str(error))
    if not reply.ok:
        return SignalReply(error=reply.error or "refused without a reason")
    return SignalReply(body=bytes(reply.result), sent_s=sent_s, received_s=received_s)


def _refusal(event: int, value: int, endpoint: Endpoint) -> SignalReply:
    """Why a handshake failed, in words."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        why = "it is not the task that was started there: its key is another one"
    elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        why = "what listens there is no task of Hydra"
    elif value == zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
        why = "the task there obeys another controller"
    else:
        why = "what listens there does not speak the signals of this version"
    return SignalReply(error=f"refused by {endpoint}: {why}", refused=True)
