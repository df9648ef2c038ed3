"""Work that takes its time, beside the server's event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` returns, done by a thread; or here and now, where no more of them can be started.

    A task may have used up all processes that this user may have. Just then it has to be possible to end it.
    """
    done: Future[T] = Future()
    first = threading.Lock()

    def do_once() -> None:
        if not (first.acquire(blocking=False) and done.set_running_or_notify_cancel()):
            return
        try:
            done.set_result(work(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            done.set_exception(error)

    try:
        asyncio.get_running_loop().run_in_executor(None, do_once)
    except RuntimeError:  # what could not be given a thread stays in the queue, for whichever is free later
        do_once()
    return await asyncio.wrap_future(done)
