"""Searches: each trial is a point that is kept, so that an interrupted search goes on from what was tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from hydra.options.options import Options
from hydra.sweep.classify_run import TUNING_METRIC, judge, tuning_cost
from hydra.sweep.plan import CLIENTS, Point, format_value, with_changes
from hydra.sweep.record import FoundAnswer, PointRecord, SweepRecord
from hydra.sweep.search import Answer, SearchRange, Trial, next_step
from hydra.sweep.sweep_runner import Session, SweepContext
from hydra.sweep.tuning import Tuned, TuneTrial, next_setting

WORDS = {"good": "good", "bad": "too much", "harness": "the harness was the limit", "unknown": "no answer"}


@dataclass(frozen=True)
class Question:
    """What a search looks for.

    Args:
        options: what all trials have in common.
        name: the option that is varied, or ``clients``.
        within: where to look.
        fixed: further changes that are the same in every trial of this question and tell it from others.
    """

    options: Options
    name: str
    within: SearchRange
    fixed: Mapping[str, object]

    def point(self, number: int, value: float) -> Point:
        """The point that tries a value."""
        changes = {**self.fixed, self.name: round(value) if self.name == CLIENTS else value}
        return Point(number, changes, with_changes(self.options, changes))

    def trial(self, record: PointRecord) -> Trial | None:
        """What a kept point says about this question; None where it is about another one."""
        value = record.changes.get(self.name)
        same = {name: record.changes.get(name) for name in self.fixed} == dict(self.fixed)
        if not same or not isinstance(value, (int, float)) or record.unmeasured:
            return None
        rate = record.changes.get("msg_rate", self.options.msg_rate)
        assert isinstance(rate, (int, float))
        outcome, reason = judge(record.runs[-1], asked_rate_per_s=float(rate))
        return Trial(float(value), outcome, reason)


def search(question: Question, session: Session) -> Answer:
    """Make trials until there is an answer.

    Args:
        question: what to look for.
        session: makes and keeps the trials; those that it holds already are taken as made.

    Raises:
        InfrastructureError: two trials in a row could not be made at all.
    """
    while True:
        kept = [question.trial(record) for _, record in sorted(session.finished.items())]
        trials = [trial for trial in kept if trial is not None]
        step = next_step(trials, question.within)
        if isinstance(step, Answer):
            return step
        where = f"run {len(trials) + 1} of at most {question.within.max_trials}, {step.purpose}"
        trial = question.trial(session.measure(question.point(_next_number(session), step.value), where=where))
        if trial is not None:
            because = f" ({trial.reason})" if trial.reason else ""
            session.world.progress.note(f"{question.name}={format_value(trial.value)}: {WORDS[trial.outcome]}{because}")


def _next_number(session: Session) -> int:
    return max(session.finished, default=0) + 1


def run_search(sweep: SweepRecord, world: SweepContext, keep: Callable[[SweepRecord], None]) -> SweepRecord:
    """Answer every question of a search.

    Args:
        sweep: what was asked; answers that it has already are given again.
        world: everything outside.
        keep: given the sweep each time that there is one more answer.

    Returns:
        The sweep with its answers.

    Raises:
        InfrastructureError: two trials in a row could not be made at all.
    """
    session = Session(world, repeats=1)
    if sweep.kind == "tune":
        sweep = dataclasses.replace(sweep, tuned=tune(sweep, session))
        keep(sweep)
        return sweep
    answers: list[FoundAnswer] = []
    for found, question in _questions(sweep):
        nearby = next((other.answer.best for other in reversed(answers) if other.answer.best), question.within.start)
        within = dataclasses.replace(question.within, start=question.within.fit(nearby))
        answers.append(found(search(dataclasses.replace(question, within=within), session)))
        sweep = dataclasses.replace(sweep, answers=tuple(answers))
        keep(sweep)
    return sweep


def _questions(sweep: SweepRecord) -> Iterator[tuple[Callable[[Answer], FoundAnswer], Question]]:
    """Each question, and what makes an answer to it."""
    asked, options = sweep.search, sweep.options
    assert asked is not None
    step = float(options.clients_per_app) if sweep.kind == "maxclients" else 0.0
    within = SearchRange(asked.start, asked.lowest, asked.highest, step, asked.precision, asked.max_trials)
    if sweep.kind == "maxclients":
        name = f"most clients at {options.msg_rate:,.10g} records/s"
        yield partial(FoundAnswer, name, "clients"), Question(options, CLIENTS, within, {"msg_rate": options.msg_rate})
        return
    for clients in asked.clients or (options.client_count,):
        name = f"highest rate for {clients:,} clients"
        yield (
            partial(FoundAnswer, name, "records/s", clients=clients),
            Question(options, "msg_rate", within, {CLIENTS: clients}),
        )


def tune(sweep: SweepRecord, session: Session) -> Tuned:
    """Look for the setting with the lowest p99 at the point that the options name."""
    asked = sweep.search
    assert asked is not None
    start = {axis.name: getattr(sweep.options, axis.name) for axis in asked.axes}
    while True:
        trials = [
            TuneTrial({name: record.changes[name] for name in start}, tuning_cost(record.runs[-1]))
            for _, record in sorted(session.finished.items())
        ]
        step = next_setting(trials, asked.axes, start, metric=TUNING_METRIC, unit="ms")
        if isinstance(step, Tuned):
            return step
        point = Point(_next_number(session), step, with_changes(sweep.options, step))
        record = session.measure(point, where=f"run {len(trials) + 1}")
        cost = tuning_cost(record.runs[-1])
        told = "no pass" if cost is None else f"{TUNING_METRIC} {cost:.3g} ms"
        session.world.progress.note(f"{point.name}: {told}")
