from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.jars import resolve_classpath
from hydra.broker.java import find_java


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


@pytest.fixture(scope="module")
def external_kafka(tmp_path_factory) -> Iterator[str]:
    """The address of one that is shared by a module's tests."""
    folder = tmp_path_factory.mktemp("external") / "kafka"
    with EmbeddedBroker(folder=folder, java=find_java(), classpath=resolve_classpath(), heap_mb=512) as broker:
        yield broker.bootstrap_servers
