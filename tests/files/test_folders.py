"""Folders of runs, whose owner may have been killed, and of users, who may have none."""

from __future__ import annotations

import dataclasses
import os
import pwd
import stat
import tempfile
from pathlib import Path

import pytest

from hydra.codec import encode
from hydra.errors import InfrastructureError
from hydra.files.folders import (
    OWNER,
    cache_folder,
    make_run_folder,
    new_run_folder,
    reap_orphans,
    remove_run_folder,
    run_folder,
    state_folder,
    this_process,
)


@pytest.fixture
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


@pytest.fixture
def environment(monkeypatch):
    """Set the variables that name a user's folders, and no others."""

    def change(**variables):
        for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_CACHE_HOME": "/x/cache", "HOME": "/home/me"}, "/x/cache/hydra-scaletest"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/hydra-scaletest"),
        ({"HOME": "/home/me"}, "/home/me/.cache/hydra-scaletest"),
        ({}, str(Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache/hydra-scaletest")),
    ],
)
def test_where_the_cache_is(environment, variables, expected):
    environment(**variables)
    assert str(cache_folder()) == expected


@pytest.fixture
def unknown_user(monkeypatch):
    """The system does not know the user id of this process."""

    def look_up(user_id):
        raise KeyError(user_id)

    monkeypatch.setattr(pwd, "getpwuid", look_up)


def test_without_a_home_folder_the_error_names_the_variable(environment, unknown_user):
    environment()
    with pytest.raises(InfrastructureError, match=r"set HOME, or set XDG_CACHE_HOME to a folder") as caught:
        cache_folder()
    assert caught.value.exit_code == 4


def test_the_state_folder_is_the_users_own(environment, tmp_path):
    environment(XDG_STATE_HOME=str(tmp_path / "state"), HOME=str(tmp_path))
    folder = state_folder()
    assert folder == tmp_path / "state" / "hydra-scaletest"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("variables", [{"XDG_STATE_HOME": "/dev/null"}, {}])
def test_a_state_folder_that_cannot_be_is_in_the_temporary_folder(
    environment, unknown_user, tmp_path, monkeypatch, variables
):
    environment(**variables)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert state_folder() == Path(tmp_path) / f"hydra-scaletest-{os.getuid()}"
