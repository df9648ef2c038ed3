"""Requests to an API server of Kubernetes: JSON over HTTP, bounded in time and size, repeated where that may help."""

from __future__ import annotations

import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

import msgspec
import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from hydra.engine.http_session import BoundedSession, GivenAuthorization
from hydra.engine.kube_access import KubernetesAccess
from hydra.engine.kube_refusals import KubernetesUnavailableError, is_missing_right, refusal, without_credentials
from hydra.errors import KubernetesError
from hydra.run.clock import Clock

TIMEOUT_S = 10.0
MIN_TIMEOUT_S = 0.5
LONGEST_PAUSE_S = 4.0
WAKING_S = 20.0
"""So long after it was away an API server may still refuse what it will let us do."""

LONGEST_HOLD_S = 30.0
"""Who asks to be left alone for longer is asked again then, by another request."""

MERGE_PATCH = "application/merge-patch+json"
"""RFC 7386."""

T = TypeVar("T")


@dataclass(frozen=True)
class Route:
    """How an API server is reached, beside its address."""

    proxy: str | None
    verify: str | None
    """The file or folder of the certificates that the server's is checked against; None where nothing is checked."""


class KubernetesConnection:
    """A connection to one API server. Not thread-safe. Waits by the clock.

    Raises:
        UsageError: the certificates of the kubeconfig cannot be used.
    """

    def __init__(self, access: KubernetesAccess, clock: Clock) -> None:
        access.check()
        self._access = access
        self._clock = clock
        self._session = BoundedSession(TIMEOUT_S, trust_env=True)
        if access.proxy:
            self._session.proxies = {"https": access.proxy, "http": access.proxy}
        self.response_date = ""
        """The server's clock at the last response (RFC 9110, Date)."""
        self._held: KubernetesUnavailableError | None = None
        self._held_until_s = float("-inf")

    @property
    def namespace_path(self) -> str:
        """The path of core objects in our namespace."""
        return f"/api/v1/namespaces/{self._access.namespace}"

    @property
    def jobs_path(self) -> str:
        """The path of our namespace's jobs."""
        return f"/apis/batch/v1/namespaces/{self._access.namespace}/jobs"

    def request(
        self,
        what: str,
        method: str,
        path: str,
        kind: type[T],
        deadline_s: float,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
    ) -> T:
        """Send a request; repeat it while the API server is unavailable, or as it says, until the deadline.

        Errors say ``what`` was asked for. The deadline is on the clock. A PATCH is a merge patch.

        Raises:
            KubernetesUnavailableError: it could not be reached, or was busy, until the deadline.
            StillGoingError: something of that name is still being removed.
            KubernetesError: it refused; ``status`` tells why.
        """
        for tries in count(1):
            self._wait_while_held(deadline_s)
            left_s = deadline_s - self._clock.now_s()
            self._session.timeout_s = min(TIMEOUT_S, max(MIN_TIMEOUT_S, left_s))
            try:
                return self._decoded(what, method, self._send(what, method, path, params, body), kind)
            except KubernetesUnavailableError as error:
                pause_s = random.uniform(0.5, 1.0) * min(LONGEST_PAUSE_S, 0.1 * 2**tries)  # noqa: S311  # jitter
                pause_s = max(pause_s, error.after_s)
                if error.after_s:
                    self._held = error
                    self._held_until_s = self._clock.now_s() + min(error.after_s, LONGEST_HOLD_S)
                if self._clock.now_s() + pause_s >= deadline_s:
                    raise
                self._clock.sleep(pause_s)
        raise AssertionError  # count never ends

    def text(self, what: str, path: str, params: Mapping[str, str], deadline_s: float) -> str:
        """The text at a path, such as a log. Raises as ``request``, and asks once."""
        self._session.timeout_s = min(TIMEOUT_S, max(MIN_TIMEOUT_S, deadline_s - self._clock.now_s()))
        return self._send(what, "GET", path, params, None).content.decode(errors="replace")

    def _wait_while_held(self, deadline_s: float) -> None:
        """A server that has said how long it wants to be left alone is, by each request that can wait so long."""
        left_s = self._held_until_s - self._clock.now_s()
        if left_s <= 0 or self._held is None:
            return
        if self._held_until_s >= deadline_s:
            raise KubernetesUnavailableError(
                self._held.message, hint=self._held.hint, status=self._held.status, after_s=left_s
            )
        self._clock.sleep(left_s)

    def route(self) -> Route:
        """How requests get there: as the kubeconfig says, else as the environment does."""
        self._session.verify = self._access.verify
        merged = self._session.merge_environment_settings(self._access.server, {}, None, None, None)
        verify = merged["verify"]
        file = DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify) if verify else None
        return Route(requests.utils.select_proxy(self._access.server, merged["proxies"]), file)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _decoded(self, what: str, method: str, response: requests.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind, strict=False)
        except (msgspec.MsgspecError, RecursionError) as error:
            if method == "GET" and "truncated" in str(error):  # a proxy that tells no length has lost the server
                text = f"the response of {self._access.server} broke off, when asked to {what}"
                raise KubernetesUnavailableError(text) from error
            text = f"unexpected response from {self._access.server}, when asked to {what}"
            raise KubernetesError(text, hint="see whether the kubeconfig's server is one of Kubernetes") from error

    def _send(
        self,
        what: str,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: object,
        *,
        renewed: bool = False,
    ) -> requests.Response:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
        if header := self._access.authorization(renew=renewed):
            self._session.auth = GivenAuthorization(header)
        self._session.cert = self._access.certificate
        self._session.verify = self._access.verify
        data = None if body is None else msgspec.json.encode(body)
        try:
            response = self._session.request(
                method, f"{self._access.server}{path}", params=params, data=data, headers=headers
            )
        except (requests.RequestException, OSError) as error:
            failure = without_credentials(self._session.failure or str(error))
            untrusted = self._session.untrusted and not _was_cut(error)
            kind = KubernetesError if untrusted else KubernetesUnavailableError
            if not untrusted:
                self._access.away_s = self._clock.now_s()
            text = f"the API server at {self._access.server} cannot be reached ({failure})"
            raise kind(text, hint="check the kubeconfig and its context, as with 'kubectl get pods'") from error
        self.response_date = response.headers.get("Date", "")
        right = _right(method, path)
        if response.status_code not in {401, 403, 429} and response.status_code < 500:
            self._access.granted.add(right)
        if response.status_code < 300:
            return response
        if response.status_code == 401 and not renewed:
            return self._send(what, method, path, params, body, renewed=True)
        refused = refusal(self._access.server, what, response.status_code, response.content, response.headers)
        if is_missing_right(refused) and self._knows_no_roles(right):
            raise KubernetesUnavailableError(refused.message, hint=refused.hint, status=refused.status)
        raise refused

    def _knows_no_roles(self, right: tuple[str, ...]) -> bool:
        """Whether a refusal may be that of an API server that has just started, and knows no roles yet."""
        return right in self._access.granted or self._clock.now_s() - self._access.away_s < WAKING_S


def _was_cut(error: BaseException | None) -> bool:
    """Whether TLS failed because the other end went away, as a server that starts or ends does, and not over trust.

    To repeat any of our requests is harmless then: what was made is found by its name, what changes or deletes names
    an object by its uid.
    """
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return False
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
            return True
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
    return False


def _right(method: str, path: str) -> tuple[str, ...]:
    """What a request needs to be allowed: its method and resource, whatever the object's name is."""
    resource, *name = path.partition("/namespaces/")[2].split("/")[1:] or [path]
    return (method, resource, *("" if index == 0 else part for index, part in enumerate(name)))
