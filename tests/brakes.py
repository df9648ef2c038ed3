"""A TCP proxy in front of a broker that lets a publisher's bytes through at a set rate."""

from __future__ import annotations

import asyncio
import time

from tests.proxies import CHUNK_BYTES, PUBLISHER_CLIENT_ID, DelayProxy

LATENESS_S = 0.3
"""What a wait took too long is made up for: on a busy machine no wait ends in time, and each would narrow the way.
A way that nobody used for longer was idle, and that is not made up for."""


class BrakeProxy(DelayProxy):
    """Everything that publishers send shares one way of a known width; all else passes freely.

    Args:
        bytes_per_s: the width.
    """

    def __init__(self, bytes_per_s):
        super().__init__()
        self._bytes_per_s = bytes_per_s
        self._free_s = 0.0
        self.braked_bytes = 0
        self.queued_reads = 0
        """How often as much as can be read was waiting: the proof that the brake was the limit."""

    async def _send(self, reader, writer):
        publisher = False
        while data := await reader.read(CHUNK_BYTES):
            publisher = publisher or PUBLISHER_CLIENT_ID in data[:64]
            if publisher:
                now_s = time.monotonic()
                self.queued_reads += len(data) == CHUNK_BYTES
                if now_s - self._free_s > LATENESS_S:
                    self._free_s = now_s
                self._free_s += len(data) / self._bytes_per_s
                self.braked_bytes += len(data)
                await asyncio.sleep(max(0.0, self._free_s - now_s))
            writer.write(data)
            await writer.drain()
        writer.close()
