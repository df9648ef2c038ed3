"""Runs that somebody ends in the middle: the user, or whoever kills Hydra or its local stack."""

from __future__ import annotations

import signal
import time

import pytest

from tests.commands import wait_until

pytestmark = pytest.mark.integration


def interrupt(hydra, place, moment: str, number: signal.Signals) -> None:
    """A command that ends in time, with the signal's exit code and a result, when it is interrupted at that moment."""
    warmup_s = 30 if moment.startswith("warming") else 0
    command = hydra("kafka", f"--warmup={warmup_s}", "--total_sub_apps=2", "--test_duration=60", "--output=result.json")
    command.wait_for(f"^hydra: {moment}")
    command.send(number)
    sent_s = time.monotonic()
    assert command.end(30) == 128 + number
    assert time.monotonic() - sent_s < 12
    place.assert_nothing_left()
    if moment.endswith("sending"):
        assert (place.record()["status"], place.record()["exit_code"]) == ("interrupted", 128 + number)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        pytest.param("starting", signal.SIGINT, marks=pytest.mark.release),
        pytest.param("starting", signal.SIGTERM, marks=pytest.mark.release),
        ("sending", signal.SIGINT),
    ],
)
def test_interrupted_with_a_stack_of_its_own(hydra, place, moment, number) -> None:
    interrupt(hydra, place, moment, number)


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("warming up: sending", signal.SIGINT),
        ("warming up: sending", signal.SIGHUP),
        ("configuring", signal.SIGQUIT),
        ("configuring", signal.SIGTERM),
        ("sending", signal.SIGTERM),
    ],
)
def test_interrupted_on_a_stack_that_stays(hydra, place, moment, number) -> None:
    interrupt(hydra, place, moment, number)


@pytest.mark.release
def test_interrupted_twice(hydra, place) -> None:
    command = hydra("kafka", "--warmup=0", "--total_sub_apps=2", "--test_duration=60")
    command.wait_for("^hydra: sending")
    command.send(signal.SIGINT)
    command.wait_for("cleaning up", timeout_s=10)
    command.send(signal.SIGINT)
    assert command.end(10) == 130
    place.assert_nothing_left(10)


def test_controller_killed(hydra, place) -> None:
    command = hydra("kafka", "--warmup=0", "--total_sub_apps=2", "--test_duration=60")
    command.wait_for(r"delivered [1-9]")
    assert len(place.tasks("kafka-sub")) == 2
    command.process.kill()
    assert command.end(10) == -signal.SIGKILL
    wait_until(lambda: not place.processes(), 5, "every process of the run is gone")
    place.assert_nothing_left(10)


@pytest.mark.release
def test_local_stack_killed(hydra, place) -> None:
    """The process that holds Marathon and Kafka dies: its children go with it, and the run ends with the reason."""
    command = hydra("kafka", "--warmup=0", "--total_sub_apps=2", "--test_duration=60")
    command.wait_for(r"delivered [1-9]")
    stack = next(p for p in place.processes() if "hydra.kafkatest.local_stack_main" in p.cmdline())
    stack.kill()
    assert command.end(60) == 4
    wait_until(lambda: not place.processes(), 10, "every process of the run is gone")
    place.assert_nothing_left()
