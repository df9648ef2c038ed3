"""Makes the driver that a configuration names; a client library is imported only when its driver is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hydra.clients.protocols import PublisherDriver, SubscriberDriver
from hydra.errors import UsageError
from hydra.options.options import PUBLISHER_DRIVERS, SUBSCRIBER_DRIVERS
from hydra.options.order import PublisherConfiguration, SubscriberConfiguration

__all__ = ["PUBLISHER_DRIVERS", "SUBSCRIBER_DRIVERS", "publisher_driver", "subscriber_driver"]


def publisher_driver(configuration: PublisherConfiguration) -> PublisherDriver:
    """A new publisher on the client library that the configuration names.

    Raises:
        UsageError: the driver is unknown.
    """
    if configuration.driver == "confluent":
        from hydra.clients.confluent_publisher import ConfluentPublisher

        return ConfluentPublisher(configuration)
    if configuration.driver == "kafka-python":
        from hydra.clients.kafka_python_publisher import KafkaPythonPublisher

        return KafkaPythonPublisher(configuration)
    if configuration.driver == "wire":
        from hydra.clients.wire_publisher import WirePublisher

        return WirePublisher(configuration)
    if ":" in configuration.driver:
        made: PublisherDriver = _imported(configuration.driver)(configuration)
        return made
    raise _unknown("publisher", configuration.driver, PUBLISHER_DRIVERS)


def subscriber_driver(configuration: SubscriberConfiguration) -> SubscriberDriver:
    """The clients of a subscriber task on the client library that the configuration names.

    Raises:
        UsageError: the driver is unknown.
    """
    if configuration.driver == "wire":
        from hydra.clients.wire_subscriber import WireSubscriber

        return WireSubscriber(configuration)
    if configuration.driver == "confluent":
        from hydra.clients.confluent_subscriber import ConfluentSubscriber

        return ConfluentSubscriber(configuration)
    if configuration.driver == "kafka-python":
        from hydra.clients.kafka_python_subscriber import KafkaPythonSubscriber

        return KafkaPythonSubscriber(configuration)
    if ":" in configuration.driver:
        made: SubscriberDriver = _imported(configuration.driver)(configuration)
        return made
    raise _unknown("subscriber", configuration.driver, SUBSCRIBER_DRIVERS)


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
