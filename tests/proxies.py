"""A TCP proxy in front of a broker that delays or throttles what publishers send."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

PUBLISHER_CLIENT_ID = b"hydra-pub"
CHUNK_BYTES = 64 * 1024

LATENESS_S = 0.3
"""A wait that ended late by up to this is made up for: on a busy machine all do, and each would lower the rate. In a
longer gap nobody sent, and that is not made up for."""


class PublisherProxy:
    """Forwards bytes in their order; those that publishers send to the broker are delayed, or limited to a rate.

    The delay is a delay line: any number of bytes may be on their way at once. The rate is shared by all publishers.
    Publishers with a ``--client_id_prefix`` may be delayed more than others (``more_delay_s``).
    """

    def __init__(self) -> None:
        self.port = 0
        self.forward_freely()
        self._target = 0
        self._free_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def forward_freely(self) -> None:
        """No delay, no limit, and nothing counted."""
        self.delay_s = 0.0
        self.more_delay_s: dict[bytes, float] = {}
        """Beside ``delay_s``, by what a publisher's ``client.id`` begins with."""
        self.bytes_per_s = math.inf
        self.delayed_bytes = 0
        self.throttled_bytes = 0
        self.full_reads = 0
        """How often as much as can be read at once was waiting: the proof that the rate was the limit."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_exception) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self):
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def to(self, port: int) -> None:
        """Where to connect to."""
        self._target = port

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await asyncio.gather(self._send(reader, far_writer), self._receive(far_reader, writer))
            finally:
                far_writer.close()
        writer.close()

    async def _receive(self, reader, writer):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _send(self, reader, writer):
        """From the client to the broker: at once, or late where the client is a publisher."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        releasing = asyncio.ensure_future(self._release(line, writer))
        publisher, more_s = False, 0.0
        try:
            while data := await reader.read(CHUNK_BYTES):
                if not publisher and PUBLISHER_CLIENT_ID in data[:64]:
                    publisher = True
                    more_s = max((s for prefix, s in self.more_delay_s.items() if prefix in data[:64]), default=0.0)
                delay_s = self.delay_s + more_s if publisher else 0.0
                if publisher:
                    await self._throttle(data)
                self.delayed_bytes += len(data) if delay_s else 0
                line.put_nowait((time.monotonic() + delay_s, data))
        finally:
            line.put_nowait((time.monotonic() + self.delay_s + more_s, b""))
            await releasing

    async def _throttle(self, data):
        """Read no more before these bytes have had their time."""
        if self.bytes_per_s == math.inf:
            return
        now_s = time.monotonic()
        self.full_reads += len(data) == CHUNK_BYTES
        if now_s - self._free_s > LATENESS_S:
            self._free_s = now_s
        self._free_s += len(data) / self.bytes_per_s
        self.throttled_bytes += len(data)
        await asyncio.sleep(max(0.0, self._free_s - now_s))

    @staticmethod
    async def _release(line, writer):
        while True:
            due_s, data = await line.get()
            if (early_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(early_s)
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()
