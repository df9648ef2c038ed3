"""Results as runs make them, without running anything."""

from __future__ import annotations

import dataclasses
import functools
import math
import random

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.evidence import Evidence
from hydra.accounting.latency import SAMPLE_BITS, LatencyHistogram, LatencySummary
from hydra.accounting.percentile_curve import LatencyCurves, curve_steps
from hydra.accounting.result import EXIT_CODES, ClientResult, Result
from hydra.accounting.stats import ProcessUsage, SubscriberSample, SubscriberStats
from hydra.accounting.timeline import TimelinePoint
from hydra.accounting.totals import Latencies, Totals
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.run.record import RunRecord
from hydra.sweep.plan import SweepPlan, make_points
from hydra.sweep.record import PointRecord, SweepRecord

ZEROS = {item.name: 0 for item in dataclasses.fields(Totals)}


def curve(p50_ms: float, deliveries: int) -> tuple[float, ...]:
    """A percentile curve that rises with every nine, near to the percentiles of ``latencies``."""
    return tuple(float(f"{p50_ms * (0.75 + 0.75 * math.log10(step)):.4g}") for step in curve_steps(deliveries))


def latencies(p50_ms: float = 4.0, deliveries: int = 1000) -> LatencySummary:
    """Percentiles as they come, the higher the rarer."""
    percentiles = (p50_ms, 1.5 * p50_ms, 2 * p50_ms, 3 * p50_ms, 4 * p50_ms, 5 * p50_ms)
    return LatencySummary(deliveries, *percentiles, mean_ms=1.1 * p50_ms)


def result(
    verdict: str = "pass",
    *,
    clients: int = 10,
    rate: float = 1000.0,
    lost: int = 0,
    missing: int = 0,
    tx_rate: float | None = None,
    p50_ms: float = 4.0,
    harness_limited: bool = False,
    seconds: int = 10,
    reasons: tuple[str, ...] = ("because",),
    notes: tuple[str, ...] = (),
    seed: int = 1,
) -> Result:
    """A result whose totals go together; every client is there unless some are ``missing``."""
    chance = random.Random(seed)
    sent = round(rate * seconds)
    failing = clients if lost else 0
    totals = Totals(
        **{
            **ZEROS,
            "clients_asked": clients,
            "clients_ok": clients - failing - missing,
            "clients_failing": failing,
            "clients_missing": missing,
            "clients_reporting": clients - missing,
            "clients_expecting": clients - missing,
            "records_planned": sent,
            "records_attempted": sent,
            "records_acked": sent,
            "records_appended": sent,
            "records_counted": sent,
            "records_delivered": (sent - lost) * clients,
            "records_lost": lost * clients,
            "records_skipped": lost * clients,
            "tx_rate_per_s": rate if tx_rate is None else tx_rate,
            "mean_distinct_records": float(sent - lost),
            "mean_rx_rate_per_s": rate * (1 - lost / sent),
            "mean_loss_percent": 100.0 * lost / sent,
            "mean_failing_rx_rate_per_s": rate * (1 - lost / sent) if lost else 0.0,
            "publisher_cpu_percent": 3.5,
        }
    )
    latency = Latencies(
        e2e=latencies(p50_ms, sent * clients),
        service=latencies(p50_ms, sent * clients),
        publisher_lag=latencies(0.1, sent),
        client_p99_min_ms=p50_ms,
        client_p99_median_ms=2 * p50_ms,
        client_p99_max_ms=3 * p50_ms,
        slowest_client="client-1",
        clock_error_ms=0.0,
        curves=LatencyCurves(
            e2e=curve(p50_ms, sent * clients), service=curve(p50_ms, sent * clients), publisher_lag=curve(0.1, sent)
        ),
    )
    points = tuple(_moment(second, rate, clients, chance, p50_ms) for second in range(1, seconds + 1))
    bottleneck = Bottleneck("harness" if harness_limited else "none", harness_limited)
    told = tuple(_client(index, sent, lost, rate, chance, p50_ms) for index in range(clients - missing))
    return Result(verdict, reasons, notes, totals, latency, bottleneck, (), points, told)  # type: ignore[arg-type]


def _moment(second: int, rate: float, clients: int, chance: random.Random, p50_ms: float) -> TimelinePoint:
    return TimelinePoint(
        at_s=float(second),
        sent=round(rate),
        acked=round(rate),
        delivered=round(rate) * clients,
        slowest_client_records=round(rate * second),
        backlog=chance.randrange(50),
        fetches=100 * clients,
        received_bytes=round(rate) * clients * 14,
        e2e_p50_ms=p50_ms * chance.uniform(0.9, 1.1),
        e2e_p99_ms=2 * p50_ms * chance.uniform(0.9, 1.2),
        e2e_max_ms=5 * p50_ms * chance.uniform(0.9, 1.5),
        publisher_lag_max_ms=1.0,
        publisher_cpu_percent=3.0,
        publisher_rss_bytes=60_000_000,
        subscriber_cpu_percent_sum=20.0,
        subscriber_cpu_percent_max=5.0,
        subscriber_rss_bytes_sum=90_000_000,
        broker_cpu_percent=40.0 + chance.uniform(-5, 5),
        broker_rss_bytes=300_000_000,
        machine_cpu_percent=30.0,
    )


def _client(index: int, sent: int, lost: int, rate: float, chance: random.Random, p50_ms: float) -> ClientResult:
    return ClientResult(
        name=f"client-{index}",
        task_id=f"task-{index // 10}",
        state="failing" if lost else "ok",
        expected=sent,
        distinct=sent - lost,
        lost=lost,
        skipped=lost,
        rate_per_s=rate * chance.uniform(0.99, 1.01),
        e2e=latencies(p50_ms * chance.uniform(0.8, 1.3), sent),
    )


@functools.cache
def samples(seconds: int, p50_ms: float, *, per_second: int = 500, seed: int = 1) -> tuple[SubscriberStats, ...]:
    """One subscriber with a sample for each second, for the heatmap."""
    chance = random.Random(seed)
    found = []
    for second in range(1, seconds + 1):
        histogram = LatencyHistogram(SAMPLE_BITS)
        for _ in range(per_second):
            histogram.add(round(chance.lognormvariate(0, 0.5) * p50_ms * 1000))
        found.append(SubscriberSample(second + 0.01, per_second * second, 1, 1, 1, 0.1, 1, histogram.fact()))
    return (SubscriberStats("run", "task-0", (), ProcessUsage(1.0, 1, 1.0), samples=tuple(found)),)


def run(
    options: Options | None = None, made: Result | None = None, *, error: str = "", exit_code: int = 4, **given
) -> RunRecord:
    """A run's record; one with an error has no result.

    Args:
        options: its options.
        made: its result; otherwise one with these ``given`` totals.
        error: why it has none.
        exit_code: of a run with an error.
        given: see ``result``.
    """
    asked = options or Options(total_sub_apps=1)
    seconds = max(1, round(asked.test_duration))
    if made is None and not error:
        made = result(**{"clients": asked.client_count, "rate": asked.msg_rate, "seconds": seconds, **given})
    return RunRecord(
        order=RunOrder("hydra-1", asked, "127.0.0.1:9092", pace_ms=1.0),
        status="failed" if error else "complete",
        started_at="2026-11-25T07:00:00.000+00:00",
        versions={"hydra-scaletest": "0.1.0"},
        machine={"cpu_count": 2},
        error=error,
        exit_code=exit_code if made is None else EXIT_CODES[made.verdict],
        seed_keys={} if made is None else made.seed_keys(),
        result=made,
        evidence=Evidence(subscribers=samples(seconds, given.get("p50_ms", 4.0)) if made is not None else ()),
    )


def sweep(
    changes: list[dict[str, object]], *, repeats: int = 1, kind: str = "sweep", options: Options | None = None, of=None
) -> SweepRecord:
    """A sweep that has been run.

    Args:
        changes: of each point.
        repeats: runs of each point.
        kind: of the sweep.
        options: what all points have in common.
        of: (point, repeat) to a run; a pass where it is not given.
    """
    base = options or Options()
    points = make_points(base, changes)
    make = of or (lambda point, repeat: run(point.options, seed=point.number * 100 + repeat))
    return SweepRecord(
        kind=kind,  # type: ignore[arg-type]
        started_at="2026-11-25T07:00:00.000+00:00",
        command="hydra kafka sweep",
        options=base,
        plan=SweepPlan(points, repeats),
        points=tuple(
            PointRecord(point.number, point.changes, tuple(make(point, repeat) for repeat in range(repeats)), 12.5)
            for point in points
        ),
    )
