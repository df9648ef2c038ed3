"""Differences that count, and those that do not."""

import dataclasses

import pytest

from hydra.options.options import Options
from hydra.sweep.comparison import Compared, compare
from hydra.sweep.record import FoundAnswer
from hydra.sweep.search import Answer
from tests.samples import result, run

NAME = "clients=10"


def side(*p50s, **given):
    return {NAME: Compared(tuple(run(p50_ms=p50, **given) for p50 in p50s))}


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
    lossy = {NAME: Compared((run(made=result("fail", lost=1)),))}
    found = compare({NAME: Compared((run(made=result()),))}, lossy, tolerance_percent=1000)
    assert states(found)["loss"] == "worse"
    assert found.verdicts == ((NAME, "pass", "fail"),)
    assert f"{NAME}: pass -> fail" in found.regressions


def test_a_better_verdict_is_no_regression():
    lossy = {NAME: Compared((run(made=result("fail", lost=1)),))}
    found = compare(lossy, {NAME: Compared((run(made=result()),))}, tolerance_percent=10)
    assert found.verdicts == ((NAME, "fail", "pass"),)
    assert not found.regressions


def test_unlike_options_and_machines_are_said():
    other = dataclasses.replace(run(Options(total_sub_apps=1, linger_ms=20, output="x")), machine={"cpu_count": 8})
    found = compare(side(4.0), {NAME: Compared((other,))}, tolerance_percent=10)
    assert found.unlike == ("option linger_ms: 5 -> 20", "machine cpu_count: 2 -> 8")


def test_points_of_one_side_only_are_named():
    found = compare(
        {**side(4.0), "a": Compared((run(),))}, {**side(4.0), "b": Compared((run(),))}, tolerance_percent=10
    )
    assert (found.only_before, found.only_after) == (("a",), ("b",))


def test_a_side_without_a_result_has_a_verdict_and_no_figures():
    found = compare(side(4.0), {NAME: Compared((run(error="gone"),))}, tolerance_percent=10)
    assert found.verdicts == ((NAME, "pass", "error"),)
    assert found.differences == ()
    assert found.regressions


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (Answer(950, 1000, "broker", True, 9), "same"),
        (Answer(800, 850, "broker", True, 9), "worse"),
        (Answer(800, 850, "harness", True, 9), "noise"),
        (Answer(1200, 1300, "broker", True, 9), "better"),
        (Answer(None, 10, "broker", True, 9), "worse"),
    ],
)
def test_answers_of_searches(after, state):
    def found(answer):
        return (FoundAnswer("highest rate for 10 clients", "records/s", answer),)

    before = Answer(1000, 1040, "broker", True, 9)
    made = compare(side(4.0), side(4.0), tolerance_percent=10, answers=(found(before), found(after)))
    assert made.differences[-1].state == state
