"""Folders of runs, whose owner may have been killed, and of users, who may have none."""

from __future__ import annotations

import dataclasses
import os
import pwd
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from hydra.codec import decode, encode
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
    write_bug_log,
)
from hydra.files.process_identity import ProcessIdentity, this_process


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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a start time is noted once")
@pytest.mark.parametrize("moved_s", [-3600.0, -1.0, 2.0])
def test_the_folder_of_a_live_owner_stays_when_the_clock_is_set(temporary, monkeypatch, moved_s):
    import psutil

    folder, before_s = new_run_folder("hydra-x"), psutil.boot_time()
    make_run_folder(folder)
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: before_s + moved_s)
    assert abs(psutil.Process().create_time() - this_process_started_s(folder)) >= 1, "the clock has moved"
    reap_orphans()
    assert folder.exists()


def this_process_started_s(folder):
    return decode((folder / OWNER).read_bytes(), ProcessIdentity).started_s


def test_the_folder_of_a_killed_owner_is_removed_and_nothing_else(temporary):
    killed, garbage, other = (new_run_folder(f"hydra-{name}") for name in ("killed", "garbage", "other"))
    for folder in (killed, garbage, other):
        make_run_folder(folder)
    # Another process has got the pid since.
    (killed / OWNER).write_bytes(encode(dataclasses.replace(this_process(), started="another")))
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


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")


@needs_root
@pytest.mark.parametrize("owner", ["link", "fifo", "file"])
@pytest.mark.parametrize("folder", ["theirs", "link to ours"])
def test_a_folder_of_another_user_is_neither_read_nor_removed(temporary, tmp_path_factory, owner, folder):
    """One that was read would block at the fifo, and never end at the link."""
    place = temporary / "hydra-x"
    ours = tmp_path_factory.mktemp("ours") if folder == "link to ours" else place
    if ours is place:
        place.mkdir()
    else:
        place.symlink_to(ours)
    if owner == "link":
        (ours / OWNER).symlink_to("/dev/zero")
    elif owner == "fifo":
        os.mkfifo(ours / OWNER)
    else:
        (ours / OWNER).write_bytes(encode(dataclasses.replace(this_process(), started="another")))
    os.chown(place, 65534, 65534, follow_symlinks=False)
    reap_orphans()
    assert os.path.lexists(ours / OWNER)
    assert os.path.lexists(place)


@pytest.mark.parametrize("owner", ["link", "fifo", "large"])
def test_an_owner_that_is_no_small_file_is_not_read(temporary, owner):
    folder = temporary / "hydra-x"
    folder.mkdir()
    if owner == "link":
        (folder / OWNER).symlink_to("/dev/zero")
    elif owner == "fifo":
        os.mkfifo(folder / OWNER)
    else:
        dead = encode(dataclasses.replace(this_process(), started="another"))
        (folder / OWNER).write_bytes(dead + b" " * 10_000)
    reap_orphans()
    assert folder.exists()


@needs_root
def test_a_state_folder_that_another_user_planted_is_not_used(environment, unknown_user, temporary, tmp_path_factory):
    environment()
    mine = tmp_path_factory.mktemp("mine")
    planted = temporary / f"hydra-scaletest-{os.getuid()}"
    planted.symlink_to(mine)
    os.chown(planted, 65534, 65534, follow_symlinks=False)
    assert state_folder() not in {planted, mine}
    assert list(mine.iterdir()) == []


def test_a_state_folder_in_which_everyone_may_write_is_not_used(environment, temporary, tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    environment(XDG_STATE_HOME=str(state), HOME=str(state))
    (state / "hydra-scaletest").mkdir()
    (state / "hydra-scaletest").chmod(0o777)
    assert state_folder().parent == temporary


def test_a_bug_is_kept_in_a_file_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    text = write_bug_log(ValueError("of no kind"), " in the local stack")
    (log,) = tmp_path.iterdir()
    assert text == f"a bug of Hydra's own in the local stack (ValueError: of no kind): see {log}"
    assert "ValueError: of no kind" in log.read_text()
