"""The seam to a Kafka client library: what a driver does, and the drivers that there are."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from hydra.accounting.latency import LatencyHistogram
from hydra.accounting.stats import OwnErrors, PartitionOutcomes, Refusal
from hydra.accounting.tally import ClientTally
from hydra.errors import UsageError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import RunOrder

DEFAULT_MAX_BYTES = 50 * 1024 * 1024
"""Kafka's default of fetch.max.bytes."""

MOST_BYTES = 2_147_483_647
"""The most that a reply can have. No smaller limit of a client is right: where the first batch is larger than what a
fetch asks for, as the topic's max.message.bytes allows, brokers send it all the same (KIP-74)."""

PUBLISHER_CLIENT_ID = "hydra-pub"
LOOKUP_CLIENT_ID = "hydra-leaders"
"""Kafka's client.id of the publisher, and of a task's look-ups of leaders. Each client's is its own name: brokers keep
a quota for each client.id."""


@dataclass(frozen=True)
class AckCount:
    """How many records have an outcome so far."""

    acked: int
    failed: int
    error: str = ""
    """The last error in the library's words; empty when there was none."""
    refusals: tuple[Refusal, ...] = ()
    """Why records were not acked, the most frequent reason first."""
    throttled_s: float = 0.0
    """For how long the broker said that a quota held the publisher back, summed over its replies."""
    own_errors: OwnErrors = field(default_factory=OwnErrors)
    turned_away: int = 0
    """How often a broker closed a connection before it had answered anything on it."""


class PublisherDriver(Protocol):
    """One Kafka producer.

    Not in the contract: when records leave the process (linger and batching are the library's), or acks in order.
    """

    def open(self, deadline_s: float) -> None:
        """Connect and learn the topic's leaders, so that the first record does not wait for that.

        Raises:
            BrokerError: it took longer than ``deadline_s``, or the broker refused.
        """
        ...

    def send(self, partition: int, first_sequence: int, records: int) -> int:
        """Hand ``records`` records with sequences from ``first_sequence`` on to the library, without waiting for acks.

        Returns how many it took: fewer when its queue is full.
        """
        ...

    def poll(self) -> AckCount:
        """Take in the outcomes of earlier records; never waits."""
        ...

    def flush(self, timeout_s: float) -> AckCount:
        """Send what is held back and wait ``timeout_s`` at most for the outcome of all records.

        This ends the run: records without an outcome by then are given up, so that nothing enters the log after the
        count was taken.
        """
        ...

    def outcomes(self) -> Sequence[PartitionOutcomes]:
        """What became of every record so far, by partition."""
        ...

    def close(self) -> None:
        """End threads and connections within 5 s, whatever is under way; harmless the second time."""
        ...


@runtime_checkable
class CooperativePublisher(Protocol):
    """A PublisherDriver without a thread of its own: it works while its caller pauses."""

    def pause(self, seconds: float) -> None:
        """Let ``seconds`` pass, and go on meanwhile with what is under way: linger, requests, acks."""
        ...


@runtime_checkable
class TimedPublisher(Protocol):
    """A PublisherDriver that knows how long acks take."""

    def take_ack_latencies(self) -> LatencyHistogram:
        """How long records waited for their acks, from ``send`` on, of those acked since this was last asked.

        A histogram of ``FINE_BITS``.
        """
        ...


class SubscriberDriver(Protocol):
    """All clients of one subscriber task.

    Not in the contract: how many records one poll brings, fairness between clients within one poll, or threads.
    """

    def open(self) -> None:
        """Begin to connect all clients; returns without waiting for them.

        Raises:
            BrokerError: no waiting will help, such as with a broker that is too old for the driver.
        """
        ...

    def poll(self, timeout_s: float) -> None:
        """Move all clients on: connect, fetch, count. Waits ``timeout_s`` at most when nothing is there.

        A client's errors are never raised: they go to its tally (``note_error``), and the client tries again.
        So does the time for which a quota holds it back (``throttled_s``).
        """
        ...

    @property
    def tallies(self) -> Sequence[ClientTally]:
        """One for each client, in the sequence of ``order.clients``; written to by ``poll``."""
        ...

    def close(self) -> None:
        """End threads and connections within 5 s, whatever is under way; harmless the second time."""
        ...


def client_tallies(order: RunOrder) -> tuple[ClientTally, ...]:
    """One for each client of the order, at its start offsets."""
    prefix = order.identity_prefix
    return tuple(
        ClientTally(client.name, prefix, ((start.partition, start.offset) for start in client.starts))
        for client in order.clients
    )


_PUBLISHERS = {
    "confluent": "hydra.clients.confluent_publisher:ConfluentPublisher",
    "kafka-python": "hydra.clients.kafka_python:KafkaPythonPublisher",
    "wire": "hydra.clients.wire_publisher:WirePublisher",
}
_SUBSCRIBERS = {
    "wire": "hydra.clients.wire_subscriber:WireSubscriber",
    "confluent": "hydra.clients.confluent_subscriber:ConfluentSubscriber",
    "kafka-python": "hydra.clients.kafka_python:KafkaPythonSubscriber",
}


def publisher_driver(order: RunOrder, access: KafkaAccess = NO_SECURITY, own: str = "") -> PublisherDriver:
    """A new publisher on the client library that the order names; ``own`` is the user's driver of this task, if any.

    ``access`` is how Kafka lets it in.

    Raises:
        BrokerError: the driver does not speak the mechanism of the access.
        UsageError: the driver is unknown, cannot be imported, or is another one of the user's than ``own``; or a
            certificate of the access cannot be used.
    """
    driver: PublisherDriver = _driver_class("publisher", order.options.pub_driver, _PUBLISHERS, own)(order, access)
    return driver


def subscriber_driver(order: RunOrder, access: KafkaAccess = NO_SECURITY, own: str = "") -> SubscriberDriver:
    """The clients of a subscriber task on the client library that the order names; see ``publisher_driver``.

    Raises:
        UsageError: as ``publisher_driver``.
    """
    driver: SubscriberDriver = _driver_class("subscriber", order.options.sub_driver, _SUBSCRIBERS, own)(order, access)
    return driver


def _driver_class(role: str, name: str, known: Mapping[str, str], own: str) -> Any:  # noqa: ANN401  of either Protocol
    """Imports the driver only now, and with it its client library."""
    module, colon, class_name = known.get(name, name).partition(":")
    if not colon:
        raise UsageError(f"unknown {role} driver {name!r}", hint=f"use one of {', '.join(known)}")
    if name not in known and name != own:
        raise UsageError(f"the driver {name} is not the one that this task was launched with ({own or 'none'})")
    try:
        return getattr(_module(module), class_name)
    except Exception as error:  # whatever the user's module raises when it is imported
        hint = "give its file, as in /path/to/driver.py:Class, or put its folder on PYTHONPATH of the tasks"
        raise UsageError(
            f"the driver {name} cannot be imported ({type(error).__name__}: {error})", hint=hint
        ) from error


def _module(name: str) -> ModuleType:
    """A module by its name, or by the path of its file."""
    if not name.endswith(".py"):
        return import_module(name)
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as dataclasses of the module expect
    spec.loader.exec_module(module)
    return module
