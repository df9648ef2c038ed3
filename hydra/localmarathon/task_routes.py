"""``/v2/tasks`` and the tasks below ``/v2/apps``: list and kill."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiohttp import web

from hydra.localmarathon.app import App
from hydra.localmarathon.errors import RequestRefusedError
from hydra.localmarathon.json_fields import JsonFields, Violations
from hydra.localmarathon.routing import Call, Route, deployment_result, json_response
from hydra.localmarathon.task import Task, TaskState

_TASK_ID = re.compile(r"[^/\s]+\.[^/\s]+")
_STATES_OF_STATUS = {"running": TaskState.RUNNING, "staging": TaskState.STAGING}


async def list_tasks(call: Call) -> web.Response:
    """``GET /v2/tasks?status=``: of all apps that are not deleted."""
    asked = (_STATES_OF_STATUS.get(status.lower()) for status in call.texts("status"))
    wanted = {state for state in asked if state is not None}  # as in Marathon: other words are ignored
    tasks = [task for _app, task in _all_tasks(call) if not wanted or task.state in wanted]
    return json_response({"tasks": [task.document() for task in tasks]})


async def list_app_tasks(call: Call) -> web.Response:
    """``GET /v2/apps/{id}/tasks``."""
    return json_response({"tasks": [task.document() for task in call.app.tasks.values()]})


async def list_group_tasks(call: Call) -> web.Response:
    """``GET /v2/apps/{group}/*/tasks``; ``GET /v2/apps/*/tasks`` of all groups."""
    return json_response({"tasks": [task.document() for app in call.group_apps for task in app.tasks.values()]})


async def kill_app_tasks(call: Call) -> web.Response:
    """``DELETE /v2/apps/{id}/tasks?host=&scale=&wipe=&force=``."""
    _check_flags(call)
    app = call.app
    host = call.request.query.get("host", "*")
    tasks = [
        task for task in app.tasks.values() if host in ("*", task.agent.host) and task.state is not TaskState.KILLING
    ]
    return _kill(call, [(app, task) for task in tasks])


async def kill_task(call: Call) -> web.Response:
    """``DELETE /v2/apps/{id}/tasks/{taskId}?scale=&wipe=&force=``."""
    _check_flags(call)
    app, task_id = call.app, call.ids["task_id"]
    task = app.tasks.get(task_id)
    if task is None:
        raise RequestRefusedError(404, f"Task '{task_id}' does not exist")
    return _kill(call, [(app, task)], is_single=True)


async def kill_tasks(call: Call) -> web.Response:
    """``POST /v2/tasks/delete?scale=&wipe=&force=``: tasks of any app by id; unknown ids are ignored."""
    _check_flags(call)
    violations = Violations()
    body = JsonFields(await call.body(), "", violations)
    ids = body.texts("ids")
    if ids is None:
        body.missing("ids")
    violations.raise_any()
    for task_id in ids or ():
        if not _TASK_ID.fullmatch(task_id):
            raise RequestRefusedError(400, f"Invalid task id '{task_id}'. [it must look like app.instance-uuid._app.1]")
    return _kill(call, [(app, task) for app, task in _all_tasks(call) if task.task_id in (ids or ())])


def _all_tasks(call: Call) -> list[tuple[App, Task]]:
    return [(app, task) for app in call.scheduler.apps.values() for task in app.tasks.values()]


def _check_flags(call: Call) -> None:
    if call.flag("scale") and call.flag("wipe"):
        raise RequestRefusedError(400, "You cannot use scale and wipe at the same time.")


def _kill(call: Call, found: Sequence[tuple[App, Task]], *, is_single: bool = False) -> web.Response:
    """Kill tasks; responds with the deployment if the app is scaled, else with the tasks as they were before."""
    if call.flag("scale"):
        return deployment_result(call.scheduler.kill_and_scale(found, force=call.flag("force")))
    documents = [task.document() for _app, task in found]
    call.scheduler.kill(found)
    return json_response({"task": documents[0]} if is_single else {"tasks": documents})


ROUTES = (
    Route("GET", r"/v2/tasks", list_tasks),
    Route("POST", r"/v2/tasks/delete", kill_tasks),
    Route("GET", r"/v2/apps/(?:(?P<group_id>.+)/)?\*/tasks", list_group_tasks),
    Route("GET", r"/v2/apps/(?P<app_id>.+)/tasks", list_app_tasks),
    Route("DELETE", r"/v2/apps/(?P<app_id>.+)/tasks", kill_app_tasks),
    Route("DELETE", r"/v2/apps/(?P<app_id>.+)/tasks/(?P<task_id>[^/]+)", kill_task),
)
