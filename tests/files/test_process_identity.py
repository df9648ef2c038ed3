"""A process is told apart from others with its pid, whatever is done to the clock and whatever its name is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from hydra.codec import decode
from hydra.files import process_identity
from hydra.files.process_identity import ProcessIdentity, identity_of, this_process

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a start time is noted once")


@pytest.fixture(params=["boot known", "boot unknown"])
def system(request, monkeypatch):
    if request.param == "boot unknown":
        monkeypatch.setattr(process_identity, "boot_id", lambda: "")


def set_clock(monkeypatch, by_s):
    """What setting the machine's clock does to the start times of all processes."""
    before_s = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: before_s + by_s)


@on_linux
def test_setting_the_clock_makes_nobody_another_process(monkeypatch):
    before = this_process()
    set_clock(monkeypatch, 2.0)
    assert abs(this_process().started_s - before.started_s - 2.0) < 0.1, "the clock was set"
    assert before.alive()
    assert this_process() == before


@on_linux
def test_setting_the_clock_hides_no_process_of_a_task(monkeypatch):
    from hydra.localmarathon import processes

    sent = []
    monkeypatch.setattr(processes.os, "kill", lambda pid, number: sent.append((pid, number)))
    mine = processes.read_process_table().task_processes(os.getpid(), "no mark")
    set_clock(monkeypatch, -3600.0)
    processes.send_signal(mine, signal.SIGTERM)
    assert (os.getpid(), signal.SIGTERM) in sent


@pytest.mark.usefixtures("system")
def test_another_process_with_the_pid_is_another():
    assert this_process().alive()
    assert not replace(this_process(), started=this_process().started + "0").alive()
    assert replace(this_process(), started="x") != this_process()


@pytest.mark.usefixtures("system")
def test_one_that_has_ended_is_not_alive_before_and_after_it_was_reaped(tmp_path):
    program = tmp_path / "x) Z (y 1"
    program.symlink_to("/bin/cat")
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        identity = identity_of(process.pid, 0.0)
        assert identity is not None
        assert identity.alive()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not identity.alive(), "a zombie"
    assert not identity.alive()
    assert identity_of(process.pid, 0.0) is None


def test_what_an_earlier_version_has_written_is_read_as_it_was_meant():
    mine = this_process()
    text = b'{"pid":%d,"started_s":%r}'
    assert decode(text % (mine.pid, mine.started_s), ProcessIdentity).alive()
    assert not decode(text % (mine.pid, mine.started_s - 5), ProcessIdentity).alive()
