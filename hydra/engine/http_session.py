"""An HTTP session whose answers are bounded in time and size, and which remembers why the last request got none."""

from __future__ import annotations

import time

import requests
import urllib3

ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


class BoundedSession(requests.Session):
    """A session for answers that fit into memory.

    Args:
        timeout_s: for the connection, for each wait for bytes, and for the whole answer; may change between requests.
        trust_env: whether proxies and certificates of the environment are used.
    """

    def __init__(self, timeout_s: float, *, trust_env: bool) -> None:
        super().__init__()
        self.trust_env = trust_env
        self.timeout_s = timeout_s
        self.failure = ""
        """Why the last request got no answer; empty when it got one."""
        self.untrusted = False
        """Whether that was TLS, which another try does not mend."""
        self.late = False
        """Whether it was the time that was over."""
        self.answer: requests.Response | None = None
        """The answer to the last request."""

    def request(self, *args: object, **kwargs: object) -> requests.Response:
        """Send a request and read the whole answer; a redirection is an answer, and not followed with our secrets."""
        self.failure, self.untrusted, self.late, self.answer = "", False, False, None
        deadline_s = time.monotonic() + self.timeout_s
        bounded = {**kwargs, "stream": True, "timeout": self.timeout_s, "allow_redirects": False}
        try:
            response = super().request(*args, **bounded)  # type: ignore[arg-type]  # handed through as it came
            with response:
                _read_whole(response, deadline_s)
        except requests.RequestException as error:
            self.failure, self.late = reason(error, self.timeout_s), _is_late(error)
            self.untrusted = isinstance(error, requests.exceptions.SSLError)
            raise
        except urllib3.exceptions.HTTPError as error:
            self.failure, self.late = reason(error, self.timeout_s), _is_late(error)
            raise requests.ConnectionError(error) from error
        except UnicodeError as error:
            # A host name that IDNA does not know.
            self.failure = f"{error}"
            raise requests.exceptions.InvalidURL(str(error)) from error
        self.answer = response
        return response


def _read_whole(response: requests.Response, deadline_s: float) -> None:
    """Have the body in memory; a peer that sends it by the drop, or without end, is given up."""
    body = bytearray()
    # Not iter_content: it waits until a chunk is full.
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > ANSWER_LIMIT_BYTES:
            raise requests.RequestException(f"its answer is larger than {ANSWER_LIMIT_BYTES} bytes")
        if time.monotonic() > deadline_s:
            raise requests.Timeout
    # What requests itself does in Response.content, which knows no limits.
    response._content, response._content_consumed = bytes(body), True  # type: ignore[attr-defined]  # noqa: SLF001


def reason(error: Exception, timeout_s: float) -> str:
    """The innermost cause of a failure, without the layers of library names around it."""
    if _is_late(error):
        return f"no answer within {round(timeout_s, 1):g} s"
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or cause.__cause__ or cause.__context__) and isinstance(
        inner, BaseException
    ):
        cause = inner
    return str(getattr(cause, "strerror", None) or cause)


def _is_late(error: Exception) -> bool:
    return isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)) or "Read timed out" in str(error)
