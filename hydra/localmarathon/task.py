"""One instance of an app: what is known of it, its JSON, and the environment that its processes get. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hydra.localmarathon.app_definition import AppDefinition
from hydra.localmarathon.placement import AgentIdentity
from hydra.localmarathon.processes import TASK_MARK

_INHERITED = {
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM",
    "VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "JAVA_HOME",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CACHE_HOME", "HYDRA_RUN_ID",
}  # fmt: skip


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

    def end(self, state: TaskState, message: str) -> None:
        """Note that and why it has ended."""
        self.state, self.message = state, message

    def document(self) -> dict[str, object]:
        """The JSON object of this task; every key is known to the PyPI client ``marathon`` 0.13.0."""
        started = {} if self.started_at is None else {"startedAt": self.started_at}
        return {
            "id": self.task_id, "appId": self.app.app_id,
            "host": self.agent.host, "slaveId": self.agent.agent_id,
            "state": self.state.value,
            "ports": list(self.ports), "servicePorts": [port.port for port in self.app.ports],
            "ipAddresses": [{"ipAddress": self.agent.host, "protocol": "IPv4"}],
            "stagedAt": self.staged_at, **started,
            "version": self.app.versions.version, "role": self.app.role,
            "localVolumes": [], "healthCheckResults": [],
        }  # fmt: skip

    def failure_document(self, timestamp: str) -> dict[str, object]:
        """The JSON object ``lastTaskFailure``, for a task that ended although nobody killed it."""
        return {
            "appId": self.app.app_id, "taskId": self.task_id,
            "host": self.agent.host, "slaveId": self.agent.agent_id,
            "state": self.state.value, "message": self.message,
            "timestamp": timestamp, "version": self.app.versions.version,
        }  # fmt: skip


def inherited_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of the server's own environment that tasks get: enough to run programs. The rest may hold secrets."""
    return {name: value for name, value in environment.items() if name in _INHERITED or name.startswith("LC_")}


def task_environment(task: Task, *, inherited: Mapping[str, str], framework_id: str) -> dict[str, str]:
    """All variables of a task; the app's own ``env`` overrides all but the mark."""
    sandbox, agent_id = str(task.sandbox), task.agent.agent_id
    return {
        **inherited,
        **_marathon_variables(task.app),
        **_port_variables(task),
        "MESOS_TASK_ID": task.task_id, "MESOS_EXECUTOR_ID": task.task_id, "MESOS_FRAMEWORK_ID": framework_id,
        "MESOS_SANDBOX": sandbox, "MESOS_DIRECTORY": sandbox,
        "MESOS_SLAVE_ID": agent_id, "MESOS_AGENT_ID": agent_id,
        **task.app.env,
        TASK_MARK: f"{framework_id}/{task.task_id}",
    }  # fmt: skip


def _marathon_variables(app: AppDefinition) -> dict[str, str]:
    labels = {_variable_name(name): value for name, value in app.labels.items()}
    return {
        "MARATHON_APP_ID": app.app_id,
        "MARATHON_APP_VERSION": app.versions.version,
        "MARATHON_APP_RESOURCE_CPUS": str(float(app.cpus)),
        "MARATHON_APP_RESOURCE_MEM": str(float(app.mem_mb)),
        "MARATHON_APP_RESOURCE_DISK": str(float(app.disk_mb)),
        "MARATHON_APP_RESOURCE_GPUS": str(app.gpus),
        "MARATHON_APP_ENFORCE_GROUP_ROLE": "false",
        "MARATHON_APP_LABELS": " ".join(labels),
        **{f"MARATHON_APP_LABEL_{name}": value for name, value in labels.items()},
    }


def _port_variables(task: Task) -> dict[str, str]:
    variables = {"HOST": task.agent.host, "PORTS": ",".join(str(port) for port in task.ports)}
    if task.ports:
        variables["PORT"] = str(task.ports[0])
    for index, (definition, port) in enumerate(zip(task.app.ports, task.ports, strict=True)):
        variables[f"PORT{index}"] = str(port)
        variables[f"PORT_{definition.port}"] = str(port)
        if definition.name:
            variables[f"PORT_{_variable_name(definition.name)}"] = str(port)
    return variables


def _variable_name(text: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", text.upper())
