"""A result as text: the verdict in a line, why, the seed's keys with their unit and meaning, latencies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pprint import pformat

from hydra.accounting.own_limits import linger_wait_ms
from hydra.accounting.result import Result
from hydra.accounting.stats import Refusal
from hydra.accounting.totals import metric_value
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.run.record import RunRecord

MEANINGS: dict[str, tuple[str, str]] = {
    "client_count": ("", "clients asked for"),
    "packet_tx": ("records", "{counted}"),
    "average_tx_rate": ("records/s", "over the publisher's send window"),
    "average_packets": ("records", "distinct, mean over {reporting} clients"),
    "average_rate": ("records/s", "mean over {timed} clients, each over its own receive window"),
    "average_packet_loss": ("%", "lost of sent, mean over {expecting} clients{unread}"),
    "failing_clients": ("", "clients that lost a record or are missing"),
    "failing_clients_rate": ("records/s", "mean over the failing clients that reported"),
    "pub_cpu": ("%", "of one core, publisher process"),
    "pub_net_txrate": ("bytes/s", "sent by the publisher's host, all interfaces"),
    "pub_net_rxrate": ("bytes/s", "received by the publisher's host, all interfaces"),
}
"""(unit, meaning) by the seed's key, in the order of the table."""

LATENCY_COLUMNS: Mapping[str, str] = {
    "mean": "mean_ms", "p50": "p50_ms", "p90": "p90_ms", "p99": "p99_ms", "p99.9": "p999_ms", "p99.99": "p9999_ms",
    "max": "max_ms",
}  # fmt: skip
"""Fields of a LatencySummary, by their heading."""


def verdict_line(result: Result, order: RunOrder, refusals: Sequence[Refusal] = ()) -> str:
    """The whole result in one line: verdict, clients, asked and sent rate, loss, p99 and the harness's part in it.

    ``refusals`` are the publisher's: the first one is named.
    """
    totals, latency, options = result.totals, result.latency, order.options
    missing = totals.clients_missing + totals.clients_never_started
    present = f"{totals.clients_asked - missing:,} of " if missing else ""
    lost, asked = metric_value("loss", totals, latency), f"{options.msg_rate:,.10g} records/s"
    sent = metric_value("tx_rate", totals, latency)
    parts = [
        f"{present}{totals.clients_asked:,} clients",
        f"what was sent of {asked} not measured" if sent is None else f"sent {number(sent)} of {asked}",
        "loss not measured" if lost is None else f"lost {lost:,.0f}",
    ]
    if totals.records_unread:
        parts.append(f"unread {totals.records_unread:,}")
    unacked = totals.records_failed + totals.records_unknown if order.has_acks else totals.records_failed
    if unacked and refusals:
        parts.append(f"not acked {unacked:,} ({refusals[0].error}: {refusals[0].records:,})")
    if latency.e2e.deliveries:
        told = harness_part(order)
        told = told and f" (of which harness: {told})"
        parts.append(f"p99 {three_digits(latency.e2e.p99_ms)} ms{told}")
        if latency.unpaced.deliveries:
            parts.append(f"p99 without the pace {three_digits(latency.unpaced.p99_ms)} ms")
    return f"{result.verdict.upper()}  {', '.join(parts)}"


def harness_part(order: RunOrder) -> str:
    """What of an end-to-end latency may be the harness's own, such as ``pace <= 2.5 ms``; empty for nothing."""
    own = {"pace": order.pace_ms, "linger": linger_wait_ms(order)}
    return ", ".join(f"{name} <= {three_digits(value)} ms" for name, value in own.items() if value)


def reason_lines(result: Result) -> list[str]:
    """Why the verdict is what it is, what was the limit, what became of each threshold, and notes."""
    bottleneck = result.bottleneck
    limit: str = "not reached" if bottleneck.limit == "none" else bottleneck.name
    if bottleneck.symptoms:
        limit += f" - {'; '.join(bottleneck.symptoms)}"
    lines = [*result.reasons, f"limit: {limit}"]
    if not bottleneck.harness_limited:  # where it is, evidence and advice are among the reasons
        lines += [f"evidence: {text}" for text in bottleneck.evidence]
    for item in result.thresholds:
        state = item.state.upper() if item.broken else item.state
        lines.append(f"threshold: {item.threshold} {state}, it was {item.shown}")
    return lines + [f"note: {note}" for note in result.notes]


def failure_line(record: RunRecord) -> str:
    """What is known of a run that has no result."""
    status = "was interrupted" if record.status == "interrupted" else record.status
    return f"NO RESULT  the run {status}: {record.error} (exit code {record.exit_code})"


def headline(options: Options) -> str:
    """What was asked, in a line."""
    return (
        f"{options.client_count:,} clients ({options.total_sub_apps:,} apps x {options.clients_per_app}),"
        f" {options.msg_rate:,.10g} records/s of {options.msg_size} bytes{_filling(options)} for"
        f" {options.test_duration:g} s, acks {options.acks}, {options.pub_driver} -> {options.sub_driver}"
    )


def _where(options: Options) -> str:
    if options.topic is not None:
        return f"your topic {options.topic}, where the records stay until it has them expire"
    return f"a topic hydra-... of {options.partitions} partitions that is deleted afterwards"


def _filling(options: Options) -> str:
    """What is in the records, and what they are compressed with, as far as it is not the default."""
    found = [] if options.payload == Options.payload else [options.payload]
    found += [] if options.compression == Options.compression else [options.compression]
    return f" ({', '.join(found)})" if found else ""


def load_line(options: Options) -> str:
    """The load that a Kafka of the user's own is about to get, in a line."""
    copies = options.client_count if options.group == "own" else 1
    mb_per_s = options.msg_rate * options.msg_size / 1e6
    return (
        f"load on {options.bootstrap_servers}: {options.client_count:,} clients,"
        f" {options.msg_rate:,.10g} records/s in ({three_digits(mb_per_s)} MB/s),"
        f" {options.msg_rate * copies:,.10g} deliveries/s out ({three_digits(mb_per_s * copies)} MB/s)"
        f" for {options.test_duration:g} s, in {_where(options)}"
    )


def key_rows(result: Result, options: Options) -> list[tuple[str, str, str, str]]:
    """(key, value, unit, meaning) for each of the seed's keys that is not zero, and for what all clients read."""
    totals = result.totals
    names = {
        "counted": "appended to the log" if options.acks == "0" else "acked by the broker",
        "reporting": totals.clients_reporting,
        "timed": totals.clients_reporting - totals.clients_without_rate,
        "expecting": totals.clients_expecting,
        "unread": f"; {totals.records_unread:,} of {totals.records_lost:,} unread" if totals.records_unread else "",
    }
    values = result.seed_keys()
    rows = [
        (key, number(values[key]), unit, meaning.format(**names))
        for key, (unit, meaning) in MEANINGS.items()
        if values[key]
    ]
    deliveries_per_s = (totals.mean_rx_rate_per_s or 0.0) * totals.clients_reporting
    mb = options.msg_size / 1e6
    others = (
        ("delivery_rate", deliveries_per_s, number, "records/s", "received by all clients together"),
        ("data_in", totals.tx_rate_per_s * mb, three_digits, "MB/s", "values of records sent"),
        ("data_out", deliveries_per_s * mb, three_digits, "MB/s", "values of records received by all clients together"),
    )
    return rows + [(name, show(value), unit, meaning) for name, value, show, unit, meaning in others if value]


def latency_rows(result: Result) -> list[tuple[str, ...]]:
    """(what, mean, p50, p90, p99, p99.9, p99.99, max), in milliseconds; empty where it is not known."""
    latency = result.latency
    rows = (("end to end", latency.e2e), ("service", latency.service), ("unpaced readers", latency.unpaced))
    return [
        (name, *(_known(getattr(summary, field)) for field in LATENCY_COLUMNS.values()))
        for name, summary in rows
        if summary.deliveries
    ]


def latency_lines(result: Result) -> list[str]:
    """What the two latencies are, how far clients are apart, and how exact it is."""
    latency = result.latency
    if not latency.e2e.deliveries:
        return []
    service = "; service: from the actual one" if latency.service.deliveries else ""
    of_clients = (latency.client_p99_min_ms, latency.client_p99_max_ms, latency.client_p99_median_ms)
    lowest, highest, median = map(three_digits, of_clients)
    acks = latency.ack
    lines = [
        f"end to end: from the intended send time{service}",
        f"p99 of clients: {lowest} to {highest} ms, median {median} ms",
    ]
    if latency.unpaced.deliveries:
        lines.insert(1, "unpaced readers: end to end of a few clients that fetch at once, as a plain consumer does")
    if acks.deliveries:
        p50, p99, highest = map(three_digits, (acks.p50_ms, acks.p99_ms, acks.max_ms))
        told = "from the hand-over of a record to its ack"
        lines.append(f"ack latency: p50 {p50} ms, p99 {p99} ms, max {highest} ms, {told}")
    if latency.clock_error_ms:
        lines.append(f"clocks of the hosts agree within {latency.clock_error_ms:.3g} ms")
    return lines


def _known(value: float | None) -> str:
    return "" if value is None else three_digits(value)


def three_digits(value: float) -> str:
    """Three significant digits, and all of a number above 100 but what is behind its point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def number(value: float) -> str:
    """A number for reading: thousands set apart, a decimal only where it says something."""
    if not math.isfinite(value):
        return str(value)  # of a file that somebody changed: the mean of two of the highest numbers there are
    if value == int(value) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 0.1 else f"{value:,.1f}"


def res_line(keys: Mapping[str, int | float]) -> str:
    """The line that the seed's notebook prints."""
    return f"RES = {pformat(dict(keys))}"
