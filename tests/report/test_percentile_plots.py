"""Percentile curves: which lines, up to where, and what is beside them."""

import dataclasses
import itertools

import pytest

from hydra.accounting.latency import LatencySummary
from hydra.accounting.percentile_curve import LatencyCurves
from hydra.accounting.totals import ThresholdOutcome
from hydra.report.contents import collect
from hydra.report.percentile_plots import MAX_CURVES, percent_of, point_curves, run_curves, step_of
from tests.report.test_plots import valid
from tests.samples import curve, latencies, result, run, sweep


def names(figure):
    return [trace["name"] for trace in figure["data"]]


def test_a_line_for_each_latency_that_was_measured_and_a_star_for_its_highest():
    made = result(rate=1000.0, clients=20)  # 10,000 records, 200,000 deliveries
    figure = run_curves(made)
    valid(figure)
    assert names(figure) == [
        "end to end", "service", "publisher behind its plan", "highest of all",
    ]  # fmt: skip
    e2e, _, lag, highest = figure["data"]
    assert (e2e["x"][0], e2e["x"][-1], lag["x"][-1]) == (1, 20_000, 1000)
    assert highest["x"] == [200_000, 200_000]
    assert [trace.get("visible") for trace in figure["data"]] == [None, None, "legendonly", None]
    assert highest["y"][0] == made.latency.e2e.max_ms


def test_unpaced_readers_and_acks_are_lines_of_their_own():
    made = result()
    latency = dataclasses.replace(
        made.latency,
        service=LatencySummary(),
        unpaced=latencies(2.0, 500),
        ack=latencies(1.0, 800),
        curves=LatencyCurves(e2e=made.latency.curves.e2e, unpaced=curve(2.0, 500), ack=curve(1.0, 800)),
    )
    figure = run_curves(dataclasses.replace(made, latency=latency))
    assert names(figure)[:3] == ["end to end", "unpaced readers", "ack latency"]
    assert figure["data"][1]["x"][-1] == 50


def test_nothing_measured_has_no_figure_and_a_handful_has_no_line():
    made = result()
    none = dataclasses.replace(
        made.latency, e2e=LatencySummary(), service=LatencySummary(), publisher_lag=LatencySummary()
    )
    assert run_curves(dataclasses.replace(made, latency=none)) is None
    few = dataclasses.replace(none, e2e=latencies(4.0, 9), curves=LatencyCurves())
    assert names(run_curves(dataclasses.replace(made, latency=few))) == ["highest of all"]


def test_ticks_are_the_median_and_each_number_of_nines():
    axis = run_curves(result(rate=1000.0))["layout"]["xaxis"]
    assert axis["tickvals"] == [2, 10, 100, 1000, 10_000, 100_000]
    assert axis["ticktext"] == ["50", "90", "99", "99.9", "99.99", "99.999"]


@pytest.mark.parametrize(
    ("step", "percent"), [(1, 0), (1.6, 37.5), (2, 50), (8, 87.5), (1000, 99.9), (6300, 99.98413), (10**9, 99.9999999)]
)
def test_a_percentile_has_as_many_digits_as_tell_it_from_its_neighbours(step, percent):
    assert percent_of(step) == percent


@pytest.mark.parametrize(("percent", "step"), [(50.0, 2), (90.0, 10), (99.0, 100), (99.9, 1000), (99.99, 10_000)])
def test_a_percentile_is_at_its_step(percent, step):
    assert step_of(percent) == step


def test_thresholds_are_at_their_percentile_and_their_limit():
    def outcome(metric, limit):
        return ThresholdOutcome(f"{metric}<{limit}ms", metric, 8.0, limit, "ms", kept=True)

    given = [("e2e_p99", 50.0), ("e2e_max", 99.0), ("pub_lag_p99", 9.0), ("loss", 0.0), ("worst_client_p99", 1.0)]
    made = dataclasses.replace(result(), thresholds=tuple(itertools.starmap(outcome, given)))
    figure = run_curves(made)
    valid(figure)
    assert all("visible" not in trace for trace in figure["data"])  # what has a threshold is shown
    limits = figure["data"][-1]
    assert limits["name"] == "threshold"
    assert list(zip(limits["x"], limits["y"], strict=True)) == [(100, 50), (100_000, 99), (100, 9)]
    assert limits["customdata"][0] == "e2e_p99&lt;50.0ms kept: it was 8 ms"


def test_each_point_has_a_line_of_its_own_and_very_many_have_none():
    def curves(count):
        points = [{"clients": 10 * number, "msg_rate": 1000.0} for number in range(1, count + 1)]
        return point_curves(collect([("<b>", sweep(points))]))

    figure = curves(3)
    valid(figure)
    assert names(figure) == [
        *(f"{number}: {10 * number} clients, 1,000 records/s" for number in (1, 2, 3)), "highest of all",
    ]  # fmt: skip
    assert curves(1) is None
    assert curves(MAX_CURVES + 1) is None


def test_names_are_escaped_for_plotly():
    figure = point_curves(collect([("<b>a", run()), ("<b>b", run())]))
    assert all("<" not in name for name in names(figure))


def test_a_file_with_fewer_values_than_steps_is_drawn_as_far_as_it_goes():
    made = result()
    latency = dataclasses.replace(made.latency, curves=LatencyCurves(e2e=(1.0, 2.0)))
    assert run_curves(dataclasses.replace(made, latency=latency))["data"][0]["x"] == [1, 1.25]
