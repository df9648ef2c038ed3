"""A TCP proxy in front of a broker that holds back what a publisher sends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

PUBLISHER_CLIENT_ID = b"hydra-pub"
CHUNK_BYTES = 64 * 1024


class DelayProxy:
    """Hands bytes on after a while, in their order; only those that a publisher sends to the broker.

    A delay line, not a brake: any number of bytes may be on their way at once.
    """

    def __init__(self):
        self.delay_s = 0.0
        self.delayed_bytes = 0
        self.port = 0
        self._target = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_exception):
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

    def to(self, port):
        """Where to connect to."""
        self._target = port

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await asyncio.gather(self._send(reader, far_writer), self._hand_on(far_reader, writer))
            finally:
                far_writer.close()
        writer.close()

    async def _hand_on(self, reader, writer):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _send(self, reader, writer):
        """From the client to the broker: at once, or a while later where the client is a publisher."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        releasing = asyncio.ensure_future(self._release(line, writer))
        publisher = False
        try:
            while data := await reader.read(CHUNK_BYTES):
                publisher = publisher or PUBLISHER_CLIENT_ID in data[:64]
                held_s = self.delay_s if publisher else 0.0
                self.delayed_bytes += len(data) if held_s else 0
                line.put_nowait((time.monotonic() + held_s, data))
        finally:
            line.put_nowait((time.monotonic() + self.delay_s, b""))
            await releasing

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
