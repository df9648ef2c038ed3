"""From a request to the function that handles it, and from any error to Marathon's JSON."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from aiohttp import web

from hydra.localmarathon.app import App
from hydra.localmarathon.app_definition import absolute_app_id
from hydra.localmarathon.deployments import Deployment
from hydra.localmarathon.errors import RequestRefusedError, not_supported
from hydra.localmarathon.guard import RequestGuard
from hydra.localmarathon.scheduler import Scheduler

_LOG = logging.getLogger(__name__)
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_LEVELS = 100
"""Of objects and arrays within each other: what is stored has to be written again, together with what is around it."""

_compact_json = functools.partial(json.dumps, separators=(",", ":"))
json_response = functools.partial(web.json_response, dumps=_compact_json)


@dataclass(frozen=True)
class ServerIdentity:
    """What the server reports about itself."""

    framework_id: str
    host: str
    port: int
    own_user: str


@dataclass(frozen=True)
class Call:
    """A request with what is needed to handle it."""

    request: web.Request
    scheduler: Scheduler
    server: ServerIdentity
    ids: Mapping[str, str]  # the named groups of the route's pattern

    @property
    def app_id(self) -> str:
        """The absolute app id in the path."""
        return absolute_app_id(self.ids["app_id"])

    @property
    def group_id(self) -> str:
        """The absolute group id in the path, ``/`` if there is none."""
        return absolute_app_id(self.ids.get("group_id") or "")

    @property
    def app(self) -> App:
        """The app of the path.

        Raises:
            RequestRefusedError: 404.
        """
        return self.scheduler.app(self.app_id)

    @property
    def group_apps(self) -> list[App]:
        """The apps of the group in the path; a group exists while it contains an app.

        Raises:
            RequestRefusedError: 404.
        """
        apps = self.scheduler.apps_below(self.group_id)
        if not apps and self.group_id != "/":
            raise RequestRefusedError(404, f"Group '{self.group_id}' does not exist")
        return apps

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean of the query, in any case: ``True`` means ``true``."""
        text = self.request.query.get(name)
        return default if text is None else text.lower() == "true"

    def texts(self, name: str) -> list[str]:
        """All values of a parameter of the query, written as ``name=a&name=b`` or ``name[]=a``."""
        return [*self.request.query.getall(name, []), *self.request.query.getall(f"{name}[]", [])]

    async def body(self) -> object:
        """The JSON value of the body.

        Raises:
            RequestRefusedError: 400.
        """
        content = await self.request.read()
        if not content.strip():
            reason = "No content to map due to end-of-input"
            raise RequestRefusedError(400, "Please specify data in JSON format", details=reason)
        try:
            value: object = json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RequestRefusedError(400, "Invalid JSON", details=str(error)) from None
        if _is_too_deep(value):
            raise RequestRefusedError(400, "Invalid JSON", details=f"nested more than {MAX_LEVELS} levels deep")
        return value


Handler = Callable[[Call], Awaitable[web.Response]]


@dataclass(frozen=True)
class Route:
    """A method, a pattern that matches the whole path, and the function that handles the request."""

    method: str
    pattern: str
    handler: Handler


def unsupported(what: str, pattern: str, *methods: str) -> tuple[Route, ...]:
    """Routes that Marathon has and this server refuses with 404 and the reason."""

    async def refuse(call: Call) -> web.Response:  # noqa: ARG001  # every handler takes a call
        raise not_supported(what)

    return tuple(Route(method, pattern, refuse) for method in methods)


def make_application(
    routes: Iterable[Route],
    scheduler: Scheduler,
    server: ServerIdentity,
    guard: RequestGuard,
    welcome: Callable[[asyncio.BaseProtocol], None],
) -> web.Application:
    """The web application. It matches routes itself: aiohttp's router knows neither ``//`` nor Marathon's errors.

    Args:
        routes: the first that matches wins.
        scheduler: of this server.
        server: what the server reports about itself.
        guard: refuses the requests of strangers, whatever they ask for.
        welcome: is told what serves a connection over which a request came that is no stranger's.
    """
    table = [(route.method, re.compile(route.pattern), route.handler) for route in routes]

    async def dispatch(request: web.Request) -> web.Response:
        guard.check(request.headers, has_body=request.body_exists)
        welcome(request.protocol)
        path = re.sub("/+", "/", request.path).rstrip("/") or "/"
        method = "GET" if request.method == "HEAD" else request.method
        if request.query.get("dryRun", "false").lower() != "false":
            raise not_supported("dry runs", status=422)
        allowed = []
        for route_method, pattern, handler in table:
            match = pattern.fullmatch(path)
            if match and route_method == method:
                return await handler(Call(request, scheduler, server, match.groupdict()))
            if match:
                allowed.append(route_method)
        if allowed:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        raise RequestRefusedError(500, "URI not found")  # sic: not 404

    application = web.Application(middlewares=[_errors_as_json], client_max_size=MAX_BODY_BYTES)
    application.router.add_route("*", "/{path:.*}", dispatch)
    return application


def deployment_result(deployment: Deployment, *, created_id: str | None = None) -> web.Response:
    """The response to a request that begins a deployment; 201 if it creates an app."""
    document = {"version": deployment.version, "deploymentId": deployment.deployment_id}
    headers = deployment_headers(deployment, created_id)
    return json_response(document, status=200 if created_id is None else 201, headers=headers)


def deployment_headers(deployment: Deployment, created_id: str | None) -> dict[str, str]:
    """The header that names the deployment, and ``Location`` if it creates an app."""
    located = {} if created_id is None else {"Location": created_id}
    return {"Marathon-Deployment-Id": deployment.deployment_id, **located}


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestRefusedError as error:
        return json_response(error.document, status=error.http_status, headers=error.headers)
    except web.HTTPException as error:
        headers = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
        return json_response({"message": f"HTTP {error.status} {error.reason}"}, status=error.status, headers=headers)
    except Exception as error:  # noqa: BLE001  # a bug of this server must not answer with a web page
        _LOG.exception("%s %s failed", request.method, request.path)
        return json_response({"message": f"{type(error).__name__}: {error}"}, status=500)


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_LEVELS):
        level = [each for outer in level for each in _inner(outer)]
        if not level:
            return False
    return True


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
