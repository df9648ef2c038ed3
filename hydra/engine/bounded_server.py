"""The HTTP server of files and pages that Hydra serves itself: bounded, quiet, and closed when it is closed."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

from hydra.endpoints import Endpoint

WAIT_TIMEOUT_S = 30.0
"""For each wait of a connection: a client that sends or reads nothing for so long is given up."""

HEAD_TIMEOUT_S = 10.0
"""From the connection to the end of its request's head, however often a byte of it comes."""

REQUEST_TIMEOUT_S = 300.0
"""From there to the end of the response: long enough for Hydra's code on a slow line that many tasks share."""

MAX_CONNECTIONS = 256

MAX_CONNECTIONS_OF_PEER = 192
"""From one address, so that there is room for others. Hundreds of tasks may be behind the address of one agent, and
fetch the code at about the same time."""

Connection: TypeAlias = "socket.socket | tuple[bytes, socket.socket]"


class QuietRequest(BaseHTTPRequestHandler):
    """A request whose response ends the connection, and of which nothing is logged."""

    server: BoundedServer
    timeout = WAIT_TIMEOUT_S

    def parse_request(self) -> bool:
        """Read the rest of the request's head; from its end on there is time for the response."""
        parsed = super().parse_request()
        self.server.allow(self.connection, REQUEST_TIMEOUT_S)
        return parsed

    def version_string(self) -> str:
        """What a client is told of this server."""
        return "Hydra"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's signature
        """Unknown paths are not worth a line each."""

    def send_head(self, status: int, length: int | None, *headers: tuple[str, str]) -> None:
        """Status and headers of the response; ``length`` of its body is None where that is not known yet."""
        self.close_connection = True
        self.send_response(status)
        known = () if length is None else (("Content-Length", str(length)),)
        for name, value in (*headers, *known, ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()


@dataclass(frozen=True)
class _Held:
    """A connection that is open."""

    peer: str
    until_s: float
    """When it is ended if it still is (monotonic clock)."""


class BoundedServer(ThreadingHTTPServer):
    """An HTTP server on a thread of its own from ``start`` to ``close``, with MAX_CONNECTIONS at most.

    Each has a deadline, which the server's own thread holds: the connection's may wait for its peer.

    Port 0 of ``listen`` takes a free one.

    Raises:
        OSError: the port is taken, or the address is not one of this machine.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, listen: Endpoint, handler: type[QuietRequest], name: str) -> None:
        self._held: dict[Connection, _Held] = {}
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        super().__init__((listen.host, listen.port), handler)
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name=name, daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving, end all connections and release the port; harmless the second time."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join(timeout=5)
        self.end_all()  # nobody holds their deadlines any more
        self.server_close()

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the address's name, which may take seconds and is not used here."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Connection, client_address: object) -> None:
        """Serve a connection on a thread of its own; hang up if there are too many already."""
        if self._hold(request, _peer(client_address)):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def _hold(self, request: Connection, peer: str) -> bool:
        with self._lock:
            of_peer = sum(held.peer == peer for held in self._held.values())
            has_room = len(self._held) < MAX_CONNECTIONS and of_peer < MAX_CONNECTIONS_OF_PEER
            if has_room:
                self._held[request] = _Held(peer, time.monotonic() + HEAD_TIMEOUT_S)
            return has_room

    def allow(self, request: Connection, seconds: float) -> None:
        """Let a connection go on for so long from now; ``math.inf``: for as long as its handler likes."""
        with self._lock:
            if (held := self._held.get(request)) is not None:
                self._held[request] = _Held(held.peer, time.monotonic() + seconds)

    def service_actions(self) -> None:
        """End the connections whose time is up; called ten times a second, by the server's own thread."""
        self._end_those_before(time.monotonic())

    def end_all(self) -> None:
        """End all connections, whatever they are at; their handlers see it as the peer's doing."""
        self._end_those_before(math.inf)

    def _end_those_before(self, now_s: float) -> None:
        with self._lock:
            for request, held in self._held.items():
                if held.until_s <= now_s and isinstance(request, socket.socket):
                    with contextlib.suppress(OSError):
                        request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Connection) -> None:
        """Close a connection: every one ends here."""
        with self._lock:
            self._held.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is not worth a line."""


def _peer(client_address: object) -> str:
    """Who connects, as far as an address tells: who has an IPv6 address has all 2^64 of its network."""
    assert isinstance(client_address, tuple)
    address = ipaddress.ip_address(str(client_address[0]).partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
