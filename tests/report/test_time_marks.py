"""What is marked on the time axis, and thresholds as lines and as a table."""

import dataclasses

import pytest

from hydra.accounting.broker_inside import BrokerInside, BrokerProcess, GcPause
from hydra.accounting.evidence import RunEvent
from hydra.accounting.totals import ThresholdOutcome
from hydra.options.options import Options
from hydra.report.contents import collect
from hydra.report.page import page
from hydra.report.run_plots import OVER_TIME, run_figures
from hydra.report.time_marks import time_marks
from tests.report.test_plots import valid
from tests.samples import run, sweep


def eventful(options=None):
    """A run in which a task died after 2.5 s, partitions moved in its 4th second, and the collector paused."""
    made = run(options or Options(total_sub_apps=1))
    (subscriber,) = made.evidence.subscribers
    samples = tuple(
        dataclasses.replace(sample, rebalances=0 if number < 3 else 7)
        for number, sample in enumerate(subscriber.samples)
    )
    process = BrokerProcess("broker 1", 9.0, 40, 2.0, 0.1, 0.0, long_pauses=(GcPause(1.5, 12.0), GcPause(6.0, 3.0)))
    evidence = dataclasses.replace(
        made.evidence,
        subscribers=(dataclasses.replace(subscriber, samples=samples),),
        events=(RunEvent(2.5, "kafka-sub.1 is missing: <b>its process ended</b>"),),
        inside=BrokerInside((process,)),
    )
    return dataclasses.replace(made, evidence=evidence)


def test_what_was_told_and_rebalances_are_marks_in_the_order_of_time():
    first, second = time_marks(eventful().evidence)
    assert (first.at_s, second.at_s) == (2.5, 4.0)
    assert "its process ended" in first.text
    assert second.text == "rebalance: partitions were taken away from 7 clients"


def test_they_are_lines_in_every_plot_over_time_and_pauses_are_symbols_among_the_latencies():
    figures = run_figures(eventful(), columns=60)
    for name, made in figures.items():
        valid(made)
        at = [shape["x0"] for shape in made["layout"].get("shapes", ())]
        assert at == ([2.5, 4.0] if name in OVER_TIME else [])
    note = figures["rates"]["layout"]["annotations"][0]
    assert note["hovertext"] == "2.5 s: kafka-sub.1 is missing: &lt;b&gt;its process ended&lt;/b&gt;"
    pauses = figures["percentiles_over_time"]["data"][-1]
    assert (pauses["name"], pauses["x"], pauses["y"]) == ("GC pause of a broker", [1.5, 6.0], [12.0, 3.0])


def outcome(text, metric, value, limit, kept):
    return ThresholdOutcome(text, metric, value, limit, "ms", kept)


OUTCOMES = (
    outcome("e2e_p99<50ms", "e2e_p99", 12.0, 50.0, kept=True),
    outcome("tx_rate>=0.95*asked", "tx_rate", 900.0, 950.0, kept=False),
    outcome("unpaced_p99<5ms", "unpaced_p99", None, 5.0, kept=None),
)


def judged():
    options = Options(total_sub_apps=1, threshold=tuple(item.threshold for item in OUTCOMES))
    made = eventful(options)
    return dataclasses.replace(made, result=dataclasses.replace(made.result, thresholds=OUTCOMES))


@pytest.mark.parametrize(
    ("name", "heights"),
    [
        ("percentiles_over_time", [50.0]),
        ("heatmap", [50.0]),
        ("rates", [950.0]),
        ("client_latency", [50.0]),
        ("cpu", []),
    ],
)
def test_thresholds_are_lines_in_the_plots_of_their_metric(name, heights):
    made = run_figures(judged(), columns=60)[name]
    valid(made)
    assert [shape["y0"] for shape in made["layout"].get("shapes", ()) if shape.get("xref") == "paper"] == heights


def test_thresholds_and_what_happened_are_tables_of_the_page():
    text = page(collect([("", judged())]))
    cells = [
        'tx_rate&gt;=0.95*asked</td><td>900 ms</td><td class="fail">broken',
        'class="indeterminate">not judged',
        'e2e_p99&lt;50ms</td><td>12 ms</td><td class="pass">kept',
    ]
    places = [text.index(cell) for cell in cells]
    assert places == sorted(places)
    assert '<td class="number">2.5</td><td class="long">kafka-sub.1 is missing: &lt;b&gt;' in text


def test_of_repeats_the_table_says_how_many_kept_it():
    options = Options(total_sub_apps=1, threshold=("e2e_p99<50ms",))

    def of(point, repeat):
        made = run(point.options)
        kept = outcome("e2e_p99<50ms", "e2e_p99", 40.0 + 20 * repeat, 50.0, kept=not repeat)
        return dataclasses.replace(made, result=dataclasses.replace(made.result, thresholds=(kept,)))

    text = page(collect([("", sweep([{"clients": 10}], repeats=2, of=of, options=options))]))
    assert '<td>40 ms to 60 ms</td><td class="fail">kept in 1 of 2, broken in 1 of 2</td>' in text
