"""Rights that are there and rights that are not, on a real broker that looks at ACLs."""

from __future__ import annotations

import contextlib
import socket

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from hydra.broker import rights
from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.first_values import first_values
from hydra.broker.rights import check_rights, lacking
from hydra.endpoints import Endpoint, parse_endpoints
from hydra.errors import BrokerError, InterruptedRunError
from hydra.options.kafka_access import NO_SECURITY
from hydra.options.options import Options
from tests.kafka_parts import kafka_parts

pytestmark = pytest.mark.integration

AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
RUN_ID = "hydra-20260101-120000-abcdef"
WHO = "User:ANONYMOUS"
OWN = Options(group_mode="group", acks="all", bootstrap_servers="h:1")
OTHERS = Options(topic="orders", bootstrap_servers="h:1")


def acl(kind, name, operation, pattern=ResourcePatternType.LITERAL, who=WHO):
    return AclBinding(kind, name, pattern, who, "*", operation, AclPermissionType.ALLOW)


def topics(operation):
    return acl(ResourceType.TOPIC, "hydra-", operation, ResourcePatternType.PREFIXED)


def groups(operation):
    return acl(ResourceType.GROUP, "hydra-", operation, ResourcePatternType.PREFIXED)


OF_THE_BROKER = [
    acl(ResourceType.BROKER, "kafka-cluster", operation)
    for operation in (AclOperation.CLUSTER_ACTION, AclOperation.ALTER, AclOperation.DESCRIBE)
]
"""Without SASL the broker itself, and this test, are the same user as the run: they keep what they need."""

DOCUMENTED = {
    "Create on topics hydra-* (prefixed)": topics(AclOperation.CREATE),
    "Write on topics hydra-* (prefixed)": topics(AclOperation.WRITE),
    "Read on topics hydra-* (prefixed)": topics(AclOperation.READ),
    "Delete on topics hydra-* (prefixed)": topics(AclOperation.DELETE),
    "Read on groups hydra-* (prefixed)": groups(AclOperation.READ),
    "Delete on groups hydra-* (prefixed)": groups(AclOperation.DELETE),
}
"""As docs/own-kafka.md lists them; Describe comes with each of Read, Write and Delete."""

OF_ORDERS = {
    "Write on topic orders": acl(ResourceType.TOPIC, "orders", AclOperation.WRITE),
    "Read on topic orders": acl(ResourceType.TOPIC, "orders", AclOperation.READ),
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    settings = {"authorizer.class.name": AUTHORIZER, "allow.everyone.if.no.acl.found": "true"}
    with EmbeddedBroker(
        **kafka_parts(tmp_path_factory.mktemp("acls") / "kafka"), properties=settings, start_timeout_s=90
    ) as started:
        yield started


def set_rights(admin, bindings):
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    for future in admin.create_acls([*OF_THE_BROKER, *bindings]).values():
        future.result(20)
    stale = [
        each
        for each in admin.describe_acls(everything).result(20)
        if str(each) not in {str(kept) for kept in (*OF_THE_BROKER, *bindings)}
    ]
    for each in stale:
        found = AclBindingFilter(
            each.restype, each.name, each.resource_pattern_type, each.principal, each.host, each.operation,
            each.permission_type,
        )  # fmt: skip
        for future in admin.delete_acls([found]).values():
            future.result(20)


@pytest.mark.parametrize(("options", "documented"), [(OWN, DOCUMENTED), (OTHERS, OF_ORDERS)])
def test_what_is_documented_is_enough_and_each_that_is_taken_away_is_named(broker, eventually, options, documented):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    brokers = parse_endpoints(broker.bootstrap_servers)

    def missing():
        return [str(right) for right in lacking(options, RUN_ID, brokers)]

    set_rights(admin, documented.values())
    eventually(lambda: missing() == [])
    assert all(answer.granted for answer in check_rights(options, RUN_ID, brokers) if not answer.right.optional)
    for taken in documented:
        set_rights(admin, [binding for name, binding in documented.items() if name != taken])
        eventually(lambda: missing() == [taken])  # noqa: B023  # called at once
    assert set(admin.list_topics(timeout=20).topics) <= {"__consumer_offsets"}  # asking has made nothing


def test_what_is_listed_and_may_not_be_looked_at_is_told(broker, eventually):
    """Whoever may describe the cluster is told the names of all groups, and no more."""
    servers, group = broker.bootstrap_servers, f"{RUN_ID}-s0"
    granting, client = AdminClient({"bootstrap.servers": servers}), KafkaTopicAdmin(servers, timeout_s=6)

    def committed():
        place = ConsumerGroupTopicPartitions(group, [TopicPartition(RUN_ID, 0, 1)])
        (answer,) = granting.alter_consumer_group_offsets([place])[group].result(20).topic_partitions
        return answer.error is None

    def refused():
        with contextlib.suppress(BrokerError):
            client.member_count(group)
            return False
        return True

    with contextlib.closing(client):
        set_rights(granting, [*DOCUMENTED.values()])
        client.create_topic(RUN_ID, partitions=1, configs={})
        producer = Producer({"bootstrap.servers": servers})
        producer.produce(RUN_ID, b"a")
        assert producer.flush(20) == 0
        eventually(committed)
        assert client.member_count(group) == 0
        others = acl(ResourceType.GROUP, "hydra-", AclOperation.READ, ResourcePatternType.PREFIXED, "User:other")
        set_rights(granting, [topics(AclOperation.DESCRIBE), others])
        eventually(refused)
        assert client.groups() == [group]
        with pytest.raises(BrokerError, match=rf"count the members of the group {group} .*GROUP_AUTHORIZATION_FAILED"):
            client.member_count(group)
        with pytest.raises(BrokerError, match=rf"records of the topic {RUN_ID} .*TopicAuthorizationFailedError"):
            first_values(servers, NO_SECURITY, RUN_ID, client.offsets(RUN_ID), 6.0)
        set_rights(granting, [*DOCUMENTED.values()])
        eventually(lambda: not refused())
        client.delete_groups([group])
        client.delete_topic(RUN_ID)


def test_where_no_broker_answers_nobody_can_tell():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and listens to nobody
        nobody = [Endpoint(*bound.getsockname())]
        answers = list(check_rights(OWN, RUN_ID, nobody))
        assert {answer.granted for answer in answers} == {None}
        assert "Connection refused" in answers[0].reason
        assert lacking(OWN, RUN_ID, nobody) == ()


def test_a_signal_while_rights_are_asked_for_is_no_answer_of_a_broker(monkeypatch):
    def interrupted(*_asked):
        raise InterruptedRunError(15)

    monkeypatch.setattr(rights, "exchange", interrupted)
    with pytest.raises(InterruptedRunError):
        lacking(OWN, RUN_ID, (Endpoint("127.0.0.1", 1),), NO_SECURITY)
