"""A result as text: the seed's eleven keys with what they mean and their unit, latencies, the limit, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pprint import pformat

from hydra.accounting.latency import LatencySummary
from hydra.accounting.result import Result
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.run.record import RunRecord

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
    figures = result.totals
    names = {
        "counted": "appended to the log" if acks == "0" else "acked by the broker",
        "reporting": figures.clients_reporting,
        "expecting": figures.clients_expecting,
    }
    values = result.seed_keys()
    return [(key, number(values[key]), unit, meaning.format(**names)) for key, (unit, meaning) in MEANINGS.items()]


LATENCY_COLUMNS = ("p50", "p90", "p99", "p99.9", "p99.99", "max")


def latency_rows(order: RunOrder, result: Result) -> list[tuple[str, ...]]:
    """(what, p50, p90, p99, p99.9, p99.99, max, meaning), in milliseconds."""
    latency = result.latency
    clients = (
        f"p99 of clients: {milliseconds(latency.client_p99_min_ms)} to {milliseconds(latency.client_p99_max_ms)},"
        f" median {milliseconds(latency.client_p99_median_ms)}"
    )
    added = f"pace of fetches {order.pace_ms:g} ms, linger {order.options.linger_ms} ms"
    if latency.clock_error_ms:
        added += f"; clocks within {latency.clock_error_ms:.3g} ms"
    rows = (("end to end", latency.e2e, clients), ("service", latency.service, f"from the actual send; {added}"))
    return [(name, *_percentiles(summary), meaning) for name, summary, meaning in rows if summary.deliveries]


def _percentiles(summary: LatencySummary) -> tuple[str, ...]:
    values = (
        summary.p50_ms,
        summary.p90_ms,
        summary.p99_ms,
        summary.p999_ms,
        summary.p9999_ms,
        summary.max_ms,
    )
    return tuple(milliseconds(value) for value in values)


def milliseconds(value_ms: float) -> str:
    """Three significant digits."""
    return f"{value_ms:,.0f}" if value_ms >= 100 else f"{value_ms:.3g}"


def number(value: float) -> str:
    """A figure for reading: thousands set apart; as many decimals as its size leaves room for."""
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 0.1:
        return f"{value:.3g}"
    return f"{value:,.1f}"


def headline(asked: Options) -> str:
    """What was asked, in a line."""
    return (
        f"{asked.client_count:,} clients ({asked.total_sub_apps:,} apps x {asked.clients_per_app}),"
        f" {asked.msg_rate:,.10g} records/s of {asked.msg_size} bytes for {asked.test_duration:g} s,"
        f" acks {asked.acks}, {asked.pub_driver} -> {asked.sub_driver}"
    )


def limit_lines(result: Result) -> list[str]:
    """Who was the limit, from what that is known, and what became of each threshold."""
    bottleneck = result.bottleneck
    lines = [f"  limit: {bottleneck.limit}"]
    if bottleneck.symptoms:
        lines[0] += f" - {'; '.join(bottleneck.symptoms)}"
        lines += [f"         {text}" for text in bottleneck.evidence]
    if bottleneck.advice:
        lines.append(f"         what to change: {bottleneck.advice}")
    for item in result.thresholds:
        state = "kept" if item.kept else "BROKEN"
        lines.append(f" threshold: {item.threshold} {state}, it was {item.value:,.5g} {item.unit}")
    return lines


def verdict_lines(result: Result) -> list[str]:
    """The verdict and why, then what one should know beside it."""
    first, *others = result.reasons or ("",)
    return [
        f"verdict: {result.verdict.upper()} - {first}",
        *(f"         {reason}" for reason in others),
        *(f"   note: {note}" for note in result.notes),
    ]


def failure_lines(record: RunRecord) -> list[str]:
    """What is known of a run that has no result."""
    return [f"verdict: none - the run was {record.status}: {record.error} (exit code {record.exit_code})"]


def res_line(keys: Mapping[str, int | float]) -> str:
    """The line of the original's notebook."""
    return f"RES = {pformat(dict(keys))}"
