"""Looking for the settings with the lowest cost: one option after the other, as long as that helps.

Nothing is remembered between two calls: what to try next follows from all trials so far. The way is chosen by the
better one of two trials of each setting: a moment of bad luck makes latencies higher and never lower. The best setting
and the start are then tried again, in turns, to tell a gain from noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from hydra.sweep.plan import Axis, format_value

Setting = Mapping[str, object]

MAX_PASSES = 3
TRIES_EACH = 2
"""Trials of a setting before it is judged."""

TRIES = 4
"""Trials of the start and of the best setting, the first ones included."""


@dataclass(frozen=True)
class TuneTrial:
    """What came of a setting."""

    setting: dict[str, object]
    cost: float | None
    """None: this setting gave no pass, whatever it cost."""


@dataclass(frozen=True)
class Tuned:
    """The answer."""

    metric: str
    unit: str
    start: dict[str, object]
    best: dict[str, object]
    start_costs: tuple[float, ...]
    """Of each trial that passed."""
    best_costs: tuple[float, ...]
    trials: int

    @property
    def gained(self) -> bool:
        """Whether the best setting's worst trial is better than the start's best one."""
        if not self.best_costs or self.start == self.best:
            return False
        return not self.start_costs or max(self.best_costs) < min(self.start_costs)


def next_setting(
    trials: Sequence[TuneTrial], axes: Sequence[Axis], start: Setting, *, metric: str, unit: str
) -> dict[str, object] | Tuned:
    """The setting to try next, or the answer.

    Args:
        trials: all so far, in their order.
        axes: the options and the values to try.
        start: the setting to begin with; names every axis.
        metric: what is to be low.
        unit: of the metric.
    """
    tried: dict[str, list[float]] = {}
    for trial in trials:
        tried.setdefault(_key(trial.setting), []).append(math.inf if trial.cost is None else trial.cost)
    best = dict(start)
    for _ in range(MAX_PASSES):
        before = dict(best)
        for axis in axes:
            candidates = [best, *({**best, axis.name: value} for value in axis.values)]
            for candidate in candidates:
                if len(tried.get(_key(candidate), ())) < TRIES_EACH:
                    return candidate
            best = min(candidates, key=lambda candidate: min(tried[_key(candidate)][:TRIES_EACH]))
        if best == before:
            break
    again = min((dict(start), best), key=lambda setting: _count(trials, setting))
    if _count(trials, again) < TRIES and best != start:
        return again
    return Tuned(
        metric=metric,
        unit=unit,
        start=dict(start),
        best=best,
        start_costs=tuple(_costs(trials, start)),
        best_costs=tuple(_costs(trials, best)),
        trials=len(trials),
    )


def _key(setting: Setting) -> str:
    return " ".join(f"{name}={format_value(value)}" for name, value in sorted(setting.items()))


def _count(trials: Sequence[TuneTrial], setting: Setting) -> int:
    return sum(_key(trial.setting) == _key(setting) for trial in trials)


def _costs(trials: Sequence[TuneTrial], setting: Setting) -> Iterator[float]:
    return (trial.cost for trial in trials if _key(trial.setting) == _key(setting) and trial.cost is not None)


def tuned_sentence(tuned: Tuned) -> str:
    """The answer in words."""
    if not tuned.best_costs:
        return f"no setting passed; {tuned.trials} runs"
    best = " ".join(f"{name}={format_value(value)}" for name, value in tuned.best.items())
    if tuned.best == tuned.start:
        return f"{best} is the best of what was tried ({tuned.metric} {_range(tuned.best_costs, tuned.unit)})"
    told = f"{best}: {tuned.metric} {_range(tuned.best_costs, tuned.unit)}"
    if not tuned.start_costs:
        return f"{told}; the setting to begin with did not pass; {tuned.trials} runs"
    told += f" instead of {_range(tuned.start_costs, tuned.unit)}"
    return f"{told}; {'' if tuned.gained else 'no difference beyond the noise; '}{tuned.trials} runs"


def _range(costs: Sequence[float], unit: str) -> str:
    return f"{median(costs):.3g} {unit} ({min(costs):.3g} to {max(costs):.3g})"
