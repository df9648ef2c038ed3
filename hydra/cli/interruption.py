"""Ctrl-C and SIGTERM: the first one ends the run in good order, the second one ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from hydra.errors import InterruptedRunError


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within this block SIGINT and SIGTERM raise InterruptedRunError, once.

    At the second one the process is gone there and then. What it started notices by its lease, and goes too.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def first(number: int, _frame: object) -> None:
        for every in before:
            signal.signal(every, second)
        raise InterruptedRunError(number)

    def second(number: int, _frame: object) -> None:
        os._exit(128 + number)

    for number in before:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
