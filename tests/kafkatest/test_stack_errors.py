"""What the file system refuses to the process of a local stack is said by it, with path and reason."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hydra
from hydra.codec import decode, encode
from hydra.engine.marathon_access import TOKEN_FILE
from hydra.kafkatest.local_stack import StackCommand, StackEvent

ROOT = Path(hydra.__file__).parents[1]


@pytest.mark.parametrize(
    ("in_the_way", "told"),
    [
        (TOKEN_FILE, "{folder}/" + TOKEN_FILE + " cannot be used (File exists)"),
        ("owner.json/x", "{folder}/owner.json cannot be written (Is a directory)"),
    ],
)
def test_an_error_of_the_file_system_is_told_with_path_and_reason(tmp_path, in_the_way, told):
    folder = tmp_path / "hydra-x"
    (folder / in_the_way).parent.mkdir(parents=True)
    (folder / in_the_way).write_bytes(b"")
    event = what_the_stack_says(folder, "-m", "hydra.kafkatest.local_stack_main")
    assert (event.event, event.exit_code) == ("failed", 4)
    assert event.text == told.format(folder=folder)
    assert not folder.exists()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("nr_inodes=4", r"hydra: /.*/owner.json cannot be written \(No space left on device\)"),
        ("nr_inodes=1", r"hydra: /.* cannot be used \(No space left on device\): make room on that disk"),
    ],
    ids=["inodes for a few files", "no inode"],
)
def test_a_disk_that_takes_no_more_is_named_by_whatever_process_met_it(mounted, options, told):
    """... with path and reason in one line, and exit code 4."""
    ended = mounted(options, sys.executable, "-m", "hydra", "kafka", "--total_sub_apps=1", "--warmup=0")
    assert ended.returncode == 4, ended.stderr
    assert re.match(told, ended.stderr.splitlines()[-1]), ended.stderr
    assert "Traceback" not in ended.stderr


UNKNOWN_USER = """
import pwd
def look_up(user_id):
    raise KeyError(f"uid not found: {user_id}")
pwd.getpwuid = look_up
"""


@pytest.mark.integration
def test_a_user_whom_the_system_does_not_know_is_told_the_variable_to_set(tmp_path):
    """As in a container that runs with any user id, where nothing sets HOME."""
    (tmp_path / "sitecustomize.py").write_text(UNKNOWN_USER)
    (tmp_path / "tmp").mkdir()
    homes = ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in homes}
    command = [sys.executable, "-m", "hydra", "kafka", "--total_sub_apps=1", "--clients_per_app=1", "--test_duration=1"]
    ended = subprocess.run(
        command, env={**environment, "PYTHONPATH": f"{tmp_path}:{ROOT}", "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    said = ended.stderr.splitlines()[-1]
    assert said.endswith("set HOME, or set XDG_CACHE_HOME to a folder that can be written"), ended.stderr
    assert f"user {os.getuid()} has no home folder" in said
    assert "marathon_url" not in ended.stderr


BROKEN_STACK = """
from hydra.kafkatest import local_stack_main
def break_down(folder):
    raise ZeroDivisionError("nobody thought of it")
local_stack_main.own = break_down
local_stack_main.main()
"""


def test_what_nobody_foresaw_is_told_as_a_bug_with_its_log(tmp_path, monkeypatch):
    """... and not as whatever is missed next."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / "hydra-x"
    folder.mkdir()
    event = what_the_stack_says(folder, "-c", BROKEN_STACK)
    (log,) = tmp_path.glob("hydra-bug-*.log")
    bug = "a bug of Hydra's own in the local stack (ZeroDivisionError: nobody thought of it)"
    assert (event.event, event.exit_code, event.text) == ("failed", 70, f"{bug}: see {log}")
    assert "break_down" in log.read_text()
    assert not folder.exists()


def what_the_stack_says(folder, *program):
    """The first event of a stack's process, which is ended then."""
    with subprocess.Popen(
        [sys.executable, *program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdin.write(encode(StackCommand("hydra-x", kafka=False)) + b"\n")
        process.stdin.flush()
        event = decode(process.stdout.readline(), StackEvent)
        process.stdin.close()
        process.wait(30)
    return event
