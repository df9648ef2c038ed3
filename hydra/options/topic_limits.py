"""What of a topic does not go with a run's options: of any, and of one that is there and is to stay as it is."""

from __future__ import annotations

from collections.abc import Iterator

from hydra.errors import UsageError
from hydra.options.option_checks import check_members, check_record_size
from hydra.options.options import Options
from hydra.options.order import MAX_MESSAGE_BYTES, TopicFacts
from hydra.records.identity import RECORD_OVERHEAD_BYTES, one_record_batch_bytes


def check_records_fit(options: Options, facts: TopicFacts, topic: str = "the topic") -> None:
    """Refuse a topic that takes no record of this run: as large as they are, or with as few replicas in sync.

    Raises:
        UsageError: names the setting.
    """
    check_record_size(options, facts.max_message_bytes, f"max.message.bytes of {topic}")
    if options.acks == "all" and facts.lacks_replicas:
        raise UsageError(
            f"--acks=all needs {facts.min_insync_replicas} replicas in sync (min.insync.replicas), and a partition of"
            f" {topic} has {facts.in_sync_replicas}: no record would be acknowledged",
            hint="see which brokers are down, raise the number of replicas, or measure with --acks=1",
        )


def check_broker_limit(options: Options, max_message_bytes: int | None) -> None:
    """Refuse records that a topic of the run's own would not take where the brokers' own limit is this one.

    Records that are larger than Kafka's default allows have a topic with a limit of its own (``RunOrder``).

    Raises:
        UsageError: names the setting.
    """
    if options.topic is None and one_record_batch_bytes(options.msg_size) <= MAX_MESSAGE_BYTES:
        check_record_size(options, max_message_bytes, "message.max.bytes")


def check_topic(options: Options, facts: TopicFacts, partitions: int) -> None:
    """Raise UsageError if a run with these options cannot be made in their topic, which has so many partitions."""
    name = options.topic
    if options.partitions not in {Options.partitions, partitions}:
        raise UsageError(
            f"--partitions={options.partitions} does not go with --topic={name}, which has {partitions}",
            hint="leave --partitions out: they are the topic's",
        )
    if facts.cleanup_policy is not None and "compact" in facts.cleanup_policy:
        raise UsageError(
            f"--topic={name} is compacted (cleanup.policy={facts.cleanup_policy}): brokers refuse records without a key"
            " in it, and Hydra's have none",
            hint="name a topic with cleanup.policy=delete, or leave --topic out for one of the run's own",
        )
    check_members(options, partitions)
    check_records_fit(options, facts, f"the topic {name}")


def doubts(options: Options, facts: TopicFacts) -> Iterator[str]:
    """What of the topic's settings may spoil a run that can be made all the same, in sentences."""
    run_s = options.test_duration + options.drain_timeout
    if facts.cleanup_policy is None:
        yield (
            f"the settings of the topic {options.topic} may not be read (DESCRIBE_CONFIGS): its retention and its"
            " limits are not known"
        )
    if facts.retention_ms is not None and 0 <= facts.retention_ms < 1000 * run_s:
        yield (
            f"the topic {options.topic} keeps records for {facts.retention_ms / 1000:g} s (retention.ms), and sending"
            f" and draining may take {run_s:g} s: what expires before it is read counts as expired"
        )
    record_bytes = options.msg_size + RECORD_OVERHEAD_BYTES
    log_bytes = options.msg_rate * options.test_duration * record_bytes / options.partitions
    if facts.retention_bytes is not None and 0 <= facts.retention_bytes < log_bytes:
        yield (
            f"the topic {options.topic} keeps {facts.retention_bytes:,} bytes of a partition (retention.bytes), and the"
            f" run writes {log_bytes:,.0f} to each: what expires before it is read counts as expired"
        )
    if facts.compression_type not in {"", "producer", options.compression, *_UNCOMPRESSED.get(options.compression, ())}:
        yield (
            f"the brokers compress anew what is written to the topic {options.topic}"
            f" (compression.type={facts.compression_type}, --compression={options.compression})"
        )


_UNCOMPRESSED = {"none": ("uncompressed",)}
