"""Which Kafka a local stack has: brokers alone, or an old one with its ZooKeeper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hydra.broker.cds_archive import archive_flags, cds_archive
from hydra.broker.classpath import resolve_classpath
from hydra.broker.cluster import EmbeddedCluster
from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.formatting import kept_format
from hydra.broker.jar_lockfile import lock_file, read_lock
from hydra.broker.java import find_java
from hydra.broker.listener_security import keep_access, listener_security
from hydra.broker.server_properties import Place, rack_properties
from hydra.broker.zookeeper_kafka import ZookeeperKafka
from hydra.kafkatest.kafka_admin import KAFKA_FOLDER, old_java
from hydra.kafkatest.local_stack import StackCommand

Note = Callable[[str], None]


def make_kafka(command: StackCommand, folder: Path, note: Note) -> EmbeddedCluster | ZookeeperKafka:
    """The Kafka that a stack with that folder is to have; does not start it.

    Raises:
        JavaError, JarError: what it needs is not there.
    """
    settings, version = command.settings, command.settings.version
    if version is not None and settings.has_zookeeper:
        return ZookeeperKafka(
            old_java(command.java, folder, note, version),
            version,
            properties={**(rack_properties(1) if settings.racks else {}), **settings.by_name()},
            heap_mb=settings.heap_mb,
            performance_flags=settings.jvm_flags,
        )
    return _cluster(command, folder, note)


def _cluster(command: StackCommand, folder: Path, note: Note) -> EmbeddedCluster:
    settings = command.settings
    java = find_java(command.java)  # before anything is fetched
    security = listener_security(settings.security)
    if security is not None:
        keep_access(folder, security.access)
    classpath = resolve_classpath(read_lock(lock_file(settings.version)), progress=note)
    archive = cds_archive(java, classpath, folder / "classes", note=note)

    def make(broker_folder: Path, place: Place, cluster_id: str) -> EmbeddedBroker:
        return EmbeddedBroker(
            folder=broker_folder,
            java=java,
            classpath=classpath,
            properties={**(rack_properties(place.node_id) if settings.racks else {}), **settings.by_name()},
            heap_mb=settings.heap_mb,
            performance_flags=settings.jvm_flags,
            env={"HYDRA_RUN_ID": command.run_id},
            jvm_flags=archive_flags(archive),
            kept_format=kept_format(archive),
            security=security,
            place=place,
            cluster_id=cluster_id,
        )

    return EmbeddedCluster(folder / KAFKA_FOLDER, settings.brokers, make)
