"""What a controller makes of what its stack's process says, and of its end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hydra.codec import encode
from hydra.errors import BrokerError, DegradedError, HydraError, InfrastructureError, JavaError, UsageError
from hydra.kafkatest.local_stack import LocalStack, StackCommand, StackEvent, stack_command
from hydra.options.options import Options


@pytest.fixture
def stack_that_says(tmp_path, monkeypatch):
    """A stack whose process says these events and ends with its lease; with the notes that were taken."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = []

    def make(*events: StackEvent, end: str = "sys.stdin.read()") -> tuple[LocalStack, list[str]]:
        lines = b"".join(encode(event) + b"\n" for event in events)
        code = f"import os, sys; sys.stdout.buffer.write({lines!r}); sys.stdout.flush(); {end}"
        notes: list[str] = []
        made.append(LocalStack(StackCommand("hydra-test", kafka=True), notes.append))
        process = lambda: subprocess.Popen(  # noqa: E731
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        monkeypatch.setattr(made[-1], "_start_process", process)
        made[-1].start()
        return made[-1], notes

    yield make
    for stack in made:
        stack.close()
    assert list(tmp_path.iterdir()) == []


def test_a_java_that_cannot_be_used_is_told_before_a_stack_is_started():
    with pytest.raises(JavaError, match="~nosuchuser has none"):
        stack_command(Options(java="~nosuchuser/bin/java"), "hydra-test", kafka=True)
    assert stack_command(Options(java="~nosuchuser/bin/java"), "hydra-test", kafka=False).java is None


def test_a_java_is_looked_for_where_the_user_is(monkeypatch, tmp_path):
    """The stack has a working folder of its own."""
    (tmp_path / "jdk" / "bin").mkdir(parents=True)
    (tmp_path / "jdk" / "release").write_text('JAVA_VERSION="21"\n')
    program = tmp_path / "jdk" / "bin" / "java"
    program.touch(mode=0o700)
    monkeypatch.chdir(tmp_path)
    assert stack_command(Options(java="jdk"), "hydra-test", kafka=True).java == str(program)


def test_it_comes_up_and_its_notes_are_told(stack_that_says):
    stack, notes = stack_that_says(
        StackEvent("marathon", "http://127.0.0.1:1"),
        StackEvent("note", "half way"),
        StackEvent("kafka", "k:1", pids=(7,)),
    )
    assert (stack.wait_for_marathon(), stack.wait_for_kafka(), stack.kafka_pids) == ("http://127.0.0.1:1", "k:1", (7,))
    assert (notes, stack.failure()) == (["half way"], None)


@pytest.mark.parametrize(
    ("exit_code", "kind"),
    [(2, UsageError), (3, DegradedError), (4, InfrastructureError), (70, HydraError), (99, HydraError)],
)
def test_an_error_becomes_the_branch_with_its_exit_code(stack_that_says, exit_code, kind):
    stack, _notes = stack_that_says(StackEvent("failed", "no room", exit_code=exit_code, hint="make some"))
    with pytest.raises(HydraError) as caught:
        stack.wait_for_marathon()
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == ("no room", "make some")
    assert stack.failure() is caught.value


def test_a_dead_broker_is_told_with_its_last_lines(stack_that_says):
    stack, _notes = stack_that_says(
        StackEvent("marathon", "x"), StackEvent("kafka_died", "the embedded Kafka died: x", hint="y")
    )
    assert stack.wait_for_marathon() == "x"
    with pytest.raises(BrokerError, match="the embedded Kafka died: x: y"):
        stack.wait_for_kafka()
    assert stack.kafka_deaths == ("the embedded Kafka died: x: y",)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("sys.exit(3)", "ended with exit status 3"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
        ("sys.exit(0)", "was ended by SIGTERM"),
    ],
)
def test_a_process_that_ends_is_told_by_its_status_and_its_last_lines(stack_that_says, end, told):
    stack, _notes = stack_that_says(end=end)
    (stack.folder / "stack.log").write_text("one\ntwo\nthree\nfour\n")
    for _ in range(2):
        with pytest.raises(InfrastructureError, match=rf"process \d+\) {told} \(two \| three \| four\): see who"):
            stack.wait_for_marathon()
    assert told in str(stack.failure())


def test_a_stack_that_was_closed_has_not_failed(stack_that_says):
    stack, _notes = stack_that_says(StackEvent("marathon", "x"))
    stack.wait_for_marathon()
    assert stack.failure(wait_s=0) is None
    stack.close()
    assert stack.failure() is None


def test_silence_is_told_as_a_time_out(stack_that_says, monkeypatch):
    monkeypatch.setattr("hydra.kafkatest.local_stack.MARATHON_TIMEOUT_S", 0.1)
    stack, _notes = stack_that_says()
    with pytest.raises(InfrastructureError, match=r"the local stack timed out after 0\.1 s$"):
        stack.wait_for_marathon()
