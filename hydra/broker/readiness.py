"""Ask a broker one plain question over its socket: does it serve, and is it the one that was started.

A Metadata request, version 2, for no topics. A broker that still starts refuses or leaves its own id out of the list of
brokers; another one that took the port has another cluster id. Format: the Kafka protocol guide.
"""

from __future__ import annotations

import socket
import struct

_API_METADATA = 3
_VERSION = 2
_CLIENT_ID = b"hydra"
_LARGEST_REPLY_BYTES = 1 << 20


def is_ready(port: int, cluster_id: str, timeout_s: float) -> bool:
    """Whether the broker on this loopback port serves its cluster now.

    Args:
        port: on 127.0.0.1.
        cluster_id: the one that the broker was formatted with.
        timeout_s: for each step of the exchange.
    """
    request = struct.pack(">hhih", _API_METADATA, _VERSION, 1, len(_CLIENT_ID)) + _CLIENT_ID + struct.pack(">i", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", _read(connection, 4))
            if not 0 < size <= _LARGEST_REPLY_BYTES:
                return False
            brokers, found_id = _decode(_read(connection, size))
    except (OSError, struct.error, UnicodeDecodeError):
        return False
    return brokers > 0 and found_id == cluster_id


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the broker closed the connection")
        data += chunk
    return bytes(data)


def _decode(reply: bytes) -> tuple[int, str]:
    """How many brokers serve, and the cluster's id."""
    _, brokers = struct.unpack_from(">ii", reply)
    at = 8
    for _ in range(brokers):
        at += 4  # node id
        _, at = _string(reply, at)  # host
        at += 4  # port
        _, at = _string(reply, at)  # rack
    cluster_id, _ = _string(reply, at)
    return brokers, cluster_id


def _string(reply: bytes, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">h", reply, at)
    end = at + 2 + max(0, size)
    return reply[at + 2 : end].decode(), end
