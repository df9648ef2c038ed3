"""The answers of two searches to the same question."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from hydra.sweep.metric_change import MetricChange, State
from hydra.sweep.record import SearchResult
from hydra.sweep.search import SearchAnswer


def answer_changes(
    before: Sequence[SearchResult], after: Sequence[SearchResult], tolerance_percent: float
) -> Iterator[MetricChange]:
    """The answers to the same question. Where both have an interval, a difference is shown if these do not overlap.

    Two intervals of 95 % of like width lie apart by chance in less than 1 % of cases: that is room enough for the few
    answers of a search. Without intervals each answer is one value, and what is beyond the tolerance is told.
    """
    new = {found.question: found for found in after}
    for old in before:
        now = new.get(old.question)
        if now is None:
            continue
        found, again = old.answer, now.answer
        values = found.best or 0.0, again.best or 0.0
        made = MetricChange(old.question, "answer", old.unit, *values, (1, 1), "not judged")
        if found.interval is not None and again.interval is not None:
            yield _by_intervals(made, found.interval, again.interval)
        else:
            yield _by_tolerance(made, found, again, tolerance_percent)


def _by_intervals(made: MetricChange, before: tuple[float, float], after: tuple[float, float]) -> MetricChange:
    apart = after[0] - before[1], after[1] - before[0]
    state: State = "better" if apart[0] > 0 else "worse" if apart[1] < 0 else "no difference shown"
    smallest = (before[1] - before[0] + after[1] - after[0]) / 2
    return dataclasses.replace(made, state=state, interval=apart, smallest=smallest)


def _by_tolerance(
    made: MetricChange, before: SearchAnswer, after: SearchAnswer, tolerance_percent: float
) -> MetricChange:
    was_best, now_best = before.best or 0.0, after.best or 0.0
    if abs(now_best - was_best) <= was_best * tolerance_percent / 100:
        return dataclasses.replace(made, state="no difference shown")
    # A search that ended with "at least" does not show that the broker carries less than before.
    if after.at_least if now_best < was_best else before.at_least:
        return dataclasses.replace(made, state="not comparable", why="the lower answer is an 'at least'")
    return dataclasses.replace(made, state="better" if now_best > was_best else "worse")
