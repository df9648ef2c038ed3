"""Sweeps and searches over a runner and a store in memory."""

from __future__ import annotations

import dataclasses

import pytest

from hydra.errors import InfrastructureError, InterruptedRunError
from hydra.options.options import Options
from hydra.run.progress import SilentProgress
from hydra.sweep.plan import Axis, SweepPlan, grid, make_points
from hydra.sweep.record import SearchAsked, SweepRecord
from hydra.sweep.search import Answer
from hydra.sweep.search_runner import run_search
from hydra.sweep.sweep_runner import SweepContext, run_sweep
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

    def finished(self):
        return dict(self.records)

    def keep(self, record):
        assert record.number not in self.records or self.records[record.number].unmeasured
        self.records[record.number] = record


class Runner:
    """Makes runs out of options; each takes its duration and two seconds more."""

    def __init__(self, clock, of=None):
        self.clock = clock
        self.asked = []
        self.of = of or (lambda options, number: run(options))

    def measure(self, options):
        self.asked.append(options)
        made = self.of(options, len(self.asked))
        if isinstance(made, BaseException):
            raise made
        self.clock.sleep(options.test_duration + 2)
        return made


@pytest.fixture
def make_world():
    def make_world(of=None, store=None):
        clock = Clock()
        return SweepContext(Runner(clock, of), store or Store(), clock, Notes())

    return make_world


def plan(*rates, repeats=1):
    return SweepPlan(make_points(BASE, [{"msg_rate": float(rate)} for rate in rates]), repeats)


def rates(world):
    return [options.msg_rate for options in world.runner.asked]


def test_every_point_is_run_in_order_and_kept(make_world):
    world = make_world()
    records = run_sweep(plan(10, 20, 30), world)
    assert [record.changes for record in records] == [{"msg_rate": 10.0}, {"msg_rate": 20.0}, {"msg_rate": 30.0}]
    assert tuple(world.store.records.values()) == records
    assert rates(world) == [10, 20, 30]
    assert [record.took_s for record in records] == [12, 12, 12]


def test_repeats_belong_to_a_point(make_world):
    world = make_world()
    records = run_sweep(plan(10, 20, repeats=3), world)
    assert rates(world) == [10, 10, 10, 20, 20, 20]
    assert [len(record.runs) for record in records] == [3, 3]
    assert "point 2 of 2, about 36 s left: msg_rate=20 (run 1 of 3)" in world.progress.texts


def test_what_is_kept_is_not_run_again(make_world):
    store = Store()
    first = make_world(lambda options, number: InterruptedRunError(2) if number == 3 else run(options), store)
    with pytest.raises(InterruptedRunError):
        run_sweep(plan(10, 20, 30, 40), first)
    assert sorted(store.records) == [1, 2]
    second = make_world(store=store)
    records = run_sweep(plan(10, 20, 30, 40), second)
    assert rates(second) == [30, 40]
    assert [record.number for record in records] == [1, 2, 3, 4]
    assert second.progress.texts[0] == "2 of 4 points are there already"


def test_a_point_that_ended_without_a_result_is_kept_and_the_sweep_goes_on(make_world):
    def of(options, number):
        return run(options, error="8 of 10 clients were positioned", exit_code=3) if number == 2 else run(options)

    store = Store()
    records = run_sweep(plan(10, 20, 30), make_world(of, store))
    assert [record.exit_code for record in records] == [0, 3, 0]
    again = make_world(store=store)
    run_sweep(plan(10, 20, 30), again)
    assert rates(again) == []


def test_an_unusable_stack_costs_a_point_once_and_the_sweep_when_it_stays(make_world):
    def of(options, number):
        return run(options, error="the broker died", exit_code=4) if number in {2, 4, 5} else run(options)

    store = Store()
    world = make_world(of, store)
    with pytest.raises(
        InfrastructureError, match=r"2 points in a row could not be measured: the broker died: .*--resume"
    ):
        run_sweep(plan(10, 20, 30, 40, 50, 60), world)
    assert rates(world) == [10, 20, 30, 40, 50]
    again = make_world(store=store)
    assert [record.exit_code for record in run_sweep(plan(10, 20, 30, 40, 50, 60), again)] == [0] * 6
    assert rates(again) == [20, 40, 50, 60]


def test_no_further_repeat_on_a_stack_that_is_unusable(make_world):
    world = make_world(lambda options, number: run(options, error="gone", exit_code=4) if number == 1 else run(options))
    records = run_sweep(plan(10, 20, repeats=3), world)
    assert [len(record.runs) for record in records] == [1, 3]


def asked(**given):
    return SearchAsked(**{"start": 1000.0, "lowest": 1.0, "highest": 1e7, **given})


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
    return SweepRecord(kind, "now", "hydra", options, search=asked(**given))


def test_maxrate_finds_a_planted_limit(make_world):
    world = make_world(carried(123_400))
    kept = []
    found = run_search(begun("maxrate", dataclasses.replace(BASE, total_sub_apps=1)), world, kept.append)
    (answer,) = found.answers
    assert answer.question == "highest rate for 10 clients"
    assert 12_340 / 1.1 <= answer.answer.best <= 12_340
    assert answer.answer.limited_by == "broker"
    assert len(world.runner.asked) <= 12
    assert kept == [found]
    assert all(record.changes["clients"] == 10 for record in world.store.records.values())


def test_maxclients_finds_a_planted_limit_in_whole_apps(make_world):
    world = make_world(carried(725_000))
    found = run_search(begun("maxclients", start=100.0, lowest=10.0, highest=100_000.0), world, lambda _: None)
    assert 660 <= found.answers[0].answer.best <= 720
    assert {options.client_count % 10 for options in world.runner.asked} == {0}
    assert {options.msg_rate for options in world.runner.asked} == {1000.0}


def test_a_frontier_asks_for_each_number_of_clients_and_begins_at_the_answer_before(make_world):
    world = make_world(carried(100_000))
    kept = []
    found = run_search(begun("frontier", clients=(10, 20, 40)), world, kept.append)
    assert [answer.clients for answer in found.answers] == [10, 20, 40]
    for answer, limit in zip(found.answers, (10_000, 5_000, 2_500), strict=True):
        assert limit / 1.1 <= answer.answer.best <= limit
    first = next(options.msg_rate for options in world.runner.asked if options.client_count == 20)
    assert first == found.answers[0].answer.best
    assert [len(each.answers) for each in kept] == [1, 2, 3]


@pytest.mark.parametrize("kind", ["maxrate", "frontier"])
def test_an_interrupted_search_goes_on_and_finds_the_same(make_world, kind):
    given = {"clients": (10, 20)} if kind == "frontier" else {}
    begin = begun(kind, dataclasses.replace(BASE, total_sub_apps=1), **given)
    whole = run_search(begin, make_world(carried(90_000)), lambda _: None)
    trials = make_world(carried(90_000))
    expected = run_search(begin, trials, lambda _: None)
    for stop in range(1, len(trials.runner.asked) + 1):
        store = Store()
        broken = make_world(
            lambda options, number: InterruptedRunError(15) if number == stop else carried(90_000)(options, number),  # noqa: B023
            store,
        )
        with pytest.raises(InterruptedRunError):
            run_search(begin, broken, lambda _: None)
        resumed = make_world(carried(90_000), store)
        assert run_search(begin, resumed, lambda _: None).answers == expected.answers == whole.answers
        assert len(broken.runner.asked) - 1 + len(resumed.runner.asked) == len(trials.runner.asked)


def test_a_machine_that_holds_no_more_clients_is_not_the_brokers_limit(make_world):
    def of(options, _number):
        return run(options, error="needs 9999 descriptors", exit_code=2) if options.client_count > 300 else run(options)

    found = run_search(begun("maxclients", start=100.0, lowest=10.0, highest=1e5), make_world(of), lambda _: None)
    assert isinstance(found.answers[0].answer, Answer)
    assert found.answers[0].answer.best == 300
    assert found.answers[0].answer.limited_by == "harness"


def test_tuning_finds_the_settings_with_the_lowest_latency(make_world):
    def of(options, _number):
        return run(options, p50_ms=1.0 + options.linger_ms + options.fetch_wait_max_ms / 100)

    axes = (Axis("linger_ms", (0, 5, 20)), Axis("fetch_wait_max_ms", (20, 500)))
    world = make_world(of)
    begin = dataclasses.replace(begun("tune"), search=SearchAsked(axes=axes))
    tuned = run_search(begin, world, lambda _: None).tuned
    assert tuned.best == {"linger_ms": 0, "fetch_wait_max_ms": 20}
    assert tuned.gained
    assert min(tuned.best_costs) == pytest.approx(2.4)
    assert grid(axes)
