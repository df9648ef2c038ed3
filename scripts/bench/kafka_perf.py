"""Kafka's own perf tools on the work that a Hydra run does."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.classpath import resolve_classpath
from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.jar_lockfile import read_lock
from hydra.broker.java import find_java, java_command

TOOLS_LOCK = Path(__file__).with_name("kafka-tools.lock")
RECORD_BYTES = 14
DEADLINE_S = 120
PRODUCER = "org.apache.kafka.tools.ProducerPerformance"
CONSUMER = "org.apache.kafka.tools.ConsumerPerformance"


class PerfTools:
    """The two tools, and an embedded Kafka for them and for whoever is compared with them.

    Args:
        folder: for the broker and the tools' files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._java = find_java()
        self._classpath = resolve_classpath([*read_lock(), *read_lock(TOOLS_LOCK)])
        self._broker = EmbeddedBroker(folder=folder / "kafka", java=self._java, classpath=self._classpath[:-1])

    def __enter__(self) -> PerfTools:  # noqa: PYI034  # typing has Self from 3.11 on
        self._broker.__enter__()
        self.bootstrap_servers = self._broker.bootstrap_servers
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broker.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def topic(self, name: str) -> Iterator[str]:
        """A topic of one partition, which is gone afterwards."""
        admin = KafkaTopicAdmin(self.bootstrap_servers)
        try:
            admin.create_topic(name, partitions=1, configs={})
            yield name
            admin.delete_topic(name)
        finally:
            admin.close()

    def produce(self, topic: str, records: int, *, batch_bytes: int, linger_ms: int) -> float:
        """Records of 14 bytes a second that the producer tool gets acked (acks=1).

        Raises:
            RuntimeError: the tool said nothing that can be read.
        """
        said = self._run([
            PRODUCER, "--topic", topic, "--num-records", str(records), "--record-size", str(RECORD_BYTES),
            "--throughput", "-1", "--producer-props", f"bootstrap.servers={self.bootstrap_servers}",
            "acks=1", f"batch.size={batch_bytes}", f"linger.ms={linger_ms}",
        ])  # fmt: skip
        last = [line for line in said.splitlines() if "records sent" in line]
        rate = re.search(r"([0-9.]+) records/sec", last[-1]) if last else None
        if rate is None:
            raise RuntimeError(f"the producer tool said: {said[-500:]}")
        return float(rate[1])

    def consume(self, topic: str, records: int) -> float:
        """Records a second that the consumer tool reads.

        Raises:
            RuntimeError: as ``produce``.
        """
        return _consumed_per_s(
            self._run([
                CONSUMER, "--topic", topic, "--num-records", str(records),
                "--bootstrap-server", self.bootstrap_servers,
            ])
        )  # fmt: skip

    def _run(self, main: list[str]) -> str:
        command = java_command(self._java, ("-Xmx1g", "-XX:+UseG1GC"), self._classpath, self._folder, main)
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
