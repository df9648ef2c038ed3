"""The Mesos addresses for agents and sandboxes; this server is the master and every agent."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from aiohttp import web

from hydra.localmarathon.agent import Agent
from hydra.localmarathon.errors import RequestRefusedError
from hydra.localmarathon.ports import HOST_PORTS
from hydra.localmarathon.routing import Call, Route, json_response
from hydra.localmarathon.task import Task
from hydra.localmarathon.threads import in_thread

MESOS_VERSION = "1.9.0"
MAX_READ_BYTES = 64 * 1024  # Mesos' limit for one response


async def list_agents(call: Call) -> web.Response:
    """``GET /slaves``, ``/master/slaves``."""
    return json_response({"slaves": _agent_documents(call), "recovered_slaves": []})


async def get_state(call: Call) -> web.Response:
    """``GET /state``, ``/master/state``: the state of master and agents in one object."""
    scheduler, server = call.scheduler, call.server
    tasks = [task for agent in scheduler.cluster.agents for task in agent.tasks]
    ended = [sandbox for app in scheduler.apps.values() for sandbox in app.sandboxes]
    framework = {
        "id": server.framework_id, "name": "marathon", "active": True, "webui_url": f"http://{server.host}:{server.port}",
        "executors": [_executor_document(task.sandbox, task) for task in tasks],
        "completed_executors": [_executor_document(sandbox, None) for sandbox in ended],
        "tasks": [_task_document(task, server.framework_id) for task in tasks],
    }  # fmt: skip
    document = {
        "version": MESOS_VERSION, "id": server.framework_id, "hostname": server.host,
        "slaves": _agent_documents(call), "frameworks": [framework], "completed_frameworks": [],
    }  # fmt: skip
    return json_response(document)


async def get_version(call: Call) -> web.Response:  # noqa: ARG001  # every handler takes a call
    """``GET /version``."""
    return json_response({"version": MESOS_VERSION, "build_user": "hydra.localmarathon"})


async def read_file(call: Call) -> web.Response:
    """``GET /files/read?path=&offset=&length=``: a part of a file in a sandbox; offset -1 returns its size."""
    query = call.request.query
    offset, length = _whole(query.get("offset", "-1")), _whole(query.get("length", str(MAX_READ_BYTES)))
    folder = call.scheduler.cluster.agents[0].settings.folder
    if not 0 <= length <= MAX_READ_BYTES:
        length = MAX_READ_BYTES
    document = await in_thread(_read, folder, query.get("path", ""), offset, length)
    if document is None:
        return json_response({"message": "No such file or directory"}, status=404)
    return json_response(document)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestRefusedError(400, f"'{text}' is not a number") from None


def _read(folder: Path, name: str, offset: int, length: int) -> dict[str, object] | None:
    """A part as text that is as long as what was read, in bytes, so that a reader can compute the next offset."""
    try:
        path = Path(name).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return None
        if offset < 0:
            return {"data": "", "offset": path.stat().st_size}
        with path.open("rb") as file:
            file.seek(offset)
            part = file.read(length)
    except (OSError, ValueError, RuntimeError):  # the last one is a link that leads to itself, up to Python 3.12
        return None
    # A character that is cut off at the end belongs to the next part; a byte that is no UTF-8 becomes a question mark.
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(part)
    return {"data": re.sub("[\udc80-\udcff]", "?", text), "offset": offset}


def _agent_documents(call: Call) -> list[dict[str, object]]:
    return [_agent_document(agent, call, number) for number, agent in enumerate(call.scheduler.cluster.agents, start=1)]


def _agent_document(agent: Agent, call: Call, number: int) -> dict[str, object]:
    settings, identity, offer = agent.settings, agent.settings.identity, agent.offer()
    used_ports = sorted(port for task in agent.tasks for port in task.ports)
    return {
        "id": identity.agent_id, "hostname": identity.host, "attributes": dict(identity.attributes),
        "pid": f"slave({number})@{call.server.host}:{call.server.port}",
        "active": True, "version": MESOS_VERSION,
        "resources": {
            "cpus": settings.cpus, "mem": settings.mem_mb,
            "ports": f"[{HOST_PORTS.start}-{HOST_PORTS.stop - 1}]",
        },
        "used_resources": {
            "cpus": round(settings.cpus - offer.cpus, 6), "mem": round(settings.mem_mb - offer.mem_mb, 6),
            "ports": f"[{', '.join(f'{port}-{port}' for port in used_ports)}]",
        },
    }  # fmt: skip


def _executor_document(sandbox: Path, task: Task | None) -> dict[str, object]:
    """A task's executor; one that has ended is known by its sandbox only."""
    named = [{"id": sandbox.name}]
    return {
        "id": sandbox.name, "source": sandbox.name, "directory": str(sandbox),
        "tasks": named if task is not None else [], "completed_tasks": [] if task is not None else named,
    }  # fmt: skip


def _task_document(task: Task, framework_id: str) -> dict[str, object]:
    return {
        "id": task.task_id, "name": mesos_task_name(task.app.app_id), "state": task.state.value,
        "framework_id": framework_id, "slave_id": task.agent.agent_id,
        "resources": {"cpus": task.app.cpus, "mem": task.app.mem_mb},
    }  # fmt: skip


def mesos_task_name(app_id: str) -> str:
    """``/g1/kafka-sub`` -> ``kafka-sub.g1``."""
    return ".".join(reversed(app_id[1:].split("/")))


ROUTES = (
    Route("GET", r"/(?:master/)?slaves", list_agents),
    Route("GET", r"/(?:master/)?state", get_state),
    Route("GET", r"/version", get_version),
    Route("GET", r"/files/read", read_file),
)
