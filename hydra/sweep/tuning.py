"""Search for the settings with the lowest latency: one option after the other, as long as that helps.

No state is kept between two calls: what to try next follows from all trials so far. The better of two trials of a
setting decides, because a stall makes latencies higher, never lower. The best setting and the start are then repeated
in turns, to tell a gain from noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from hydra.accounting.totals import metric_value
from hydra.run.record import RunRecord
from hydra.sweep.plan import Axis, changes_text

Setting = Mapping[str, object]

TUNING_METRIC, TUNING_UNIT = "e2e_p99", "ms"
MAX_PASSES = 3
DECIDED_BY = 2
"""Trials of a setting before it is compared with others."""

FINAL_TRIALS = 4
"""Trials of the start and of the best setting, the first ones included."""


@dataclass(frozen=True)
class TuningTrial:
    """A setting that was tried."""

    setting: dict[str, object]
    cost: float | None
    """The metric; None: the run was not a pass."""


@dataclass(frozen=True)
class TuningResult:
    """What a tuning found."""

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


def tuning_cost(run: RunRecord) -> float | None:
    """The metric that a tuning minimises, in its unit; None if the run is not a pass."""
    if run.result is None or run.result.verdict != "pass":
        return None
    return metric_value(TUNING_METRIC, run.result.totals, run.result.latency)


def next_setting(
    trials: Sequence[TuningTrial], axes: Sequence[Axis], start: Setting
) -> dict[str, object] | TuningResult:
    """The setting to try next, given all trials so far and the setting to begin with, or the result."""
    tried: dict[str, list[float]] = {}
    for trial in trials:
        tried.setdefault(_key(trial.setting), []).append(math.inf if trial.cost is None else trial.cost)
    best = dict(start)
    for _ in range(MAX_PASSES):
        before = dict(best)
        for axis in axes:
            candidates = [best, *({**best, axis.name: value} for value in axis.values)]
            for candidate in candidates:
                if len(tried.get(_key(candidate), ())) < DECIDED_BY:
                    return candidate
            best = min(candidates, key=lambda candidate: min(tried[_key(candidate)][:DECIDED_BY]))
        if best == before:
            break
    again = min((dict(start), best), key=lambda setting: len(tried[_key(setting)]))
    if len(tried[_key(again)]) < FINAL_TRIALS and best != start:
        return again
    return TuningResult(
        metric=TUNING_METRIC,
        unit=TUNING_UNIT,
        start=dict(start),
        best=best,
        start_costs=_passed(tried[_key(start)]),
        best_costs=_passed(tried[_key(best)]),
        trials=len(trials),
    )


def _key(setting: Setting) -> str:
    return changes_text(dict(sorted(setting.items())))


def _passed(costs: Sequence[float]) -> tuple[float, ...]:
    return tuple(cost for cost in costs if cost < math.inf)


def tuning_sentence(tuned: TuningResult) -> str:
    """The result in words."""
    if not tuned.best_costs:
        return f"no setting passed; {tuned.trials} runs"
    best = changes_text(tuned.best)
    if tuned.best == tuned.start:
        return f"{best} is the best of what was tried ({tuned.metric} {_range(tuned.best_costs, tuned.unit)})"
    answer = f"{best}: {tuned.metric} {_range(tuned.best_costs, tuned.unit)}"
    if not tuned.start_costs:
        return f"{answer}; the setting to begin with did not pass; {tuned.trials} runs"
    answer += f" instead of {_range(tuned.start_costs, tuned.unit)}"
    return f"{answer}; {'' if tuned.gained else 'no difference beyond the noise; '}{tuned.trials} runs"


def _range(costs: Sequence[float], unit: str) -> str:
    return f"{median(costs):.3g} {unit} ({min(costs):.3g} to {max(costs):.3g})"
