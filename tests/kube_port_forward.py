"""What a kubelet serves at /portForward: WebSockets of v4.channel.k8s.io, each to one port of a pod's own 127.0.0.1.

As in k8s.io/cri-streaming, portforward/websocket.go: the port first on both channels, then bytes on channel 0; what
went wrong on channel 1. When one end closes, all is closed.
"""

import asyncio
import contextlib
import struct

from aiohttp import WSMsgType, web

PROTOCOL = "v4.channel.k8s.io"


async def serve_port_forward(request, ports, pod, address):
    """Carry bytes to ``address``, which in a real pod would be 127.0.0.1 and this port."""
    websocket = web.WebSocketResponse(protocols=(PROTOCOL,))
    if not ports:
        return web.Response(status=400, text='query parameter "port" is required')
    if not (found := websocket.can_prepare(request)).ok or found.protocol != PROTOCOL:
        return web.Response(status=403)
    await websocket.prepare(request)
    (port,) = ports
    for channel in (0, 1):
        await websocket.send_bytes(struct.pack("<BH", channel, port))
    try:
        reader, writer = await asyncio.open_connection(*address)
    except OSError as error:
        await websocket.send_bytes(b"\x01" + f"error forwarding port {port} to pod {pod}, uid : {error}".encode())
        await websocket.close()
        return websocket
    ways = [asyncio.ensure_future(_to_pod(websocket, writer)), asyncio.ensure_future(_from_pod(websocket, reader))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.transport.abort()
    await websocket.close()
    return websocket


async def _to_pod(websocket, writer):
    async for message in websocket:
        if message.type is WSMsgType.BINARY and message.data[:1] == b"\0":
            writer.write(message.data[1:])
            await writer.drain()


async def _from_pod(websocket, reader):
    with contextlib.suppress(OSError):
        while content := await reader.read(32 * 1024):
            await websocket.send_bytes(b"\0" + content)
