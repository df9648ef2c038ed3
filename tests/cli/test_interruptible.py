"""Every signal that would end a run without a clean-up ends it with one, and is in the exit code."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from hydra.cli.terminal import ASKED_BY_A_USER, END_SIGNALS, interruptible
from hydra.errors import InterruptedRunError

PROGRAM = """
import select, signal, sys, time
from hydra.cli.terminal import interruptible
from hydra.errors import InterruptedRunError

try:
    with interruptible():
        try:
            print("runs", flush=True)
            time.sleep(60)
        finally:
            print("cleans up", flush=True)
            # Waits as every wait of ours does, with an end: a signal that comes just before a read that never ends is
            # seen by Python only when the read has ended.
            while not select.select([sys.stdin], [], [], 0.05)[0]:
                pass
            print("is clean", flush=True)
except InterruptedRunError as error:
    sys.exit(error.exit_code)
"""


def begin(*, ignored: signal.Signals | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM]
    if ignored is not None:
        command = ["sh", "-c", f"trap '' {ignored.name[3:]}; exec \"$@\"", "sh", *command]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "runs\n"
    return process


@pytest.mark.parametrize("number", END_SIGNALS)
def test_a_signal_cleans_up_and_is_the_exit_code(number):
    with begin() as process:
        process.send_signal(number)
        assert process.stdout.readline() == "cleans up\n"
        out, _err = process.communicate("\n", timeout=20)
    assert (out, process.returncode) == ("is clean\n", 128 + number)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGHUP, signal.SIGHUP),  # of a shell, and of the kernel when the shell ends
        (signal.SIGHUP, signal.SIGTERM),  # a session that ends
        (signal.SIGTERM, signal.SIGHUP),  # a service that stops
        (signal.SIGUSR1, signal.SIGTERM),  # a batch system, before its time is over and then
        (signal.SIGINT, signal.SIGUSR2),
    ],
)
def test_a_second_one_that_nobody_meant_as_such_leaves_the_clean_up_alone(first, second):
    with begin() as process:
        process.send_signal(first)
        assert process.stdout.readline() == "cleans up\n"
        process.send_signal(second)
        out, _err = process.communicate("\n", timeout=20)
    assert (out, process.returncode) == ("is clean\n", 128 + first)


@pytest.mark.parametrize("first", sorted(ASKED_BY_A_USER))
@pytest.mark.parametrize("second", sorted(ASKED_BY_A_USER))
def test_who_asks_twice_is_obeyed_at_once(first, second):
    with begin() as process:
        process.send_signal(first)
        assert process.stdout.readline() == "cleans up\n"
        process.send_signal(second)
        assert process.wait(20) == 128 + second
        assert process.stdout.read() == ""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_what_the_process_was_started_to_ignore_is_ignored(number):
    """As below nohup."""
    with begin(ignored=number) as process:
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "cleans up\n"
        process.communicate("\n", timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


def test_afterwards_everything_is_as_before():
    before = [signal.getsignal(number) for number in END_SIGNALS]
    with pytest.raises(InterruptedRunError), interruptible():
        signal.raise_signal(signal.SIGHUP)
    assert [signal.getsignal(number) for number in END_SIGNALS] == before
