"""A local stack (a local Marathon and an embedded Kafka) in a process of its own, as its controller holds it.

Controller and stack exchange JSON lines over the stack's stdin and stdout. The pipe to stdin is also the lease: when it
closes, however the controller ended, the stack takes itself down, unless it was told to stay. ``local_stack_main.py``
is the other side.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from hydra.broker.java import find_java
from hydra.broker.server_properties import BrokerSettings, broker_settings
from hydra.codec import DecodeError, decode, encode
from hydra.environment import for_own_processes
from hydra.errors import BrokerError, DegradedError, HydraError, InfrastructureError, UsageError
from hydra.files.folders import make_run_folder, new_run_folder, reap_orphans, remove_run_folder
from hydra.options.options import Options

MARATHON_TIMEOUT_S = 30.0
KAFKA_TIMEOUT_S = 90.0
"""Since the last message: a first download reports its progress."""

BROKER_ALLOWANCE_S = 20.0
KEEP_TIMEOUT_S = 5.0
END_TIMEOUT_S = 20.0
FAILURE_TIMEOUT_S = 0.5
"""The stack's end may be noticed a moment before its last message arrives."""

END_NOTICED_S = 2.0
"""A process that has closed its pipes has ended, or ends at once."""

KEEP = "keep"
"""The one message after the command: stay when I am gone."""

ERROR_BRANCHES = {kind.exit_code: kind for kind in (HydraError, UsageError, DegradedError, InfrastructureError)}
"""What an error of the stack's process becomes here, by its exit code."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class StackCommand:
    """The first line to the stack: what to start."""

    run_id: str
    kafka: bool
    """Whether to start an embedded Kafka beside the local Marathon."""
    java: str | None = None
    settings: BrokerSettings = field(default_factory=BrokerSettings)
    agents: str | None = None
    """Of the local Marathon (options/parsers.py)."""


@dataclass(frozen=True)
class StackEvent:
    """A line from the stack."""

    event: Literal["note", "marathon", "kafka", "kept", "kafka_died", "failed"]
    text: str = ""
    """A note; the URL of Marathon; Kafka's bootstrap servers; why a broker died; an error's message."""
    pids: tuple[int, ...] = ()
    """Kafka's processes, with its bootstrap servers."""
    zookeeper: str = ""
    """Where its ZooKeeper is, if it has one."""
    exit_code: int = 0
    """Of an error."""
    hint: str = ""
    """Of an error."""


def start_allowance_s(brokers: int) -> float:
    """How much longer so many brokers may take to start than one does: they start at the same time."""
    return BROKER_ALLOWANCE_S * (brokers - 1)


def stack_command(options: Options, run_id: str, *, kafka: bool) -> StackCommand:
    """What the options ask of a local stack.

    Raises:
        UsageError: a broker property is one that Hydra sets itself.
        JavaError: the Java that the options name cannot be used.
    """
    java = None
    if kafka and options.java is not None:
        # Here and now: the stack has another working folder, and would say so when many tasks have been started.
        java = str(find_java(options.java).path)
    return StackCommand(run_id, kafka, java, broker_settings(options), options.local_agents)


class LocalStack:
    """A local stack of this controller, in a process that ends when this one does.

    Nothing exists before ``start``. ``close`` takes down what there is, also after an interrupted start. A wait raises
    why the stack failed, or that it timed out.

    The command's run id is in the environment of every process of the stack, and names its folder. ``note`` is called
    with messages of the stack while it starts.
    """

    def __init__(self, command: StackCommand, note: Note) -> None:
        self._command = command
        self._note = note
        self.folder = new_run_folder(command.run_id)
        self.settings = command.settings
        self.kafka_pids: tuple[int, ...] = ()
        self.zookeeper = ""
        self.kafka_deaths: tuple[str, ...] = ()
        """Why brokers died, a text for each that has."""
        self._events: queue.SimpleQueue[StackEvent | None] = queue.SimpleQueue()
        self._failure: HydraError | None = None
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._stays = False
        self._closing = False

    def start(self) -> None:
        """Start the process; called once, and followed by ``close``, whatever comes of it.

        If we are interrupted before we hold the child's handle, the child receives no command and removes the folder.
        """
        reap_orphans()
        make_run_folder(self.folder)
        self._process = process = self._start_process()
        reader = threading.Thread(target=self._read_events, args=(process,), name="stack-events", daemon=True)
        reader.start()
        self._reader = reader
        self._send(encode(self._command))

    def _start_process(self) -> subprocess.Popen[bytes]:
        with (self.folder / "stack.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "hydra.kafkatest.local_stack_main", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                # Python looks for modules in the working folder first, and the user's may have a folder "hydra".
                cwd=self.folder,
                env={**for_own_processes(os.environ), "HYDRA_RUN_ID": self._command.run_id},
            )

    def wait_for_marathon(self) -> str:
        """Wait until the local Marathon is up; returns its URL."""
        return self._wait_for("marathon", MARATHON_TIMEOUT_S)

    def wait_for_kafka(self) -> str:
        """Wait until the embedded Kafka is up, if there is one; returns its bootstrap servers."""
        return self._wait_for("kafka", KAFKA_TIMEOUT_S + start_allowance_s(self.settings.brokers))

    def keep(self) -> None:
        """Have the stack stay when this process ends, and let go of it.

        Raises:
            UsageError: another stack was left up meanwhile.
            InfrastructureError: it did not confirm that it will.
        """
        self._stays = True
        self._send(KEEP.encode())
        self._wait_for("kept", KEEP_TIMEOUT_S)
        if self._process is not None:
            self._close_pipes(self._process)

    def close(self) -> None:
        """End the stack and everything that it started; harmless the second time."""
        self._closing = True
        if (process := self._process) is not None:
            # That ends its lease, which suffices unless it was told to stay.
            self._close_stdin(process)
            if self._stays:
                process.terminate()
            for harder in (process.terminate, process.kill, None):
                try:
                    process.wait(END_TIMEOUT_S)
                    break
                except subprocess.TimeoutExpired:
                    if harder is not None:
                        harder()
            self._close_pipes(process)
        remove_run_folder(self.folder)

    def failure(self, wait_s: float = FAILURE_TIMEOUT_S) -> HydraError | None:
        """Why the stack ended although nobody here ended it; None while it is up.

        Its own words, or else how its process ended. Waits a moment: what it took with it may be noticed first.
        """
        if not self._ended.wait(wait_s) or self._closing or self._process is None:
            return None
        if self._failure is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_NOTICED_S)
            self._failure = _unexpected_end(self._process, self._last_lines())
        return self._failure

    def _read_events(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                event = decode(line, StackEvent)
            except DecodeError:
                continue
            if event.event == "kafka":
                self.kafka_pids, self.zookeeper = event.pids, event.zookeeper
            elif event.event == "kafka_died":
                self.kafka_deaths += (str(BrokerError(event.text, hint=event.hint)),)
            elif event.event == "failed":
                self._failure = ERROR_BRANCHES.get(event.exit_code, HydraError)(event.text, hint=event.hint)
                self._ended.set()
            self._events.put(event)
        self._events.put(None)
        self._ended.set()

    def _wait_for(self, wanted: str, timeout_s: float) -> str:
        while True:
            try:
                event = self._events.get(timeout=timeout_s)
            except queue.Empty:
                text = f"the local stack timed out after {timeout_s:g} s{self._last_lines()}"
                raise InfrastructureError(text) from None
            if event is None:
                self._events.put(None)
                text = f"the local stack ended before it was up{self._last_lines()}"
                raise self.failure() or InfrastructureError(text)
            if event.event == "failed" and self._failure is not None:
                raise self._failure
            if event.event == "kafka_died":
                raise BrokerError(event.text, hint=event.hint)
            if event.event == wanted:
                return event.text
            if event.event == "note":
                self._note(event.text)

    def _last_lines(self) -> str:
        try:
            lines = (self.folder / "stack.log").read_text(errors="replace").splitlines()[-3:]
        except OSError:
            return ""
        return f" ({' | '.join(lines)})" if lines else ""

    def _send(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()

    @staticmethod
    def _close_stdin(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()

    def _close_pipes(self, process: subprocess.Popen[bytes]) -> None:
        self._close_stdin(process)
        if process.poll() is not None and process.stdout is not None:
            if self._reader is not None:
                self._reader.join(timeout=5)
            process.stdout.close()


def _unexpected_end(process: subprocess.Popen[bytes], last_lines: str) -> InfrastructureError:
    """What the exit status of a stack says that told nothing itself."""
    status = process.poll()
    reason = "closed its pipes" if status is None else f"ended with exit status {status}"
    if status is not None and status < 0:
        reason = f"was killed by {signal.Signals(-status).name}"
    elif status == 0:
        reason = "was ended by SIGTERM"
    hint = "see who ended it"
    if status == -signal.SIGKILL:
        hint += "; where the kernel did, for want of memory, its log (dmesg) says so"
    return InfrastructureError(f"the local stack (process {process.pid}) {reason}{last_lines}", hint=hint)


def leave_stack_running(options: Options, run_id: str, note: Note) -> None:
    """Start a local Marathon and an embedded Kafka, and leave them up.

    Raises:
        HydraError: with everything that had been started taken down again.
    """
    stack = LocalStack(stack_command(options, run_id, kafka=True), note)
    try:
        stack.start()
        stack.wait_for_marathon()
        stack.wait_for_kafka()
        stack.keep()
    except BaseException:
        stack.close()
        raise
