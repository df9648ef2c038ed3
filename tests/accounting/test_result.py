"""The result and the seed's eleven keys."""

import dataclasses

import pytest

from hydra.accounting.result import EXIT_CODES, ClientResult
from hydra.accounting.totals import Totals
from tests.facts import made_result

FIGURES = Totals(**{item.name: number for number, item in enumerate(dataclasses.fields(Totals), start=1)})


def result(verdict="pass"):
    return made_result(verdict, totals=FIGURES)


def test_the_seeds_keys_are_these_eleven():
    assert list(result().seed_keys()) == [
        "average_packet_loss",
        "average_packets",
        "average_rate",
        "average_tx_rate",
        "client_count",
        "failing_clients",
        "failing_clients_rate",
        "packet_tx",
        "pub_cpu",
        "pub_net_rxrate",
        "pub_net_txrate",
    ]


def test_each_key_is_the_figure_that_it_means():
    assert result().seed_keys() == {
        "average_packet_loss": FIGURES.mean_loss_percent,
        "average_packets": FIGURES.mean_distinct_records,
        "average_rate": FIGURES.mean_rx_rate_per_s,
        "average_tx_rate": FIGURES.tx_rate_per_s,
        "client_count": FIGURES.clients_asked,
        "failing_clients": FIGURES.clients_failing + FIGURES.clients_missing + FIGURES.clients_never_started,
        "failing_clients_rate": FIGURES.mean_failing_rx_rate_per_s,
        "packet_tx": FIGURES.records_counted,
        "pub_cpu": FIGURES.publisher_cpu_percent,
        "pub_net_rxrate": FIGURES.publisher_host_rx_bytes_per_s,
        "pub_net_txrate": FIGURES.publisher_host_tx_bytes_per_s,
    }


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("indeterminate", 3)])
def test_exit_codes(verdict, code):
    assert result(verdict).exit_code == EXIT_CODES[verdict] == code


@pytest.mark.parametrize(("lost", "expected", "percent"), [(0, 0, 0.0), (0, 10, 0.0), (1, 8, 12.5), (3, 3, 100.0)])
def test_loss_in_percent(lost, expected, percent):
    assert ClientResult("a", "t", "ok", expected=expected, lost=lost).loss_percent == percent
