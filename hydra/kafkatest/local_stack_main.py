"""The program of a local stack's process: ``python -m hydra.kafkatest.local_stack_main FOLDER``, see local_stack.py.

It ends when its stdin closes (its controller is gone), at SIGTERM, and, with everything that it started, when it is
killed. The main thread starts Kafka and another one the local Marathon, and both live as long as the process, since the
kernel kills a child when the thread that started it ends.

The folder is an argument, so that the process can remove it although it may never receive a command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
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
from hydra.engine.marathon_access import TOKEN_FILE, new_token
from hydra.errors import HydraError
from hydra.files.atomic_write import file_errors
from hydra.files.folders import own, remove_run_folder, write_bug_log
from hydra.files.process_identity import this_process
from hydra.kafkatest import running_stack
from hydra.kafkatest.local_stack import KEEP, StackCommand, StackEvent, start_allowance_s
from hydra.kafkatest.running_stack import RunningStack
from hydra.options.parsers import parse_agents
from hydra.run.cgroups import raise_descriptor_limit
from hydra.signals.keys import make_stack_keys

KAFKA_START_TIMEOUT_S = 60.0
MARATHON_TIMEOUT_S = 20.0
KAFKA_POLL_S = 0.5
COMMAND_TIMEOUT_S = 10.0
"""A controller sends its command at once."""

LAST_RESORT_S = 15.0
"""If cleaning up takes longer, the process ends without it."""

END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


_ENDS: queue.SimpleQueue[None] = queue.SimpleQueue()
"""One for each SIGTERM that has come. A second one may come while the first is handled, and then the lock of an Event
would be waited for by its own holder; this queue's ``put`` is reentrant."""

_CLEAN_UP = threading.Event()
"""The clean-up has begun."""

END_REPEAT_S = 0.5


class _EndError(BaseException):
    """The lease ended, or SIGTERM came."""


class StackProcess:
    """One local stack, which writes below one folder. SIGTERM is blocked before ``run``, and ignored after it."""

    def __init__(self, folder: Path, command: StackCommand) -> None:
        self._command = command
        self._folder = folder
        self._marathon_url = ""
        self._bootstrap_servers = ""
        self._kafka_pids: tuple[int, ...] = ()
        self._zookeeper = ""
        self._kept = threading.Event()

    def run(self) -> None:
        """Start, serve until the end, and clean up."""
        signal.signal(signal.SIGTERM, _raise_end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._watch_lease, name="lease", daemon=True).start()
        threading.Thread(target=_repeat_end, name="end", daemon=True).start()
        try:
            with contextlib.ExitStack() as parts:
                parts.callback(lambda: running_stack.forget(this_process()))
                try:
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
                    with file_errors(self._folder):
                        self._serve(parts)
                except HydraError as error:
                    # Before the parts go down, since the controller would notice that first.
                    _tell_failure(error)
                except Exception as error:  # noqa: BLE001  # whatever was not expected is a bug of ours
                    text = write_bug_log(error, " in the local stack")
                    _tell(StackEvent("failed", text, exit_code=HydraError.exit_code))
                finally:
                    _protect_clean_up()
        except _EndError:
            pass

    def _serve(self, parts: contextlib.ExitStack) -> None:
        """Start the parts and wait until something raises."""
        own(self._folder)
        self._marathon_url = parts.enter_context(_marathon(self._folder, self._command.agents))
        _tell(StackEvent("marathon", self._marathon_url))
        if self._command.kafka:
            self._serve_kafka(parts)
        else:
            _tell(StackEvent("kafka"))
        while True:  # never for long: a signal that another thread takes, or that comes just before, ends no sleep
            time.sleep(END_REPEAT_S)

    def _serve_kafka(self, parts: contextlib.ExitStack) -> None:
        """Start Kafka and wait until the last of its brokers dies."""
        from hydra.kafkatest.embedded_kafka import make_kafka

        settings = self._command.settings
        kafka = make_kafka(self._command, self._folder, note=_tell_note)
        parts.callback(kafka.stop)
        kafka.start(KAFKA_START_TIMEOUT_S + start_allowance_s(settings.brokers))
        self._bootstrap_servers, self._kafka_pids, self._zookeeper = (
            kafka.bootstrap_servers,
            kafka.pids,
            kafka.zookeeper,
        )
        _tell(StackEvent("kafka", self._bootstrap_servers, pids=kafka.pids, zookeeper=kafka.zookeeper))
        told = 0
        while told < settings.brokers:
            for died in kafka.deaths():
                told += 1
                _tell(StackEvent("kafka_died", died.message, hint=died.hint))
                running_stack.note_death(self._folder, str(died))
            time.sleep(KAFKA_POLL_S)

    def _watch_lease(self) -> None:
        """Read stdin to its end."""
        for line in sys.stdin:
            if line.strip() == KEEP:
                try:
                    with file_errors():
                        self._keep()
                except HydraError as error:
                    _tell_failure(error)
        if not self._kept.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def _keep(self) -> None:
        running_stack.remember(
            RunningStack(
                process=this_process(),
                run_id=self._command.run_id,
                folder=str(self._folder),
                marathon_url=self._marathon_url,
                bootstrap_servers=self._bootstrap_servers,
                kafka_pids=self._kafka_pids,
                zookeeper=self._zookeeper,
                version=__version__,
                settings=self._command.settings,
                since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )
        )
        self._kept.set()
        _tell(StackEvent("kept"))


def _raise_end(_signal_number: int, _frame: object) -> None:
    _ENDS.put(None)
    raise _EndError


def _repeat_end() -> None:
    """Repeat SIGTERM until the clean-up begins: Python drops what a handler raises within a finalizer or a callback."""
    _ENDS.get()
    while not _CLEAN_UP.wait(END_REPEAT_S):
        os.kill(os.getpid(), signal.SIGTERM)


def _protect_clean_up() -> None:
    """From now on no second SIGTERM interrupts the clean-up, and it cannot take forever."""
    while not _CLEAN_UP.is_set():
        with contextlib.suppress(_EndError):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _CLEAN_UP.set()
    last_resort = threading.Timer(LAST_RESORT_S, os._exit, (1,))
    last_resort.daemon = True
    last_resort.start()


@contextlib.contextmanager
def _marathon(folder: Path, agents: str | None) -> Iterator[str]:
    """The local Marathon on a thread of its own, with a token in the stack's folder; yields its URL."""
    from hydra.kafkatest.forked_tasks import IS_SUPPORTED, ForkedTasks
    from hydra.localmarathon.server import LocalMarathon

    token = new_token(folder / TOKEN_FILE)
    make_stack_keys(folder)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="marathon", daemon=True)
    thread.start()
    server = LocalMarathon(
        folder / "marathon",
        token=token,
        agents=parse_agents(agents) if agents else (),
        starter=ForkedTasks() if IS_SUPPORTED else None,
    )
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(MARATHON_TIMEOUT_S)
        yield server.url
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(MARATHON_TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(MARATHON_TIMEOUT_S)


def _tell(event: StackEvent) -> None:
    """Send a line to the controller, if it is still there."""
    with contextlib.suppress(OSError):
        sys.stdout.buffer.write(encode(event) + b"\n")
        sys.stdout.buffer.flush()


def _tell_failure(error: HydraError) -> None:
    _tell(StackEvent("failed", error.message, exit_code=error.exit_code, hint=error.hint))


def _tell_note(text: str) -> None:
    _tell(StackEvent("note", text))


def main() -> None:
    """Read the command from stdin and run that stack in the given folder, which is removed at the end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    raise_descriptor_limit()
    folder = Path(sys.argv[1])
    try:
        ready, _, _ = select.select([sys.stdin], [], [], COMMAND_TIMEOUT_S)
        # No line comes from a controller that was interrupted before it sent one.
        if ready and (line := sys.stdin.buffer.readline()):
            StackProcess(folder, decode(line, StackCommand)).run()
    finally:
        remove_run_folder(folder)


if __name__ == "__main__":
    main()
