"""Sweeps and searches with made-up runs and a store in memory."""

from __future__ import annotations

import dataclasses

import pytest

from hydra.errors import InfrastructureError, InterruptedRunError
from hydra.options.options import Options
from hydra.run.protocols import SilentProgress
from hydra.sweep.plan import Axis, SweepPlan, grid, make_points
from hydra.sweep.record import SearchSettings, SweepRecord
from hydra.sweep.runner import SweepRunner
from hydra.sweep.search import SearchAnswer
from tests.samples import result, run

BASE = Options(test_duration=10.0)


class Clock:
    def __init__(self):
        self.at_s = 0.0

    def now_s(self):
        return self.at_s

    def sleep(self, seconds):
        self.at_s += seconds


class Notes(SilentProgress):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


class Store:
    def __init__(self):
        self.records = {}
        self.saved = []

    def finished(self):
        return dict(self.records)

    def keep(self, record):
        before = self.records.get(record.number)
        assert before is None or before.unmeasured or record.runs[:-1] == before.runs
        self.records[record.number] = record

    def save(self, sweep):
        self.saved.append(sweep)


class MadeUp:
    """A runner of made-up runs; each takes its duration and two seconds more.

    Args:
        of: (options, how many runs so far) to a run's record, or to an exception.
        store: of an earlier runner, to resume from.
    """

    def __init__(self, of=None, store=None):
        self.clock, self.notes, self.store = Clock(), Notes(), store or Store()
        self.asked, self.limits = [], []
        self.of = of or (lambda options, number: run(options))

    def measure(self, options):
        self.asked.append(options)
        made = self.of(options, len(self.asked))
        if isinstance(made, BaseException):
            raise made
        self.clock.sleep(options.test_duration + 2)
        return made

    def run(self, sweep):
        return SweepRunner(self.measure, self.store, self.clock, self.notes, self.limits.append).run(sweep)

    @property
    def rates(self):
        return [options.msg_rate for options in self.asked]


def plan(*rates, repeats=1):
    points = make_points(BASE, [{"msg_rate": float(rate)} for rate in rates])
    return SweepRecord("sweep", "now", "hydra", BASE, SweepPlan(points, repeats))


def test_every_point_is_run_in_order_and_kept():
    made_up = MadeUp()
    records = made_up.run(plan(10, 20, 30)).points
    assert [record.changes for record in records] == [{"msg_rate": 10.0}, {"msg_rate": 20.0}, {"msg_rate": 30.0}]
    assert tuple(made_up.store.records.values()) == records
    assert made_up.rates == [10, 20, 30]
    assert [record.took_s for record in records] == [12, 12, 12]


def test_repeats_belong_to_a_point():
    made_up = MadeUp()
    records = made_up.run(plan(10, 20, repeats=3)).points
    assert made_up.rates == [10, 20, 10, 20, 10, 20]
    assert [len(record.runs) for record in records] == [3, 3]
    assert "point 2 of 2, about 1 min left: msg_rate=20 (run 1 of 3)" in made_up.notes.texts


def test_a_sweep_goes_on_within_a_round():
    store = Store()
    first = MadeUp(lambda options, number: InterruptedRunError(2) if number == 5 else run(options), store)
    with pytest.raises(InterruptedRunError):
        first.run(plan(10, 20, 30, repeats=2))
    second = MadeUp(store=store)
    records = second.run(plan(10, 20, 30, repeats=2)).points
    assert second.rates == [20, 30]
    assert [len(record.runs) for record in records] == [2, 2, 2]
    assert second.notes.texts[0] == "1 of 3 points are finished already"


def test_what_is_kept_is_not_run_again():
    store = Store()
    first = MadeUp(lambda options, number: InterruptedRunError(2) if number == 3 else run(options), store)
    with pytest.raises(InterruptedRunError):
        first.run(plan(10, 20, 30, 40))
    assert sorted(store.records) == [1, 2]
    second = MadeUp(store=store)
    records = second.run(plan(10, 20, 30, 40)).points
    assert second.rates == [30, 40]
    assert [record.number for record in records] == [1, 2, 3, 4]
    assert second.notes.texts[0] == "2 of 4 points are finished already"


def test_a_point_that_ended_without_a_result_is_kept_and_the_sweep_goes_on():
    def of(options, number):
        return run(options, error="8 of 10 clients were positioned", exit_code=3) if number == 2 else run(options)

    store = Store()
    records = MadeUp(of, store).run(plan(10, 20, 30)).points
    assert [record.exit_code for record in records] == [0, 3, 0]
    again = MadeUp(store=store)
    again.run(plan(10, 20, 30))
    assert again.rates == []


def test_an_unusable_stack_costs_a_point_once_and_the_sweep_when_it_stays():
    def of(options, number):
        return run(options, error="the broker died", exit_code=4) if number in {2, 4, 5} else run(options)

    store = Store()
    made_up = MadeUp(of, store)
    with pytest.raises(
        InfrastructureError, match=r"2 runs in a row could not be measured: the broker died: .*--resume"
    ):
        made_up.run(plan(10, 20, 30, 40, 50, 60))
    assert made_up.rates == [10, 20, 30, 40, 50]
    again = MadeUp(store=store)
    assert [record.exit_code for record in again.run(plan(10, 20, 30, 40, 50, 60)).points] == [0] * 6
    assert again.rates == [20, 40, 50, 60]


def test_a_run_on_a_stack_that_was_unusable_is_made_again_by_the_next_sweep():
    store = Store()
    of = lambda options, number: run(options, error="gone", exit_code=4) if number == 3 else run(options)  # noqa: E731
    MadeUp(of, store).run(plan(10, 20, repeats=3))
    again = MadeUp(store=store)
    records = again.run(plan(10, 20, repeats=3)).points
    assert again.rates == [10]
    assert [[each.exit_code for each in record.runs] for record in records] == [[0] * 3] * 2


def settings(**given):
    return SearchSettings(**{"start": 1000.0, "lowest": 1.0, "highest": 1e7, **given})


def carried(limit):
    """A broker that carries so many deliveries a second."""

    def of(options, _number):
        enough = options.msg_rate * options.client_count <= limit
        made = result(
            "pass" if enough else "fail", lost=0 if enough else 5, clients=options.client_count, rate=options.msg_rate
        )
        return run(options, made)

    return of


def begun(kind, options=BASE, **given):
    return SweepRecord(kind, "now", "hydra", options, search=settings(**given))


def test_maxrate_finds_a_planted_limit():
    made_up = MadeUp(carried(123_400))
    found = made_up.run(begun("maxrate", dataclasses.replace(BASE, total_sub_apps=1)))
    (answer,) = found.answers
    assert answer.question == "highest rate for 10 clients"
    assert 12_340 / 1.1 <= answer.answer.best <= 12_340
    assert answer.answer.limited_by == "broker"
    low, high = answer.answer.interval
    assert low < 12_340 < high
    assert len(made_up.asked) <= 16
    assert [each.answers for each in made_up.store.saved] == [found.answers]
    assert all(record.changes["clients"] == 10 for record in made_up.store.records.values())


def test_what_is_known_of_the_limit_is_told_after_each_run_also_when_it_goes_on():
    begin = begun("frontier", dataclasses.replace(BASE, total_sub_apps=1), clients=(10, 20))
    made_up = MadeUp(carried(90_000))
    (first, _) = made_up.run(begin).answers
    assert len(made_up.limits) == len(made_up.asked)
    assert made_up.limits[0] == "highest rate for 10 clients: at least 1,000 records/s"
    bracket = f"{first.answer.best:,.10g} to {first.answer.above:,.10g} records/s"
    assert f"highest rate for 10 clients: {bracket}" in made_up.limits
    assert made_up.limits[-1].startswith("highest rate for 20 clients: ")
    resumed = MadeUp(carried(90_000), made_up.store)
    resumed.run(begin)
    assert resumed.asked == []
    assert resumed.limits == [f"highest rate for 10 clients: {bracket}", made_up.limits[-1]]


def test_maxclients_finds_a_planted_limit_in_whole_apps():
    made_up = MadeUp(carried(725_000))
    found = made_up.run(begun("maxclients", start=100.0, lowest=10.0, highest=100_000.0))
    assert 660 <= found.answers[0].answer.best <= 720
    assert {options.client_count % 10 for options in made_up.asked} == {0}
    assert {options.msg_rate for options in made_up.asked} == {1000.0}


def test_a_frontier_asks_for_each_number_of_clients_and_begins_at_the_answer_before():
    made_up = MadeUp(carried(100_000))
    found = made_up.run(begun("frontier", clients=(10, 20, 40)))
    assert [answer.clients for answer in found.answers] == [10, 20, 40]
    for answer, limit in zip(found.answers, (10_000, 5_000, 2_500), strict=True):
        assert limit / 1.1 <= answer.answer.best <= limit
    first = next(options.msg_rate for options in made_up.asked if options.client_count == 20)
    assert first == found.answers[0].answer.best
    assert [len(each.answers) for each in made_up.store.saved] == [1, 2, 3]


@pytest.mark.parametrize("kind", ["maxrate", "frontier"])
def test_an_interrupted_search_goes_on_and_finds_the_same(kind):
    given = {"clients": (10, 20)} if kind == "frontier" else {}
    begin = begun(kind, dataclasses.replace(BASE, total_sub_apps=1), **given)
    whole = MadeUp(carried(90_000)).run(begin)
    trials = MadeUp(carried(90_000))
    expected = trials.run(begin)
    for stop in range(1, len(trials.asked) + 1):
        store = Store()
        broken = MadeUp(
            lambda options, number: InterruptedRunError(15) if number == stop else carried(90_000)(options, number),  # noqa: B023
            store,
        )
        with pytest.raises(InterruptedRunError):
            broken.run(begin)
        resumed = MadeUp(carried(90_000), store)
        assert resumed.run(begin).answers == expected.answers == whole.answers
        assert len(broken.asked) - 1 + len(resumed.asked) == len(trials.asked)


def test_a_machine_that_holds_no_more_clients_is_not_the_brokers_limit():
    def of(options, _number):
        return run(options, error="needs 9999 descriptors", exit_code=2) if options.client_count > 300 else run(options)

    found = MadeUp(of).run(begun("maxclients", start=100.0, lowest=10.0, highest=1e5))
    assert isinstance(found.answers[0].answer, SearchAnswer)
    assert found.answers[0].answer.best == 300
    assert found.answers[0].answer.limited_by == "harness"


def test_tuning_finds_the_settings_with_the_lowest_latency():
    def of(options, _number):
        return run(options, p50_ms=1.0 + options.linger_ms + options.fetch_wait_max_ms / 100)

    axes = (Axis("linger_ms", (0, 5, 20)), Axis("fetch_wait_max_ms", (20, 500)))
    made_up = MadeUp(of)
    begin = dataclasses.replace(begun("tune"), search=SearchSettings(axes=axes))
    tuned = made_up.run(begin).tuned
    assert tuned.best == {"linger_ms": 0, "fetch_wait_max_ms": 20}
    assert tuned.gained
    assert min(tuned.best_costs) == pytest.approx(2.4)
    assert grid(axes)


@pytest.mark.parametrize("number", [1, 3, 5, 7])
def test_a_run_on_an_unusable_stack_is_no_trial_of_a_tuning(number):
    def of(options, count):
        if count == number:
            return run(options, error="the broker died", exit_code=4)
        return run(options, p50_ms=1.0 + options.linger_ms)

    begin = dataclasses.replace(begun("tune"), search=SearchSettings(axes=(Axis("linger_ms", (0, 5, 20)),)))
    tuned, undisturbed = MadeUp(of).run(begin).tuned, MadeUp(lambda options, _: of(options, 0)).run(begin).tuned
    assert tuned == undisturbed
    assert tuned.gained
