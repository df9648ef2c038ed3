"""Error responses, in the form that Marathon 1.10 gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hydra.errors import MarathonError


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a document."""

    path: str  # "/portDefinitions(0)/name"; "/" for the whole document
    reason: str


class RequestRefusedError(MarathonError):
    """A request that gets an error response.

    Args:
        status: the HTTP status.
        message: what the caller reads.
        headers: more headers of the response.
        fields: what else the JSON object has beside ``message``.
    """

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None, **fields: object
    ) -> None:
        super().__init__(message, status=status)
        self.http_status = status
        self.headers = dict(headers or {})
        self.document: dict[str, object] = {"message": message, **fields}


def not_supported(what: str, *, status: int = 404) -> RequestRefusedError:
    """404, or 422 for a part of a request: Marathon has it, this server has not."""
    return RequestRefusedError(status, f"The local Marathon does not support {what}.")


def wrong_types(violations: Iterable[Violation]) -> RequestRefusedError:
    """422: a field of the JSON document is missing or has the wrong type."""
    return RequestRefusedError(422, "Invalid JSON", details=_details(violations))


def rules_broken(violations: Iterable[Violation]) -> RequestRefusedError:
    """422: a field breaks a rule of Marathon, or asks for what this server does not support."""
    return RequestRefusedError(422, "Object is not valid", details=_details(violations))


def _details(violations: Iterable[Violation]) -> list[dict[str, object]]:
    reasons: dict[str, dict[str, None]] = {}  # a dict keeps the order and drops duplicates
    for violation in violations:
        reasons.setdefault(violation.path or "/", {})[violation.reason] = None
    return [{"path": path, "errors": list(errors)} for path, errors in reasons.items()]
