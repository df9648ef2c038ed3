"""From the options of a run to what each task is told."""

from __future__ import annotations

from hydra.options.options import Options
from hydra.options.order import (
    ClientAssignment,
    PartitionLeader,
    PublisherConfiguration,
    RunIdentity,
    SubscriberConfiguration,
)
from hydra.records.identity import FIRST_INCARNATION

MIN_DELIVERY_TIMEOUT_S = 1.0


def publisher_configuration(options: Options, run: RunIdentity) -> PublisherConfiguration:
    """What the publisher does in this run."""
    return PublisherConfiguration(
        run_id=run.run_id,
        topic=run.topic,
        bootstrap_servers=run.bootstrap_servers,
        driver=options.pub_driver,
        incarnation=FIRST_INCARNATION,
        partitions=options.partitions,
        msg_rate_per_s=options.msg_rate,
        test_duration_s=options.test_duration,
        msg_size_bytes=options.msg_size,
        msg_batch_records=options.msg_batch,
        batch_size_bytes=options.batch_size_bytes,
        linger_ms=options.linger_ms,
        acks=options.acks,
        delivery_timeout_s=delivery_timeout_s(options),
    )


def delivery_timeout_s(options: Options) -> float:
    """How long a record may wait for its ack: as long as the run waits for anything after the plan's end."""
    return max(MIN_DELIVERY_TIMEOUT_S, options.drain_timeout)


def subscriber_configuration(
    options: Options,
    run: RunIdentity,
    clients: tuple[ClientAssignment, ...],
    leaders: tuple[PartitionLeader, ...],
) -> SubscriberConfiguration:
    """What one subscriber does in this run."""
    return SubscriberConfiguration(
        run_id=run.run_id,
        topic=run.topic,
        bootstrap_servers=run.bootstrap_servers,
        driver=options.sub_driver,
        clients=clients,
        leaders=leaders,
        fetch_min_bytes=options.fetch_min_bytes,
        fetch_wait_max_ms=options.fetch_wait_max_ms,
        max_buffer_bytes=options.consumer_max_buffer_size,
        fetch_pace_ms=options.pace_ms,
        group_mode=options.group_mode,
        publisher_incarnation=FIRST_INCARNATION,
    )
