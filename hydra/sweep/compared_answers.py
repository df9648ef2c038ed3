"""The answers of two searches to the same question."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from hydra.sweep.metric_change import MetricChange, State
from hydra.sweep.record import SearchResult
from hydra.sweep.search import SearchAnswer

ANSWER = "answer"
"""What stands in the place of a metric."""


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
        found = old.answer
        made = MetricChange(old.question, ANSWER, old.unit, found.best, None, (1, 0), "not comparable")
        if now is None:
            yield dataclasses.replace(made, why="only A has an answer")
            continue
        again = now.answer
        made = dataclasses.replace(made, after=again.best, runs=(1, 1))
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
    """An "at least" says that the broker carries so much, and never how much less it carries than another one."""
    was_best, now_best = before.best or 0.0, after.best or 0.0
    near = abs(now_best - was_best) <= was_best * tolerance_percent / 100
    whole_range = before.limited_by == after.limited_by == "range"
    for side, answer in (("A", before), ("B", after)):
        if answer.best is None and answer.at_least:
            return dataclasses.replace(made, why=f"{side} has no answer")
    if before.at_least and not whole_range and (near or now_best > was_best):
        return dataclasses.replace(made, why="A is an 'at least'")
    if after.at_least and now_best < was_best and not near:
        return dataclasses.replace(made, why="B is an 'at least', and lower")
    sides = " and ".join(side for side, answer in (("A", before), ("B", after)) if answer.at_least)
    made = dataclasses.replace(made, why=sides and f"{sides}: 'at least'")
    if near:
        return dataclasses.replace(made, state="no difference shown")
    if any(answer.best is not None and not answer.confirmed for answer in (before, after)):
        return dataclasses.replace(made, state="not judged", why="an answer was not confirmed by a repeat")
    return dataclasses.replace(made, state="better" if now_best > was_best else "worse")
