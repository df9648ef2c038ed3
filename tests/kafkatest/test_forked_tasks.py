"""The fork server of a local stack, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from hydra.codec import encode
from hydra.engine.apps import local_command
from hydra.kafkatest.forked_tasks import IS_SUPPORTED, KILLED, ForkedTasks
from hydra.localmarathon.processes import TASK_MARK, StartedProcess
from hydra.localmarathon.task import inherited_environment
from hydra.signals.keys import CONTROLLER_KEY, new_key_pair
from hydra.tasks.fork_server import ForkAnswer
from tests.commands import wait_until

pytestmark = pytest.mark.skipif(not IS_SUPPORTED, reason="tasks are forked on Linux only")

SUBSCRIBER = ["/bin/sh", "-c", local_command("task kafka-sub")]
FRAMEWORK = "framework-of-this-test"


class Stage:
    """What starts tasks, and a folder for each of them."""

    def __init__(self, folder: Path, tasks: ForkedTasks) -> None:
        self.tasks = tasks
        self._folder = folder
        self._count = 0

    async def start(self, argv: list[str], **environment: str) -> tuple[StartedProcess, Path]:
        self._count += 1
        sandbox = self._folder / f"task-{self._count}"
        sandbox.mkdir()
        mark = {TASK_MARK: f"{FRAMEWORK}/task-{self._count}"}
        given = {**inherited_environment(os.environ), **mark, **environment}
        return await self.tasks.start(argv, given, sandbox), sandbox

    async def start_listening(self) -> tuple[StartedProcess, Path]:
        """A subscriber that lives until it is ended."""
        place = {"MESOS_TASK_ID": "t", "HOST": "127.0.0.1", "PORT0": "0", CONTROLLER_KEY: new_key_pair().public}
        return await self.start(SUBSCRIBER, **place)

    def server(self) -> psutil.Process:
        (found,) = fork_servers()
        return found


def fork_servers() -> list[psutil.Process]:
    living = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in living if "--forking" in child.cmdline()]


def play(folder: Path, scene, tasks: ForkedTasks | None = None) -> None:
    async def whole() -> None:
        stage = Stage(folder, tasks or ForkedTasks())
        stage.tasks.open(FRAMEWORK)
        try:
            await asyncio.wait_for(scene(stage), 60)
        finally:
            await stage.tasks.close()

    asyncio.run(whole())
    assert fork_servers() == []


def test_a_task_is_forked_with_a_place_and_a_name_of_its_own(tmp_path) -> None:
    async def scene(stage: Stage) -> None:
        started, sandbox = await stage.start_listening()
        process = psutil.Process(started.pid)
        assert process.ppid() == stage.server().pid
        await asyncio.to_thread(wait_until, lambda: process.net_connections("tcp"), 10, "it listens for signals")
        assert process.cmdline() == [sys.executable, "-m", "hydra", "task", "kafka-sub"]
        assert Path(process.cwd()) == sandbox
        assert os.getsid(started.pid) == os.getpgid(started.pid) == started.pid
        # What ends all tasks of a killed server finds it by this.
        assert process.environ()[TASK_MARK].startswith(f"{FRAMEWORK}/")
        open_files = {os.readlink(link) for link in Path(f"/proc/{started.pid}/fd").iterdir()}
        assert {str(sandbox / "stdout"), str(sandbox / "stderr"), "/dev/null"} <= open_files
        assert process.num_fds() < 30
        process.terminate()
        assert await started.exited == -signal.SIGTERM

    play(tmp_path, scene)


def test_its_end_is_that_of_a_program(tmp_path) -> None:
    async def scene(stage: Stage) -> None:
        started, sandbox = await stage.start(SUBSCRIBER)
        assert await started.exited == 2
        assert "this command runs as a Marathon task" in (sandbox / "stderr").read_text()
        killed, _ = await stage.start_listening()
        os.kill(killed.pid, signal.SIGKILL)
        assert await killed.exited == -signal.SIGKILL

    play(tmp_path, scene)


def test_a_hundred_at_once(tmp_path) -> None:
    async def scene(stage: Stage) -> None:
        started = await asyncio.gather(*(stage.start(SUBSCRIBER) for _ in range(100)))
        assert len({process.pid for process, _ in started}) == 100
        assert {await process.exited for process, _ in started} == {2}
        assert all((sandbox / "stderr").stat().st_size for _, sandbox in started)

    play(tmp_path, scene)


def test_a_task_may_have_ended_before_anybody_hears_that_it_has_started(tmp_path) -> None:
    async def scene() -> None:
        tasks = ForkedTasks()
        starting = asyncio.create_task(tasks.start(SUBSCRIBER, inherited_environment(os.environ), tmp_path))
        while not tasks._waiting:
            await asyncio.sleep(0)
        for answer in (ForkAnswer(1, pid=77), ForkAnswer(pid=77, exit_code=2)):  # read in one go
            tasks._theirs.send(encode(answer))
        started = await asyncio.wait_for(starting, 10)
        assert (started.pid, await asyncio.wait_for(started.exited, 10)) == (77, 2)
        tasks._theirs.close()
        await tasks.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("argv", "environment"),
    [
        (["/bin/sh", "-c", local_command("task kafka-sub drivers.py:Own")], {}),
        (["/bin/sh", "-c", "exec true"], {}),
        ([sys.executable, "-c", ""], {}),
        (SUBSCRIBER, {"PYTHONPATH": "/nowhere"}),
        (SUBSCRIBER, {"LD_PRELOAD": ""}),
    ],
)
def test_what_is_no_task_of_hydras_own_starts_as_a_program(tmp_path, argv, environment) -> None:
    async def scene(stage: Stage) -> None:
        started, _sandbox = await stage.start(argv, **environment)
        assert psutil.Process(started.pid).ppid() == os.getpid()
        assert await started.exited in {0, 2}

    play(tmp_path, scene)


def test_without_the_fork_server_its_tasks_have_ended_and_new_ones_start_as_programs(tmp_path) -> None:
    async def scene(stage: Stage) -> None:
        first, _sandbox = await stage.start_listening()
        process = psutil.Process(first.pid)
        stage.server().kill()
        assert await first.exited == KILLED
        await asyncio.to_thread(process.wait, 10)
        second, sandbox = await stage.start(SUBSCRIBER)
        assert await second.exited == 2
        assert "this command runs as a Marathon task" in (sandbox / "stderr").read_text()

    play(tmp_path, scene)


def test_a_fork_that_fails_is_told_with_its_error(tmp_path) -> None:
    program = """
import errno, os, sys
from hydra.__main__ import main
def fork():
    raise OSError(errno.EAGAIN, "as many processes as there may be")
os.fork = fork
sys.argv = ["hydra", "task", "--forking"]
main()
"""

    async def scene(stage: Stage) -> None:
        for _ in range(2):
            with pytest.raises(BlockingIOError, match="Resource temporarily unavailable"):
                await stage.start(SUBSCRIBER)

    play(tmp_path, scene, ForkedTasks([sys.executable, "-c", program, "--forking"]))
