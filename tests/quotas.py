"""Client quotas of a real broker, set as `kafka-configs --alter --entity-type clients` does."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from hydra.clients.wire_protocol import frame, string

_ALTER_CLIENT_QUOTAS = 49


@contextlib.contextmanager
def client_quota(bootstrap_servers: str, client_id: str | None = None, **bytes_per_s: float) -> Iterator[None]:
    """While it lasts, a client may send (``producer_byte_rate``) or read (``consumer_byte_rate``) no more on a broker.

    It is of each client without a quota of its own, or of the one with this ``client_id``.
    """
    _alter(bootstrap_servers, client_id, bytes_per_s, remove=False)
    try:
        yield
    finally:
        _alter(bootstrap_servers, client_id, bytes_per_s, remove=True)


def _alter(bootstrap_servers: str, client_id: str | None, bytes_per_s: dict[str, float], *, remove: bool) -> None:
    """AlterClientQuotas 0."""
    name = struct.pack(">h", -1) if client_id is None else string(client_id.encode())
    entity = struct.pack(">i", 1) + string(b"client-id") + name
    changes = b"".join(string(key.encode()) + struct.pack(">d?", value, remove) for key, value in bytes_per_s.items())
    body = struct.pack(">i", 1) + entity + struct.pack(">i", len(bytes_per_s)) + changes + b"\x00"
    host, _, port = bootstrap_servers.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as connection, connection.makefile("rb") as replies:
        connection.sendall(frame("tests", _ALTER_CLIENT_QUOTAS, 0, body))
        reply = replies.read(*struct.unpack(">i", replies.read(4)))
    # Correlation id, throttle time, entries; the first one's error code.
    (error,) = struct.unpack_from(">h", reply, 12)
    assert error == 0, f"AlterClientQuotas: error {error}"
