"""What the tests of the broker share: the real jars, the real Java, one real broker, and waiting with a deadline."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from hydra.broker.classpath import resolve_classpath
from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.java import Java, find_java
from tests.kafka_parts import kafka_parts

with warnings.catch_warnings():
    # kafka-python reads its schemas with a function that newer Pythons call outdated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401 - imported for its warnings


@pytest.fixture(scope="session")
def classpath() -> tuple[Path, ...]:
    return resolve_classpath()


@pytest.fixture(scope="session")
def java() -> Java:
    return find_java()


@pytest.fixture(scope="session")
def make_broker() -> Callable[..., EmbeddedBroker]:
    """An EmbeddedBroker with the real parts; the caller names its folder and stops it."""

    def make(folder: Path, **settings) -> EmbeddedBroker:
        return EmbeddedBroker(**{**kafka_parts(folder), **settings})

    return make


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    def wait(happened: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert time.monotonic() < deadline, f"did not happen within {timeout_s} s"
            time.sleep(0.02)

    return wait
