"""The servers of a run that can be watched: its page, for who has the link, and its metrics.

Both listen on 127.0.0.1 only, and refuse requests of pages of other sites and by other names, as the local Marathon
does. The page's link has a token in its path; the metrics are read-only figures, and need none. See docs/security.md.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus

from hydra.endpoints import Endpoint
from hydra.engine.bounded_server import BoundedServer, Connection, QuietRequest
from hydra.errors import UsageError
from hydra.live.history import LiveHistory
from hydra.live.openmetrics import CONTENT_TYPE, openmetrics
from hydra.localmarathon.errors import RequestRefusedError
from hydra.localmarathon.guard import RequestGuard, check_is_json

HOST = "127.0.0.1"
TOKEN_BYTES = 24
MOST_BODY_BYTES = 1024

KEEP_ALIVE_S = 10.0
"""So often something is sent where nothing happens: a page that was closed is noticed then."""

LEAST_PAUSE_S = 0.25
"""Between two pictures."""

FAREWELL_S = 5.0
"""How long pages that are open may take to hear of the end, and to fetch the report."""

HTML = "text/html; charset=utf-8"
SAFE_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


def interrupt_this_process() -> None:
    """What Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


class _HistoryServer(BoundedServer):
    """A server of what a history says; its connections end when it is closed."""

    block_on_close = True
    daemon_threads = False

    def __init__(self, port: int, handler: type[QuietRequest], history: LiveHistory, flag: str, token: str) -> None:
        self.history = history
        self.guard = RequestGuard(HOST, token)
        self.closing = threading.Event()
        try:
            super().__init__(Endpoint(HOST, port), handler, f"live-{flag}")
        except OSError as error:
            raise UsageError(
                f"--{flag}={port}: cannot listen on {HOST}:{port} ({error.strerror})", hint="choose another port"
            ) from error

    def finish_request(self, request: Connection, client_address: object) -> None:
        """Serve a connection, unless it came while ``close`` ended all of them."""
        if not self.closing.is_set():
            super().finish_request(request, client_address)

    def close(self) -> None:
        """Stop serving, end all connections and release the port; harmless the second time."""
        self.history.finish()
        self.closing.set()
        self.end_all()
        super().close()


class _GuardedRequest(QuietRequest):
    server: _HistoryServer

    def do_GET(self) -> None:  # noqa: N802  # the name that http.server looks for
        self._guarded(self._get)

    def do_POST(self) -> None:  # noqa: N802
        self._guarded(self._post)

    def _guarded(self, respond: Callable[[], None]) -> None:
        try:
            self._check()
            respond()
        except RequestRefusedError as error:
            self.respond(error.http_status, f"{error.message}\n".encode(), "text/plain; charset=utf-8")

    def _check(self) -> None:
        if len(self.headers.get_all("Host", [])) != 1:
            raise RequestRefusedError(HTTPStatus.BAD_REQUEST, "one Host header is required")
        self.server.guard.check_origin(self._named_headers())

    def _named_headers(self) -> dict[str, str]:
        """By their names as they are usually written: HTTP takes them in any case."""
        return {name.title(): value for name, value in self.headers.items()}

    def _get(self) -> None:
        raise NotImplementedError

    def _post(self) -> None:
        raise RequestRefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is allowed here", headers={"Allow": "GET"})

    def respond(self, status: int, body: bytes, kind: str) -> None:
        """The whole response."""
        self.send_head(status, len(body), ("Content-Type", kind), *SAFE_HEADERS)
        self.wfile.write(body)


class MetricsServer(_HistoryServer):
    """OpenMetrics at ``/metrics`` of a port, from ``start`` to ``close``.

    Raises:
        UsageError: the port is taken.
    """

    def __init__(self, port: int, history: LiveHistory) -> None:
        super().__init__(port, _MetricsRequest, history, "metrics_port", "")
        self.url = f"http://{HOST}:{self.port}/metrics"


class _MetricsRequest(_GuardedRequest):
    def _get(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            raise RequestRefusedError(HTTPStatus.NOT_FOUND, "ask for /metrics")
        self.respond(HTTPStatus.OK, openmetrics(self.server.history.picture()).encode(), CONTENT_TYPE)


class PageServer(_HistoryServer):
    """The live page, for who has ``url``, from ``start`` to ``close``.

    Args:
        port: 0 takes a free one.
        history: what the page shows.
        page: the page itself.
        stop: what its stop button does; None: it has none.

    Raises:
        UsageError: the port is taken.
    """

    def __init__(self, port: int, history: LiveHistory, page: str, stop: Callable[[], None] | None) -> None:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        super().__init__(port, _PageRequest, history, "ui", token)
        self.page = page.encode()
        self.stop = stop
        self.watchers = 0
        """Pages that are open."""
        self._unserved = 0
        self._served = threading.Condition()
        self.url = f"http://{HOST}:{self.port}/{token}/"

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within this block one page more is open."""
        with self._served:
            self.watchers += 1
        try:
            yield
        finally:
            with self._served:
                self.watchers -= 1
                self._served.notify_all()

    def report_is_due(self) -> None:
        """A page was told that the report is there, and will ask for it."""
        with self._served:
            self._unserved += 1

    def report_was_sent(self) -> None:
        """One page has it."""
        with self._served:
            self._unserved = max(0, self._unserved - 1)
            self._served.notify_all()

    def close(self) -> None:
        """Stop serving, once the pages that are open know of the end and have the report; harmless the second time."""
        self.history.finish()
        if not self.closing.is_set():
            with self._served:
                self._served.wait_for(lambda: not self.watchers and not self._unserved, FAREWELL_S)
        super().close()


class _PageRequest(_GuardedRequest):
    server: PageServer

    def _place(self) -> str:
        """What is asked for, below the token.

        Raises:
            RequestRefusedError: 403; the token is wrong.
        """
        token, _, place = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not self.server.guard.is_token(token):
            raise RequestRefusedError(HTTPStatus.FORBIDDEN, "use the link that the run printed: its token is required")
        return place

    def _get(self) -> None:
        place, history = self._place(), self.server.history
        if place == "":
            self.respond(HTTPStatus.OK, self.server.page, HTML)
        elif place == "events":
            self._send_events(page=True)
        elif place == "pictures":
            self._send_events(page=False)
        elif place == "report" and history.report is not None:
            self.respond(HTTPStatus.OK, history.report, HTML)
            self.server.report_was_sent()
        else:
            raise RequestRefusedError(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self) -> None:
        if self._place() != "stop" or self.server.stop is None:
            raise RequestRefusedError(HTTPStatus.NOT_FOUND, "there is nothing here")
        check_is_json(self._named_headers())
        with contextlib.suppress(ValueError):
            self.rfile.read(max(0, min(MOST_BODY_BYTES, int(self.headers.get("Content-Length", "0")))))
        self.respond(HTTPStatus.OK, b"{}", "application/json")
        self.server.stop()

    def _send_events(self, *, page: bool) -> None:
        """Server-sent events (HTML standard, section 9.2): a picture whenever there is another one.

        A page will ask for the report when it is over; other readers, such as ``hydra watch``, do not.
        """
        self.server.allow(self.connection, math.inf)
        self.send_head(HTTPStatus.OK, None, ("Content-Type", "text/event-stream"), *SAFE_HEADERS)
        seen, history = -1, self.server.history
        with self.server.watched() if page else contextlib.nullcontext(), contextlib.suppress(OSError):
            while not self.server.closing.is_set():
                version, picture, over = history.wait(seen, KEEP_ALIVE_S)
                self.wfile.write(b": \n\n" if version == seen else b"data: " + picture + b"\n\n")
                if over:
                    if page and history.report is not None:
                        self.server.report_is_due()
                    return
                seen = version
                self.server.closing.wait(LEAST_PAUSE_S)
