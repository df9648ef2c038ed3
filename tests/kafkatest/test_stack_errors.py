"""What the file system refuses to the process of a local stack is said by it, with path and reason."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hydra.codec import decode, encode
from hydra.engine.marathon_access import TOKEN_FILE
from hydra.kafkatest.local_stack import StackCommand, StackEvent


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
    command = [sys.executable, "-m", "hydra.kafkatest.local_stack_main", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(encode(StackCommand("hydra-x", kafka=False)) + b"\n")
        process.stdin.flush()
        event = decode(process.stdout.readline(), StackEvent)
        process.stdin.close()
        process.wait(30)
    assert (event.event, event.exit_code) == ("failed", 4)
    assert event.text == told.format(folder=folder)
    assert not folder.exists()
