"""The server as a whole: ``/ping``, ``/v2/info`` and ``/v2/leader``."""

from __future__ import annotations

from aiohttp import web

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
    leader = f"{call.server.host}:{call.server.port}"
    document = {
        "name": "marathon",
        "version": MARATHON_VERSION,
        "buildref": "hydra.localmarathon",
        "elected": True,
        "leader": leader,
        "frameworkId": call.server.framework_id,
        "marathon_config": {
            "executor": "//cmd",
            "features": [],
            "framework_name": "marathon",
            "ha": False,
            "hostname": call.server.host,
            "mesos_leader_ui_url": f"http://{leader}",
            "local_port_min": SERVICE_PORTS.start,
            "local_port_max": SERVICE_PORTS.stop - 1,
            "mesos_user": call.server.own_user,
            "webui_url": f"http://{leader}",
        },
        "zookeeper_config": {},
        "http_config": {"http_port": call.server.port, "https_port": 0},
    }
    return json_response(document)


async def get_leader(call: Call) -> web.Response:
    """``GET /v2/leader``: always this server."""
    return json_response({"leader": f"{call.server.host}:{call.server.port}"})


ROUTES = (
    Route("GET", r"/ping", ping),
    Route("GET", r"/v2/info", get_info),
    Route("GET", r"/v2/leader", get_leader),
)
UNSUPPORTED = (
    *unsupported("the event stream", r"/v2/events", "GET"),
    *unsupported("metrics", r"/metrics", "GET"),
)
