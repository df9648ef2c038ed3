"""What a stack remembers of its warm-up."""

import pytest

from hydra.kafkatest.warm_mark import is_warm, mark_warm, marked_speed


def test_load_is_remembered_and_the_last_speed_that_was_measured(tmp_path):
    assert (is_warm(tmp_path), marked_speed(tmp_path)) == (False, 1.0)
    mark_warm(tmp_path)
    assert (is_warm(tmp_path), marked_speed(tmp_path)) == (True, 1.0)
    mark_warm(tmp_path, 0.5)
    mark_warm(tmp_path)
    assert (is_warm(tmp_path), marked_speed(tmp_path)) == (True, 0.5)


@pytest.mark.parametrize("content", [b"", b"fast", b"3", b"nan", b"1" * 200, b"\xff"])
def test_what_is_no_speed_is_none(tmp_path, content):
    (tmp_path / "warm").write_bytes(content)
    assert marked_speed(tmp_path) == 1.0


def test_a_stack_that_is_gone_remembers_nothing(tmp_path):
    mark_warm(tmp_path / "gone", 2.0)
    mark_warm(tmp_path / "gone")
    assert (is_warm(tmp_path / "gone"), marked_speed(tmp_path / "gone")) == (False, 1.0)
