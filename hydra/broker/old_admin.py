"""Topics and offsets of an embedded Kafka 0.9: the `TopicAdmin` of `hydra.run.protocols`.

Its one broker is asked for leaders and offsets; topics are made and deleted through its ZooKeeper.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from hydra.accounting.evidence import OffsetRange
from hydra.broker.old_requests import UNREADABLE, OldMetadata, old_metadata, old_offsets
from hydra.broker.topic_command import TopicCommand
from hydra.endpoints import Endpoint, parse_endpoints
from hydra.errors import BrokerError, UsageError
from hydra.options.connection_limits import ConnectionLimit
from hydra.options.kafka_versions import OLD_VERSION
from hydra.options.order import NO_TIMESTAMPS, PartitionLeader, TopicFacts, TopicIdentity
from hydra.run.protocols import ClusterFacts

_T = TypeVar("_T")

_ASK_TIMEOUT_S = 2.0
_LOOK_TIMEOUT_S = 1.0
_POLL_S = 0.1
_NO_TOPIC = "hydra-no-topic"
_UP_HINT = "check that the embedded Kafka and its ZooKeeper are up"


class OldTopicAdmin:
    """Topics and offsets of one embedded Kafka 0.9. Not thread-safe; holds no connection.

    Args:
        bootstrap_servers: ``host:port`` of its broker.
        topics: makes and deletes topics in its ZooKeeper.
        max_message_bytes: the broker's message.max.bytes.
        timeout_s: for each call, with all its retries, but for what starts a JVM.
    """

    def __init__(
        self, bootstrap_servers: str, topics: TopicCommand, max_message_bytes: int, timeout_s: float = 15.0
    ) -> None:
        (self._endpoint,) = parse_endpoints(bootstrap_servers)
        self._topics = topics
        self._max_message_bytes = max_message_bytes
        self._timeout_s = timeout_s
        self._configs: dict[str, Mapping[str, str]] = {}
        """The settings that a topic was made with: no broker of 0.9 tells them."""

    def check(self) -> ClusterFacts:
        """Reach the broker; see the Protocol."""
        found = self._call("describe the cluster", lambda: self._metadata(_NO_TOPIC))
        return ClusterFacts("", found.brokers, OLD_VERSION, self._max_message_bytes)

    def connection_limits(self) -> Sequence[ConnectionLimit] | None:
        """A broker of 0.9 does not tell its settings; see the Protocol."""
        return None

    def create_topic(
        self, name: str, *, partitions: int, replicas: int | None = None, configs: Mapping[str, str]
    ) -> Sequence[PartitionLeader]:
        """Create a topic; see the Protocol."""
        if replicas not in {None, 1}:
            raise BrokerError(f"the topic {name} cannot have {replicas} replicas: its Kafka has one broker")
        self._topics.create(name, partitions, configs)
        self._configs[name] = dict(configs)
        deadline = time.monotonic() + self._timeout_s
        while len(leaders := self._leaders(name)) != partitions:
            state = f"has {len(leaders)} leaders for {partitions} partitions after {self._timeout_s:g} s"
            _pause(deadline, f"the topic {name} on {self._endpoint} {state}")
        return leaders

    def find_topic(self, name: str) -> Sequence[PartitionLeader]:
        """The leaders of a topic that is there; see the Protocol."""
        if not (leaders := self._leaders(name)):
            raise UsageError(f"the topic {name} does not exist on {self._endpoint}", hint="leave --topic out")
        return leaders

    def describe_topic(self, name: str) -> TopicFacts:
        """What is known of a topic: how it was made, and its replicas; see the Protocol."""
        found = self._call(f"describe the topic {name}", lambda: self._metadata(name))
        configs = self._configs.get(name, {})
        retention_ms, in_sync = configs.get("retention.ms"), configs.get("min.insync.replicas")
        return TopicFacts(
            max_message_bytes=int(configs.get("max.message.bytes", self._max_message_bytes)),
            timestamp_type=NO_TIMESTAMPS,
            min_insync_replicas=int(in_sync) if in_sync else None,
            in_sync_replicas=min((each.in_sync_replicas for each in found.partitions or ()), default=None),
            replicas=1,  # its Kafka has one broker
            retention_ms=int(retention_ms) if retention_ms else None,
        )

    def look_at_topic(self, name: str) -> TopicIdentity | None:
        """One question to the broker; see the Protocol. Topics of 0.9 have nothing that tells them from later ones."""
        try:
            found = old_metadata(self._endpoint, name, _LOOK_TIMEOUT_S)
        except UNREADABLE as error:
            raise BrokerError(
                f"cannot look at the topic {name} on {self._endpoint} ({error})", hint=_UP_HINT
            ) from error
        return None if found.partitions is None else TopicIdentity()

    def delete_topic(self, name: str) -> None:
        """Delete a topic, and wait until neither the broker nor ZooKeeper knows it any more; see the Protocol."""

        def is_known() -> bool:
            return self._call(f"delete the topic {name}", lambda: self._metadata(name)).partitions is not None

        if not is_known() and name not in self._topics.topics():
            return
        self._topics.delete(name)
        deadline = time.monotonic() + self._timeout_s
        text = f"the topic {name} on {self._endpoint} was marked for deletion {self._timeout_s:g} s ago and is still"
        while is_known():
            _pause(deadline, f"{text} there")
        while name in self._topics.topics():
            _pause(deadline, f"{text} in ZooKeeper")
        self._configs.pop(name, None)

    def delete_groups(self, group_ids: Sequence[str]) -> None:
        """No client of a run with this Kafka joins a group."""
        if group_ids:
            raise BrokerError(f"groups cannot be deleted on Kafka {OLD_VERSION}")

    def is_settled(self, group_id: str, *, members: int, partitions: int) -> bool:  # noqa: ARG002  # of the Protocol
        """There is no such group."""
        return True

    def offsets(self, topic: str) -> Mapping[int, OffsetRange]:
        """Log start and end offset of every partition; see the Protocol."""

        def read() -> Mapping[int, OffsetRange]:
            partitions = self._metadata(topic).partitions
            if partitions is None:
                raise BrokerError(f"the topic {topic} does not exist on {self._endpoint}")
            numbers = [partition.number for partition in partitions]
            found = old_offsets(self._endpoint, topic, numbers, _ASK_TIMEOUT_S)
            return {number: OffsetRange(start, end) for number, (start, end) in found.items()}

        return self._call(f"read the offsets of the topic {topic}", read)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _leaders(self, name: str) -> tuple[PartitionLeader, ...]:
        found = self._call(f"find the leaders of the topic {name}", lambda: self._metadata(name))
        return tuple(
            PartitionLeader(partition.number, partition.leader, found.brokers[partition.leader])
            for partition in found.partitions or ()
            if partition.has_leader and partition.leader in found.brokers
        )

    def _metadata(self, topic: str) -> OldMetadata:
        return old_metadata(self._endpoint, topic, _ASK_TIMEOUT_S)

    def _call(self, what: str, action: Callable[[], _T]) -> _T:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return action()
            except UNREADABLE as error:
                _pause(deadline, f"cannot {what} on {self._endpoint} ({error})")


def is_old_ready(endpoint: Endpoint, timeout_s: float) -> bool:
    """Whether a broker of 0.9 is there and is in its own list of brokers; it listens some time before that."""
    try:
        return endpoint in old_metadata(endpoint, _NO_TOPIC, timeout_s).brokers.values()
    except UNREADABLE:
        return False


def _pause(deadline: float, error: str) -> None:
    """Wait a moment before the next look; a BrokerError once the deadline is over."""
    if time.monotonic() > deadline:
        raise BrokerError(error, hint=_UP_HINT)
    time.sleep(_POLL_S)
