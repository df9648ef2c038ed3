"""What tests of real runs share: the command in a place of its own, and a census of what it leaves behind."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from tests import turns

pytest_plugins = ["tests.kafka_fixtures"]

# The same examples in every run, on a machine of any speed, and nothing kept between runs.
settings.register_profile("hydra", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("hydra")


def examples(number: int) -> int:
    """How many random examples a test draws: all of them where HYDRA_TEST_EXHAUSTIVE is 1, a tenth otherwise."""
    return number if os.environ.get("HYDRA_TEST_EXHAUSTIVE") == "1" else max(1, number // 10)


TURNS = pytest.StashKey[turns.Turns]()

LONGEST_FIRST = (
    "engine/test_marathon_launcher.py",
    "clients/test_drivers_on_kafka.py",
    "sweep/test_sweep_command.py",
    "sweep/test_search_command.py",
    "kafkatest/test_faults.py",
    "kafkatest/test_batch_api.py",
    "kafkatest/test_group_mode.py",
    "kafkatest/test_command.py",
    "kafkatest/test_interruptions.py",
    "scripts/test_scripts.py",
    "kafkatest/test_running_stack.py",
    "kafkatest/test_marathon_elsewhere.py",
    "engine/test_code_server.py",
    "broker/test_embedded.py",
    "report/test_page.py",
    "broker/test_admin.py",
    "test_notebook.py",
)
"""Begun first, so that no worker is left alone with them at the end. The first of them is quiet: those that are alone
begin at the same time, on the other workers."""


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        config.stash[TURNS] = turns.Turns(config.cache.mkdir("turns"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Tests marked ``alone`` wait until nothing runs beside them, and all but those marked ``quiet`` wait for them."""
    if TURNS not in item.config.stash or item.get_closest_marker("quiet") is not None:
        return (yield)
    with item.config.stash[TURNS].turn(alone=is_alone(item), next_alone=nextitem is not None and is_alone(nextitem)):
        return (yield)


def is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that are alone come first, while nobody else has begun anything long, then the longest."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    assert all(path.is_file() for path in ranks), "LONGEST_FIRST names a file that is not there"
    items.sort(
        key=lambda item: (
            not is_alone(item),
            ranks.get(item.path, len(ranks)),
            item.get_closest_marker("integration") is None,
        )
    )


@pytest.fixture(scope="module", autouse=True)
def sockets_of_kafka_python() -> Iterator[None]:
    """kafka-python leaves sockets of refused connections to the garbage collector: in no other test's time."""
    yield
    if "kafka" in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Look again and again until the condition holds; fail with ``what`` when the time is up."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline_s:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)


def skip_where_others_have_the_machine(evidence: Sequence[str]) -> None:
    """Skip what cannot be measured now, where Hydra's evidence of a limit is that programs of others had the CPU."""
    if re.search(r"the machine was \d+ % busy .*other programs ([2-9]\d|100) %", " ".join(evidence)):
        pytest.skip(f"others have this machine: {'; '.join(evidence)}")


def stand(process: psutil.Process) -> None:
    """Stop a process, and see that it stands."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, 5, f"{process} stands")


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
        }
        self._folders = [self.temporary]
        self._stack: list[psutil.Process] = []
        self._kept: set[Path] = set()

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

    @property
    def text(self) -> str:
        return "\n".join(self.output)

    @property
    def complaint(self) -> str:
        """The last line of stderr."""
        return self.errors[-1] if self.errors else ""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place of this test's own; nothing may be left in it afterwards."""
    here = Place(tmp_path)
    yield here
    try:
        here.assert_nothing_left()
    finally:
        here.end_all()


@pytest.fixture
def hydra(place: Place) -> Callable[..., Command]:
    """Start ``hydra`` with arguments."""

    def start(*arguments: str, prefix: list[str] | None = None) -> Command:
        return Command(place, list(arguments), prefix=prefix)

    return start


@pytest.fixture(scope="module")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A local stack that is up for a module: its broker is the one of all runs that do it no harm."""
    stack = Place(tmp_path_factory.mktemp("kept"))
    try:
        up = Command(stack, ["local", "up"])
        assert up.end() == 0, up.errors
        yield stack
        assert Command(stack, ["local", "down"]).end(30) == 0
        stack.assert_nothing_left()
    finally:
        stack.end_all()


@pytest.fixture
def on_kept_stack(place: Place, running_stack: Place) -> Iterator[None]:
    """The commands of this test find ``running_stack``, and leave of it what was there before."""
    processes = place.use(running_stack)
    yield
    assert all(process.is_running() for process in processes), "the stack outlives its runs"
