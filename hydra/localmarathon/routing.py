"""From a request to the function that answers it, and from whatever goes wrong to Marathon's JSON."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from hydra.localmarathon.deployments import Deployment
from hydra.localmarathon.refusals import RequestRefusedError, broken_json, unknown_route
from hydra.localmarathon.scheduler import Scheduler

_LOG = logging.getLogger(__name__)
MAX_BODY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class ServerIdentity:
    """What the server says of itself."""

    framework_id: str
    host: str
    port: int
    own_user: str


@dataclass(frozen=True)
class Call:
    """A request on its way to an answer."""

    request: web.Request
    scheduler: Scheduler
    server: ServerIdentity
    ids: Mapping[str, str] = field(default_factory=dict)  # what the named groups of the route's pattern matched

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean of the query; ``True`` is as good as ``true``."""
        text = self.request.query.get(name)
        return default if text is None else text.lower() == "true"

    def texts(self, name: str) -> list[str]:
        """All values of a parameter of the query, which may be written ``name=a&name=b`` or ``name[]=a``."""
        return [*self.request.query.getall(name, []), *self.request.query.getall(f"{name}[]", [])]

    async def body(self) -> object:
        """The JSON value that was sent.

        Raises:
            RequestRefusedError: 400.
        """
        content = await self.request.read()
        try:
            return json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise broken_json(str(error)) from None


Answer = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Route:
    """One row of the table: a method, a pattern that the whole path must match, a function."""

    method: str
    pattern: str
    answer: Answer


def make_application(
    routes: Iterable[Route], scheduler: Scheduler, server: Callable[[], ServerIdentity]
) -> web.Application:
    """The web application whose only table of routes is ours: aiohttp's knows neither ``//`` nor Marathon's errors.

    Args:
        routes: the first that matches wins.
        scheduler: what the answers are about.
        server: what the server says of itself once its port is known.
    """
    table = [(route.method, re.compile(route.pattern), route.answer) for route in routes]

    async def dispatch(request: web.Request) -> web.StreamResponse:
        path = re.sub("/+", "/", request.path).rstrip("/") or "/"
        method = "GET" if request.method == "HEAD" else request.method
        allowed = []
        for route_method, pattern, answer in table:
            match = pattern.fullmatch(path)
            if match and route_method == method:
                return await answer(Call(request, scheduler, server(), match.groupdict()))
            if match:
                allowed.append(route_method)
        if allowed:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        raise unknown_route()

    application = web.Application(middlewares=[_answer_in_json], client_max_size=MAX_BODY_BYTES)
    application.router.add_route("*", "/{path:.*}", dispatch)
    return application


def deployment_result(deployment: Deployment, *, status: int = 200) -> web.Response:
    """What every request that begins a deployment is answered with."""
    document = {"version": deployment.version, "deploymentId": deployment.deployment_id}
    return web.json_response(document, status=status, headers=deployment_header(deployment))


def deployment_header(deployment: Deployment) -> dict[str, str]:
    """The header that names the deployment."""
    return {"Marathon-Deployment-Id": deployment.deployment_id}


@web.middleware
async def _answer_in_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestRefusedError as error:
        return web.json_response(error.document, status=error.http_status)
    except web.HTTPException as error:
        headers = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
        message = f"HTTP {error.status} {error.reason}"
        return web.json_response({"message": message}, status=error.status, headers=headers)
    except Exception as error:  # noqa: BLE001  # the last line of defence: a bug of ours must not answer with a web page
        _LOG.exception("%s %s failed", request.method, request.path)
        return web.json_response({"message": f"{type(error).__name__}: {error}"}, status=500)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
