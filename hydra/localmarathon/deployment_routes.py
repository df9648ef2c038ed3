"""``/v2/deployments`` and ``/v2/queue``: the changes in progress, and the tasks that wait to be launched."""

from __future__ import annotations

from aiohttp import web

from hydra.localmarathon.errors import RequestRefusedError, not_supported
from hydra.localmarathon.routing import Call, Route, json_response


async def list_deployments(call: Call) -> web.Response:
    """``GET /v2/deployments``: a bare array, without those that have ended."""
    return json_response([deployment.document() for deployment in call.scheduler.deployments.running])


async def delete_deployment(call: Call) -> web.Response:
    """``DELETE /v2/deployments/{id}?force=true``: free its apps; they continue towards their new definitions."""
    deployment = call.scheduler.deployments.get(call.ids["deployment_id"])
    if not call.flag("force"):
        raise not_supported("rolling a deployment back, only ?force=true, which stops it where it is", status=422)
    call.scheduler.deployments.finish(deployment)
    return web.Response(status=202)


async def list_queue(call: Call) -> web.Response:
    """``GET /v2/queue``."""
    return json_response({"queue": call.scheduler.queue()})


async def reset_backoff(call: Call) -> web.Response:
    """``DELETE /v2/queue/{id}/delay``: end the back-off of an app."""
    app = call.scheduler.apps.get(call.app_id)
    if app is None or app.queue_entry is None:
        raise RequestRefusedError(404, f"Application {call.app_id} not found in tasks queue.")
    call.scheduler.reset_backoff(app)
    return web.Response(status=204)


ROUTES = (
    Route("GET", r"/v2/deployments", list_deployments),
    Route("DELETE", r"/v2/deployments/(?P<deployment_id>[^/]+)", delete_deployment),
    Route("GET", r"/v2/queue", list_queue),
    Route("DELETE", r"/v2/queue/(?P<app_id>.+)/delay", reset_backoff),
)
