"""Search for a limit: which value to try next, given all trials so far, and the answer once there is one.

The search doubles (or halves) until the limit lies between two trials, bisects that bracket by ratio, then repeats both
ends of the bracket, because either may be due to chance (a machine that stalled for a moment). If a repeat contradicts
the first trial, a third one decides. What is left of the runs goes to more repeats of both ends, until the interval of
the limit (limit_interval.py) is narrow enough. No state is kept between two calls: an interrupted search continues from
its trials.

A trial that something else than the broker limited (the harness, the network, a quota) bounds the search, because
nothing can be learned above it, but it is never the broker's limit: the answer is then "at least".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hydra.errors import CapacityError, UsageError
from hydra.run.record import RunRecord
from hydra.sweep.limit_interval import limit_interval

Outcome = Literal["good", "bad", "harness", "network", "quota", "unknown"]
"""What a trial says about the broker at this value: it carries it; it does not; what else was the limit; nothing."""

Limit = Literal["broker", "harness", "network", "quota", "range", "trials", "unknown"]

_OTHER_LIMITS: tuple[Literal["harness", "network", "quota"], ...] = ("harness", "network", "quota")
LIMIT_WORDS: Mapping[str, str] = {
    "harness": "the harness",
    "network": "the network",
    "quota": "a quota that the broker was told to hold to",
    "unknown": "a run without an answer",
}
"""What ended a search, other than the broker."""

CONFIRMED_BY = 2
"""Trials with the same outcome that confirm a value."""

INTERVAL_BRACKETS = 3
"""An interval that is no wider than so many brackets of the asked precision (or steps) is narrow enough, and so is the
bracket of an answer."""


@dataclass(frozen=True)
class SearchTrial:
    """A value that was tried, and the outcome."""

    value: float
    outcome: Outcome
    reason: str = ""
    """Why it is not good; a sentence for people."""


@dataclass(frozen=True)
class SearchRange:
    """Where to search, how precisely, and for how long.

    Raises:
        UsageError: when the range is empty or the start lies outside of it.
    """

    start: float
    lowest: float
    highest: float
    step: float = 0.0
    """Values are whole multiples of it; 0: any value, rounded to three digits."""
    precision: float = 0.05
    """The search ends when the bracket is this narrow, as a share of its lower end."""
    max_trials: int = 12

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= self.start <= self.highest:
            raise UsageError(
                f"the start {self.start:g} does not lie between {self.lowest:g} and {self.highest:g}",
                hint="choose a start within the range",
            )

    def fit(self, value: float) -> float:
        """The nearest value that can be tried."""
        fitted = round(value / self.step) * self.step if self.step else float(f"{value:.3g}")
        return min(max(fitted, self.lowest), self.highest)


@dataclass(frozen=True)
class NextTrial:
    """The next trial to make."""

    value: float
    purpose: Literal["double", "halve", "bisect", "confirm", "again", "repeat"]


@dataclass(frozen=True)
class SearchAnswer:
    """What a search found."""

    best: float | None
    """The highest good value; None when not even the lowest one is good."""
    above: float | None
    """The lowest value above it that is not good; None when the range ended first."""
    limited_by: Limit
    """What stopped the search above ``best``. Only "broker" makes it the broker's limit. "range": all of the range is
    good; "trials": none was left before the limit was found as precisely as was asked."""
    confirmed: bool
    """Whether ``best`` was good twice."""
    trials: int
    reason: str = ""
    """Why ``above`` is not good."""
    interval: tuple[float, float] | None = None
    """Of 95 %, from all trials: where half of the runs are good. None where the broker's limit was not found."""
    at_least: bool = field(init=False, default=True)
    """Whether the broker may well carry more than ``best``. It follows from ``limited_by``, and is in the file for who
    reads no more than ``best``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "at_least", self.limited_by != "broker")

    @property
    def exit_code(self) -> int:
        """0: the broker's limit, or all of the range is good; 1: nothing is good; 3: something else was the limit."""
        if self.limited_by not in {"broker", "range"} or (self.best is not None and not self.confirmed):
            return 3
        return 0 if self.best is not None else 1


def classify_run(run: RunRecord) -> tuple[Outcome, str]:
    """The outcome of a trial, and the reason if it is not good."""
    result = run.result
    if result is None:
        return "harness" if run.exit_code == CapacityError.exit_code else "unknown", run.error
    reason = result.reasons[0] if result.reasons else ""
    totals, limit = result.totals, result.bottleneck.limit
    if result.bottleneck.harness_limited:
        return "harness", reason
    if result.verdict == "pass":
        return "good", ""
    if limit not in {"none", "broker"}:
        reason = "; ".join(result.bottleneck.evidence) or reason
    for other in _OTHER_LIMITS:
        if limit == other:
            return other, reason
    absent = totals.clients_missing + totals.clients_never_started
    # Only the broker's limit is the broker's: records that it was not sent, or refused whatever the load, tell nothing.
    bad = result.verdict == "fail" if limit == "none" else limit == "broker"
    return ("bad" if bad and not (absent and result.verdict == "indeterminate") else "unknown"), reason


def next_step(trials: Sequence[SearchTrial], within: SearchRange) -> NextTrial | SearchAnswer:
    """What to try next, given all trials so far, or the answer."""
    if not trials:
        return NextTrial(within.fit(within.start), "double")
    best, above = _bracket(trials)
    left = within.max_trials - len(trials)
    if left <= 0:
        return _answer(trials, best, above, within)
    # The last trial goes to confirming the best value: one that was good only once is hardly an answer.
    last_repeat = _unconfirmed(trials, best) if left == 1 else None
    step = last_repeat or _again(trials) or _narrow(best, above, within)
    step = step or _unconfirmed(trials, best) or _unconfirmed(trials, above) or _repeated(trials, best, above, within)
    return step or _answer(trials, best, above, within)


def _again(trials: Sequence[SearchTrial]) -> NextTrial | None:
    """The last value once more if its trials contradict each other, or if its first one was indeterminate."""
    last = trials[-1]
    good, bad = _counts(trials, last.value)
    undecided = good == bad or (last.outcome == "unknown" and bad == 1)
    return NextTrial(last.value, "again") if undecided else None


def _unconfirmed(trials: Sequence[SearchTrial], value: float | None) -> NextTrial | None:
    """An end of the bracket once more if only one trial supports it."""
    if value is None or max(_counts(trials, value)) >= CONFIRMED_BY:
        return None
    return NextTrial(value, "confirm")


def _repeated(
    trials: Sequence[SearchTrial], best: float | None, above: float | None, within: SearchRange
) -> NextTrial | None:
    """The end of the bracket with fewer trials once more; None if the interval is narrow enough, or there is none."""
    interval = _interval(trials, best, above)
    if best is None or above is None or interval is None:
        return None
    low, high = interval
    if high - low <= _narrow_enough(low, within):
        return None
    return NextTrial(min((best, above), key=lambda value: sum(_counts(trials, value))), "repeat")


def _narrow_enough(low: float, within: SearchRange) -> float:
    """How wide an interval, or the bracket of an answer, may be that begins here."""
    return INTERVAL_BRACKETS * max(within.precision * low, within.step)


def _interval(trials: Sequence[SearchTrial], best: float | None, above: float | None) -> tuple[float, float] | None:
    """Where the broker's limit lies; None where something else ended the search."""
    if best is None or above is None or _limit(trials, above)[0] != "broker":
        return None
    outcomes: dict[float, Counter[str]] = {}
    for trial in trials:
        outcomes.setdefault(trial.value, Counter())[trial.outcome] += 1
    return limit_interval({value: (found["good"], found["bad"]) for value, found in outcomes.items()})


def _bracket(trials: Sequence[SearchTrial]) -> tuple[float | None, float | None]:
    """(highest good value, lowest one above it that is not good), None where there is none; the majority decides."""
    counts = {trial.value: _counts(trials, trial.value) for trial in trials}
    above = min((value for value, (good, bad) in counts.items() if good <= bad), default=None)
    below = [value for value, (good, bad) in counts.items() if good > bad and (above is None or value < above)]
    return max(below, default=None), above


def _counts(trials: Iterable[SearchTrial], value: float) -> tuple[int, int]:
    """How many trials of a value were good, and how many were not; where one was good, unknown ones do not count."""
    outcomes = [trial.outcome for trial in trials if trial.value == value]
    good = outcomes.count("good")
    return good, len(outcomes) - good - (outcomes.count("unknown") if good else 0)


def _narrow(best: float | None, above: float | None, within: SearchRange) -> NextTrial | None:
    """The next value that narrows the bracket; None when it is narrow enough."""
    if above is None:
        assert best is not None
        return None if best >= within.highest else NextTrial(within.fit(best * 2), "double")
    if best is None:
        return None if above <= within.lowest else NextTrial(within.fit(above / 2), "halve")
    if above <= best * (1 + within.precision):
        return None
    middle = within.fit(math.sqrt(best * above))
    if not best < middle < above:
        # Multiples of a step: the geometric mean may be rounded to an end of the bracket although a value lies between.
        middle = within.fit(best + within.step)
    return NextTrial(middle, "bisect") if best < middle < above else None


def _answer(
    trials: Sequence[SearchTrial], best: float | None, above: float | None, within: SearchRange
) -> SearchAnswer:
    limited_by: Limit = "range"
    reason = ""
    if above is not None:
        limited_by, outcome = _limit(trials, above)
        failed = (trial for trial in trials if (trial.value, trial.outcome) == (above, outcome))
        reason = next((trial.reason for trial in failed if trial.reason), "")
        if limited_by == "broker" and best is not None and above - best > _narrow_enough(best, within):
            limited_by = "trials"
    elif best is not None and best < within.highest:
        limited_by = "trials"
    return SearchAnswer(
        best=best,
        above=above,
        limited_by=limited_by,
        confirmed=best is not None and _counts(trials, best)[0] >= CONFIRMED_BY,
        trials=len(trials),
        reason=reason,
        interval=_interval(trials, best, above),
    )


def _limit(trials: Iterable[SearchTrial], value: float) -> tuple[Limit, Outcome]:
    """What was the limit at a value that is not good, and the outcome that says so: the broker last."""
    outcomes = {trial.outcome for trial in trials if trial.value == value}
    for other in _OTHER_LIMITS:
        if other in outcomes:
            return other, other
    return ("broker", "bad") if "bad" in outcomes else ("unknown", "unknown")


def interval_text(interval: tuple[float, float]) -> str:
    """The interval of an answer in words, both ends rounded to three digits, or to whole numbers."""
    low, high = (float(f"{end:.3g}") if end < 1000 else float(round(end)) for end in interval)
    return f"{low:,.10g} to {high:,.10g}"


def limit_so_far(trials: Sequence[SearchTrial], *, unit: str) -> str:
    """Between which values the limit lies by the trials so far, in words; there is one trial at least."""
    best, above = _bracket(trials)
    if above is None:
        return f"at least {best:,.10g} {unit}"
    limited_by, _ = _limit(trials, above)
    if limited_by == "broker":
        return f"below {above:,.10g} {unit}" if best is None else f"{best:,.10g} to {above:,.10g} {unit}"
    least = "not known" if best is None else f"at least {best:,.10g} {unit}"
    why = "there was no answer" if limited_by == "unknown" else f"the limit was {LIMIT_WORDS[limited_by]}"
    return f"{least}; at {above:,.10g} {why}"


def answer_sentence(answer: SearchAnswer, *, unit: str) -> str:
    """The answer in words; ``unit`` is that of the values, such as ``records/s``."""
    runs = f"{answer.trials} runs"
    limiter = LIMIT_WORDS.get(answer.limited_by, "")
    because = f" ({answer.reason})" if answer.reason else ""
    if answer.best is None:
        nothing = "none" if answer.limited_by == "broker" else f"no answer (limited by {limiter})"
        return f"{nothing}: not even {answer.above:,.10g} {unit} is good; {runs}{because}"
    confirmed = "confirmed by a repeat" if answer.confirmed else "not confirmed by a repeat"
    if answer.interval is not None:
        confirmed = f"{interval_text(answer.interval)} in 95 %; {confirmed}"
    if answer.above is None:
        end = "the end of the range" if answer.limited_by == "range" else "where the runs were used up"
        return f"at least {answer.best:,.10g} {unit}, {end}; {confirmed}, {runs}"
    if answer.limited_by == "trials":
        limit = (
            f"at least {answer.best:,.10g} {unit}: {answer.above:,.10g} is too much for the broker, and no run was left"
            " to look between"
        )
    elif not answer.at_least:
        limit = f"{answer.best:,.10g} {unit}: {answer.above:,.10g} is too much for the broker"
    else:
        limit = f"at least {answer.best:,.10g} {unit}: at {answer.above:,.10g} the limit was {limiter}, not the broker"
    return f"{limit}; {confirmed}, {runs}{because}"
