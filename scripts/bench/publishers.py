"""Publishers alone, beside Kafka's own producer tool: the same records and batches on one broker, interleaved; medians.

    scripts/python scripts/bench/publishers.py --rounds 5 --output publishers.json

Printed: records of 14 bytes a second from the first one to the last ack (acks=1), CPU time of a driver for each record,
and the ratio to the tool in the same round. Nobody reads along; the consumer tool reads the log afterwards.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hydra.clients.protocols import publisher_driver
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.run.clock import MonotonicClock
from hydra.tasks import usage
from hydra.tasks.kafka_pub import PublisherRun

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kafka_perf import PerfTools

DRIVERS = ("wire", "confluent")
TOOL = "kafka-producer-perf-test"
READER = "kafka-consumer-perf-test"
LINGER_MS = 50
Rates = dict[str, float]


def main() -> None:
    """Run the rounds and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=10_000_000, help="for each publisher and round")
    parser.add_argument("--batch_bytes", type=int, nargs="+", default=[140_000, 1_400])
    parser.add_argument("--output", help="JSON file with every round")
    asked = parser.parse_args()
    found: dict[str, list[Rates]] = {}
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder, PerfTools(Path(folder)) as tools:
        _round(tools, "warm-up", 1_000_000, asked.batch_bytes[0])
        for batch_bytes in asked.batch_bytes:
            name = f"batches of {batch_bytes} bytes"
            for number in range(asked.rounds):
                rates = _round(tools, f"round-{batch_bytes}-{number}", asked.records, batch_bytes)
                found.setdefault(name, []).append(rates)
                print(f"{name}, round {number + 1}: {_text(rates)}")
    print("\nmedians")
    for name, rounds in found.items():
        print(f"{name}: {_text({key: statistics.median(rates[key] for rates in rounds) for key in rounds[0]})}")
    if asked.output:
        Path(asked.output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _round(tools: PerfTools, name: str, records: int, batch_bytes: int) -> Rates:
    rates: Rates = {}
    for driver in DRIVERS:
        with tools.topic(f"{name}-{driver}") as topic:
            rates |= _drive(driver, topic, tools.bootstrap_servers, records, batch_bytes)
    with tools.topic(f"{name}-tool") as topic:
        rates[TOOL] = tools.produce(topic, records, batch_bytes=batch_bytes, linger_ms=LINGER_MS)
        rates[READER] = tools.consume(topic, records)
    for driver in DRIVERS:
        rates[f"{driver} / tool"] = rates[driver] / rates[TOOL]
    return rates


def _drive(driver: str, topic: str, bootstrap_servers: str, records: int, batch_bytes: int) -> Rates:
    """What a driver does under the harness's own loop, on a plan that no publisher can keep."""
    rate_per_s = 100_000_000.0
    options = Options(
        pub_driver=driver, msg_rate=rate_per_s, test_duration=records / rate_per_s,
        msg_batch=batch_bytes // 14, linger_ms=LINGER_MS,
    )  # fmt: skip
    order = RunOrder(topic, options, bootstrap_servers)
    publishing = PublisherRun(order, publisher_driver(order), MonotonicClock(), usage.process)
    try:
        publishing.open()
        began = usage.read(traffic=True)
        publishing.send(MonotonicClock().now_s())
        ended = usage.read(traffic=True)
        stats = publishing.finish(driver, usage.usage(began, ended), usage.traffic(began, ended))
    finally:
        publishing.close()
    cpu_s = stats.usage.cpu_percent / 100 * stats.usage.window_s
    if stats.acked != records:
        raise RuntimeError(f"{driver}: {stats.acked} of {records} records were acked: {stats.error}")
    return {driver: stats.acked / stats.ack_window_s, f"{driver} CPU us": 1e6 * cpu_s / records}


def _text(rates: Rates) -> str:
    shown: dict[bool, Callable[[float], str]] = {True: "{:,.0f}".format, False: "{:.3g}".format}
    return ", ".join(f"{key} {shown[value >= 1000](value)}" for key, value in rates.items())


if __name__ == "__main__":
    main()
