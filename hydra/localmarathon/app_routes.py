"""``/v2/apps``: create, read, change, delete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from aiohttp import web

from hydra.localmarathon.app import App
from hydra.localmarathon.app_definition import AppDefinition, Versions, app_document, merged_document
from hydra.localmarathon.app_ids import absolute_app_id
from hydra.localmarathon.app_reading import read_app
from hydra.localmarathon.groups import below
from hydra.localmarathon.label_selector import parse_label_selector
from hydra.localmarathon.refusals import Violation, rules_broken, version_missing, wrong_types
from hydra.localmarathon.routing import Call, Route, deployment_header, deployment_result

_SINGLE_EMBED = ("tasks", "lastTaskFailure", "readiness")
_EMBED_NAMES = {"failures": "lastTaskFailure"}


async def list_apps(call: Call) -> web.Response:
    """``GET /v2/apps?cmd=&id=&label=&embed=``."""
    query = call.request.query
    part_of_id, part_of_cmd = query.get("id", "").lower(), query.get("cmd", "").lower()
    terms = parse_label_selector(query.get("label", ""))
    apps = [
        app
        for app in call.scheduler.apps.values()
        if part_of_id in app.definition.app_id.lower()
        and part_of_cmd in (app.definition.cmd or "").lower()
        and all(term.matches(app.definition.labels) for term in terms)
    ]
    embed = _embed(call)
    return web.json_response({"apps": [_document(call, app, embed) for app in apps]})


async def create_app(call: Call) -> web.Response:
    """``POST /v2/apps``."""
    definition = read_app(await call.body(), own_user=call.server.own_user)
    deployment = call.scheduler.create(definition, force=call.flag("force"))
    app = call.scheduler.app(definition.app_id)
    document = _document(call, app, ())
    call.scheduler.events.publish(
        "api_post_event", clientIp=call.request.remote, uri=call.request.path, appDefinition=document
    )
    headers = {"Location": definition.app_id, **deployment_header(deployment)}
    return web.json_response(document, status=201, headers=headers)


async def get_app(call: Call) -> web.Response:
    """``GET /v2/apps/{id}``."""
    app = call.scheduler.app(absolute_app_id(call.ids["app_id"]))
    return web.json_response({"app": _document(call, app, _SINGLE_EMBED)})


async def get_group_apps(call: Call) -> web.Response:
    """``GET /v2/apps/{group}/*``."""
    app_ids = below(absolute_app_id(call.ids["group_id"]), call.scheduler.apps)
    apps = [_document(call, call.scheduler.app(app_id), _embed(call)) for app_id in app_ids]
    return web.json_response({"*": apps})


async def put_app(call: Call) -> web.Response:
    """``PUT /v2/apps/{id}``: creates the app if there is none."""
    app_id = absolute_app_id(call.ids["app_id"])
    is_new = app_id not in call.scheduler.apps
    definition = _updated(call, await call.body(), app_id)
    deployment = call.scheduler.put([definition], force=call.flag("force"))
    return deployment_result(deployment, status=201 if is_new else 200)


async def patch_app(call: Call) -> web.Response:
    """``PATCH /v2/apps/{id}``: as PUT, but the app must be there."""
    call.scheduler.app(absolute_app_id(call.ids["app_id"]))
    return await put_app(call)


async def put_apps(call: Call) -> web.Response:
    """``PUT /v2/apps``: several apps in one deployment."""
    body = await call.body()
    if not isinstance(body, list):
        raise wrong_types([Violation("/", "error.expected.jsarray")])
    definitions = [_updated(call, update, None) for update in body]
    ids = [definition.app_id for definition in definitions]
    if len(set(ids)) < len(ids):
        raise rules_broken([Violation("/", "each app may be named only once")])
    return deployment_result(call.scheduler.put(definitions, force=call.flag("force")))


async def delete_app(call: Call) -> web.Response:
    """``DELETE /v2/apps/{id}``: forced unless the caller says otherwise."""
    app_id = absolute_app_id(call.ids["app_id"])
    return deployment_result(call.scheduler.delete([app_id], force=call.flag("force", default=True)))


async def restart_app(call: Call) -> web.Response:
    """``POST /v2/apps/{id}/restart``."""
    app = call.scheduler.app(absolute_app_id(call.ids["app_id"]))
    return deployment_result(call.scheduler.put([app.definition], force=call.flag("force"), restart=True))


async def list_versions(call: Call) -> web.Response:
    """``GET /v2/apps/{id}/versions``."""
    app = call.scheduler.app(absolute_app_id(call.ids["app_id"]))
    return web.json_response({"versions": [definition.versions.version for definition in app.versions]})


async def get_version(call: Call) -> web.Response:
    """``GET /v2/apps/{id}/versions/{version}``: the bare app."""
    app = call.scheduler.app(absolute_app_id(call.ids["app_id"]))
    return web.json_response(app_document(_version(app, call.ids["version"])))


def _updated(call: Call, body: object, app_id: str | None) -> AppDefinition:
    """The whole definition that an update asks for, with unset versions."""
    update = dict(body) if isinstance(body, dict) else None
    if update is None:
        raise wrong_types([Violation("/", "error.expected.jsobject")])
    named = update.get("id")
    known_id = app_id or (absolute_app_id(named) if isinstance(named, str) else "")
    app = call.scheduler.apps.get(known_id)
    if app is not None and update.get("version") is not None:
        return _rolled_back(app, update)
    document: object = update
    if app is not None and call.flag("partialUpdate", default=True):
        document = merged_document(app.definition, update)
    return replace(read_app(document, own_user=call.server.own_user, app_id=app_id), versions=Versions())


def _rolled_back(app: App, update: dict[str, object]) -> AppDefinition:
    others = {name for name, value in update.items() if value is not None} - {"id", "version"}
    if others:
        raise rules_broken([Violation("/version", "The 'version' field may only be combined with the 'id' field.")])
    return replace(_version(app, str(update["version"])), versions=Versions())


def _version(app: App, version: str) -> AppDefinition:
    for definition in app.versions:
        if definition.versions.version == version:
            return definition
    raise version_missing(app.definition.app_id, version)


def _embed(call: Call) -> frozenset[str]:
    """``embed=apps.tasks``, ``embed=app.tasks`` and ``embed=tasks`` are the same."""
    names = (text.removeprefix("apps.").removeprefix("app.") for text in call.texts("embed"))
    return frozenset(_EMBED_NAMES.get(name, name) for name in names)


def _document(call: Call, app: App, embed: Iterable[str]) -> dict[str, object]:
    return app.document(call.scheduler.deployments.of_app(app.definition.app_id), frozenset(embed))


ROUTES = (
    Route("GET", r"/v2/apps", list_apps),
    Route("POST", r"/v2/apps", create_app),
    Route("PUT", r"/v2/apps", put_apps),
    Route("PATCH", r"/v2/apps", put_apps),
    Route("POST", r"/v2/apps/(?P<app_id>.+)/restart", restart_app),
    Route("GET", r"/v2/apps/(?P<app_id>.+)/versions", list_versions),
    Route("GET", r"/v2/apps/(?P<app_id>.+)/versions/(?P<version>[^/]+)", get_version),
    Route("GET", r"/v2/apps/(?P<group_id>.+)/\*", get_group_apps),
    Route("GET", r"/v2/apps/(?P<app_id>.+)", get_app),
    Route("PUT", r"/v2/apps/(?P<app_id>.+)", put_app),
    Route("PATCH", r"/v2/apps/(?P<app_id>.+)", patch_app),
    Route("DELETE", r"/v2/apps/(?P<app_id>.+)", delete_app),
)
