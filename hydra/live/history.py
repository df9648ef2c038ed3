"""What is known of a run, sweep or search while it goes on; as much of it as the page shows, however long it takes.

Threads: the controller's puts in, those of the server take out and wait for more.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.accounting.live_figures import LiveFigures
from hydra.codec import encode
from hydra.run.protocols import LiveCounts

MAX_MOMENTS = 240
"""Moments of the run that goes on. Where there are more, two neighbours become one."""

MAX_EVENTS, MAX_RUNS = 200, 1000
"""Events, and runs that are over, of which the newest are kept."""

SIGNIFICANT = 5
"""Digits of a number on the page."""

EventKind = Literal["phase", "note"]


@dataclass(frozen=True)
class LiveEvent:
    """A phase that began, or something that was told."""

    unix_time_s: float
    kind: EventKind
    text: str


@dataclass(frozen=True)
class MeasuredRun:
    """A run of a sweep or search that is over."""

    label: str
    """What it varied, such as ``clients=50, msg_rate=2000``."""
    verdict: str
    sent_per_s: float | None
    e2e_p99_ms: float | None
    lost: int | None
    limit: str
    """What gave way; empty where nothing is known."""


@dataclass(frozen=True)
class RunPlan:
    """What the page says of the run that goes on, whatever comes of it."""

    heading: str
    duration_s: float
    """How long it sends."""
    rate_per_s: float
    """Asked for."""
    latency_limits: tuple[tuple[str, float, str], ...]
    """Thresholds of end-to-end latencies: (such as ``p99``, limit in ms, its text)."""


@dataclass(frozen=True)
class LivePicture:
    """All that the page shows."""

    phase: str
    detail: str
    plan: RunPlan | None
    moments: Sequence[LiveCounts]
    """Of the run that goes on, the earliest first."""
    events: Sequence[LiveEvent]
    runs: Sequence[MeasuredRun]
    over: bool
    """Nothing more comes."""
    report: bool
    """Its report can be fetched."""
    runs_over: int = 0
    """How many runs are over: ``runs`` has the newest of them."""
    limit_so_far: str = ""
    """Between what a search has the limit that it looks for; empty where nothing is known."""


class LiveHistory:
    """Takes what a Progress is told, and gives pictures of it. In memory it stays flat.

    Args:
        wall_s: the time of day, in seconds since 1970.
    """

    def __init__(self, wall_s: Callable[[], float] = time.time) -> None:
        self._wall_s = wall_s
        self._changed = threading.Condition()
        self._version = 0
        self._encoded: tuple[int, bytes] = (-1, b"")
        self._phase = self._detail = ""
        self._plan: RunPlan | None = None
        self._moments: list[LiveCounts] = []
        self._spacing_s = 1.0
        self._events: deque[LiveEvent] = deque(maxlen=MAX_EVENTS)
        self._runs: deque[MeasuredRun] = deque(maxlen=MAX_RUNS)
        self._runs_over = 0
        self._limit_so_far = ""
        self._over = False
        self.report: bytes | None = None
        """The page that the run becomes; there when it is over, if anybody watched it."""

    def phase(self, name: str, detail: str) -> None:
        """A phase began, or its detail changed."""
        with self._changed:
            if name == self._phase and detail in {"", self._detail}:
                return
            if name != self._phase:
                self._events.append(LiveEvent(self._wall_s(), "phase", name))
            self._phase, self._detail = name, detail
            self._change()

    def note(self, text: str) -> None:
        """Something was told."""
        with self._changed:
            self._events.append(LiveEvent(self._wall_s(), "note", text))
            self._change()

    def begin(self, plan: RunPlan) -> None:
        """Another run begins."""
        with self._changed:
            self._plan, self._moments, self._spacing_s = plan, [], 1.0
            self._change()

    def counts(self, live: LiveCounts) -> None:
        """New counts of the run that goes on; where time went back, they are the first ones of another."""
        moment = _rounded(live)  # first of all: a moment that is told twice would seem to lie before itself
        with self._changed:
            if self._moments and moment.elapsed_s < self._moments[-1].elapsed_s:
                self._moments, self._spacing_s = [], 1.0
            self._moments = thinned([*self._moments, moment], self._spacing_s)
            while len(self._moments) > MAX_MOMENTS:
                self._spacing_s *= 2
                self._moments = thinned(self._moments, self._spacing_s)
            self._change()

    def measured(self, run: MeasuredRun) -> None:
        """A run of a sweep or search is over."""
        with self._changed:
            self._runs.append(run)
            self._runs_over += 1
            self._change()

    def limit_so_far(self, text: str) -> None:
        """What a search knows by now."""
        with self._changed:
            self._limit_so_far = text
            self._change()

    def finish(self, report: bytes | None = None) -> None:
        """Nothing more comes; what came of it is in the report."""
        with self._changed:
            self._over, self.report = True, report or self.report
            self._change()

    def picture(self) -> LivePicture:
        """How things stand."""
        with self._changed:
            return self._picture()

    def wait(self, seen: int, timeout_s: float) -> tuple[int, bytes, bool]:
        """As soon as there is another version than ``seen``, or after ``timeout_s``: (version, its picture, over).

        The picture is JSON; ``over``: it is the last one.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._version != seen, timeout_s)
            if self._encoded[0] != self._version:
                self._encoded = self._version, encode(self._picture())
            return (*self._encoded, self._over)

    def _picture(self) -> LivePicture:
        return LivePicture(
            phase=self._phase,
            detail=self._detail,
            plan=self._plan,
            moments=tuple(self._moments),
            events=tuple(self._events),
            runs=tuple(self._runs),
            over=self._over,
            report=self.report is not None,
            runs_over=self._runs_over,
            limit_so_far=self._limit_so_far,
        )

    def _change(self) -> None:
        self._version += 1
        self._changed.notify_all()


def thinned(moments: Sequence[LiveCounts], spacing_s: float) -> list[LiveCounts]:
    """The moments with those of one span of so many seconds put together; the first and the last count are kept."""
    found: list[LiveCounts] = []
    for moment in moments:
        if found and int(found[-1].elapsed_s / spacing_s) == int(moment.elapsed_s / spacing_s):
            found[-1] = _together(found[-1], moment)
        else:
            found.append(moment)
    return found


def _together(before: LiveCounts, after: LiveCounts) -> LiveCounts:
    """The counts of the later moment, and the highest figures of both; what is so far is the later one's."""
    old, new = vars(before.figures), vars(after.figures)
    values = {name: new[name] if name.startswith("so_far") else _highest(old[name], new[name]) for name in new}
    return dataclasses.replace(after, figures=LiveFigures(**values))


def _highest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _rounded(live: LiveCounts) -> LiveCounts:
    """The same with numbers as short as they are shown."""
    figures = {
        name: None if value is None else float(f"{value:.{SIGNIFICANT}g}") for name, value in vars(live.figures).items()
    }
    return dataclasses.replace(
        live, elapsed_s=round(live.elapsed_s, 3), left_s=round(live.left_s, 3), figures=LiveFigures(**figures)
    )
