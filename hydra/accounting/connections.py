"""Connections that brokers did not let in: a limit on connections is no limit of what a broker carries."""

from __future__ import annotations

from typing import Literal

from hydra.accounting.evidence import Evidence
from hydra.accounting.stats import ClientStats, PublisherStats
from hydra.kafka_errors import NOT_LET_IN

TURNED_AWAY_TIMES = 3
"""A broker that just comes back may do it once or twice."""

Found = tuple[Literal["refusal", "unknown", "broker"], tuple[tuple[str, str], ...]]


def not_let_in(evidence: Evidence) -> Found:
    """(whose doing it is that connections were not let in, (evidence, no advice)); without evidence nothing is.

    It is a refusal where the brokers' settings limit connections. Without such a limit, a broker that leaves a
    connection unanswered is slow; but none that works closes it at once, again and again.
    """
    publisher = evidence.publisher
    clients = [client for stats in evidence.subscribers for client in stats.clients]
    turned_away = [client for client in clients if client.turned_away >= TURNED_AWAY_TIMES]
    waiting = [client for client in clients if NOT_LET_IN in client.error]
    told = []
    if publisher is not None and (publisher.turned_away >= TURNED_AWAY_TIMES or NOT_LET_IN in publisher.error):
        told.append(f"the publisher was not let in ({publisher.error or 'for a while'})")
    if turned_away:
        times = sum(client.turned_away for client in turned_away)
        told.append(f"{len(turned_away)} of {len(clients)} clients were turned away at once, {times:,} times in all")
    if waiting:
        told.append(f"{len(waiting)} of {len(clients)} clients were not let in, {waiting[0].name}: {waiting[0].error}")
    if not told:
        return "broker", ()
    closed = turned_away or (publisher is not None and publisher.turned_away >= TURNED_AWAY_TIMES)
    limits = evidence.connection_limits
    if limits:
        return "refusal", tuple((text, "") for text in (*told, f"set there: {', '.join(map(str, limits))}"))
    if limits is None:
        return "unknown", tuple((text, "") for text in (*told, "what limits connections there could not be read"))
    if closed:
        why = (
            "nothing in the brokers' settings limits connections: see quotas on addresses (connection_creation_rate),"
            " and what stands between"
        )
        return "unknown", tuple((text, "") for text in (*told, why))
    return "broker", ()


def somebody_was_not_let_in(evidence: Evidence) -> bool:
    """Whether it matters what limits connections."""
    everyone: list[PublisherStats | ClientStats] = [each for stats in evidence.subscribers for each in stats.clients]
    if evidence.publisher is not None:
        everyone.append(evidence.publisher)
    return any(each.turned_away >= TURNED_AWAY_TIMES or NOT_LET_IN in each.error for each in everyone)
