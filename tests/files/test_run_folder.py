"""Folders of runs: whose they are, and what becomes of those whose owner was killed."""

from __future__ import annotations

import dataclasses

import pytest

from hydra.codec import encode
from hydra.files.process_identity import this_process
from hydra.files.run_folder import OWNER, make_run_folder, new_run_folder, reap_orphans, remove_run_folder, run_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_this_users_alone_and_gone_at_the_end(temporary):
    with run_folder("hydra-x") as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
        reap_orphans()
        assert (folder / "file").exists(), "its owner lives"
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_owner_is_removed_and_nothing_else(temporary):
    killed, garbage, other = (new_run_folder(f"hydra-{name}") for name in ("killed", "garbage", "other"))
    for folder in (killed, garbage, other):
        make_run_folder(folder)
    # Another process has got the pid since.
    (killed / OWNER).write_bytes(encode(dataclasses.replace(this_process(), started_s=1.0)))
    (garbage / OWNER).write_bytes(b"no owner")
    reap_orphans()
    assert {path.name for path in temporary.iterdir()} == {garbage.name, other.name}
    remove_run_folder(other)
    remove_run_folder(other)
    assert not other.exists()
