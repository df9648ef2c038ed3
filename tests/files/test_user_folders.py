"""The folders of a user, and an error that names the variable where there are none."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from pathlib import Path

import pytest

from hydra.errors import InfrastructureError
from hydra.files.user_folders import cache_folder, state_folder


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
