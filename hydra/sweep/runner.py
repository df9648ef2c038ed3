"""Run a sweep or a search: measure its points one after the other, and keep each one as soon as it is finished.

A search keeps each trial as a point, so that it can be resumed from the trials that it has made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from hydra.errors import CapacityError, HydraError, InfrastructureError, UsageError
from hydra.options.options import FIXED_OPTIONS, Options
from hydra.options.order import RunOrder
from hydra.run.clock import Clock, duration
from hydra.run.protocols import Progress
from hydra.run.record import RunRecord, failed_record
from hydra.sweep.counted_runs import unjudged_reason
from hydra.sweep.folder import SweepFolder
from hydra.sweep.plan import CLIENTS, SweepPlan, SweepPoint, changes_text, format_value, seconds_left, with_changes
from hydra.sweep.record import PointRecord, SearchResult, SweepRecord, compact_run
from hydra.sweep.search import SearchAnswer, SearchRange, SearchTrial, classify_run, limit_so_far, next_step
from hydra.sweep.tuning import TUNING_METRIC, TUNING_UNIT, TuningResult, TuningTrial, next_setting, tuning_cost

if TYPE_CHECKING:
    from hydra.kafkatest.runtest import RunTestKAFKA

MAX_FAILED_IN_A_ROW = 2
"""Runs in a row for which the stack was unusable: a third one would tell nothing new."""

OUTCOMES = {
    "good": "good", "bad": "too much", "harness": "the harness was the limit", "network": "the network was the limit",
    "quota": "a quota was the limit", "unknown": "no answer",
}  # fmt: skip


class SweepRunner:
    """Runs one sweep or search from its start, or its resumption, to its end.

    Args:
        measure: makes one run. One that failed is a record with its error; an interruption is raised.
        folder: keeps the points; those that it holds already are not measured again.
        clock: for the time that a point takes.
        progress: shows where the sweep is.
        tell_limit: is told what a search knows of its limit, as often as there is something.
    """

    def __init__(
        self,
        measure: Callable[[Options], RunRecord],
        folder: SweepFolder,
        clock: Clock,
        progress: Progress,
        tell_limit: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._measure_run = measure
        self._folder = folder
        self._clock = clock
        self._progress = progress
        self._tell_limit = tell_limit
        usable = ((number, record.without_unmeasured()) for number, record in folder.finished().items())
        self._finished = {number: record for number, record in usable if record.runs}
        """By number, with the runs so far. A run without a result counts, unless the stack was unusable."""
        self._failed_in_a_row = 0

    def run(self, sweep: SweepRecord) -> SweepRecord:
        """Measure what is not measured yet; returns the sweep with its points and answers.

        Raises:
            InfrastructureError: two runs in a row could not be measured at all.
        """
        if sweep.plan is not None:
            self._run_plan(sweep.plan)
        elif sweep.kind == "tune":
            sweep = dataclasses.replace(sweep, tuned=self._tune(sweep))
            self._folder.save(sweep)
        else:
            sweep = self._find_limits(sweep)
        return dataclasses.replace(sweep, points=self._records())

    def _records(self) -> tuple[PointRecord, ...]:
        return tuple(self._finished[number] for number in sorted(self._finished))

    def _run_plan(self, plan: SweepPlan) -> None:
        if self._finished:
            done = sum(len(record.runs) >= plan.repeats for record in self._finished.values())
            self._progress.note(f"{done} of {len(plan.points)} points are finished already")
        for round_number, point in plan.turns():
            record = self._finished.get(point.number)
            if record is not None and len(record.runs) >= round_number:
                continue
            left_s = seconds_left(plan, {each.number: (len(each.runs), each.took_s) for each in self._records()})
            left = "" if left_s is None else f", about {duration(left_s)} left"
            repeat = f" (run {round_number} of {plan.repeats})" if plan.repeats > 1 else ""
            place = f"point {point.number} of {len(plan.points)}{left}"
            self._measure(point, f"{place}: {changes_text(point.changes)}{repeat}")

    def _find_limits(self, sweep: SweepRecord) -> SweepRecord:
        sweep = dataclasses.replace(sweep, answers=())
        start: float | None = None
        for limit in _limits(sweep):
            # The answer for the number of clients before is a good start for the next one.
            within = limit.within if start is None else dataclasses.replace(limit.within, start=limit.within.fit(start))
            answer = self._find_limit(dataclasses.replace(limit, within=within))
            start = answer.best or start
            found = SearchResult(limit.question, limit.unit, answer, limit.clients)
            sweep = dataclasses.replace(sweep, answers=(*sweep.answers, found))
            self._folder.save(sweep)
        return sweep

    def _find_limit(self, limit: LimitSearch) -> SearchAnswer:
        while True:
            trials = [trial for record in self._records() if (trial := limit.trial(record)) is not None]
            if trials:
                self._tell_limit(f"{limit.question}: {limit_so_far(trials, unit=limit.unit)}")
            step = next_step(trials, limit.within)
            if isinstance(step, SearchAnswer):
                return step
            place = f"run {len(trials) + 1} of at most {limit.within.max_trials}, {step.purpose}"
            record = self._try(limit.options, limit.changes(step.value), place)
            trial = limit.trial(record)
            if trial is not None:
                reason = f" ({trial.reason})" if trial.reason else ""
                self._progress.note(f"{limit.varied}={format_value(trial.value)}: {OUTCOMES[trial.outcome]}{reason}")

    def _tune(self, sweep: SweepRecord) -> TuningResult:
        assert sweep.search is not None
        axes = sweep.search.axes
        start = {axis.name: getattr(sweep.options, axis.name) for axis in axes}
        while True:
            trials = [
                tuning_trial({name: record.changes[name] for name in start}, record.runs[-1])
                for record in self._records()
                if not record.unmeasured
            ]
            step = next_setting(trials, axes, start)
            if isinstance(step, TuningResult):
                return step
            record = self._try(sweep.options, step, f"run {len(trials) + 1}")
            cost = tuning_cost(record.runs[-1])
            why = unjudged_reason(record.runs[-1])
            no_pass = f"not judged ({why})" if why else "no pass"
            metric = no_pass if cost is None else f"{TUNING_METRIC} {cost:.3g} {TUNING_UNIT}"
            self._progress.note(f"{changes_text(step)}: {metric}")

    def _try(self, options: Options, changes: dict[str, object], place: str) -> PointRecord:
        """Measure one more point, which a search has chosen."""
        number = max(self._finished, default=0) + 1
        point = SweepPoint(number, changes, with_changes(options, changes))
        return self._measure(point, f"{place}: {changes_text(changes)}")

    def _measure(self, point: SweepPoint, place: str) -> PointRecord:
        """Measure a point once, and keep the run with those before."""
        self._progress.note(place)
        began_s = self._clock.now_s()
        run = compact_run(self._measure_run(point.options))
        took_s = self._clock.now_s() - began_s
        before = self._finished.get(point.number, PointRecord(point.number, point.changes, (), 0.0))
        record = dataclasses.replace(before, runs=(*before.runs, run), took_s=round(before.took_s + took_s, 3))
        self._folder.keep(record)
        self._finished[point.number] = record
        unusable = run.exit_code == InfrastructureError.exit_code
        self._failed_in_a_row = self._failed_in_a_row + 1 if unusable else 0
        if self._failed_in_a_row >= MAX_FAILED_IN_A_ROW:
            raise InfrastructureError(
                f"{self._failed_in_a_row} runs in a row could not be measured: {run.error}",
                hint="fix the cause, then continue with --resume",
            )
        return record


def tuning_trial(setting: dict[str, object], run: RunRecord) -> TuningTrial:
    """The run as a trial of a tuning. A fail is a fact, whoever was the limit."""
    failed = run.result is not None and run.result.verdict == "fail"
    return TuningTrial(setting, tuning_cost(run), judged=failed or not unjudged_reason(run))


@dataclass(frozen=True)
class LimitSearch:
    """The search for one limit."""

    question: str
    """Such as ``highest rate for 50 clients``."""
    unit: str
    options: Options
    """Common to all trials."""
    varied: str
    """The option that is varied, or ``clients``."""
    within: SearchRange
    fixed: Mapping[str, object]
    """Further changes, the same in each trial of this search and others in those of another one."""
    clients: int | None = None

    def changes(self, value: float) -> dict[str, object]:
        """The changes of the point that tries this value."""
        return {**self.fixed, self.varied: round(value) if self.varied == CLIENTS else value}

    def trial(self, record: PointRecord) -> SearchTrial | None:
        """The point as a trial of this search; None if it belongs to another search, or could not be measured."""
        value = record.changes.get(self.varied)
        same = all(record.changes.get(name) == fixed for name, fixed in self.fixed.items())
        if not same or not isinstance(value, (int, float)) or record.unmeasured:
            return None
        outcome, reason = classify_run(record.runs[-1])
        return SearchTrial(float(value), outcome, reason)


def _limits(sweep: SweepRecord) -> Iterator[LimitSearch]:
    """The limits that a search looks for, in order."""
    assert sweep.search is not None
    settings, options = sweep.search, sweep.options
    step = float(options.clients_per_app) if sweep.kind == "maxclients" else 0.0
    within = SearchRange(
        settings.start, settings.lowest, settings.highest, step, settings.precision, settings.max_trials
    )
    if sweep.kind == "maxclients":
        question = f"most clients at {options.msg_rate:,.10g} records/s"
        yield LimitSearch(question, "clients", options, CLIENTS, within, {"msg_rate": options.msg_rate})
        return
    for clients in settings.clients or (options.client_count,):
        question = f"highest rate for {clients:,} clients"
        yield LimitSearch(question, "records/s", options, "msg_rate", within, {CLIENTS: clients}, clients)


def first_trial(sweep: SweepRecord) -> Options:
    """The options of the first run of a search."""
    if sweep.kind == "tune":
        return sweep.options
    search = next(_limits(sweep))
    return with_changes(search.options, search.changes(search.within.fit(search.within.start)))


class StackRunner:
    """Runs of a sweep on one stack: it starts once and is scaled between points, and anew after it broke."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._runner: RunTestKAFKA | None = None
        self._options: Options | None = None

    def __enter__(self) -> StackRunner:  # noqa: PYI034  # typing has Self from 3.11 on
        return self

    def __exit__(self, *error: object) -> None:
        """End the stack. What was measured stands: an error of the clean-up is a note."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.__exit__(*error)

    def measure(self, options: Options) -> RunRecord:
        """One run with these options; the stack stays up for the next one, unless it is what failed.

        Raises:
            UsageError: the options cannot be. More clients than this machine holds are a record, though: a search for
                how many it holds ends there.
            InterruptedRunError: Ctrl-C or SIGTERM.
        """
        from hydra.kafkatest import runtest
        from hydra.kafkatest.machine import machine, versions

        if self._options is not None and any(
            getattr(options, name) != getattr(self._options, name) for name in FIXED_OPTIONS
        ):
            self.__exit__()  # these need a stack of their own
        self._options = options
        started_at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        try:
            if self._runner is None:
                self._runner = runtest.RunTestKAFKA(options, runtest=False, progress=self._progress)
            else:
                self._runner.record = None
                self._runner.set_options(options)
                self._runner.scale_sub_app()
            self._runner.run_test()
            record = self._runner.record
        except HydraError as error:
            if isinstance(error, UsageError) and not isinstance(error, CapacityError):
                raise
            record = self._runner.record if self._runner is not None else None
            if record is None:
                record = failed_record(RunOrder("", options), started_at, error)
                record = dataclasses.replace(record, versions=versions(), machine=machine())
            if isinstance(error, InfrastructureError):
                self.__exit__()
        assert record is not None
        return record
