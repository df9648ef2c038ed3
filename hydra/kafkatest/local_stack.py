"""The process of a local stack: the local Marathon and, beside it, an embedded Kafka.

It outlives nobody: it ends when its stdin closes (its controller is gone), at SIGTERM, and, with everything that it
started, when it is killed. Kafka belongs to the main thread and the local Marathon to a thread of its own, and both
threads live as long as the process: the kernel ends a child whose starting thread ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from hydra import __version__
from hydra.codec import decode, encode
from hydra.errors import HydraError
from hydra.files.process_identity import this_process
from hydra.files.run_folder import own, remove_run_folder
from hydra.kafkatest import running_stack
from hydra.kafkatest.running_stack import RunningStack
from hydra.kafkatest.stack_channel import KEEP, StackCommand, StackEvent
from hydra.localmarathon.server import LocalMarathon
from hydra.options.agent_specs import parse_agents

KAFKA_START_TIMEOUT_S = 60.0
MARATHON_TIMEOUT_S = 20.0
KAFKA_LOOK_S = 0.5
ORDER_TIMEOUT_S = 10.0
"""A controller sends its order at once."""

LAST_RESORT_S = 15.0
"""Whatever holds up the end of the stack, after this long it ends."""


END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _EndError(Exception):
    """The lease is over, or SIGTERM came."""


class StackProcess:
    """One local stack. SIGTERM is blocked when it is made, and ignored once it has run.

    Args:
        folder: holds everything that it writes.
        order: what to start.
    """

    def __init__(self, folder: Path, order: StackCommand) -> None:
        self._order = order
        self._folder = folder
        self._marathon_url = ""
        self._bootstrap_servers = ""
        self._kafka_pid = 0
        self._kept = threading.Event()

    def run(self) -> None:
        """Start, stay until the end comes, and clean up."""
        signal.signal(signal.SIGTERM, _raise_end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        own(self._folder)
        threading.Thread(target=self._watch_lease, name="lease", daemon=True).start()
        try:
            with contextlib.ExitStack() as parts:
                parts.callback(running_stack.forget, os.getpid())
                try:
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
                    self._be(parts)
                except HydraError as error:
                    # Before the rest goes down: its going down is what a controller would notice otherwise.
                    _tell(StackEvent("failed", error.message, error=type(error).__name__, hint=error.hint))
                finally:
                    _let_nothing_stop_the_end()
        except _EndError:
            pass

    def _be(self, parts: contextlib.ExitStack) -> None:
        """Start the parts and stay until something raises."""
        self._marathon_url = parts.enter_context(_marathon(self._folder / "marathon", self._order.agents))
        _tell(StackEvent("marathon", self._marathon_url))
        if not self._order.kafka:
            _tell(StackEvent("kafka"))
            _wait_for_end()
        from hydra.broker.cds_archive import archive_flags, class_archive
        from hydra.broker.classpath import resolve_classpath
        from hydra.broker.embedded import EmbeddedBroker
        from hydra.broker.java import find_java

        java = find_java(self._order.java)
        classpath = resolve_classpath(progress=_tell_note)
        archive = class_archive(java, classpath, self._folder / "classes", progress=_tell_note)
        broker = EmbeddedBroker(
            folder=self._folder / "kafka",
            java=java,
            classpath=classpath,
            properties=self._order.settings.by_name(),
            heap_mb=self._order.settings.heap_mb,
            env={"HYDRA_RUN_ID": self._order.run_id},
            jvm_flags=archive_flags(archive),
        )
        parts.callback(broker.stop)
        broker.start(timeout_s=KAFKA_START_TIMEOUT_S)
        self._bootstrap_servers, self._kafka_pid = broker.bootstrap_servers, broker.pid
        _tell(StackEvent("kafka", self._bootstrap_servers, pid=broker.pid))
        while broker.returncode() is None:
            time.sleep(KAFKA_LOOK_S)
        _tell(StackEvent("kafka_died", " | ".join(broker.last_lines(5))))
        _wait_for_end()

    def _watch_lease(self) -> None:
        """Read stdin to its end."""
        for line in sys.stdin:
            if line.strip() == KEEP:
                self._keep()
        if not self._kept.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def _keep(self) -> None:
        running_stack.remember(
            RunningStack(
                process=this_process(),
                run_id=self._order.run_id,
                folder=str(self._folder),
                marathon_url=self._marathon_url,
                bootstrap_servers=self._bootstrap_servers,
                kafka_pid=self._kafka_pid,
                version=__version__,
                settings=self._order.settings,
                since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )
        )
        self._kept.set()
        _tell(StackEvent("kept"))


def _wait_for_end() -> None:
    while True:
        time.sleep(3600)


def _raise_end(signal_number: int, _frame: object) -> None:
    signal.signal(signal_number, signal.SIG_IGN)
    raise _EndError


def _let_nothing_stop_the_end() -> None:
    """On the way out: no second SIGTERM may interrupt the cleaning up, and nothing may hold it up for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    last_resort = threading.Timer(LAST_RESORT_S, os._exit, (1,))
    last_resort.daemon = True
    last_resort.start()


@contextlib.contextmanager
def _marathon(folder: Path, agents: str | None) -> Iterator[str]:
    """The local Marathon on a thread of its own; yields its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="marathon", daemon=True)
    thread.start()
    server = LocalMarathon(folder, agents=parse_agents(agents) if agents else ())
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(MARATHON_TIMEOUT_S)
        yield server.url
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(MARATHON_TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(MARATHON_TIMEOUT_S)


def _tell(event: StackEvent) -> None:
    """A line to the controller; none is lost when it is gone, since nobody is left to read it."""
    with contextlib.suppress(OSError):
        sys.stdout.buffer.write(encode(event) + b"\n")
        sys.stdout.buffer.flush()


def _tell_note(text: str) -> None:
    _tell(StackEvent("note", text))


def main() -> None:
    """Read the order from stdin and be the stack that it asks for, in the folder that is the one argument.

    The folder is removed at the end, also when there never was an order.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    folder = Path(sys.argv[1])
    try:
        if line := _order_line():
            StackProcess(folder, decode(line, StackCommand)).run()
    finally:
        remove_run_folder(folder)


def _order_line() -> bytes:
    """Empty when the controller was interrupted before it sent one."""
    ready, _, _ = select.select([sys.stdin], [], [], ORDER_TIMEOUT_S)
    return sys.stdin.buffer.readline() if ready else b""
