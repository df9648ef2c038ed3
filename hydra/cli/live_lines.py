"""How a run stands in a few lines, for a terminal: counts, rates, latency, backlog and CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hydra.report.text import number, three_digits
from hydra.run.clock import duration
from hydra.run.protocols import LiveCounts

BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
SPARK_MOMENTS = 40
"""Moments in a sparkline: the last ones."""

MIN_STEP_S = 0.2
"""Counts that are closer to each other say nothing of a rate."""


def counts_text(live: LiveCounts) -> str:
    """The counts of a moment in one line."""
    p99_ms = live.figures.e2e_p99_ms
    latency = "" if p99_ms is None else f", p99 {p99_ms:.3g} ms"
    missing = f", {live.clients_missing:,} clients missing" if live.clients_missing else ""
    return (
        f"{live.elapsed_s:4.1f} s: sent {live.sent:,} of {live.planned:,}, acked {live.acked:,},"
        f" delivered {live.delivered:,}, backlog {live.backlog:,} deliveries{latency}{missing}"
    )


def live_lines(moments: Sequence[LiveCounts], *, bars: str = BARS) -> list[str]:
    """The lines of a run that goes on, the most important one first; what is not known is left out.

    Args:
        moments: its counts so far, the earliest first; of those before the last only the newest matter.
        bars: of the sparkline, the lowest first; empty: it has none.
    """
    if not moments:
        return []
    now = moments[-1]
    lines = (_time_parts(now), _record_parts(moments), _latency_parts(now), _backlog_parts(moments, bars), _cpu(now))
    return [", ".join(parts) for parts in map(list, lines) if parts]


def _time_parts(now: LiveCounts) -> Iterator[str]:
    yield f"{now.elapsed_s:.1f} s"
    if now.left_s:
        yield f"{duration(now.left_s)} left"
    if now.clients_missing:
        yield f"{now.clients_missing:,} clients missing"


def _record_parts(moments: Sequence[LiveCounts]) -> Iterator[str]:
    now = moments[-1]
    before = next((each for each in reversed(moments) if now.elapsed_s - each.elapsed_s >= MIN_STEP_S), None)

    def told(name: str, count: int, earlier: int) -> str:
        if before is None:
            return f"{name} {count:,}"
        return f"{name} {count:,} ({number((count - earlier) / (now.elapsed_s - before.elapsed_s))}/s)"

    earlier = before or now
    yield told("sent", now.sent, earlier.sent).replace(f"{now.sent:,}", f"{now.sent:,} of {now.planned:,}", 1)
    yield told("delivered", now.delivered, earlier.delivered)
    yield f"acked {now.acked:,}"


def _latency_parts(now: LiveCounts) -> Iterator[str]:
    figures = now.figures
    named = (
        ("p99", figures.e2e_p99_ms), ("p50", figures.e2e_p50_ms), ("p99 so far", figures.so_far_p99_ms),
        ("highest so far", figures.so_far_max_ms),
    )  # fmt: skip
    return (f"{name} {three_digits(value)} ms" for name, value in named if value is not None)


def _backlog_parts(moments: Sequence[LiveCounts], bars: str) -> Iterator[str]:
    backlog = [moment.backlog for moment in moments[-SPARK_MOMENTS:]]
    yield f"backlog {backlog[-1]:,} deliveries"
    if bars and len(backlog) > 1:
        yield f"{sparkline(backlog, bars)} up to {max(backlog):,}"


def sparkline(values: Sequence[float], bars: str = BARS) -> str:
    """A bar for each value, from zero to the highest."""
    highest = max(values, default=0)
    return "".join(bars[round((len(bars) - 1) * value / highest) if highest else 0] for value in values)


def _cpu(now: LiveCounts) -> Iterator[str]:
    figures = now.figures
    named = (
        ("broker", figures.broker_cpu_percent),
        ("subscribers", figures.subscriber_cpu_percent_sum),
        ("busiest one", figures.subscriber_cpu_percent_max),
        ("publisher", figures.publisher_cpu_percent),
        ("whole machine", figures.machine_cpu_percent),
    )
    told = [f"{name} {value:.0f} %" for name, value in named if value is not None]
    return iter([f"CPU: {told[0]}", *told[1:]] if told else [])
