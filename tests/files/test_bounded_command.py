"""Commands of others end in time, whatever they print and start, and leave nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import psutil
import pytest

from hydra.files.bounded_command import EndedCommand, run_bounded

MOST = 1000


def none_is_left(noted):
    """Whether the session whose pid is noted has no process any more; a zombie that nobody has reaped holds nothing."""
    session, deadline_s = int(noted.read_text()), time.monotonic() + 10
    while left := processes_of(session):
        if time.monotonic() > deadline_s:
            return not left
        time.sleep(0.01)
    return True


def processes_of(session):
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("echo one; echo two >&2; exit 3", EndedCommand(3, b"one\n", b"two\n")),
        (["/bin/echo", "a b"], EndedCommand(0, b"a b\n", b"")),
        ("kill -9 $$", EndedCommand(-9, b"", b"")),
        ("exec >&- 2>&-; exit 4", EndedCommand(4, b"", b"")),
    ],
)
def test_it_says_how_it_ended(command, said):
    assert run_bounded(command, timeout_s=60, most_bytes=MOST) == said


def test_it_has_the_given_environment_and_no_input():
    assert run_bounded('cat; echo "$A"', timeout_s=60, most_bytes=MOST, variables={"A": "b"}).output == b"b\n"


def test_it_has_our_environment_but_for_the_controllers_secrets(monkeypatch):
    for name in ("HYDRA_KAFKA_PASSWORD", "HYDRA_MARATHON_PASSWORD", "HYDRA_RUN_ID", "AWS_PROFILE"):
        monkeypatch.setenv(name, name.lower())
    wanted = 'echo "$HYDRA_KAFKA_PASSWORD,$HYDRA_MARATHON_PASSWORD,$HYDRA_RUN_ID,$AWS_PROFILE"'
    assert run_bounded(wanted, timeout_s=60, most_bytes=MOST).output == b",,hydra_run_id,aws_profile\n"


@pytest.mark.parametrize("ending", ["sleep 61 | cat", "exec >&- 2>&-; sleep 61"])
def test_what_one_that_hangs_has_started_is_ended(tmp_path, ending):
    noted = tmp_path / "pid"
    with pytest.raises(subprocess.TimeoutExpired):
        run_bounded(f"echo $$ > {noted}; {ending}", timeout_s=0.8, most_bytes=MOST)
    assert none_is_left(noted)


def test_what_it_leaves_in_the_background_is_neither_waited_for_nor_left(tmp_path):
    noted = tmp_path / "pid"
    assert run_bounded(f"echo $$ > {noted}; sleep 61 & echo abc", timeout_s=60, most_bytes=MOST).output == b"abc\n"
    assert none_is_left(noted)


@pytest.mark.parametrize("to", ["", ">&2"])
def test_one_that_prints_without_end_is_ended(tmp_path, to):
    noted = tmp_path / "pid"
    ended = run_bounded(f"echo $$ > {noted}; while echo abc {to}; do :; done", timeout_s=60, most_bytes=MOST)
    assert len(ended.output + ended.errors) > MOST
    assert ended.status != 0
    assert none_is_left(noted)


def test_one_of_a_thread_ends_with_the_program(tmp_path):
    noted = tmp_path / "pid"
    program = (
        "import threading, time, pathlib, sys\n"
        "from hydra.files.bounded_command import run_bounded\n"
        f"noted, command = pathlib.Path({str(noted)!r}), 'echo $$ > {noted}.new; mv {noted}.new {noted}; sleep 61'\n"
        "ask = lambda: run_bounded(command, timeout_s=60, most_bytes=1)\n"
        "threading.Thread(target=ask, daemon=True).start()\n"
        "while not noted.exists(): time.sleep(0.01)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert none_is_left(noted)
