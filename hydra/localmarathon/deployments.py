"""Deployments: which change is under way, and the lock that each holds on its apps. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from hydra.localmarathon.app_definition import AppDefinition
from hydra.localmarathon.refusals import app_locked, deployment_missing, too_many_deployments

MAX_RUNNING_DEPLOYMENTS = 100  # Marathon's default of --max_running_deployments


class Action(Enum):
    """What a deployment does to one app."""

    START = "StartApplication"
    STOP = "StopApplication"
    SCALE = "ScaleApplication"
    RESTART = "RestartApplication"


@dataclass(frozen=True)
class Deployment:
    """One change, of one or several apps at once, that has not come to its end."""

    deployment_id: str
    version: str
    actions: Mapping[str, Action]  # by app id
    before: Mapping[str, AppDefinition | None] = field(default_factory=dict)  # what the apps were, None: nothing

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
    """The deployments that run."""

    def __init__(self) -> None:
        self._running: dict[str, Deployment] = {}

    @property
    def running(self) -> tuple[Deployment, ...]:
        """The oldest first."""
        return tuple(self._running.values())

    def get(self, deployment_id: str) -> Deployment:
        """The deployment of an id.

        Raises:
            RequestRefusedError: 404.
        """
        try:
            return self._running[deployment_id]
        except KeyError:
            raise deployment_missing(deployment_id) from None

    def of_app(self, app_id: str) -> list[str]:
        """Ids of the deployments that hold an app."""
        return [deployment.deployment_id for deployment in self.running if app_id in deployment.actions]

    def check_free(self, app_ids: Iterable[str], *, force: bool) -> None:
        """Raise if a new deployment of these apps may not begin.

        Raises:
            RequestRefusedError: 409 if one is held by a deployment and ``force`` is not set; 403 if too many run.
        """
        if force:
            return
        holders = list(dict.fromkeys(holder for app_id in app_ids for holder in self.of_app(app_id)))
        if holders:
            raise app_locked(holders)
        if len(self._running) >= MAX_RUNNING_DEPLOYMENTS:
            raise too_many_deployments(MAX_RUNNING_DEPLOYMENTS)

    def begin(
        self,
        actions: Mapping[str, Action],
        version: str,
        *,
        force: bool,
        before: Mapping[str, AppDefinition | None] | None = None,
    ) -> Deployment:
        """Begin a deployment; with ``force`` it takes the place of those that hold its apps.

        Raises:
            RequestRefusedError: as check_free.
        """
        self.check_free(actions, force=force)
        for holder in [holder for app_id in actions for holder in self.of_app(app_id)]:
            self._running.pop(holder, None)
        deployment = Deployment(str(uuid.uuid4()), version, dict(actions), before or {})
        if actions:
            self._running[deployment.deployment_id] = deployment
        return deployment

    def finish(self, deployment: Deployment) -> None:
        """The deployment has reached its end: it is no longer listed."""
        self._running.pop(deployment.deployment_id, None)
