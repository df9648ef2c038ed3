"""When a broker that has just started is warm: its CPU time for each fetch has stopped falling.

A JVM interprets its code first and compiles what is called often, in two steps, for seconds and on the same cores. Code
that is not compiled yet takes longer, so it shows in what a fetch costs, however the load is and however fast the
machine. That falls in steps, with rests between them: as long as the compilers are at work, another step is to come.
Their own time is left out of what a fetch costs.

They need a free core for it. A load that keeps all cores busy leaves them a quarter of one, and then they are at work
for half a minute. So clients fetch at the pace of the slowest machine (``SPEEDS``) while the broker warms up. Compilers
that wait for a CPU are at work as well, or a machine that others keep busy would look warm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydra.accounting.broker_inside import BrokerCpu
from hydra.options.fetch_pace import SPEEDS, machine_speed
from hydra.options.order import RunOrder

MAX_S = 15.0
"""A broker that is not warm by then is measured as it is."""

MIN_S, MAX_BYTES = 2.0, 2 * 1024**3
"""What is sent lies on the broker's disk for a minute more: a load of many bytes goes on for less time."""

WARM_UP_SPEED = SPEEDS[0]
"""The pace of the warm-up is that of a machine of this speed."""

COST_EVERY_S = 0.5
WINDOW = 2
SETTLED_RATIO = 0.9
COMPILING_RATIO = 0.25
"""Where compilers are at work for more of the time, what is called often is still getting faster."""

LEAST_LEFT_SHARE = 0.5
LEAST_FETCHES_SHARE = 0.5
BUSY_SHARE = 0.6
"""Where so much of the cores is busy, there are few fetches because there was no room for more."""


@dataclass(frozen=True)
class WarmUpPlan:
    """How long the load goes on before a run that counts."""

    max_s: float
    until_warm: bool = False
    """Whether it ends as soon as the broker is warm."""


def until_warm(bytes_per_s: float) -> WarmUpPlan:
    """The plan for a broker that has just started, and a load of so many bytes a second."""
    return WarmUpPlan(round(min(MAX_S, max(MIN_S, MAX_BYTES / bytes_per_s)), 1), until_warm=True)


@dataclass(frozen=True)
class FetchReading:
    """What has been used, and for how many fetches of all clients, up to one moment."""

    at_s: float
    broker: BrokerCpu
    clients_cpu_s: float
    """Of all subscriber tasks."""
    fetches: int
    busy_cpu_s: float
    """Of all that this machine does, within what Hydra may use."""


class Warmth:
    """What each fetch costs, noted while the broker warms up."""

    def __init__(self) -> None:
        self.costs_us: list[float] = []
        """CPU time of the broker for each fetch, of one interval after the other."""
        self._readings: list[FetchReading] = []
        """Those at the ends of the intervals."""

    def note(self, now: FetchReading) -> None:
        """An interval ends with the first fetch after it."""
        if self._readings:
            before = self._readings[-1]
            if now.fetches <= before.fetches:
                return
            self.costs_us.append(1e6 * (now.broker.work_s - before.broker.work_s) / (now.fetches - before.fetches))
        self._readings.append(now)

    def fetch_cost_us(self, least_fetches_per_s: float, busy_cores: float) -> float | None:
        """CPU time of a fetch in the end, of the broker and the subscriber tasks together.

        Where the broker was not warm by then, it is more than it will be. None where there were fewer fetches than that
        although fewer cores were busy, with whatever: what else the broker did then is not what a fetch costs.
        """
        if len(self._readings) <= WINDOW:
            return None
        before, now = self._readings[-1 - WINDOW], self._readings[-1]
        fetches, window_s = now.fetches - before.fetches, now.at_s - before.at_s
        used_s = now.broker.work_s - before.broker.work_s + now.clients_cpu_s - before.clients_cpu_s
        busy_s = now.busy_cpu_s - before.busy_cpu_s - (now.broker.compilers_s - before.broker.compilers_s)
        if fetches < least_fetches_per_s * window_s and busy_s < busy_cores * window_s:
            return None
        return 1e6 * used_s / fetches

    @property
    def settled(self) -> bool:
        """Whether the cost has stopped falling, and will not fall any more."""
        return has_settled(self.costs_us) and self.compiling_ratio <= COMPILING_RATIO

    @property
    def compiling_cores(self) -> float:
        """CPU time a second of the compilers, in the last intervals."""
        return self._compilers(lambda broker: broker.compilers_s)

    @property
    def compiling_ratio(self) -> float:
        """For how much of the last intervals the compilers ran, or waited for a CPU. Two that always do have 2."""
        return self._compilers(lambda broker: broker.compilers_s + broker.compilers_waited_s)

    def _compilers(self, time_s: Callable[[BrokerCpu], float]) -> float:
        if len(self._readings) <= WINDOW:
            return 0.0
        before, now = self._readings[-1 - WINDOW], self._readings[-1]
        return (time_s(now.broker) - time_s(before.broker)) / (now.at_s - before.at_s)

    def __str__(self) -> str:
        """What came of it, as a sentence without its subject; empty where nothing was measured."""
        if len(self.costs_us) < WINDOW:
            return ""
        first, last = (sum(part) / WINDOW for part in (self.costs_us[:WINDOW], self.costs_us[-WINDOW:]))
        text = f"a fetch cost the broker {first:,.0f} us of CPU at first and {last:,.0f} us in the end"
        if self.settled:
            return text
        compiling = f"its compilers were still at work for {100 * self.compiling_ratio:.0f} % of the time"
        return f"{text}, and {compiling if has_settled(self.costs_us) else 'that was still falling'}"


def has_settled(costs: Sequence[float]) -> bool:
    """Whether costs that fall as something warms up have stopped falling.

    They have when the last intervals cost at least nine tenths of those before.
    """
    if len(costs) < 2 * WINDOW:
        return False
    return sum(costs[-WINDOW:]) >= SETTLED_RATIO * sum(costs[-2 * WINDOW : -WINDOW])


def measured_speed(order: RunOrder, warmth: Warmth, cores: float) -> float | None:
    """How fast the machine is by what a fetch cost in the warm-up of this order (``fetch_pace.machine_speed``).

    None where that was not measured: without a pace, or with less than half of the fetches that the pace allows while
    ``cores``, those that Hydra may use, were not busy.
    """
    if order.options.fetch_pace_ms is not None or not order.pace_ms:
        return None
    least_fetches_per_s = LEAST_FETCHES_SHARE * 1000 * len(order.clients) / order.pace_ms
    cost_us = warmth.fetch_cost_us(least_fetches_per_s, BUSY_SHARE * cores)
    if cost_us is None:
        return None
    # What the compilers still take, they take from the runs to come, too.
    left_cores = max(LEAST_LEFT_SHARE * cores, cores - warmth.compiling_cores)
    return machine_speed(order.options, cost_us * cores / left_cores)
