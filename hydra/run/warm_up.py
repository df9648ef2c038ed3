"""When a broker that has just started is warm: its CPU time for each fetch has stopped falling.

A JVM interprets its code first and compiles what is called often, in two steps, for seconds and on the same cores. All
of that is CPU time of the broker, so it shows in what a fetch costs, however the load is and however fast the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_S = 15.0
"""A broker that is not warm by then is measured as it is."""

MIN_S, MAX_BYTES = 2.0, 2 * 1024**3
"""What is sent lies on the broker's disk for a minute more: a load of many bytes goes on for less time."""

COST_EVERY_S = 0.5
WINDOW = 2
SETTLED_RATIO = 0.9


@dataclass(frozen=True)
class WarmUpPlan:
    """How long the load goes on before a run that counts."""

    max_s: float
    until_warm: bool = False
    """Whether it ends as soon as the broker is warm."""


def until_warm(bytes_per_s: float) -> WarmUpPlan:
    """The plan for a broker that has just started, and a load of so many bytes a second."""
    return WarmUpPlan(round(min(MAX_S, max(MIN_S, MAX_BYTES / bytes_per_s)), 1), until_warm=True)


class Warmth:
    """What each fetch costs the broker, noted while it warms up."""

    def __init__(self) -> None:
        self.costs_us: list[float] = []
        """CPU time of the broker for each fetch, of one interval after the other."""
        self._before: tuple[float, int] | None = None

    def note(self, broker_cpu_s: float | None, fetches: int) -> None:
        """The broker has used so much CPU time since it began, and all clients together have had so many fetches."""
        if broker_cpu_s is None:
            return
        if self._before is not None:
            cpu_s, before = self._before
            if fetches <= before:
                return
            self.costs_us.append(1e6 * (broker_cpu_s - cpu_s) / (fetches - before))
        self._before = broker_cpu_s, fetches

    @property
    def settled(self) -> bool:
        """Whether the cost has stopped falling."""
        return has_settled(self.costs_us)

    def __str__(self) -> str:
        """What came of it, as a sentence without its subject; empty where nothing was measured."""
        if len(self.costs_us) < WINDOW:
            return ""
        first, last = (sum(part) / WINDOW for part in (self.costs_us[:WINDOW], self.costs_us[-WINDOW:]))
        text = f"a fetch cost the broker {first:,.3g} us of CPU at first and {last:,.3g} us in the end"
        return text if self.settled else f"{text}, and that was still falling"


def has_settled(costs: Sequence[float]) -> bool:
    """Whether costs that fall as something warms up have stopped falling.

    They have when the last intervals cost at least nine tenths of those before.
    """
    if len(costs) < 2 * WINDOW:
        return False
    return sum(costs[-WINDOW:]) >= SETTLED_RATIO * sum(costs[-2 * WINDOW : -WINDOW])
