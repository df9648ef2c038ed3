"""Serves the task bundle to agents without Hydra: one file, at one path with a random part, for GET and HEAD only."""

from __future__ import annotations

import contextlib
import errno
import hmac
import secrets
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import psutil

from hydra.endpoints import Endpoint, local_address_towards
from hydra.engine.apps import TaskBundle, build_task_bundle
from hydra.errors import UsageError
from hydra.files.folders import reap_orphans, run_folder
from hydra.options.options import Options

REQUEST_TIMEOUT_S = 30.0
"""For each wait of a connection: an agent that reads nothing for so long is given up."""

MAX_CONNECTIONS = 256
TOKEN_BYTES = 24

_Connection: TypeAlias = "socket.socket | tuple[bytes, socket.socket]"


def is_wanted(options: Options) -> bool:
    """Whether the agents get the code from a code server."""
    if options.appserver == "auto":
        return options.marathon_url is not None
    return options.appserver == "always"


class CodeServer:
    """Packs the task bundle and serves it until ``close``.

    If the options name no address, it is the one that this machine uses towards Marathon.

    Raises:
        UsageError: the address or its port cannot be used.
        InfrastructureError: the bundle could not be packed.
    """

    def __init__(self, options: Options, run_id: str, marathon_url: str) -> None:
        listen, advertised_host = _addresses(options, marathon_url)
        with contextlib.ExitStack() as undo:
            reap_orphans()
            self.bundle: TaskBundle = build_task_bundle(undo.enter_context(run_folder(run_id)))
            server = FileServer(self.bundle.path, listen, advertised_host)
            undo.callback(server.close)
            self.url = server.url
            """The address of the bundle."""
            server.start()
            self._closing = undo.pop_all()

    def close(self) -> None:
        """Stop serving and remove the bundle; harmless the second time."""
        self._closing.close()


class FileServer(ThreadingHTTPServer):
    """An HTTP server of one file, which is read at each request, from ``start`` to ``close``.

    Port 0 of ``listen`` takes a free one. ``url`` names the advertised host.

    Raises:
        UsageError: the port is taken, or the address is not one of this machine.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, path: Path, listen: Endpoint, advertised_host: str) -> None:
        self.path = path
        self.served_path = f"/{secrets.token_urlsafe(TOKEN_BYTES)}/{path.name}"
        self.requests = 0
        """How often the file was sent."""
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        try:
            super().__init__((listen.host, listen.port), _Request)
        except OSError as error:
            raise _cannot_listen(listen, error) from error
        self.url = f"http://{Endpoint(advertised_host, self.server_address[1])}{self.served_path}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="code-server", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving and release the port; harmless the second time."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join(timeout=5)
        self.server_close()

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the address's name, which may take seconds and is not used here."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: _Connection, client_address: object) -> None:
        """Serve a connection on a thread of its own; hang up if there are MAX_CONNECTIONS already."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: _Connection, client_address: object) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is not worth a line."""


class _Request(BaseHTTPRequestHandler):
    server: FileServer
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:  # the name that http.server looks for
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def version_string(self) -> str:
        return "Hydra"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's signature
        """Unknown paths are not worth a line each."""

    def _refuse(self) -> None:
        self._head(405, 0, ("Allow", "GET, HEAD"))

    def _send(self, *, with_body: bool) -> None:
        # In constant time: the path has a secret part.
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
                self.server.requests += 1

    def _head(self, status: int, length: int, *headers: tuple[str, str]) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(length)), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()


def own_address(place: str) -> str:
    """The address of a host name, an address or a network interface of this machine."""
    for address in psutil.net_if_addrs().get(place, ()):
        if address.family == socket.AF_INET:
            return address.address
    try:
        return str(socket.getaddrinfo(place.strip("[]"), None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{place} is not an address or interface of this machine ({error})") from error


def _addresses(options: Options, marathon_url: str) -> tuple[Endpoint, str]:
    """Where to listen, and the host by which agents reach it."""
    place, port = _split(options.appserver_address or "")
    if place:
        advertised_host = own_address(place)
    else:
        marathon = urlsplit(marathon_url)
        default_port = 443 if marathon.scheme == "https" else 80
        peer = Endpoint(marathon.hostname or "127.0.0.1", marathon.port or default_port)
        try:
            advertised_host = local_address_towards(peer)
        except (OSError, UnicodeError) as error:
            raise UsageError(
                f"this machine has no route to {peer} ({error})", hint="give --appserver_address"
            ) from error
    bind_place, bind_port = _split(options.appserver_bind or "")
    return Endpoint(own_address(bind_place) if bind_place else advertised_host, bind_port or port), advertised_host


def _split(place: str) -> tuple[str, int]:
    """``HOST``, ``HOST:PORT`` or ``[HOST]:PORT``; the port is 0 if none is given."""
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        return place, 0
    return host, int(port)


def _cannot_listen(listen: Endpoint, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        text = f"port {listen.port} on {listen.host} is taken{_owner(listen.port)}"
        return UsageError(text, hint="give --appserver_address another port, or none")
    if error.errno == errno.EADDRNOTAVAIL:
        text = f"--appserver_address: {listen.host} is not an address of this machine"
        return UsageError(text, hint="if NAT translates it on the way, give --appserver_bind as well")
    return UsageError(f"the code server cannot listen on {listen} ({error.strerror})")


def _owner(port: int) -> str:
    """The process that listens on the port, as far as this user may see it."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid is not None
            if listens and tuple(connection.laddr)[1:2] == (port,):
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
