"""One instance of an app: what is known of it, and its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hydra.localmarathon.app_definition import AppDefinition
from hydra.localmarathon.placement import AgentIdentity


class TaskState(Enum):
    """Mesos' task states, as far as they occur on one machine."""

    STAGING = "TASK_STAGING"
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"
    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"


@dataclass
class Task:
    """An instance of an app, from launch to end. It is never started again: its replacement is a new task."""

    task_id: str
    app: AppDefinition  # as it was at launch
    agent: AgentIdentity
    number: int  # counts launches: the higher, the younger
    ports: tuple[int, ...]  # on the host
    sandbox: Path
    staged_at: str
    started_at: str | None = None
    state: TaskState = TaskState.STAGING
    message: str = ""  # why it ended

    def has_config_of(self, app: AppDefinition) -> bool:
        """Whether the configuration of its app has not changed since its launch."""
        return self.app.versions.last_config_change_at == app.versions.last_config_change_at

    def document(self) -> dict[str, object]:
        """The JSON object of this task; every key is known to the PyPI client ``marathon`` 0.13.0."""
        started = {} if self.started_at is None else {"startedAt": self.started_at}
        return {
            "id": self.task_id,
            "appId": self.app.app_id,
            "host": self.agent.host,
            "slaveId": self.agent.agent_id,
            "state": self.state.value,
            "ports": list(self.ports),
            "servicePorts": [port.port for port in self.app.ports],
            "ipAddresses": [{"ipAddress": self.agent.host, "protocol": "IPv4"}],
            "stagedAt": self.staged_at,
            **started,
            "version": self.app.versions.version,
            "role": self.app.role,
            "localVolumes": [],
            "healthCheckResults": [],
        }

    def failure_document(self, timestamp: str) -> dict[str, object]:
        """The JSON object ``lastTaskFailure``, for a task that ended although nobody killed it."""
        return {
            "appId": self.app.app_id,
            "host": self.agent.host,
            "message": self.message,
            "slaveId": self.agent.agent_id,
            "state": self.state.value,
            "taskId": self.task_id,
            "timestamp": timestamp,
            "version": self.app.versions.version,
        }
