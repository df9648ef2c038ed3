"""Who is in a group, as far as its coordinator tells: one that does not tell is no empty group."""

from __future__ import annotations

import pytest
from kafka.errors import GroupAuthorizationFailedError, for_code

from hydra.broker import groups
from hydra.broker.admin import KafkaTopicAdmin
from hydra.clients import wire_consumer_protocol as protocol
from hydra.clients.wire_group_protocol import read_coordinator
from hydra.clients.wire_protocol import read_api_versions
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.options.kafka_access import NO_SECURITY

BROKER = Endpoint("k", 9092)
LOADING, NOT_AUTHORIZED, NOT_FOUND, UNSUPPORTED = 14, 30, protocol.GROUP_ID_NOT_FOUND, 35
MEMBERS = (protocol.DescribedMember("a", frozenset((0,))), protocol.DescribedMember("b", frozenset()))


class Client:
    """kafka-python's admin, with what the coordinator of the classic protocol answers in turn."""

    def __init__(self, *answers, deletions=()):
        self.answers = list(answers)
        self.deletions = list(deletions)
        self.removed = []

    def describe_groups(self, group_ids):
        state, members, code = self.answers.pop(0)
        error = str(for_code(code)("")) if code else None
        found = {"group_state": state, "members": [{"member_id": each} for each in members], "error": error}
        return dict.fromkeys(group_ids, found)

    def remove_group_members(self, _group_id, members):
        self.removed += members

    def delete_groups(self, group_ids):
        return dict.fromkeys(group_ids, self.deletions.pop(0))

    def close(self):
        pass


@pytest.fixture
def consumer_protocol(monkeypatch):
    """What the coordinator answers to questions about the consumer protocol, by who reads it."""
    answers = {read_coordinator: (0, BROKER), read_api_versions: {protocol.CONSUMER_GROUP_DESCRIBE: (0, 1)}}
    monkeypatch.setattr(groups, "_asked", lambda _broker, _request, read, _access: answers[read])
    return answers


def count(client):
    return groups.member_count(client, "g", [BROKER], NO_SECURITY)


def admin_with(client, timeout_s=1.0):
    admin = KafkaTopicAdmin("k:9092", timeout_s)
    admin._client = client
    return admin


def test_members_of_the_classic_protocol_are_counted():
    assert count(Client(("Stable", ["a", "b"], 0))) == 2


@pytest.mark.parametrize("code", [0, NOT_FOUND])  # before 4.0, and from then on
def test_members_of_the_consumer_protocol_are_counted(consumer_protocol, code):
    consumer_protocol[protocol.read_described] = protocol.DescribedGroup(0, "Stable", MEMBERS)
    assert count(Client(("Dead", [], code))) == 2


@pytest.mark.parametrize("code", [NOT_FOUND, UNSUPPORTED])
def test_a_group_that_neither_protocol_knows_has_nobody(consumer_protocol, code):
    consumer_protocol[protocol.read_described] = protocol.DescribedGroup(code, "", ())
    assert count(Client(("Dead", [], 0))) == 0


def test_a_broker_before_the_consumer_protocol_is_not_asked_by_it(consumer_protocol):
    consumer_protocol[read_api_versions] = {}
    assert count(Client(("Dead", [], 0))) == 0


def test_a_refusal_is_no_empty_group():
    with pytest.raises(GroupAuthorizationFailedError):
        count(Client(("", [], NOT_AUTHORIZED)))
    with pytest.raises(BrokerError, match=r"cannot count the members of the group g on k:9092 \(GROUP_AUTHORIZATION_"):
        admin_with(Client(("", [], NOT_AUTHORIZED))).member_count("g")


@pytest.mark.parametrize("code", [LOADING, NOT_AUTHORIZED])
def test_a_refusal_by_the_consumer_protocol_is_no_empty_group(consumer_protocol, code):
    consumer_protocol[protocol.read_described] = protocol.DescribedGroup(code, "", ())
    with pytest.raises(for_code(code)):
        count(Client(("Dead", [], 0)))


def test_a_coordinator_that_loads_is_asked_again(monkeypatch):
    client = Client(("", [], LOADING), ("Stable", ["a"], 0))
    admin = admin_with(client)
    monkeypatch.setattr(admin, "_connected", lambda: client)
    monkeypatch.setattr("hydra.broker.admin.await_reachable", lambda *_asked: None)
    assert admin.member_count("g") == 1


def test_nobody_is_removed_from_a_group_that_is_to_be_deleted_only_if_it_is_empty():
    client = Client(("Stable", ["a"], 0), deletions=[groups.HAS_MEMBERS])
    with pytest.raises(BrokerError, match="the group g on k:9092 has members by now, and stays"):
        admin_with(client).delete_groups(["g"], with_members=False)
    assert client.removed == []
    client.deletions = [groups.HAS_MEMBERS, "OK"]
    admin_with(client).delete_groups(["g"])
    assert [member.member_id for member in client.removed] == ["a"]
