"""A real Apache Kafka broker (KRaft, where needed with the controller in the same process) in a child JVM."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.broker.connectivity import is_ready
from hydra.broker.formatting import keep_format, random_id, restore_format
from hydra.broker.gc_log import LOG_FLAG
from hydra.broker.java import KAFKA_FLAGS, SHORT_RUN_FLAGS, Java, broker_flags, end_jvm, java_command, start_jvm
from hydra.broker.jvm_exit import death
from hydra.broker.jvm_log import last_lines, quoted
from hydra.broker.listener_security import ListenerSecurity, write_settings
from hydra.broker.server_properties import Place, Ports, server_properties
from hydra.errors import BrokerError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.run.cgroups import limits, usable_cores

if TYPE_CHECKING:
    from typing_extensions import Self

_ADDRESS = "127.0.0.1"
# Below the ephemeral port range: no outgoing connection of a load takes our port between two starts of the broker, or
# between our choice and its bind. And below the ports of a local Marathon's tasks (localmarathon/ports.py), which start
# while the broker boots.
_PORTS = range(15000, 21000)
PORT_TRIES = 5
_PORT_TAKEN = ("Address already in use", "java.net.BindException")
_POLL_S = 0.02
_PROBE_TIMEOUT_S = 1.0
_QUOTED_LINES = 6
_SEARCHED_LINES = 400
_ALONE = Place()


class EmbeddedBroker:
    """One broker; ``with`` or ``start`` starts it, ``stop`` ends it and removes its folder.

    Call ``start`` on a thread that outlives the broker (the main thread): on Linux the kernel kills the JVM when the
    thread that started it ends, so that it is not left behind even if this process is killed.

    Args:
        folder: for data, log and settings; must not exist yet.
        java: runs it.
        classpath: the verified jars.
        properties: the user's broker properties; they override ours.
        heap_mb: the JVM's heap, MiB.
        env: added to the JVM's environment, such as HYDRA_RUN_ID.
        start_timeout_s: for the ``with`` form.
        advertised_port: the port that clients are told, if a proxy is in front of the broker.
        performance_flags: of the broker's JVM, in place of Kafka's own.
        jvm_flags: more flags, also of the JVM that formats its folder.
        kept_format: a file with what that JVM writes (formatting.py); made by the first one.
        security: what it asks of its clients; None: nothing.
        place: in a cluster of several, which ``EmbeddedCluster`` starts.
        cluster_id: of that cluster.
    """

    def __init__(
        self,
        *,
        folder: Path,
        java: Java,
        classpath: Sequence[Path],
        properties: Mapping[str, str] | None = None,
        heap_mb: int = 1024,
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = 30.0,
        advertised_port: int | None = None,
        performance_flags: Sequence[str] = KAFKA_FLAGS,
        jvm_flags: Sequence[str] = (),
        kept_format: Path | None = None,
        security: ListenerSecurity | None = None,
        place: Place = _ALONE,
        cluster_id: str | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._java = java
        self._classpath = tuple(classpath)
        self._properties = dict(properties or {})
        self._env = dict(env or {})
        self._start_timeout_s = start_timeout_s
        self._advertised_port = advertised_port
        self._heap_mb = heap_mb
        self._broker_flags = broker_flags(heap_mb, performance_flags)
        self._jvm_flags = tuple(jvm_flags)
        self._log = self._folder / "broker.log"
        self._settings = self._folder / "server.properties"
        self._data = self._folder / "data"
        # Its own properties may have the tool write something else.
        users = security is not None and security.is_formatted_in
        self._kept_format = None if self._properties or users else kept_format
        self._security = security
        self._place = place
        self._cluster_id = cluster_id or random_id()
        self._ports: Ports | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._made_folder = False
        self._oom_kills = 0
        """How many processes had been killed for memory when the JVM was started."""

    def __enter__(self) -> Self:
        self.start(self._start_timeout_s)
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for Kafka clients, once it was started."""
        if self._ports is None:
            raise BrokerError("the embedded Kafka is not started")
        return f"{_ADDRESS}:{self._ports.broker}"

    @property
    def _access(self) -> KafkaAccess:
        return NO_SECURITY if self._security is None else self._security.access

    @property
    def pid(self) -> int:
        """Of the JVM, once it was started."""
        if self._process is None:
            raise BrokerError("the embedded Kafka is not started")
        return self._process.pid

    def returncode(self) -> int | None:
        """Exit status of the JVM: None before its start and while it runs; -N if signal N ended it."""
        return None if self._process is None else self._process.poll()

    def last_lines(self, count: int) -> tuple[str, ...]:
        """The last lines of the broker's log, oldest first; none without a log."""
        return last_lines(self._log, count)

    def death(self) -> BrokerError | None:
        """Why it is not there any more: its exit status, and the errors that it logged just before; None while it is.

        Called soon after the end: what was logged long before is not its cause.
        """
        status = self.returncode()
        return None if status is None else self._death(status)

    def _death(self, status: int) -> BrokerError:
        oom_killed = limits().oom_kills > self._oom_kills
        lines = self.last_lines(_SEARCHED_LINES)
        return death(self._place.name, status, lines, oom_killed=oom_killed, heap_mb=self._heap_mb)

    def start(self, timeout_s: float = 30.0) -> None:
        """Start it and wait until it serves. After a crash it starts again with its data and its port.

        Raises:
            BrokerError: it died or timed out; quotes its last lines. Nothing of it is left.
            JavaError: the JVM cannot be started.
            UsageError: a property is one that Hydra sets itself.
        """
        if self._process is not None and self._process.poll() is None:
            raise BrokerError(f"the embedded broker on {self.bootstrap_servers} is already running")
        deadline = time.monotonic() + timeout_s
        try:
            if self._ports is None:
                self._start_fresh(deadline)
            else:
                self._launch(self._ports)
                self.await_ready(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill it, as a clean shutdown would take a second, and remove its folder; harmless the second time."""
        if self._process is not None:
            end_jvm(self._process)
        self._ports = None
        self._remove_folder()

    def _start_fresh(self, deadline: float) -> None:
        # Another program may take a port between our check and the broker's bind: try again with other ports.
        for last in (False,) * (PORT_TRIES - 1) + (True,):
            broker, controller = free_ports(2)
            ports = Ports(broker, controller, self._advertised_port)
            self._remove_folder()
            try:
                self.boot(ports, deadline)
                self.await_ready(deadline)
            except BrokerError:
                if last or not self.port_was_taken:
                    if self._kept_format is not None and self.returncode() is not None:
                        self._kept_format.unlink(missing_ok=True)  # should it be the cause, the next start does without
                    raise
            else:
                return

    @property
    def port_was_taken(self) -> bool:
        """Whether its log says that a port was not free."""
        return says_port_was_taken(self.last_lines(200))

    def boot(self, ports: Ports, deadline: float) -> None:
        """Format its folder and start the JVM; ``await_ready`` waits until it serves. Raises as ``start``."""
        self._format(ports, deadline)
        self._launch(ports)

    def _format(self, ports: Ports, deadline: float) -> None:
        """Write the settings, and format the data folder, by Kafka's own tool if nothing is kept of it."""
        if "," in str(self._folder):
            raise BrokerError(
                f"the embedded broker's folder {self._folder} has ',' in its path, which separates Kafka's log.dirs",
                hint="set TMPDIR to a folder without ','",
            )
        properties = server_properties(ports, str(self._data), usable_cores(), self._properties, self._place)
        security = self._security
        arguments: Sequence[str] = ()
        if security is not None:
            properties = security.secured(properties, self._folder)
            arguments = security.format_arguments(self._folder)
        try:
            self._folder.mkdir(parents=True)
            self._made_folder = True
            write_settings(self._settings, properties)
            if security is not None:
                security.write_files(self._folder)
            kept, node_id = self._kept_format, self._place.node_id
            if kept is not None and restore_format(self._data, kept, self._cluster_id, node_id):
                return
        except OSError as error:
            raise BrokerError(f"the embedded broker's folder {self._folder} cannot be written ({error})") from error
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}", f"--config={self._settings}"]
        tool += arguments
        self._process = self._jvm(SHORT_RUN_FLAGS, tool)
        try:
            status = self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            end_jvm(self._process)
            raise self._failure("timed out formatting its data folder") from None
        if status != 0:
            raise self._failure(f"could not format its data folder (exit status {status})")
        if self._kept_format is not None:
            keep_format(self._data, self._kept_format)
        self._log.unlink(missing_ok=True)

    def _launch(self, ports: Ports) -> None:
        """Start the broker on a formatted folder."""
        self._process = self._jvm((*self._broker_flags, LOG_FLAG), ["kafka.Kafka", str(self._settings)])
        self._ports = ports

    def await_ready(self, deadline: float) -> None:
        """Wait until it serves, and knows all brokers of its cluster; raises as ``start``."""
        if self._process is None or self._ports is None:
            raise BrokerError(f"{self._place.name} is not started")
        while True:
            status = self._process.poll()
            if status is not None:
                raise self._ended_at_start(status)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                end_jvm(self._process)
                raise self._failure(f"on {self.bootstrap_servers} timed out during its start")
            probe_s, brokers = min(left_s, _PROBE_TIMEOUT_S), self._place.brokers
            if is_ready(self._ports.broker, self._cluster_id, probe_s, self._access, brokers):
                return
            time.sleep(_POLL_S)

    def _remove_folder(self) -> None:
        # Not a folder that existed before, and which start refused.
        if self._made_folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._made_folder = False

    def _jvm(self, flags: Sequence[str], main: Sequence[str]) -> subprocess.Popen[bytes]:
        self._oom_kills = limits().oom_kills
        flags = (*flags, *self._jvm_flags, *(self._security.jvm_flags(self._folder) if self._security else ()))
        command = java_command(self._java, flags, self._classpath, self._folder, main)
        return start_jvm(command, self._folder, self._log, self._env)

    def _ended_at_start(self, status: int) -> BrokerError:
        died = self._death(status)
        error = self._failure(f"ended during its start: {died.message.partition(': ')[2].partition('; it logged')[0]}")
        return BrokerError(error.message, hint=died.hint or error.hint)

    def _failure(self, what: str) -> BrokerError:
        """A BrokerError with the last lines of the log, without stack frames."""
        told = quoted(self.last_lines(200), _QUOTED_LINES)
        who = "the embedded broker" if self._place.brokers == 1 else self._place.name
        return BrokerError(
            f"{who} (Java {self._java.major}) {what}; last log lines: {told}",
            hint="check the broker properties, free memory and disk space, or use another --java",
        )


def says_port_was_taken(lines: Iterable[str]) -> bool:
    """Whether a log says that a port was not free."""
    return any(sign in line for line in lines for sign in _PORT_TAKEN)


def free_ports(count: int) -> list[int]:
    """Different loopback ports that are free now."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_ADDRESS, port))
            found.append(port)
        if len(found) == count:
            return found
    raise BrokerError(f"no free port on {_ADDRESS} between {_PORTS.start} and {_PORTS.stop - 1}")
