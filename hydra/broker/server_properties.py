"""The embedded broker's server.properties: what a one-node cluster for load tests needs, the user's on top. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hydra.errors import UsageError

NODE_ID = 1

_OURS = frozenset(
    {
        "process.roles",
        "node.id",
        "broker.id",
        "listeners",
        "advertised.listeners",
        "controller.listener.names",
        "controller.quorum.voters",
        "controller.quorum.bootstrap.servers",
        "log.dir",
        "log.dirs",
        "metadata.log.dir",
    }
)


@dataclass(frozen=True)
class Ports:
    """The loopback ports of one broker."""

    broker: int
    controller: int
    advertised: int | None = None
    """What clients are told to connect to, where something stands in front of the broker's own port."""


def check_overrides(names: Iterable[str]) -> None:
    """Refuse broker properties that are Hydra's own.

    Raises:
        UsageError: names the first of them.
    """
    for name in names:
        if name in _OURS:
            raise UsageError(
                f"the broker property {name} is set by Hydra for its embedded broker",
                hint="leave it out, or use a broker of your own with --bootstrap_servers",
            )


def server_properties(ports: Ports, data_folder: str, cores: int, overrides: Mapping[str, str]) -> dict[str, str]:
    """All settings of the broker.

    Args:
        ports: where it listens, on 127.0.0.1.
        data_folder: for its logs and metadata.
        cores: of this machine.
        overrides: the user's properties; they win.

    Raises:
        UsageError: an override is one of those that make the broker reachable and its traces removable.
    """
    check_overrides(overrides)
    broker, controller = f"127.0.0.1:{ports.broker}", f"127.0.0.1:{ports.controller}"
    reachable = {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports.advertised or ports.broker}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"{NODE_ID}@{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data_folder,
    }
    return {**reachable, **_one_node(), **_many_clients(cores), **_short_lived(), **overrides}


def _one_node() -> dict[str, str]:
    return {
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "4",
        # The controller takes the broker back in only when the session before it has run out: this is what a restart
        # after a kill waits for.
        "broker.heartbeat.interval.ms": "1000",
        "broker.session.timeout.ms": "6000",
    }


def _many_clients(cores: int) -> dict[str, str]:
    return {
        "num.network.threads": str(max(3, cores // 2)),
        "num.io.threads": str(max(8, cores)),
        # Ten thousand clients connect at once and each has one fetch under way.
        "socket.listen.backlog.size": "10000",
        "queued.max.requests": "10000",
        "max.incremental.fetch.session.cache.slots": "20000",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
    }


def _short_lived() -> dict[str, str]:
    return {
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        # Retention within a run of seconds: the first look soon, and then often.
        "log.initial.task.delay.ms": "500",
        "log.retention.check.interval.ms": "1000",
        "log.segment.delete.delay.ms": "1000",
        # The cleaner takes this much of the heap at once, for one small compacted topic.
        "log.cleaner.dedupe.buffer.size": "4194304",
    }


def properties_text(properties: Mapping[str, str]) -> str:
    r"""The content of a Java properties file; whatever a value holds, it stays one value.

    Format: java.util.Properties, in ISO 8859-1 with ``\uXXXX`` for the rest.
    """
    return "".join(f"{_escaped(name)}={_escaped(value)}\n" for name, value in properties.items())


def _escaped(text: str) -> str:
    return "".join(_escaped_unit(unit) for unit in _utf16_units(text))


def _escaped_unit(unit: int) -> str:
    character = chr(unit)
    return character if character.isascii() and (character.isalnum() or character in "._-/,@") else f"\\u{unit:04x}"


def _utf16_units(text: str) -> list[int]:
    encoded = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(encoded[i : i + 2], "big") for i in range(0, len(encoded), 2)]
