"""How the oldest records of a topic begin: what they tell of who wrote them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from kafka import TopicPartition
from kafka.errors import KafkaError

from hydra.accounting.evidence import OffsetRange
from hydra.broker.admin_client import open_consumer
from hydra.errors import BrokerError
from hydra.options.kafka_access import KafkaAccess

_POLL_MS = 200


def first_values(
    bootstrap_servers: str, access: KafkaAccess, topic: str, log: Mapping[int, OffsetRange], timeout_s: float
) -> Mapping[int, bytes]:
    """By partition, the value of its oldest record; partitions without records are left out.

    Raises:
        BrokerError: they cannot be read, or not within ``timeout_s``.
        UsageError: certificates or key of the access cannot be used.
    """
    wanted = {TopicPartition(topic, number): ends.start for number, ends in log.items() if ends.end > ends.start}
    found: dict[int, bytes] = {}
    if not wanted:
        return found
    deadline_s = time.monotonic() + timeout_s
    try:
        with contextlib.closing(open_consumer(bootstrap_servers.split(","), timeout_s / 3, access)) as consumer:
            consumer.assign(list(wanted))
            for partition, offset in wanted.items():
                consumer.seek(partition, offset)
            while any(partition.partition not in found for partition in wanted):
                polled = consumer.poll(timeout_ms=_POLL_MS)
                for partition, records in polled.items():
                    found.setdefault(partition.partition, records[0].value or b"")
                if not polled:  # what expires meanwhile will not come
                    starts = consumer.beginning_offsets(list(wanted))
                    wanted = {each: at for each, at in wanted.items() if starts[each] < log[each.partition].end}
                if time.monotonic() >= deadline_s:
                    raise BrokerError(f"the records of the topic {topic} cannot be read within {timeout_s:g} s")
    # RuntimeError, OSError: what kafka-python says of batches that it cannot unpack
    except (KafkaError, RuntimeError, OSError) as error:
        raise BrokerError(f"the records of the topic {topic} cannot be read ({type(error).__name__})") from error
    return found
