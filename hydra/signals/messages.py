"""Signals: the seven commands that a task answers, their bytes, and the Protocol of what carries them.

A request is a JSON object ``{"signal": "ping", "arguments": {...}}``; the reply is ``{"ok": true, "result": {...}}`` or
``{"ok": false, "error": "..."}``. Every request gets exactly one reply. Both are limited in size; what is larger,
nested too deep or of another shape is refused with a reply that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import msgspec

from hydra.codec import decode, encode
from hydra.endpoints import Endpoint
from hydra.errors import HydraError, UsageError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import RunOrder

SignalName = Literal["ping", "teststart", "teststop", "teststatus", "getstats", "resetstats", "updateconfig"]
SIGNAL_NAMES: tuple[SignalName, ...] = get_args(SignalName)

REQUEST_LIMIT_BYTES = 8 * 1024 * 1024
"""An ``updateconfig`` takes about 120 bytes a client, and 30 for each partition that the client reads."""

REPLY_LIMIT_BYTES = 256 * 1024 * 1024
"""A ``getstats`` takes about 300 bytes a client, and about 20 for each gap in what it received."""


class SignalError(HydraError):
    """A request that cannot be carried out; the text goes back to the peer that sent it."""


class Request(msgspec.Struct, frozen=True):
    """A signal and its arguments (JSON)."""

    signal: SignalName
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a request."""

    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"{}")
    error: str = ""


def request(signal: SignalName, arguments: object = None) -> Request:
    """A request with ``arguments`` (a dataclass or a mapping) turned into JSON."""
    return Request(signal, msgspec.Raw(encode({} if arguments is None else arguments)))


def decode_request(data: bytes) -> Request:
    """The bytes of one request; SignalError when too large, DecodeError when it is none or its signal is unknown."""
    if len(data) > REQUEST_LIMIT_BYTES:
        raise SignalError(f"a request of {len(data)} bytes: the limit is {REQUEST_LIMIT_BYTES}")
    return decode(data, Request)


def decode_reply(data: bytes) -> Reply:
    """The bytes of one reply; SignalError when too large, DecodeError when it is none."""
    if len(data) > REPLY_LIMIT_BYTES:
        raise SignalError(f"a reply of {len(data)} bytes: the limit is {REPLY_LIMIT_BYTES}")
    return decode(data, Reply)


def success(result: object = None) -> bytes:
    """The bytes of a reply that carries ``result`` (a dataclass or a mapping)."""
    return encode(Reply(ok=True, result=msgspec.Raw(encode({} if result is None else result))))


def failure(error: str) -> bytes:
    """The bytes of a reply that says what went wrong."""
    # A path that is no Unicode text comes as surrogates, which JSON cannot carry.
    return encode(Reply(ok=False, error=error.encode(errors="backslashreplace").decode()))


class ClockReading(msgspec.Struct, frozen=True):
    """The clocks of a task's host at one moment."""

    monotonic_s: float = 0.0
    wall_s: float = 0.0
    """Time of day, seconds since 1970."""
    boot_id: str = ""
    """Of the host since it started: tasks with the same one share the monotonic clock. Empty where it is not known."""


class Ping(msgspec.Struct, frozen=True):
    """The result of ``ping``: who answers."""

    task_id: str
    role: Literal["kafka-pub", "kafka-sub"]
    version: str
    run_id: str = ""
    """The run that the task has the order of; empty before the first ``updateconfig``."""
    clock: ClockReading = ClockReading()


@dataclass(frozen=True)
class TaskOrder:
    """The arguments of ``updateconfig``: what to do, and how Kafka lets the task in."""

    order: RunOrder
    access: KafkaAccess = NO_SECURITY
    """Here alone, and in memory, are its secrets on a load host: the connection is encrypted."""


def order_request(told: TaskOrder) -> Request:
    """The ``updateconfig`` for a task.

    Raises:
        UsageError: a task would hang up on an order of this size.
    """
    made = request("updateconfig", told)
    if len(encode(made)) > REQUEST_LIMIT_BYTES:
        clients, starts = len(told.order.clients), sum(len(client.starts) for client in told.order.clients)
        raise UsageError(
            f"the order for a task of {clients:,} clients that read {starts:,} partitions in all has"
            f" {len(made.arguments):,} bytes, and a task takes {REQUEST_LIMIT_BYTES:,}",
            hint="lower --clients_per_app, and have more apps",
        )
    return made


class StartAt(msgspec.Struct, frozen=True):
    """The arguments of ``teststart``: when the plan starts."""

    start_s: float
    """On the monotonic clock of the task that is told."""
    start_wall_s: float
    """The same moment on the publisher's clock of the time of day, which stamps the records; seconds since 1970."""


class StatusQuestion(msgspec.Struct, frozen=True):
    """The arguments of ``teststatus``."""

    sample: bool = False
    """Whether the reply has the last sample that the task noted."""
    latencies: bool = False
    """Whether that of a subscriber has its latencies: to count them costs half a millisecond, so few are asked."""


NO_SAMPLE = StatusQuestion()


class StopSending(msgspec.Struct, frozen=True):
    """The arguments of ``teststop`` to the publisher."""

    await_acks: bool = True
    """Whether to wait for the outcome of what was handed over: in vain where the topic is gone."""


class DrainTo(msgspec.Struct, frozen=True):
    """The arguments of ``teststop`` to a subscriber: how far every client should still read."""

    end_offsets: dict[int, int]
    """By partition: one past the last record of the run."""


@dataclass(frozen=True)
class SignalReply:
    """A peer's reply to a signal, or why there is none."""

    body: bytes = b""
    """JSON of the reply's ``result``; empty when there is an error."""
    error: str = ""
    silent: bool = False
    """No reply came at all; false where the peer refused."""
    refused: bool = False
    """No request was sent: one of the two ends did not take the other for what it wants to speak to."""
    sent_s: float = 0.0
    received_s: float = 0.0
    """When the request went out and the reply was there, on the asker's clock."""

    @property
    def ok(self) -> bool:
        """Whether the peer carried the signal out."""
        return not self.error


class Signals(Protocol):
    """Sends signals to tasks. Not in the contract: order between peers; that a silent peer did nothing."""

    def ask(
        self, requests: Mapping[Endpoint, Request], timeout_s: float, *, first_contact: bool = False
    ) -> Mapping[Endpoint, SignalReply]:
        """Send each peer its request, all at once, and wait until all have answered or ``timeout_s`` is over.

        With ``first_contact`` whoever answers there is somebody new, and from then on nobody else may.

        Returns an answer for every endpoint; a peer that stayed silent has an ``error`` that says so. Never raises for
        a peer.
        """

    def close(self) -> None:
        """Let go of all sockets at once, whatever is under way; harmless the second time."""
