"""Kafkas that a command under test knows nothing of but their address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from hydra.broker.embedded import EmbeddedBroker
from tests.kafka_parts import kafka_parts
from tests.proxies import DelayProxy


@pytest.fixture
def start_kafka(tmp_path) -> Iterator[Callable[[], EmbeddedBroker]]:
    """Start a Kafka that the command under test knows nothing of but its address."""
    started: list[EmbeddedBroker] = []

    def start() -> EmbeddedBroker:
        broker = EmbeddedBroker(
            **kafka_parts(tmp_path / f"kafka-{len(started)}"),
            # One that was killed is taken back when its session before is over.
            properties={"broker.session.timeout.ms": "2000"},
        )
        started.append(broker)
        broker.start(60)
        return broker

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def kafka_behind(tmp_path) -> Callable[[DelayProxy], AbstractContextManager[EmbeddedBroker]]:
    """Start a Kafka that clients reach through a proxy, and by no other way."""

    @contextmanager
    def start(proxy: DelayProxy) -> Iterator[EmbeddedBroker]:
        with EmbeddedBroker(**kafka_parts(tmp_path / "kafka"), advertised_port=proxy.port) as broker:
            proxy.to(int(broker.bootstrap_servers.rpartition(":")[2]))
            yield broker

    return start


@pytest.fixture(scope="module")
def external_kafka(tmp_path_factory) -> Iterator[str]:
    """The address of one that is shared by a module's tests."""
    with EmbeddedBroker(**kafka_parts(tmp_path_factory.mktemp("external") / "kafka")) as broker:
        yield broker.bootstrap_servers
