"""Figures are valid for Plotly, and show the values of their points."""

import dataclasses
import itertools
import pkgutil

import pytest
from plotly.graph_objects import Figure

from hydra.accounting.evidence import Evidence
from hydra.accounting.latency import LatencyCounts, LatencySummary
from hydra.options.options import Options
from hydra.report.contents import collect
from hydra.report.plots import (
    COLOURS,
    COMMON_LAYOUT,
    MAX_LOSS_POINTS,
    SEED_PLOTS,
    latency_figure,
    log_axis,
    loss_figure,
    seed_figure,
    short_name,
    text,
    trace_style,
)
from hydra.report.run_plots import latency_heatmap, run_figures
from tests.samples import result, run, samples, sweep


def valid(figure):
    """Plotly's own check of every attribute, with the layout that page.js makes."""
    own = figure["layout"]
    axes = {axis: {**COMMON_LAYOUT[axis], **own.get(axis, {})} for axis in ("xaxis", "yaxis")}
    return Figure(data=figure["data"], layout={**COMMON_LAYOUT, **own, **axes})


def measured(**given):
    changes = [{"clients": c, "msg_rate": float(r)} for c, r in itertools.product((10, 20), (1000, 500, 2000))]
    return collect([("", sweep(changes, **given))])


@pytest.mark.parametrize("key", SEED_PLOTS)
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_trace_for_each_number_of_clients_and_its_points_by_rate(key, repeats):
    made = seed_figure(measured(repeats=repeats), key)
    assert len(valid(made).data) == 2
    for trace in made["data"]:
        assert trace["x"] == sorted(trace["x"]) == [500, 1000, 2000]
        assert len(trace["y"]) == len(trace["marker"]["symbol"]) == len(trace["customdata"]) == 3
        assert ("error_y" in trace) == (repeats > 1)


def test_x_and_y_of_a_point_stay_together_whatever_is_missing():
    """The original left a point without failing clients out of y and not out of x."""

    def of(point, _repeat):
        if point.options.msg_rate == 1000:
            return run(point.options, error="gone")
        lost = 10 if point.options.msg_rate == 2000 else 0
        return run(
            point.options,
            result(
                "fail" if lost else "pass", lost=lost, clients=point.options.client_count, rate=point.options.msg_rate
            ),
        )

    for trace in seed_figure(measured(of=of), "failing_clients_rate")["data"]:
        assert trace["x"] == [500, 2000]
        assert trace["y"] == [0, pytest.approx(1999)]
        assert [symbol.endswith("-open") for symbol in trace["marker"]["symbol"]] == [False, True]


def test_error_bars_reach_from_the_lowest_to_the_highest_repeat():
    def of(point, repeat):
        return run(
            point.options, result(clients=10, rate=point.options.msg_rate, tx_rate=100.0 + 10 * repeat, lost=repeat)
        )

    record = sweep([{"clients": 10}], repeats=3, of=of)
    (trace,) = seed_figure(collect([("", record)]), "average_rate")["data"]
    values = [1000 * (1 - lost / 10_000) for lost in range(3)]
    assert trace["y"] == [pytest.approx(sum(values) / 3)]
    assert trace["error_y"]["array"] == [pytest.approx(values[0] - sum(values) / 3)]
    assert trace["error_y"]["arrayminus"] == [pytest.approx(sum(values) / 3 - values[2])]


def test_all_figures_of_a_run_are_valid_and_nothing_is_a_number_that_json_has_not():
    for made in run_figures(run(Options(total_sub_apps=2)), columns=60).values():
        valid(made)
    assert valid(latency_figure(measured())).data
    assert loss_figure(measured()) is None


def test_loss_classes_are_bars():
    def of(point, _repeat):
        return run(point.options, result("fail", lost=3, clients=point.options.client_count))

    made = loss_figure(measured(of=of))
    assert [trace.name for trace in valid(made).data] == ["passed over"]
    assert made["data"][0]["y"][3] == "4: 20 x 1,000"
    assert list(made["data"][0]["x"]) == [30, 30, 30, 60, 60, 60]


def test_a_run_without_anything_has_no_figures():
    assert run_figures(run(error="gone"), columns=60) == {}
    bare = dataclasses.replace(result(), points=(), clients=())
    made = run_figures(dataclasses.replace(run(made=bare), evidence=Evidence()), columns=60)
    assert set(made) == {"percentiles"}


@pytest.mark.parametrize(("seconds", "columns"), [(10, 60), (60, 60), (61, 60), (600, 60), (1000, 600)])
def test_a_long_run_is_thinned_and_loses_no_record(seconds, columns):
    options = Options(total_sub_apps=1, test_duration=float(seconds), msg_rate=100.0)
    made = run_figures(run(options), columns=columns)
    x = made["rates"]["data"][0]["x"]
    assert len(x) <= columns
    assert x[-1] == seconds
    assert made["rates"]["data"][0]["y"] == pytest.approx([100] * len(x))
    heat = made["heatmap"]["data"][0]
    assert len(heat["x"]) <= columns + 1
    assert sum(count or 0 for row in heat["z"] for count in row) == 500 * seconds


def test_a_latency_heatmap_puts_each_delivery_in_its_second_and_its_latency():
    (one,) = samples(3, 4.0)
    spread = [
        dataclasses.replace(sample, e2e=LatencyCounts(8, (bucket,), (7,), 0))
        for sample, bucket in zip(one.samples, (0, 5, 1000), strict=True)
    ]
    found = latency_heatmap([dataclasses.replace(one, samples=tuple(spread))], 60)
    assert found.edges_s == (0, 1, 2, 3)
    assert sum(map(sum, found.counts)) == 21
    assert [sum(column) for column in zip(*found.counts, strict=True)] == [7, 7, 7]
    assert found.edges_ms[0] <= 0.1
    assert latency_heatmap([], 60) is None


@pytest.mark.parametrize(
    ("values", "ticks"), [([4, 5], None), ([1, 900], "D2"), ([7], "D2"), ([0.001, 500], 1), ([None, 0, 3, 4000], 1)]
)
def test_a_logarithmic_axis_has_as_many_ticks_as_there_is_room_for(values, ticks):
    assert log_axis("ms", [{"y": values}]).get("dtick") == ticks


def test_a_long_name_keeps_its_end_and_all_of_its_short_parts():
    name = "client_count = 10, linger_ms = 5, file = " + "x" * 100 + "-2.json"
    assert (
        short_name(name)
        == "client_count = 10, linger_ms = 5, file = xxxxxxxxxxxxx\N{HORIZONTAL ELLIPSIS}xxxxxxxx-2.json"
    )
    assert short_name("client_count = 10, linger_ms = 5") == "client_count = 10, linger_ms = 5"


def test_a_plot_of_very_many_losses_has_those_with_the_most():
    def of(point, _repeat):
        return run(point.options, result("fail", lost=point.number, clients=point.options.client_count))

    changes = [{"clients": 10, "msg_rate": float(rate)} for rate in range(1000, 1000 + 2 * MAX_LOSS_POINTS)]
    made = loss_figure(collect([("", sweep(changes, of=of))]))
    labels = made["data"][0]["y"]
    assert (len(labels), labels[0][:3], labels[-1][:3]) == (MAX_LOSS_POINTS, "41:", "80:")


def test_what_was_not_measured_is_not_drawn_at_zero():
    def of(point, _repeat):
        missing = 10 if point.options.msg_rate == 1000 else 0
        return run(point.options, result(clients=10, rate=point.options.msg_rate, missing=missing))

    made = collect([("", sweep([{"clients": 10, "msg_rate": rate} for rate in (1000.0, 2000.0)], of=of))])
    for key in SEED_PLOTS:
        assert seed_figure(made, key)["data"][0]["x"] == [2000]


def drawn(made):
    figures = run_figures(made, columns=60)
    return {name: [trace.get("name") for trace in figure["data"]] for name, figure in figures.items()}


def test_who_did_not_report_is_not_drawn_at_zero():
    whole = result()
    assert drawn(run(made=whole))["rates"] == ["sent", "acked", "delivered, mean of clients", "slowest client"]
    silent = dataclasses.replace(whole, totals=dataclasses.replace(whole.totals, records_planned=0))
    found = drawn(run(made=silent))
    assert found["rates"] == ["delivered, mean of clients", "slowest client"]
    assert "publisher" not in found["cpu"] + found["memory"]
    assert "backlog" not in found
    found = drawn(run(missing=10))
    assert found["rates"] == ["sent", "acked"]
    assert not {"all subscribers", "busiest subscriber"} & {*found["cpu"], *found["memory"]}


def test_a_client_that_received_nothing_has_no_latency():
    whole = result()
    first, *others = whole.clients
    made = dataclasses.replace(whole, clients=(dataclasses.replace(first, e2e=LatencySummary()), *others))
    (trace,) = run_figures(run(made=made), columns=60)["client_latency"]["data"]
    assert (trace["x"][0], len(trace["y"])) == (1, 9)
    assert min(trace["y"]) > 0


def test_text_is_escaped_for_plotly():
    assert text("<b>&'\"") == "&lt;b&gt;&amp;&#x27;&quot;"


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]


def grey(linear):
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("background", ["#ffffff", "#14181d"])
def test_every_colour_stands_out_from_both_papers(colour, background):
    assert f"--paper: {background};" in pkgutil.get_data("hydra.report", "page.css").decode()
    high, low = sorted((grey(luminance(colour)), grey(luminance(background))), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 3


# What is left of linear red, green and blue without one kind of cones (Machado, Oliveira and Fernandes, 2009).
BLINDNESS = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def lab(linear):
    """CIE L*a*b* of linear sRGB."""
    red, green, blue = (min(1.0, max(0.0, value)) for value in linear)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_the_first_four_colours_are_told_apart_by_colour_blind_readers(blindness):
    """The original's plots have four traces. A distance of 2.3 is just noticeable; shapes differ on top of it."""
    seen = []
    for colour in COLOURS[:4]:
        linear = luminance(colour)
        seen.append(
            lab(
                [sum(weight * value for weight, value in zip(row, linear, strict=True)) for row in BLINDNESS[blindness]]
            )
        )
    distances = {
        (one, other): sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
        for one, other in itertools.combinations(range(4), 2)
    }
    assert min(distances.values()) > 10, distances


def test_traces_differ_in_more_than_colour():
    styles = [trace_style(index) for index in range(50)]
    assert len({(style["line"]["color"], style["marker"]["symbol"], style["line"]["dash"]) for style in styles}) == 50
    assert len({style["marker"]["symbol"] for style in styles[:8]}) == 8
