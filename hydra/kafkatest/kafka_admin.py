"""The administration of the Kafka that a session measures: by its own requests, or through a stack's ZooKeeper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.topic_command import OldJava, TopicCommand
from hydra.kafkatest.local_stack import LocalStack
from hydra.kafkatest.running_stack import RunningStack
from hydra.options.kafka_access import KafkaAccess
from hydra.options.kafka_versions import OLD_VERSION
from hydra.options.options import Options
from hydra.options.order import MAX_MESSAGE_BYTES
from hydra.run.protocols import TopicAdmin

ADMIN_TIMEOUT_S = 15.0
KAFKA_FOLDER = "kafka"
"""In a stack's folder."""

Note = Callable[[str], None]


def kafka_admin(servers: str, access: KafkaAccess) -> TopicAdmin:
    """Of any Kafka since 0.11; a UsageError for an address that is invalid."""
    return KafkaTopicAdmin(servers, timeout_s=ADMIN_TIMEOUT_S, access=access)


def old_kafka_admin(servers: str, stack: LocalStack | RunningStack, options: Options, note: Note) -> TopicAdmin:
    """Of the old Kafka of a stack that is up.

    Raises:
        JavaError, JarError: its tool cannot be run here.
    """
    from hydra.broker.old_admin import OldTopicAdmin

    topics = TopicCommand(old_java(options.java, Path(stack.folder), note), stack.zookeeper)
    largest = stack.settings.by_name().get("message.max.bytes", "")
    max_message_bytes = int(largest) if largest.isdecimal() else MAX_MESSAGE_BYTES
    return OldTopicAdmin(servers, topics, max_message_bytes, ADMIN_TIMEOUT_S)


def old_java(asked: str | None, folder: Path, note: Note, version: str = OLD_VERSION) -> OldJava:
    """What runs the programs of the Kafka with ZooKeeper of the stack with that folder. Raises JavaError, JarError."""
    from hydra.broker.classpath import resolve_classpath
    from hydra.broker.jar_lockfile import lock_file, read_lock
    from hydra.broker.java import find_java

    java = find_java(asked)  # before anything is fetched
    classpath = resolve_classpath(read_lock(lock_file(version)), progress=note)
    return OldJava(java, classpath, folder / KAFKA_FOLDER)
