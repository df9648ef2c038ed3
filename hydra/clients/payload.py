"""What fills the values of a run's records behind their identity: zeros, random bytes, or the content of a file.

All of it is prepared once. A record's share is cut out of a pool, and records that share a batch get different shares,
so that a codec finds no more in a batch than it would in records that have nothing to do with each other.
"""

from __future__ import annotations

from hydra.options.order import RunOrder
from hydra.records.identity import IDENTITY_BYTES, run_tag

POOL_BYTES = 4 * 1024 * 1024
"""Of random bytes: twice the window in which zstd looks for repetitions at its default level, the widest of all."""


class Payload:
    """Shares of a pool of bytes, ``share_bytes`` each: one after the other, and from the beginning again."""

    __slots__ = ("_pool", "_span", "share_bytes")

    def __init__(self, pool: bytes, share_bytes: int) -> None:
        self.share_bytes = share_bytes
        self._span = max(1, len(pool))
        self._pool = (pool or b"\x00") * (1 + -(-share_bytes // self._span))

    @property
    def shares(self) -> int:
        """After how many records it begins again, about."""
        return -(-self._span // self.share_bytes) if self.share_bytes else 1

    def share(self, number: int) -> bytes:
        """What stands behind the identity in the record of that number."""
        at = number * self.share_bytes % self._span
        return self._pool[at : at + self.share_bytes]


def zeros(value_bytes: int) -> Payload:
    """Nothing but zeros, in values of that size."""
    return Payload(b"", value_bytes - IDENTITY_BYTES)


def payload_of(order: RunOrder) -> Payload:
    """What the order asks for; random bytes are the same in each run of that name."""
    share_bytes = order.options.msg_size - IDENTITY_BYTES
    if order.options.payload == "random" and share_bytes:
        from random import Random  # a subscriber has no use for it

        # Not for secrets: it has to be quick, and impossible to compress.
        pool = Random(run_tag(order.run_id)).randbytes(POOL_BYTES)  # noqa: S311
        return Payload(pool, share_bytes)
    return Payload(order.payload, share_bytes)
