"""``hydra local``: a stack that a run uses is not ended unless it is told to; no stack is started."""

from __future__ import annotations

import os
import sys

import pytest

from hydra.files.folders import this_process
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
