"""Topics and offsets of any cluster, by kafka-python's admin client: the `TopicAdmin` of `hydra.run.protocols`.

A call is repeated until its time is up while its error may pass (kafka_errors.py); any other error becomes a
BrokerError. A port that refuses connections is given up after a few seconds.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, TypeVar

from kafka import OffsetSpec, TopicPartition
from kafka.errors import (
    BrokerResponseError,
    InvalidTopicError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.protocol.metadata import MetadataRequest, MetadataResponse

from hydra.accounting.evidence import OffsetRange
from hydra.broker.admin_client import AdminClient, open_client
from hydra.broker.connectivity import await_reachable, check_access, connection_errors
from hydra.broker.groups import HAS_MEMBERS, empty_group, is_settled, member_count, takes_consumer_groups, undeleted
from hydra.broker.settings import read_connection_limits, read_settings, read_topic_settings
from hydra.clients.wire_request import ask
from hydra.endpoints import Endpoint, parse_endpoints
from hydra.errors import BrokerError, UsageError
from hydra.kafka_errors import error_hint, error_name, is_final
from hydra.options.connection_limits import ConnectionLimit
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import PartitionLeader, TopicFacts, TopicIdentity
from hydra.run.protocols import ClusterFacts

_T = TypeVar("_T")

_POLL_S = 0.05
_PAUSE_S = 0.2
_ADVERTISED_TIMEOUT_S = 2.0

_LOOK_TIMEOUT_S = 1.0
_METADATA_WITH_IDS, _METADATA_BEFORE = 10, 7
"""Versions of the Metadata request: of brokers from 2.8 on, which give topics an id, and of those before (2.1)."""

_MAX_BYTES = "message.max.bytes"
_CONSUMER_GROUP_HEARTBEAT = 68
"""Its api key."""

ALL_UP_HINT = "check that all brokers of the cluster are up"


class _Partition(TypedDict):
    partition_index: int
    leader_id: int
    leader_epoch: int
    isr_nodes: list[int]
    replica_nodes: list[int]


class _Topic(TypedDict):
    error_code: int
    topic_id: object
    partitions: list[_Partition]


class KafkaTopicAdmin:
    """Topics and offsets of one cluster. Not thread-safe. Connects at the first call, and again after a `close`.

    Args:
        bootstrap_servers: ``host:port``, comma separated; a UsageError if one is invalid.
        timeout_s: for each call, with all its retries.
        access: how the cluster lets its clients in.
    """

    def __init__(self, bootstrap_servers: str, timeout_s: float = 15.0, access: KafkaAccess = NO_SECURITY) -> None:
        self._endpoints = parse_endpoints(bootstrap_servers)
        self._where = ", ".join(map(str, self._endpoints))
        self._timeout_s = timeout_s
        # Two requests may run into this within one call.
        self._request_timeout_s = timeout_s / 3
        self._client: AdminClient | None = None
        self._access = access
        self._let_in = False
        self._has_topic_ids = True
        self._advertised: Sequence[Endpoint] = ()

    def check(self) -> ClusterFacts:
        """Reach the cluster and learn about it; see the Protocol."""
        facts = self._call("describe the cluster", _cluster_facts)
        if not facts.brokers:
            return facts
        if facts.takes_consumer_groups:
            with contextlib.suppress(ConnectionError):
                takes = takes_consumer_groups(facts.brokers[min(facts.brokers)], self._access)
                facts = replace(facts, takes_consumer_groups=takes)
        broker, wanted = str(min(facts.brokers)), [_MAX_BYTES]
        found = self._call("describe the cluster", lambda client: read_settings(client, "broker", broker, wanted)) or {}
        return replace(facts, max_message_bytes=int(found[_MAX_BYTES]) if _MAX_BYTES in found else None)

    def connection_limits(self) -> Sequence[ConnectionLimit] | None:
        """What limits the connections to the brokers; see the Protocol."""

        def read(client: AdminClient) -> Sequence[ConnectionLimit] | None:
            return read_connection_limits(client, _cluster_facts(client).brokers)

        return self._call("read what limits connections", read)

    def create_topic(
        self, name: str, *, partitions: int, replicas: int | None = None, configs: Mapping[str, str]
    ) -> Sequence[PartitionLeader]:
        """Create a topic; see the Protocol."""
        deadline = time.monotonic() + self._timeout_s
        topic = {name: {"num_partitions": partitions, "replication_factor": replicas or -1, "configs": dict(configs)}}
        tries = 0

        def create(client: AdminClient) -> None:
            nonlocal tries
            tries += 1
            answer = client.create_topics(topic, timeout_ms=int(self._request_timeout_s * 1000), raise_errors=False)
            error, reason = for_code(answer["topics"][0]["error_code"]), answer["topics"][0].get("error_message")
            # If it exists at a retry it is ours: the response to an earlier request was lost.
            if error is NoError or (error is TopicAlreadyExistsError and tries > 1):
                return
            raise error(reason) if reason else error()

        self._call(f"create the topic {name}", create)
        return self._await_leaders(name, partitions, deadline)

    def find_topic(self, name: str) -> Sequence[PartitionLeader]:
        """The leaders of a topic that is there, once every partition has one; see the Protocol."""
        deadline, what = time.monotonic() + self._timeout_s, f"find the topic {name}"
        if not self._call(what, lambda client: _exists(client, name)):
            hint = "create it first, or leave --topic out: then each run has a topic of its own"
            raise UsageError(f"the topic {name} does not exist on {self._where}", hint=hint)
        count = self._call(what, lambda client: len(_topic(client, name)["partitions"]))
        return self._await_leaders(name, count, deadline)

    def _await_leaders(self, name: str, partitions: int, deadline: float) -> Sequence[PartitionLeader]:
        what = f"find the leaders of the topic {name}"
        while len(leaders := self._call(what, lambda client: _leaders(client, name))) != partitions:
            state = f"has {len(leaders)} leaders for {partitions} partitions after {self._timeout_s:g} s"
            _pause(deadline, f"the topic {name} on {self._where} {state}", ALL_UP_HINT)
        return leaders

    def describe_topic(self, name: str) -> TopicFacts:
        """Identity and settings of a topic; see the Protocol."""
        facts = self._call(f"describe the topic {name}", lambda client: _topic_facts(client, name))
        self._has_topic_ids = bool(facts.identity.topic_id)
        return facts

    def look_at_topic(self, name: str) -> TopicIdentity | None:
        """One question to the first broker that answers it, on a connection of its own; see the Protocol."""
        version = _METADATA_WITH_IDS if self._has_topic_ids else _METADATA_BEFORE
        reason: Exception | None = None
        for endpoint in self._endpoints:
            try:
                topic = _topic_at(endpoint, name, version, self._access)
                if topic["error_code"] == UnknownTopicOrPartitionError.errno:
                    return None
                if not topic["error_code"]:
                    return _identity(topic)
            # Whatever the codec raises for a reply that is cut off, or has a null where there must be none.
            except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
                reason = error
                continue
            reason = for_code(topic["error_code"])(name)
        raise BrokerError(f"cannot look at the topic {name} on {self._where} ({reason})", hint=ALL_UP_HINT)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone; see the Protocol."""
        deadline = time.monotonic() + self._timeout_s

        def delete(client: AdminClient) -> None:
            with contextlib.suppress(UnknownTopicOrPartitionError):
                client.delete_topics([name], timeout_ms=int(self._request_timeout_s * 1000))

        what = f"delete the topic {name}"
        self._call(what, delete)
        while self._call(what, lambda client: _exists(client, name)):
            text = f"the topic {name} on {self._where} was deleted {self._timeout_s:g} s ago and is still there"
            _pause(deadline, text, ALL_UP_HINT)

    def delete_groups(self, group_ids: Sequence[str], *, with_members: bool = True) -> None:
        """Delete consumer groups, with the members that are still in them; see the Protocol.

        Without ``with_members`` a BrokerError says where there are some at the moment of the deletion.
        """
        deadline = time.monotonic() + self._timeout_s
        left: Sequence[str] = group_ids
        what = f"delete {len(left)} consumer groups"
        while left:
            reasons = self._call(what, lambda client: undeleted(client, left))  # noqa: B023  # called at once
            left = list(reasons)
            for group_id in (name for name, reason in reasons.items() if reason == HAS_MEMBERS):
                if not with_members:
                    raise BrokerError(f"the group {group_id} on {self._where} has members by now, and stays")
                self._call(what, lambda client: self._empty(client, group_id))  # noqa: B023  # called at once
            if left:
                text = f"{len(left)} consumer groups on {self._where} cannot be deleted ({left[0]}: {reasons[left[0]]})"
                _pause(deadline, text, f"{ALL_UP_HINT}, and that nobody else is in the groups")

    def _empty(self, client: AdminClient, group_id: str) -> None:
        empty_group(client, group_id, self._endpoints, self._access)

    def is_settled(self, group_id: str, *, members: int, partitions: int) -> bool:
        """Whether a group of the consumer protocol has come to rest; see the Protocol."""
        return is_settled(self._endpoints, group_id, self._access, members=members, partitions=partitions)

    def offsets(self, topic: str) -> Mapping[int, OffsetRange]:
        """Log start and end offset of every partition; see the Protocol."""
        return self._call(f"read the offsets of the topic {topic}", lambda client: _offsets(client, topic))

    def topics(self) -> Sequence[str]:
        """The names of all topics that this user may see."""
        return self._call("list the topics", lambda client: sorted(map(str, client.list_topics())))

    def groups(self) -> Sequence[str]:
        """The ids of all consumer groups that this user may see."""
        found = self._call("list the groups", lambda client: client.list_groups())
        return sorted(str(item["group_id"]) for item in found)

    def member_count(self, group_id: str) -> int:
        """How many members a group has, of either protocol; a BrokerError where nobody may know."""
        what = f"count the members of the group {group_id}"
        return self._call(what, lambda client: member_count(client, group_id, self._endpoints, self._access))

    def newest_record_s(self, topic: str) -> float | None:
        """The latest timestamp of a topic's records, in seconds since the epoch; None where it has no records."""

        def newest(client: AdminClient) -> float | None:
            numbers = [partition["partition_index"] for partition in _topic(client, topic)["partitions"]]
            partitions = [TopicPartition(topic, number) for number in numbers]
            found = client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.MAX_TIMESTAMP))
            return max((at.timestamp / 1000 for at in found.values() if at.timestamp >= 0), default=None)

        return self._call(f"read the timestamps of the topic {topic}", newest)

    def close(self) -> None:
        """Close all connections; harmless the second time."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _call(self, what: str, action: Callable[[AdminClient], _T]) -> _T:
        retry_until = time.monotonic() + self._timeout_s - self._request_timeout_s
        while True:
            try:
                return action(self._connected())
            # RuntimeError: what kafka-python says when the cluster has no controller for a moment
            except (KafkaError, RuntimeError, OSError) as error:
                if isinstance(error, BrokerResponseError) and is_final(error.errno):
                    raise BrokerError(
                        f"cannot {what} on {self._where} ({error_name(error.errno)}: {_sentence(error)})",
                        hint=error_hint(error.errno, "CREATE, DESCRIBE and DELETE"),
                    ) from error
                if not getattr(error, "retriable", True) or time.monotonic() >= retry_until:
                    raise self._advertised_address_error() or BrokerError(
                        f"cannot {what} on {self._where} ({_sentence(error)})",
                        hint="check that the broker is up, has connections left, and allows this client to do that",
                    ) from error
            # A client that lost its broker reconnects in a thread of its own, and leaves a socket open each time.
            self.close()
            time.sleep(_PAUSE_S)
            await_reachable(self._endpoints, max(0.0, retry_until - time.monotonic()))

    def _advertised_address_error(self) -> BrokerError | None:
        """The error if a broker advertises an address that cannot be reached from here."""
        for endpoint, error in connection_errors(self._other_addresses, _ADVERTISED_TIMEOUT_S).items():
            return BrokerError(
                f"the Kafka cluster at {self._where} advertises {endpoint} to its clients, which cannot be reached"
                f" from here ({error.strerror or error})",
                hint="check that this broker is up, and that its advertised.listeners has an address that this"
                " machine and the agents can reach",
            )
        return None

    @property
    def _other_addresses(self) -> Sequence[Endpoint]:
        """Those that the brokers advertise and that were not given."""
        return [endpoint for endpoint in self._advertised if endpoint not in self._endpoints]

    def _connected(self) -> AdminClient:
        if self._client is None:
            await_reachable(self._endpoints, self._timeout_s)
            if not self._let_in:
                check_access(self._endpoints, self._access)
            servers = [str(endpoint) for endpoint in self._endpoints]
            self._client, connections = open_client(servers, self._request_timeout_s, self._access)
            self._advertised = [Endpoint(broker.host, broker.port) for broker in connections.cluster.brokers()]
            if self._access.tls and not self._let_in:
                # A certificate may be for the name that was given, and not for the one that the broker advertises.
                for endpoint in self._other_addresses:
                    check_access([endpoint], self._access, _ADVERTISED_TIMEOUT_S)
            self._let_in = True
        return self._client


def _pause(deadline: float, error: str, hint: str) -> None:
    """Wait a moment before the next look; a BrokerError once the deadline is over."""
    if time.monotonic() > deadline:
        raise BrokerError(error, hint=hint)
    time.sleep(_POLL_S)


def _cluster_facts(client: AdminClient) -> ClusterFacts:
    cluster = client.cluster()
    brokers = {broker["node_id"]: Endpoint(broker["host"], broker["port"]) for broker in cluster["brokers"]}
    cluster_id = str(cluster["cluster_id"])
    if not brokers:
        return ClusterFacts(cluster_id)
    known = client.get_broker_version_data(min(brokers))
    takes_consumer_groups = _CONSUMER_GROUP_HEARTBEAT in known.api_versions
    version = ".".join(map(str, known.broker_version))
    return ClusterFacts(cluster_id, brokers, version, takes_consumer_groups=takes_consumer_groups)


def _topic(client: AdminClient, name: str) -> _Topic:
    topic: _Topic = client.describe_topics([name])[0]
    return topic


def _identity(topic: _Topic) -> TopicIdentity:
    topic_id = str(topic.get("topic_id") or "")
    partitions = sorted(topic["partitions"], key=lambda partition: partition["partition_index"])
    epochs = tuple(partition.get("leader_epoch", -1) for partition in partitions)
    return TopicIdentity(topic_id if topic_id.strip("0-") else "", epochs)


def _topic_facts(client: AdminClient, name: str) -> TopicFacts:
    topic = _topic(client, name)
    if topic["error_code"]:
        raise for_code(topic["error_code"])(name)
    in_sync = min((len(partition["isr_nodes"]) for partition in topic["partitions"]), default=None)
    replicas = max((len(partition["replica_nodes"]) for partition in topic["partitions"]), default=None)
    settings = read_topic_settings(client, name)
    return replace(settings, identity=_identity(topic), in_sync_replicas=in_sync, replicas=replicas)


def _topic_at(endpoint: Endpoint, name: str, version: int, access: KafkaAccess) -> _Topic:
    """The topic in one broker's reply to a Metadata request; raises what ``ask`` raises."""
    wanted = MetadataRequest.MetadataRequestTopic(name=name)
    request = MetadataRequest(topics=[wanted], allow_auto_topic_creation=False)
    request.with_header(correlation_id=1, client_id="hydra-admin")
    framed = request.encode(version=version, header=True, framed=True)
    reply = ask(endpoint, bytearray(framed), _LOOK_TIMEOUT_S, access)
    topic: _Topic = MetadataResponse.decode(reply, version=version, header=True).to_dict()["topics"][0]
    return topic


def _exists(client: AdminClient, name: str) -> bool:
    error = for_code(_topic(client, name)["error_code"])
    if error in (UnknownTopicOrPartitionError, InvalidTopicError):  # no topic can have an invalid name
        return False
    if is_final(error.errno):
        raise error(name)
    return True


def _leaders(client: AdminClient, name: str) -> tuple[PartitionLeader, ...]:
    """The partitions that have a leader whose address is known."""
    brokers = _cluster_facts(client).brokers
    topic = _topic(client, name)
    if is_final(topic["error_code"]):
        raise for_code(topic["error_code"])(name)
    partitions = sorted(topic["partitions"], key=lambda partition: partition["partition_index"])
    return tuple(
        PartitionLeader(partition["partition_index"], partition["leader_id"], brokers[partition["leader_id"]])
        for partition in partitions
        if partition["leader_id"] in brokers
    )


def _offsets(client: AdminClient, name: str) -> Mapping[int, OffsetRange]:
    topic = _topic(client, name)
    if topic["error_code"]:
        raise for_code(topic["error_code"])(name)
    partitions = [TopicPartition(name, partition["partition_index"]) for partition in topic["partitions"]]
    # The end first: a log only grows, so that no range begins after its end.
    ends = client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    starts = client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    return {p.partition: OffsetRange(starts[p].offset, ends[p].offset) for p in partitions}


def _sentence(error: BaseException) -> str:
    """The text of an error of kafka-python, without the long request and response that it quotes."""
    text = str(error).partition("Request '")[0].strip().rstrip(":")
    return text or type(error).__name__
