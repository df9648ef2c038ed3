"""The server as a whole: ``/ping``, ``/v2/info``, ``/v2/leader``, ``/v2/deployments`` and ``/v2/queue``."""

from __future__ import annotations

from aiohttp import web

from hydra.localmarathon.errors import RequestRefusedError, not_supported
from hydra.localmarathon.ports import SERVICE_PORTS
from hydra.localmarathon.routing import Call, Route, json_response, unsupported

MARATHON_VERSION = "1.10.0"  # the version whose API this is


async def ping(call: Call) -> web.Response:
    """``GET /ping``: as text or JSON, whichever the caller accepts; 204 if neither."""
    accept = call.request.headers.get("Accept", "*/*")
    if "application/json" in accept:
        return json_response("pong")
    if "text/plain" in accept or "text/*" in accept or "*/*" in accept:
        return web.Response(text="pong")
    return web.Response(status=204)


async def get_info(call: Call) -> web.Response:
    """``GET /v2/info``: only the keys that the PyPI client ``marathon`` 0.13.0 knows: it raises TypeError on others."""
    server, leader = call.server, f"{call.server.host}:{call.server.port}"
    document = {
        "name": "marathon", "version": MARATHON_VERSION, "buildref": "hydra.localmarathon",
        "elected": True, "leader": leader, "frameworkId": server.framework_id,
        "marathon_config": {
            "executor": "//cmd", "features": [], "framework_name": "marathon", "ha": False,
            "hostname": server.host, "mesos_user": server.own_user,
            "local_port_min": SERVICE_PORTS.start, "local_port_max": SERVICE_PORTS.stop - 1,
            "mesos_leader_ui_url": f"http://{leader}", "webui_url": f"http://{leader}",
        },
        "zookeeper_config": {},
        "http_config": {"http_port": server.port, "https_port": 0},
    }  # fmt: skip
    return json_response(document)


async def get_leader(call: Call) -> web.Response:
    """``GET /v2/leader``: always this server."""
    return json_response({"leader": f"{call.server.host}:{call.server.port}"})


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
    Route("GET", r"/ping", ping),
    Route("GET", r"/v2/info", get_info),
    Route("GET", r"/v2/leader", get_leader),
    Route("GET", r"/v2/deployments", list_deployments),
    Route("DELETE", r"/v2/deployments/(?P<deployment_id>[^/]+)", delete_deployment),
    Route("GET", r"/v2/queue", list_queue),
    Route("DELETE", r"/v2/queue/(?P<app_id>.+)/delay", reset_backoff),
)
UNSUPPORTED = (
    *unsupported("the event stream", r"/v2/events", "GET"),
    *unsupported("metrics", r"/metrics", "GET"),
)
