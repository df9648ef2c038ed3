"""Differences that count, and those that do not."""

import dataclasses

import pytest

from hydra.options.options import Options
from hydra.sweep.comparison import compare, points_by_name
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


def test_nothing_differs():
    found = compare(side(4.0), side(4.0), tolerance_percent=10)
    assert set(states(found).values()) == {"same"}
    assert not found.regressions
    assert not found.unlike


def test_a_slower_side_is_worse_and_the_other_way_round_it_is_better():
    slower = compare(side(4.0), side(8.0), tolerance_percent=10)
    assert states(slower)["e2e_p99"] == "worse"
    assert states(slower)["rx_rate"] == "same"
    assert any("e2e_p99 8 -> 16 ms" in text for text in slower.regressions)
    faster = compare(side(8.0), side(4.0), tolerance_percent=10)
    assert states(faster)["e2e_p99"] == "better"
    assert not faster.regressions


def test_the_tolerance_is_a_share_of_the_first_side():
    assert states(compare(side(100.0), side(109.0), tolerance_percent=10))["e2e_p50"] == "same"
    assert states(compare(side(100.0), side(111.0), tolerance_percent=10))["e2e_p50"] == "worse"
    assert states(compare(side(100.0), side(111.0), tolerance_percent=20))["e2e_p50"] == "same"


def test_less_than_a_millisecond_is_chance():
    assert states(compare(side(0.4), side(0.9), tolerance_percent=10))["e2e_p50"] == "same"


def test_repeats_that_overlap_are_noise_and_repeats_that_do_not_are_a_difference():
    noisy = compare(side(10.0, 30.0), side(20.0, 40.0), tolerance_percent=10)
    assert states(noisy)["e2e_p50"] == "noise"
    assert not noisy.regressions
    clear = compare(side(10.0, 12.0), side(20.0, 22.0), tolerance_percent=10)
    assert states(clear)["e2e_p50"] == "worse"
    assert next(item.noise for item in clear.differences if item.metric == "e2e_p50") == pytest.approx(4.0)
    assert next(item.noise for item in compare(side(1.0), side(1.0), tolerance_percent=1).differences) is None


def test_any_loss_where_there_was_none_is_worse():
    found = compare(lossy(0), lossy(1), tolerance_percent=1000)
    assert states(found)["loss"] == states(found)["failing_clients"] == "worse"
    assert found.verdicts == ((NAME, "pass", "fail"),)
    assert f"{NAME}: pass -> fail" in found.regressions


@pytest.mark.parametrize(("before", "after"), [((0, 0), (0, 1)), ((0, 0, 0), (0, 0, 1)), ((0,), (0, 3))])
def test_new_loss_is_worse_although_the_repeats_overlap(before, after):
    found = compare(lossy(*before), lossy(*after), tolerance_percent=1000)
    assert states(found)["loss"] == states(found)["failing_clients"] == "worse"
    assert any("clients=10: loss 0 -> " in text for text in found.regressions)


def test_more_loss_than_before_is_noise_if_the_repeats_overlap():
    found = compare(lossy(0, 2), lossy(1, 4), tolerance_percent=10)
    assert states(found)["loss"] == "noise"
    assert states(compare(lossy(1, 2), lossy(0, 0), tolerance_percent=10))["loss"] == "better"


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


def test_points_of_one_side_only_are_named():
    found = compare(
        sweep([{"clients": 10}, {"clients": 20}]), sweep([{"clients": 10}, {"clients": 30}]), tolerance_percent=10
    )
    assert (found.only_before, found.only_after) == (("clients=20",), ("clients=30",))


def test_a_side_without_a_result_has_a_verdict_and_no_figures():
    found = compare(side(4.0), point(run(error="gone")), tolerance_percent=10)
    assert found.verdicts == ((NAME, "pass", "error"),)
    assert found.differences == ()
    assert found.regressions


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (SearchAnswer(950, 1000, "broker", True, 9), "same"),
        (SearchAnswer(800, 850, "broker", True, 9), "worse"),
        (SearchAnswer(800, 850, "harness", True, 9), "noise"),
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
