from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.jars import resolve_classpath
from hydra.broker.java import find_java
from tests.proxies import DelayProxy


@pytest.fixture
def start_kafka(tmp_path) -> Iterator[Callable[[], EmbeddedBroker]]:
    """Start a Kafka that the command under test knows nothing of but its address."""
    started: list[EmbeddedBroker] = []

    def start() -> EmbeddedBroker:
        broker = EmbeddedBroker(
            folder=tmp_path / f"kafka-{len(started)}",
            java=find_java(),
            classpath=resolve_classpath(),
            heap_mb=512,
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
        folder = tmp_path / "kafka"
        with EmbeddedBroker(
            folder=folder, java=find_java(), classpath=resolve_classpath(), heap_mb=512, advertised_port=proxy.port
        ) as broker:
            proxy.to(int(broker.bootstrap_servers.rpartition(":")[2]))
            yield broker

    return start


@pytest.fixture(scope="module")
def external_kafka(tmp_path_factory) -> Iterator[str]:
    """The address of one that is shared by a module's tests."""
    folder = tmp_path_factory.mktemp("external") / "kafka"
    with EmbeddedBroker(folder=folder, java=find_java(), classpath=resolve_classpath(), heap_mb=512) as broker:
        yield broker.bootstrap_servers
