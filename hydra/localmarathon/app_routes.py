"""``/v2/apps`` and ``/v2/groups``: create, read, change and delete apps; read and delete all apps of a group."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aiohttp import web

from hydra.localmarathon.app import App
from hydra.localmarathon.app_definition import ids_below, merged_document
from hydra.localmarathon.app_parser import parse_app
from hydra.localmarathon.errors import RequestRefusedError, Violation, not_supported, rules_broken, wrong_types
from hydra.localmarathon.routing import Call, Route, deployment_headers, deployment_result, json_response, unsupported

_SINGLE_EMBED = ("tasks", "lastTaskFailure", "readiness")
_EMBED_NAMES = {"failures": "lastTaskFailure"}


async def list_apps(call: Call) -> web.Response:
    """``GET /v2/apps?cmd=&id=&embed=``."""
    query = call.request.query
    if query.get("label"):
        raise not_supported("label selectors", status=422)
    part_of_id, part_of_cmd = query.get("id", "").lower(), query.get("cmd", "").lower()
    apps = [
        app
        for app in call.scheduler.apps.values()
        if part_of_id in app.definition.app_id.lower() and part_of_cmd in (app.definition.cmd or "").lower()
    ]
    return json_response({"apps": [_document(call, app, _embed(call)) for app in apps]})


async def create_app(call: Call) -> web.Response:
    """``POST /v2/apps``."""
    definition = parse_app(await call.body(), own_user=call.server.own_user)
    if definition.app_id in call.scheduler.apps:
        raise RequestRefusedError(409, f"An app with id [{definition.app_id}] already exists.")
    deployment = call.scheduler.put([definition], force=call.flag("force"))
    document = _document(call, call.scheduler.app(definition.app_id))
    return json_response(document, status=201, headers=deployment_headers(deployment, definition.app_id))


async def get_app(call: Call) -> web.Response:
    """``GET /v2/apps/{id}``."""
    return json_response({"app": _document(call, call.app, _SINGLE_EMBED)})


async def list_group_apps(call: Call) -> web.Response:
    """``GET /v2/apps/{group}/*``; ``GET /v2/apps/*`` of all groups."""
    return json_response({"*": [_document(call, app, _SINGLE_EMBED) for app in call.group_apps]})


async def put_app(call: Call) -> web.Response:
    """``PUT /v2/apps/{id}``: creates the app if it does not exist."""
    update = await call.body()
    if not isinstance(update, dict):
        raise wrong_types([Violation("/", "error.expected.jsobject")])
    app = call.scheduler.apps.get(call.app_id)
    if app is not None and update.get("version") is not None:
        reason = "the local Marathon does not support going back to an earlier version of an app"
        raise rules_broken([Violation("/version", reason)])
    if app is not None and call.flag("partialUpdate", default=True):
        update = merged_document(app.definition, update)
    definition = parse_app(update, own_user=call.server.own_user, app_id=call.app_id)
    deployment = call.scheduler.put([definition], force=call.flag("force"))
    return deployment_result(deployment, created_id=call.app_id if app is None else None)


async def patch_app(call: Call) -> web.Response:
    """``PATCH /v2/apps/{id}``: as PUT, but the app must exist."""
    call.scheduler.app(call.app_id)
    return await put_app(call)


async def delete_app(call: Call) -> web.Response:
    """``DELETE /v2/apps/{id}``: forced unless the caller says otherwise."""
    return deployment_result(call.scheduler.delete([call.app_id], force=call.flag("force", default=True)))


async def restart_app(call: Call) -> web.Response:
    """``POST /v2/apps/{id}/restart``."""
    return deployment_result(call.scheduler.put([call.app.definition], force=call.flag("force"), restart=True))


async def get_group(call: Call) -> web.Response:
    """``GET /v2/groups``, ``GET /v2/groups/{id}``."""
    documents = {app.definition.app_id: _document(call, app) for app in call.group_apps}
    return json_response(_group_document(call.group_id, documents, call.scheduler.deployments.version))


async def delete_group(call: Call) -> web.Response:
    """``DELETE /v2/groups/{id}``: every app below it, in one deployment."""
    app_ids = [app.definition.app_id for app in call.group_apps]
    return deployment_result(call.scheduler.delete(app_ids, force=call.flag("force")))


def _group_document(group_id: str, apps: Mapping[str, dict[str, object]], version: str) -> dict[str, object]:
    """The JSON object of a group with its apps, given by their ids, and its subgroups."""
    prefix = f"{group_id.rstrip('/')}/"
    inside = {app_id.removeprefix(prefix): apps[app_id] for app_id in ids_below(group_id, apps)}
    subgroups = dict.fromkeys(name.split("/")[0] for name in inside if "/" in name)
    return {
        "id": group_id,
        "apps": [document for name, document in inside.items() if "/" not in name],
        "groups": [_group_document(prefix + name, apps, version) for name in subgroups],
        "pods": [],
        "dependencies": [],
        "version": version,
    }


def _embed(call: Call) -> set[str]:
    """``embed=apps.tasks``, ``embed=app.tasks`` and ``embed=tasks`` are the same."""
    names = (text.removeprefix("apps.").removeprefix("app.") for text in call.texts("embed"))
    return {_EMBED_NAMES.get(name, name) for name in names}


def _document(call: Call, app: App, embed: Collection[str] = ()) -> dict[str, object]:
    return app.document(call.scheduler.deployments.of_app(app.definition.app_id), embed)


ROUTES = (
    Route("GET", r"/v2/apps", list_apps),
    Route("POST", r"/v2/apps", create_app),
    Route("POST", r"/v2/apps/(?P<app_id>.+)/restart", restart_app),
    Route("GET", r"/v2/apps/(?:(?P<group_id>.+)/)?\*", list_group_apps),
    Route("GET", r"/v2/apps/(?P<app_id>.+)", get_app),
    Route("PUT", r"/v2/apps/(?P<app_id>.+)", put_app),
    Route("PATCH", r"/v2/apps/(?P<app_id>.+)", patch_app),
    Route("DELETE", r"/v2/apps/(?P<app_id>.+)", delete_app),
    Route("GET", r"/v2/groups(?:/(?P<group_id>.+))?", get_group),
    Route("DELETE", r"/v2/groups(?:/(?P<group_id>.+))?", delete_group),
)
UNSUPPORTED = (
    *unsupported("several apps in one request; use /v2/apps/{id}", r"/v2/apps", "PUT", "PATCH"),
    *unsupported("earlier versions of an app", r"/v2/apps/.+/versions(?:/[^/]+)?", "GET"),
    *unsupported("earlier versions of a group", r"/v2/groups(?:/.+)?/versions(?:/[^/]+)?", "GET"),
    *unsupported("creating and changing groups", r"/v2/groups(?:/.+)?", "POST", "PUT"),
)
