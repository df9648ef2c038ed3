"""A result as text."""

import ast
import dataclasses

import pytest

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.latency import LatencySummary
from hydra.accounting.metrics import ThresholdOutcome
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.report.text import (
    LATENCY_COLUMNS,
    MEANINGS,
    failure_lines,
    headline,
    key_rows,
    latency_rows,
    limit_lines,
    milliseconds,
    number,
    res_line,
    verdict_lines,
)
from hydra.run.record import RunRecord
from tests.facts import NO_LATENCY, NO_TOTALS, made_result


def result(verdict="pass", reasons=("all is well",), notes=(), **figures):
    return made_result(verdict, reasons, notes, dataclasses.replace(NO_TOTALS, **figures))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0.0"),
        (7, "7"),
        (1234567, "1,234,567"),
        (1234567.891, "1,234,567.9"),
        (12.34, "12.3"),
        (0.1, "0.1"),
        (0.05, "0.05"),
        (0.00012345, "0.000123"),
        (-0.00012345, "-0.000123"),
        (-5.25, "-5.2"),
        (100.0, "100.0"),
    ],
)
def test_numbers_are_for_reading(value, text):
    assert number(value) == text


def test_a_small_loss_is_never_shown_as_none():
    assert float(number(1e-7)) > 0


def test_there_is_a_row_for_each_of_the_seeds_keys_with_unit_and_meaning():
    rows = key_rows(result(clients_reporting=3, clients_expecting=2), acks="1")
    assert {row[0] for row in rows} == set(result().seed_keys()) == set(MEANINGS)
    assert len(rows) == 11
    units = {key: unit for key, _, unit, _ in rows}
    assert units == {
        "client_count": "",
        "packet_tx": "records",
        "average_tx_rate": "records/s",
        "average_packets": "records",
        "average_rate": "records/s",
        "average_packet_loss": "%",
        "failing_clients": "",
        "failing_clients_rate": "records/s",
        "pub_cpu": "%",
        "pub_net_txrate": "bytes/s",
        "pub_net_rxrate": "bytes/s",
    }
    assert all(meaning and "{" not in meaning for *_, meaning in rows)


def test_means_name_their_denominators():
    meanings = {key: text for key, _, _, text in key_rows(result(clients_reporting=7, clients_expecting=5), acks="1")}
    assert "7 clients" in meanings["average_packets"]
    assert "7 clients" in meanings["average_rate"]
    assert "5 clients" in meanings["average_packet_loss"]


@pytest.mark.parametrize(
    ("acks", "meaning"), [("1", "acked by the broker"), ("all", "acked by the broker"), ("0", "appended to the log")]
)
def test_what_counts_as_sent_depends_on_acks(acks, meaning):
    assert {key: text for key, _, _, text in key_rows(result(), acks=acks)}["packet_tx"] == meaning


def test_values_are_those_of_the_keys():
    rows = dict(row[:2] for row in key_rows(result(clients_asked=1000, mean_loss_percent=0.001), acks="1"))
    assert (rows["client_count"], rows["average_packet_loss"]) == ("1,000", "0.001")


@pytest.mark.parametrize("verdict", ["pass", "fail", "indeterminate"])
def test_the_verdict_says_why_and_what_to_know(verdict):
    lines = verdict_lines(result(verdict, ["first", "second"], ["by the way"]))
    assert lines == [f"verdict: {verdict.upper()} - first", "         second", "   note: by the way"]


def test_a_verdict_without_a_reason_is_still_a_line():
    assert verdict_lines(result(reasons=())) == ["verdict: PASS - "]


def test_the_headline_says_what_was_asked():
    options = Options(total_sub_apps=1200, msg_rate=2500.0, msg_size=14, test_duration=0.5, acks="all")
    assert headline(options) == (
        "12,000 clients (1,200 apps x 10), 2,500 records/s of 14 bytes for 0.5 s, acks all, confluent -> wire"
    )


@pytest.mark.parametrize("rate", [0.1, 1000.0, 1_000_000.0, 1_234_567.0, 10_000_000.0])
def test_the_headline_shows_a_rate_as_it_was_asked_for(rate):
    shown = headline(Options(msg_rate=rate)).split(" records/s")[0].rpartition(" ")[2]
    assert float(shown.replace(",", "")) == rate


def test_the_res_line_can_be_read_back():
    keys = result(clients_asked=20, mean_loss_percent=0.25).seed_keys()
    line = res_line(keys)
    assert line.startswith("RES = {")
    assert ast.literal_eval(line.removeprefix("RES = ")) == keys


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [
        (0.0, "0"),
        (0.001, "0.001"),
        (0.0123456, "0.0123"),
        (1.0, "1"),
        (12.345, "12.3"),
        (99.94, "99.9"),
        (100.4, "100"),
        (3_600_000.0, "3,600,000"),
    ],
)
def test_milliseconds_have_three_digits(value_ms, text):
    assert milliseconds(value_ms) == text


ORDER = RunOrder("r", Options())


def timed(**changes):
    summary = LatencySummary(7, 1.0, 2.0, 3.25, 4.0, 5.0, 678.9)
    return made_result(latency=dataclasses.replace(NO_LATENCY, **({"e2e": summary, "service": summary} | changes)))


def test_latencies_are_rows_of_percentiles_with_what_the_harness_adds():
    rows = latency_rows(
        RunOrder("r", Options(linger_ms=5), pace_ms=12.5),
        timed(
            client_p99_min_ms=1.0,
            client_p99_median_ms=2.5,
            client_p99_max_ms=300.2,
        ),
    )
    values = ("1", "2", "3.25", "4", "5", "679")
    assert rows == [
        ("end to end", *values, "p99 of clients: 1 to 300, median 2.5"),
        ("service", *values, "from the actual send; pace of fetches 12.5 ms, linger 5 ms"),
    ]
    assert all(len(row) == len(LATENCY_COLUMNS) + 2 for row in rows)


def test_the_clocks_error_is_told_beside_latencies_of_several_hosts():
    assert latency_rows(ORDER, timed(clock_error_ms=0.12345))[1][-1].endswith("; clocks within 0.123 ms")


def test_without_deliveries_there_is_no_row():
    assert latency_rows(ORDER, made_result()) == []
    assert [row[0] for row in latency_rows(ORDER, timed(service=LatencySummary()))] == ["end to end"]


def test_the_limit_is_told_with_symptoms_evidence_and_advice():
    assert limit_lines(made_result()) == ["  limit: none"]
    bottleneck = Bottleneck("harness", True, ("late", "slow"), ("cpu", "pause"), "more apps")
    assert limit_lines(made_result(bottleneck=bottleneck)) == [
        "  limit: harness - late; slow",
        "         cpu",
        "         pause",
        "         what to change: more apps",
    ]


def test_thresholds_are_told_kept_or_not():
    outcomes = (
        ThresholdOutcome("tx_rate>=0.95*asked", "tx_rate", 1234.5678, 950.0, "records/s", kept=True),
        ThresholdOutcome("e2e_p99<50ms", "e2e_p99", 75.25, 50.0, "ms", kept=False),
    )
    assert limit_lines(made_result(thresholds=outcomes))[1:] == [
        " threshold: tx_rate>=0.95*asked kept, it was 1,234.6 records/s",
        " threshold: e2e_p99<50ms BROKEN, it was 75.25 ms",
    ]


def test_a_run_without_a_result_says_why():
    record = RunRecord(ORDER, "interrupted", "", 130, error="Ctrl-C")
    assert failure_lines(record) == ["verdict: none - the run was interrupted: Ctrl-C (exit code 130)"]
