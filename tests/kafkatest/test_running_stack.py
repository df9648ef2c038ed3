"""--keep_running and ``hydra local``: what stays up, is used again, and is ended."""

from __future__ import annotations

import contextlib
import re
import subprocess
from dataclasses import replace

import psutil
import pytest

from hydra.files.process_identity import identity_of
from hydra.kafkatest import running_stack
from hydra.kafkatest.running_stack import RunningStack, end_running_stack
from tests.commands import wait_until

pytestmark = pytest.mark.integration

RUN = ("kafka", "--total_sub_apps=2", "--clients_per_app=2", "--test_duration=1")


@pytest.fixture
def down_at_the_end(hydra, place):
    yield
    hydra("local", "down").end()
    place.assert_nothing_left()


def status(hydra) -> str:
    command = hydra("local", "status")
    assert command.end() == 0, command.errors
    return command.text


def has_kafka_of_its_own(place) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):  # a process that ends meanwhile: look again
        return any("kafka.Kafka" in process.cmdline() for process in place.processes())
    return False


def warmed_up(run) -> bool:
    return any(line.startswith("hydra: warming up") for line in run.errors)


@pytest.mark.release
@pytest.mark.timeout(300)  # many commands, one after the other
def test_it_serves_runs_until_it_is_killed_and_the_next_one_until_it_is_told_to_end(
    hydra, place, down_at_the_end
) -> None:
    first = hydra(*RUN, "--keep_running")
    first.end_well()
    shown = status(hydra)
    assert "/g1/kafka-pub: 1 of 1 tasks run" in shown
    assert "/g1/kafka-sub: 2 of 2 tasks run" in shown
    before = {process.pid for process in place.processes()}
    assert {process.pid for process in place.tasks("kafka-sub")} <= before

    second = hydra(*RUN, "--keep_running")
    second.end_well()
    assert (warmed_up(first), warmed_up(second)) == (True, False)
    assert {process.pid for process in place.processes()} == before
    assert status(hydra) == shown

    again = hydra("local", "up")
    assert again.end() == 2
    assert "a local stack is up already" in again.complaint

    third = hydra(*RUN, "--warmup=0.5")
    third.end_well()
    assert warmed_up(third)
    assert "kafka-sub" not in status(hydra)
    assert not place.tasks("kafka-sub")

    kafka = place.kafka().pid
    during = hydra("kafka", "--warmup=0", "--total_sub_apps=1", "--test_duration=60")
    during.wait_for(r"delivered [1-9]")
    place.kafka().kill()
    assert during.end() == 4
    assert "the embedded Kafka died: it was killed by SIGKILL" in during.complaint, during.errors
    after = hydra(*RUN)
    assert after.end() == 4
    assert "has no Kafka any more: the embedded Kafka died: it was killed by SIGKILL" in after.complaint
    assert "the embedded Kafka died" in status(hydra)
    next(p for p in place.processes() if "hydra.kafkatest.local_stack_main" in p.cmdline()).kill()
    on_the_next = hydra(*RUN, "--warmup=0", "--keep_running")
    on_the_next.end_well()
    assert place.kafka().pid != kafka

    down = hydra("local", "down")
    assert down.end() == 0
    assert re.fullmatch(r"the local stack \(process \d+\) is down", down.text)
    place.assert_nothing_left()
    assert status(hydra) == "no local stack is up"


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
def test_a_run_beside_one_that_uses_it_has_a_stack_of_its_own(hydra, place) -> None:
    runs = [hydra(*RUN, "--warmup=0") for _ in range(2)]
    wait_until(lambda: has_kafka_of_its_own(place), 60, "one of them has a Kafka of its own")
    for run in runs:
        run.end_well()


@pytest.mark.release
@pytest.mark.usefixtures("down_at_the_end")
def test_of_two_stacks_that_come_up_at_the_same_time_one_stays_and_is_found(hydra, place) -> None:
    both = [hydra("local", "up") for _ in range(2)]
    assert sorted(command.end() for command in both) == [0, 2]
    refused = next(command for command in both if command.end() == 2)
    (stays,) = re.findall(r"process (\d+), up since", status(hydra))
    assert f"a local stack is up already (process {stays})" in refused.complaint
    stacks = [p.pid for p in place.processes() if "hydra.kafkatest.local_stack_main" in p.cmdline()]
    assert stacks == [int(stays)]


@pytest.fixture
def process():
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as started:
        yield started
        started.kill()


@pytest.fixture
def stack(place, monkeypatch, tmp_path, process) -> RunningStack:
    """One that was found while it was up, with a folder; it is ``process``."""
    place.enter(monkeypatch)
    (tmp_path / "stack").mkdir()
    found = RunningStack(
        identity_of(process.pid, 0.0), "hydra-1", str(tmp_path / "stack"), "http://127.0.0.1:1", "", "1", "2026-01-01"
    )
    running_stack.remember(found)
    return found


def test_one_that_ended_meanwhile_is_tidied_up(stack, process, tmp_path) -> None:
    process.kill()
    process.wait(10)
    end_running_stack(stack)
    assert not (tmp_path / "stack").exists()
    assert not running_stack._record().exists()


def test_another_process_with_its_pid_is_left_alone_even_a_stack(stack, process, tmp_path) -> None:
    end_running_stack(replace(stack, process=replace(stack.process, started="long ago")))
    assert process.poll() is None
    assert not (tmp_path / "stack").exists()
    assert running_stack.find() == stack
