"""What a server does beside its event loop, and what becomes of that where no thread can be started."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hydra.localmarathon.threads import in_thread
from tests.marathon_fixtures import SLEEP


@pytest.fixture
def no_more_threads(monkeypatch):
    """As where this user may have no more processes."""

    def refuse(_self):
        raise RuntimeError("can't start new thread")

    def begin():
        monkeypatch.setattr(ThreadPoolExecutor, "_adjust_thread_count", refuse)

    yield begin
    monkeypatch.undo()


def test_work_is_done_by_another_thread():
    assert asyncio.run(in_thread(threading.get_ident)) != threading.get_ident()


def test_what_work_raises_is_raised():
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(in_thread(int, "x"))


def test_work_is_done_once_and_here_where_no_thread_can_be_started(no_more_threads):
    done_by = []

    async def work():
        no_more_threads()
        with ThreadPoolExecutor(1) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            await in_thread(lambda: done_by.append(threading.get_ident()))
            pool._work_queue.get_nowait().run()  # a thread that comes later

    asyncio.run(work())
    assert done_by == [threading.get_ident()]


@pytest.mark.integration
def test_a_task_is_ended_where_no_thread_can_be_started(start_marathon, no_more_threads):
    server = start_marathon()
    server.start_app("/x", **SLEEP)
    no_more_threads()
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert server.census() == []
    assert list(server.sandbox("").iterdir()) == []
