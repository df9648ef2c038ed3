"""Marathon's responses: the fields that Hydra uses, optional where they can be, and the tasks made of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from hydra.endpoints import Endpoint
from hydra.run.protocols import AppSpec, Task

OWNER_LABEL = "hydra_owner"


class MarathonResponse(msgspec.Struct, frozen=True, rename="camel"):
    """A JSON object of a response. Other fields are ignored: every release of Marathon adds some."""


class LastTaskFailure(MarathonResponse, frozen=True):
    """``lastTaskFailure`` of an app."""

    message: str = ""
    state: str = ""
    task_id: str = ""
    slave_id: str | None = None


class DeploymentResponse(MarathonResponse, frozen=True):
    """A deployment that is in progress."""

    id: str
    affected_apps: tuple[str, ...] = ()


class FetchResponse(MarathonResponse, frozen=True):
    """A file that a task's agent fetches before the command runs."""

    uri: str


class AppResponse(MarathonResponse, frozen=True):
    """An app."""

    id: str
    cmd: str | None = None
    instances: int = 1
    cpus: float = 1.0
    mem: float = 128.0
    env: Mapping[str, object] = {}
    labels: Mapping[str, str] = {}
    constraints: tuple[tuple[str, ...], ...] = ()
    fetch: tuple[FetchResponse, ...] = ()
    port_definitions: tuple[object, ...] | None = None
    ports: tuple[int, ...] | None = None
    version: str = ""
    tasks_staged: int = 0
    tasks_running: int = 0
    deployments: tuple[DeploymentResponse, ...] = ()
    last_task_failure: LastTaskFailure | None = None

    @property
    def port_count(self) -> int:
        """How many ports each of its tasks gets."""
        return len(self.port_definitions if self.port_definitions is not None else self.ports or ())


class IpAddressResponse(MarathonResponse, frozen=True):
    """An address of a task."""

    ip_address: str = ""


class TaskResponse(MarathonResponse, frozen=True):
    """A task."""

    id: str
    app_id: str = ""
    host: str = ""
    slave_id: str | None = None
    state: str | None = None
    ports: tuple[int, ...] | None = ()
    ip_addresses: tuple[IpAddressResponse, ...] | None = ()
    staged_at: str | None = None
    started_at: str | None = None
    version: str | None = None


class OfferRejection(MarathonResponse, frozen=True):
    """How many offers were declined for one reason."""

    reason: str
    declined: int = 0
    processed: int = 0


class ProcessedOffers(MarathonResponse, frozen=True):
    """What became of the offers for a queued app."""

    reject_summary_last_offers: tuple[OfferRejection, ...] = ()
    reject_summary_launch_attempt: tuple[OfferRejection, ...] = ()


class LaunchBackoff(MarathonResponse, frozen=True):
    """How long an app's launches are delayed."""

    time_left_seconds: float = 0
    overdue: bool = True
    """The app waits for offers; False while it backs off."""


class QueuedApp(MarathonResponse, frozen=True):
    """The app of an item in the queue."""

    id: str


class QueueItem(MarathonResponse, frozen=True):
    """An app that waits for tasks to be launched."""

    app: QueuedApp | None = None
    count: int = 0
    delay: LaunchBackoff = LaunchBackoff()
    processed_offers_summary: ProcessedOffers = ProcessedOffers()


class QueueResponse(MarathonResponse, frozen=True):
    """``GET /v2/queue``."""

    queue: tuple[QueueItem, ...] = ()


class OneApp(MarathonResponse, frozen=True):
    """``GET /v2/apps/{id}``."""

    app: AppResponse


class AppList(MarathonResponse, frozen=True):
    """``GET /v2/apps``."""

    apps: tuple[AppResponse, ...]


class TaskList(MarathonResponse, frozen=True):
    """``GET /v2/tasks``, ``GET /v2/apps/{id}/tasks``."""

    tasks: tuple[TaskResponse, ...]


class DeploymentStarted(MarathonResponse, frozen=True):
    """The response to any request that starts a deployment."""

    deployment_id: str


class MarathonConfig(msgspec.Struct, frozen=True):
    """The one field of ``marathon_config`` that is used."""

    mesos_leader_ui_url: str | None = None


class MarathonFacts(msgspec.Struct, frozen=True):
    """``GET /v2/info``."""

    version: str
    leader: str | None = None
    marathon_config: MarathonConfig = MarathonConfig()


class ErrorResponse(msgspec.Struct, frozen=True):
    """The body of an error."""

    message: str = ""
    details: object = None
    deployments: object = None


def queue_text(item: QueueItem) -> str:
    """Why tasks wait, according to the queue."""
    summary = item.processed_offers_summary
    rejections = summary.reject_summary_last_offers or summary.reject_summary_launch_attempt
    reasons = [f"{entry.reason} ({entry.declined} of {entry.processed})" for entry in rejections if entry.declined]
    if reasons:
        return f"{item.count} wait in Marathon's queue, offers were declined for {', '.join(reasons)}"
    if not item.delay.overdue:
        return f"{item.count} are delayed by back-off for {item.delay.time_left_seconds:g} s more after they failed"
    return f"{item.count} wait in Marathon's queue for an offer of an agent"


def labels_of(spec: AppSpec) -> dict[str, str]:
    """An app's labels, that of its owner among them."""
    return {**spec.labels, **({OWNER_LABEL: spec.owner} if spec.owner else {})}


def same_but_instances(app: AppResponse, spec: AppSpec) -> bool:
    """Whether an app is what the spec asks for, but for the number of its tasks."""
    return (
        app.cmd == spec.command
        and app.cpus == spec.cpus
        and app.mem == spec.mem_mib
        and dict(app.env) == dict(spec.env)
        and dict(app.labels) == labels_of(spec)
        and app.constraints == spec.constraints
        and tuple(item.uri for item in app.fetch) == spec.fetch
        and app.port_count == spec.port_count
    )


def task_of(item: TaskResponse) -> Task:
    """A task as the harness knows it."""
    host = task_host(item)
    endpoint = Endpoint(host, item.ports[0]) if host and item.ports else None
    return Task(task_id=item.id, app_id=item.app_id, running=item.state == "TASK_RUNNING", endpoint=endpoint)


def task_host(item: TaskResponse) -> str:
    """The address to reach a task at: its own, which needs no name resolution here, else its agent's name.

    An agent whose name resolves to its own loopback address reports that one, which is useless elsewhere.
    """
    for address in item.ip_addresses or ():
        try:
            parsed = ipaddress.ip_address(address.ip_address)
        except ValueError:
            continue
        if not parsed.is_unspecified and (not parsed.is_loopback or address.ip_address == item.host):
            return str(parsed)
    return item.host
