"""The topic of a run: one of its own, or one that is there, of which nothing is changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from hydra.errors import BrokerError
from hydra.options.order import PartitionStart, RunOrder
from hydra.options.topic_limits import doubts
from hydra.run.protocols import TopicAdmin


def with_topic(order: RunOrder, admin: TopicAdmin, note: Callable[[str], None]) -> RunOrder:
    """The order with all that is known of its topic: it is made, or is the one that the options name.

    Raises:
        BrokerError: it cannot be made, or looked at.
    """
    if order.options.topic is None:
        return _made(order, admin)
    return _at_its_end(order, admin, note)


def _made(order: RunOrder, admin: TopicAdmin) -> RunOrder:
    options = order.options
    leaders = admin.create_topic(
        order.topic, partitions=options.partitions, replicas=options.replication_factor, configs=order.topic_configs
    )
    return replace(order, leaders=tuple(leaders), topic_facts=admin.describe_topic(order.topic))


def _at_its_end(order: RunOrder, admin: TopicAdmin, note: Callable[[str], None]) -> RunOrder:
    """The same for a topic of somebody else's: all that the run reads of it begins where it ends now."""
    for doubt in doubts(order.options, order.topic_facts):
        note(doubt)
    ends = {partition: offsets.end for partition, offsets in admin.offsets(order.topic).items()}
    clients = tuple(
        replace(client, starts=tuple(PartitionStart(start.partition, ends[start.partition]) for start in client.starts))
        for client in order.clients
    )
    return replace(order, begin_offsets=ends, clients=clients)


def delete_own_topic(order: RunOrder, admin: TopicAdmin, note: Callable[[str], None]) -> None:
    """Delete the topic that was made for the run, unless the one of its name is another one now."""
    assert order.options.topic is None
    name = order.topic
    with contextlib.suppress(BrokerError):  # what it is about is told by deleting it
        found = admin.look_at_topic(name)
        if found is not None and not order.topic_facts.identity.is_same(found):
            note(f"topic {name} is left behind: somebody else made it")
            return
    admin.delete_topic(name)
