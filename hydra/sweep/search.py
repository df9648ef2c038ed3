"""Looking for a limit: which value to try next, given all trials so far; and the answer, once there is one.

Doubling (or halving) until the limit lies between two trials, then bisection of that bracket by ratio, then a repeat of
its two ends: chance (a machine that stood still for a moment) is found on either side. Where a repeat contradicts, a
third trial decides. Nothing is remembered between two calls: a search that was interrupted goes on from its trials.

A trial that the harness limited bounds the search, since nothing can be learned above it, but it is never the broker's
limit: the answer is then "at least".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.errors import UsageError

Outcome = Literal["good", "bad", "harness", "unknown"]
"""What a trial says of the broker at this value: it carries it; it does not; the harness gave way first; nothing."""

CONFIRMED_BY = 2
"""Trials that agree make a value's outcome certain."""


@dataclass(frozen=True)
class Trial:
    """What came of trying a value."""

    value: float
    outcome: Outcome
    reason: str = ""
    """Why it is no good; a sentence for people."""


@dataclass(frozen=True)
class SearchRange:
    """Where to look, how closely, and how long.

    Raises:
        UsageError: when the range is empty or the start lies outside of it.
    """

    start: float
    lowest: float
    highest: float
    step: float = 0.0
    """Values are whole multiples of it; 0: any, rounded to three digits."""
    precision: float = 0.05
    """The bracket's width at which the search ends, as a share of its lower end."""
    max_trials: int = 12

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= self.start <= self.highest:
            raise UsageError(
                f"a search from {self.start:g} does not lie between {self.lowest:g} and {self.highest:g}",
                hint="choose a start within the range",
            )

    def fit(self, value: float) -> float:
        """The value that can be tried next to this one."""
        fitted = round(value / self.step) * self.step if self.step else float(f"{value:.3g}")
        return min(max(fitted, self.lowest), self.highest)


@dataclass(frozen=True)
class Probe:
    """The next trial to make."""

    value: float
    purpose: Literal["double", "halve", "bisect", "confirm", "again"]


@dataclass(frozen=True)
class Answer:
    """What a search found."""

    best: float | None
    """The highest good value; None when not even the lowest one is."""
    above: float | None
    """The lowest value above it that is no good; None when the range ended first."""
    limited_by: Literal["broker", "harness", "range", "trials", "unknown"]
    """What stands above ``best``: only "broker" makes it the broker's limit. "range": all of it is good; "trials": they
    were used up while all were good."""
    confirmed: bool
    """Whether ``best`` was good twice."""
    trials: int
    reason: str = ""
    """Why ``above`` is no good."""

    @property
    def at_least(self) -> bool:
        """Whether the broker may well carry more."""
        return self.limited_by != "broker"


def next_step(trials: Sequence[Trial], within: SearchRange) -> Probe | Answer:
    """What to try next, or the answer.

    Args:
        trials: all that were made so far, in their order.
        within: where to look.
    """
    if not trials:
        return Probe(within.fit(within.start), "double")
    best, above = _bracket(trials)
    left = within.max_trials - len(trials)
    if left <= 0:
        return _answer(trials, best, above, within)
    # The last trial there is goes to the answer: one that was good only once is hardly one.
    last_words = _unconfirmed(trials, best) if left == 1 else None
    step = last_words or _again(trials) or _narrow(best, above, within)
    return step or _unconfirmed(trials, best) or _unconfirmed(trials, above) or _answer(trials, best, above, within)


def _again(trials: Sequence[Trial]) -> Probe | None:
    """The last value once more, where its trials contradict each other, or where the first one gave no answer."""
    last = trials[-1]
    good, bad = _counts(trials, last.value)
    undecided = good == bad or (last.outcome == "unknown" and bad == 1)
    return Probe(last.value, "again") if undecided else None


def _unconfirmed(trials: Sequence[Trial], value: float | None) -> Probe | None:
    """An end of the bracket once more, where only one trial speaks for it."""
    if value is None or max(_counts(trials, value)) >= CONFIRMED_BY:
        return None
    return Probe(value, "confirm")


def _bracket(trials: Sequence[Trial]) -> tuple[float | None, float | None]:
    """The highest good value below all that are no good, and the lowest that is no good; by most of their trials."""
    counts = {trial.value: _counts(trials, trial.value) for trial in trials}
    above = min((value for value, (good, bad) in counts.items() if good <= bad), default=None)
    below = [value for value, (good, bad) in counts.items() if good > bad and (above is None or value < above)]
    return max(below, default=None), above


def _counts(trials: Iterable[Trial], value: float) -> tuple[int, int]:
    """How many trials of a value were good, and how many were not. Beside a good one, one without an answer is none."""
    outcomes = [trial.outcome for trial in trials if trial.value == value]
    good = outcomes.count("good")
    return good, len(outcomes) - good - (outcomes.count("unknown") if good else 0)


def _narrow(best: float | None, above: float | None, within: SearchRange) -> Probe | None:
    """The next value that makes the bracket smaller; None when it is small enough."""
    if above is None:
        assert best is not None
        return None if best >= within.highest else Probe(within.fit(best * 2), "double")
    if best is None:
        return None if above <= within.lowest else Probe(within.fit(above / 2), "halve")
    if above <= best * (1 + within.precision):
        return None
    middle = within.fit(math.sqrt(best * above))
    if not best < middle < above:
        # Multiples of a step: the geometric mean may fall on an end of the bracket although one lies between.
        middle = within.fit(best + within.step)
    return Probe(middle, "bisect") if best < middle < above else None


def _answer(trials: Sequence[Trial], best: float | None, above: float | None, within: SearchRange) -> Answer:
    limit: Literal["broker", "harness", "range", "trials", "unknown"] = "range"
    if above is not None:
        limit = _gravest(trials, above)
    elif best is not None and best < within.highest:
        limit = "trials"
    told = {"broker": "bad", "harness": "harness", "unknown": "unknown"}.get(limit)
    reasons = [trial.reason for trial in trials if (trial.value, trial.outcome) == (above, told) and trial.reason]
    return Answer(
        best=best,
        above=above,
        limited_by=limit,
        confirmed=best is not None and _counts(trials, best)[0] >= CONFIRMED_BY,
        trials=len(trials),
        reason=reasons[0] if reasons else "",
    )


def _gravest(trials: Iterable[Trial], value: float) -> Literal["broker", "harness", "unknown"]:
    """What the trials of a value that is no good say: the harness's limit before the broker's, that before nothing.

    Where the harness was the limit once, the value is not proven to be the broker's.
    """
    outcomes = {trial.outcome for trial in trials if trial.value == value}
    if "harness" in outcomes:
        return "harness"
    return "broker" if "bad" in outcomes else "unknown"


def sentence(answer: Answer, *, unit: str) -> str:
    """The answer in words.

    Args:
        answer: what was found.
        unit: of the values, such as ``records/s``.
    """
    runs = f"{answer.trials} runs"
    if answer.best is None:
        nothing = "none" if answer.limited_by == "broker" else f"no answer (limited by {_LIMITS[answer.limited_by]})"
        return f"{nothing}: not even {answer.above:,.10g} {unit} is good; {runs}" + _because(answer)
    confirmed = "confirmed by a repeat" if answer.confirmed else "not confirmed by a repeat"
    if answer.above is None:
        end = "the end of the range" if answer.limited_by == "range" else "where the runs were used up"
        return f"at least {answer.best:,.10g} {unit}, {end}; {confirmed}, {runs}"
    if not answer.at_least:
        return (
            f"{answer.best:,.10g} {unit}: {answer.above:,.10g} is too much for the broker; {confirmed}, {runs}"
            + _because(answer)
        )
    return (
        f"at least {answer.best:,.10g} {unit}: at {answer.above:,.10g} the limit was {_LIMITS[answer.limited_by]},"
        f" not the broker; {confirmed}, {runs}" + _because(answer)
    )


_LIMITS = {"harness": "the harness", "unknown": "a run without an answer"}


def _because(answer: Answer) -> str:
    return f" ({answer.reason})" if answer.reason else ""
