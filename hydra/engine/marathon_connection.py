"""Requests to Marathon's v2 API, and their retries: the only module that imports the ``marathon`` package.

The package (0.13.0, its last release) makes the requests and the JSON of apps. It needs one repair to work on today's
Python; its models refuse every response field that is newer than they are, and it drops the reason of a failed
connection. So ``marathon_responses`` reads the responses, and ``http_session`` keeps the reasons.
"""

from __future__ import annotations

import collections.abc
import json
import logging
import random
from collections.abc import Callable, Mapping
from itertools import count
from typing import TypeVar

import marathon
import marathon.exceptions
import marathon.util
import msgspec
import requests
from marathon.models import MarathonApp

from hydra.engine.http_session import BoundedSession, GivenAuthorization
from hydra.engine.marathon_access import MarathonAccess
from hydra.engine.marathon_responses import ErrorResponse, labels_of
from hydra.errors import AppLockedError, MarathonError
from hydra.run.clock import Clock
from hydra.run.protocols import AppSpec

# marathon.util uses collections.Iterable, which Python 3.10 removed: an app with port definitions or constraints could
# not be turned into JSON. The last, unreleased commit of the package does the same.
marathon.util.collections = collections.abc

# Its failures become our errors; without a handler of its own they would be printed as well.
logging.getLogger("marathon").addHandler(logging.NullHandler())
# It logs a redirect by a deprecated name.
marathon.log.warn = marathon.log.warning

LONGEST_PAUSE_S = 4.0
MIN_TIMEOUT_S = 0.5
HINT = "check --marathon_url or [marathon] in hydra.ini"

T = TypeVar("T")


class MarathonUnavailableError(MarathonError):
    """No response, or one that says that Marathon itself has a problem: a later try may succeed."""


class _JsonClient(marathon.MarathonClient):  # type: ignore[misc]  # the package has no types
    """The package's requests, with raw responses."""

    def send(self, method: str, path: str, params: Mapping[str, str], body: str | None) -> bytes:
        response: requests.Response = self._do_request(method, path, params=params, data=body)
        if response.status_code >= 300:
            raise ValueError(response.status_code)
        return bytes(response.content)


class MarathonConnection:
    """A connection to one Marathon, at one address or several. Not thread-safe. Waits by the clock."""

    def __init__(self, access: MarathonAccess, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._session = BoundedSession(access.timeout_s, trust_env=not access.local)
        if access.authorization:
            self._session.auth = GivenAuthorization(access.authorization)
        elif access.user:
            # Bytes: requests would encode text as latin-1, and Marathon reads UTF-8.
            self._session.auth = (access.user.encode(), access.password.encode())  # type: ignore[assignment]
        self._clients = [
            _JsonClient(url, timeout=access.timeout_s, session=self._session, verify=access.ca_file or True)
            for url in access.urls
        ]
        self._gave_up = False
        """Whether the last request was given up: then the next one is sent once to each address, without retries."""
        self.unclear = False
        """Whether the last request may have been carried out although no response says so."""

    def request(
        self,
        what: str,
        method: str,
        path: str,
        kind: type[T],
        *,
        deadline_s: float,
        params: Mapping[str, str] | None = None,
        body: object = None,
    ) -> T:
        """Send a request; retry it, at the next address, while Marathon is unavailable.

        Errors say ``what`` was asked for. The deadline is on the clock; each address is tried once at least. The body
        is turned into JSON, an AppSpec into an app definition, and the response into an instance of ``kind``.

        Raises:
            AppLockedError: 409, a deployment holds the app.
            MarathonUnavailableError: it could not be reached, or had a problem of its own, until the deadline.
            MarathonError: it refused (``status`` tells why), or sent an unexpected response.
        """
        text = app_definition(body) if isinstance(body, AppSpec) else None if body is None else json.dumps(body)
        self.unclear = True
        for tries in count(1):
            left_s = deadline_s - self._clock.now_s()
            self._session.timeout_s = min(self._access.timeout_s, max(MIN_TIMEOUT_S, left_s))
            try:
                response = self._once(what, lambda: self._clients[0].send(method, path, params or {}, text), kind)
            except MarathonUnavailableError:
                self._clients.append(self._clients.pop(0))
                if tries < len(self._clients):
                    continue
                pause_s = random.uniform(0.5, 1.0) * min(LONGEST_PAUSE_S, 0.25 * 2**tries)  # noqa: S311  # jitter
                if self._gave_up or self._clock.now_s() + pause_s >= deadline_s:
                    self._gave_up = True
                    raise
                self._clock.sleep(pause_s)
            except MarathonError:
                self.unclear = tries > 1
                raise
            else:
                self._gave_up = self.unclear = False
                return response
        raise AssertionError  # count never ends

    @property
    def _url(self) -> str:
        """The address that is tried first."""
        return str(self._clients[0].servers[0])

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        for client in self._clients:
            client.sse_session.close()

    def _once(self, what: str, send: Callable[[], bytes], kind: type[T]) -> T:
        try:
            return msgspec.json.decode(send(), type=kind, strict=False)
        except marathon.exceptions.NoResponseError as error:
            # A local Marathon that refuses connections has ended: nobody starts it again.
            ended = self._access.local and not self._session.timed_out
            error_kind = MarathonError if ended or self._session.untrusted else MarathonUnavailableError
            raise error_kind(
                f"Marathon at {self._url} cannot be reached ({self._session.failure})", hint=HINT
            ) from error
        except (marathon.exceptions.MarathonHttpError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._error(what) from error
        except (msgspec.MsgspecError, RecursionError) as error:
            raise self._error(what) from error

    def _error(self, what: str) -> MarathonError:
        """Made from the last response, since the package's own error fails on a response without JSON."""
        response = self._session.response
        status = response.status_code if response is not None else 0
        body = _error_body(response)
        if status >= 400:
            return self._refusal(what, status, body)
        if status >= 300 and response is not None:
            target = response.headers.get("Location", "nowhere")
            return MarathonError(f"{self._url} redirects to {target}, when asked to {what}", hint=HINT, status=status)
        return MarathonError(f"unexpected response from Marathon at {self._url}, when asked to {what}", hint=HINT)

    def _refusal(self, what: str, status: int, body: ErrorResponse) -> MarathonError:
        # Marathon 1.10 reports an unknown path with status 500.
        if body.message == "URI not found" and status >= 500:
            return MarathonError(f"Marathon at {self._url} cannot {what}: not found (HTTP 404)", status=404)
        if status >= 500 or status == 407:
            text = f"Marathon at {self._url} would not {what}: HTTP {status} {body.message}".rstrip()
            if self._session.proxy:
                text += f" (through the proxy {self._session.proxy} that the environment names)"
            return MarathonUnavailableError(text, status=status)
        if status == 401:
            return MarathonError(
                f"Marathon at {self._url}: authentication required (HTTP 401)",
                hint="give --marathon_secrets, or HYDRA_MARATHON_USER and HYDRA_MARATHON_PASSWORD",
                status=status,
            )
        if status == 409 and (body.deployments or "locked" in body.message):
            locks = _lock_ids(body)
            return AppLockedError(
                f"Marathon at {self._url} would not {what}: locked by deployment {', '.join(locks) or '(unknown)'}",
                hint=f"wait until it is done; see {self._url}/v2/deployments",
                status=status,
                deployment_ids=locks,
            )
        words = ". ".join(part for part in (body.message, _details(body.details)) if part)
        return MarathonError(f"Marathon at {self._url} would not {what}: HTTP {status} {words}".rstrip(), status=status)


def _error_body(response: requests.Response | None) -> ErrorResponse:
    """The body of an error; an empty one where it is not of Marathon's form."""
    try:
        return msgspec.json.decode(response.content if response is not None else b"", type=ErrorResponse)
    except (msgspec.MsgspecError, RecursionError):
        return ErrorResponse()


def _details(details: object) -> str:
    """``[{"path": "/id", "errors": ["..."]}]`` as text."""
    items = details if isinstance(details, list) else []
    return "; ".join(
        f"{item.get('path', '/')}: {', '.join(str(error) for error in item['errors'])}"
        for item in items
        if isinstance(item, dict) and isinstance(item.get("errors"), list)
    )


def _lock_ids(body: ErrorResponse) -> tuple[str, ...]:
    """The deployments that hold an app, by the body of a 409."""
    listed = body.deployments if isinstance(body.deployments, list) else []
    found = tuple(str(item["id"]) for item in listed if isinstance(item, dict) and "id" in item)
    if not found and "/v2/deployments/" in body.message:
        found = (body.message.rpartition("/v2/deployments/")[2].partition("'")[0],)
    return found


def app_definition(spec: AppSpec) -> str:
    """The JSON of an app as it is sent to Marathon."""
    app = MarathonApp(
        id=spec.app_id,
        cmd=spec.command,
        instances=spec.instances,
        cpus=spec.cpus,
        mem=spec.mem_mib,
        constraints=[list(constraint) for constraint in spec.constraints],
        fetch=[{"uri": uri, "extract": False, "executable": False, "cache": False} for uri in spec.fetch],
        port_definitions=[{"port": 0, "protocol": "tcp"} for _ in range(spec.port_count)],
        env=dict(spec.env),
        labels=labels_of(spec),
        # All at once: an app whose tasks must be alone on a host could never be exchanged one by one.
        upgrade_strategy={"minimumHealthCapacity": 0, "maximumOverCapacity": 0},
    )
    return str(app.to_json())
