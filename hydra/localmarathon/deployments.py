"""Deployments: the changes in progress, and the lock that each holds on its apps. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum

from hydra.localmarathon.app_definition import format_timestamp, utc_now
from hydra.localmarathon.errors import RequestRefusedError

_MAX_RUNNING_DEPLOYMENTS = 100  # Marathon's default of --max_running_deployments
_TOO_MANY = (
    f"Max number ({_MAX_RUNNING_DEPLOYMENTS}) of running deployments is achieved. "
    "Wait for existing deployments to complete."
)
_LOCKED = (
    "App is locked by one or more deployments. Override with the option '?force=true'. "
    "View details at '/v2/deployments/<DEPLOYMENT_ID>'."
)


class Action(Enum):
    """What a deployment does to one app."""

    START = "StartApplication"
    STOP = "StopApplication"
    SCALE = "ScaleApplication"
    RESTART = "RestartApplication"


@dataclass(frozen=True)
class Deployment:
    """One change in progress, of one or several apps."""

    deployment_id: str
    version: str
    actions: Mapping[str, Action]  # by app id

    def document(self) -> dict[str, object]:
        """The JSON object in ``GET /v2/deployments``."""
        actions = [{"action": action.value, "app": app_id} for app_id, action in self.actions.items()]
        return {
            "id": self.deployment_id,
            "version": self.version,
            "affectedApps": list(self.actions),
            "affectedPods": [],
            "steps": [{"actions": actions}],
            "currentActions": [{**action, "readinessCheckResults": []} for action in actions],
            "currentStep": 1,
            "totalSteps": 1,
        }


class Deployments:
    """The deployments in progress. Each has a version of its own, later than all before.

    Args:
        now: returns the time of day; given by tests.
    """

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._latest = datetime.fromtimestamp(0, timezone.utc)
        self._running: dict[str, Deployment] = {}

    @property
    def version(self) -> str:
        """The version of the last deployment: when anything was last changed."""
        return format_timestamp(self._latest)

    @property
    def running(self) -> tuple[Deployment, ...]:
        """The oldest first."""
        return tuple(self._running.values())

    def get(self, deployment_id: str) -> Deployment:
        """The deployment with an id.

        Raises:
            RequestRefusedError: 404.
        """
        try:
            return self._running[deployment_id]
        except KeyError:
            raise RequestRefusedError(404, f"DeploymentPlan {deployment_id} does not exist") from None

    def of_app(self, app_id: str) -> list[str]:
        """The ids of the deployments that hold an app."""
        return [deployment.deployment_id for deployment in self.running if app_id in deployment.actions]

    def check_free(self, app_ids: Iterable[str], *, force: bool) -> None:
        """Check that a new deployment of these apps may begin.

        Raises:
            RequestRefusedError: without ``force``, 409 if a deployment holds one of them, 403 if too many run.
        """
        if force:
            return
        holders = list(dict.fromkeys(holder for app_id in app_ids for holder in self.of_app(app_id)))
        if holders:
            raise RequestRefusedError(409, _LOCKED, deployments=[{"id": holder} for holder in holders])
        if len(self._running) >= _MAX_RUNNING_DEPLOYMENTS:
            raise RequestRefusedError(403, _TOO_MANY)

    def begin(self, actions: Mapping[str, Action]) -> Deployment:
        """Begin a deployment; it replaces those that hold its apps. Without actions it has ended at once."""
        for holder in [holder for app_id in actions for holder in self.of_app(app_id)]:
            self._running.pop(holder, None)
        # Versions differ even within one millisecond.
        self._latest = max(self._now(), self._latest + timedelta(milliseconds=1))
        deployment = Deployment(str(uuid.uuid4()), self.version, dict(actions))
        if actions:
            self._running[deployment.deployment_id] = deployment
        return deployment

    def finish(self, deployment: Deployment) -> None:
        """End a deployment: it is no longer listed, and its apps are free."""
        self._running.pop(deployment.deployment_id, None)
