"""Thresholds as users write them, and the metrics that they are set on."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.accounting.latency import LatencySummary
from hydra.accounting.totals import ThresholdOutcome, Totals, judge_thresholds, metric_value
from hydra.options.options import Options
from hydra.options.thresholds import METRICS, Threshold, parse_threshold
from tests.facts import NO_LATENCY, NO_TOTALS

MEASURED = dataclasses.replace(NO_TOTALS, records_planned=1, clients_reporting=1, clients_expecting=1)
"""Publisher and a client reported, and nothing else is known."""

COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


@pytest.mark.parametrize(
    ("text", "metric", "compare", "limit"),
    [
        ("e2e_p99<50ms", "e2e_p99", "<", 50.0),
        ("e2e_p99<=50ms", "e2e_p99", "<=", 50.0),
        ("e2e_p99 < 0.05s", "e2e_p99", "<", 50.0),
        ("e2e_p99<50000us", "e2e_p99", "<", 50.0),
        ("  E2E_P99  <  5e1 ms ", "e2e_p99", "<", 50.0),
        ("e2e_p9999>.5s", "e2e_p9999", ">", 500.0),
        ("service_max!=1.ms", "service_max", "!=", 1.0),
        ("loss==0", "loss", "==", 0.0),
        ("loss_percent<0.1%", "loss_percent", "<", 0.1),
        ("loss_percent<0.1", "loss_percent", "<", 0.1),
        ("pub_cpu<=80 %", "pub_cpu", "<=", 80.0),
        ("tx_rate>=1e6", "tx_rate", ">=", 1e6),
        ("failing_clients==0", "failing_clients", "==", 0.0),
    ],
)
def test_forms(text, metric, compare, limit):
    found = parse_threshold(text)
    assert (found.metric, found.compare, found.of_asked) == (metric, compare, False)
    assert found.limit == pytest.approx(limit)


@pytest.mark.parametrize("text", ["e2e_p99<1e999ms", "e2e_p99<1e308s", "tx_rate>=1e999*asked", "loss==1e19"])
def test_a_number_that_could_not_be_read_again_is_refused(text):
    with pytest.raises(ValueError, match=r"has a number above 1e\+18"):
        parse_threshold(text)


@pytest.mark.parametrize("text", ["tx_rate>=0.95*asked", "rx_rate >= 0.95 * asked", "TX_RATE>=.95* asked"])
def test_rates_may_be_a_share_of_what_was_asked(text):
    found = parse_threshold(text)
    assert (found.limit, found.of_asked, found.compare) == (0.95, True, ">=")


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "e2e_p99", "e2e_p99<", "<50ms", "50ms", "e2e_p99<50ms<60ms", "e2e_p99=50ms", "e2e_p99=<50ms",
        "e2e_p99<-5ms", "e2e_p99<fast", "e2e_p99<nan", "e2e_p99<inf", "e2e_p99<1e9999ms", "e2e_p99<50 minutes",
        "e2e-p99<50ms", "e2e_p99<50ms; loss==0", "e2e_p99<５０ms", "tx_rate>=0.95asked", "tx_rate>=asked",
        "e2e_p99<50ms\x1b[2J",
    ],
)  # fmt: skip
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError, match="must be a metric, a comparison and a number, such as"):
        parse_threshold(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("e2e_p98<5ms", "names no metric: did you mean e2e_p9"),
        ("los==0", "names no metric: did you mean loss?"),
        ("latency<5ms", "names no metric: "),
        ("zzzzzzzz<5", "names no metric: there are loss, loss_percent, "),
        ("e2e_p99<50", "needs a unit: e2e_p99 is a time, in us, ms or s"),
        ("e2e_p99<50%", "needs a unit: e2e_p99 is a time"),
        ("loss==0ms", "has the wrong unit: loss is in deliveries"),
        ("loss==0%", "has the wrong unit: loss is in deliveries"),
        ("tx_rate>5s", "has the wrong unit: tx_rate is in records/s"),
        ("pub_cpu<5ms", "has the wrong unit: pub_cpu is in %"),
        ("loss<0.1*asked", "compares loss with a rate: only tx_rate and rx_rate can be of what was asked"),
        ("e2e_p99<2*asked", "compares e2e_p99 with a rate"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(text, words):
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        parse_threshold(text)


@given(
    st.sampled_from(list(METRICS)),
    st.sampled_from(COMPARISONS),
    st.one_of(st.integers(0, 10**9).map(float), st.floats(0, 1e6).map(lambda number: round(number, 3))),
    st.booleans(),
)
def test_a_threshold_is_printed_as_it_can_be_written(metric, compare, limit, of_asked):
    threshold = Threshold(metric, compare, limit, of_asked and metric in {"tx_rate", "rx_rate"})
    assert parse_threshold(str(threshold)) == threshold


@pytest.mark.parametrize(
    ("compare", "below", "at", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("==", False, True, False),
        ("!=", True, False, True),
    ],
)
def test_comparisons(compare, below, at, above):
    kept = [
        judge_thresholds(
            Options(threshold=(f"tx_rate{compare}100",)),
            dataclasses.replace(MEASURED, tx_rate_per_s=value),
            NO_LATENCY,
        )[0].kept
        for value in (99.5, 100.0, 100.5)
    ]
    assert kept == [below, at, above]


def test_an_outcome_says_what_was_and_what_had_to_be():
    totals = dataclasses.replace(MEASURED, tx_rate_per_s=940.0)
    latency = dataclasses.replace(NO_LATENCY, e2e=LatencySummary(1, p99_ms=12.5))
    asked = Options(threshold=("tx_rate >= .95 * asked", "E2E_P99<0.05s"), msg_rate=1000.0)
    outcomes = judge_thresholds(asked, totals, latency)
    assert outcomes == (
        ThresholdOutcome("tx_rate>=0.95*asked", "tx_rate", 940.0, 950.0, "records/s", kept=False),
        ThresholdOutcome("e2e_p99<50ms", "e2e_p99", 12.5, 50.0, "ms", kept=True),
    )
    assert judge_thresholds(Options(), totals, latency) == ()


FIELDS = {
    "loss_percent": "mean_loss_percent",
    "expired": "records_expired",
    "unread": "records_unread",
    "duplicates": "records_duplicated",
    "reordered": "records_reordered",
    "tx_rate": "tx_rate_per_s",
    "rx_rate": "mean_rx_rate_per_s",
    "pub_cpu": "publisher_cpu_percent",
    "sub_cpu_max": "subscriber_cpu_percent_max",
    "fetch_rate": "fetches_per_s",
}


@pytest.mark.parametrize(("name", "field"), FIELDS.items())
def test_metrics_of_figures(name, field):
    assert metric_value(name, dataclasses.replace(MEASURED, **{field: 7}), NO_LATENCY) == 7
    others = {item.name: 9 for item in dataclasses.fields(Totals) if item.name != field}
    assert metric_value(name, dataclasses.replace(NO_TOTALS, **others), NO_LATENCY) == 0


def test_loss_is_proven_loss_and_failing_clients_are_all_that_are_not_well():
    totals = dataclasses.replace(
        MEASURED,
        records_lost=10,
        records_unread=3,
        clients_failing=1,
        clients_missing=20,
        clients_never_started=300,
    )
    assert metric_value("loss", totals, NO_LATENCY) == 7
    assert metric_value("failing_clients", totals, NO_LATENCY) == 321


@pytest.mark.parametrize("source", ["e2e", "service", "ack"])
def test_metrics_of_latencies(source):
    summary = LatencySummary(1, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, mean_ms=0.5)
    latency = dataclasses.replace(NO_LATENCY, **{source: summary})
    names = [f"{source}_{name}" for name in ("mean", "p50", "p90", "p99", "p999", "p9999", "max")]
    assert [metric_value(name, NO_TOTALS, latency) for name in names] == [0.5, 1, 2, 3, 4, 5, 6]
    assert all(metric_value(name, MEASURED, NO_LATENCY) is None for name in names)


def test_a_result_from_before_there_were_means_has_none():
    latency = dataclasses.replace(NO_LATENCY, e2e=LatencySummary(1, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    assert metric_value("e2e_mean", NO_TOTALS, latency) is None
    assert metric_value("e2e_p50", NO_TOTALS, latency) == 1


def test_metrics_of_the_worst_client_and_of_the_publishers_lag():
    lag = LatencySummary(1, p99_ms=3.0, max_ms=9.0)
    latency = dataclasses.replace(NO_LATENCY, e2e=LatencySummary(1), client_p99_max_ms=44.0, publisher_lag=lag)
    found = {
        name: metric_value(name, NO_TOTALS, latency) for name in ("worst_client_p99", "pub_lag_p99", "pub_lag_max")
    }
    assert found == {"worst_client_p99": 44.0, "pub_lag_p99": 3.0, "pub_lag_max": 9.0}


def test_every_metric_is_tested_and_explained():
    latencies = {
        f"{name}_{point}"
        for name in ("e2e", "service", "unpaced", "ack")
        for point in ("mean", "p50", "p90", "p99", "p999", "p9999", "max")
    }
    others = {"loss", "failing_clients", "worst_client_p99", "pub_lag_p99", "pub_lag_max"}
    assert set(METRICS) == set(FIELDS) | latencies | others
    assert all(metric.text and metric.unit for metric in METRICS.values())


OF_CLIENTS = {
    "loss",
    "loss_percent",
    "expired",
    "unread",
    "duplicates",
    "reordered",
    "rx_rate",
    "sub_cpu_max",
    "fetch_rate",
}
OF_PUBLISHER = {"tx_rate", "pub_cpu"}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("compare", COMPARISONS)
def test_what_nobody_measured_is_neither_kept_nor_broken(metric, compare):
    unit = METRICS[metric].unit if METRICS[metric].unit == "ms" else ""
    asked = Options(threshold=(f"{metric}{compare}0{unit}",))
    (outcome,) = judge_thresholds(asked, NO_TOTALS, NO_LATENCY)
    if metric == "failing_clients":
        assert outcome.kept is not None
        return
    assert (outcome.value, outcome.kept, outcome.broken) == (None, None, False)
    assert (outcome.state, outcome.shown) == ("not judged", "not measured")
    without_clients = dataclasses.replace(NO_TOTALS, records_planned=1)
    without_publisher = dataclasses.replace(NO_TOTALS, clients_reporting=1, clients_expecting=1)
    measured = [
        judge_thresholds(asked, totals, NO_LATENCY)[0].kept is not None
        for totals in (without_clients, without_publisher)
    ]
    assert measured == [metric in OF_PUBLISHER, metric in OF_CLIENTS]
