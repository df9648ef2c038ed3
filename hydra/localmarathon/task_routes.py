"""``/v2/tasks`` and the tasks below ``/v2/apps``: list and kill."""

from __future__ import annotations

import re

from aiohttp import web

from hydra.localmarathon.app import App
from hydra.localmarathon.app_ids import absolute_app_id
from hydra.localmarathon.groups import below
from hydra.localmarathon.json_fields import JsonFields, Violations
from hydra.localmarathon.refusals import bad_task_id, scale_and_wipe, task_missing
from hydra.localmarathon.routing import Call, Route, deployment_result
from hydra.localmarathon.task import Task, TaskState

_TASK_ID = re.compile(r"[^/\s]+\.[^/\s]+")
_STATES_OF_STATUS = {"running": TaskState.RUNNING, "staging": TaskState.STAGING}


async def list_tasks(call: Call) -> web.Response:
    """``GET /v2/tasks?status=``: of all apps that are not deleted."""
    wanted = {_STATES_OF_STATUS.get(status) for status in call.texts("status")}
    tasks = [task for app in call.scheduler.apps.values() for task in app.ordered_tasks()]
    chosen = [task for task in tasks if not wanted or task.state in wanted]
    return web.json_response({"tasks": [task.document(with_service_ports=True) for task in chosen]})


async def list_app_tasks(call: Call) -> web.Response:
    """``GET /v2/apps/{id}/tasks``."""
    app = _app(call)
    return web.json_response({"tasks": [task.document(with_service_ports=True) for task in app.ordered_tasks()]})


async def kill_app_tasks(call: Call) -> web.Response:
    """``DELETE /v2/apps/{id}/tasks?host=&scale=&wipe=&force=``."""
    _check_flags(call)
    app = _app(call)
    host = call.request.query.get("host")
    tasks = [task for task in app.ordered_tasks() if host in (None, task.host) and task.state is not TaskState.KILLING]
    documents = [task.document(with_service_ports=True) for task in tasks]
    if call.flag("scale"):
        return deployment_result(
            call.scheduler.kill_and_scale([(app, task) for task in tasks], force=call.flag("force"))
        )
    call.scheduler.kill(app, tasks)
    return web.json_response({"tasks": documents})


async def kill_task(call: Call) -> web.Response:
    """``DELETE /v2/apps/{id}/tasks/{taskId}?scale=&wipe=&force=``."""
    _check_flags(call)
    app = _app(call)
    task = _task(app, call.ids["task_id"])
    document = task.document(with_service_ports=True)
    if call.flag("scale"):
        return deployment_result(call.scheduler.kill_and_scale([(app, task)], force=call.flag("force")))
    call.scheduler.kill(app, [task])
    return web.json_response({"task": document})


async def kill_tasks(call: Call) -> web.Response:
    """``POST /v2/tasks/delete?scale=&wipe=&force=``: those of the ids that there are, of whatever app."""
    _check_flags(call)
    violations = Violations()
    ids = JsonFields(await call.body(), "", violations).texts("ids") or ()
    violations.raise_any()
    for task_id in ids:
        if not _TASK_ID.fullmatch(task_id):
            raise bad_task_id(task_id)
    found = [(app, task) for app in call.scheduler.apps.values() for task in app.ordered_tasks() if task.task_id in ids]
    documents = [task.document(with_service_ports=True) for _app, task in found]
    if call.flag("scale"):
        return deployment_result(call.scheduler.kill_and_scale(found, force=call.flag("force")))
    for app, task in found:
        call.scheduler.kill(app, [task])
    return web.json_response({"tasks": documents})


async def list_group_tasks(call: Call) -> web.Response:
    """``GET /v2/apps/{group}/*/tasks``."""
    app_ids = below(absolute_app_id(call.ids["group_id"]), call.scheduler.apps)
    tasks = [task for app_id in app_ids for task in call.scheduler.app(app_id).ordered_tasks()]
    return web.json_response({"tasks": [task.document(with_service_ports=True) for task in tasks]})


def _app(call: Call) -> App:
    return call.scheduler.app(absolute_app_id(call.ids["app_id"]))


def _task(app: App, task_id: str) -> Task:
    task = app.tasks.get(task_id)
    if task is None:
        raise task_missing(task_id)
    return task


def _check_flags(call: Call) -> None:
    if call.flag("scale") and call.flag("wipe"):
        raise scale_and_wipe()


ROUTES = (
    Route("GET", r"/v2/tasks", list_tasks),
    Route("POST", r"/v2/tasks/delete", kill_tasks),
    Route("GET", r"/v2/apps/(?P<group_id>.+)/\*/tasks", list_group_tasks),
    Route("GET", r"/v2/apps/(?P<app_id>.+)/tasks", list_app_tasks),
    Route("DELETE", r"/v2/apps/(?P<app_id>.+)/tasks", kill_app_tasks),
    Route("DELETE", r"/v2/apps/(?P<app_id>.+)/tasks/(?P<task_id>[^/]+)", kill_task),
)
