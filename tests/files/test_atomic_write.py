"""Files that are whole or unchanged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hydra.errors import OutputError
from hydra.files.atomic_write import atomic_write, check_output, staging_dir, try_lock, write_json, write_secret


def test_new_content_replaces_the_old(tmp_path):
    path = tmp_path / "file"
    atomic_write(path, b"old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_a_failure_the_old_content_is_still_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"^--csv=x cannot be written \(No space left on device\)") as caught:
        atomic_write(path, b"new", origin="--csv=x")
    assert caught.value.exit_code == 4
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("victim", ["file", "fifo", "nothing"])
def test_what_lies_where_a_draft_would_be_is_neither_followed_nor_written(tmp_path, monkeypatch, victim):
    """Whoever guessed a draft's name, and put a link there to a file of its victim, a pipe, or a place of no file."""
    path, target = tmp_path / "file", tmp_path / "victim"
    path.write_bytes(b"old")
    if victim == "file":
        target.write_bytes(b"precious")
    elif victim == "fifo":
        os.mkfifo(target)
    monkeypatch.setattr("hydra.files.atomic_write.secrets.token_hex", lambda _bytes: "guessed")
    (tmp_path / ".hydra-guessed.draft").symlink_to(target)
    with pytest.raises(OutputError, match="File exists"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert target.read_bytes() == b"precious" if victim == "file" else target.exists() == (victim == "fifo")


def test_a_draft_has_another_name_each_time(tmp_path, monkeypatch):
    names = set()
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda draft, target: names.add(draft.name) or replace(draft, target))
    for _ in range(20):
        atomic_write(tmp_path / "file", b"x")
    assert len(names) == 20
    assert min(map(len, names)) > 20


@pytest.mark.parametrize("there", ["a link", "a file"])
def test_a_secret_is_written_to_nothing_that_is_there(tmp_path, there):
    victim, path = tmp_path / "victim", tmp_path / "secret"
    victim.write_bytes(b"precious")
    if there == "a link":
        path.symlink_to(victim)
    else:
        path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        write_secret(path, b"secret")
    assert (victim.read_bytes(), path.read_bytes()) == (b"precious", b"precious")
    write_secret(tmp_path / "new", b"secret")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"none/file cannot be written \(No such file or directory\)"):
        atomic_write(tmp_path / "none" / "file", b"x")


def test_json_is_indented_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, None], "b": {"c": "ü"}})
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == {"a": [1, None], "b": {"c": "ü"}}
    assert text.startswith('{\n "a": [')
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "--csv='' is an invalid path"),
        ("a\0b", "is an invalid path"),
        (".", "--csv=. is a folder: name a file in it"),
        ("none/file", "--csv=none/file: the folder 'none' does not exist: create it first"),
    ],
)
def test_an_output_that_cannot_be_is_refused(tmp_path, monkeypatch, path, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError) as caught:
        check_output(path, "csv")
    assert told in str(caught.value)
    check_output("file", "csv")
    assert not Path("file").exists()


def test_a_staging_dir_removes_those_of_killed_writers(tmp_path):
    left_over = tmp_path / ".partial-x"
    left_over.mkdir()
    with staging_dir(tmp_path) as staging:
        assert not left_over.exists()
        (staging / "half").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "lock"
    with try_lock(path) as first:
        with try_lock(path) as second:
            assert (first, second) == (True, False)
        with try_lock(path) as third:
            assert not third, "one that did not get it releases nothing"
    with try_lock(path) as again:
        assert again


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_express_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": value})
    assert list(tmp_path.iterdir()) == []
