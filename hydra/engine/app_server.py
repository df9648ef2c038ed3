"""Serves one file to the agents: at one path with a random part in it, for GET and HEAD, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import hmac
import secrets
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from hydra.endpoints import Endpoint
from hydra.errors import UsageError

REQUEST_TIMEOUT_S = 30.0
"""For each wait of a connection: an agent that reads nothing for so long is given up."""

MAX_CONNECTIONS = 256
TOKEN_BYTES = 24


class AppServer:
    """A server of one file, from ``start`` to ``close``.

    Args:
        path: the file; what stands in it is read at each request.
        listen: the address to listen on; port 0 takes a free one.
        reached_at: the host that agents reach it by.

    Raises:
        UsageError: the port is taken, or the address is none of this machine's.
    """

    def __init__(self, path: Path, listen: Endpoint, reached_at: str) -> None:
        self.requests = 0
        """Requests that were answered with the file."""
        try:
            self._server = _Server(listen, path, f"/{secrets.token_urlsafe(TOKEN_BYTES)}/{path.name}", self._count)
        except OSError as error:
            raise _cannot_listen(listen, error) from error
        self.url = f"http://{Endpoint(reached_at, self._server.server_address[1])}{self._server.served_path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="appserver", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Serve no more, and let go of the port; harmless the second time."""
        if self._thread.ident is not None and self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()

    def _count(self) -> None:
        self.requests += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, listen: Endpoint, path: Path, served_path: str, count: Callable[[], None]) -> None:
        self.path = path
        self.served_path = served_path
        self.count = count
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        super().__init__((listen.host, listen.port), _Request)

    def server_bind(self) -> None:
        # Not HTTPServer's: that looks the address's name up, which may take seconds, for nothing that is used here.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Who hangs up in the middle hangs up."""


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:  # the name that http.server looks for
        self._answer(with_body=True)

    def do_HEAD(self) -> None:  # as above
        self._answer(with_body=False)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def version_string(self) -> str:
        return "Hydra"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's signature
        """Whoever asks for what is not there is not worth a line each."""

    def _refuse(self) -> None:
        self._head(405, 0, ("Allow", "GET, HEAD"))

    def _answer(self, *, with_body: bool) -> None:
        # In constant time, as of any secret: the path has a random part.
        if not hmac.compare_digest(self.path.encode(), self.server.served_path.encode()):
            self._head(404, 0)
            return
        with self.server.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            self._head(200, size, ("Content-Type", "application/octet-stream"))
            if with_body:
                self.wfile.flush()
                self.connection.sendfile(file)
                self.server.count()

    def _head(self, status: int, length: int, *headers: tuple[str, str]) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(length)), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()


def own_address(place: str) -> str:
    """The address that a host name, an address or a network interface of this machine stands for.

    Raises:
        UsageError: it stands for none.
    """
    for address in psutil.net_if_addrs().get(place, ()):
        if address.family == socket.AF_INET:
            return address.address
    try:
        return str(socket.getaddrinfo(place.strip("[]"), None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{place} is no address or interface of this machine ({error})") from error


def address_towards(peer: Endpoint) -> str:
    """The address that this machine is seen by on the way to a peer; nothing is sent.

    Raises:
        UsageError: there is no way.
    """
    try:
        family, kind, _protocol, _name, address = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except (OSError, UnicodeError) as error:
        raise UsageError(f"this machine has no way to {peer} ({error})", hint="give --appserver_address") from error


def _cannot_listen(listen: Endpoint, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"port {listen.port} on {listen.host} is taken{_owner(listen.port)}",
            hint="give --appserver_address another port, or none",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(
            f"--appserver_address: {listen.host} is no address of this machine",
            hint="where it is translated on the way, give --appserver_bind, too",
        )
    return UsageError(f"the hand-out of code cannot listen on {listen} ({error.strerror})")


def _owner(port: int) -> str:
    """Who listens on the port, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid is not None
            if listens and tuple(connection.laddr)[1:2] == (port,):
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
