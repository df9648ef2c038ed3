"""What a Kafka 0.9 is asked: Metadata 0 and ListOffsets 0, each on a connection of its own.

Layouts are those of Kafka's protocol guide, written and read by kafka-python. Brokers before 0.10 close a connection
on which they are asked which requests they take (KIP-35).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kafka.protocol.consumer import ListOffsetsRequest, ListOffsetsResponse
from kafka.protocol.metadata import MetadataRequest, MetadataResponse

from hydra.clients.wire_protocol import EARLIEST, LATEST
from hydra.clients.wire_request import ask
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.kafka_errors import error_name

_CLIENT_ID = "hydra-admin"
_VERSION = 0
_UNKNOWN_TOPIC = 3
_NO_LEADER = -1

UNREADABLE = (OSError, ValueError, LookupError, TypeError, struct.error)
"""What asking raises where there is no reply, or one that kafka-python cannot read."""


@dataclass(frozen=True)
class OldPartition:
    """A partition of a topic, as Metadata 0 tells it."""

    number: int
    leader: int
    in_sync_replicas: int

    @property
    def has_leader(self) -> bool:
        """Whether a broker leads it."""
        return self.leader != _NO_LEADER


@dataclass(frozen=True)
class OldMetadata:
    """The brokers of a cluster by their ids, and the partitions of a topic: None where there is no such topic."""

    brokers: Mapping[int, Endpoint]
    partitions: tuple[OldPartition, ...] | None = None


def old_metadata(endpoint: Endpoint, topic: str, timeout_s: float) -> OldMetadata:
    """The brokers, and the topic.

    Raises:
        BrokerError: the broker refused; with Kafka's name for the error.
        OSError, ValueError, LookupError, TypeError, struct.error: there is no reply that can be read (``UNREADABLE``).
    """
    request = MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name=topic)])
    reply = MetadataResponse.decode(_reply(endpoint, request, timeout_s), version=_VERSION, header=True).to_dict()
    brokers = {each["node_id"]: Endpoint(each["host"], each["port"]) for each in reply["brokers"]}
    (found,) = reply["topics"]
    if found["error_code"] == _UNKNOWN_TOPIC:
        return OldMetadata(brokers)
    partitions = sorted(found["partitions"], key=lambda each: int(each["partition_index"]))
    return OldMetadata(
        brokers,
        tuple(OldPartition(each["partition_index"], each["leader_id"], len(each["isr_nodes"])) for each in partitions),
    )


def old_offsets(endpoint: Endpoint, topic: str, partitions: Iterable[int], timeout_s: float) -> dict[int, list[int]]:
    """Log start and end offset of each of a topic's partitions, all of which that broker leads; raises the same."""
    numbers = list(partitions)
    found: dict[int, list[int]] = {number: [] for number in numbers}
    # The end first: a log only grows, so that no range begins after its end.
    for timestamp in (LATEST, EARLIEST):
        for number, offset in _offsets_at(endpoint, topic, numbers, timestamp, timeout_s).items():
            found[number].insert(0, offset)
    return found


def _offsets_at(
    endpoint: Endpoint, topic: str, partitions: Iterable[int], timestamp: int, timeout_s: float
) -> dict[int, int]:
    kind = ListOffsetsRequest.ListOffsetsTopic
    wanted = [
        kind.ListOffsetsPartition(partition_index=number, timestamp=timestamp, max_num_offsets=1)
        for number in partitions
    ]
    request = ListOffsetsRequest(replica_id=-1, topics=[kind(name=topic, partitions=wanted)])
    reply = ListOffsetsResponse.decode(_reply(endpoint, request, timeout_s), version=_VERSION, header=True).to_dict()
    offsets: dict[int, int] = {}
    for partition in reply["topics"][0]["partitions"]:
        if code := partition["error_code"]:
            raise BrokerError(f"cannot read the offsets of the topic {topic} on {endpoint} ({error_name(code)})")
        (offsets[partition["partition_index"]],) = partition["old_style_offsets"]
    return offsets


def _reply(endpoint: Endpoint, request: MetadataRequest | ListOffsetsRequest, timeout_s: float) -> bytes:
    request.with_header(correlation_id=1, client_id=_CLIENT_ID)
    return ask(endpoint, bytearray(request.encode(version=_VERSION, header=True, framed=True)), timeout_s)
