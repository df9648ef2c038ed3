"""A result as text."""

import ast
import dataclasses

import pytest

from hydra.core.options import Options
from hydra.report.text import MEANINGS, headline, key_rows, number, res_line, verdict_lines
from tests.facts import NO_FIGURES, made_result


def result(verdict="pass", reasons=("all is well",), notes=(), **figures):
    return made_result(verdict, reasons, notes, dataclasses.replace(NO_FIGURES, **figures))


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
