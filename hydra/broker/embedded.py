"""A real Apache Kafka of one node (KRaft, broker and controller in one) in a child JVM, for one run."""

from __future__ import annotations

import base64
import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from hydra.broker.java import Java
from hydra.broker.jvm import SHORT_RUN_FLAGS, broker_flags, end_jvm, java_command, start_jvm
from hydra.broker.readiness import is_ready
from hydra.broker.server_properties import Ports, properties_text, server_properties
from hydra.errors import BrokerError

if TYPE_CHECKING:
    from typing_extensions import Self

_ADDRESS = "127.0.0.1"
# Below the ports that kernels give to outgoing connections: none of a load's thousands of clients takes ours between
# two starts of the broker, or between our choice and its bind.
_PORTS = range(15000, 32000)
_PORT_TRIES = 5
_PORT_TAKEN = ("Address already in use", "java.net.BindException")
_POLL_S = 0.02
_PROBE_TIMEOUT_S = 1.0
_LOG_TAIL_BYTES = 64 * 1024
_QUOTED_LINES = 6
_STACK_FRAME = ("\t", "    ")


class EmbeddedBroker:
    """One broker; started by ``with`` or ``start``, gone with all its traces after ``stop``.

    ``start`` belongs on a thread that outlives the broker (the main thread): on Linux the kernel kills the JVM when the
    thread that started it ends, which is how it cannot be left behind, not even by a SIGKILL of ours.

    Args:
        folder: for data, log and settings; must not exist: ``start`` makes it and ``stop`` removes it.
        java: what to run it with.
        classpath: jars that were checked against the lock.
        properties: broker settings of the user, over ours.
        heap_mb: the JVM's heap, MiB.
        env: added to the JVM's environment, such as HYDRA_RUN_ID.
        start_timeout_s: for the ``with`` form.
        advertised_port: what clients are told to connect to, where a proxy stands in front of the broker.
        jvm_flags: more flags of the JVM, such as one that names an archive of classes.
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
        jvm_flags: Sequence[str] = (),
    ) -> None:
        self._folder = folder.absolute()
        self._java = java
        self._classpath = tuple(classpath)
        self._properties = dict(properties or {})
        self._heap_mb = heap_mb
        self._env = dict(env or {})
        self._start_timeout_s = start_timeout_s
        self._advertised_port = advertised_port
        self._jvm_flags = tuple(jvm_flags)
        self._log = self._folder / "broker.log"
        self._settings = self._folder / "server.properties"
        self._cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._ports: Ports | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._made_folder = False

    def __enter__(self) -> Self:
        self.start(self._start_timeout_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for Kafka clients.

        Raises:
            BrokerError: it was not started.
        """
        if self._ports is None:
            raise BrokerError("the embedded broker was not started")
        return f"{_ADDRESS}:{self._ports.broker}"

    @property
    def pid(self) -> int:
        """Of the JVM.

        Raises:
            BrokerError: it was not started.
        """
        if self._process is None:
            raise BrokerError("the embedded broker was not started")
        return self._process.pid

    def returncode(self) -> int | None:
        """Of the JVM: None while it runs or before it does; below zero, minus the signal that ended it."""
        return None if self._process is None else self._process.poll()

    def last_lines(self, count: int) -> tuple[str, ...]:
        """The newest lines of the broker's log, oldest first; none when there is no log (any more)."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - _LOG_TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ()
        return tuple(text.splitlines()[-count:]) if count > 0 else ()

    def start(self, timeout_s: float = 30.0) -> None:
        """Start it and wait until it serves. One that died is started again on its data and its port.

        Args:
            timeout_s: how long that may take.

        Raises:
            BrokerError: it died or took too long; quotes its last lines. Nothing of it is left then.
            JavaError: the JVM cannot be started.
            UsageError: a property that is Hydra's own.
        """
        if self._process is not None and self._process.poll() is None:
            raise BrokerError(f"the embedded broker on {self.bootstrap_servers} runs already")
        deadline = time.monotonic() + timeout_s
        try:
            if self._ports is None:
                self._start_fresh(deadline)
            else:
                self._launch(self._ports, deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it at once and remove its folder; harmless the second time.

        The JVM is killed, not asked: its data go with the folder, and a shutdown in good order takes a second.
        """
        if self._process is not None:
            end_jvm(self._process)
        self._ports = None
        self._remove_folder()

    def _start_fresh(self, deadline: float) -> None:
        # Another program may bind a port between our look and the broker's bind: then other ports, on an empty folder.
        for last in (False,) * (_PORT_TRIES - 1) + (True,):
            broker, controller = _free_ports(2)
            ports = Ports(broker, controller, self._advertised_port)
            self._remove_folder()
            try:
                self._format(ports, deadline)
                self._launch(ports, deadline)
            except BrokerError:
                if last or not any(sign in line for line in self.last_lines(200) for sign in _PORT_TAKEN):
                    raise
            else:
                return

    def _format(self, ports: Ports, deadline: float) -> None:
        """Write the settings and let Kafka's own tool prepare the data folder."""
        properties = server_properties(ports, str(self._folder / "data"), os.cpu_count() or 1, self._properties)
        try:
            self._folder.mkdir(parents=True)
            self._made_folder = True
            self._settings.write_text(properties_text(properties), encoding="ascii")
        except OSError as error:
            raise BrokerError(f"the embedded broker's folder {self._folder} cannot be written ({error})") from error
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}", f"--config={self._settings}"]
        self._process = self._jvm(SHORT_RUN_FLAGS, tool)
        try:
            status = self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            end_jvm(self._process)
            raise self._failure("did not get its data folder formatted in time") from None
        if status != 0:
            raise self._failure(f"could not format its data folder (exit status {status})")
        self._log.unlink(missing_ok=True)

    def _launch(self, ports: Ports, deadline: float) -> None:
        """Start the broker on a formatted folder and wait until it answers."""
        self._process = self._jvm(broker_flags(self._heap_mb), ["kafka.Kafka", str(self._settings)])
        self._ports = ports
        while True:
            status = self._process.poll()
            if status is not None:
                raise self._failure(f"ended while it started (exit status {status})")
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                end_jvm(self._process)
                raise self._failure(f"on {self.bootstrap_servers} did not answer in time")
            if is_ready(ports.broker, self._cluster_id, min(left_s, _PROBE_TIMEOUT_S)):
                return
            time.sleep(_POLL_S)

    def _remove_folder(self) -> None:
        # Only what we made: the caller may have named a folder that was there before, and start refused it.
        if self._made_folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._made_folder = False

    def _jvm(self, flags: Sequence[str], main: Sequence[str]) -> subprocess.Popen[bytes]:
        command = java_command(self._java, (*flags, *self._jvm_flags), self._classpath, self._folder, main)
        return start_jvm(command, self._folder, self._log, self._env)

    def _failure(self, what: str) -> BrokerError:
        """A BrokerError with the lines of the log that say why: stack frames left out."""
        lines = [line for line in self.last_lines(200) if line.strip() and not line.startswith(_STACK_FRAME)]
        quoted = " | ".join(lines[-_QUOTED_LINES:]) or "nothing"
        return BrokerError(
            f"the embedded broker (Java {self._java.major}) {what}; it said last: {quoted}",
            hint="look at the broker properties, at the free memory and disk, or use --java",
        )


def _free_ports(count: int) -> list[int]:
    """Different loopback ports that nobody listens on now.

    Raises:
        BrokerError: there are none.
    """
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_ADDRESS, port))
            found.append(port)
        if len(found) == count:
            return found
    raise BrokerError(f"no free port on {_ADDRESS} between {_PORTS.start} and {_PORTS.stop - 1}")
