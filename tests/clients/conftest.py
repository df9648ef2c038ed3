"""What the tests of the drivers share: record batches made by hand, a real broker, topics, waiting with a deadline."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import os
import struct
import threading
import time
import warnings
from collections.abc import Callable

import pytest
from crc32c import crc32c

from hydra.broker.embedded import EmbeddedBroker
from hydra.clients.protocols import publisher_driver
from hydra.clients.wire_client import WireClient
from hydra.endpoints import Endpoint
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, PartitionLeader, PartitionStart, RunOrder
from hydra.records.identity import IDENTITY, run_tag
from tests.clients.scripted_broker import ScriptedBroker
from tests.kafka_parts import kafka_parts

with warnings.catch_warnings():
    # kafka-python reads its schemas with a function that newer Pythons call outdated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401 - imported for its warnings

RUN_ID = "run-1"
START_TIMEOUT_S = 90.0
"""For a broker, also where others have the machine."""

RECORDS = 1000
"""Of each partition, where a test says nothing else."""


def zigzag(number: int) -> bytes:
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def make_record(offset_delta, value, timestamp_delta=0, key=None, headers=()):
    body = b"\x00" + zigzag(timestamp_delta) + zigzag(offset_delta)
    body += zigzag(-1) if key is None else zigzag(len(key)) + key
    body += zigzag(len(value)) + value + zigzag(len(headers))
    for name, content in headers:
        body += zigzag(len(name)) + name + zigzag(len(content)) + content
    return zigzag(len(body)) + body


def make_batch(records, base=0, *, attributes=0, last_delta=None, count=None, max_timestamp=0, magic=2, spoil=False):
    """A record batch around ``records`` (bytes, maybe compressed); counts are those of a list of records."""
    if isinstance(records, list):
        count = len(records) if count is None else count
        records = b"".join(records)
    last_delta = count - 1 if last_delta is None else last_delta
    body = struct.pack(">hiqqqhii", attributes, last_delta, 0, max_timestamp, -1, -1, -1, count) + records
    crc = crc32c(body) ^ (1 if spoil else 0)
    return struct.pack(">qiibI", base, len(body) + 9, 0, magic, crc) + body


@pytest.fixture
def value() -> Callable[..., bytes]:
    """A record's value: (sequence, tag, incarnation, padding)."""

    def make(sequence, *, run_id=RUN_ID, incarnation=1, padding=0):
        return IDENTITY.pack(run_tag(run_id), incarnation, sequence) + bytes(padding)

    return make


@pytest.fixture
def record() -> Callable[..., bytes]:
    return make_record


@pytest.fixture
def batch() -> Callable[..., bytes]:
    return make_batch


@pytest.fixture
def run_batch(value) -> Callable[..., bytes]:
    """A batch with the given sequences of the run."""

    def make(sequences, base=0, **settings):
        return make_batch([make_record(at, value(seq)) for at, seq in enumerate(sequences)], base, **settings)

    return make


@pytest.fixture
def scripted():
    made = []

    def make(**settings):
        made.append(ScriptedBroker(**settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def reconnects(monkeypatch) -> list[float]:
    """When the wire driver's clients tried to connect again."""
    moments = []
    reconnect = WireClient.reconnect

    def noted(client):
        moments.append(time.monotonic())
        reconnect(client)

    monkeypatch.setattr(WireClient, "reconnect", noted)
    return moments


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Calls ``step`` until ``happened``; fails after the deadline with what ``describe`` says."""

    def wait(happened, step, timeout_s=20.0, describe=lambda: ""):
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert time.monotonic() < deadline, f"did not happen within {timeout_s} s: {describe()}"
            step()

    return wait


@pytest.fixture(scope="session")
def make_broker(tmp_path_factory) -> Callable[[], EmbeddedBroker]:
    def make():
        return EmbeddedBroker(
            **kafka_parts(tmp_path_factory.mktemp("broker") / "kafka"),
            env={"HYDRA_RUN_ID": "tests"},
            # One that was killed is taken back when its session before is over.
            properties={"broker.session.timeout.ms": "2000"},
            start_timeout_s=START_TIMEOUT_S,
        )

    return make


@pytest.fixture(scope="session")
def new_topic() -> Callable[..., str]:
    """Makes a topic on a broker; returns its name once every partition has a leader."""
    numbers = itertools.count()

    def make(broker, partitions=1, **configs):
        from confluent_kafka.admin import AdminClient, NewTopic

        name = f"t-{os.getpid()}-{next(numbers)}"
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        topic = NewTopic(
            name, partitions, 1, config={key.replace("_", "."): str(each) for key, each in configs.items()}
        )
        admin.create_topics([topic])[name].result(20)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = admin.list_topics(name, timeout=20).topics[name].partitions
            if len(found) == partitions and all(each.leader >= 0 for each in found.values()):
                return name
        raise AssertionError(f"{name} has no leaders")

    return make


@dataclasses.dataclass(frozen=True)
class TopicOrder(RunOrder):
    """An order for a topic that the test names."""

    topic: str = ""


def endpoint_of(bootstrap_servers: str) -> Endpoint:
    host, _, port = bootstrap_servers.partition(":")
    return Endpoint(host, int(port))


@pytest.fixture
def reading() -> Callable[..., TopicOrder]:
    """What a subscriber task is told: ``clients`` clients that all read all partitions."""

    def make(
        servers,
        topic,
        *,
        driver="wire",
        clients=1,
        partitions=1,
        leaders=None,
        starts=None,
        pace_ms=0.0,
        unpaced=(),
        **settings,
    ):
        begin = tuple(PartitionStart(part, (starts or {}).get(part, 0)) for part in range(partitions))
        leaders = leaders if leaders is not None else {part: endpoint_of(servers) for part in range(partitions)}
        asked = {"sub_driver": driver, "partitions": partitions, "fetch_wait_max_ms": 200, **settings}
        return TopicOrder(
            run_id=RUN_ID,
            topic=topic,
            options=Options(**asked),
            bootstrap_servers=servers,
            pace_ms=pace_ms,
            clients=tuple(
                ClientAssignment(f"c{number}", f"g{number}", begin, paced=number not in unpaced)
                for number in range(clients)
            ),
            leaders=tuple(PartitionLeader(part, 1, where) for part, where in leaders.items()),
        )

    return make


@pytest.fixture
def sending() -> Callable[..., TopicOrder]:
    """What the publisher task is told."""

    def make(servers, topic, *, driver="confluent", partitions=1, acks="1", **settings):
        asked = {"pub_driver": driver, "partitions": partitions, "acks": acks, "drain_timeout": 20.0, **settings}
        return TopicOrder(run_id=RUN_ID, topic=topic, options=Options(**asked), bootstrap_servers=servers)

    return make


@pytest.fixture
def publisher(sending):
    """Makes publishers that are open, and closes them."""
    made = []

    def make(broker, topic, **settings):
        made.append(publisher_driver(sending(broker.bootstrap_servers, topic, **settings)))
        made[-1].open(20)
        return made[-1]

    yield make
    for each in made:
        close_soon(each)


def close_soon(driver):
    """Closes a driver twice, and sees that it takes no long time over it."""
    begun = time.monotonic()
    driver.close()
    driver.close()
    assert time.monotonic() - begun < 5


def send_all(publisher, partitions, first=0, records=RECORDS):
    """Hands all records to a publisher, in portions; they are not flushed."""
    for partition in range(partitions):
        sent = first
        while sent < first + records:
            sent += publisher.send(partition, sent, min(300, first + records - sent))
            publisher.poll()


@pytest.fixture
def nothing_left(until):
    """No thread of a library outlives its driver; what the library left to the garbage collector is collected here."""
    yield
    until(lambda: not kafka_threads(), lambda: time.sleep(0.01), describe=kafka_threads)
    gc.collect()


def kafka_threads():
    return [thread for thread in threading.enumerate() if "kafka" in thread.name]
