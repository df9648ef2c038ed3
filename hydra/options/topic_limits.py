"""A topic that is there, and that a run is to leave as it is: what of it does not go with the run's options."""

from __future__ import annotations

from collections.abc import Iterator

from hydra.errors import UsageError
from hydra.options.options import Options, check_record_size
from hydra.options.order import TopicFacts

RECORD_OVERHEAD_BYTES = 10
"""Of a record in a log, beside its value."""


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
    check_record_size(options, facts.max_message_bytes, f"max.message.bytes of the topic {name}")
    if options.acks == "all" and facts.lacks_replicas:
        raise UsageError(
            f"--topic={name} has a partition with {facts.in_sync_replicas} replicas in sync, and --acks=all needs"
            f" {facts.min_insync_replicas} (min.insync.replicas)",
            hint="bring its replicas up, or measure with --acks=1",
        )


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
