"""``GET /v2/events``: what happens, as server-sent events."""

from __future__ import annotations

import asyncio

from aiohttp import web

from hydra.localmarathon.events import event_frame
from hydra.localmarathon.routing import Call, Route

_KEEP_ALIVE_S = 5.0


async def stream_events(call: Call) -> web.StreamResponse:
    """``GET /v2/events?event_type=``: without end, until the caller goes or is too slow."""
    if "text/event-stream" not in call.request.headers.get("Accept", ""):
        raise web.HTTPMethodNotAllowed("GET", [])
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})

    def drop() -> None:
        # It has not read for long: an orderly end would wait for it as long again.
        if call.request.transport is not None:
            call.request.transport.abort()

    with call.scheduler.events.listener(call.texts("event_type"), drop) as listener:
        await response.prepare(call.request)
        try:
            await response.write(event_frame("event_stream_attached", remoteAddress=call.request.remote))
            while True:
                try:
                    frame = await asyncio.wait_for(listener.next_frame(), _KEEP_ALIVE_S)
                except asyncio.TimeoutError:
                    frame = b"\r\n"
                if frame is None:
                    break
                await response.write(frame)
        except ConnectionError:
            pass  # the listener has gone
    return response


ROUTES = (Route("GET", r"/v2/events", stream_events),)
