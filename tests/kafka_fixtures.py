"""Kafkas that a command under test knows nothing of but their address, and the local stack that serves most runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient

from hydra.broker.embedded import EmbeddedBroker
from hydra.kafkatest.leftovers import run_id_in
from tests.commands import Command, Place, wait_until
from tests.kafka_parts import kafka_parts
from tests.proxies import PublisherProxy


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One broker for all tests that do it no harm and want no stack."""
    folder = tmp_path_factory.mktemp("shared") / "broker"
    with EmbeddedBroker(**kafka_parts(folder), env={"HYDRA_RUN_ID": "shared"}, start_timeout_s=60) as running:
        yield running


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A local stack that is up for all tests: it serves every run that does it no harm."""
    stack = Place(tmp_path_factory.mktemp("running"))
    try:
        up = Command(stack, ["local", "up"])
        assert up.end(180) == 0, up.errors
        yield stack
        down = Command(stack, ["local", "down"])
        assert down.end(30) == 0
        assert re.fullmatch(r"the local stack \(process \d+\) is down", down.text)
        stack.assert_nothing_left()
    finally:
        stack.end_all()


@pytest.fixture
def on_running_stack(place: Place, running_stack: Place) -> Iterator[None]:
    """The commands of this test find ``running_stack``, and leave of it what was there before."""
    processes = place.use(running_stack)
    yield
    assert all(process.is_running() for process in processes), "the stack outlives its runs"


@pytest.fixture(scope="session")
def external_kafka(running_stack: Place) -> str:
    """The address of a Kafka that no command starts."""
    (record,) = running_stack.state.rglob("stack.json")
    return json.loads(record.read_text())["bootstrap_servers"]


@pytest.fixture(scope="session")
def _eyes_on_shared_kafka(external_kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": external_kafka})


@pytest.fixture(autouse=True)
def nothing_left_in_shared_kafka(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whoever leaves a run's topic in the Kafka of all is told so, not the next test that counts topics there."""
    if "running_stack" not in request.fixturenames:
        yield
        return
    kafka: AdminClient = request.getfixturevalue("_eyes_on_shared_kafka")
    yield
    left: list[str] = []

    def is_clean() -> bool:
        left[:] = [name for name in kafka.list_topics(timeout=20).topics if run_id_in(name)]
        return not left

    try:
        wait_until(is_clean, 5, "this test's topics are gone from the Kafka of all tests")
    finally:
        for deleted in kafka.delete_topics(left).values() if left else ():
            deleted.result(20)


@pytest.fixture(scope="module")
def _mortal_kafka(tmp_path_factory) -> Iterator[EmbeddedBroker]:
    # One that was killed is taken back when its session before is over.
    properties = {"broker.session.timeout.ms": "2000"}
    with EmbeddedBroker(**kafka_parts(tmp_path_factory.mktemp("mortal") / "kafka"), properties=properties) as broker:
        yield broker


@pytest.fixture
def mortal_kafka(_mortal_kafka: EmbeddedBroker) -> EmbeddedBroker:
    """An external Kafka that a test may kill: the next test that wants one starts it again."""
    if _mortal_kafka.returncode() is not None:
        _mortal_kafka.start(60)
    return _mortal_kafka


@pytest.fixture(scope="session")
def _kafka_behind_proxy(tmp_path_factory) -> Iterator[PublisherProxy]:
    folder = tmp_path_factory.mktemp("behind") / "kafka"
    with PublisherProxy() as proxy, EmbeddedBroker(**kafka_parts(folder), advertised_port=proxy.port) as broker:
        proxy.to(int(broker.bootstrap_servers.rpartition(":")[2]))
        yield proxy


@pytest.fixture
def kafka_behind_proxy(_kafka_behind_proxy: PublisherProxy) -> PublisherProxy:
    """A proxy, at ``127.0.0.1:port``, in front of a Kafka that clients reach by no other way."""
    _kafka_behind_proxy.forward_freely()
    return _kafka_behind_proxy
