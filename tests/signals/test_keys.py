"""The keys of signals: made, kept where only their owner reads them, and never shown."""

import stat

import pytest

from hydra.codec import encode
from hydra.errors import InfrastructureError, UsageError
from hydra.files.atomic_write import write_secret
from hydra.signals.keys import (
    CONTROLLER_KEY,
    TASK_KEY_FILE,
    keys_of_controller,
    keys_of_task,
    make_stack_keys,
    new_key_pair,
    read_keys,
    stack_keys,
)


def test_a_pair_is_new_each_time_and_its_secret_is_not_shown():
    one, other = new_key_pair(), new_key_pair()
    assert one.public != other.public
    assert (len(one.public_bytes), len(one.secret_bytes)) == (32, 32)
    assert one.secret not in repr(one)


def test_a_file_is_its_owners_alone_and_is_never_replaced(tmp_path):
    file, pair = tmp_path / "keys", new_key_pair()
    write_secret(file, encode(pair))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_keys(file) == pair
    with pytest.raises(FileExistsError):
        write_secret(file, encode(pair))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_secret(link, encode(pair))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"public": "00", "secret": "00"}', b'{"public": "zz", "secret": "1"}']
)
def test_a_file_without_keys_is_named(tmp_path, content):
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(InfrastructureError, match=r"the keys of the signals in .*keys cannot be read"):
        read_keys(tmp_path / "keys")


def test_the_tasks_of_a_stack_share_a_key_that_their_definition_does_not_have(tmp_path):
    make_stack_keys(tmp_path)
    keys = stack_keys(tmp_path)
    controller, own = keys_of_task(keys.task_environment)
    assert controller == keys.controller.public_bytes
    assert own.public == keys.tasks_public
    told = str(keys.task_environment)
    assert own.secret not in told
    assert keys.controller.secret not in told
    assert keys_of_task(keys.task_environment)[1] == own


def test_elsewhere_each_task_makes_its_own(tmp_path):
    keys = keys_of_controller(tmp_path / "keys", keep=False)
    assert set(keys.task_environment) == {CONTROLLER_KEY}
    assert keys_of_task(keys.task_environment)[1] != keys_of_task(keys.task_environment)[1]
    assert keys.tasks_public == ""
    assert list(tmp_path.iterdir()) == []


def test_who_leaves_apps_up_is_known_by_them_again(tmp_path):
    first = keys_of_controller(tmp_path / "keys", keep=True)
    assert keys_of_controller(tmp_path / "keys", keep=False) == first
    (tmp_path / "keys").unlink()
    assert keys_of_controller(tmp_path / "keys", keep=False).controller != first.controller
    with pytest.raises(InfrastructureError, match="cannot be kept"):
        keys_of_controller(tmp_path / "missing" / "keys", keep=True)


@pytest.mark.parametrize("environment", [{}, {CONTROLLER_KEY: ""}, {CONTROLLER_KEY: "00"}, {CONTROLLER_KEY: "z" * 64}])
def test_a_task_without_a_controller_does_not_start(environment):
    with pytest.raises(UsageError, match="not told the controller's key"):
        keys_of_task(environment)


def test_a_task_whose_file_is_gone_says_so(tmp_path):
    environment = {CONTROLLER_KEY: "00" * 32, TASK_KEY_FILE: str(tmp_path / "gone")}
    with pytest.raises(InfrastructureError, match="gone cannot be read"):
        keys_of_task(environment)
