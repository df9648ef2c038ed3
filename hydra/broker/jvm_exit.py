"""How the broker's JVM ended, in words: its exit status first, a line of its log only where it tells of an error."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from hydra.errors import BrokerError

_OUT_OF_HEAP_STATUS = 3
"""Of -XX:+ExitOnOutOfMemoryError, which java.py gives every JVM."""

RECENT_S = 15.0
"""An error that was logged longer before the end is not its cause."""

_DAY_S = 24 * 3600.0
_STAMPED = re.compile(r"(\d\d):(\d\d):(\d\d)[.,](\d{3}) ")
"""How java.py has the broker's log begin its lines."""

_ERROR = re.compile(r"\b(ERROR|FATAL)\b")
_OF_THE_JVM = ("Terminating due to java.lang.", "Exception in thread ", "# There is insufficient memory", "Error: ")
"""What a JVM prints of itself, without the time."""

_STACK_FRAME = ("\t", "    ", "at ")
_QUOTED = 2

K = TypeVar("K", bound=Hashable)


def new_deaths(deaths: Mapping[K, Callable[[], BrokerError | None]], told: set[K]) -> list[BrokerError]:
    """Why JVMs are not there any more, of each once: what was logged long before a later call is no cause.

    Args:
        deaths: what tells of each, by what it is known by.
        told: those whose death was told before; the new ones are added.
    """
    new = {key: died for key, ask in deaths.items() if key not in told and (died := ask()) is not None}
    told.update(new)
    return list(new.values())


def death(who: str, status: int, lines: Iterable[str], *, oom_killed: bool, heap_mb: int) -> BrokerError:
    """That a JVM died, and why: its exit status, and the errors that it logged just before.

    Called soon after its end. ``who`` is what the error calls it, ``lines`` are the last of its log; see
    ``exit_reason`` for the others.
    """
    now = time.localtime()
    errors = recent_errors(lines, now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec)
    reason = exit_reason(status, oom_killed=oom_killed, heap_mb=heap_mb)
    logged = f"; it logged: {' | '.join(errors)}" if errors else ""
    return BrokerError(f"{who} died: {reason}{logged}", hint=exit_hint(status, oom_killed=oom_killed))


def exit_reason(status: int, *, oom_killed: bool, heap_mb: int) -> str:
    """What an exit status says.

    Args:
        status: -N after signal N, as subprocess tells it.
        oom_killed: whether the kernel has killed a process for want of memory meanwhile.
        heap_mb: what the JVM may have.
    """
    if status == _OUT_OF_HEAP_STATUS:
        return f"its heap of {heap_mb} MiB was full (exit status {status})"
    number = -status if status < 0 else status - 128 if status > 128 else 0
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"it ended with exit status {status}"
    if number == signal.SIGKILL and oom_killed:
        return "the kernel killed it because a memory limit was reached (SIGKILL)"
    return f"it was killed by {name}" if status < 0 else f"it was ended by {name} (exit status {status})"


def exit_hint(status: int, *, oom_killed: bool) -> str:
    """What to do about it; empty where only whoever ended it knows."""
    if status == _OUT_OF_HEAP_STATUS:
        return "raise --broker_heap_mb, or ask for less load"
    if oom_killed:
        return "lower --broker_heap_mb, raise the memory limit, or ask for fewer apps"
    if status in {-signal.SIGKILL, 128 + signal.SIGKILL}:
        return "see who ended it; where the kernel did, for want of memory, its log (dmesg) says so"
    return ""


def recent_errors(lines: Iterable[str], now_of_day_s: float) -> tuple[str, ...]:
    """The last errors in a broker's log, each with its cause where that is on the next line; old ones are left out.

    ``now_of_day_s`` is the local time of day of the end. A line without a time is as old as the one before it.
    """
    found: list[str] = []
    age_s, follows_error = float("inf"), False
    for line in lines:
        if not line.strip() or line.startswith(_STACK_FRAME):
            continue
        stamp = _STAMPED.match(line)
        if stamp is not None:
            hours, minutes, seconds, millis = map(int, stamp.groups())
            age_s = (now_of_day_s - (hours * 3600 + minutes * 60 + seconds + millis / 1000)) % _DAY_S
            # A clock that was set, or our own reading of it, may be a little behind.
            age_s = 0.0 if age_s > _DAY_S - RECENT_S else age_s
        if (stamp is not None and _ERROR.search(line)) or line.startswith(_OF_THE_JVM):
            # Before the first time of day, the JVM itself could not start.
            if age_s <= RECENT_S or (age_s == float("inf") and line.startswith(_OF_THE_JVM)):
                found.append(line.strip())
                follows_error = stamp is not None
                continue
        elif follows_error and stamp is None:
            found[-1] += f": {line.strip()}"
        follows_error = False
    return tuple(dict.fromkeys(found))[-_QUOTED:]
