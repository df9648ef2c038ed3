"""Makes the driver that a order names; a client library is imported only when its driver is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hydra.clients.protocols import PublisherDriver, SubscriberDriver
from hydra.errors import UsageError
from hydra.options.options import PUBLISHER_DRIVERS, SUBSCRIBER_DRIVERS
from hydra.options.order import RunOrder

__all__ = ["PUBLISHER_DRIVERS", "SUBSCRIBER_DRIVERS", "publisher_driver", "subscriber_driver"]


def publisher_driver(order: RunOrder) -> PublisherDriver:
    """A new publisher on the client library that the order names.

    Raises:
        UsageError: the driver is unknown.
    """
    if order.options.pub_driver == "confluent":
        from hydra.clients.confluent_publisher import ConfluentPublisher

        return ConfluentPublisher(order)
    if order.options.pub_driver == "kafka-python":
        from hydra.clients.kafka_python_publisher import KafkaPythonPublisher

        return KafkaPythonPublisher(order)
    if order.options.pub_driver == "wire":
        from hydra.clients.wire_publisher import WirePublisher

        return WirePublisher(order)
    if ":" in order.options.pub_driver:
        made: PublisherDriver = _imported(order.options.pub_driver)(order)
        return made
    raise _unknown("publisher", order.options.pub_driver, PUBLISHER_DRIVERS)


def subscriber_driver(order: RunOrder) -> SubscriberDriver:
    """The clients of a subscriber task on the client library that the order names.

    Raises:
        UsageError: the driver is unknown.
    """
    if order.options.sub_driver == "wire":
        from hydra.clients.wire_subscriber import WireSubscriber

        return WireSubscriber(order)
    if order.options.sub_driver == "confluent":
        from hydra.clients.confluent_subscriber import ConfluentSubscriber

        return ConfluentSubscriber(order)
    if order.options.sub_driver == "kafka-python":
        from hydra.clients.kafka_python_subscriber import KafkaPythonSubscriber

        return KafkaPythonSubscriber(order)
    if ":" in order.options.sub_driver:
        made: SubscriberDriver = _imported(order.options.sub_driver)(order)
        return made
    raise _unknown("subscriber", order.options.sub_driver, SUBSCRIBER_DRIVERS)


def _imported(path: str) -> Any:  # noqa: ANN401  # whatever the path names
    """A driver of the user's own, from ``package.module:Class``; it must be importable where the task runs."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"the driver {path} cannot be imported ({error})", hint="put its folder on PYTHONPATH of the tasks"
        ) from error


def _unknown(role: str, name: str, known: tuple[str, ...]) -> UsageError:
    return UsageError(f"unknown {role} driver {name!r}", hint=f"use one of {', '.join(known)}")
