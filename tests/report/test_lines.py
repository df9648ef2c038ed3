"""Lines join only what was varied."""

import dataclasses

import pytest

from hydra.report.contents import ReportContents, ReportPoint, collect
from hydra.report.lines import plot_lines
from hydra.report.plots import latency_figure, seed_figure
from tests.report.test_plots import valid
from tests.samples import run, sweep

GRID = [{"clients": clients, "msg_rate": float(rate)} for clients in (20, 10) for rate in (2000, 1000)]


def lines(changes, **given):
    found = plot_lines(collect([("", sweep(changes, **given))]).points)
    return found.varied, {name: len(points) for name, points in found.lines.items()}


@pytest.mark.parametrize(
    ("changes", "varied", "expected"),
    [
        (GRID, "msg_rate", {"client_count = 10": 2, "client_count = 20": 2}),
        (
            [{"linger_ms": linger, "msg_rate": rate} for linger in (0.0, 5.0) for rate in (10.0, 20.0)],
            "msg_rate",
            {"client_count = 1000, linger_ms = 0": 2, "client_count = 1000, linger_ms = 5": 2},
        ),
        ([{"linger_ms": linger} for linger in (0.0, 5.0, 20.0)], "linger_ms", {"client_count = 1000": 3}),
        (
            [{"linger_ms": 0.0, "fetch_min_bytes": 1}, {"linger_ms": 5.0, "fetch_min_bytes": 1000}],
            "msg_rate",
            {
                "client_count = 1000, linger_ms = 0, fetch_min_bytes = 1": 1,
                "client_count = 1000, linger_ms = 5, fetch_min_bytes = 1000": 1,
            },
        ),
        (
            [{"acks": acks, "linger_ms": linger} for acks in ("1", "all") for linger in (0.0, 5.0)],
            "linger_ms",
            {"client_count = 1000, acks = 1": 2, "client_count = 1000, acks = all": 2},
        ),
        ([{"compression": "lz4"}, {"compression": "none"}], "msg_rate", None),
    ],
)
def test_points_of_unlike_options_are_never_on_one_line(changes, varied, expected):
    found = lines(changes)
    assert found[0] == varied
    assert found[1] == expected or (expected is None and set(found[1].values()) == {1})


def test_results_of_two_files_and_runs_of_unlike_options_are_not_joined():
    saved = sweep(GRID)
    assert set(plot_lines(collect([("a", saved), ("b", saved)]).points).lines) == {
        f"client_count = {clients}, file = {name}" for clients in (10, 20) for name in "ab"
    }
    one = run()
    other = run(dataclasses.replace(one.order.options, msg_rate=5.0, acks="all"))
    points = [ReportPoint("", {}, (record,)) for record in (one, other)]
    assert [len(line) for line in plot_lines(points).lines.values()] == [1, 1]


def test_trials_of_a_search_that_repeat_a_value_are_one_symbol_with_a_bar():
    first = sweep([{"clients": 10, "msg_rate": 500.0}], of=lambda point, _: run(point.options, tx_rate=490.0)).points[0]
    second = sweep([{"clients": 10, "msg_rate": 500.0}], of=lambda point, _: run(point.options, lost=5)).points[0]
    points = [ReportPoint("", point.changes, point.runs) for point in (first, second)]
    (line,) = plot_lines(points).lines.values()
    assert [len(point.runs) for point in line] == [2]
    (trace,) = seed_figure(ReportContents("maxrate", tuple(points)), "average_rate")["data"]
    assert len(trace["x"]) == len(trace["error_y"]["array"]) == 1


def test_what_was_varied_is_the_axis():
    contents = collect([("", sweep([{"linger_ms": linger} for linger in (20.0, 0.0, 5.0)]))])
    for made in (seed_figure(contents, "average_rate"), latency_figure(contents)):
        assert valid(made).data[0]["x"] == (0, 5, 20)
        assert made["layout"]["xaxis"]["title"]["text"] == "linger_ms"


def test_no_points_have_no_lines():
    assert plot_lines(()).lines == {}


def test_a_threshold_of_all_points_is_a_line_in_the_plot_of_latencies():
    options = dataclasses.replace(run().order.options, threshold=("e2e_p99<50ms", "loss==0"))
    made = latency_figure(collect([("", sweep(GRID, options=options))]))
    (line,), (note,) = made["layout"]["shapes"], made["layout"]["annotations"]
    assert (line["y0"], line["y1"]) == (50, 50)
    assert note["y"] == pytest.approx(1.699, abs=0.001)
    assert note["text"] == "e2e_p99&lt;50ms"
