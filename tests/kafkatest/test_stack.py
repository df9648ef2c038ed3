"""The start of a local stack, and its end, interrupted wherever that can happen."""

from __future__ import annotations

import ctypes
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hydra.codec import encode
from hydra.errors import InterruptedRunError
from hydra.files import folders
from hydra.files.folders import make_run_folder, new_run_folder
from hydra.kafkatest import local_stack, session
from hydra.kafkatest.local_stack import StackCommand
from hydra.kafkatest.session import Session
from hydra.options.options import Options
from hydra.run.protocols import SilentProgress
from tests.commands import wait_until
from tests.examples import examples

pytestmark = pytest.mark.integration

INTERRUPTED_FILES = {session.__file__, local_stack.__file__, folders.__file__, subprocess.__file__}
OPTIONS = Options(bootstrap_servers="127.0.0.1:1")


@pytest.fixture
def here(place, monkeypatch):
    """A place whose stacks are made by this process."""
    place.enter(monkeypatch)
    return place


class Interruption:
    """Raises InterruptedRunError, as a signal's handler does, before a line of the files above."""

    def __init__(self, before_line: int) -> None:
        self._lines_left = before_line
        self.at = ""

    def __call__(self, frame, event, _argument):
        if frame.f_code.co_filename not in INTERRUPTED_FILES:
            return None
        if event == "line":
            self._lines_left -= 1
            if self._lines_left == 0:
                self.at = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                sys.settrace(None)
                raise InterruptedRunError(signal.SIGTERM)
        return self


@pytest.fixture
def opened_as_far_as_the_stack(monkeypatch):
    """A session is open once its stack is started: the brokers that the options name are not there."""

    class StackIsStartedError(Exception):
        pass

    def stop(_session):
        sys.settrace(None)  # the clean-up that follows is not to be interrupted
        raise StackIsStartedError

    monkeypatch.setattr(Session, "_open_admin", stop)
    return StackIsStartedError


def open_interrupted(before_line: int, started: type[Exception]) -> str:
    """Open a session, interrupted there, and close it; returns where it was, or nothing when its stack was started."""
    own = Session(OPTIONS, "hydra-interrupted", SilentProgress())
    interruption = Interruption(before_line)
    before = sys.gettrace()
    try:
        sys.settrace(interruption)
        own.open()
    except (InterruptedRunError, started):
        pass
    finally:
        sys.settrace(before)
        own.close(keep=False)
    return interruption.at


@pytest.mark.release
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a Popen that nobody got hold of
def test_interrupted_before_any_line_of_its_start(here, opened_as_far_as_the_stack) -> None:
    """After the process is made each costs the start of an interpreter, so of those lines every third is taken."""
    before_line, made = 1, False
    while at := open_interrupted(before_line, opened_as_far_as_the_stack):
        left = [path.name for path in here.temporary.iterdir()]
        assert not left, f"interrupted at {at}: left {left}"
        made = made or ("subprocess" in at)
        before_line += 3 if made else 1
    assert made
    here.assert_nothing_left(15)


def begin_stack_process(here, number: int, stdout=subprocess.DEVNULL) -> tuple[Path, subprocess.Popen[bytes]]:
    folder = new_run_folder(f"hydra-{number}")
    make_run_folder(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "hydra.kafkatest.local_stack_main", str(folder)],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
    )
    return folder, process


@pytest.mark.parametrize(
    ("ended_by", "ordered"),
    [
        pytest.param("lease", False, marks=pytest.mark.release),
        ("lease", True),
        pytest.param("SIGTERM", True, marks=pytest.mark.release),
    ],
)
def test_stack_process_ended_at_any_moment_of_its_start(here, ended_by, ordered) -> None:
    """From before its interpreter has read a line until it makes its Marathon. Nobody but itself removes its folder."""
    began = []
    processes = examples(12, at_least=6)
    for number in range(processes):
        began.append(begin_stack_process(here, number))
        if ordered:
            order = StackCommand(f"hydra-{number}", kafka=False)
            began[-1][1].stdin.write(encode(order) + b"\n")
            began[-1][1].stdin.flush()
        time.sleep(1.2 / processes)
    if ordered:
        wait_until((began[0][0] / "marathon").exists, 60, "the first has begun with its Marathon")
    for _folder, process in began:
        if ended_by == "SIGTERM":
            process.terminate()
        process.stdin.close()
    codes = [process.wait(60) for _folder, process in began]
    assert codes[0] == 0
    for (folder, _process), code in zip(began, codes, strict=True):
        # Before it had come to its first line; that is its controller's folder still.
        if code != -signal.SIGTERM:
            assert not folder.exists(), list(folder.iterdir())
            assert code == 0
        folders.remove_run_folder(folder)


SECOND_SIGNAL = """
import contextlib, signal, sys
from hydra.kafkatest import local_stack_main

def at_line(frame, event, _argument):
    global lines
    lines += event == "line"
    if lines == before and event == "line":
        with contextlib.suppress(local_stack_main._EndError):
            signal.raise_signal(signal.SIGTERM)
    return at_line

signal.signal(signal.SIGTERM, local_stack_main._raise_end)
before, lines = 0, 1
while lines > before:
    before, lines = before + 1, 0
    sys.settrace(at_line)
    try:
        signal.raise_signal(signal.SIGTERM)
    except local_stack_main._EndError:
        sys.settrace(None)
print(before)
"""
"""A SIGTERM, and a second one before each line that handles the first."""


def test_a_second_signal_while_the_first_is_handled_is_no_deadlock() -> None:
    """As when a controller ends its stack and closes its stdin: both are a SIGTERM to it."""
    done = subprocess.run([sys.executable, "-c", SECOND_SIGNAL], capture_output=True, text=True, timeout=30, check=True)
    assert int(done.stdout) >= 2, "no line was interrupted"


def blocked_signals(thread: Path) -> int:
    """The mask of a thread's blocked signals, proc(5)."""
    return int(re.search(r"SigBlk:\s*(\w+)", (thread / "status").read_text())[1], 16)


def test_a_signal_that_another_thread_takes_ends_it_too(here) -> None:
    """The kernel may give a process's signal to any of its threads, and then no sleep of the main one is cut short."""
    folder, process = begin_stack_process(here, 1, stdout=subprocess.PIPE)
    process.stdin.write(encode(StackCommand("hydra-1", kafka=False)) + b"\n")
    process.stdin.flush()
    assert b'"kafka"' in [process.stdout.readline() for _event in range(2)][-1]
    others = [each for each in Path(f"/proc/{process.pid}/task").iterdir() if each.name != str(process.pid)]
    (taker, *_) = [each for each in others if not blocked_signals(each) & 1 << signal.SIGTERM - 1]
    assert ctypes.CDLL(None).tgkill(process.pid, int(taker.name), signal.SIGTERM) == 0
    assert process.wait(20) == 0
    assert not folder.exists()
    process.stdin.close()
    process.stdout.close()
