"""The points of docs/performance.md, interleaved over several rounds: medians, and JSON on request.

    scripts/python scripts/bench/points.py [POINT ...] --rounds 3 --output points.json

Each point is a whole run in a stack of its own, as ``hydra kafka`` makes it. Absolute figures drift on shared machines:
compare what stands in one table, and look at how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from hydra.core.options import Options
from hydra.core.result import RunRecord
from hydra.kafkatest.runtest import RunTestKAFKA

sys.path.insert(0, str(Path(__file__).resolve().parent))

import kafka_perf

POINTS: dict[str, Options] = {
    "seed-500x3000": Options(total_sub_apps=50, msg_rate=3000.0),
    "one-task-500x3000": Options(total_sub_apps=1, clients_per_app=500, msg_rate=3000.0),
    "bare-1000x1000": Options(),
    "5000x2000": Options(total_sub_apps=10, clients_per_app=500, msg_rate=2000.0, linger_ms=500),
    "10000x1000": Options(total_sub_apps=20, clients_per_app=500, msg_rate=1000.0, linger_ms=500),
    "confluent-50x1000": Options(total_sub_apps=5, msg_rate=1000.0, sub_driver="confluent"),
    "kafka-python-50x1000": Options(total_sub_apps=5, msg_rate=1000.0, sub_driver="kafka-python"),
    "wire-50x1000": Options(total_sub_apps=5, msg_rate=1000.0),
    "publisher": Options(
        total_sub_apps=1, clients_per_app=1, msg_rate=1_500_000.0, msg_batch=10_000, linger_ms=50, test_duration=5.0
    ),
}
PERF_TOOLS = "kafka-perf-tools"
"""Kafka's own producer and consumer tools on the publisher's batches."""

COLUMNS = (
    "verdict", "limit", "lost", "e2e_p50_ms", "e2e_p99_ms", "sub_cpu_us_per_delivery", "sub_rss_mib", "fetches_per_s",
    "records_per_fetch", "tx_rate_per_s", "lag_p99_ms", "machine_cpu_percent", "start_s", "collect_s",
)  # fmt: skip


def main() -> None:
    """Run the points and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", nargs="*", default=[*POINTS, PERF_TOOLS], metavar="POINT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", help="JSON file with every round")
    asked = parser.parse_args()
    if unknown := set(asked.points) - {*POINTS, PERF_TOOLS}:
        parser.error(f"no such point: {', '.join(unknown)}; there are {', '.join([*POINTS, PERF_TOOLS])}")
    found: dict[str, list[dict[str, object]]] = {name: [] for name in asked.points}
    for number in range(asked.rounds):
        for name in asked.points:
            figures = perf_tools() if name == PERF_TOOLS else measure(POINTS[name])
            found[name].append(figures)
            print(f"round {number + 1} {name}: " + ", ".join(f"{key} {text(value)}" for key, value in figures.items()))
    print("\nmedians")
    for name, rounds in found.items():
        print(f"{name}: " + ", ".join(f"{key} {text(median([r[key] for r in rounds]))}" for key in rounds[0]))
    if asked.output:
        Path(asked.output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure(options: Options) -> dict[str, object]:
    """One run, and what of it belongs in the table."""
    with RunTestKAFKA(options, runtest=False) as runner:
        runner.run_test()
        assert runner.record is not None
        return figures_of(runner.record)


def figures_of(record: RunRecord) -> dict[str, object]:
    """The columns of the table, by name."""
    result = record.result
    assert result is not None
    figures, latency, phases = result.figures, result.latency, record.phases_s
    values = (
        result.verdict,
        result.bottleneck.limit,
        figures.records_lost,
        latency.e2e.p50_ms,
        latency.e2e.p99_ms,
        figures.subscriber_cpu_us_per_delivery,
        figures.subscriber_rss_bytes_sum / 2**20,
        figures.fetches_per_s,
        figures.records_per_fetch,
        figures.tx_rate_per_s,
        latency.publisher_lag.p99_ms,
        figures.machine_cpu_percent,
        sum(phases[name] for name in ("topic", "configure", "barrier")),
        phases["collect"],
    )
    return dict(zip(COLUMNS, values, strict=True))


def perf_tools() -> dict[str, object]:
    """What Kafka's own tools make of the publisher's point."""
    options = POINTS["publisher"]
    tools = kafka_perf.run_perf_tools(5_000_000, batch_bytes=options.batch_size_bytes, linger_ms=options.linger_ms)
    return {
        "producer_records_per_s": tools.producer_records_per_s,
        "consumer_records_per_s": tools.consumer_records_per_s,
    }


def median(values: list[object]) -> object:
    """The median of numbers; of words, all that there were."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    return statistics.median(numbers) if len(numbers) == len(values) else "/".join(sorted(set(map(str, values))))


def text(value: object) -> str:
    """A figure in three or four digits."""
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and value < 10_000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


if __name__ == "__main__":
    main()
