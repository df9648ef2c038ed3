"""Where the log of a run ends: up to there clients read, and losses are judged.

Brokers tell clients the high watermark, which is what all replicas in sync have, and let nobody read beyond it. With
acks=all an acked record is below it. With acks=1 it may be above it until the followers have fetched it (Kafka's
documentation, "Replication"), and so may a record whose ack did not come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hydra.accounting.evidence import OffsetRange
from hydra.accounting.stats import PublisherStats
from hydra.options.order import RunOrder
from hydra.run.clock import Clock, poll_until

Offsets = Mapping[int, OffsetRange]
"""By partition."""

SETTLE_TIMEOUT_S = 5.0
"""Others may write into the topic as well: then its end moves for ever."""

SETTLE_POLLS = 3
"""The end is taken once it has not moved for this many polls."""


def settled_end(
    look: Callable[[], Offsets], clock: Clock, order: RunOrder, publisher: PublisherStats | None
) -> Offsets:
    """The log once its end covers all that was acked, and does not move any more.

    Followers have as long for the acked records as clients have to read them (``drain_timeout``): what is not in the
    log then was lost.

    Args:
        look: the log as it is now.
        clock: to wait by.
        order: the run's.
        publisher: what the publisher counted, if it told that.
    """
    offsets = look()
    if publisher is not None and not publisher.unknown and _followers_have_all(order):
        return offsets
    started_s, unmoved = clock.now_s(), 0

    def settled() -> bool:
        nonlocal offsets, unmoved
        if publisher is not None and not publisher.unknown and _is_what_was_acked(offsets, order, publisher):
            return True
        before, offsets = offsets, look()
        unmoved = unmoved + 1 if offsets == before else 0
        enough = unmoved >= SETTLE_POLLS or clock.now_s() - started_s >= SETTLE_TIMEOUT_S
        return enough and (_followers_have_all(order) or publisher is None or _covers(offsets, order, publisher))

    poll_until(clock, settled, max(SETTLE_TIMEOUT_S, order.options.drain_timeout))
    return offsets


def _followers_have_all(order: RunOrder) -> bool:
    """Whether an acked record is below the high watermark at once."""
    return order.options.acks == "all" or order.topic_facts.replicas == 1


def _covers(offsets: Offsets, order: RunOrder, publisher: PublisherStats) -> bool:
    return all(grown >= acked for grown, acked in _by_partition(offsets, order, publisher))


def _is_what_was_acked(offsets: Offsets, order: RunOrder, publisher: PublisherStats) -> bool:
    return all(grown == acked for grown, acked in _by_partition(offsets, order, publisher))


def _by_partition(offsets: Offsets, order: RunOrder, publisher: PublisherStats) -> list[tuple[int, int]]:
    """(by how many records the log grew since the run began, how many were acked); nothing of a log that is gone."""
    acked = {each.partition: sum(stop - start for start, stop in each.acked) for each in publisher.partitions}
    begin = order.begin_offsets
    return [(now.end - begin.get(number, 0), acked.get(number, 0)) for number, now in offsets.items()]
