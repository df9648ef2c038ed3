"""An Apache Kafka of one broker with the ZooKeeper that its version needs, each in a child JVM."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.broker.embedded import PORT_TRIES, free_ports, says_port_was_taken
from hydra.broker.java import KAFKA_FLAGS, broker_flags, end_jvm
from hydra.broker.jvm_exit import death, new_deaths
from hydra.broker.jvm_log import last_lines, quoted
from hydra.broker.old_admin import is_old_ready
from hydra.broker.server_properties import old_server_properties, properties_text, zookeeper_server_properties
from hydra.broker.topic_command import OldJava
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.options.kafka_versions import OLD_VERSION
from hydra.run.cgroups import limits, usable_cores

if TYPE_CHECKING:
    from typing_extensions import Self

_ADDRESS = "127.0.0.1"
_POLL_S = 0.05
_PROBE_TIMEOUT_S = 1.0
_ZOOKEEPER_HEAP_MB = 256
_QUOTED_LINES = 6
_SEARCHED_LINES = 400
_ZOOKEEPER, _KAFKA = "ZooKeeper", "Kafka"


@dataclass(frozen=True)
class _Server:
    """One of the two processes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    heap_mb: int
    oom_kills: int
    """How many processes had been killed for memory when it was started."""

    def death(self) -> BrokerError | None:
        """Why it is not there any more; None while it is."""
        status = self.process.poll()
        if status is None:
            return None
        oom_killed = limits().oom_kills > self.oom_kills
        who = "the embedded Kafka" if self.name == _KAFKA else "the ZooKeeper of the embedded Kafka"
        lines = last_lines(self.log, _SEARCHED_LINES)
        return death(who, status, lines, oom_killed=oom_killed, heap_mb=self.heap_mb)


class ZookeeperKafka:
    """Both processes; ``start`` starts them, ``stop`` ends them and removes their folder.

    Call ``start`` on a thread that outlives them, as that of an EmbeddedBroker.

    Args:
        java: runs them (17 and later do), in a folder that must not exist yet.
        version: of Kafka, whose jars ``java`` has.
        properties: the user's broker properties; they override ours.
        heap_mb: the broker's heap, MiB.
        performance_flags: of the broker's JVM, in place of Kafka's own.
    """

    def __init__(
        self,
        java: OldJava,
        version: str = OLD_VERSION,
        *,
        properties: Mapping[str, str] | None = None,
        heap_mb: int = 1024,
        performance_flags: Sequence[str] = KAFKA_FLAGS,
    ) -> None:
        self._java = java
        self._version = version
        self._folder = java.folder
        self._properties = dict(properties or {})
        self._heap_mb = heap_mb
        self._flags = broker_flags(heap_mb, performance_flags)
        self._zookeeper_port = self._port = 0
        self._servers: list[_Server] = []
        self._told: set[str] = set()
        """Those whose death was told."""
        self._made_folder = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for Kafka clients, once it was started."""
        return f"{_ADDRESS}:{self._port}"

    @property
    def zookeeper(self) -> str:
        """``host:port`` of ZooKeeper, once it was started."""
        return f"{_ADDRESS}:{self._zookeeper_port}"

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the broker's JVM, once it was started."""
        return tuple(server.process.pid for server in self._servers if server.name == _KAFKA)

    @property
    def zookeeper_pids(self) -> tuple[int, ...]:
        """Of ZooKeeper's JVM, once it was started."""
        return tuple(server.process.pid for server in self._servers if server.name == _ZOOKEEPER)

    def deaths(self) -> Sequence[BrokerError]:
        """Why a process is not there any more, of each once; to be called often."""
        return new_deaths({server.name: server.death for server in self._servers}, self._told)

    def start(self, timeout_s: float) -> None:
        """Start ZooKeeper, wait until it answers ``ruok`` with ``imok``, then the broker, and wait until it serves.

        Raises:
            BrokerError: one ended or timed out; quotes its last lines. Nothing of them is left.
            JavaError: a JVM cannot be started.
            UsageError: a property is one that Hydra sets itself.
        """
        deadline = time.monotonic() + timeout_s
        try:
            # As for an EmbeddedBroker: another program may take a port before ours has bound it.
            for last in (False,) * (PORT_TRIES - 1) + (True,):
                self._zookeeper_port, self._port = free_ports(2)
                try:
                    self._boot(deadline)
                except BrokerError:
                    if last or not any(says_port_was_taken(last_lines(each.log, 200)) for each in self._servers):
                        raise
                    self.stop()
                else:
                    return
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill both and remove their folder; harmless the second time."""
        for server in reversed(self._servers):
            end_jvm(server.process)
        self._servers.clear()
        if self._made_folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._made_folder = False

    def _boot(self, deadline: float) -> None:
        self._write_settings()
        endpoint = Endpoint(_ADDRESS, self._port)
        flags, main = broker_flags(_ZOOKEEPER_HEAP_MB, ()), "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        self._launch(_ZOOKEEPER, flags, [main, str(self._folder / "zookeeper.properties")], _ZOOKEEPER_HEAP_MB)
        self._wait("answered ruok with imok", lambda: is_ok(self._zookeeper_port), deadline)
        self._launch(_KAFKA, self._flags, ["kafka.Kafka", str(self._folder / "server.properties")], self._heap_mb)
        self._wait("served", lambda: is_old_ready(endpoint, _PROBE_TIMEOUT_S), deadline)

    def _write_settings(self) -> None:
        zookeeper = {
            "dataDir": str(self._folder / "zookeeper"),
            "clientPort": str(self._zookeeper_port),
            "clientPortAddress": _ADDRESS,
            # Since 3.5 it would serve HTTP on port 8080 of all addresses, and answer none of these words.
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "ruok",
        }
        where = (self._port, self.zookeeper, str(self._folder / "data"))
        if self._version == OLD_VERSION:
            broker = old_server_properties(*where, self._properties)
        else:
            broker = zookeeper_server_properties(*where, usable_cores(), self._properties)
        try:
            self._java.make_folder()
            self._made_folder = True
            for name, settings in (("zookeeper", zookeeper), ("server", broker)):
                text = properties_text(settings)
                (self._folder / f"{name}.properties").write_text(text, encoding="ascii")
        except OSError as error:
            raise BrokerError(f"the embedded Kafka's folder {self._folder} cannot be written ({error})") from error

    def _launch(self, name: str, flags: Sequence[str], main: Sequence[str], heap_mb: int) -> None:
        log = self._folder / f"{name.lower()}.log"
        oom_kills = limits().oom_kills
        self._servers.append(_Server(name, self._java.start(flags, main, log), log, heap_mb, oom_kills))

    def _wait(self, what: str, is_there: Callable[[], bool], deadline: float) -> None:
        server = self._servers[-1]
        while not is_there():
            status = server.process.poll()
            if status is not None:
                raise self._failure(server, f"ended during its start (exit status {status})")
            if time.monotonic() >= deadline:
                raise self._failure(server, f"timed out during its start, before it {what}")
            time.sleep(_POLL_S)

    def _failure(self, server: _Server, what: str) -> BrokerError:
        told = quoted(last_lines(server.log, 200), _QUOTED_LINES)
        return BrokerError(
            f"{server.name} of the embedded Kafka (Java {self._java.java.major}) {what}; last log lines: {told}",
            hint="check the broker properties, free memory and disk space, or use another --java",
        )


def is_ok(port: int) -> bool:
    """Whether a ZooKeeper on that loopback port answers ``ruok`` with ``imok``."""
    try:
        with socket.create_connection((_ADDRESS, port), _PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"ruok")
            answer = b""
            while len(answer) < 4 and (chunk := connection.recv(4 - len(answer))):
                answer += chunk
    except OSError:
        return False
    return answer == b"imok"
