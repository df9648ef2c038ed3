"""``/v2/deployments`` and ``/v2/queue``: what is under way, and what waits for a place."""

from __future__ import annotations

from aiohttp import web

from hydra.localmarathon.app_ids import absolute_app_id
from hydra.localmarathon.refusals import not_queued
from hydra.localmarathon.routing import Call, Route, deployment_result


async def list_deployments(call: Call) -> web.Response:
    """``GET /v2/deployments``: a bare array; what has come to its end is not in it."""
    return web.json_response([deployment.document() for deployment in call.scheduler.deployments.running])


async def delete_deployment(call: Call) -> web.Response:
    """``DELETE /v2/deployments/{id}?force=``: roll back in a new deployment; forced: stop where it is."""
    deployment = call.scheduler.deployments.get(call.ids["deployment_id"])
    if call.flag("force"):
        call.scheduler.cancel(deployment)
        return web.Response(status=202)
    return deployment_result(call.scheduler.roll_back(deployment))


async def list_queue(call: Call) -> web.Response:
    """``GET /v2/queue``."""
    return web.json_response({"queue": call.scheduler.queue()})


async def reset_delay(call: Call) -> web.Response:
    """``DELETE /v2/queue/{id}/delay``: launch at once what is held back after failures."""
    app_id = absolute_app_id(call.ids["app_id"])
    app = call.scheduler.apps.get(app_id)
    if app is None or app.waiting is None:
        raise not_queued(app_id)
    call.scheduler.reset_delay(app)
    return web.Response(status=204)


ROUTES = (
    Route("GET", r"/v2/deployments", list_deployments),
    Route("DELETE", r"/v2/deployments/(?P<deployment_id>[^/]+)", delete_deployment),
    Route("GET", r"/v2/queue", list_queue),
    Route("DELETE", r"/v2/queue/(?P<app_id>.+)/delay", reset_delay),
)
