"""stdout and stderr that are closed, full, or read by nobody change what is shown and nothing else."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hydra.cli.main import run
from hydra.cli.progress import PlainProgress, TerminalProgress
from hydra.cli.streams import TolerantStream, tolerant_streams
from tests.samples import run as run_record

STREAMS = {
    "closed stdout": ">&-",
    "closed stderr": "2>&-",
    "both closed": ">&- 2>&-",
    "all closed": "<&- >&- 2>&-",
    "full stdout": ">/dev/full",
    "full stderr": "2>/dev/full",
    "both full": ">/dev/full 2>/dev/full",
    "no reader": "| true",
    "a reader of three lines": "| head -3",
    "no reader of either": "2>&1 | true",
}
COMMANDS = {
    "--help": 0,
    "kafka --help-all": 0,
    "kafka --msg_rate=fast": 2,
    "local status": 0,
    "show result.json": None,
    "compare result.json result.json": None,
}
"""With their exit codes; None: that of the same command whose streams are as they should be."""


def shell(folder: Path, command: str, streams: str = "") -> subprocess.CompletedProcess[bytes]:
    line = f"set -o pipefail; {sys.executable} -m hydra {command} {streams}; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A folder with a result, and the exit code of each command in it."""
    from hydra.files.atomic_write import write_json
    from hydra.options.options import Options

    folder = tmp_path_factory.mktemp("streams")
    write_json(folder / "result.json", run_record(Options()))
    return folder, {
        command: shell(folder, command).returncode if code is None else code for command, code in COMMANDS.items()
    }


@pytest.mark.parametrize(
    ("command", "streams"),
    [
        pytest.param(
            command, streams, id=f"{command}-{name}", marks=() if command == "show result.json" else pytest.mark.release
        )
        for command in ["--help", "kafka --msg_rate=fast", "show result.json"]
        for name, streams in STREAMS.items()
    ],
)
def test_the_exit_code_is_that_of_the_command(expected, command, streams):
    folder, codes = expected
    ended = shell(folder, command, streams)
    assert ended.returncode == codes[command]
    assert b"Traceback" not in ended.stdout + ended.stderr
    assert b"Exception ignored" not in ended.stdout + ended.stderr
    assert list(folder.glob("hydra-bug-*")) == []


def test_a_full_stdout_is_told_on_stderr(expected):
    folder, _codes = expected
    ended = shell(folder, "show result.json", ">/dev/full")
    assert b"hydra: stdout cannot be written (No space left on device)" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", [["--help"], ["show", "result.json"]])
def test_characters_that_stdout_has_not_are_written_as_escapes(expected, command):
    folder, _codes = expected
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(
        [sys.executable, "-m", "hydra", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0
    assert ended.stdout.isascii()
    assert ended.stdout


class Failing:
    """A stream whose every write fails."""

    encoding = "utf-8"

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.tried = 0

    def write(self, _text):
        self.tried += 1
        raise self.error

    flush = isatty = lambda self: self.write("")

    def fileno(self):
        raise OSError(errno.ENOTTY, "none")


FAILURES = [
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EAGAIN, "Resource temporarily unavailable"),
    ValueError("I/O operation on closed file"),
]


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_a_stream_fails_once_and_is_left_alone(error):
    inner = Failing(error)
    stream = TolerantStream(inner)
    assert [stream.write("a"), stream.write("bc")] == [1, 2]
    stream.flush()
    assert inner.tried == 1
    assert stream.failure is not None


@pytest.mark.parametrize("error", FAILURES, ids=str)
@pytest.mark.parametrize("make", [PlainProgress, "terminal"])
def test_progress_on_a_stderr_that_fails_disturbs_nothing(monkeypatch, error, make):
    from rich.console import Console

    inner = Failing(error)
    monkeypatch.setattr(sys, "stderr", inner)
    with tolerant_streams(), contextlib.ExitStack() as stack:
        if make == "terminal":
            display = TerminalProgress(Console(stderr=True, force_terminal=True))
            stack.enter_context(display.live)
        else:
            display = make()
        display.phase("sending", "1 of 2")
        display.note("a note")
        display.hide()
        display.phase("cleaning up")
    assert inner.tried >= 1


@pytest.mark.parametrize("verdict_code", [0, 1, 3])
def test_a_run_whose_result_nobody_reads_keeps_its_exit_code(call, stand_in, monkeypatch, verdict_code):
    from tests.cli.test_main import result

    stand_in.result = result({0: "pass", 1: "fail", 3: "indeterminate"}[verdict_code])
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        code = run(["kafka", "--report=report.html"])
        monkeypatch.undo()
    assert code == verdict_code


def test_a_broken_pipe_that_is_no_stream_is_no_verdict(call, stand_in, tmp_path):
    stand_in.error = BrokenPipeError(errno.EPIPE, "Broken pipe")
    code, _out, err = call("kafka")
    assert code == 70
    assert "BrokenPipeError" in err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "/x/y cannot be used (No space left on device)"),
        (OSError(errno.ENOSPC, "No space left on device"), "a file cannot be used (No space left on device)"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "/x cannot be used (Read-only file system)"),
        (PermissionError(errno.EACCES, "Permission denied", b"/x\xff"), "/x\\udcff cannot be used (Permission denied)"),
        (OSError(errno.EMFILE, "Too many open files"), "(Too many open files): raise the limit"),
        (OSError(errno.EXDEV, "Invalid cross-device link", "/a", None, "/b"), "/a -> /b cannot be used"),
    ],
)
def test_an_error_of_the_file_system_is_one_line_with_path_and_reason(call, stand_in, error, words):
    stand_in.error = error
    code, _out, err = call("kafka")
    assert code == 4
    assert words in err
    assert err.count("\n") == 1


def test_a_bug_whose_log_cannot_be_written_is_a_bug_all_the_same(call, stand_in, monkeypatch):
    import tempfile

    def full(**_fields):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    stand_in.error = ZeroDivisionError("oh")
    code, _out, err = call("kafka")
    assert code == 70
    assert "oh" in err
    assert "No space left on device" in err
