"""The archive of Kafka's classes: made once, used by a broker, and never in the way of one."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import time
from pathlib import Path

import pytest

from hydra.broker.cds_archive import UNUSED_DAYS, archive_flags, class_archive

pytestmark = pytest.mark.integration


@pytest.fixture
def make(java, classpath, tmp_path):
    """Ask for an archive in a folder of the test's own; returns it, and what was told meanwhile."""

    def ask(chosen=java, folder=tmp_path / "archives"):
        told = []
        archive = class_archive(chosen, classpath, tmp_path / "scratch", progress=told.append, folder=folder)
        assert not (tmp_path / "scratch").exists()
        return archive, told

    return ask


def java_that(tmp_path, java, case: str) -> Path:
    """A Java home whose java is ours, but for what ``case`` (of a shell's case) says."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "lib").symlink_to(java.path.resolve().parent.parent / "lib")
    (home / "release").symlink_to(java.path.resolve().parent.parent / "release")
    script = home / "bin" / "java"
    script.write_text(f'#!/bin/sh\ncase "$*" in\n{case}\nesac\nexec {java.path} "$@"\n')
    script.chmod(0o755)
    return script


def test_it_is_made_once_and_a_broker_maps_it(make, make_broker, tmp_path):
    unused, left_over = tmp_path / "archives" / "old.jsa", tmp_path / "archives" / ".partial-of-one-that-was-killed"
    left_over.mkdir(parents=True)
    unused.write_bytes(b"old")
    long_ago_s = time.time() - (UNUSED_DAYS + 1) * 86_400
    os.utime(unused, (long_ago_s, long_ago_s))

    archive, told = make()
    assert archive is not None
    assert len(told) == 1
    assert sorted(path.name for path in archive.parent.iterdir()) == [".lock", archive.name]
    os.utime(archive, (long_ago_s, long_ago_s))
    assert make() == (archive, [])
    assert archive.stat().st_mtime > time.time() - 60

    with make_broker(tmp_path / "broker", jvm_flags=archive_flags(archive)) as broker:
        assert str(archive) in Path(f"/proc/{broker.pid}/maps").read_text()
        assert not [line for line in broker.last_lines(50) if "[warning]" in line]


def test_a_broker_does_without_one_that_does_not_fit(make_broker, tmp_path):
    wrong = tmp_path / "wrong.jsa"
    wrong.write_bytes(b"no archive" * 1000)
    with make_broker(tmp_path / "broker", jvm_flags=archive_flags(wrong)) as broker:
        assert broker.returncode() is None


def test_a_java_that_makes_none_is_asked_once(make, java, tmp_path):
    script = java_that(tmp_path, java, "*-Xshare:dump*) exit 1;;")
    chosen = dataclasses.replace(java, path=script)
    assert make(chosen)[0] is None
    assert make(chosen) == (None, [])


def test_a_broker_that_does_not_boot_is_not_remembered(make, java, tmp_path):
    script = java_that(tmp_path, java, "*kafka.Kafka*) exit 1;;")
    chosen = dataclasses.replace(java, path=script)
    for _ in range(2):
        archive, told = make(chosen)
        assert (archive, len(told)) == (None, 1)
    assert [path.name for path in (tmp_path / "archives").iterdir()] == [".lock"]


def test_nobody_waits_for_another_maker(make, tmp_path):
    (tmp_path / "archives").mkdir()
    with (tmp_path / "archives" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert make() == (None, [])


def test_a_folder_that_cannot_be_is_done_without(make, tmp_path):
    (tmp_path / "file").write_text("")
    assert make(folder=tmp_path / "file" / "archives") == (None, [])


def test_no_archive_is_no_flag():
    assert archive_flags(None) == ()
