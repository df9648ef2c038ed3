"""Figures and words of comparisons and trends: valid for Plotly, and of what was judged."""

import dataclasses
import random

import pytest

from hydra.report.comparison_page import compared_part
from hydra.report.comparison_plots import MAX_FIGURE_ROWS, comparison_figures, series_figure
from hydra.report.comparison_text import trend_judgement
from hydra.report.contents import collect
from hydra.report.summary import overall_verdict, summary_lines
from hydra.sweep.comparison import Comparison
from hydra.sweep.metric_change import MetricChange
from hydra.sweep.trend import Change, Series
from tests.report.test_plots import valid
from tests.samples import run, sweep

SHOWN = MetricChange(
    "clients=10 msg_rate=500", "e2e_p99", "ms", 10.0, 14.0, (9, 9), "worse", p=0.001, interval=(3.0, 5.0)
)
LEVEL = dataclasses.replace(
    SHOWN, metric="e2e_p50", after=10.0, state="no difference shown", interval=(-0.5, 0.5), smallest=1.5
)


def comparison(*differences):
    return Comparison(differences, (), (), (), ())


def drawn(*differences):
    return comparison_figures(comparison(*differences), tolerance_percent=10, prefix="x")


def trace(figure, name):
    return next(each for each in figure["data"] if each["name"] == name)


def test_a_difference_is_drawn_with_its_interval_and_what_could_not_have_been_shown_as_a_band():
    (figure,) = drawn(SHOWN, LEVEL).values()
    valid(figure)
    worse = trace(figure, "worse")
    assert (worse["x"], worse["y"]) == ([40.0], ["e2e_p99"])
    assert (worse["error_x"]["array"], worse["error_x"]["arrayminus"]) == ([10.0], [10.0])
    assert trace(figure, "would not have been shown")["x"] == [-15.0, 15.0, None]
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [0.0, -10, 10]


def test_several_points_have_a_plot_for_each_metric_and_short_names():
    other = dataclasses.replace(SHOWN, point="clients=50 msg_rate=500 linger_ms=5", state="better")
    figures = drawn(SHOWN, LEVEL, other)
    assert list(figures) == ["x_e2e_p99", "x_e2e_p50"]
    assert figures["x_e2e_p99"]["layout"]["yaxis"]["categoryarray"] == ["10 x 500", "50 x 500 linger_ms=5"]


@pytest.mark.parametrize(
    "changed", [{"after": None}, {"before": 0.0}, {"metric": "loss", "before": 0.0, "after": 0.0}], ids=str
)
def test_what_has_no_share_is_in_the_table_alone(changed):
    item = dataclasses.replace(SHOWN, **changed)
    assert drawn(item) == {}
    assert len(compared_part(comparison(item), tolerance_percent=10, name="x", heading="").rows) == 1


def test_of_many_points_those_with_a_difference_are_drawn():
    level = [dataclasses.replace(LEVEL, metric="e2e_p99", point=f"clients={n}") for n in range(MAX_FIGURE_ROWS)]
    (figure,) = drawn(*level, dataclasses.replace(SHOWN, point="clients=9999")).values()
    assert "clients=9999" in figure["layout"]["yaxis"]["categoryarray"]
    assert len(figure["layout"]["yaxis"]["categoryarray"]) == MAX_FIGURE_ROWS
    assert f"{MAX_FIGURE_ROWS} of {MAX_FIGURE_ROWS + 1} points" in figure["layout"]["title"]["text"]


def series(*changes):
    times = tuple(f"2026-11-0{day}T03:00:00.000+00:00" for day in range(1, 7))
    values = (10.0, 10.0, 10.0, 14.0, 14.0, 14.0)
    return Series("clients=10", "e2e_p99", "ms", times, values, changes, tuple((v - 1, v + 1) for v in values))


WORSE = Change("2026-11-04T03:00:00.000+00:00", 10.0, 14.0, "worse", (3.0, 5.0))


def test_a_change_is_marked_where_it_is_with_the_interval_of_what_came_after():
    figure = series_figure(series(WORSE), with_point=True)
    valid(figure)
    line, band = figure["layout"]["shapes"]
    assert (line["x0"], line["x1"]) == ("2026-11-04T03:00:00", "2026-11-04T03:00:00")
    assert (band["y0"], band["y1"], band["x1"]) == (13.0, 15.0, "2026-11-06T03:00:00")
    assert figure["layout"]["annotations"][0]["text"] == "worse, +40.0 %"
    assert trace(figure, "median between changes")["y"] == [10, 10, None, 14, 14, None]
    assert trace(figure, "median of the runs")["error_y"]["array"] == [1] * 6


def test_a_series_without_changes_is_its_values():
    figure = series_figure(series(), with_point=False)
    assert [each["name"] for each in valid(figure).data and figure["data"]] == ["median of the runs"]
    assert figure["layout"]["shapes"] == figure["layout"]["annotations"] == []


def test_what_was_mended_is_no_failure():
    better = Change("2026-11-05T03:00:00.000+00:00", 14.0, 10.0, "better")
    assert trend_judgement([series(WORSE, better)])[0] == "pass"
    verdict, lines = trend_judgement([series(), series(WORSE)])
    assert (verdict, len(lines)) == ("fail", 1)
    assert "WORSE since 2026-11-04: clients=10: e2e_p99" in lines[0]


@pytest.mark.parametrize(
    ("p50_ms", "verdict", "line"),
    [
        ({"A": 10, "B": 15, "A again": 10}, "fail", "B is WORSE than A: e2e_p50, e2e_p99, e2e_p999"),
        ({"A": 10, "B": 10, "A again": 10}, "pass", "B is not shown to be worse than A by more than 10 %"),
        ({"A": 10, "B": 15, "A again": 15}, "indeterminate", "NO ANSWER: A differs from A in"),
    ],
)
def test_the_report_of_two_settings_says_what_was_judged(p50_ms, verdict, line):
    made = sweep([{"clients": number} for number in (10, 20, 30)], kind="ab", repeats=6)
    plan = dataclasses.replace(made.plan, tolerance_percent=10.0)
    chance = random.Random(1)
    points = tuple(
        dataclasses.replace(
            point, changes={"side": side}, runs=tuple(run(p50_ms=middle * chance.uniform(0.99, 1.01)) for _ in range(6))
        )
        for point, (side, middle) in zip(made.points, p50_ms.items(), strict=True)
    )
    contents = collect([("", dataclasses.replace(made, plan=plan, points=points))])
    assert overall_verdict(contents) == verdict
    assert summary_lines(contents)[0].startswith(line)
