"""A result as text."""

import ast
import dataclasses

import pytest

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.latency import LatencySummary
from hydra.accounting.stats import Refusal
from hydra.accounting.totals import ThresholdOutcome
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.report.text import (
    LATENCY_COLUMNS,
    MEANINGS,
    failure_line,
    headline,
    key_rows,
    latency_lines,
    latency_rows,
    load_line,
    number,
    reason_lines,
    res_line,
    three_digits,
    verdict_line,
)
from hydra.run.record import RunRecord
from tests.facts import NO_LATENCY, NO_TOTALS, made_result


def result(verdict="pass", reasons=("all is well",), notes=(), **figures):
    return made_result(verdict, reasons, notes, dataclasses.replace(NO_TOTALS, **figures))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (7, "7"),
        (1234567, "1,234,567"),
        (1234567.891, "1,234,568"),
        (9999.94, "9,999.9"),
        (12.34, "12.3"),
        (0.1, "0.1"),
        (0.05, "0.05"),
        (0.00012345, "0.000123"),
        (-0.00012345, "-0.000123"),
        (-5.25, "-5.2"),
        (100.0, "100"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_for_reading(value, text):
    assert number(value) == text


def test_a_small_loss_is_never_shown_as_none():
    assert float(number(1e-7)) > 0


EVERYTHING = {
    "clients_asked": 30, "clients_failing": 1, "clients_reporting": 3, "clients_expecting": 2, "records_counted": 900,
    "tx_rate_per_s": 99.9, "mean_distinct_records": 898.5, "mean_rx_rate_per_s": 98.0, "mean_loss_percent": 0.001,
    "mean_failing_rx_rate_per_s": 97.5, "publisher_cpu_percent": 4.0, "publisher_host_tx_bytes_per_s": 9_422_785.8,
    "publisher_host_rx_bytes_per_s": 1234.0,
}  # fmt: skip


def rows_of(options=None, **totals):
    return {key: row for key, *row in key_rows(result(**totals), options or Options())}


def test_there_is_a_row_for_each_of_the_seeds_keys_with_unit_and_meaning():
    rows = rows_of(**EVERYTHING)
    assert list(rows)[:11] == list(MEANINGS)
    assert set(MEANINGS) == set(result().seed_keys())
    assert {key: unit for key, (_, unit, _) in rows.items()} == {
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
        "delivery_rate": "records/s",
        "data_in": "MB/s",
        "data_out": "MB/s",
    }
    assert all(meaning and "{" not in meaning for _, _, meaning in rows.values())


def test_what_is_zero_has_no_row():
    assert rows_of() == {}
    assert set(rows_of(clients_asked=1)) == {"client_count"}


def test_no_row_has_tenths_of_a_byte():
    assert rows_of(**EVERYTHING)["pub_net_txrate"][0] == "9,422,786"


def test_what_all_clients_read_together_is_told_in_records_and_in_bytes():
    rows = rows_of(Options(msg_size=1000), tx_rate_per_s=2000.0, mean_rx_rate_per_s=1990.0, clients_reporting=20)
    assert [rows[name][:2] for name in ("delivery_rate", "data_in", "data_out")] == [
        ["39,800", "records/s"], ["2", "MB/s"], ["39.8", "MB/s"],
    ]  # fmt: skip


def test_means_name_their_denominators():
    rows = rows_of(**EVERYTHING)
    assert "3 clients" in rows["average_packets"][-1]
    assert "3 clients" in rows["average_rate"][-1]
    assert "2 clients" in rows["average_packet_loss"][-1]


@pytest.mark.parametrize(
    ("acks", "meaning"), [("1", "acked by the broker"), ("all", "acked by the broker"), ("0", "appended to the log")]
)
def test_what_counts_as_sent_depends_on_acks(acks, meaning):
    assert rows_of(Options(acks=acks), records_counted=5)["packet_tx"][-1] == meaning


def test_values_are_those_of_the_keys():
    rows = rows_of(clients_asked=1000, mean_loss_percent=0.001)
    assert (rows["client_count"][0], rows["average_packet_loss"][0]) == ("1,000", "0.001")


LATE = LatencySummary(7, 1.0, 2.0, 32.1, 4.0, 5.0, 678.9)


@pytest.mark.parametrize(
    ("totals", "latency", "line"),
    [
        ({}, {}, "PASS  20 clients, sent 999.9 of 1,000 records/s, lost 0"),
        (
            {},
            {"e2e": LATE, "pace_ms": 25.0, "linger_ms": 5},
            "sent 999.9 of 1,000 records/s, lost 0, p99 32.1 ms (of which harness: pace <= 25 ms, linger <= 5 ms)",
        ),
        ({}, {"e2e": LATE, "linger_ms": 5}, "lost 0, p99 32.1 ms (of which harness: linger <= 5 ms)"),
        ({}, {"e2e": LATE}, "lost 0, p99 32.1 ms"),
        (
            {},
            {"e2e": LATE, "pace_ms": 25.0, "unpaced": dataclasses.replace(LATE, p99_ms=9.87)},
            "p99 32.1 ms (of which harness: pace <= 25 ms), p99 without the pace 9.87 ms",
        ),
        ({"records_lost": 1234, "records_unread": 1000}, {}, "records/s, lost 234, unread 1,000"),
        ({"clients_missing": 2, "clients_never_started": 1}, {}, "PASS  17 of 20 clients, sent"),
    ],
)
def test_the_first_line_says_it_all(totals, latency, line):
    made = result(clients_asked=20, clients_expecting=20, records_planned=1000, tx_rate_per_s=999.94, **totals)
    order = RunOrder("r", Options(linger_ms=latency.get("linger_ms", 0)), pace_ms=latency.get("pace_ms", 0.0))
    seen = {name: latency[name] for name in ("e2e", "unpaced") if name in latency}
    made = dataclasses.replace(made, latency=dataclasses.replace(NO_LATENCY, **seen))
    found = verdict_line(made, order)
    assert line in found
    assert found.endswith(line) or not line.endswith(("ms", ")", "0"))


@pytest.mark.parametrize(
    ("acks", "totals", "told"),
    [
        ("1", {"records_failed": 1000, "records_unknown": 500}, "lost 0, not acked 1,500 (INVALID_RECORD: 1,200)"),
        ("1", {}, "lost 0"),
        ("0", {"records_unknown": 500}, "lost 0"),
    ],
)
def test_the_first_line_names_the_most_frequent_refusal(acks, totals, told):
    refusals = (Refusal("INVALID_RECORD", 1200, 87), Refusal("connection lost", 300))
    made = result(clients_expecting=20, **totals)
    assert verdict_line(made, RunOrder("r", Options(acks=acks)), refusals).endswith(told)


def test_the_first_line_says_what_nobody_measured_and_no_zero():
    blind = verdict_line(result("indeterminate", clients_asked=20, clients_missing=20), RunOrder("r", Options()))
    told = "0 of 20 clients, what was sent of 1,000 records/s not measured, loss not measured"
    assert blind == f"INDETERMINATE  {told}"


def test_the_table_says_how_much_of_the_loss_is_only_unread():
    figures = {"mean_loss_percent": 64.0, "records_lost": 1234, "clients_expecting": 3}
    row = rows_of(records_unread=1000, **figures)["average_packet_loss"]
    assert row == ["64", "%", "lost of sent, mean over 3 clients; 1,000 of 1,234 unread"]
    assert "unread" not in rows_of(**figures)["average_packet_loss"][2]


@pytest.mark.parametrize("verdict", ["pass", "fail", "indeterminate"])
def test_the_verdict_is_followed_by_why_and_by_what_to_know(verdict):
    made = result(verdict, ["first", "second"], ["by the way"])
    assert verdict_line(made, RunOrder("r", Options())).startswith(f"{verdict.upper()}  ")
    assert reason_lines(made) == ["first", "second", "limit: not reached", "note: by the way"]


def test_the_load_on_a_users_brokers_is_told_before_it_comes():
    options = Options(total_sub_apps=2, msg_rate=2000, msg_size=1000, bootstrap_servers="k1:9092", test_duration=60.0)
    assert load_line(options) == (
        "load on k1:9092: 20 clients, 2,000 records/s in (2 MB/s), 40,000 deliveries/s out (40 MB/s) for 60 s,"
        " in a topic hydra-... of 1 partitions that is deleted afterwards"
    )
    assert "2,000 deliveries/s out (2 MB/s)" in load_line(dataclasses.replace(options, group="shared"))


def test_the_headline_says_what_was_asked():
    options = Options(total_sub_apps=1200, msg_rate=2500.0, msg_size=14, test_duration=0.5, acks="all")
    assert headline(options) == (
        "12,000 clients (1,200 apps x 10), 2,500 records/s of 14 bytes for 0.5 s, acks all, wire -> wire"
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
def test_a_latency_has_three_digits(value_ms, text):
    assert three_digits(value_ms) == text


ORDER = RunOrder("r", Options())


def timed(**changes):
    summary = LatencySummary(7, 1.0, 2.0, 3.25, 4.0, 5.0, 678.9, mean_ms=1.25)
    return made_result(latency=dataclasses.replace(NO_LATENCY, **({"e2e": summary, "service": summary} | changes)))


def test_latencies_are_rows_of_percentiles():
    made = timed(client_p99_min_ms=1.0, client_p99_median_ms=2.5, client_p99_max_ms=300.2)
    values = ("1.25", "1", "2", "3.25", "4", "5", "679")
    assert latency_rows(made) == [("end to end", *values), ("service", *values)]
    assert len(values) == len(LATENCY_COLUMNS)
    unknown = dataclasses.replace(made.latency.e2e, mean_ms=None)
    assert latency_rows(timed(e2e=unknown))[0] == ("end to end", "", *values[1:])
    assert latency_lines(made) == [
        "end to end: from the intended send time; service: from the actual one",
        "p99 of clients: 1 to 300 ms, median 2.5 ms",
    ]


def test_the_clocks_error_is_told_beside_latencies_of_several_hosts():
    assert latency_lines(timed(clock_error_ms=0.12345))[-1] == "clocks of the hosts agree within 0.123 ms"


def test_without_deliveries_there_is_no_row():
    assert latency_rows(made_result()) == latency_lines(made_result()) == []
    assert [row[0] for row in latency_rows(timed(service=LatencySummary()))] == ["end to end"]


def test_the_limit_is_told_with_symptoms_and_evidence():
    bottleneck = Bottleneck("harness", True, ("late", "slow"), ("cpu", "pause"), "more apps")
    assert reason_lines(made_result(reasons=(), bottleneck=bottleneck)) == ["limit: harness - late; slow"]
    bottleneck = Bottleneck("broker", False, ("late", "slow"), ("cpu", "queue full"))
    assert reason_lines(made_result(reasons=(), bottleneck=bottleneck)) == [
        "limit: broker - late; slow",
        "evidence: cpu",
        "evidence: queue full",
    ]


def test_thresholds_are_told_kept_or_not():
    outcomes = (
        ThresholdOutcome("tx_rate>=0.95*asked", "tx_rate", 1234.5678, 950.0, "records/s", kept=True),
        ThresholdOutcome("e2e_p99<50ms", "e2e_p99", 75.25, 50.0, "ms", kept=False),
    )
    assert reason_lines(made_result(reasons=(), thresholds=outcomes))[1:] == [
        "threshold: tx_rate>=0.95*asked kept, it was 1,234.6 records/s",
        "threshold: e2e_p99<50ms BROKEN, it was 75.25 ms",
    ]


@pytest.mark.parametrize(("status", "told"), [("interrupted", "was interrupted"), ("failed", "failed")])
def test_a_run_without_a_result_says_why(status, told):
    record = RunRecord(RunOrder("r", Options()), status, "", 130, error="Ctrl-C")
    assert failure_line(record) == f"NO RESULT  the run {told}: Ctrl-C (exit code 130)"
