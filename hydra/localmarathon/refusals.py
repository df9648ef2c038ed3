"""Every answer that is not a success, in Marathon's words (source: the sources and documentation of Marathon 1.10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hydra.errors import MarathonError


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a document."""

    path: str  # "/portDefinitions(0)/name"; "/" for the whole document
    reason: str


class RequestRefusedError(MarathonError):
    """A request that is answered with something else than 2xx.

    Args:
        status: the HTTP status.
        message: what the caller reads.
        fields: what else stands in the JSON object beside ``message``.
    """

    def __init__(self, status: int, message: str, **fields: object) -> None:
        super().__init__(message, status=status)
        self.http_status = status
        self.document: dict[str, object] = {"message": message, **fields}


def app_missing(app_id: str) -> RequestRefusedError:
    """404: there is no such app, or it is being deleted."""
    return RequestRefusedError(404, f"App '{app_id}' does not exist")


def task_missing(task_id: str) -> RequestRefusedError:
    """404: the app has no such task."""
    return RequestRefusedError(404, f"Task '{task_id}' does not exist")


def version_missing(app_id: str, version: str) -> RequestRefusedError:
    """404: the app never had that version, or it is forgotten."""
    return RequestRefusedError(404, f"App '{app_id}' does not exist in version {version}")


def deployment_missing(deployment_id: str) -> RequestRefusedError:
    """404: no such deployment runs; it may have ended."""
    return RequestRefusedError(404, f"DeploymentPlan {deployment_id} does not exist")


def group_exists(group_id: str) -> RequestRefusedError:
    """409: a group that is there is changed by PUT."""
    return RequestRefusedError(409, f"Group {group_id} is already created. Use PUT to change this group.")


def group_missing(group_id: str) -> RequestRefusedError:
    """404: no app is below this id."""
    return RequestRefusedError(404, f"Group '{group_id}' does not exist")


def not_queued(app_id: str) -> RequestRefusedError:
    """404: nothing of the app waits."""
    return RequestRefusedError(404, f"Application {app_id} not found in tasks queue.")


def bad_task_id(task_id: str) -> RequestRefusedError:
    """400: what cannot be the id of a task."""
    return RequestRefusedError(400, f"Invalid task id '{task_id}'. [it must look like app.instance-uuid._app.1]")


def app_exists(app_id: str) -> RequestRefusedError:
    """409, without the key ``deployments``: the id is taken."""
    return RequestRefusedError(409, f"An app with id [{app_id}] already exists.")


def app_locked(deployment_ids: Sequence[str]) -> RequestRefusedError:
    """409, with the key ``deployments``: another deployment holds the app."""
    return RequestRefusedError(
        409,
        "App is locked by one or more deployments. Override with the option '?force=true'. "
        "View details at '/v2/deployments/<DEPLOYMENT_ID>'.",
        deployments=[{"id": deployment_id} for deployment_id in deployment_ids],
    )


def too_many_deployments(limit: int) -> RequestRefusedError:
    """403: as many deployments run as Marathon allows at once."""
    return RequestRefusedError(
        403, f"Max number ({limit}) of running deployments is achieved. Wait for existing deployments to complete."
    )


def scale_and_wipe() -> RequestRefusedError:
    """400: the two exclude each other."""
    return RequestRefusedError(400, "You cannot use scale and wipe at the same time.")


def bad_query(reason: str) -> RequestRefusedError:
    """400: a query parameter that cannot be understood."""
    return RequestRefusedError(400, reason)


def broken_json(reason: str) -> RequestRefusedError:
    """400: the body is not JSON."""
    return RequestRefusedError(400, "Invalid JSON", details=reason)


def wrong_types(violations: Iterable[Violation]) -> RequestRefusedError:
    """422: JSON, but a field has another type than it must have, or is missing."""
    return RequestRefusedError(422, "Invalid JSON", details=_details(violations))


def rules_broken(violations: Iterable[Violation]) -> RequestRefusedError:
    """422: well-formed, but against a rule of Marathon's, or beyond what this server can do."""
    return RequestRefusedError(422, "Object is not valid", details=_details(violations))


def unknown_route() -> RequestRefusedError:
    """500, strange as it is: what Marathon 1.10 answers for a path that it does not have."""
    return RequestRefusedError(500, "URI not found")


def _details(violations: Iterable[Violation]) -> list[dict[str, object]]:
    reasons: dict[str, dict[str, None]] = {}  # a dict keeps the order and drops what is said twice
    for violation in violations:
        reasons.setdefault(violation.path or "/", {})[violation.reason] = None
    return [{"path": path, "errors": list(errors)} for path, errors in reasons.items()]
