"""The command as its user runs it: in a place of its own, with a census of what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from hydra.broker.server_properties import JVM_FLAGS_VARIABLE

SHORT_LIVED_BROKER = "-XX:TieredStopAtLevel=1"
"""JVM flags of the brokers that live for some seconds: the second compiler would use more time than it saves."""

OTHERS_PERCENT = 20


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Look again and again until the condition holds; fail with ``what`` when the time is up."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline_s:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)


def suspend(process: psutil.Process) -> None:
    """Stop a process, and see that it stands still."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, 5, f"{process} is suspended")


def skip_if_others_use_the_machine(totals: Mapping[str, float | None]) -> None:
    """Skip what cannot be measured now, where a result's totals tell that programs of others had the CPU.

    They are what is left of a machine's load when the shares of Hydra and the broker are taken off.
    """
    busy_percent, broker_percent = totals["machine_cpu_percent"], totals["broker_cpu_percent"]
    if busy_percent is None or broker_percent is None:
        return
    ours_percent = totals["subscriber_cpu_percent_sum"] + totals["publisher_cpu_percent"] + broker_percent
    others_percent = busy_percent - ours_percent / os.cpu_count()
    if others_percent >= OTHERS_PERCENT:
        pytest.skip(f"other programs use {others_percent:.0f} % of this machine, which is {busy_percent:.0f} % busy")


class Place:
    """A state folder and a temporary folder of a test's own: whatever a command leaves behind can be told by them."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.state = folder / "state"
        self.work = folder / "work"
        for each in (self.temporary, self.state, self.work):
            each.mkdir()
        self.environment = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "XDG_STATE_HOME": str(self.state),
            JVM_FLAGS_VARIABLE: SHORT_LIVED_BROKER,
        }
        self._folders = [self.temporary]
        self._stack: list[psutil.Process] = []
        self._kept: set[Path] = set()

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Have this process work here, as a command does."""
        patch.chdir(self.work)
        for name in ("TMPDIR", "XDG_STATE_HOME", JVM_FLAGS_VARIABLE):
            patch.setenv(name, self.environment[name])
        patch.setattr(tempfile, "tempdir", None)

    def record(self, name: str = "result.json") -> dict:
        """What a result file of a command says."""
        return json.loads((self.work / name).read_text())

    def use(self, stack: Place) -> list[psutil.Process]:
        """Have commands find what another place keeps running; returns its processes: they are none of this place's."""
        self.environment["XDG_STATE_HOME"] = str(stack.state)
        self._folders.append(stack.temporary)
        self._stack = stack.processes()
        self._kept = set(stack.temporary.iterdir())
        return self._stack

    def processes(self) -> list[psutil.Process]:
        """Every process of a command that ran here: its environment, its arguments or its folder say so."""
        marks = [str(folder) for folder in self._folders]
        found = []
        for process in psutil.process_iter():
            try:
                if process in self._stack or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                traces = [*process.cmdline(), process.cwd(), process.environ().get("TMPDIR", "")]
            except psutil.Error:
                continue
            if any(mark in trace for mark in marks for trace in traces):
                found.append(process)
        return found

    def left_behind(self) -> list[str]:
        """Processes and folders that are still there."""
        return [f"process {process}" for process in self.processes()] + [
            f"folder {path}" for folder in self._folders for path in folder.iterdir() if path not in self._kept
        ]

    def assert_nothing_left(self, timeout_s: float = 5.0) -> None:
        """Within ``timeout_s`` no process and no folder of the commands is left."""
        deadline_s = time.monotonic() + timeout_s
        while left := self.left_behind():
            if time.monotonic() >= deadline_s:
                pytest.fail("left behind: " + "; ".join(left))
            time.sleep(0.1)

    def tasks(self, role: str) -> list[psutil.Process]:
        """The task processes of a role that run now, the oldest first."""
        found = [process for process in self.processes() if role in process.cmdline() and "task" in process.cmdline()]
        return sorted((p for p in found if p.cmdline()[0] != "/bin/sh"), key=lambda process: process.create_time())

    def kafka(self) -> psutil.Process:
        """The broker's JVM."""
        return next(process for process in [*self._stack, *self.processes()] if "kafka.Kafka" in process.cmdline())

    def end_all(self) -> None:
        """End what a failed test left: only processes of this place."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


class Command:
    """A running ``hydra``, whose output can be waited for."""

    def __init__(self, place: Place, arguments: list[str], *, prefix: list[str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*(prefix or []), sys.executable, "-m", "hydra", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=place.environment,
            cwd=place.work,
        )
        self.errors: list[str] = []
        self.output: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stderr, self.errors), (self.process.stdout, self.output))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, lines) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))

    def wait_for(self, pattern: str, timeout_s: float = 60.0) -> None:
        """Wait until a line of stderr matches."""
        wait_until(
            lambda: any(re.search(pattern, line) for line in list(self.errors)) or self.process.poll() is not None,
            timeout_s,
            f"{pattern!r} in {self.errors[-5:]}",
        )
        assert any(re.search(pattern, line) for line in self.errors), self.errors

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Its run cannot end in the meantime, however long that is: the command stands still, its tasks go on."""
        suspend(psutil.Process(self.process.pid))
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def end(self, timeout_s: float = 90.0) -> int:
        """Wait for its end; returns its exit code."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"still running after {timeout_s:g} s: {self.errors[-5:]}")
        finally:
            for reader in self._readers:
                reader.join(timeout=10)
            self.process.stdout.close()
            self.process.stderr.close()
        return code

    def end_well(self, timeout_s: float = 90.0) -> None:
        """Wait for its end. Nothing is lost; it passed, or says that this machine had no room for Hydra."""
        code = self.end(timeout_s)
        if code != 0:
            limited = [line for line in self.output if line.startswith("  the harness was the limit, not the broker: ")]
            kept = self.output and re.match(r"INDETERMINATE .* lost 0,", self.output[0])
            assert code == 3 and limited and kept, (code, self.errors, self.text)  # noqa: PT018

    @property
    def text(self) -> str:
        return "\n".join(self.output)

    @property
    def complaint(self) -> str:
        """The last line of stderr."""
        return self.errors[-1] if self.errors else ""
