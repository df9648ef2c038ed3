"""A run in a topic of somebody else's: it begins at the end, and leaves the topic as it was."""

import pytest

from hydra.accounting.evidence import OffsetRange
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.options.options import Options
from hydra.options.order import PartitionLeader, PartitionStart, TopicFacts, TopicIdentity, TopicThere, make_order
from hydra.run.topics import delete_own_topic, with_topic


class Cluster:
    """Notes what would change anything."""

    def __init__(self, facts=None):
        self.facts = facts or TopicFacts(TopicIdentity("id-1"), cleanup_policy="delete")
        self.changed = []

    def describe_topic(self, _name):
        return self.facts

    def offsets(self, _name):
        return {0: OffsetRange(5, 70), 1: OffsetRange(0, 0)}

    def look_at_topic(self, _name):
        return self.facts.identity

    def __getattr__(self, name):
        return lambda *given, **named: self.changed.append((name, given, named)) or []


def order_of(topic_there=None, **options):
    machine = {"bootstrap_servers": "h:1", "task_ids": ["t0", "t1"], "cores": 2}
    return make_order("run-1", Options(**options), topic=topic_there, **machine)


def test_clients_begin_where_the_topic_ends():
    notes, cluster = [], Cluster()
    there = TopicThere(tuple(PartitionLeader(part, 1, Endpoint("h", 1)) for part in range(2)), cluster.facts)
    order = with_topic(order_of(there, topic="orders", clients_per_app=2), cluster, notes.append)
    assert (order.topic, order.options.partitions) == ("orders", 2)
    assert (order.leaders, order.topic_facts) == (there.leaders, there.facts)
    assert order.begin_offsets == {0: 70, 1: 0}
    assert {client.starts for client in order.clients} == {(PartitionStart(0, 70), PartitionStart(1, 0))}
    assert all(client.group_id.startswith("run-1") for client in order.clients)
    assert (cluster.changed, notes) == ([], [])


def test_only_a_topic_of_the_runs_own_is_made_and_deleted():
    cluster = Cluster()
    order = with_topic(order_of(), cluster, print)
    assert [name for name, *_ in cluster.changed] == ["create_topic"]
    delete_own_topic(order, cluster, print)
    assert cluster.changed[1:] == [("delete_topic", ("run-1",), {})]
    with pytest.raises(AssertionError):
        delete_own_topic(order_of(topic="orders"), cluster, print)
    assert len(cluster.changed) == 2


def test_one_that_somebody_else_made_under_its_name_stays():
    notes, cluster = [], Cluster()
    order = with_topic(order_of(), cluster, notes.append)
    cluster.facts = TopicFacts(TopicIdentity("id-2"))
    delete_own_topic(order, cluster, notes.append)
    assert [name for name, *_ in cluster.changed] == ["create_topic"]
    assert notes == ["topic run-1 is left behind: somebody else made it"]


def test_where_it_cannot_be_looked_at_deleting_it_tells_why():
    cluster = Cluster()
    order = with_topic(order_of(), cluster, print)

    def fails(_name):
        raise BrokerError("gone")

    cluster.look_at_topic = fails
    delete_own_topic(order, cluster, print)
    assert cluster.changed[-1][0] == "delete_topic"


def test_names_begin_as_the_prefixes_say():
    order = order_of(client_id_prefix="team-a-", group_prefix="team-b.", group="shared")
    assert order.client_id("hydra-pub") == "team-a-hydra-pub"
    assert {client.group_id for client in order.clients} == {"team-b.run-1"}
