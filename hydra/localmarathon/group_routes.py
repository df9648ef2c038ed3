"""``/v2/groups``: read, create, change, scale and delete all apps below an id in one deployment."""

from __future__ import annotations

from aiohttp import web

from hydra.localmarathon.app import App
from hydra.localmarathon.app_ids import absolute_app_id
from hydra.localmarathon.groups import below, group_document, read_group, resolved, scale_factor, scaled
from hydra.localmarathon.refusals import group_exists, group_missing
from hydra.localmarathon.routing import Call, Route, deployment_result


async def get_group(call: Call) -> web.Response:
    """``GET /v2/groups``, ``GET /v2/groups/{id}``."""
    group_id, apps = _group(call)
    documents = {
        app.definition.app_id: app.document(call.scheduler.deployments.of_app(app.definition.app_id), ())
        for app in apps
    }
    return web.json_response(group_document(group_id, documents, call.scheduler.version))


async def create_group(call: Call) -> web.Response:
    """``POST /v2/groups``."""
    body = await call.body()
    named = body.get("id") if isinstance(body, dict) else None
    group_id = resolved(named if isinstance(named, str) else "", "")
    if below(group_id, call.scheduler.apps):
        raise group_exists(group_id)
    return _deploy(call, group_id, body, status=201)


async def put_group(call: Call) -> web.Response:
    """``PUT /v2/groups/{id}``: ``scaleBy``, or the group's definition."""
    group_id = absolute_app_id(call.ids.get("group_id") or "")
    body = await call.body()
    factor = scale_factor(body)
    if factor is None:
        return _deploy(call, group_id, body, status=200 if below(group_id, call.scheduler.apps) else 201)
    change = scaled(_group(call)[1], factor)
    return deployment_result(call.scheduler.put(change.definitions, force=call.flag("force")))


async def delete_group(call: Call) -> web.Response:
    """``DELETE /v2/groups/{id}``: every app below it, in one deployment."""
    app_ids = [app.definition.app_id for app in _group(call)[1]]
    return deployment_result(call.scheduler.delete(app_ids, force=call.flag("force")))


def _deploy(call: Call, group_id: str, body: object, *, status: int) -> web.Response:
    change = read_group(body, group_id, call.scheduler.apps, own_user=call.server.own_user)
    deployment = call.scheduler.put(change.definitions, deleted=change.deleted, force=call.flag("force"))
    return deployment_result(deployment, status=status)


def _group(call: Call) -> tuple[str, list[App]]:
    group_id = absolute_app_id(call.ids.get("group_id") or "")
    app_ids = below(group_id, call.scheduler.apps)
    if not app_ids and group_id != "/":
        raise group_missing(group_id)
    return group_id, [call.scheduler.apps[app_id] for app_id in app_ids]


ROUTES = (
    Route("GET", r"/v2/groups(?:/(?P<group_id>.+))?", get_group),
    Route("POST", r"/v2/groups", create_group),
    Route("PUT", r"/v2/groups(?:/(?P<group_id>.+))?", put_group),
    Route("DELETE", r"/v2/groups(?:/(?P<group_id>.+))?", delete_group),
)
