"""``hydra local``: a stack that a run uses is not ended unless it is told to; no stack is started."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hydra.errors import InfrastructureError, UsageError
from hydra.files.atomic_write import try_lock
from hydra.files.folders import state_folder
from hydra.files.process_identity import identity_of, this_process
from hydra.kafkatest import running_stack
from hydra.kafkatest.running_stack import RunningStack


@pytest.fixture
def stack(monkeypatch, tmp_path_factory):
    """A record of a stack that is up (this process), and the stacks that were ended."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    folder = tmp_path_factory.mktemp("stack")
    running_stack.remember(
        RunningStack(this_process(), "hydra-1", str(folder), "http://127.0.0.1:1", "127.0.0.1:2", "1", "2026-01-01")
    )
    ended = []
    monkeypatch.setattr(running_stack, "end_running_stack", ended.append)
    return ended


@pytest.fixture
def in_use(stack):
    with running_stack.exclusive_use() as held:
        assert held
        yield stack


def test_a_stack_that_nobody_uses_is_ended(call, stack):
    code, out, _err = call("local", "down")
    assert (code, len(stack)) == (0, 1)
    assert f"the local stack (process {os.getpid()}) is down" in out


def test_in_a_script_one_in_use_is_refused(call, in_use):
    code, out, err = call("local", "down")
    assert (code, out, in_use) == (2, "", [])
    assert f"a run is using the local stack (process {os.getpid()})" in err
    assert "hydra local down --force" in err


def test_force_ends_it_all_the_same(call, in_use):
    assert call("local", "down", "--force")[0] == 0
    assert len(in_use) == 1


@pytest.mark.parametrize(("answer", "code", "ended"), [("y", 0, 1), ("n", 2, 0), ("", 2, 0)])
def test_on_a_terminal_it_asks(call, in_use, monkeypatch, answer, code, ended):
    from io import StringIO

    stdin = StringIO(f"{answer}\n")
    monkeypatch.setattr(stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    found, _out, err = call("local", "down")
    assert (found, len(in_use)) == (code, ended)
    assert "End it?" in err


def test_status_says_whether_it_is_in_use(call, stack):
    with running_stack.exclusive_use():
        assert running_stack.in_use()
        _code, out, _err = call("local", "status")
    assert "  in use      by a run\n" in out
    assert not running_stack.in_use()
    assert "  in use      no\n" in call("local", "status")[1]


@pytest.mark.parametrize("what", ["a link", "a fifo", "large", "garbage"])
def test_a_record_that_is_none_is_no_stack(call, stack, what):
    record = running_stack._record()
    content = record.read_bytes()
    record.unlink()
    if what == "a link":
        record.symlink_to("/dev/zero")
    elif what == "a fifo":
        os.mkfifo(record)
    else:
        record.write_bytes(content + b" " * running_stack.MAX_RECORD_BYTES if what == "large" else b"\x00")
    assert running_stack.find() is None
    assert "no local stack is up" in call("local", "down")[1]


@pytest.fixture
def other():
    """Another process that lives."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as process:
        identity = identity_of(process.pid, 0.0)
        assert identity is not None
        yield identity
        process.kill()


def kept_by(process):
    return RunningStack(process, "hydra-2", "/nowhere", "http://127.0.0.1:1", "127.0.0.1:2", "1", "2026-01-01")


def test_a_second_stack_does_not_take_the_place_of_one_that_is_up(stack, other):
    with pytest.raises(UsageError, match=rf"is up already \(process {os.getpid()}\): see 'hydra local status'"):
        running_stack.remember(kept_by(other))
    running_stack.forget(other)
    found = running_stack.find()
    assert found is not None
    assert found.process == this_process()


def test_a_stack_that_ended_makes_place_for_the_next(stack, other):
    running_stack.forget(this_process())
    assert running_stack.find() is None
    running_stack.remember(kept_by(replace(other, started="long ago")))
    running_stack.remember(kept_by(this_process()))
    running_stack.remember(replace(kept_by(this_process()), kafka_pids=(1,)))
    found = running_stack.find()
    assert found is not None
    assert (found.process, found.kafka_pids) == (this_process(), (1,))


def test_a_record_that_another_process_changes_is_waited_for(stack, other, monkeypatch):
    monkeypatch.setattr(running_stack, "LOCK_TIMEOUT_S", 0.01)
    with try_lock(state_folder() / "stack-record.lock") as held:
        assert held
        with pytest.raises(InfrastructureError, match=r"stack\.json, is locked"):
            running_stack.remember(kept_by(this_process()))
        running_stack.forget(this_process())
        assert running_stack.find() is not None


def test_a_stack_that_may_not_stay_says_so_and_still_ends_with_its_controller(stack, other, monkeypatch):
    from hydra.kafkatest import local_stack_main
    from hydra.kafkatest.local_stack import KEEP, StackCommand

    running_stack.forget(this_process())
    running_stack.remember(kept_by(other))
    told, ended = [], []
    monkeypatch.setattr(local_stack_main, "_tell", told.append)
    monkeypatch.setattr(local_stack_main.os, "kill", lambda *call: ended.append(call))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEEP}\n"))
    local_stack_main.StackProcess(Path("/nowhere"), StackCommand("hydra-2", kafka=False))._watch_lease()
    assert [(event.event, event.exit_code) for event in told] == [("failed", 2)]
    assert f"(process {other.pid})" in told[0].text
    assert ended == [(os.getpid(), signal.SIGTERM)]
