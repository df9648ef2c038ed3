"""The server.properties of an embedded broker: those of a small cluster for load tests, and the user's on top."""

from __future__ import annotations

import os
import re
import shlex
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hydra.broker.java import KAFKA_FLAGS
from hydra.errors import UsageError
from hydra.options.kafka_versions import BUNDLED_VERSION, OLD_VERSION, ZOOKEEPERS
from hydra.options.options import Options, rack_of
from hydra.options.order import MAX_MESSAGE_BYTES

_YES_NO = ("no", "yes")

JVM_FLAGS_VARIABLE = "KAFKA_JVM_PERFORMANCE_OPTS"

_OURS = {
    "process.roles", "node.id", "broker.id", "listeners", "advertised.listeners", "controller.listener.names",
    "controller.quorum.voters", "controller.quorum.bootstrap.servers", "log.dir", "log.dirs", "metadata.log.dir",
    "zookeeper.connect", "host.name", "port", "advertised.host.name", "advertised.port",
}  # fmt: skip
_READMITTED_SOON = {
    # After a kill the controller readmits the broker only once its former session has timed out.
    "broker.heartbeat.interval.ms": "1000",
    "broker.session.timeout.ms": "6000",
}
_QUORUM = 3
"""Controllers of a cluster that has as many brokers: it survives the loss of any one of them."""

_COPIES = 3
"""Of Kafka's own topics, as by its defaults."""
_SHORT_LIVED = {
    "auto.create.topics.enable": "false",
    "delete.topic.enable": "true",
    # Retention within a run of seconds: check soon, and often.
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    # The cleaner allocates this much of the heap at once, for one small compacted topic.
    "log.cleaner.dedupe.buffer.size": "4194304",
}


@dataclass(frozen=True)
class Ports:
    """The loopback ports of one broker."""

    broker: int
    controller: int
    advertised: int | None = None
    """The port that clients are told, if a proxy is in front of the broker's own."""


@dataclass(frozen=True)
class Place:
    """Which broker of how many it is, and where the controllers are."""

    node_id: int = 1
    """From 1 on."""
    brokers: int = 1
    quorum: tuple[int, ...] = ()
    """The controllers' ports, by node from node 1 on; empty where the broker is its own controller."""

    @property
    def name(self) -> str:
        """What an error calls it."""
        return "the embedded Kafka" if self.brokers == 1 else f"broker {self.node_id} of the embedded Kafka"


_ALONE = Place()


def quorum_size(brokers: int) -> int:
    """How many of so many brokers are controllers, too: a quorum of two would not survive the loss of either."""
    return _QUORUM if brokers >= _QUORUM else 1


@dataclass(frozen=True)
class BrokerSettings:
    """What the user asks of an embedded Kafka."""

    properties: tuple[str, ...] = ()
    """NAME=VALUE; they override Hydra's own."""
    heap_mb: int = Options.broker_heap_mb
    jvm_flags: tuple[str, ...] = KAFKA_FLAGS
    security: str | None = None
    """As ``--kafka_security`` says it."""
    brokers: int = Options.brokers
    version: str | None = None
    """As ``--kafka_version`` says it."""
    racks: bool = False
    """Whether clients that tell their rack are sent to the replica there."""

    @property
    def is_old(self) -> bool:
        """Whether its brokers take no admin requests."""
        return self.version == OLD_VERSION

    @property
    def has_zookeeper(self) -> bool:
        """Whether it comes with a ZooKeeper."""
        return self.version in ZOOKEEPERS

    def by_name(self) -> Mapping[str, str]:
        """The values of the properties."""
        return {name: value for name, _, value in (text.partition("=") for text in self.properties)}

    def difference(self, other: BrokerSettings) -> str:
        """Describe requested settings whose value differs on the other broker; settings not requested are ignored.

        The version is always requested: clients speak otherwise to an old one.
        """
        there = other.by_name()
        found = (
            ("--kafka_version", self.version or BUNDLED_VERSION, other.version or BUNDLED_VERSION, None),
            *(
                (f"--broker_property={name}", value, there.get(name, "its own default"), None)
                for name, value in self.by_name().items()
            ),
            ("--broker_heap_mb", self.heap_mb, other.heap_mb, Options.broker_heap_mb),
            ("--kafka_security", self.security, other.security or "plaintext", None),
            ("--brokers", self.brokers, other.brokers, Options.brokers),
            ("racks (--client_rack)", _YES_NO[self.racks], _YES_NO[other.racks], _YES_NO[False]),
            (JVM_FLAGS_VARIABLE, shlex.join(self.jvm_flags), shlex.join(other.jvm_flags), shlex.join(KAFKA_FLAGS)),
        )
        for name, wanted, present, unset in found:
            if wanted not in {unset, present}:
                return f"{name}={wanted}, and it has {present}"
        return ""


def broker_settings(options: Options, environment: Mapping[str, str] = os.environ) -> BrokerSettings:
    """The settings that the options, and the environment variable of Kafka's own start script, ask for.

    Raises:
        UsageError: a property is one that Hydra sets itself.
    """
    flags = environment.get(JVM_FLAGS_VARIABLE, "")
    try:
        jvm_flags = tuple(shlex.split(flags)) or KAFKA_FLAGS
    except ValueError as error:
        raise UsageError(f"{JVM_FLAGS_VARIABLE} = {flags!r} is no list of JVM flags ({error})") from None
    settings = BrokerSettings(
        options.broker_property,
        options.broker_heap_mb,
        jvm_flags,
        options.kafka_security,
        options.brokers,
        options.kafka_version,
        options.client_rack is not None,
    )
    _check_overrides(settings.by_name())
    return settings


def _check_overrides(names: Iterable[str]) -> None:
    """Refuse broker properties that Hydra sets itself."""
    for name in names:
        if name in _OURS:
            text = f"the broker property {name} is set by Hydra for its embedded broker"
            raise UsageError(text, hint="leave it out, or use a broker of your own with --bootstrap_servers")


def server_properties(
    ports: Ports, data_folder: str, cores: int, overrides: Mapping[str, str], place: Place = _ALONE
) -> dict[str, str]:
    """All settings of a broker that listens on 127.0.0.1, on a machine with that many cores; the overrides win.

    Raises:
        UsageError: an override is a property that Hydra sets itself.
    """
    _check_overrides(overrides)
    quorum = dict(enumerate(place.quorum or (ports.controller,), 1))
    is_controller = place.node_id in quorum
    controller = f",CONTROLLER://127.0.0.1:{ports.controller}" if is_controller else ""
    reachable = {
        "process.roles": "broker,controller" if is_controller else "broker",
        "node.id": str(place.node_id),
        "listeners": f"PLAINTEXT://127.0.0.1:{ports.broker}{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports.advertised or ports.broker}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{node_id}@127.0.0.1:{port}" for node_id, port in quorum.items()),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data_folder,
    }
    alone = _READMITTED_SOON if place.brokers == 1 else {}
    return {**reachable, **_copies(place.brokers), **alone, **_many_clients(cores), **_SHORT_LIVED, **overrides}


def rack_properties(node_id: int) -> dict[str, str]:
    """Settings of a broker that stands in its own rack, and sends clients that tell theirs to the replica there."""
    return {
        "broker.rack": rack_of(node_id),
        "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
    }


def zookeeper_server_properties(
    port: int, zookeeper: str, data_folder: str, cores: int, overrides: Mapping[str, str]
) -> dict[str, str]:
    """All settings of a broker of 2.8 that listens on 127.0.0.1, with its ZooKeeper at ``host:port``; overrides win.

    Raises:
        UsageError: an override is a property that Hydra sets itself.
    """
    _check_overrides(overrides)
    where = _with_zookeeper(port, zookeeper, data_folder)
    return {**where, **_copies(1), **_many_clients(cores), **_SHORT_LIVED, **overrides}


def old_server_properties(port: int, zookeeper: str, data_folder: str, overrides: Mapping[str, str]) -> dict[str, str]:
    """All settings of a broker of 0.9 that listens on 127.0.0.1, with its ZooKeeper at ``host:port``; overrides win.

    Raises:
        UsageError: an override is a property that Hydra sets itself.
    """
    _check_overrides(overrides)
    largest = str(MAX_MESSAGE_BYTES)  # that of later versions; 0.9's own is 1000012
    return {
        **_with_zookeeper(port, zookeeper, data_folder),
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "log.retention.check.interval.ms": "10000",
        "message.max.bytes": largest,
        "replica.fetch.max.bytes": overrides.get("message.max.bytes", largest),
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "8",
        **overrides,
    }


def _with_zookeeper(port: int, zookeeper: str, data_folder: str) -> dict[str, str]:
    """Where a broker listens, and where its ZooKeeper and its data are."""
    return {
        "broker.id": "1",
        "listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "zookeeper.connect": zookeeper,
        "log.dirs": data_folder,
    }


def _copies(brokers: int) -> dict[str, str]:
    """How often Kafka's own topics are there, and in how many parts; other topics are there once if not told else."""
    copies = str(min(_COPIES, brokers))
    in_sync = "2" if brokers >= _COPIES else "1"
    return {
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "4",
    }


def _many_clients(cores: int) -> dict[str, str]:
    return {
        "num.network.threads": str(max(3, cores // 2)),
        "num.io.threads": str(max(8, cores)),
        # Ten thousand clients connect at once, each with one fetch in flight.
        "socket.listen.backlog.size": "10000",
        "queued.max.requests": "10000",
        "max.incremental.fetch.session.cache.slots": "20000",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
    }


def properties_text(properties: Mapping[str, str]) -> str:
    r"""The content of a Java properties file, in which every other character is escaped as ``\uXXXX``.

    Format: java.util.Properties, ISO 8859-1.
    """
    return "".join(f"{_escaped(name)}={_escaped(value)}\n" for name, value in properties.items())


def _escaped(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._/,@-]", _escape, text)


def _escape(character: re.Match[str]) -> str:
    utf16 = character[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{unit:04x}" for (unit,) in struct.iter_unpack(">H", utf16))
