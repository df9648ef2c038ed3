"""The kernel's files, read again over descriptors that stay open."""

import os
import sys

import pytest

from hydra.files.kept_open import KeptOpen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


@pytest.fixture
def kept():
    kept = KeptOpen()
    yield kept
    kept.close()


def test_a_file_is_read_as_it_is_now_over_one_descriptor(kept, tmp_path):
    (tmp_path / "file").write_text("one")
    before = len(os.listdir("/proc/self/fd"))
    assert kept(str(tmp_path / "file")) == "one"
    (tmp_path / "file").write_text("x" * 200_000)
    assert kept(str(tmp_path / "file")) == "x" * 200_000
    assert len(os.listdir("/proc/self/fd")) == before + 1
    kept.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("path", ["/proc/self/stat", "/proc/net/dev", "/proc/stat"])
def test_the_kernel_is_asked_anew(kept, path):
    for _ in range(2):
        with open(path, encoding="utf-8") as file:
            assert len(kept(path).splitlines()) == len(file.read().splitlines())


def test_what_cannot_be_read_is_none_and_leaves_nothing(kept, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for path in (tmp_path / "none", tmp_path, "/proc/self/mem", "a\0b"):
        assert kept(str(path)) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_forked_process_reads_of_itself(kept):
    assert kept("/proc/self/stat").split()[0] == str(os.getpid())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, kept("/proc/self/stat").split()[0].encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        assert said.read() == str(child)
    assert os.waitpid(child, 0)[1] == 0
