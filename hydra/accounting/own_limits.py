"""Signs that what a run asked for, or its client libraries, kept it from more, however fast the brokers are."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.accounting.evidence import Evidence
from hydra.kafka_errors import error_hint, error_name, final_error_in

Signs = Sequence[tuple[str, str]]
"""(evidence, what to change) of each."""

_BROKER_FAILED = frozenset({-1, 57})
"""Final, and no rule: UNKNOWN_SERVER_ERROR and LOG_DIR_NOT_FOUND."""

_PUBLISHERS_RIGHTS, _CLIENTS_RIGHTS = "WRITE and DESCRIBE", "READ and DESCRIBE"


def error_signs(evidence: Evidence) -> Signs:
    """What went wrong in the clients themselves, and what brokers refuse for good: rights and settings."""
    publisher = evidence.publisher
    clients = [client for stats in evidence.subscribers for client in stats.clients]
    found = []
    if publisher is not None and publisher.own_errors.count:
        found.append((f"the publisher's own error: {publisher.own_errors}", _own_advice("pub")))
    if failing := [client for client in clients if client.own_errors.count]:
        worst = max(failing, key=lambda client: client.own_errors.count)
        who = f"{len(failing)} of {len(clients)} clients had errors of their own"
        found.append((f"{who}, {worst.name}: {worst.own_errors}", _own_advice("sub")))
    if publisher is not None and (code := _rule(publisher.error)) is not None:
        hint = error_hint(code, _PUBLISHERS_RIGHTS)
        found.append((f"brokers refused the publisher's records for good: {error_name(code)}", hint))
    refused = [(client.name, code) for client in clients if (code := _rule(client.error)) is not None]
    if refused:
        (name, code), count = refused[0], f"{len(refused)} of {len(clients)} clients"
        found.append(
            (f"brokers refused {count} for good, {name}: {error_name(code)}", error_hint(code, _CLIENTS_RIGHTS))
        )
    return found


def _rule(error: str) -> int | None:
    """The code of a refusal that no faster broker would spare us."""
    code = final_error_in(error)
    return None if code in _BROKER_FAILED else code


def _own_advice(role: str) -> str:
    return f"use another --{role}_driver, or report it as a bug of Hydra"
