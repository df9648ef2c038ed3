"""The archive of Kafka's classes: made once, used by a broker, and never in the way of one."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from hydra.broker.cds_archive import KEPT_ARCHIVES, _remove_old, archive_flags, cds_archive
from hydra.broker.embedded import EmbeddedBroker
from hydra.files.atomic_write import try_lock

pytestmark = pytest.mark.integration

MADE = "preparing Kafka's classes, once, so that it boots in half the time from now on"
WITHOUT = "Kafka boots without an archive of its classes, which takes some seconds more "


@pytest.fixture
def make(java, classpath, tmp_path):
    """Ask for an archive in a folder of the test's own; returns it, and what was told meanwhile."""

    def ask(chosen=java, folder=tmp_path / "archives"):
        told = []
        archive = cds_archive(chosen, classpath, tmp_path / "scratch", note=told.append, folder=folder)
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


@pytest.mark.release  # the whole of it takes 20 s of a CPU; every other broker of the tests maps what it made
def test_it_is_made_once_and_a_broker_maps_it(make, make_broker, tmp_path):
    archives = tmp_path / "archives"
    left_over = archives / ".partial-of-one-that-was-killed"
    left_over.mkdir(parents=True)
    used_s = time.time() - 3600
    for age in range(KEPT_ARCHIVES + 2):
        (archives / f"of-another-place-{age}.jsa").write_bytes(b"old")
        os.utime(archives / f"of-another-place-{age}.jsa", (used_s - age, used_s - age))

    archive, told = make()
    assert archive is not None
    assert told == [MADE]
    kept = {f"of-another-place-{age}.jsa" for age in range(KEPT_ARCHIVES)}
    assert {path.name for path in archives.iterdir()} == {".lock", archive.name, *kept}
    os.utime(archive, (used_s, used_s))
    assert make() == (archive, [])
    assert archive.stat().st_mtime > time.time() - 60

    with make_broker(tmp_path / "broker", jvm_flags=archive_flags(archive)) as broker:
        assert str(archive) in Path(f"/proc/{broker.pid}/maps").read_text()
        assert not [line for line in broker.last_lines(50) if "[warning]" in line]


@pytest.mark.release
def test_a_broker_does_without_one_that_does_not_fit(make_broker, tmp_path):
    wrong = tmp_path / "wrong.jsa"
    wrong.write_bytes(b"no archive" * 1000)
    with make_broker(tmp_path / "broker", jvm_flags=archive_flags(wrong)) as broker:
        assert broker.returncode() is None


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("*-Xshare:dump*) echo no dump; exit 1;;", "(java -Xshare:dump ended with exit status 1: no dump)"),
        (
            "*-Xshare:dump*) exit 0;; *-Xshare:on*) echo cannot map; exit 3;;",
            "(java -Xshare:on ended with exit status 3: cannot map)",
        ),
    ],
)
def test_a_java_that_cannot_make_or_use_one_is_asked_once_and_told_of(make, java, tmp_path, case, reason, monkeypatch):
    # The boot that lists the classes is the same for any Java: test_it_is_made_once_and_a_broker_maps_it.
    monkeypatch.setattr(EmbeddedBroker, "start", lambda _broker, _timeout_s: None)
    chosen = dataclasses.replace(java, path=java_that(tmp_path, java, case))
    assert make(chosen) == (None, [MADE, WITHOUT + reason])
    assert make(chosen) == (None, [])


@pytest.mark.release
def test_a_broker_that_does_not_boot_is_not_remembered(make, java, tmp_path):
    script = java_that(tmp_path, java, "*kafka.Kafka*) exit 1;;")
    chosen = dataclasses.replace(java, path=script)
    for _ in range(2):
        archive, told = make(chosen)
        assert archive is None
        assert told[0] == MADE
        assert told[1].startswith(WITHOUT)
        assert len(told) == 2
    assert [path.name for path in (tmp_path / "archives").iterdir()] == [".lock"]


def test_nobody_waits_for_another_maker(make, tmp_path):
    (tmp_path / "archives").mkdir()
    with try_lock(tmp_path / "archives" / ".lock"):
        assert make() == (None, [])


def test_a_folder_that_cannot_be_is_told_and_done_without(make, tmp_path):
    (tmp_path / "file").write_text("")
    archive, told = make(folder=tmp_path / "file" / "archives")
    assert archive is None
    (line,) = told
    assert line.startswith(WITHOUT)
    assert "Not a directory" in line


def test_of_the_archives_of_other_places_those_used_last_stay(tmp_path):
    """Each takes 64 MB, and every Java and checkout that Hydra was ever used with has one of its own."""
    for age in range(KEPT_ARCHIVES + 3):
        (tmp_path / f"{age}.jsa").write_bytes(b"")
        os.utime(tmp_path / f"{age}.jsa", (1000.0 - age, 1000.0 - age))
    (tmp_path / "other").write_bytes(b"")
    _remove_old(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"other", *(f"{age}.jsa" for age in range(KEPT_ARCHIVES))}


def test_no_archive_is_no_flag():
    assert archive_flags(None) == ()
