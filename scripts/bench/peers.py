"""Readers that a user could pick, beside Hydra's: one log of one broker, interleaved; medians and ratios.

    scripts/python scripts/bench/peers.py --clients 1 10 100 --records 1000000 --rounds 5 --output peers.json

Each reader is a process of its own with so many consumers, each of which reads the whole log from its start. The
peers only count: kafka-python and confluent-kafka, every consumer polled in turn, and ``kafka-consumer-perf-test``,
which is one consumer. Hydra accounts for every record by its identity, and times none, in both of its shapes: tasks of
10 clients, and one task of all. Printed: deliveries a second, from the first one to the last, and CPU for each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra.clients.protocols import publisher_driver, subscriber_driver
from hydra.endpoints import parse_endpoints
from hydra.options.options import Options
from hydra.options.order import PartitionLeader, RunOrder, make_order
from hydra.run.clock import MonotonicClock
from hydra.tasks.host import read_process
from hydra.tasks.kafka_pub import PublisherRun

sys.path.insert(0, str(Path(__file__).resolve().parent))

from accounting_cost import seconds_of_additions
from kafka_perf import PerfTools

TASK_CLIENTS = 10
TOOL = "kafka-consumer-perf-test"
DEADLINE_S = 300.0
POLL_S = 0.1
RUN_ID = "hydra-peers"
"""All rounds read the same log."""


@dataclass(frozen=True)
class Work:
    """What one process reads."""

    reader: str
    bootstrap_servers: str
    clients: int
    records: int
    """That each of its clients has to read."""


def main() -> None:
    """Run the rounds and print; or be one of the readers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=1_000_000, help="of 14 bytes, in the log")
    parser.add_argument("--msg_batch", type=int, default=100, help="records in a batch of the log")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--output", help="JSON file with every round")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        print(json.dumps(READERS[asked.read](Work(**json.loads(sys.stdin.read())))))
        return
    print(f"this machine: 10 million additions in a Python loop take {seconds_of_additions():.2f} s of CPU")
    found: dict[str, list[dict[str, float]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder,
        PerfTools(Path(folder)) as tools,
        tools.topic(RUN_ID),
    ):
        _fill(tools.bootstrap_servers, asked.records, asked.msg_batch)
        for number in range(asked.rounds):
            for clients in asked.clients:
                figures = _round(tools, clients, asked.records)
                found.setdefault(f"{clients} clients", []).append(figures)
                print(f"{clients} clients, round {number + 1}: {_text(figures)}", flush=True)
    print("\nmedians")
    for name, rounds in found.items():
        print(f"{name}: {_text({key: statistics.median(each[key] for each in rounds) for key in rounds[0]})}")
    if asked.output:
        Path(asked.output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _fill(bootstrap_servers: str, records: int, msg_batch: int) -> None:
    """Write the log, with the identity in each record that Hydra's readers look for."""
    rate_per_s = 100_000_000.0
    options = Options(
        pub_driver="wire", msg_rate=rate_per_s, test_duration=records / rate_per_s, msg_batch=msg_batch, linger_ms=50
    )
    order = RunOrder(RUN_ID, options, bootstrap_servers)
    publishing = PublisherRun(order, publisher_driver(order), MonotonicClock(), read_process)
    try:
        publishing.open()
        publishing.send(MonotonicClock().now_s())
    finally:
        publishing.close()


def _round(tools: PerfTools, clients: int, records: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for reader, tasks in (
        ("kafka-python", 1), ("confluent-kafka", 1), ("hydra, one task", 1),
        ("hydra, tasks of 10", -(-clients // TASK_CLIENTS)),
    ):  # fmt: skip
        rate_per_s, cpu_us = _read_in_processes(reader, tools.bootstrap_servers, clients, records, tasks)
        figures |= {f"{reader}": rate_per_s, f"{reader} CPU us": cpu_us}
    if clients == 1:
        figures[TOOL] = tools.consume(RUN_ID, records)
    best = max(figures[peer] for peer in ("kafka-python", "confluent-kafka", TOOL) if peer in figures)
    return figures | {"hydra, one task / best peer": figures["hydra, one task"] / best}


def _read_in_processes(
    reader: str, bootstrap_servers: str, clients: int, records: int, tasks: int
) -> tuple[float, float]:
    """(deliveries a second, CPU of the processes for each delivery in microseconds)."""
    shares = [clients // tasks + (number < clients % tasks) for number in range(tasks)]
    command = [sys.executable, __file__, "--read", reader.partition(",")[0]]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in shares]
    try:
        for process, share in zip(processes, shares, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(vars(Work(reader, bootstrap_servers, share, records))))
            process.stdin.close()
        told = [json.loads(process.stdout.read()) for process in processes if process.stdout is not None]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    deliveries = clients * records
    window_s = max(each["end_s"] for each in told) - min(each["begin_s"] for each in told)
    return deliveries / window_s, 1e6 * sum(each["cpu_s"] for each in told) / deliveries


def _measured(read: Callable[[], int], wanted: int) -> dict[str, float]:
    """Read until so many deliveries are there. ``read`` returns how many more came; times are of the monotonic clock.

    They begin with the call that brings the first ones.

    Raises:
        TimeoutError: they did not all come.
    """
    deadline_s = time.monotonic() + DEADLINE_S
    got, begin_s, cpu_s = 0, 0.0, 0.0
    while got < wanted:
        if not got:
            begin_s, cpu_s = time.monotonic(), sum(os.times()[:2])
        got += read()
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{got} of {wanted} deliveries")
    return {"begin_s": begin_s, "end_s": time.monotonic(), "cpu_s": sum(os.times()[:2]) - cpu_s}


def _kafka_python(work: Work) -> dict[str, float]:
    from kafka import KafkaConsumer, TopicPartition  # noqa: PLC0415  # no process imports what another one reads with

    consumers = []
    for _ in range(work.clients):
        consumer = KafkaConsumer(bootstrap_servers=work.bootstrap_servers, auto_offset_reset="earliest")
        consumer.assign([TopicPartition(RUN_ID, 0)])
        consumers.append(consumer)

    def read() -> int:
        return sum(len(part) for each in consumers for part in each.poll(0, max_records=10_000).values())

    try:
        return _measured(read, work.clients * work.records)
    finally:
        for consumer in consumers:
            consumer.close()


def _confluent(work: Work) -> dict[str, float]:
    from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415

    consumers = []
    for number in range(work.clients):
        consumer = Consumer({
            "bootstrap.servers": work.bootstrap_servers, "group.id": f"peers-{number}",
            # By default it fetches no more for a second once 100,000 records wait in its queue.
            "fetch.queue.backoff.ms": 1,
        })  # fmt: skip
        consumer.assign([TopicPartition(RUN_ID, 0, 0)])
        consumers.append(consumer)
    wait_s = POLL_S if len(consumers) == 1 else 0.0

    def read() -> int:
        return sum(len(each.consume(10_000, wait_s)) for each in consumers)

    try:
        return _measured(read, work.clients * work.records)
    finally:
        for consumer in consumers:
            consumer.close()


def _hydra(work: Work) -> dict[str, float]:
    options = Options(total_sub_apps=1, clients_per_app=work.clients, fetch_pace_ms=0.0)
    order = make_order(RUN_ID, options, bootstrap_servers=work.bootstrap_servers, task_ids=["peers"], cores=1)
    leader = PartitionLeader(0, 1, parse_endpoints(work.bootstrap_servers)[0])
    order = RunOrder(RUN_ID, options, work.bootstrap_servers, order.clients, leaders=(leader,))
    driver = subscriber_driver(order)
    before = 0

    def read() -> int:
        nonlocal before
        driver.poll(POLL_S)
        now = sum(tally.received for tally in driver.tallies)
        before, fresh = now, now - before
        return fresh

    driver.open()
    try:
        measured = _measured(read, work.clients * work.records)
        stats = [tally.stats() for tally in driver.tallies]
    finally:
        driver.close()
    # The account: every client has had every record, once and in order.
    whole = ((0, 0, work.records),)
    wrong = [each.name for each in stats if [part.spans for part in each.partitions] != [whole]]
    if wrong:
        raise RuntimeError(f"not each record once and in order: {wrong}")
    return measured


READERS = {"kafka-python": _kafka_python, "confluent-kafka": _confluent, "hydra": _hydra}


def _text(figures: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:,.0f}" if value >= 1000 else f"{key} {value:.3g}" for key, value in figures.items())


if __name__ == "__main__":
    main()
