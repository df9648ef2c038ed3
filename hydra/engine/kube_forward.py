"""Ports of this machine that lead to pods which cannot be reached from here, by the API server's port-forward."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import aiohttp

from hydra.endpoints import Endpoint
from hydra.engine.kube_access import KubernetesAccess
from hydra.engine.kube_connection import Route
from hydra.engine.kube_objects import FORWARD_HOST, PORT
from hydra.engine.kube_refusals import ADMISSION_HINT, ROLE_HINT
from hydra.engine.kube_websocket import PodStream, PodWebSockets, WebSocket, send
from hydra.errors import HydraError, InfrastructureError, KubernetesError
from hydra.run.protocols import Task

CLOSE_TIMEOUT_S = 5.0
LINGER_S = 0.1
"""So long TLS may take to end connections that are closed already."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0
"""Between two attempts to reach one pod."""

MAX_CONNECTIONS = 8
"""To one pod: the controller needs one, and has two for a moment. Others of this machine get no further."""

CHUNK_BYTES = 64 * 1024


@dataclass(eq=False)
class _Forward:
    """The way to one pod. All but the first four belongs to the thread."""

    pod: str
    app_id: str
    listener: socket.socket
    endpoint: Endpoint
    opening: asyncio.Task[None] | None = None
    """Has the listener served."""
    server: asyncio.Server | None = None
    spare: asyncio.Task[WebSocket | None] | None = None
    """Is being opened, or is open, and the connection that it was for has been given up."""
    connections: set[asyncio.Task[None]] = field(default_factory=set)
    failures: int = 0
    """One after the other, since bytes came from the pod."""
    not_before_s: float = 0.0
    failure: HydraError | None = None
    """The last one; None once bytes have come from the pod."""


class PortForwards:
    """The ways to the pods of a run, each from a port of 127.0.0.1, until ``close``. One thread carries all bytes.

    Called by one thread.

    Args:
        access: how the API server lets us in.
        route: how it is reached.
        note: is told once of each thing that keeps us from pods.
    """

    def __init__(self, access: KubernetesAccess, route: Route, note: Callable[[str], None]) -> None:
        self._forwards: dict[str, _Forward] = {}
        self._carrier = _Carrier(PodWebSockets(access, route, PORT), note)

    def follow(self, app_id: str, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """These tasks of an app, with the endpoints by which they are reached; the ways to all others are closed.

        Raises:
            InfrastructureError: there is no room for one more.
        """
        there = {task.task_id for task in tasks}
        for pod in [pod for pod, each in self._forwards.items() if each.app_id == app_id and pod not in there]:
            self._carrier.end(self._forwards.pop(pod))
        return tuple(
            task if task.endpoint is None else dataclasses.replace(task, endpoint=self._endpoint(app_id, task.task_id))
            for task in tasks
        )

    def failure(self, app_id: str) -> HydraError | None:
        """Why one of an app's pods is not reached; None while all are, or nobody has tried."""
        failures = (each.failure for each in self._forwards.values() if each.app_id == app_id)
        return next((each for each in failures if each is not None), None)

    def refused(self, app_id: str) -> HydraError | None:
        """The same, where we have no right to it or a policy refuses it, which no waiting mends."""
        failure = self.failure(app_id)
        # An API server that has just started knows no roles yet.
        final = failure is not None and failure.hint in {ROLE_HINT, ADMISSION_HINT}
        return failure if final and not self._carrier.worked else None

    def close(self) -> None:
        """Close all ways and end the thread; harmless the second time."""
        self._forwards.clear()
        self._carrier.close()

    def _endpoint(self, app_id: str, pod: str) -> Endpoint:
        if (forward := self._forwards.get(pod)) is None:
            try:
                listener = socket.create_server((FORWARD_HOST, 0), backlog=16)
            except OSError as error:
                text = f"no port of {FORWARD_HOST} can be opened for {pod} ({error.strerror})"
                raise InfrastructureError(text, hint="raise 'ulimit -n', or ask for fewer subscribers") from error
            forward = _Forward(pod, app_id, listener, Endpoint(FORWARD_HOST, listener.getsockname()[1]))
            self._forwards[pod] = forward
            self._carrier.begin(forward)
        return forward.endpoint


class _Carrier:
    """The thread that carries the bytes, and all that is on it. See PortForwards."""

    def __init__(self, websockets: PodWebSockets, note: Callable[[str], None]) -> None:
        self._websockets, self._note = websockets, note
        self._told: set[str] = set()
        self._live: set[_Forward] = set()
        self.worked = False
        """Whether bytes have come from a pod."""
        self._loop = asyncio.new_event_loop()
        # It resolves names, and runs the plugin of a kubeconfig.
        self._loop.set_default_executor(ThreadPoolExecutor(2, thread_name_prefix="kubernetes-forward"))
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="kubernetes-forward", daemon=True)
        self._thread.start()

    def begin(self, forward: _Forward) -> None:
        """Take connections for a pod."""
        self._loop.call_soon_threadsafe(self._begin, forward)

    def end(self, forward: _Forward) -> None:
        """Close what leads to a pod."""
        self._loop.call_soon_threadsafe(self._shut, forward)

    def close(self) -> None:
        """End the thread; harmless the second time."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it ends right now
                self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(2 * CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with self._websockets.connected():
            await self._ended.wait()
            for forward in list(self._live):
                self._shut(forward)
            await asyncio.sleep(0)  # listeners close
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=CLOSE_TIMEOUT_S)
        await asyncio.sleep(LINGER_S)

    def _begin(self, forward: _Forward) -> None:
        # At once: what is told next may be that it ends.
        self._live.add(forward)
        forward.opening = asyncio.create_task(self._listen(forward))

    async def _listen(self, forward: _Forward) -> None:
        if forward not in self._live:
            return  # its listener is closed
        accept = partial(self._accept, forward)
        forward.server = await asyncio.start_server(accept, sock=forward.listener, limit=CHUNK_BYTES)
        if forward not in self._live:
            forward.server.close()

    def _shut(self, forward: _Forward) -> None:
        if forward not in self._live:
            return
        self._live.discard(forward)
        # A connection that asyncio has accepted has to begin before its server closes, or nobody closes it.
        self._loop.remove_reader(forward.listener)
        self._loop.call_soon(forward.listener.close if forward.server is None else forward.server.close)
        for connection in forward.connections:
            connection.cancel()
        spare, forward.spare = forward.spare, None
        if spare is not None and not spare.cancel() and (websocket := spare.result()) is not None:
            forward.connections.add(asyncio.create_task(_close(websocket)))

    def _accept(self, forward: _Forward, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(forward.connections) >= MAX_CONNECTIONS or forward not in self._live:
            writer.transport.abort()
            return

        def end(connection: asyncio.Task[None]) -> None:  # also of one that was cancelled before it began
            forward.connections.discard(connection)
            writer.transport.abort()

        connection = asyncio.create_task(self._carry(forward, reader, writer))
        forward.connections.add(connection)
        connection.add_done_callback(end)

    async def _carry(self, forward: _Forward, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of this machine, until one of its ends is closed."""
        held = bytearray()
        if (websocket := await self._websocket(forward, reader, held)) is not None:
            try:
                await self._exchange(forward, reader, writer, websocket, bytes(held))
            finally:
                await websocket.close()

    async def _websocket(self, forward: _Forward, reader: asyncio.StreamReader, held: bytearray) -> WebSocket | None:
        """One that is open; None if it cannot be opened, or nobody waits for it any more.

        ``held`` gets the bytes that come meanwhile. ZMQ gives up a connection that takes too long, and comes again:
        what is being opened is then for the next one, or a slow API server would never be reached.
        """
        opening, forward.spare = forward.spare, None
        if opening is None or (opening.done() and ((there := opening.result()) is None or there.closed)):
            opening = asyncio.create_task(self._open(forward))
        given_up = asyncio.create_task(_read_until_end(reader, held))
        try:
            await asyncio.wait({opening, given_up}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            opening.cancel()
            raise
        finally:
            given_up.cancel()
            await asyncio.wait({given_up})
        if opening.done():
            return opening.result()
        self._keep(forward, opening)
        return None

    def _keep(self, forward: _Forward, opening: asyncio.Task[WebSocket | None]) -> None:
        if forward.spare is None and forward in self._live:
            forward.spare = opening
        else:
            opening.cancel()

    async def _open(self, forward: _Forward) -> WebSocket | None:
        """One to a pod; None if that cannot be, which is noted."""
        try:
            await asyncio.sleep(max(0.0, forward.not_before_s - self._loop.time()))
            return await self._websockets.open(forward.pod)
        except HydraError as error:
            self._fail(forward, error)
            # That a pod is gone, the list of pods tells.
            gone = isinstance(error, KubernetesError) and error.status == 404
            kind = error.message.replace(forward.pod, "")
            if not gone and kind not in self._told:
                self._told.add(kind)
                self._note(f"{forward.pod} is not reached: {error.message}; it is tried again")
            return None

    async def _exchange(
        self,
        forward: _Forward,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        websocket: WebSocket,
        held: bytes,
    ) -> None:
        """Carry bytes both ways until one of the ends is closed."""
        ways: list[asyncio.Task[None]] = [
            asyncio.create_task(_send_all(reader, websocket, held)),
            asyncio.create_task(self._receive(forward, websocket, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            ended = await asyncio.gather(*ways, return_exceptions=True)
        for error in ended:
            if error is not None and not isinstance(error, (asyncio.CancelledError, OSError, aiohttp.ClientError)):
                raise error

    async def _receive(self, forward: _Forward, websocket: WebSocket, writer: asyncio.StreamWriter) -> None:
        stream, heard = PodStream(websocket), False
        while content := await stream.read():
            forward.failures, forward.failure, heard, self.worked = 0, None, True, True
            writer.write(content)
            await writer.drain()
        if stream.error or not heard:
            reason = stream.error or "the way to it was closed"
            self._fail(forward, KubernetesError(f"{forward.pod} is not reached: {reason}"))

    def _fail(self, forward: _Forward, error: HydraError) -> None:
        """Remember that a pod was not reached, and how soon it is tried again."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(forward.failures, 10))
        forward.failure = error
        forward.failures += 1
        forward.not_before_s = self._loop.time() + random.uniform(0.5, 1.0) * pause_s  # noqa: S311  # jitter


async def _read_until_end(reader: asyncio.StreamReader, held: bytearray) -> None:
    """Read what comes into ``held`` until the other end closes, or for ever where there is too much of it."""
    with contextlib.suppress(OSError):
        while content := await reader.read(CHUNK_BYTES):
            held += content
            if len(held) >= CHUNK_BYTES:
                await asyncio.Event().wait()


async def _send_all(reader: asyncio.StreamReader, websocket: WebSocket, held: bytes) -> None:
    content = held
    while True:
        if content:
            await send(websocket, content)
        if not (content := await reader.read(CHUNK_BYTES)):
            return


async def _close(websocket: WebSocket) -> None:
    await websocket.close()
