"""A result as text: the seed's eleven keys with what they mean and their unit, and the verdict with its reasons."""

from __future__ import annotations

from pprint import pformat

from hydra.core.options import Options
from hydra.core.result import Result

MEANINGS: dict[str, tuple[str, str]] = {
    "client_count": ("", "clients asked for"),
    "packet_tx": ("records", "{counted}"),
    "average_tx_rate": ("records/s", "over the publisher's send window"),
    "average_packets": ("records", "distinct, mean over {reporting} clients"),
    "average_rate": ("records/s", "mean over {reporting} clients of each one's own receive window"),
    "average_packet_loss": ("%", "lost of sent, mean over {expecting} clients"),
    "failing_clients": ("", "clients that lost a record or are missing"),
    "failing_clients_rate": ("records/s", "mean over the failing clients that reported"),
    "pub_cpu": ("%", "of one core, publisher process"),
    "pub_net_txrate": ("bytes/s", "sent by the publisher's host, all interfaces"),
    "pub_net_rxrate": ("bytes/s", "received by the publisher's host, all interfaces"),
}
"""(unit, meaning) by the seed's key, in the order of the table."""


def key_rows(result: Result, *, acks: str) -> list[tuple[str, str, str, str]]:
    """(key, value, unit, meaning) for each of the seed's keys."""
    figures = result.figures
    names = {
        "counted": "appended to the log" if acks == "0" else "acked by the broker",
        "reporting": figures.clients_reporting,
        "expecting": figures.clients_expecting,
    }
    values = result.seed_keys()
    return [(key, number(values[key]), unit, meaning.format(**names)) for key, (unit, meaning) in MEANINGS.items()]


def number(value: float) -> str:
    """A figure for reading: thousands set apart; as many decimals as its size leaves room for."""
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 0.1:
        return f"{value:.3g}"
    return f"{value:,.1f}"


def headline(options: Options) -> str:
    """What was asked, in a line."""
    return (
        f"{options.client_count:,} clients ({options.total_sub_apps:,} apps x {options.clients_per_app}),"
        f" {options.msg_rate:,.10g} records/s of {options.msg_size} bytes for {options.test_duration:g} s,"
        f" acks {options.acks}, {options.pub_driver} -> {options.sub_driver}"
    )


def verdict_lines(result: Result) -> list[str]:
    """The verdict and why, then what one should know beside it."""
    first, *others = result.reasons or ("",)
    return [
        f"verdict: {result.verdict.upper()} - {first}",
        *(f"         {reason}" for reason in others),
        *(f"   note: {note}" for note in result.notes),
    ]


def res_line(keys: dict[str, int | float]) -> str:
    """The line of the original's notebook."""
    return f"RES = {pformat(keys)}"
