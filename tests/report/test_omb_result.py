"""A result in the keys of the OpenMessaging Benchmark, read as a script that expects them reads it."""

import dataclasses
import json
import math

import pytest

from hydra.accounting.evidence import Evidence
from hydra.accounting.latency import SAMPLE_BITS, LatencyCounts, LatencyHistogram
from hydra.accounting.sample_latencies import coarser
from hydra.accounting.stats import HostTraffic, ProcessUsage, PublisherSample, PublisherStats
from hydra.codec import encode
from hydra.options.options import Options
from hydra.report.omb_result import omb_result
from tests.samples import run, samples

PERCENTS = ("Avg", "50pct", "75pct", "95pct", "99pct", "999pct", "9999pct", "99999pct", "Max")
LATENCIES = ("publishLatency", "publishDelayLatency", "endToEndLatency")
LISTS = {"publishRate", "publishErrorRate", "consumeRate", "backlog"} | {
    f"{name}{percent}" for name in LATENCIES for percent in PERCENTS
}
QUANTILES = {
    "aggregatedPublishLatencyQuantiles", "aggregatedPublishDelayLatencyQuantiles", "aggregatedEndToEndLatencyQuantiles",
}  # fmt: skip
DESCRIPTION = {
    "workload", "driver", "messageSize", "topics", "partitions", "producersPerTopic", "consumersPerTopic",
}  # fmt: skip


def histogram(*milliseconds):
    made = LatencyHistogram()
    for each in milliseconds:
        made.add(round(each * 1000))
    return made.fact()


def publisher(failed=0, lag=(), acks=()):
    coarse = LatencyHistogram(SAMPLE_BITS)
    for each in acks:
        coarse.add(round(each * 1000))
    samples = (PublisherSample(1.0, 5, 5, 0.1, 1, 0.0, ack=coarse.fact()),) if acks else ()
    if lag:
        samples += (PublisherSample(12.5, 10, 10, 0.1, 1, 0.0, lag=coarser(histogram(*lag), SAMPLE_BITS)),)
    return PublisherStats(
        "run", "pub", 10, 10, 10 - failed, failed, 0, 0, 10.0, 10.0, 0.0, histogram(*lag), (),
        ProcessUsage(1.0, 1, 1.0), HostTraffic(1.0, 1.0), samples, ack=histogram(*acks),
    )  # fmt: skip


@pytest.fixture
def record():
    def make(seconds=25, failed=0, lag=(0.2, 0.4), acks=(), e2e=(4.0,) * 99 + (40.0,)):
        (subscriber,) = samples(seconds, 4.0)
        subscribers = (dataclasses.replace(subscriber, e2e=histogram(*e2e) if e2e else LatencyCounts()),)
        made = run(Options(total_sub_apps=1, clients_per_app=2, msg_rate=500.0, test_duration=float(seconds)))
        return dataclasses.replace(
            made, evidence=Evidence(publisher=publisher(failed, lag, acks), subscribers=subscribers)
        )

    return make


def read(record, **given):
    return json.loads(encode(omb_result(record, **given)))


def test_every_key_that_scripts_of_theirs_read_is_there(record):
    found = read(record(), workload="a workload")
    aggregated = {f"aggregated{name[0].upper()}{name[1:]}{percent}" for name in LATENCIES for percent in PERCENTS}
    not_measured = {key for key in aggregated if key.startswith("aggregatedPublishLatency")}
    assert set(found) == DESCRIPTION | LISTS | QUANTILES | (aggregated - not_measured)
    assert (found["workload"], found["driver"]) == ("a workload", "Hydra wire -> wire")
    assert (found["messageSize"], found["topics"], found["consumersPerTopic"]) == (14, 1, 2)
    assert read(record())["workload"].startswith("2 clients")


def test_the_latency_of_acks_is_there_where_it_was_timed(record):
    found = read(record(acks=(3.0, 3.0, 30.0)))
    assert found["aggregatedPublishLatency50pct"] == pytest.approx(3, rel=0.01)
    assert found["aggregatedPublishLatencyMax"] == found["aggregatedPublishLatencyQuantiles"]["100.0"] == 30
    assert found["publishLatencyMax"] == [30, 0, 0]
    assert read(record())["publishLatencyMax"] == []


def test_a_value_stands_for_ten_seconds_and_the_last_one_for_the_rest(record):
    found = read(record(seconds=25))
    assert found["publishRate"] == [500, 500, 500]
    assert found["consumeRate"] == [1000, 1000, 1000]
    assert len(found["backlog"]) == len(found["endToEndLatency99pct"]) == len(found["publishDelayLatencyMax"]) == 3
    assert all(a < b < c for a, b, c in zip(*(found[f"endToEndLatency{p}pct"] for p in (50, 95, 99)), strict=True))
    assert found["endToEndLatency50pct"] == pytest.approx([4, 4, 4], rel=0.1)


@pytest.mark.parametrize(
    ("seconds", "duration_s", "rates"),
    [(25, 25.0, [500, 500, 500]), (20, 20.0, [500, 500]), (20, 19.5, [500, 500]), (3, 3.2, [500]), (1, 0.1, [500])],
)
@pytest.mark.parametrize("drained", [1, 12])
def test_the_seconds_after_the_last_record_have_no_rate(record, seconds, duration_s, rates, drained):
    made = record(seconds=seconds)
    options = dataclasses.replace(made.order.options, test_duration=duration_s)
    made = dataclasses.replace(made, order=dataclasses.replace(made.order, options=options))
    *points, last = made.result.points
    part = min(1.0, duration_s - len(points))  # of the last second of the plan
    points.append(dataclasses.replace(last, sent=round(500 * part), acked=round(500 * part), delivered=1000))
    points += [
        dataclasses.replace(last, at_s=float(seconds + more), sent=0, acked=0, delivered=3, backlog=7)
        for more in range(1, drained + 1)
    ]
    sender = dataclasses.replace(made.evidence.publisher, send_window_s=duration_s)
    evidence = dataclasses.replace(made.evidence, publisher=sender)
    result = dataclasses.replace(made.result, points=tuple(points))
    found = read(dataclasses.replace(made, result=result, evidence=evidence))
    assert found["publishRate"] == pytest.approx(rates, rel=0.001)
    assert len(found["consumeRate"]) == len(found["backlog"]) == len(found["endToEndLatency99pct"]) == len(rates)
    assert found["backlog"][-1] != 7


def test_units_are_theirs(record):
    found = read(record(lag=[0.2] * 99 + [3.0]))
    assert found["aggregatedEndToEndLatency50pct"] == pytest.approx(4, rel=0.01)  # ms
    assert found["aggregatedEndToEndLatencyMax"] == 40
    assert found["aggregatedEndToEndLatencyAvg"] == pytest.approx(4.36, rel=0.01)
    assert found["aggregatedPublishDelayLatency50pct"] == pytest.approx(200, rel=0.01)  # us
    assert found["aggregatedPublishDelayLatencyMax"] == 3000
    assert found["publishDelayLatencyMax"] == [0, 3000, 0]
    assert found["publishDelayLatency50pct"] == [0, pytest.approx(200, rel=0.04), 0]
    assert found["publishDelayLatencyAvg"][1] == pytest.approx(228, rel=0.04)
    assert all(isinstance(value, int) for value in found["publishDelayLatency99pct"])


def test_what_nobody_measured_is_no_zero(record):
    found = read(record(e2e=(), lag=()))
    assert found["publishLatency99pct"] == found["publishDelayLatency99pct"] == found["publishDelayLatencyMax"] == []
    assert found["aggregatedEndToEndLatencyQuantiles"] == found["aggregatedPublishLatencyQuantiles"] == {}
    assert not {key for key in found if key.startswith("aggregated") and not key.endswith("Quantiles")}


def test_refused_records_are_errors(record):
    assert read(record(failed=5))["publishErrorRate"] == [0.2, 0.2, 0.2]


def test_a_run_without_a_result_has_its_description(record):
    found = read(run(error="no broker"))
    assert found["publishRate"] == found["endToEndLatency99pct"] == []
    assert set(found) >= DESCRIPTION | LISTS | QUANTILES


def test_a_script_that_draws_what_there_is_draws_it(record):
    """Series of (seconds, value), their highest value, and quantiles on an axis of nines, as their charts have.

    OMB's own create_charts.py ends at the first list that is empty.
    """
    found = read(record(acks=(3.0, 3.0, 30.0)))
    for key in sorted(LISTS):
        series = [(10 * number, value) for number, value in enumerate(found[key])]
        assert max(value for _, value in series) * 1.2 >= 0
    for key in QUANTILES:
        curve = sorted((float(percent), value) for percent, value in found[key].items())
        points = [(math.log10(100 / (100 - percent)), value) for percent, value in curve if percent <= 99.999]
        assert len(points) > 15
        assert [value for _, value in points] == sorted(value for _, value in points)
        assert points[0][1] > 0
