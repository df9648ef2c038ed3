"""A whole sweep in a TOML file."""

import pytest

from hydra.errors import ConfigurationError
from hydra.sweep.plan_file import PlanFile, read_plan, read_plan_file


def test_everything_that_a_plan_holds():
    plan = read_plan(
        {
            "repeats": 3,
            "options": {"warmup": 1.5, "clients_per_app": 5, "threshold": "loss==0", "acks": 1},
            "sweep": {"clients": [10, 50], "linger_ms": [0, 5]},
            "point": [{"clients": 100, "msg_rate": 500}],
        },
        name="p.toml",
    )
    assert plan.repeats == 3
    assert plan.options == {"warmup": 1.5, "clients_per_app": 5, "threshold": ("loss==0",), "acks": "1"}
    assert plan.changes == (
        {"clients": 10, "linger_ms": 0},
        {"clients": 10, "linger_ms": 5},
        {"clients": 50, "linger_ms": 0},
        {"clients": 50, "linger_ms": 5},
        {"clients": 100, "msg_rate": 500.0},
    )


def test_zip():
    plan = read_plan({"zip": True, "sweep": {"clients": [10, 50], "linger_ms": [0, 5]}}, name="p.toml")
    assert plan.changes == ({"clients": 10, "linger_ms": 0}, {"clients": 50, "linger_ms": 5})


def test_an_empty_plan_is_a_plan():
    assert read_plan({}, name="p.toml") == PlanFile()


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"sweeps": {}}, "unknown key 'sweeps': the keys are repeats"),
        ({"sweep": [1]}, "sweep must be a table"),
        ({"sweep": {"clients": 10}}, "'clients' must be a list"),
        ({"sweep": {"clients": []}}, "'clients' must be a list"),
        ({"sweep": {"clients": [True]}}, "clients = 'yes'"),
        ({"sweep": {"nothing": [1]}}, "'nothing' is not an option"),
        ({"sweep": {"linger_ms": [5, 5]}}, "duplicate value linger_ms = 5"),
        ({"zip": 1}, "zip = 1 must be true or false"),
        ({"zip": True, "sweep": {"clients": [10], "linger_ms": [0, 5]}}, "clients has 1, linger_ms has 2"),
        ({"point": {"clients": 5}}, "written [[point]]"),
        ({"point": [5]}, "written [[point]]"),
        ({"point": [{"clients": "x"}]}, "[[point]] 1: clients = 'x'"),
        ({"options": {"acks": 7}}, "[options] acks = '7' must be 0, 1 or all"),
        ({"options": {"ack": 1}}, "[options] 'ack' is not an option"),
        ({"repeats": 0}, "repeats = 0 must be a whole number from 1"),
        ({"repeats": 1.5}, "repeats = 1.5 must be a whole number"),
        ({"repeats": True}, "repeats = True"),
        ({"repeats": "2"}, "repeats = '2'"),
        ({"options": {"warmup": -1}}, "[options] warmup = '-1' must be a number from 0"),
        ({"options": {"warmup": float("nan")}}, "warmup = 'nan'"),
        ({"warmup": 2}, "unknown key 'warmup'"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_and_the_key(tables, words):
    with pytest.raises(ConfigurationError) as caught:
        read_plan(tables, name="p.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("p.toml: ")


@pytest.mark.parametrize(
    "text",
    [
        "repeats = " + "9" * 5000,
        "repeats = 0x" + "f" * 6000,
        "[options]\nmsg_rate = 0x" + "f" * 6000,
        "[sweep]\nmsg_rate = [0x" + "f" * 6000 + "]",
        "[[point]]\nmsg_rate = 0x" + "f" * 6000,
        "repeats = ",
        "a = " + "[" * 5000,
        "[options]\nx = 1\n[options]",
    ],
)
def test_a_file_that_is_no_toml_is_refused_by_its_name(tmp_path, text):
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"plan\.toml: .*: a plan is a TOML file") as refused:
        read_plan_file(str(tmp_path / "plan.toml"))
    assert refused.value.exit_code == 2
