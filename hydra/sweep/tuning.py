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
    judged: bool = True
    """Whether the run says something about the broker: where the harness was the limit, no pass says nothing."""


@dataclass(frozen=True)
class TuningResult:
    """What a tuning found."""

    metric: str
    unit: str
    start: dict[str, object]
    best: dict[str, object]
    """The setting with the lowest cost of those that passed; the start where none did."""
    start_costs: tuple[float, ...]
    """Of each trial that passed."""
    best_costs: tuple[float, ...]
    trials: int
    start_trials: int = 0
    """Of the start alone, with those that did not pass."""
    best_trials: int = 0
    unjudged: int = 0
    """Trials that say nothing about the broker."""
    gained: bool = False
    """Whether ``best`` is shown to be better than the start: it passed in all of its final trials, and the worst of
    them is better than the best one of as many judged trials of the start."""

    @property
    def exit_code(self) -> int:
        """0: a setting passed; 1: none did; 3: none did, and not all trials were judged."""
        return 0 if self.best_costs else 3 if self.unjudged else 1


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
    return _result(trials, start, best)


def _result(trials: Sequence[TuningTrial], start: Setting, best: Setting) -> TuningResult:
    first, last = ([trial for trial in trials if _key(trial.setting) == _key(setting)] for setting in (start, best))
    start_costs, best_costs = (tuple(each.cost for each in made if each.cost is not None) for made in (first, last))
    beaten = [math.inf if each.cost is None else each.cost for each in first if each.judged]
    shown = len(best_costs) == len(last) >= FINAL_TRIALS <= len(beaten)
    return TuningResult(
        metric=TUNING_METRIC,
        unit=TUNING_UNIT,
        start=dict(start),
        best=dict(best),
        start_costs=start_costs,
        best_costs=best_costs,
        trials=len(trials),
        start_trials=len(first),
        best_trials=len(last),
        unjudged=sum(not each.judged for each in trials),
        gained=best != start and shown and max(best_costs) < min(beaten),
    )


def _key(setting: Setting) -> str:
    return changes_text(dict(sorted(setting.items())))


def tuning_sentence(tuned: TuningResult) -> str:
    """The result in words."""
    runs = f"{tuned.trials} runs"
    if tuned.unjudged:
        runs += f", of which {tuned.unjudged} were not judged: the broker was not the limit, or clients were missing"
    if not tuned.best_costs:
        return f"{'no answer: no run passed' if tuned.unjudged else 'no setting passed'}; {runs}"
    best, start = changes_text(tuned.best), changes_text(tuned.start)
    cost = f"{tuned.metric} {_range(tuned.best_costs, tuned.unit)}{_of(tuned.best_costs, tuned.best_trials)}"
    if tuned.best == tuned.start:
        return f"{best} is the best of what was tried ({cost})"
    if not tuned.start_costs:
        before = "the setting to begin with did not pass"
        return f"{best}: {cost}; {before}{'' if tuned.gained else ', which does not show a gain'}; {runs}"
    before = f"instead of {_range(tuned.start_costs, tuned.unit)}{_of(tuned.start_costs, tuned.start_trials)}"
    if tuned.gained:
        return f"{best}: {cost} {before}; {runs}"
    return f"no winner: {best} shows no difference beyond the noise to {start}: {cost} {before}; {runs}"


def _of(costs: Sequence[float], trials: int) -> str:
    """In how many of its trials a setting passed, where not in all."""
    return f", passed in {len(costs)} of {trials}" if len(costs) < trials else ""


def _range(costs: Sequence[float], unit: str) -> str:
    return f"{median(costs):.3g} {unit} ({min(costs):.3g} to {max(costs):.3g})"
