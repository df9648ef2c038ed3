"""One instance of an app: what is known of it, and the JSON of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hydra.localmarathon.health_checks import Health


class TaskState(Enum):
    """Mesos' states of a task, as far as they occur on one machine."""

    STAGING = "TASK_STAGING"
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"
    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"


@dataclass
class Task:
    """An instance of an app, from its launch to its end; never used again: a replacement is a new task."""

    task_id: str
    app_id: str
    version: str  # of the app at the launch
    config_version: str  # when the app's configuration was last changed before the launch
    number: int  # counts launches: the higher, the younger
    host: str
    agent_id: str
    ports: tuple[int, ...]  # on the host
    service_ports: tuple[int, ...]
    role: str
    kill_grace_s: float
    sandbox: Path
    staged_at: str
    cpus: float = 0.0
    mem_mb: float = 0.0
    started_at: str | None = None
    state: TaskState = TaskState.STAGING
    message: str = ""  # why it ended
    health: tuple[Health, ...] = ()  # one for each check of the app
    announced: TaskState | None = None  # what listeners to events know of

    @property
    def instance_id(self) -> str:
        """Marathon's name of the task's place in its app."""
        return self.task_id.partition("._app.")[0]

    @property
    def is_ready(self) -> bool:
        """Whether it runs, and all of its checks say that it is healthy."""
        return self.state is TaskState.RUNNING and all(health.alive for health in self.health)

    @property
    def is_unhealthy(self) -> bool:
        """Whether one of its checks has found so."""
        return any(health.alive is False for health in self.health)

    def document(self, *, with_service_ports: bool = False) -> dict[str, object]:
        """The JSON object of this task; every key is known to the PyPI client ``marathon`` 0.13.0."""
        started = {} if self.started_at is None else {"startedAt": self.started_at}
        service_ports = {"servicePorts": list(self.service_ports)} if with_service_ports else {}
        return {
            "id": self.task_id,
            "appId": self.app_id,
            "host": self.host,
            "slaveId": self.agent_id,
            "state": self.state.value,
            "ports": list(self.ports),
            **service_ports,
            "ipAddresses": [{"ipAddress": self.host, "protocol": "IPv4"}],
            "stagedAt": self.staged_at,
            **started,
            "version": self.version,
            "role": self.role,
            "localVolumes": [],
            "healthCheckResults": [health.document() for health in self.health if health.alive is not None],
        }


def failure_document(task: Task, timestamp: str) -> dict[str, object]:
    """The JSON object ``lastTaskFailure`` of a task that ended although nobody killed it."""
    return {
        "appId": task.app_id,
        "host": task.host,
        "message": task.message,
        "slaveId": task.agent_id,
        "state": task.state.value,
        "taskId": task.task_id,
        "timestamp": timestamp,
        "version": task.version,
    }
