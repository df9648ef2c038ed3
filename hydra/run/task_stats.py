"""What a task says that it counted, taken only where it is this task's in this run."""

from __future__ import annotations

from typing import TypeVar

from hydra.accounting.stats import PublisherStats, SubscriberStats
from hydra.codec import decode
from hydra.signals.messages import SignalReply

Stats = TypeVar("Stats", PublisherStats, SubscriberStats)


def read_stats(reply: SignalReply, kind: type[Stats], *, run_id: str, task_id: str) -> tuple[Stats | None, str]:
    """The stats in a task's reply, and an empty text; or None, and why there are none."""
    if not reply.ok:
        return None, reply.error
    stats = decode(reply.body, kind)
    if (stats.run_id, stats.task_id) != (run_id, task_id):
        return None, f"its stats are not of this run: they are of task {stats.task_id} in the run {stats.run_id}"
    return stats, ""
