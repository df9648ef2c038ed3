"""Differences that count, and those that do not."""

import dataclasses

import pytest

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.totals import ThresholdOutcome
from hydra.options.options import Options
from hydra.report.comparison_text import detail_lines
from hydra.sweep.comparison import compare
from hydra.sweep.counted_runs import points_by_name
from hydra.sweep.record import PointRecord, SearchResult
from hydra.sweep.search import SearchAnswer
from tests.samples import result, run, sweep

NAME = "clients=10"


def point(*runs, changes=None):
    return PointRecord(1, changes or {"clients": 10}, runs, 1.0)


def side(*p50s, **given):
    return point(*(run(p50_ms=p50, **given) for p50 in p50s))


def lossy(*lost):
    """A point with a run for each number of records that each client lost."""
    return point(*(run(made=result("fail" if count else "pass", lost=count)) for count in lost))


def states(found):
    return {item.metric: item.state for item in found.differences}


def spread(middle, *, runs=6, by=0.01):
    """Values around a middle, a hundredth apart."""
    return [middle * (1 + by * (index - runs // 2)) for index in range(runs)]


def test_nothing_differs():
    found = compare(side(*spread(40.0)), side(*spread(40.0)), tolerance_percent=10)
    assert set(states(found).values()) == {"no difference shown"}
    assert (found.regressions, found.unlike, found.exit_code) == ((), (), 0)


def test_a_slower_side_is_worse_and_the_other_way_round_it_is_better():
    slower = compare(side(*spread(4.0)), side(*spread(8.0)), tolerance_percent=10)
    assert states(slower)["e2e_p99"] == "worse"
    assert states(slower)["rx_rate"] == "no difference shown"
    assert any("e2e_p99 7.96 -> 15.92 ms" in text for text in slower.regressions)
    assert slower.exit_code == 1
    p99 = next(item for item in slower.differences if item.metric == "e2e_p99")
    assert p99.interval[0] < 7.96 < p99.interval[1]
    assert p99.interval[0] > 7
    faster = compare(side(*spread(8.0)), side(*spread(4.0)), tolerance_percent=10)
    assert states(faster)["e2e_p99"] == "better"
    assert faster.exit_code == 0


def test_the_tolerance_is_a_share_of_the_first_side():
    slower = compare(side(*spread(100.0, by=0.001)), side(*spread(109.0, by=0.001)), tolerance_percent=10)
    assert states(slower)["e2e_p50"] == "no difference shown"
    assert slower.differences[4].smallest == pytest.approx(10.0, rel=0.01)
    slower = compare(side(*spread(100.0, by=0.001)), side(*spread(111.0, by=0.001)), tolerance_percent=10)
    assert states(slower)["e2e_p50"] == "worse"
    slower = compare(side(*spread(100.0, by=0.001)), side(*spread(111.0, by=0.001)), tolerance_percent=20)
    assert states(slower)["e2e_p50"] == "no difference shown"


def test_less_than_a_millisecond_is_chance():
    found = compare(side(*spread(0.1)), side(*spread(0.3)), tolerance_percent=10)
    assert states(found)["e2e_p50"] == "no difference shown"


@pytest.mark.parametrize("runs", [1, 3])
def test_fewer_than_four_runs_a_side_are_not_judged(runs):
    found = compare(side(*spread(4.0, runs=runs)), side(*spread(8.0, runs=runs)), tolerance_percent=10)
    assert states(found)["e2e_p99"] == "not judged"
    assert f"{runs} and {runs} runs to judge by; 4 a side are needed" in found.differences[-1].why


def test_with_few_runs_it_is_told_how_many_would_do():
    found = compare(side(10.0, 30.0, 12.0, 25.0), side(11.0, 28.0, 13.0, 24.0), tolerance_percent=10)
    p50 = next(item for item in found.differences if item.metric == "e2e_p50")
    assert (p50.state, p50.interval) == ("no difference shown", None)
    assert "too unsteady" in p50.why
    assert p50.smallest is None


def test_any_loss_where_there_was_none_is_worse():
    found = compare(lossy(0), lossy(1), tolerance_percent=1000)
    assert states(found)["loss"] == states(found)["failing_clients"] == "worse"
    assert found.verdicts == ((NAME, "pass", "fail"),)
    assert found.exit_code == 1


@pytest.mark.parametrize(("before", "after"), [((0, 0), (0, 1)), ((0, 0, 0), (0, 0, 1)), ((0,), (0, 3))])
def test_new_loss_is_worse_although_the_repeats_overlap(before, after):
    found = compare(lossy(*before), lossy(*after), tolerance_percent=1000)
    assert states(found)["loss"] == states(found)["failing_clients"] == "worse"
    assert any("clients=10: loss 0 -> " in text for text in found.regressions)


def test_more_loss_than_before_is_tested_as_any_figure():
    assert states(compare(lossy(0, 2), lossy(1, 4), tolerance_percent=10))["loss"] == "not judged"
    more = compare(lossy(1, 2, 3, 1, 2, 3), lossy(11, 12, 13, 11, 12, 13), tolerance_percent=10)
    assert states(more)["loss"] == "worse"


def test_runs_that_something_else_limited_are_not_judged():
    limited = point(*(run(p50_ms=80.0, harness_limited=True) for _ in range(6)))
    found = compare(side(*spread(4.0)), limited, tolerance_percent=10)
    p99 = next(item for item in found.differences if item.metric == "e2e_p99")
    assert (p99.state, p99.runs) == ("not judged", (6, 0))
    assert "6 runs left out: the limit was the harness" in p99.why


def test_trials_of_a_search_that_repeat_a_point_are_its_repeats():
    saved = sweep([{"clients": 10}, {"clients": 20}])
    again = dataclasses.replace(saved.points[0], number=3)
    found = points_by_name(dataclasses.replace(saved, points=(*saved.points, again)))
    assert {name: len(runs) for name, runs in found.items()} == {"clients=10": 2, "clients=20": 1}
    assert list(points_by_name(run())) == ["run"]


def test_a_better_verdict_is_no_regression():
    found = compare(lossy(1), lossy(0), tolerance_percent=10)
    assert found.verdicts == ((NAME, "fail", "pass"),)
    assert not found.regressions


def test_unlike_options_and_machines_are_said():
    other = dataclasses.replace(run(Options(total_sub_apps=1, linger_ms=20, output="x")), machine={"cpu_count": 8})
    found = compare(side(4.0), point(other), tolerance_percent=10)
    assert found.unlike == ("option linger_ms: 5 -> 20", "machine cpu_count: 2 -> 8")


def test_another_pace_of_fetches_is_said_since_it_is_in_every_latency():
    paced = run(p50_ms=4.0)
    slower = dataclasses.replace(paced, order=dataclasses.replace(paced.order, pace_ms=25.0))
    found = compare(point(paced), point(slower), tolerance_percent=10)
    assert found.unlike == ("pace of fetches: 1 ms -> 25 ms",)


def test_points_of_one_side_only_are_named():
    found = compare(
        sweep([{"clients": 10}, {"clients": 20}]), sweep([{"clients": 10}, {"clients": 30}]), tolerance_percent=10
    )
    assert (found.only_before, found.only_after) == (("clients=20",), ("clients=30",))


def test_a_side_without_a_result_is_not_comparable_and_no_answer():
    found = compare(side(*spread(4.0)), point(run(error="gone")), tolerance_percent=10)
    assert found.verdicts == ((NAME, "pass", "error"),)
    assert set(states(found).values()) == {"not comparable"}
    assert (found.unmeasured, found.exit_code) == ((NAME,), 3)


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (SearchAnswer(950, 1000, "broker", True, 9), "no difference shown"),
        (SearchAnswer(800, 850, "broker", True, 9), "worse"),
        (SearchAnswer(800, 850, "harness", True, 9), "not comparable"),
        (SearchAnswer(1200, 1300, "broker", True, 9), "better"),
        (SearchAnswer(None, 10, "broker", True, 9), "worse"),
    ],
)
def test_answers_of_searches(after, state):
    def search(answer):
        found = SearchResult("highest rate for 10 clients", "records/s", answer)
        return dataclasses.replace(sweep([{"clients": 10}], kind="maxrate"), answers=(found,))

    before = SearchAnswer(1000, 1040, "broker", True, 9)
    made = compare(search(before), search(after), tolerance_percent=10)
    assert made.differences[-1].state == state


def search(answer):
    found = () if answer is None else (SearchResult("highest rate for 10 clients", "records/s", answer),)
    return dataclasses.replace(sweep([{"clients": 10}], kind="maxrate"), answers=found)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ((1000, 1200, "harness"), (950, 1000, "broker"), "A is an 'at least'"),
        ((1000, 1200, "harness"), (1000, 1200, "harness"), "A is an 'at least'"),
        ((1000, None, "trials"), (1200, 1300, "broker"), "A is an 'at least'"),
        ((1000, 1040, "broker"), (800, None, "range"), "B is an 'at least', and lower"),
        ((1000, 1040, "broker"), (None, 10, "harness"), "B has no answer"),
        ((1000, 1040, "broker"), None, "only A has an answer"),
    ],
)
def test_an_at_least_never_shows_how_much_less_it_is(before, after, why):
    made = [answer and SearchAnswer(*answer, confirmed=True, trials=9) for answer in (before, after)]
    (found,) = compare(*map(search, made), tolerance_percent=10).differences[-1:]
    assert (found.metric, found.state, found.why) == ("answer", "not comparable", why)
    assert found.after == (after and after[0]), "no answer is no zero"


def test_the_same_whole_range_is_no_difference_and_what_no_repeat_confirmed_is_no_judgement():
    whole = search(SearchAnswer(1000, None, "range", confirmed=True, trials=2))
    same = compare(whole, whole, tolerance_percent=10).differences[-1]
    assert (same.state, same.why) == ("no difference shown", "A and B: 'at least'")
    once = search(SearchAnswer(500, 520, "broker", confirmed=False, trials=9))
    sure = search(SearchAnswer(1000, 1040, "broker", confirmed=True, trials=9))
    assert compare(sure, once, tolerance_percent=10).differences[-1].state == "not judged"


@pytest.mark.parametrize(
    ("interval", "state"),
    [((1101, 1300), "better"), ((1099, 1300), "no difference shown"), ((500, 899), "worse"), (None, "better")],
)
def test_answers_with_intervals_are_compared_by_them(interval, state):
    def search(best, interval):
        answer = SearchAnswer(best, best + 50, "broker", confirmed=True, trials=9, interval=interval)
        found = SearchResult("highest rate for 10 clients", "records/s", answer)
        return dataclasses.replace(sweep([{"clients": 10}], kind="maxrate"), answers=(found,))

    made = compare(search(1000, (900, 1100)), search(1200, interval), tolerance_percent=10).differences[-1]
    assert made.state == state
    assert made.interval == (interval and (interval[0] - 1100, interval[1] - 900))
    # Whatever the tolerance: it is for answers without an error.
    wide = compare(search(1000, (900, 1100)), search(1200, interval), tolerance_percent=50).differences[-1]
    assert wide.state == (state if interval else "no difference shown")


def overloaded(p50_ms=4000.0, *, unread=100, verdict="indeterminate", limit="broker", **given):
    """A run whose broker gave way: deliveries were unread when the drain ended, which proves no loss."""
    made = result(verdict, p50_ms=p50_ms, **given)
    totals = dataclasses.replace(made.totals, records_lost=unread, records_unread=unread, clients_failing=unread and 10)
    bottleneck = Bottleneck(limit, harness_limited=limit == "harness")
    return run(made=dataclasses.replace(made, totals=totals, bottleneck=bottleneck))


def test_a_setting_that_overloads_the_broker_is_worse_and_not_left_out():
    found = compare(side(*spread(40.0)), point(*(overloaded(p50) for p50 in spread(4000.0))), tolerance_percent=10)
    assert found.exit_code == 1
    assert states(found)["e2e_p99"] == states(found)["failing_clients"] == "worse"
    assert states(found)["loss"] == "not judged", "what is unread is no proven loss, and no proof of none"
    p99 = next(item for item in found.differences if item.metric == "e2e_p99")
    assert (p99.runs, p99.why) == ((6, 6), "")


@pytest.mark.parametrize(("before", "after"), [("fast", "overloaded"), ("overloaded", "fast")])
def test_latencies_without_those_of_unread_deliveries_are_never_the_better_ones(before, after):
    sides = {
        "fast": point(*(overloaded(p50) for p50 in spread(40.0))),
        "overloaded": side(*spread(400.0)),
    }
    found = compare(sides[before], sides[after], tolerance_percent=10)
    p99 = next(item for item in found.differences if item.metric == "e2e_p99")
    named = "A" if before == "fast" else "B"
    assert p99.state == "not judged"
    assert p99.why.startswith(f"the figures of {named} are at best what they say")


@pytest.mark.parametrize("limit", ["harness", "network", "quota", "refusal"])
def test_who_was_the_limit_is_looked_at_by_metric(limit):
    kept_away = [overloaded(40.0, unread=0, limit=limit) for _ in range(6)]
    found = compare(point(*kept_away), lossy(*[5] * 6), tolerance_percent=10)
    assert states(found)["loss"] == states(found)["failing_clients"] == "worse"
    assert states(found)["e2e_p99"] == states(found)["rx_rate"] == "not judged"
    none = compare(point(*kept_away), lossy(*[0] * 6), tolerance_percent=10)
    assert states(none)["loss"] == "no difference shown"
    assert none.exit_code == 3, "that nothing was lost says nothing of how fast it was"
    better = compare(lossy(*[5] * 6), point(*kept_away), tolerance_percent=10)
    assert states(better)["loss"] == "not judged", "fewer records came to the broker"


@pytest.mark.parametrize(
    ("left_out", "why"),
    [
        (overloaded(40.0, unread=0, limit="unknown"), "who was the limit is not known"),
        (overloaded(40.0, unread=0, missing=3), "clients are missing"),
        (overloaded(40.0, limit="harness"), "deliveries were unread"),
        (run(error="gone"), "no result"),
    ],
)
def test_no_loss_counts_only_where_it_was_measured_and_what_is_left_out_is_said(left_out, why):
    found = compare(point(left_out, run()), lossy(0), tolerance_percent=10)
    loss = next(item for item in found.differences if item.metric == "loss")
    assert (loss.runs, loss.state, loss.why) == ((1, 1), "no difference shown", f"1 run left out: {why}")


def test_a_run_in_which_a_threshold_was_not_measured_counts_by_what_was():
    blind = [overloaded(p50, unread=0, limit="none") for p50 in spread(40.0)]
    assert states(compare(point(*blind), side(*spread(80.0)), tolerance_percent=10))["e2e_p99"] == "worse"


def test_more_repeats_are_advised_only_where_they_would_do():
    few = compare(side(*spread(4.0, runs=2)), side(*spread(4.0, runs=2)), tolerance_percent=10)
    assert any("--repeats=" in line for line in detail_lines(few))
    unread = compare(point(*(overloaded(p50) for p50 in spread(40.0))), side(*spread(400.0)), tolerance_percent=10)
    assert [item.metric for item in unread.differences if min(item.runs) < 4] == ["loss"]
    figures = tuple(item for item in unread.differences if item.metric != "loss")
    assert not any("--repeats=" in line for line in detail_lines(dataclasses.replace(unread, differences=figures)))


def test_what_only_made_latencies_worse_disqualifies_no_rates():
    def waited(metric, symptoms):
        made = result("indeterminate", p50_ms=40.0)
        broken = ThresholdOutcome(f"{metric}<5ms", metric, 80.0, 5.0, "ms", kept=False)
        limited = Bottleneck("harness", harness_limited=True, symptoms=symptoms)
        return point(*[run(made=dataclasses.replace(made, thresholds=(broken,), bottleneck=limited))] * 6)

    late = compare(waited("e2e_p99", ("e2e_p99<5ms was broken",)), side(*spread(40.0)), tolerance_percent=10)
    assert states(late)["tx_rate"] == states(late)["rx_rate"] == states(late)["loss"] == "no difference shown"
    assert states(late)["e2e_p99"] == "not judged"
    assert late.exit_code == 3, "as fast as before is not shown by rates"
    behind = compare(waited("pub_lag_p99", ("pub_lag_p99<5ms was broken",)), side(*spread(40.0)), tolerance_percent=10)
    assert states(behind)["tx_rate"] == "not judged"
    slow = ("e2e_p99<5ms was broken", "900 of 1,000 records/s were sent")
    assert (
        states(compare(waited("e2e_p99", slow), side(*spread(40.0)), tolerance_percent=10))["tx_rate"] == "not judged"
    )
