"""The environment of a task: the variables that Marathon and Mesos set. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hydra.localmarathon.app_definition import AppDefinition
from hydra.localmarathon.process_table import TASK_MARK
from hydra.localmarathon.task import Task

_INHERITED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM",
        "VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONWARNINGS", "JAVA_HOME",
        "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CACHE_HOME", "HYDRA_RUN_ID",
    }
)  # fmt: skip


def inherited_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of the server's own environment that tasks get: enough to run programs. The rest may hold secrets."""
    return {name: value for name, value in environment.items() if name in _INHERITED or name.startswith("LC_")}


def task_mark(framework_id: str, task_id: str) -> str:
    """The value of TASK_MARK."""
    return f"{framework_id}/{task_id}"


def task_environment(task: Task, *, inherited: Mapping[str, str], framework_id: str) -> dict[str, str]:
    """All variables of a task; the app's own ``env`` overrides all but the mark."""
    sandbox = str(task.sandbox)
    mesos = {
        "MESOS_TASK_ID": task.task_id,
        "MESOS_SANDBOX": sandbox,
        "MESOS_DIRECTORY": sandbox,
        "MESOS_FRAMEWORK_ID": framework_id,
        "MESOS_EXECUTOR_ID": task.task_id,
        "MESOS_SLAVE_ID": task.agent.agent_id,
        "MESOS_AGENT_ID": task.agent.agent_id,
    }
    return {
        **inherited,
        **_marathon_variables(task.app),
        **_port_variables(task),
        **mesos,
        **task.app.env,
        TASK_MARK: task_mark(framework_id, task.task_id),
    }


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
