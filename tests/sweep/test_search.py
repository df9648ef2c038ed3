"""Searches find a limit, within few trials, and never call the harness's limit the broker's."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.accounting.bottleneck import Bottleneck
from hydra.codec import decode, encode
from hydra.errors import UsageError
from hydra.sweep.search import (
    NextTrial,
    SearchAnswer,
    SearchRange,
    SearchTrial,
    answer_sentence,
    classify_run,
    limit_so_far,
    next_step,
)
from tests.samples import result, run

RATES = SearchRange(1000, 1, 10_000_000)


def answer(within, outcome_of):
    """Search to the end; ``outcome_of`` makes the outcome of the n-th trial of a value."""
    trials = []
    while True:
        step = next_step(trials, within)
        if isinstance(step, SearchAnswer):
            return step, trials
        assert within.lowest <= step.value <= within.highest
        times = sum(trial.value == step.value for trial in trials)
        trials.append(SearchTrial(step.value, outcome_of(step.value, times), "why"))
        assert len(trials) <= within.max_trials


def planted(limit, above="bad"):
    return lambda value, _times: "good" if value <= limit else above


@given(st.floats(8, 64_000))
def test_a_planted_limit_is_found_within_ten_percent_in_twelve_runs(limit):
    found, trials = answer(RATES, planted(limit))
    assert found.best <= limit < found.above
    assert found.confirmed
    assert found.limited_by == "broker"
    assert limit <= found.best * 1.1 + 0.1
    assert len(trials) == found.trials <= 12


@given(st.floats(1, 1e7), st.integers(2, 40), st.sampled_from([0.01, 0.05, 0.3]))
def test_whatever_the_limit_the_answer_lies_below_it_and_what_is_above_lies_above_it(limit, most, precision):
    found, _ = answer(SearchRange(1000, 1, 1e7, precision=precision, max_trials=most), planted(limit))
    assert found.best is None or found.best <= limit
    assert found.above is None or found.above > limit


@given(st.integers(1, 10_000))
def test_clients_come_in_whole_apps(limit):
    found, trials = answer(SearchRange(100, 10, 100_000, step=10, max_trials=40, precision=0.001), planted(limit))
    assert all(trial.value % 10 == 0 for trial in trials)
    if limit < 10:
        assert found.best is None
    else:
        assert found.best <= limit
        assert found.above - found.best <= max(10, found.best * 0.001 + 10)


def test_doubling_then_bisection_then_a_repeat():
    _, trials = answer(RATES, planted(5000))
    values = [trial.value for trial in trials]
    assert values[:4] == [1000, 2000, 4000, 8000]
    assert all(4000 < value < 8000 for value in values[4:])
    best, above = max(value for value in values if value <= 5000), min(value for value in values if value > 5000)
    repeats = values[-4:]
    assert {*repeats} == {best, above}
    assert repeats.count(best) == repeats.count(above) == 2
    assert values.count(best) == values.count(above) >= 2


def test_a_start_that_is_too_much_is_halved():
    found, trials = answer(RATES, planted(130))
    assert [trial.value for trial in trials[:4]] == [1000, 500, 250, 125]
    assert 120 <= found.best <= 130


@given(st.floats(2000, 50_000), st.floats(1.1, 3))
def test_the_harness_is_never_the_brokers_limit(harness, factor):
    """The broker would carry less than the harness can send only above ``harness``, where nothing can be learned."""
    found, _ = answer(RATES, planted(harness, "harness"))
    assert found.at_least
    assert found.limited_by == "harness"
    assert "at least" in answer_sentence(found, unit="records/s")
    broker = harness * factor

    def outcome(value, _times):
        return "harness" if value > harness else "bad" if value > broker else "good"

    assert answer(RATES, outcome)[0].at_least


def test_a_limit_of_the_brokers_below_the_harness_is_the_brokers():
    found, _ = answer(RATES, lambda value, _: "good" if value <= 5000 else "bad" if value <= 9000 else "harness")
    assert (found.limited_by, found.at_least) == ("broker", False)


def test_a_value_where_the_harness_gave_way_once_is_not_proven_to_be_the_brokers():
    trials = [
        SearchTrial(1040, "bad"),
        SearchTrial(1040, "harness"),
        SearchTrial(1000, "good"),
        SearchTrial(1000, "good"),
    ]
    found = next_step(trials, RATES)
    assert isinstance(found, SearchAnswer)
    assert found.limited_by == "harness"


@pytest.mark.parametrize("unlucky", [500, 1000, 2000, 4000, 4760])
def test_a_moment_of_bad_luck_does_not_move_the_answer(unlucky):
    """A value that the broker carries is bad once: the bracket closes below it, and then its repeat tells."""
    within = SearchRange(500, 1, 1e7, max_trials=20)
    found, _ = answer(within, lambda value, times: "bad" if value == unlucky and not times else planted(5000)(value, 0))
    assert 5000 / 1.1 <= found.best <= 5000
    assert (found.limited_by, found.confirmed) == ("broker", True)


def test_a_moment_of_good_luck_does_not_either():
    within = SearchRange(500, 1, 1e7, max_trials=20)
    found, _ = answer(within, lambda value, times: "good" if value == 8000 and not times else planted(5000)(value, 0))
    assert found.best <= 8000
    assert found.confirmed


def test_a_trial_without_an_answer_is_made_again_and_forgiven():
    found, trials = answer(
        RATES, lambda value, times: "unknown" if value == 2000 and times == 0 else planted(5000)(value, 0)
    )
    assert [trial.value for trial in trials[:4]] == [1000, 2000, 2000, 4000]
    assert (found.limited_by, found.confirmed) == ("broker", True)
    assert 4500 < found.best <= 5000


def test_two_trials_without_an_answer_bound_the_search_and_are_no_limit():
    found, _ = answer(RATES, lambda value, _times: "unknown" if value >= 2000 else "good")
    assert found.at_least
    assert found.limited_by == "unknown"


def test_runs_that_are_left_repeat_both_ends_until_the_interval_is_narrow_enough():
    within = SearchRange(1000, 1, 1e7, max_trials=40)
    flaky = iter([*"gbgb", *"g" * 99])

    def outcome(value, _times):
        return "bad" if value == 4970 and next(flaky) == "b" else planted(5000)(value, 0)

    found, trials = answer(within, outcome)
    low, high = found.interval
    assert low < found.best <= 5000 < high
    assert high - low <= 3 * 0.05 * low
    assert f"{low:,.0f} to {high:,.0f} in 95 %" in answer_sentence(found, unit="records/s")
    assert len(trials) < 40


@pytest.mark.parametrize("above", ["harness", "network", "quota", "unknown"])
def test_what_is_not_the_brokers_limit_has_no_interval(above):
    found, _ = answer(RATES, planted(5000, above))
    assert (found.interval, found.limited_by) == (None, above)
    assert "95 %" not in answer_sentence(found, unit="records/s")


def test_the_end_of_the_range():
    found, _ = answer(SearchRange(1000, 1, 5000), planted(1e9))
    assert (found.best, found.above, found.limited_by, found.confirmed) == (5000, None, "range", True)
    assert "the end of the range" in answer_sentence(found, unit="records/s")


def test_runs_that_are_used_up_are_not_the_end_of_the_range():
    found, _ = answer(RATES, planted(1e9))
    assert (found.limited_by, found.trials) == ("trials", 12)
    assert "at least" in answer_sentence(found, unit="records/s")


def test_nothing_is_good():
    found, _ = answer(SearchRange(100, 10, 1000), planted(0))
    assert (found.best, found.above, found.limited_by) == (None, 10, "broker")
    assert "not even 10 records/s" in answer_sentence(found, unit="records/s")


@given(st.lists(st.tuples(st.floats(1, 1e7), st.sampled_from(["good", "bad", "harness", "unknown"])), max_size=12))
def test_any_history_has_a_next_step(history):
    step = next_step([SearchTrial(*each) for each in history], RATES)
    assert isinstance(step, (NextTrial, SearchAnswer))
    if isinstance(step, SearchAnswer):
        assert answer_sentence(step, unit="records/s").isprintable()
    else:
        assert len(history) < 12


@pytest.mark.parametrize("given", [(0, 1, 10), (11, 1, 10), (5, 0, 10), (1, 10, 5)])
def test_a_start_outside_of_the_range_is_refused(given):
    with pytest.raises(UsageError, match="does not lie between"):
        SearchRange(*given)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({}, "good"),
        ({"verdict": "fail", "lost": 5}, "bad"),
        ({"verdict": "indeterminate"}, "unknown"),
        ({"verdict": "indeterminate", "missing": 1}, "unknown"),
        ({"verdict": "indeterminate", "harness_limited": True}, "harness"),
        ({"verdict": "fail", "lost": 5, "harness_limited": True}, "harness"),
        ({"verdict": "pass", "harness_limited": True}, "harness"),
    ],
)
def test_a_run_is_classified(given, outcome):
    found, reason = classify_run(run(made=result(**given)))
    assert found == outcome
    assert bool(reason) == (outcome != "good")


@pytest.mark.parametrize(
    ("verdict", "limit", "missing", "outcome"),
    [
        ("pass", "none", 0, "good"),
        ("pass", "network", 0, "good"),
        ("fail", "none", 0, "bad"),  # loss is a fact
        ("fail", "broker", 1, "bad"),
        ("fail", "unknown", 0, "unknown"),
        ("indeterminate", "broker", 0, "bad"),
        ("indeterminate", "broker", 1, "unknown"),
        ("indeterminate", "none", 0, "unknown"),  # such as records that were refused
        *((verdict, limit, 0, limit) for limit in ("network", "quota") for verdict in ("fail", "indeterminate")),
    ],
)
def test_only_the_brokers_limit_is_the_brokers(verdict, limit, missing, outcome):
    made = result(verdict, missing=missing)
    made = dataclasses.replace(made, bottleneck=dataclasses.replace(made.bottleneck, limit=limit))
    assert classify_run(run(made=made))[0] == outcome


@pytest.mark.parametrize("limit", ["network", "quota", "harness"])
def test_what_else_was_the_limit_ends_a_search_and_is_named(limit):
    found, _ = answer(RATES, lambda value, times: "good" if value < 4000 else limit if times else "bad")
    assert (found.limited_by, found.at_least, found.exit_code) == (limit, True, 3)
    assert limit in answer_sentence(found, unit="records/s")
    found, _ = answer(RATES, lambda _value, _times: limit)
    assert (found.best, found.limited_by, found.exit_code) == (None, limit, 3)


def test_a_failed_run_is_indeterminate_and_a_machine_that_is_too_small_is_the_harness():
    assert classify_run(run(error="not ready", exit_code=3)) == ("unknown", "not ready")
    assert classify_run(run(error="broker died", exit_code=4)) == ("unknown", "broker died")
    assert classify_run(run(error="too few descriptors", exit_code=2))[0] == "harness"


@pytest.mark.parametrize("limit", ["quota", "refusal", "network", "unknown"])
@pytest.mark.parametrize("verdict", ["fail", "indeterminate"])
def test_what_something_else_than_the_broker_limited_tells_nothing_of_the_broker(limit, verdict):
    limited = Bottleneck(limit, harness_limited=False, symptoms=("late",), evidence=("a quota held c1 back",))
    made = dataclasses.replace(result(verdict=verdict, lost=5), bottleneck=limited)
    outcome = limit if limit in {"quota", "network"} else "unknown"
    assert classify_run(run(made=made)) == (outcome, "a quota held c1 back")
    assert classify_run(run(made=dataclasses.replace(made, verdict="pass"))) == ("good", "")


def test_an_answer_says_at_least_in_its_file_too():
    for limited_by, at_least in (("broker", False), ("range", True), ("harness", True), ("trials", True)):
        made = SearchAnswer(1000.0, 2000.0 if limited_by in {"broker", "harness"} else None, limited_by, True, 9)
        assert json.loads(encode(made))["at_least"] is at_least
        assert decode(encode(made), SearchAnswer) == made
        assert answer_sentence(made, unit="records/s").startswith("at least ") is (limited_by != "broker")


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ({1000: "good"}, "at least 1,000 records/s"),
        ({1000: "bad"}, "below 1,000 records/s"),
        ({1000: "good", 4000: "bad", 2000: "good"}, "2,000 to 4,000 records/s"),
        ({1000: "good", 2000: "harness"}, "at least 1,000 records/s; at 2,000 the limit was the harness"),
        ({1000: "unknown"}, "not known; at 1,000 there was no answer"),
    ],
)
def test_what_is_known_while_a_search_goes_on(outcomes, told):
    trials = [SearchTrial(float(value), outcome) for value, outcome in outcomes.items()]
    assert limit_so_far(trials, unit="records/s") == told


def test_a_wide_bracket_when_the_runs_are_used_up_is_no_limit():
    found, _ = answer(dataclasses.replace(RATES, max_trials=5), planted(5000))
    assert (found.best, found.above, found.limited_by, found.exit_code) == (4000, 8000, "trials", 3)
    assert answer_sentence(found, unit="records/s").startswith(
        "at least 4,000 records/s: 8,000 is too much for the broker, and no run was left to look between"
    )
