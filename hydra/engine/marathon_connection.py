"""Requests to Marathon's v2 API: the only module that imports the ``marathon`` package.

The package (0.13.0, its last release) makes the requests and the JSON of apps. It needs one repair before it works on
today's Python; its models of answers refuse every field that is newer than they are, and it throws the reason of a
failed connection away. Answers are therefore read by ``marathon_answers``, and reasons kept by ``http_session``.
"""

from __future__ import annotations

import collections.abc
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import TypeVar

import marathon
import marathon.exceptions
import marathon.util
import msgspec
import requests
from marathon.models import MarathonApp

from hydra.engine.http_session import BoundedSession
from hydra.engine.marathon_access import MarathonAccess
from hydra.engine.marathon_answers import Message
from hydra.errors import AppLockedError, MarathonError
from hydra.run.app_spec import AppSpec

# marathon.util looks for collections.Iterable, which Python 3.10 removed: an app with port definitions or constraints
# could not be turned into JSON. Upstream's last, unreleased commit does the same.
marathon.util.collections = collections.abc

# Its failures reach the user as our errors; without a handler of its own they would be printed beside them.
logging.getLogger("marathon").addHandler(logging.NullHandler())
# The old name, by which it logs a redirection, is on its way out of Python.
marathon.log.warn = marathon.log.warning

RETRY_LIMIT_S = 30.0
"""How long a request is repeated that found no Marathon, or one in trouble; a last try may take a time-out more."""

LONGEST_PAUSE_S = 4.0
MIN_TIMEOUT_S = 0.5
WAY_OUT = "check --marathon_url or [marathon] in hydra.ini"

T = TypeVar("T")


class _PassingError(MarathonError):
    """No answer, or one that says that Marathon is in trouble: worth another try."""


class _Authorization(requests.auth.AuthBase):
    """The Authorization header as it was given. As requests' ``auth``, so that no .netrc replaces it."""

    def __init__(self, header: str) -> None:
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


class _JsonClient(marathon.MarathonClient):  # type: ignore[misc]  # the package has no types
    """The package's requests, with answers as they come."""

    def ask(self, method: str, path: str, params: Mapping[str, str], body: str | None) -> bytes:
        """Send one request; returns the body of the answer."""
        answer: requests.Response = self._do_request(method, path, params=params, data=body)
        if answer.status_code >= 300:
            raise ValueError(answer.status_code)
        return bytes(answer.content)


class MarathonConnection:
    """A connection to one Marathon, at one address or several. Not thread-safe.

    Args:
        access: where it is, and who asks.
    """

    def __init__(self, access: MarathonAccess) -> None:
        self._access = access
        self._session = BoundedSession(access.timeout_s, trust_env=not access.local)
        if access.authorization:
            self._session.auth = _Authorization(access.authorization)
        elif access.user:
            # Bytes: requests would encode text as latin-1, and Marathon reads UTF-8.
            self._session.auth = (access.user.encode(), access.password.encode())  # type: ignore[assignment]
        self._clients = [
            _JsonClient(url, timeout=access.timeout_s, session=self._session, verify=access.ca_file or True)
            for url in access.urls
        ]
        self._given_up = False
        """Whether the last request was: then the next one is made once at each address, and not waited for as long."""
        self.unclear = False
        """Whether the last request may have been carried out although no answer says so."""

    @property
    def url(self) -> str:
        """The address that is asked first."""
        return str(self._clients[0].servers[0])

    def get(self, path: str, kind: type[T], **params: str) -> T:
        """Read something; see ``ask``."""
        return self.ask(f"answer GET {path}", "GET", path, kind, params=params)

    def ask(
        self,
        what: str,
        method: str,
        path: str,
        kind: type[T],
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        limit_s: float = RETRY_LIMIT_S,
    ) -> T:
        """Send a request, again where need be; at another address after one that did not answer.

        Args:
            what: what Marathon is asked to do, for errors.
            method: of HTTP.
            path: below the address.
            kind: what the answer is read as.
            params: of the query.
            body: turned into JSON; an AppSpec becomes an app definition.
            limit_s: how long to go on trying.

        Raises:
            AppLockedError: 409, a deployment holds the app.
            MarathonError: cannot be reached, refused, or answered what Marathon does not; ``status`` tells which.
        """
        text = _json(body)
        deadline_s = time.monotonic() + limit_s
        self.unclear = True
        for tries in count(1):
            # The limit holds for the request, too, where it is a short one.
            self._session.timeout_s = max(MIN_TIMEOUT_S, min(self._access.timeout_s, deadline_s - time.monotonic()))
            try:
                answer = self._once(what, lambda: self._clients[0].ask(method, path, params or {}, text), kind)
            except _PassingError:
                self._clients.append(self._clients.pop(0))
                pause_s = random.uniform(0.5, 1.0) * min(LONGEST_PAUSE_S, 0.25 * 2**tries)  # noqa: S311  # jitter
                given_up = self._given_up and tries >= len(self._clients)
                if given_up or time.monotonic() + pause_s >= deadline_s:
                    self._given_up = True
                    raise
                time.sleep(pause_s)
            except MarathonError:
                self.unclear = tries > 1
                raise
            else:
                self._given_up = self.unclear = False
                return answer
        raise AssertionError  # count never ends

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()
        for client in self._clients:
            client.sse_session.close()

    def _once(self, what: str, request: Callable[[], bytes], kind: type[T]) -> T:
        url = self.url
        try:
            return msgspec.json.decode(request(), type=kind, strict=False)
        except marathon.exceptions.NoResponseError as error:
            # A local Marathon that takes no connection is a process that is gone: nobody starts it again.
            gone = self._access.local and not self._session.late
            kind_of_error = MarathonError if gone or self._session.untrusted else _PassingError
            raise kind_of_error(
                f"Marathon at {url} cannot be reached ({self._session.failure})", hint=WAY_OUT
            ) from error
        except (marathon.exceptions.MarathonHttpError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._refusal(what) from error
        except (msgspec.MsgspecError, RecursionError) as error:
            raise self._refusal(what) from error

    def _refusal(self, what: str) -> MarathonError:
        """Out of the last answer, not out of the package's error: that one fails on an answer that is no JSON."""
        answer = self._session.answer
        status = answer.status_code if answer is not None else 0
        if status >= 500:
            return self._own_trouble(what, status, _message(answer).message)
        if status >= 400:
            return self._refused(what, status, _message(answer))
        if status >= 300 and answer is not None:
            elsewhere = answer.headers.get("Location", "nowhere")
            return MarathonError(f"{self.url} sends to {elsewhere}, when asked to {what}", hint=WAY_OUT, status=status)
        return MarathonError(f"{self.url} answered what Marathon does not, when asked to {what}", hint=WAY_OUT)

    def _own_trouble(self, what: str, status: int, message: str) -> MarathonError:
        if message == "URI not found":
            # What Marathon 1.10 says, with 500, of an address that it does not have.
            return MarathonError(f"Marathon at {self.url} cannot {what}: it does not have that", status=404)
        return _PassingError(f"Marathon at {self.url} would not {what}: HTTP {status} {message}", status=status)

    def _refused(self, what: str, status: int, message: Message) -> MarathonError:
        if status == 401:
            return MarathonError(
                f"Marathon at {self.url} wants to know who asks (HTTP 401)",
                hint="give --marathon_secrets, or HYDRA_MARATHON_USER and HYDRA_MARATHON_PASSWORD",
                status=status,
            )
        if status == 409 and (message.deployments or "locked" in message.message):
            locks = _lock_ids(message)
            return AppLockedError(
                f"Marathon at {self.url} would not {what}: locked by deployment {', '.join(locks) or 'of another'}",
                hint=f"wait until it is done; see {self.url}/v2/deployments",
                status=status,
                deployment_ids=locks,
            )
        words = ". ".join(part for part in (message.message, _details(message.details)) if part)
        return MarathonError(f"Marathon at {self.url} would not {what}: HTTP {status} {words}", status=status)


def _message(answer: requests.Response | None) -> Message:
    """What a refusal says for itself; nothing, where it is not of Marathon's form."""
    try:
        return msgspec.json.decode(answer.content if answer is not None else b"", type=Message)
    except (msgspec.MsgspecError, RecursionError):
        return Message()


def _details(details: object) -> str:
    """``[{"path": "/id", "errors": ["..."]}]`` as text."""
    items = details if isinstance(details, list) else []
    return "; ".join(
        f"{item.get('path', '/')}: {', '.join(str(error) for error in item['errors'])}"
        for item in items
        if isinstance(item, dict) and isinstance(item.get("errors"), list)
    )


def _lock_ids(message: Message) -> tuple[str, ...]:
    """The deployments that hold an app, by the body of a 409."""
    listed = message.deployments if isinstance(message.deployments, list) else []
    found = tuple(str(item["id"]) for item in listed if isinstance(item, dict) and "id" in item)
    if not found and "/v2/deployments/" in message.message:
        found = (message.message.rpartition("/v2/deployments/")[2].partition("'")[0],)
    return found


def _json(body: object) -> str | None:
    if body is None:
        return None
    return app_definition(body) if isinstance(body, AppSpec) else json.dumps(body)


def app_definition(spec: AppSpec) -> str:
    """The JSON of an app as Marathon is sent it."""
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
        labels=dict(spec.labels),
        # All at once: an app whose tasks must be alone on a host could never be exchanged one by one.
        upgrade_strategy={"minimumHealthCapacity": 0, "maximumOverCapacity": 0},
    )
    return str(app.to_json())
