"""What is read of Marathon's and Mesos' answers: only the fields that are used, and none of them taken for granted."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """An object of an answer. Fields that are not named are passed over: every release has more of them."""


class AppFailure(Answer, frozen=True):
    """``lastTaskFailure`` of an app."""

    message: str = ""
    state: str = ""
    task_id: str = ""
    slave_id: str | None = None
    version: str = ""
    timestamp: str = ""


class AnsweredDeployment(Answer, frozen=True):
    """A deployment that is under way."""

    id: str
    affected_apps: tuple[str, ...] = ()


class PortDefinition(Answer, frozen=True):
    """A port of an app."""

    port: int = 0
    protocol: str = "tcp"


class Fetched(Answer, frozen=True):
    """A file that is there before a command runs."""

    uri: str


class AnsweredApp(Answer, frozen=True):
    """An app."""

    id: str
    cmd: str | None = None
    instances: int = 1
    cpus: float = 1.0
    mem: float = 128.0
    env: Mapping[str, object] = {}
    labels: Mapping[str, str] = {}
    constraints: tuple[tuple[str, ...], ...] = ()
    fetch: tuple[Fetched, ...] = ()
    port_definitions: tuple[PortDefinition, ...] | None = None
    ports: tuple[int, ...] | None = None
    version: str = ""
    tasks_staged: int = 0
    tasks_running: int = 0
    tasks_unhealthy: int = 0
    deployments: tuple[AnsweredDeployment, ...] = ()
    last_task_failure: AppFailure | None = None

    @property
    def port_count(self) -> int:
        """How many ports a task of it gets."""
        return len(self.port_definitions if self.port_definitions is not None else self.ports or ())


class IpAddress(Answer, frozen=True):
    """An address of a task."""

    ip_address: str = ""
    protocol: str = "IPv4"


class AnsweredTask(Answer, frozen=True):
    """A task."""

    id: str
    app_id: str = ""
    host: str = ""
    slave_id: str | None = None
    state: str | None = None
    ports: tuple[int, ...] | None = ()
    ip_addresses: tuple[IpAddress, ...] | None = ()
    staged_at: str | None = None
    started_at: str | None = None
    version: str | None = None


class Rejection(Answer, frozen=True):
    """Why offers were refused, and how many."""

    reason: str
    declined: int = 0
    processed: int = 0


class ProcessedOffers(Answer, frozen=True):
    """What became of the offers for an app in the queue."""

    reject_summary_last_offers: tuple[Rejection, ...] = ()
    reject_summary_launch_attempt: tuple[Rejection, ...] = ()


class Delay(Answer, frozen=True):
    """How long an app's launches are held back."""

    time_left_seconds: float = 0
    overdue: bool = True
    """It waits for offers; false while it backs off."""


class QueuedAppId(Answer, frozen=True):
    """The app of an item in the queue."""

    id: str


class QueueItem(Answer, frozen=True):
    """An app that waits for tasks to be launched."""

    app: QueuedAppId | None = None
    count: int = 0
    delay: Delay = Delay()
    processed_offers_summary: ProcessedOffers = ProcessedOffers()


class Queue(Answer, frozen=True):
    """``GET /v2/queue``."""

    queue: tuple[QueueItem, ...] = ()


class AppAnswer(Answer, frozen=True):
    """``GET /v2/apps/{id}``."""

    app: AnsweredApp


class AppsAnswer(Answer, frozen=True):
    """``GET /v2/apps``."""

    apps: tuple[AnsweredApp, ...]


class TasksAnswer(Answer, frozen=True):
    """``GET /v2/tasks``, ``GET /v2/apps/{id}/tasks``."""

    tasks: tuple[AnsweredTask, ...]


class DeploymentStarted(Answer, frozen=True):
    """The answer to whatever starts a deployment."""

    deployment_id: str
    version: str = ""


class MarathonNames(msgspec.Struct, frozen=True):
    """``marathon_config``: the one part of it that is used."""

    mesos_leader_ui_url: str | None = None


class MarathonFacts(msgspec.Struct, frozen=True):
    """``GET /v2/info``."""

    version: str
    name: str = "marathon"
    leader: str | None = None
    marathon_config: MarathonNames = MarathonNames()


class Message(msgspec.Struct, frozen=True):
    """The body of a refusal."""

    message: str = ""
    details: object = None
    deployments: object = None
