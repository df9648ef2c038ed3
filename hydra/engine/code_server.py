"""The hand-out of code to agents that have no Hydra: one file, packed, served, and checked before it runs."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

from hydra.endpoints import Endpoint
from hydra.engine.app_server import AppServer, address_towards, own_address
from hydra.engine.task_bundle import TaskBundle, build_code_file
from hydra.files.run_folder import reap_orphans, run_folder
from hydra.options.options import Options


def is_wanted(options: Options) -> bool:
    """Whether the agents get the code from here."""
    if options.appserver == "auto":
        return options.marathon_url is not None
    return options.appserver == "always"


class CodeServer:
    """The code file and the server that agents fetch it from; ends with ``close``.

    Args:
        options: name the address.
        run_id: names the folder of the file.
        marathon_url: the way to it tells the address where none is named.

    Raises:
        UsageError: the address or its port cannot be used.
        InfrastructureError: the code could not be packed.
    """

    def __init__(self, options: Options, run_id: str, marathon_url: str) -> None:
        listen, reached_at = _addresses(options, marathon_url)
        with contextlib.ExitStack() as undo:
            reap_orphans()
            self.code: TaskBundle = build_code_file(undo.enter_context(run_folder(run_id)))
            self._server = AppServer(self.code.path, listen, reached_at)
            undo.callback(self._server.close)
            self._server.start()
            self._closing = undo.pop_all()

    @property
    def url(self) -> str:
        """Where the file is."""
        return self._server.url

    def close(self) -> None:
        """Hand nothing out any more; harmless the second time."""
        self._closing.close()


def _addresses(options: Options, marathon_url: str) -> tuple[Endpoint, str]:
    """Where to listen, and the host that agents reach it by."""
    place, port = _split(options.appserver_address or "")
    marathon = urlsplit(marathon_url)
    towards = Endpoint(marathon.hostname or "127.0.0.1", marathon.port or (443 if marathon.scheme == "https" else 80))
    reached_at = own_address(place) if place else address_towards(towards)
    bind_place, bind_port = _split(options.appserver_bind or "")
    return Endpoint(own_address(bind_place) if bind_place else reached_at, bind_port or port), reached_at


def _split(place: str) -> tuple[str, int]:
    """``HOST``, ``HOST:PORT`` or ``[HOST]:PORT``; port 0 where none is named."""
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        return place, 0
    return host, int(port)
