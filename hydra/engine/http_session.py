"""An HTTP session whose responses are bounded in time and size, and which keeps the reason of a failed request."""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3

from hydra.endpoints import is_loopback

RESPONSE_LIMIT_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from urllib3 import HTTPConnectionPool


class GivenAuthorization(requests.auth.AuthBase):
    """The given Authorization header. As requests' ``auth``, so that no .netrc replaces it."""

    def __init__(self, header: str) -> None:
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put it into a request."""
        request.headers["Authorization"] = self._header
        return request


class BoundedSession(requests.Session):
    """A session for responses that fit into memory.

    Args:
        timeout_s: for the connection, for each wait for bytes, and for the whole response; may change between requests.
        trust_env: whether proxies and certificates of the environment are used.
    """

    def __init__(self, timeout_s: float, *, trust_env: bool) -> None:
        super().__init__()
        self._deadline_s = 0.0
        """Of the request that is under way (monotonic clock)."""
        for scheme in ("http://", "https://"):
            self.mount(scheme, _BoundedAdapter(lambda: self._deadline_s - time.monotonic()))
        self.trust_env = trust_env
        self.timeout_s = timeout_s
        self.proxy = ""
        """The proxy that the last request went through, without credentials; empty without one."""
        self.failure = ""
        """Why the last request got no response; empty if it got one."""
        self.untrusted = False
        """Whether the last request failed because of TLS, where a retry does not help."""
        self.timed_out = False
        """Whether the last request timed out."""
        self.response: requests.Response | None = None
        """The response to the last request."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:  # noqa: ANN401  # as requests has it
        """What the session was given, else the proxies and certificates of the environment.

        Requests itself has the environment win (REQUESTS_CA_BUNDLE). What is on this machine is behind no proxy of it.
        """
        merged: Any = super().merge_environment_settings(url, proxies, stream, verify, cert)
        if verify is None and self.verify is not True:
            merged["verify"] = self.verify
        if self.proxies or is_loopback(urlsplit(url).hostname or ""):
            merged["proxies"] = dict(self.proxies)
        proxy = urlsplit(requests.utils.select_proxy(url, merged["proxies"]) or "")
        self.proxy = f"{proxy.hostname}:{proxy.port}" if proxy.port else proxy.hostname or ""
        return merged

    def request(self, *args: object, **kwargs: object) -> requests.Response:
        """Send a request and read the whole response. Redirects are not followed: our secrets are not for others."""
        self.failure, self.untrusted, self.timed_out, self.response = "", False, False, None
        self._deadline_s = time.monotonic() + self.timeout_s
        bounded = {**kwargs, "stream": True, "timeout": self.timeout_s, "allow_redirects": False}
        try:
            response = super().request(*args, **bounded)  # type: ignore[arg-type]  # passed through
            with response:
                _read_whole(response, self._deadline_s)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            self.failure, self.timed_out = _reason(error, self.timeout_s), _is_timeout(error)
            if self.proxy:
                named = "" if self.proxies else " that the environment names"
                self.failure += f", through the proxy {self.proxy}{named}"
            self.untrusted = isinstance(error, requests.exceptions.SSLError)
            if isinstance(error, requests.RequestException):
                raise
            raise requests.ConnectionError(error) from error
        except UnicodeError as error:
            # A host name that IDNA cannot encode.
            self.failure = f"{error}"
            raise requests.exceptions.InvalidURL(str(error)) from error
        self.response = response
        return response


class _BoundedAdapter(requests.adapters.HTTPAdapter):
    """Its connections read no response for longer than there is time left.

    The time-out of requests is for each wait, and a head that comes by the byte has one wait after the other.
    """

    def __init__(self, left_s: Callable[[], float]) -> None:
        self._left_s = left_s
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:  # noqa: ANN401  # as requests has it
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = pool.ConnectionCls
        if kind.response_class is http.client.HTTPResponse:
            bounded = {"response_class": staticmethod(partial(_BoundedResponse, self._left_s))}
            pool.ConnectionCls = type(kind.__name__, (kind,), bounded)
        return pool  # type: ignore[no-any-return]


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, left_s: Callable[[], float], sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), sock, left_s))


class _BoundedReader(io.RawIOBase):
    """What a socket receives, as long as there is time left."""

    def __init__(self, received: io.RawIOBase, sock: socket.socket, left_s: Callable[[], float]) -> None:
        self._received, self._socket, self._left_s = received, sock, left_s

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._received.fileno()

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if (left_s := self._left_s()) <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)
        return self._received.readinto(buffer)

    def close(self) -> None:
        self._received.close()
        super().close()


def _read_whole(response: requests.Response, deadline_s: float) -> None:
    """Read the body into memory; a peer that drips it, or sends it without end, is given up."""
    body = bytearray()
    # Not iter_content: it waits until a chunk is full.
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > RESPONSE_LIMIT_BYTES:
            raise requests.RequestException(f"its response is larger than {RESPONSE_LIMIT_BYTES} bytes")
        if time.monotonic() > deadline_s:
            raise requests.Timeout
    # As requests does in Response.content, which has no limits.
    response._content, response._content_consumed = bytes(body), True  # type: ignore[attr-defined]  # noqa: SLF001


def _reason(error: Exception, timeout_s: float) -> str:
    """The innermost cause of a failure, without the library names around it."""
    if _is_timeout(error):
        return f"no response within {round(timeout_s, 1):g} s"
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or cause.__cause__ or cause.__context__) and isinstance(
        inner, BaseException
    ):
        cause = inner
    return str(getattr(cause, "strerror", None) or cause)


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)) or "Read timed out" in str(error)
