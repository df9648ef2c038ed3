"""What a target can be: everything that Hydra writes goes to it, and nothing is put in its place that was no file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hydra.errors import OutputError
from hydra.files import bounded_read, write_in_place
from hydra.files.atomic_write import atomic_write, check_output
from hydra.files.bounded_read import read_bounded
from hydra.files.write_in_place import open_lines

CONTENT = b"x" * 200_000
"""More than a pipe holds."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
NOBODY = 65534


def identity(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_rdev


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o755])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    check_output(str(path), "csv")
    atomic_write(path, CONTENT)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == CONTENT


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    atomic_write(tmp_path / "file", CONTENT)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("links", [1, 2])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, exists, links):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = elsewhere / "target"
    if exists:
        target.write_bytes(b"old")
        target.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to("elsewhere/target")
    if links == 2:
        (tmp_path / "second").symlink_to(link)
        link = tmp_path / "second"
    before = identity(link)
    check_output(str(link), "csv")
    atomic_write(link, CONTENT)
    assert identity(link) == before
    assert target.read_bytes() == CONTENT
    assert list(elsewhere.iterdir()) == [target]


def test_a_link_that_leads_in_a_circle_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="Too many levels of symbolic links"):
        atomic_write(tmp_path / "a", CONTENT)


def test_a_link_to_a_folder_that_is_not_there_is_refused_before_the_start(tmp_path):
    (tmp_path / "link").symlink_to("none/file")
    with pytest.raises(OutputError, match="does not exist: create it first"):
        check_output(str(tmp_path / "link"), "csv")


@pytest.mark.parametrize("through_link", [True, False])
def test_a_device_is_written_and_stays(tmp_path, through_link):
    path, null = Path("/dev/null"), Path("/dev/null")
    if through_link:
        path = tmp_path / "link"
        path.symlink_to("/dev/null")
    before = identity(path), identity(null)
    check_output(str(path), "csv")
    atomic_write(path, CONTENT)
    assert (identity(path), identity(null)) == before


def test_a_full_device_is_an_error_and_stays():
    before = identity(Path("/dev/full"))
    with pytest.raises(OutputError, match=r"^--csv=/dev/full cannot be written \(No space left on device\)"):
        atomic_write(Path("/dev/full"), CONTENT, origin="--csv=/dev/full")
    assert identity(Path("/dev/full")) == before


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_a_pipe_with_a_reader_is_written_and_stays(fifo):
    before = identity(fifo)
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as reader:
        descriptor = os.open(fifo, os.O_WRONLY)  # waits for the reader
        try:
            writer = threading.Thread(target=atomic_write, args=(fifo, CONTENT))
            writer.start()
            assert reader.stdout.read(len(CONTENT)) == CONTENT
            writer.join(10)
        finally:
            os.close(descriptor)
    assert identity(fifo) == before


def test_a_pipe_without_a_reader_is_refused_at_once(fifo):
    with pytest.raises(OutputError, match="nobody reads it"):
        atomic_write(fifo, CONTENT)
    with pytest.raises(OutputError, match="nobody reads it"):
        open_lines(fifo, origin="--live=fifo")


def test_a_reader_that_takes_nothing_ends_the_write(fifo, monkeypatch):
    monkeypatch.setattr(write_in_place, "WAIT_S", 0.05)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OutputError, match="its reader took nothing for"):
            atomic_write(fifo, CONTENT)
    finally:
        os.close(reader)


CHILD = """
import sys
from pathlib import Path
from hydra.files.atomic_write import atomic_write
print("before")
atomic_write(Path(sys.argv[1]), b"content\\n")
print("after")
"""


@pytest.mark.parametrize("target", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("to", ["a file", "a pipe"])
def test_the_own_stdout_is_written_in_its_turn_whatever_it_is(tmp_path, target, to):
    command = [sys.executable, "-c", CHILD, target]
    if to == "a pipe":
        text = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=True).stdout
    else:
        with (tmp_path / "out").open("wb") as file:
            subprocess.run(command, stdout=file, timeout=60, check=True)
        text = (tmp_path / "out").read_bytes()
    assert text == b"before\ncontent\nafter\n"


def test_a_socket_that_is_a_path_is_an_error(tmp_path):
    import socket

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(OutputError, match="nobody reads it"):
            atomic_write(tmp_path / "s", CONTENT)


def test_lines_are_added_and_the_first_that_fails_is_the_last(tmp_path):
    (tmp_path / "live").write_bytes(b"old\n")
    lines = open_lines(tmp_path / "live", origin="--live=live")
    lines.write(b"new\n")
    lines.close()
    lines.close()
    lines.write(b"late\n")
    assert (tmp_path / "live").read_bytes() == b"old\nnew\n"
    full = open_lines(Path("/dev/full"), origin="--live=/dev/full")
    full.write(b"x\n")
    full.write(b"x\n")
    full.close()


# What is read


@pytest.mark.parametrize("own", [True, False])
def test_a_file_is_read_up_to_its_limit(tmp_path, own):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bounded(tmp_path / "file", 5, own=own) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_bounded(tmp_path / "file", 4, own=own)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to(path.name), "Too many levels|not a regular file"),
        (lambda _path: None, "No such file"),
    ],
)
def test_what_is_no_file_is_neither_read_nor_waited_for(tmp_path, make, told, own):
    make(tmp_path / "x")
    with pytest.raises(OSError, match=told):
        read_bounded(tmp_path / "x", 100, own=own)


def test_a_link_is_followed_unless_the_file_has_to_be_our_own(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_bounded(tmp_path / "link", 10) == b"x"
    with pytest.raises(OSError, match="not a regular file"):
        read_bounded(tmp_path / "link", 10, own=True)


@pytest.fixture
def pipe():
    """A pipe of this process: the path of its end for reading, as a shell's ``<(...)`` gives it, and the other end."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "wb", buffering=0) as file:
        yield Path(f"/dev/fd/{reader}"), file


def test_a_descriptor_that_this_process_was_given_is_read_to_its_end(pipe):
    path, writer = pipe
    writer.write(b"12")
    writer.write(b"345")
    writer.close()
    assert read_bounded(path, 5) == b"12345"


def test_a_descriptor_gives_the_same_again(pipe):
    """A command reads its files of settings several times, and a pipe would be empty the second time."""
    path, writer = pipe
    writer.write(b"12345")
    writer.close()
    assert [read_bounded(path, 5), read_bounded(path, 10)] == [b"12345"] * 2
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_bounded(path, 4)


def test_another_pipe_of_the_same_number_is_another_one():
    for content in (b"first", b"second"):
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb"), os.fdopen(writer, "wb") as file:
            file.write(content)
            file.close()
            assert read_bounded(Path(f"/dev/fd/{reader}"), 10) == content


def test_a_descriptor_without_an_end_is_read_up_to_the_limit(pipe):
    path, writer = pipe
    writer.write(b"12345")
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_bounded(path, 4)


def test_a_descriptor_whose_writer_is_silent_is_given_up(pipe, monkeypatch):
    monkeypatch.setattr(bounded_read, "SILENT_S", 0.05)
    path, writer = pipe
    writer.write(b"12")
    with pytest.raises(OSError, match="nothing was written to it for"):
        read_bounded(path, 5)


@pytest.fixture
def everyones(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def plant(path: Path, kind: str, victim: Path) -> None:
    """What another user puts in the way."""
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"theirs")
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@needs_root
@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
def test_what_another_user_put_into_a_folder_of_everyone_is_neither_read_nor_written(tmp_path, everyones, kind):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    plant(everyones / "x", kind, victim)
    before = identity(everyones / "x")
    for refused in (
        lambda: read_bounded(everyones / "x", 100),
        lambda: read_bounded(everyones / "x", 100, own=True),
        lambda: atomic_write(everyones / "x", CONTENT),
        lambda: open_lines(everyones / "x", origin="--live"),
        lambda: check_output(str(everyones / "x"), "csv"),
    ):
        with pytest.raises((OSError, OutputError), match=r"belongs to another user|not a regular file"):
            refused()
    assert identity(everyones / "x") == before
    assert victim.read_bytes() == b"mine"


@needs_root
def test_what_another_user_has_in_a_folder_of_its_own_is_read_and_written_and_stays_theirs(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"theirs")
    os.chown(path, NOBODY, NOBODY)
    assert read_bounded(path, 100) == b"theirs"
    with pytest.raises(PermissionError, match="belongs to another user"):
        read_bounded(path, 100, own=True)
    atomic_write(path, CONTENT)
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)
