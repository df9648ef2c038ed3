"""Which options go together, and which may change while a stack is up."""

from __future__ import annotations

from hydra.errors import UsageError
from hydra.options.kafka_versions import check_version
from hydra.options.kubernetes_options import check_kubernetes
from hydra.options.options import ACCESS_OPTIONS, FIXED_OPTIONS, Options, embedded_max_message_bytes, rack_of
from hydra.records.identity import one_record_batch_bytes


def checked(options: Options) -> Options:
    """The same options; raises UsageError, which names two that do not go together and their values."""
    if options.marathon_url is not None and options.bootstrap_servers is None:
        raise UsageError(
            f"--marathon_url={options.marathon_url} needs --bootstrap_servers",
            hint="tasks on other machines cannot reach an embedded Kafka",
        )
    check_kubernetes(options)
    _check_broker_settings(options)
    _check_replicas(options)
    _check_topic(options)
    check_version(options)
    check_record_size(options, embedded_max_message_bytes(options), "message.max.bytes")
    if options.group_mode == "group" and options.sub_driver == "kafka-python":
        raise UsageError(
            "--group_mode=group does not go with --sub_driver=kafka-python", hint="use --sub_driver=wire or confluent"
        )
    _check_group_protocol(options)
    if options.client_rack is not None and options.sub_driver == "kafka-python":
        raise UsageError(
            f"--client_rack={options.client_rack} does not go with --sub_driver=kafka-python: it leaves a follower"
            " again after each of its replies",
            hint="use --sub_driver=wire or confluent",
        )
    if options.idempotence == "yes" and options.acks != "all":
        raise UsageError(f"--idempotence=yes does not go with --acks={options.acks}", hint="use --acks=all")
    if options.batch_size_bytes > 2_147_483_647:
        raise UsageError(
            f"--msg_size={options.msg_size} x --msg_batch={options.msg_batch} is a batch.size of"
            f" {options.batch_size_bytes} bytes",
            hint="Kafka takes 2147483647 at most; set --batch_size, or lower --msg_batch",
        )
    if options.client_count > 100_000:
        raise UsageError(
            f"--total_sub_apps={options.total_sub_apps} x --clients_per_app={options.clients_per_app} is"
            f" {options.client_count} clients",
            hint="100000 at most",
        )
    return options


def check_same(now: Options, new: Options) -> None:
    """Check that options differ from those of a stack that is up only where they may.

    Raises:
        UsageError: names an option that cannot change while it is up.
    """
    for name in FIXED_OPTIONS:
        if getattr(now, name) != getattr(new, name):
            raise UsageError(
                f"options.{name} cannot change from {getattr(now, name)!r} to {getattr(new, name)!r} between runs",
                hint="call stop_appserver first",
            )


def check_record_size(options: Options, max_message_bytes: int | None, setting: str) -> None:
    """Raise UsageError if not even a batch of one record is as small as this ``setting`` of the brokers wants it."""
    needed = one_record_batch_bytes(options.msg_size)
    if max_message_bytes is not None and needed > max_message_bytes:
        raise UsageError(
            f"--msg_size={options.msg_size} makes record batches of {needed} bytes at least, and the brokers take"
            f" {max_message_bytes} ({setting})",
            hint=f"lower --msg_size, or raise {setting}",
        )


def _check_group_protocol(options: Options) -> None:
    if options.group_protocol == "classic":
        return
    if options.group_mode != "group":
        raise UsageError(
            f"--group_protocol={options.group_protocol} needs --group_mode=group: with {options.group_mode} no group"
            " is joined",
            hint="add --group_mode=group",
        )
    if options.topic is None:
        check_members(options, options.partitions)


def check_members(options: Options, partitions: int) -> None:
    """Raise UsageError if members would have no partition and cannot be told from those that have not joined.

    By the consumer protocol librdkafka tells its user nothing until it has a partition; our own driver knows.
    """
    if options.sub_driver == "wire" or options.group_protocol != "consumer" or options.group != "shared":
        return
    if options.client_count > partitions:
        raise UsageError(
            f"--group_protocol=consumer with --group=shared needs a partition for each of {options.client_count}"
            f" clients, and there are {partitions}",
            hint=f"raise --partitions, ask for {partitions} clients, or use --sub_driver=wire",
        )


def check_group_protocol(options: Options, *, takes_consumer: bool) -> None:
    """Raise UsageError if brokers do not take the members that the options ask for."""
    if options.group_protocol == "consumer" and not takes_consumer:
        servers = options.bootstrap_servers
        where = f"the brokers at {servers} do" if servers else "the embedded Kafka does"
        raise UsageError(
            f"--group_protocol=consumer needs Kafka 4, and {where} not take ConsumerGroupHeartbeat (KIP-848)",
            hint="use brokers from Kafka 4.0 on, with group.version=1 (kafka-features) and consumer among"
            " group.coordinator.rebalance.protocols, or leave --group_protocol out",
        )


def _check_topic(options: Options) -> None:
    if options.topic is None:
        return
    if options.bootstrap_servers is None:
        raise UsageError(f"--topic={options.topic} needs --bootstrap_servers", hint="an embedded Kafka has no topics")
    for name in ("retention_ms", "replication_factor", "min_insync_replicas"):
        if (given := getattr(options, name)) is not None:
            raise UsageError(
                f"--{name}={given} does not go with --topic={options.topic}, which stays as it is",
                hint="leave one of the two out",
            )
    if options.acks == "0" and options.audit == "never":
        raise UsageError(
            f"--acks=0 and --audit=never do not go with --topic={options.topic}",
            hint="without acks nobody but the auditor can tell the run's records from those of others",
        )


def _check_broker_settings(options: Options) -> None:
    if options.bootstrap_servers is None:
        if options.broker_metrics is not None:
            raise UsageError(
                f"--broker_metrics={options.broker_metrics} needs --bootstrap_servers",
                hint="leave it out: an embedded Kafka is looked into all the same",
            )
        for name in ACCESS_OPTIONS:
            if (given := getattr(options, name)) is not None:
                raise UsageError(
                    f"--{name}={given} needs --bootstrap_servers",
                    hint="what the embedded Kafka asks of its clients is --kafka_security",
                )
        return
    for name, value in (
        ("kafka_version", options.kafka_version or ""),
        ("broker_property", ",".join(options.broker_property)),
        ("broker_heap_mb", options.broker_heap_mb if options.broker_heap_mb != Options.broker_heap_mb else ""),
        ("brokers", options.brokers if options.brokers != Options.brokers else ""),
        ("kafka_security", options.kafka_security or ""),
    ):
        if value:
            raise UsageError(
                f"--{name}={value} is a setting of the embedded Kafka, which --bootstrap_servers="
                f"{options.bootstrap_servers} does without",
                hint="leave one of the two out; a broker of your own has its own server.properties",
            )


def _check_replicas(options: Options) -> None:
    embedded, in_sync = options.bootstrap_servers is None, options.min_insync_replicas
    copies = options.replication_factor or (1 if embedded else None)
    if embedded:
        check_broker_count(options, options.brokers)
    if embedded and options.client_rack is not None:
        _check_rack(options.client_rack, options.brokers, options.replication_factor or 1)
    if in_sync is not None and copies is not None and in_sync > copies:
        raise UsageError(
            f"--min_insync_replicas={in_sync} is more than the {copies} that --replication_factor makes of each"
            " partition",
            hint="no record would ever be acknowledged with acks=all; raise --replication_factor",
        )


def _check_rack(rack: str, brokers: int, copies: int) -> None:
    """Refuse a rack from which nothing could be read but from leaders."""
    racks = [rack_of(node_id) for node_id in range(1, brokers + 1)]
    if copies == 1:
        raise UsageError(
            f"--client_rack={rack} needs followers to read from, and each partition has one replica",
            hint="give --brokers=3 --replication_factor=3",
        )
    if rack not in racks:
        raise UsageError(
            f"--client_rack={rack} is none of the embedded Kafka's racks", hint=f"use one of {', '.join(racks)}"
        )


def check_broker_count(options: Options, brokers: int) -> None:
    """Raise UsageError if there are fewer brokers than a partition is to have replicas."""
    copies = options.replication_factor
    if copies is not None and copies > brokers:
        there = "there is 1 broker" if brokers == 1 else f"there are {brokers} brokers"
        embedded = options.bootstrap_servers is None
        raise UsageError(
            f"--replication_factor={copies} needs as many brokers, and {there}",
            hint=f"give --brokers={copies}" if embedded else "lower --replication_factor, or start the other brokers",
        )
