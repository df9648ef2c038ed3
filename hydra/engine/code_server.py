"""Serves the task bundle to agents without Hydra: one file, at one path with a random part, for GET and HEAD only."""

from __future__ import annotations

import contextlib
import errno
import hmac
import secrets
import socket
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from hydra.endpoints import Endpoint, local_address_towards
from hydra.engine.apps import TaskBundle, build_task_bundle
from hydra.engine.bounded_server import BoundedServer, QuietRequest
from hydra.errors import UsageError
from hydra.files.folders import reap_orphans, run_folder
from hydra.options.options import Options

TOKEN_BYTES = 24


def is_wanted(options: Options) -> bool:
    """Whether the agents get the code from a code server."""
    if options.appserver == "auto":
        return options.marathon_url is not None or (options.engine == "kubernetes" and options.kube_image is None)
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


class FileServer(BoundedServer):
    """A server of one file, which is read at each request. ``url`` names the advertised host.

    Raises:
        UsageError: the port is taken, or the address is not one of this machine.
    """

    def __init__(self, path: Path, listen: Endpoint, advertised_host: str) -> None:
        self.path = path
        self.served_path = f"/{secrets.token_urlsafe(TOKEN_BYTES)}/{path.name}"
        self.requests = 0
        """How often the file was sent."""
        try:
            super().__init__(listen, _Request, "code-server")
        except OSError as error:
            raise _cannot_listen(listen, error) from error
        self.url = f"http://{Endpoint(advertised_host, self.port)}{self.served_path}"


class _Request(QuietRequest):
    server: FileServer

    def do_GET(self) -> None:  # noqa: N802  # the name that http.server looks for
        self._send(with_body=True)

    def do_HEAD(self) -> None:  # noqa: N802
        self._send(with_body=False)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self.send_head(405, 0, ("Allow", "GET, HEAD"))

    def _send(self, *, with_body: bool) -> None:
        # In constant time: the path has a secret part.
        if not hmac.compare_digest(self.path.encode(), self.server.served_path.encode()):
            self.send_head(404, 0)
            return
        with self.server.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            self.send_head(200, size, ("Content-Type", "application/octet-stream"))
            if with_body:
                self.wfile.flush()
                self.connection.sendfile(file)
                self.server.requests += 1


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
