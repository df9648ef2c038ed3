"""Kafka's own perf tools on the work that a Hydra run does, against an embedded Kafka of their own."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.jars import resolve_classpath
from hydra.broker.java import find_java
from hydra.broker.jvm import java_command
from hydra.broker.lock import read_lock

TOOLS_LOCK = Path(__file__).with_name("kafka-tools.lock")
RECORD_BYTES = 14
DEADLINE_S = 120
PRODUCER = "org.apache.kafka.tools.ProducerPerformance"
CONSUMER = "org.apache.kafka.tools.ConsumerPerformance"


@dataclass(frozen=True)
class PerfTools:
    """What the two tools say of themselves."""

    producer_records_per_s: float
    producer_p99_ms: float
    consumer_records_per_s: float


def run_perf_tools(records: int, *, batch_bytes: int, linger_ms: int, rate_per_s: int = -1) -> PerfTools:
    """Produce and consume so many records of 14 bytes with acks=1.

    Raises:
        RuntimeError: a tool said nothing that can be read.
    """
    java = find_java()
    classpath = resolve_classpath([*read_lock(), *read_lock(TOOLS_LOCK)])
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
        broker = EmbeddedBroker(folder=Path(folder) / "kafka", java=java, classpath=classpath[:-1])
        with broker:
            admin = KafkaTopicAdmin(broker.bootstrap_servers)
            admin.create_topic("perf", partitions=1, configs={})
            admin.close()
            producer = _tool(java, classpath, folder, [
                PRODUCER, "--topic", "perf", "--num-records", str(records), "--record-size", str(RECORD_BYTES),
                "--throughput", str(rate_per_s), "--producer-props", f"bootstrap.servers={broker.bootstrap_servers}",
                "acks=1", f"batch.size={batch_bytes}", f"linger.ms={linger_ms}",
            ])  # fmt: skip
            consumer = _tool(java, classpath, folder, [
                CONSUMER, "--topic", "perf", "--num-records", str(records),
                "--bootstrap-server", broker.bootstrap_servers,
            ])  # fmt: skip
    last = [line for line in producer.splitlines() if "records sent" in line][-1]
    rate = re.search(r"([0-9.]+) records/sec", last)
    p99 = re.search(r"(\d+) ms 99th", last)
    if rate is None or p99 is None:
        raise RuntimeError(f"the producer tool said: {producer[-500:]}")
    return PerfTools(float(rate[1]), float(p99[1]), _consumed_per_s(consumer))


def _tool(java, classpath, folder, main) -> str:  # noqa: ANN001  # as java_command has them
    command = java_command(java, ("-Xmx1g", "-XX:+UseG1GC"), classpath, Path(folder), main)
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return done.stdout + done.stderr


def _consumed_per_s(output: str) -> float:
    """The column ``nMsg.sec`` of the tool's last line of figures."""
    lines = [line for line in output.splitlines() if line.count(",") >= 9]
    if len(lines) < 2:
        raise RuntimeError(f"the consumer tool said: {output[-500:]}")
    names = [name.strip() for name in lines[0].split(",")]
    values = [value.strip() for value in lines[-1].split(",")]
    return float(values[names.index("nMsg.sec")])
