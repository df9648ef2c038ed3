"""The head of a report: the answer in a few cards, for who reads nothing else.

A figure that nobody measured is said to be not measured: it is never a zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra.accounting.bottleneck import KEPT_PLAN_RATIO
from hydra.accounting.result import Result
from hydra.accounting.totals import metric_value
from hydra.report.contents import ReportPoint
from hydra.report.text import harness_part, number, three_digits

NOT_MEASURED = "not measured"

VERDICTS: Mapping[str, str] = {
    "pass": "Passed", "fail": "Failed", "indeterminate": "No answer", "error": "Not measured",
}  # fmt: skip

LIMITS: Mapping[str, tuple[str, str]] = {
    "none": ("not reached", "nothing gave way under this load"),
    "broker": ("the broker", "it gave way under this load"),
    "harness": ("the harness", "Hydra or its machine gave way first: this says nothing about the broker"),
    "network": ("the network", "it was full: this says nothing about the broker"),
    "quota": ("a quota", "the brokers held clients back, as they were told to"),
    "refusal": ("a refusal", "the brokers refused records or clients, whatever the load"),
    "unknown": ("not known", "who gave way was not measured"),
}
"""(what gave way, what that means) by the limit."""


@dataclass(frozen=True)
class Card:
    """One figure: what it is, its value, and what to know beside it."""

    heading: str
    value: str
    detail: str = ""
    look: str = ""
    """A verdict, by whose colour the card is marked; empty: by none."""


def point_cards(point: ReportPoint, verdict: str, missing: str = "") -> list[Card]:
    """The cards of a single point, whose repeats are taken together; ``missing`` is what else was to be measured."""
    return [
        _verdict_card(point, verdict, missing),
        _clients_card(point),
        _rate_card(point),
        loss_card([point]),
        p99_card(point),
        limit_card(point.results, len(point.runs)),
    ]


def _verdict_card(point: ReportPoint, verdict: str, missing: str) -> Card:
    value = "Not complete" if verdict == "error" and point.results else VERDICTS[verdict]
    told = _verdict_detail(point, point.verdict)
    return Card("Verdict", value, f"{told}; {missing}" if missing else told, verdict)


def _verdict_detail(point: ReportPoint, verdict: str) -> str:
    """What the verdict means, in words for who does not know the tool."""
    if len(point.runs) > 1:
        passed = sum(result.verdict == "pass" for result in point.results)
        return f"{passed:,} of {counted(len(point.runs), 'run')} passed"
    run = point.runs[0]
    if run.result is None:
        return "the run was interrupted" if run.status == "interrupted" else "the run failed"
    if verdict == "pass":
        kept = ", every threshold was kept" if run.result.thresholds else ""
        return f"every record arrived{kept}"
    if verdict == "indeterminate":
        return "this run does not tell what the broker carries"
    lost = ["records were lost"] if metric_value("loss", run.result.totals, run.result.latency) else []
    broken = [f"{item.threshold} was broken" for item in run.result.thresholds if item.broken]
    return ", ".join([*lost, *broken]) or run.result.reasons[0]


def _clients_card(point: ReportPoint) -> Card:
    heading, asked = "Clients", point.clients
    if not point.results:
        return Card(heading, NOT_MEASURED, f"{asked:,} were asked for")
    totals = min((result.totals for result in point.results), key=lambda each: each.clients_reporting)
    if absent := asked - totals.clients_reporting:
        detail = f"{absent:,} did not report, or never started"
        return Card(heading, f"{totals.clients_reporting:,} of {asked:,}", detail, "indeterminate")
    failing = max(result.totals.clients_failing for result in point.results)
    if failing:
        return Card(heading, f"{asked:,}", f"{failing:,} of them lost records", "fail")
    if totals.records_counted and (idle := totals.clients_reporting - totals.clients_expecting):
        return Card(heading, f"{asked:,}", f"{idle:,} of them had no partition to read")
    return Card(heading, f"{asked:,}", "all of them reported what they received")


def _rate_card(point: ReportPoint) -> Card:
    heading, asked = "Rate", f"{point.msg_rate:,.10g} records/s were asked for"
    sent = point.measured("tx_rate")
    if not sent:
        return Card(heading, NOT_MEASURED, asked)
    received = [
        rate * result.totals.clients_reporting
        for result in point.results
        if (rate := metric_value("rx_rate", result.totals, result.latency)) is not None
    ]
    delivered = (
        f"{spread(received, number)} deliveries/s to all clients" if received else f"what arrived was {NOT_MEASURED}"
    )
    look = "indeterminate" if min(sent) < KEPT_PLAN_RATIO * point.msg_rate else ""
    detail = f"{asked}; {delivered}{in_runs(len(sent), len(point.runs))}"
    return Card(heading, f"{spread(sent, number)} records/s", detail, look)


def loss_card(points: Sequence[ReportPoint]) -> Card:
    """What was lost at these points, in all of their runs together."""
    runs = sum(len(point.runs) for point in points)
    told = [(point, result) for point in points for result in point.results if result.totals.clients_expecting]
    if not told:
        silent = "no client told of a record that it should have received"
        return Card("Loss", NOT_MEASURED, silent if any(point.results for point in points) else "")
    totals = [result.totals for _, result in told]
    lost = sum(each.records_lost - each.records_unread for each in totals)
    unread = sum(each.records_unread for each in totals)
    expected = sum(each.records_lost + each.records_delivered for each in totals)
    beside = _not_in_the_loss(told, unread) + ([in_runs(len(told), runs).strip()] if runs > 1 else [])
    if lost:
        where = [f"{100 * lost / expected:.3g} % of {expected:,}"] if expected else []
        if len(points) > 1:
            losing = {id(point) for point, result in told if result.totals.records_lost > result.totals.records_unread}
            where.append(f"at {len(losing):,} of {counted(len(points), 'point')}")
        return Card("Loss", f"{lost:,} deliveries", "; ".join([*where, *beside]), "fail")
    checked = f"of {expected:,} deliveries"
    value = "none proven" if unread else "none"
    look = "indeterminate" if unread or len(told) < runs else ""
    return Card("Loss", value, "; ".join([checked, *beside]), look)


def _not_in_the_loss(told: Sequence[tuple[ReportPoint, Result]], unread: int) -> list[str]:
    """What is no loss, and keeps one from saying that nothing was lost."""
    found = [f"{unread:,} were still unread at the end, which proves no loss"] if unread else []
    missing = sum(result.totals.clients_asked - result.totals.clients_reporting for _, result in told)
    if missing:
        found.append(f"without those of {counted(missing, 'client')} that did not report")
    unacked = sum(
        result.totals.records_failed + (result.totals.records_unknown if point.options.acks != "0" else 0)
        for point, result in told
    )
    if unacked:
        found.append(f"{unacked:,} records were not acknowledged")
    return found


def p99_card(point: ReportPoint, heading: str = "Latency, p99") -> Card:
    """The end-to-end p99 of a point."""
    values = point.measured("e2e_p99")
    if not values:
        return Card(heading, NOT_MEASURED, "nothing was delivered" if point.results else "")
    highest = max(point.measured("e2e_max"))
    told = [f"99 of 100 deliveries took no longer; the slowest took {three_digits(highest)} ms"]
    if len(point.runs) == 1 and (own := harness_part(point.runs[0].order)):
        told.append(f"of which harness: {own}")
    broken = any(item.metric == "e2e_p99" and item.broken for result in point.results for item in result.thresholds)
    detail = "; ".join(told) + in_runs(len(values), len(point.runs))
    return Card(heading, f"{spread(values, three_digits)} ms", detail, point.verdict if broken else "")


def limit_card(results: Sequence[Result], runs: int) -> Card:
    """What gave way, in so many runs, of which these have a result."""
    if not results:
        return Card("Limit", NOT_MEASURED)
    if runs == 1:
        return _one_limit(results[0])
    names = Counter(result.bottleneck.name for result in results)
    order = sorted(names, key=lambda name: (name == "none", -names[name]))
    told = [f"{limit_words(name)} in {names[name]:,}" for name in order]
    told += [f"no result in {runs - len(results):,}"] if len(results) < runs else []
    return Card("Limit", limit_words(order[0]), f"of {runs:,} runs: {', '.join(told)}", _limit_look(order[0]))


def _one_limit(result: Result) -> Card:
    bottleneck = result.bottleneck
    detail = LIMITS[bottleneck.limit][1]
    if bottleneck.limit == "broker" and bottleneck.symptoms:
        detail = bottleneck.symptoms[0]
    if bottleneck.limit == "unknown" and bottleneck.evidence:
        detail = bottleneck.evidence[0]
    return Card("Limit", limit_words(bottleneck.name), detail, _limit_look(bottleneck.name))


def limit_words(name: str) -> str:
    """A limit's name, with its part, in words."""
    limit, colon, part = name.partition(":")
    return f"{LIMITS[limit][0]}{colon}{part}"


def _limit_look(name: str) -> str:
    return "" if name == "none" or name.startswith("broker") else "indeterminate"


def counted(number: int, noun: str) -> str:
    """Such as ``1 point`` and ``2 points``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """The values from the lowest to the highest, or the only one."""
    return " to ".join(dict.fromkeys((show(min(values)), show(max(values)))))


def in_runs(measured: int, runs: int) -> str:
    """In how many runs something was measured, to be put behind it; nothing for a single run."""
    if runs == 1:
        return ""
    return f" in {runs:,} runs" if measured == runs else f" in {measured:,} of {runs:,} runs"
