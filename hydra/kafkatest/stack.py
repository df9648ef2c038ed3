"""The stack that a run uses: a Marathon and a Kafka, each local or given; and the controller's hold on a local one."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hydra import errors
from hydra.broker.server_properties import check_overrides
from hydra.broker.settings import BrokerSettings, broker_settings
from hydra.codec import DecodeError, decode, encode
from hydra.errors import HydraError, InfrastructureError, UsageError
from hydra.files.run_folder import make_run_folder, new_run_folder, reap_orphans, remove_run_folder
from hydra.kafkatest import running_stack
from hydra.kafkatest.running_stack import RunningStack
from hydra.kafkatest.stack_channel import KEEP, StackCommand, StackEvent
from hydra.options.options import Options

MARATHON_TIMEOUT_S = 30.0
KAFKA_TIMEOUT_S = 90.0
"""Since the stack's last word: a first download tells how far it is."""

KEEP_TIMEOUT_S = 5.0
END_TIMEOUT_S = 20.0
FAILURE_TIMEOUT_S = 0.5
"""What the stack says of its end may come a moment after its end is noticed."""

Note = Callable[[str], None]


class LocalStack:
    """A local stack of this controller's own, in a process that ends when this one does.

    Nothing is there before ``start``, and ``close`` takes down what is, also after a start that was interrupted.

    Args:
        run_id: stands in the environment of every process of the stack, and in its folder's name.
        kafka: whether it has an embedded Kafka.
        java: the java to run it with; None for the one that came along.
        note: told what the stack has to say while it starts.
        settings: of the embedded Kafka.
        agents: of its Marathon (options/agent_specs.py); None for one without attributes.

    Raises:
        UsageError: a setting that is Hydra's own.
    """

    def __init__(
        self,
        run_id: str,
        *,
        kafka: bool,
        java: str | None,
        note: Note,
        settings: BrokerSettings | None = None,
        agents: str | None = None,
    ) -> None:
        settings = settings or BrokerSettings()
        check_overrides(settings.by_name())
        self._order = StackCommand(run_id, kafka, java, settings, agents)
        self.folder = new_run_folder(run_id)
        self._note = note
        self._events: queue.SimpleQueue[StackEvent | None] = queue.SimpleQueue()
        self.kafka_died = ""
        """The broker's last lines, once it has died."""
        self.kafka_pid = 0
        self._failure: HydraError | None = None
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._stays = False

    def start(self) -> None:
        """Have it start; called once. Whoever calls it calls ``close``, whatever comes of it.

        A process that this one was interrupted over, before it had hold of it, gets no order and removes the folder.
        """
        reap_orphans()
        make_run_folder(self.folder)
        self._process = process = self._start_process()
        reader = threading.Thread(target=self._read_events, args=(process,), name="stack-events", daemon=True)
        reader.start()
        self._reader = reader
        self._say(encode(self._order))

    def _start_process(self) -> subprocess.Popen[bytes]:
        with (self.folder / "stack.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "hydra.kafkatest.local_stack_main", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                # Python looks for modules in the working folder first, and a user's may well hold a folder "hydra".
                cwd=self.folder,
                env={**os.environ, "HYDRA_RUN_ID": self._order.run_id},
            )

    def wait_for_marathon(self) -> str:
        """The URL of the local Marathon.

        Raises:
            InfrastructureError: when the stack did not get there.
        """
        return self._wait_for("marathon", MARATHON_TIMEOUT_S)

    def wait_for_kafka(self) -> str:
        """The bootstrap servers of the embedded Kafka; empty for a stack without one.

        Raises:
            InfrastructureError: (BrokerError, JavaError, JarError) when it did not start.
        """
        return self._wait_for("kafka", KAFKA_TIMEOUT_S)

    def keep(self) -> None:
        """Have the stack stay when this process ends.

        Raises:
            InfrastructureError: when it did not say that it will.
        """
        self._stays = True
        self._say(KEEP.encode())
        self._wait_for("kept", KEEP_TIMEOUT_S)

    def release(self) -> None:
        """Let go of a stack that stays."""
        if self._process is not None:
            self._close_pipes(self._process)

    def close(self) -> None:
        """End the stack and everything that it started; harmless the second time."""
        if self._process is not None:
            self._end(self._process)
        remove_run_folder(self.folder)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Its lease is over, which suffices unless it was told to stay."""
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

    def _read_events(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                event = decode(line, StackEvent)
            except DecodeError:
                continue
            if event.event == "kafka":
                self.kafka_pid = event.pid
            elif event.event == "kafka_died":
                self.kafka_died = event.text or "without a word"
            elif event.event == "failed":
                self._failure = _failure(event)
                self._over.set()
            self._events.put(event)
        self._events.put(None)
        self._over.set()

    def failure(self, timeout_s: float) -> HydraError | None:
        """Why the stack ended by itself, waited for as long as ``timeout_s``; None when it has not said."""
        self._over.wait(timeout_s)
        return self._failure

    def _wait_for(self, wanted: str, timeout_s: float) -> str:
        while True:
            try:
                event = self._events.get(timeout=timeout_s)
            except queue.Empty:
                raise InfrastructureError(
                    f"the local stack said nothing for {timeout_s:g} s {self._last_words()}"
                ) from None
            if event is None:
                self._events.put(None)
                raise InfrastructureError(f"the local stack ended before it was up {self._last_words()}")
            if event.event == "failed":
                raise _failure(event)
            if event.event == "kafka_died":
                raise errors.BrokerError(f"the embedded Kafka died: {event.text}")
            if event.event == wanted:
                return event.text
            if event.event == "note":
                self._note(event.text)

    def _last_words(self) -> str:
        try:
            lines = (self.folder / "stack.log").read_text(errors="replace").splitlines()[-3:]
        except OSError:
            return ""
        return f"({' | '.join(lines)})" if lines else ""

    def _say(self, line: bytes) -> None:
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


def _failure(event: StackEvent) -> HydraError:
    """The error that the stack failed with."""
    kind = getattr(errors, event.error, InfrastructureError)
    if not (isinstance(kind, type) and issubclass(kind, HydraError)):
        kind = InfrastructureError
    return kind(event.text, hint=event.hint)


class Stack:
    """Marathon and Kafka for a run, wherever they are. Opened once, and closed also when its opening was interrupted.

    Args:
        options: name a Marathon and a Kafka, or neither.
        run_id: names what is started here.
        note: told what there is to know while it starts.
    """

    def __init__(self, options: Options, run_id: str, *, note: Note) -> None:
        self._options = options
        self._run_id = run_id
        self._note = note
        self._settings = broker_settings(options)
        self._use = contextlib.ExitStack()
        self._own: LocalStack | None = None
        self._kept: RunningStack | None = None
        self._bootstrap_servers: str | None = options.bootstrap_servers
        self.embedded = options.bootstrap_servers is None
        """Whether Kafka is one that Hydra started."""
        self.local = options.marathon_url is None
        """Whether Marathon is one that Hydra started."""

    def open(self) -> None:
        """Find the stack that was left up, or have one of our own start.

        Raises:
            UsageError: the one that is up is not what this run needs.
        """
        if not self.local:
            return
        self._kept = self._find_kept()
        if self._kept is None:
            self._own = LocalStack(
                self._run_id,
                kafka=self.embedded,
                java=self._options.java,
                note=self._note,
                settings=self._settings,
                agents=self._options.local_agents,
            )
            self._own.start()

    def _find_kept(self) -> RunningStack | None:
        """The stack that was left up, if nobody else uses it now and it has what this run needs."""
        free = self._use.enter_context(running_stack.in_use())
        kept = running_stack.find()
        if not free or (kept is not None and self.embedded and not kept.bootstrap_servers):
            if self._options.keep_running and kept is not None:
                raise UsageError(
                    "--keep_running: another stack is up already",
                    hint="see 'hydra local status', 'hydra local down'",
                )
            return None
        if kept is not None and self.embedded and (difference := self._settings.difference(kept.settings)):
            raise UsageError(
                f"a local stack with other settings is up: asked for is {difference}",
                hint="end it with 'hydra local down', or leave the setting out",
            )
        return kept

    @property
    def broker_settings(self) -> BrokerSettings:
        """Of an embedded Kafka: what it was started with."""
        return self._kept.settings if self._kept is not None else self._settings

    def marathon_url(self) -> str:
        """Marathon's URL; waits until a local one is up."""
        if self._options.marathon_url is not None:
            return self._options.marathon_url
        if self._kept is not None:
            return self._kept.marathon_url
        assert self._own is not None
        return self._own.wait_for_marathon()

    def bootstrap_servers(self) -> str:
        """Kafka's bootstrap servers; waits until an embedded one is up."""
        if self._bootstrap_servers is None:
            if self._kept is not None:
                self._bootstrap_servers = self._kept.bootstrap_servers
            else:
                assert self._own is not None
                self._bootstrap_servers = self._own.wait_for_kafka()
        return self._bootstrap_servers

    def kafka_pid(self) -> int:
        """The process of an embedded Kafka; 0 where Kafka is not Hydra's."""
        if not self.embedded:
            return 0
        if self._kept is not None:
            return self._kept.kafka_pid
        return self._own.kafka_pid if self._own is not None else 0

    def warm(self) -> bool:
        """Whether Kafka has been under load before; one that was given counts as such."""
        return not self.embedded or self._warm_mark().exists()

    def mark_warm(self) -> None:
        """Remember that Kafka has been under load, for as long as it is up."""
        if self.embedded:
            with contextlib.suppress(OSError):
                self._warm_mark().touch()

    def _warm_mark(self) -> Path:
        stack = self._kept or self._own
        assert stack is not None  # an embedded Kafka is in a local stack, and this one is not closed
        return Path(stack.folder) / "warm"

    def kafka_died(self) -> str:
        """The last lines of an embedded Kafka of our own that died; empty otherwise."""
        return self._own.kafka_died if self._own is not None else ""

    def failure(self) -> HydraError | None:
        """Why a stack of our own ended by itself; None while it is well."""
        return self._own.failure(FAILURE_TIMEOUT_S) if self._own is not None else None

    def close(self, *, keep: bool) -> None:
        """Take down what was started here, or with ``keep`` leave it up; harmless the second time."""
        own, self._own = self._own, None
        with self._use:
            if own is None:
                return
            if keep:
                try:
                    own.keep()
                    own.release()
                except HydraError:
                    own.close()
                    raise
                return
            own.close()


def end_kept_stack(kept: RunningStack) -> None:
    """End a stack that was left up, with everything that it started.

    Raises:
        InfrastructureError: when it is still there after its time.
    """
    import psutil

    process = psutil.Process(kept.process.pid)
    children = process.children(recursive=True)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    _gone, alive = psutil.wait_procs([process, *children], timeout=END_TIMEOUT_S)
    for left in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
    _gone, alive = psutil.wait_procs(alive, timeout=END_TIMEOUT_S)
    if alive:
        raise InfrastructureError(f"process {alive[0].pid} of the local stack would not end")
    running_stack.forget(kept.process.pid)
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while Path(kept.folder).exists() and time.monotonic() < deadline_s:
        remove_run_folder(Path(kept.folder))
