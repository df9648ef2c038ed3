"""--keep_running and ``hydra local``: what stays up, is used again, and is ended."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.integration

RUN = ("kafka", "--total_sub_apps=2", "--clients_per_app=2", "--test_duration=1")


@pytest.fixture
def down_at_the_end(hydra, place):
    yield
    hydra("local", "down").end(30)
    place.assert_nothing_left()


def status(hydra) -> str:
    command = hydra("local", "status")
    assert command.end(10) == 0, command.errors
    return command.text


def warmed_up(run) -> bool:
    return any(line.startswith("hydra: warming up") for line in run.errors)


def test_apps_and_stack_serve_the_next_run(hydra, place, down_at_the_end) -> None:
    first = hydra(*RUN, "--keep_running")
    assert first.end() == 0, first.errors
    shown = status(hydra)
    assert "/g1/kafka-pub: 1 of 1 tasks run" in shown
    assert "/g1/kafka-sub: 2 of 2 tasks run" in shown
    before = {process.pid for process in place.processes()}
    assert {process.pid for process in place.tasks("kafka-sub")} <= before

    second = hydra(*RUN, "--keep_running")
    assert second.end() == 0, second.errors
    assert (warmed_up(first), warmed_up(second)) == (True, False)
    assert {process.pid for process in place.processes()} == before
    assert status(hydra) == shown

    third = hydra(*RUN)
    assert third.end() == 0, third.errors
    assert "kafka-sub" not in status(hydra)
    assert not place.tasks("kafka-sub")

    down = hydra("local", "down")
    assert down.end(30) == 0
    assert re.fullmatch(r"the local stack \(process \d+\) is down", down.text)
    place.assert_nothing_left()
    assert status(hydra) == "no local stack is up"


def test_up_use_down(hydra, place, down_at_the_end) -> None:
    up = hydra("local", "up")
    assert up.end() == 0, up.errors
    again = hydra("local", "up")
    assert again.end(10) == 2
    assert "a local stack is up already" in again.complaint
    kafka = place.kafka().pid
    for asked, warmed in (((), True), (("--warmup=0.5",), True), ((), False)):
        run = hydra(*RUN, *asked)
        assert run.end() == 0, run.errors
        assert warmed_up(run) is warmed
        assert place.kafka().pid == kafka


def test_second_run_beside_a_kept_stack_in_use_has_its_own(hydra, place, down_at_the_end) -> None:
    assert hydra("local", "up").end() == 0
    runs = [hydra(*RUN, "--warmup=0") for _ in range(2)]
    assert [run.end() for run in runs] == [0, 0]


def test_kept_stack_that_was_killed_is_not_used(hydra, place, down_at_the_end) -> None:
    assert hydra("local", "up").end() == 0
    next(p for p in place.processes() if "hydra.kafkatest.local_stack_main" in p.cmdline()).kill()
    run = hydra(*RUN, "--warmup=0")
    assert run.end() == 0, run.errors
    assert status(hydra) == "no local stack is up"
    place.assert_nothing_left()
