"""``hydra clean`` on brokers: what nobody may look at there stays, and keeps nothing else from being removed."""

from __future__ import annotations

import dataclasses

import pytest

from hydra.accounting.evidence import OffsetRange
from hydra.cli.main import run
from hydra.errors import BrokerError
from hydra.kafkatest import clean
from hydra.kafkatest.traces import Trace
from hydra.options.kafka_access import NO_SECURITY
from hydra.records.identity import identity_prefix
from tests.kafkatest.test_clean import OTHER, RUN, TRACE


class Kafka:
    """Brokers with one record in each topic; what ``errors`` has of a method and a name is raised by it."""

    def __init__(self):
        self.access = NO_SECURITY
        self.is_up = True
        self.logs = {RUN: (), OTHER: {0: OffsetRange(0, 1)}}
        self.values = {OTHER: identity_prefix(OTHER)}
        self.members = {f"{RUN}-s0": 0, f"{OTHER}-s0": 0}
        self.errors = {}
        self.read_with = []

    def check(self):
        pass

    def close(self):
        pass

    def topics(self):
        if not self.is_up:
            raise BrokerError("no Kafka broker can be reached")
        return sorted(self.logs)

    def groups(self):
        return sorted(self.members)

    def _answer(self, method, name, found):
        if (method, name) in self.errors:
            raise BrokerError(self.errors[method, name])
        return found[name]

    def offsets(self, name):
        return self._answer("offsets", name, self.logs)

    def newest_record_s(self, _name):
        return None

    def first_values(self, _servers, access, name, _log, _timeout_s):
        self.read_with.append(access)
        return {0: self._answer("first_values", name, self.values)}

    def member_count(self, group_id):
        return self._answer("member_count", group_id, self.members)

    def delete_topic(self, name):
        del self.logs[name]

    def delete_groups(self, group_ids, *, with_members=True):
        for group_id in group_ids:
            if self.members[group_id] and not with_members:
                raise BrokerError(f"the group {group_id} has members by now, and stays")
            del self.members[group_id]


@pytest.fixture
def kafka(place, monkeypatch):
    """Brokers with what a run of this user that is over has left, and one of somebody else."""
    place.enter(monkeypatch)
    made = Kafka()

    def opened(_servers, _timeout_s, access):
        made.access = access
        return made

    monkeypatch.setenv("HYDRA_KAFKA_PASSWORD", "secret")
    monkeypatch.setattr(clean, "KafkaTopicAdmin", opened)
    monkeypatch.setattr(clean, "first_values", made.first_values)
    Trace(dataclasses.replace(TRACE, marathon="", owner="")).close()
    return made


SECURED = (
    "--bootstrap_servers=k:9092", "--security_protocol=SASL_PLAINTEXT", "--sasl_mechanism=PLAIN", "--sasl_username=me"
)  # fmt: skip
OLD = (*SECURED, "--older_than=1", "--others", "--force")


def test_records_are_read_with_the_access_of_the_brokers(kafka):
    assert run(["clean", *OLD]) == 0
    assert (kafka.logs, kafka.members) == ({}, {})
    assert kafka.read_with == [kafka.access]
    assert kafka.access.password == "secret"


@pytest.mark.parametrize("method", ["offsets", "first_values"])
def test_a_topic_that_cannot_be_read_stays_and_keeps_nothing_else(kafka, capfd, method):
    kafka.errors[method, OTHER] = "it cannot be had (TopicAuthorizationFailedError)"
    assert run(["clean", *OLD]) == 0
    assert set(kafka.logs) == {OTHER}
    out = capfd.readouterr().out
    told = "nobody's that is known here, and it cannot be read: it cannot be had (TopicAuthorizationFailedError)"
    assert [line for line in out.splitlines() if line.startswith("stays") and OTHER in line and told in line], out


def test_a_topic_of_mine_that_cannot_be_read_is_mine_all_the_same(kafka):
    kafka.errors["offsets", RUN] = "it has no leaders"
    assert run(["clean", *SECURED, "--force"]) == 0
    assert set(kafka.logs) == {OTHER}


def test_a_topic_that_is_deleted_meanwhile_is_none(kafka, capfd):
    listed = iter([[RUN, OTHER], [RUN]])
    kafka.topics = lambda: next(listed)
    kafka.errors["offsets", OTHER] = "it is not there"
    assert run(["clean", *SECURED]) == 0
    assert f"topic {OTHER}" not in capfd.readouterr().out


def test_brokers_that_are_gone_are_no_doubt_about_a_topic(kafka, capfd):
    def gone(_name):
        kafka.is_up = False
        raise BrokerError("it cannot be had")

    kafka.offsets = gone
    assert run(["clean", *SECURED]) == 4
    assert "no Kafka broker can be reached" in capfd.readouterr().err


def test_a_group_whose_members_nobody_may_count_stays(kafka, capfd):
    kafka.errors["member_count", f"{OTHER}-s0"] = "cannot count them (GROUP_AUTHORIZATION_FAILED)"
    assert run(["clean", *OLD]) == 0
    assert set(kafka.members) == {f"{OTHER}-s0"}
    assert "(perhaps: cannot count them (GROUP_AUTHORIZATION_FAILED))" in capfd.readouterr().out


def test_who_came_into_an_old_group_since_it_was_found_stays_in_it(kafka, capfd):
    delete_topic = kafka.delete_topic

    def comes(name):
        delete_topic(name)
        kafka.members = dict.fromkeys(kafka.members, 1)

    kafka.delete_topic = comes
    assert run(["clean", *OLD]) == 4
    assert set(kafka.members) == {f"{OTHER}-s0"}, "the members of a run of mine that is over go with its group"
    assert "has members by now, and stays" in capfd.readouterr().err
