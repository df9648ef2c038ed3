"""Brokers that refuse for good: told at once, with Kafka's name for it and the right or setting that is missing."""

from __future__ import annotations

import contextlib
import time

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.embedded import EmbeddedBroker
from hydra.errors import BrokerError
from tests.kafka_parts import kafka_parts

pytestmark = [pytest.mark.integration, pytest.mark.release]

SMALL = ("--total_sub_apps=1", "--clients_per_app=2", "--msg_rate=100", "--test_duration=2", "--warmup=0")


@pytest.fixture(scope="module")
def guarded_kafka(tmp_path_factory):
    """A broker with ACLs, and a small largest group."""
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "group.max.size": "1",
        "group.max.session.timeout.ms": "60000",
    }
    folder = tmp_path_factory.mktemp("guarded") / "broker"
    with EmbeddedBroker(**{**kafka_parts(folder), "properties": properties}) as running:
        yield running


@pytest.fixture
def denied(guarded_kafka):
    """Denies an operation on the topics of a prefix, of which everything else is allowed, while the test lasts."""
    client = KafkaAdminClient(bootstrap_servers=guarded_kafka.bootstrap_servers)
    rules = []

    def deny(operation, prefix="hydra-"):
        pattern = ResourcePattern(ResourceType.TOPIC, prefix, ACLResourcePatternType.PREFIXED)
        for permission, what in ((ACLPermissionType.ALLOW, ACLOperation.ALL), (ACLPermissionType.DENY, operation)):
            rules.append(ACL("User:ANONYMOUS", "*", what, permission, pattern))
        assert not client.create_acls(rules)["failed"]

    with contextlib.closing(client):
        yield deny
        client.delete_acls(rules)


def test_a_topic_that_may_not_be_described(guarded_kafka, denied):
    denied(ACLOperation.DESCRIBE, "hydra-hidden")
    began_s = time.monotonic()
    with (
        contextlib.closing(KafkaTopicAdmin(guarded_kafka.bootstrap_servers)) as admin,
        pytest.raises(BrokerError, match="TOPIC_AUTHORIZATION_FAILED") as refused,
    ):
        admin.create_topic("hydra-hidden-1", partitions=1, configs={})
    assert time.monotonic() - began_s < 8
    assert "DESCRIBE" in refused.value.hint
    assert "all brokers" not in str(refused.value)


def test_topics_that_may_not_be_read(guarded_kafka, denied, hydra):
    denied(ACLOperation.READ)
    began_s = time.monotonic()
    command = hydra("kafka", f"--bootstrap_servers={guarded_kafka.bootstrap_servers}", *SMALL)
    assert command.end(60) == 4
    assert time.monotonic() - began_s < 30
    assert "do not allow this user: Read on topics hydra-* (prefixed)" in command.complaint
    assert "add these ACLs" in command.complaint
    assert "start_timeout" not in command.complaint


def test_a_group_that_is_full(guarded_kafka, hydra):
    servers = f"--bootstrap_servers={guarded_kafka.bootstrap_servers}"
    command = hydra("kafka", servers, "--group=shared", "--group_mode=group", "--partitions=2", *SMALL)
    assert command.end(60) == 4
    assert "GROUP_MAX_SIZE_REACHED" in command.complaint
    assert "raise group.max.size" in command.complaint
