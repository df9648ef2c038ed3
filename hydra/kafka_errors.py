"""Kafka's error codes: their names, which of them pass by waiting and which do not, and what to do about the latter.

After the protocol guide's list (https://kafka.apache.org/protocol#protocol_error_codes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_RETRIABLE: Mapping[int, str] = {
    2: "CORRUPT_MESSAGE", 3: "UNKNOWN_TOPIC_OR_PARTITION", 5: "LEADER_NOT_AVAILABLE", 6: "NOT_LEADER_OR_FOLLOWER",
    7: "REQUEST_TIMED_OUT", 9: "REPLICA_NOT_AVAILABLE", 13: "NETWORK_EXCEPTION", 14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE", 16: "NOT_COORDINATOR", 19: "NOT_ENOUGH_REPLICAS",
    20: "NOT_ENOUGH_REPLICAS_AFTER_APPEND", 41: "NOT_CONTROLLER", 51: "CONCURRENT_TRANSACTIONS",
    56: "KAFKA_STORAGE_ERROR", 70: "FETCH_SESSION_ID_NOT_FOUND", 71: "INVALID_FETCH_SESSION_EPOCH",
    72: "LISTENER_NOT_FOUND", 74: "FENCED_LEADER_EPOCH", 75: "UNKNOWN_LEADER_EPOCH", 78: "OFFSET_NOT_AVAILABLE",
    80: "PREFERRED_LEADER_NOT_AVAILABLE", 83: "ELIGIBLE_LEADERS_NOT_AVAILABLE", 88: "UNSTABLE_OFFSET_COMMIT",
    89: "THROTTLING_QUOTA_EXCEEDED", 100: "UNKNOWN_TOPIC_ID", 103: "INCONSISTENT_TOPIC_ID",
    106: "FETCH_SESSION_TOPIC_ID_ERROR", 122: "SHARE_SESSION_NOT_FOUND", 123: "INVALID_SHARE_SESSION_EPOCH",
}  # fmt: skip
"""The same request may succeed later."""

_ANSWERED: Mapping[int, str] = {
    1: "OFFSET_OUT_OF_RANGE", 8: "BROKER_NOT_AVAILABLE", 22: "ILLEGAL_GENERATION", 25: "UNKNOWN_MEMBER_ID",
    27: "REBALANCE_IN_PROGRESS", 45: "OUT_OF_ORDER_SEQUENCE_NUMBER", 46: "DUPLICATE_SEQUENCE_NUMBER",
    47: "INVALID_PRODUCER_EPOCH", 59: "UNKNOWN_PRODUCER_ID", 60: "REASSIGNMENT_IN_PROGRESS", 68: "NON_EMPTY_GROUP",
    79: "MEMBER_ID_REQUIRED", 110: "FENCED_MEMBER_EPOCH", 113: "STALE_MEMBER_EPOCH",
}  # fmt: skip
"""Not retriable as they are, but a client goes on with another request, such as to join its group again."""

_FINAL: Mapping[int, str] = {
    -1: "UNKNOWN_SERVER_ERROR", 4: "INVALID_FETCH_SIZE", 10: "MESSAGE_TOO_LARGE", 11: "STALE_CONTROLLER_EPOCH",
    12: "OFFSET_METADATA_TOO_LARGE", 17: "INVALID_TOPIC_EXCEPTION", 18: "RECORD_LIST_TOO_LARGE",
    21: "INVALID_REQUIRED_ACKS", 23: "INCONSISTENT_GROUP_PROTOCOL", 24: "INVALID_GROUP_ID",
    26: "INVALID_SESSION_TIMEOUT", 28: "INVALID_COMMIT_OFFSET_SIZE", 29: "TOPIC_AUTHORIZATION_FAILED",
    30: "GROUP_AUTHORIZATION_FAILED", 31: "CLUSTER_AUTHORIZATION_FAILED", 32: "INVALID_TIMESTAMP",
    33: "UNSUPPORTED_SASL_MECHANISM", 34: "ILLEGAL_SASL_STATE", 35: "UNSUPPORTED_VERSION",
    36: "TOPIC_ALREADY_EXISTS", 37: "INVALID_PARTITIONS", 38: "INVALID_REPLICATION_FACTOR",
    39: "INVALID_REPLICA_ASSIGNMENT", 40: "INVALID_CONFIG", 42: "INVALID_REQUEST",
    43: "UNSUPPORTED_FOR_MESSAGE_FORMAT", 44: "POLICY_VIOLATION", 48: "INVALID_TXN_STATE",
    49: "INVALID_PRODUCER_ID_MAPPING", 50: "INVALID_TRANSACTION_TIMEOUT", 52: "TRANSACTION_COORDINATOR_FENCED",
    53: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", 54: "SECURITY_DISABLED", 55: "OPERATION_NOT_ATTEMPTED",
    57: "LOG_DIR_NOT_FOUND", 58: "SASL_AUTHENTICATION_FAILED", 61: "DELEGATION_TOKEN_AUTH_DISABLED",
    62: "DELEGATION_TOKEN_NOT_FOUND", 63: "DELEGATION_TOKEN_OWNER_MISMATCH",
    64: "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", 65: "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    66: "DELEGATION_TOKEN_EXPIRED", 67: "INVALID_PRINCIPAL_TYPE", 69: "GROUP_ID_NOT_FOUND",
    73: "TOPIC_DELETION_DISABLED", 76: "UNSUPPORTED_COMPRESSION_TYPE", 77: "STALE_BROKER_EPOCH",
    81: "GROUP_MAX_SIZE_REACHED", 82: "FENCED_INSTANCE_ID", 84: "ELECTION_NOT_NEEDED",
    85: "NO_REASSIGNMENT_IN_PROGRESS", 86: "GROUP_SUBSCRIBED_TO_TOPIC", 87: "INVALID_RECORD", 90: "PRODUCER_FENCED",
    91: "RESOURCE_NOT_FOUND", 92: "DUPLICATE_RESOURCE", 93: "UNACCEPTABLE_CREDENTIAL", 94: "INCONSISTENT_VOTER_SET",
    95: "INVALID_UPDATE_VERSION", 96: "FEATURE_UPDATE_FAILED", 97: "PRINCIPAL_DESERIALIZATION_FAILURE",
    98: "SNAPSHOT_NOT_FOUND", 99: "POSITION_OUT_OF_RANGE", 101: "DUPLICATE_BROKER_REGISTRATION",
    102: "BROKER_ID_NOT_REGISTERED", 104: "INCONSISTENT_CLUSTER_ID", 105: "TRANSACTIONAL_ID_NOT_FOUND",
    107: "INELIGIBLE_REPLICA", 108: "NEW_LEADER_ELECTED", 109: "OFFSET_MOVED_TO_TIERED_STORAGE",
    111: "UNRELEASED_INSTANCE_ID", 112: "UNSUPPORTED_ASSIGNOR", 114: "MISMATCHED_ENDPOINT_TYPE",
    115: "UNSUPPORTED_ENDPOINT_TYPE", 116: "UNKNOWN_CONTROLLER_ID", 117: "UNKNOWN_SUBSCRIPTION_ID",
    118: "TELEMETRY_TOO_LARGE", 119: "INVALID_REGISTRATION", 120: "TRANSACTION_ABORTABLE",
    121: "INVALID_RECORD_STATE", 124: "FENCED_STATE_EPOCH", 125: "INVALID_VOTER_KEY", 126: "DUPLICATE_VOTER",
    127: "VOTER_NOT_FOUND", 128: "INVALID_REGULAR_EXPRESSION", 129: "REBOOTSTRAP_REQUIRED",
    130: "STREAMS_INVALID_TOPOLOGY", 131: "STREAMS_INVALID_TOPOLOGY_EPOCH", 132: "STREAMS_TOPOLOGY_FENCED",
    133: "SHARE_SESSION_LIMIT_REACHED",
}  # fmt: skip
"""No waiting helps: a right, a setting or the request has to change."""

_NAMES = {**_RETRIABLE, **_ANSWERED, **_FINAL}
_FINAL_BY_NAME = {name: code for code, name in _FINAL.items()} | {"TOPIC_EXCEPTION": 17, "MSG_SIZE_TOO_LARGE": 10}
"""librdkafka has a few names of its own."""
_CODES_BY_NAME = {name: code for code, name in _NAMES.items()} | _FINAL_BY_NAME

_NAMED = re.compile(r"\[Error (\d+)\]|\b[A-Z]+(?:_[A-Z]+)+\b")
"""A code as kafka-python writes it, or its name, as all others do."""

_LIBRDKAFKA_TEXTS: Mapping[str, int] = {
    "Broker: Message size too large": 10, "Broker: Invalid topic": 17,
    "Broker: Message batch larger than configured server segment size": 18,
    "Broker: Broker failed to validate record": 87,
    "Broker: Inconsistent group protocol": 23, "Broker: Invalid group.id": 24,
    "Broker: Invalid session timeout": 26, "Broker: Topic authorization failed": 29,
    "Broker: Group authorization failed": 30, "Broker: Cluster authorization failed": 31,
    "Broker: Unsupported SASL mechanism": 33, "Broker: API version not supported": 35,
    "Broker: Policy violation": 44, "Broker: SASL Authentication failed": 58,
    "Broker: Consumer group has reached maximum size": 81,
}  # fmt: skip
"""Where librdkafka says what happened, it does not name the error."""

NO_ADDRESS = "the name cannot be resolved"
NOT_KNOWN_YET = "is not known yet"
"""How our own driver tells of a name that has no address now, and of a broker that is in no answer of the others."""

_NETWORK_OR_BROKER = re.compile(
    rf"{NO_ADDRESS}|{NOT_KNOWN_YET}"
    r"|Broker: |refused|reset|connection abort|[Dd]isconnect|timed? ?out|[Tt]imeout|Broken pipe|No route to host"
    r"|unreachable|resolve|Network is down|Host is down|Machine is not on the network|endpoint is not connected"
    r"|getaddrinfo|Name or service|name resolution|address associated with|DNS lookup"
    r"|are down|transport failure|closed the connection|no reply|no connection|no leader|certificate"
    r"|No brokers|NoBrokersAvailable|Bootstrap|[Cc]onnection (failed|setup)|KafkaConnectionError|Connection lost: None"
    r"|[Aa]uthenticat|SSL|TLS|SASL|NodeNotReady|rebalanc|out of range|network data|sending request data|\berror \d"
)
"""How the client libraries and our own driver tell of a network or a broker that is not there, or says no."""

TURNED_AWAY = "before it had answered anything"
NOT_LET_IN = "not let in: no reply"
"""How our own driver tells of a connection that a broker closed at once, and of one that it leaves in its queue."""

_TURNED_AWAY = re.compile(rf"{TURNED_AWAY}|APIVERSION_QUERY|requesting ApiVersion")
"""librdkafka asks for the API versions first, too; kafka-python does not tell how far a connection came."""

NAMES_PREFIX = "hydra-"
"""What the names of Hydra's topics and groups begin with."""

_TOO_FEW_REPLICAS = "fewer replicas are in sync than min.insync.replicas: see which brokers are down, or use --acks=1"

UNSUPPORTED_VERSION = 35
UNKNOWN_SERVER_ERROR = -1
"""The lowest of Kafka's codes; what is below is a client library's own."""

_HINTS: Mapping[int, str] = {
    3: "see who deletes topics there",
    7: "the replicas did not confirm in time: see the brokers' disks and load",
    10: "lower --batch_size or --msg_size, or raise max.message.bytes (message.max.bytes of the brokers)",
    17: "see the rules for topic names on these brokers",
    18: "raise segment.bytes of the topic, or lower --batch_size",
    19: _TOO_FEW_REPLICAS,
    20: _TOO_FEW_REPLICAS,
    23: "members with another assignor are in the group: see who else uses it",
    24: "the broker does not take this group id",
    26: "the session time-out of a member is 45 s: it must be between group.min.session.timeout.ms and"
    " group.max.session.timeout.ms of the broker",
    30: f"grant this user READ and DELETE on groups whose names begin with {NAMES_PREFIX} (kafka-acls --add"
    f" --resource-pattern-type prefixed --group {NAMES_PREFIX})",
    31: "grant this user CREATE and DESCRIBE on the cluster, and IDEMPOTENT_WRITE for --acks=all",
    32: "compare the clocks of the publisher's host and of the broker, and see message.timestamp.before.max.ms and"
    " message.timestamp.after.max.ms",
    33: "the listener wants another SASL mechanism",
    34: "the listener wants SASL: give the address of a listener without it",
    35: "use a newer broker, or another driver; with --group_protocol=consumer: Kafka from 4.0 on, with group.version=1"
    " (kafka-features) and consumer among group.coordinator.rebalance.protocols",
    36: "end what else uses that topic",
    37: "ask for a number of --partitions that the brokers take",
    38: "the cluster has fewer brokers than its default.replication.factor",
    40: "see the settings that these brokers take for a topic",
    44: "see the create.topic.policy.class.name of the brokers",
    56: "see the brokers' disks and logs",
    58: "check user and password",
    73: "set delete.topic.enable of the brokers, or delete the topic there",
    76: "choose another compression.type",
    87: "a compacted topic (cleanup.policy) takes no record without a key, and a topic none with a timestamp that is"
    " out of message.timestamp.before.max.ms and message.timestamp.after.max.ms",
    81: "raise group.max.size of the broker, or use fewer clients in a group",
    111: "another member has the same group.instance.id, and Hydra's members have none: see who else uses the group",
    112: "the brokers have no assignor for this group: see group.consumer.assignors",
}
_DEFAULT_HINT = "see the broker's log"


def error_name(code: int) -> str:
    """Kafka's name for an error code; the number for one that is newer than this list."""
    return _NAMES.get(code, f"error {code}")


def is_final(code: int) -> bool:
    """Whether waiting does not help."""
    return code in _FINAL


def final_error_in(text: str) -> int | None:
    """The first final error that a text names, in the words of whichever client library; None without any."""
    for match in _NAMED.finditer(text):
        code = int(match[1]) if match[1] else _FINAL_BY_NAME.get(match[0])
        if code is not None and is_final(code):
            return code
    return next((code for told, code in _LIBRDKAFKA_TEXTS.items() if told in text), None)


def is_own_error(text: str) -> bool:
    """Whether an error of a client, in the words of whichever library, is the client's own doing.

    It is unless it tells of the network, or of what a broker answered: a limit of the library's own, a reply that it
    does not understand, a thread of it that ended.
    """
    if _NETWORK_OR_BROKER.search(text):
        return False
    names = _NAMED.finditer(text)
    return not any(match[1] or match[0] in _CODES_BY_NAME for match in names)


def is_turned_away(text: str) -> bool:
    """Whether an error tells of a connection that a broker closed before it had answered anything on it."""
    return bool(_TURNED_AWAY.search(text))


def is_not_let_in(text: str) -> bool:
    """The same, or whether it was left without any answer."""
    return NOT_LET_IN in text or is_turned_away(text)


def error_hint(code: int, topic_rights: str) -> str:
    """What to do about a final error; ``topic_rights`` are those on a topic that its request needed."""
    if code == 29:
        return (
            f"grant this user {topic_rights} on topics whose names begin with {NAMES_PREFIX} (kafka-acls --add"
            f" --resource-pattern-type prefixed --topic {NAMES_PREFIX})"
        )
    return _HINTS.get(code, _DEFAULT_HINT)
