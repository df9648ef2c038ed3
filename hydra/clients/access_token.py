"""Tokens for OAUTHBEARER: from a file, a command, an identity provider or AWS's signer; fetched once a process.

A token is renewed in a thread some time before it expires, so that no connection waits for that in mid-run.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from functools import lru_cache
from pathlib import Path

from hydra.endpoints import is_loopback
from hydra.errors import BrokerError
from hydra.files.atomic_write import reason_of
from hydra.files.bounded_command import run_bounded
from hydra.files.bounded_read import read_bounded
from hydra.options.kafka_access import AWS_MSK_IAM, KafkaAccess, TokenSource

FETCH_TIMEOUT_S = 10.0
MAX_TOKEN_BYTES = 64 * 1024
RENEW_AT = 0.8
"""Of a token's lifetime."""

UNKNOWN_LIFETIME_S = 300.0
"""Of a token that does not say when it expires."""

ASK_AGAIN_S = 1.0
"""After a failure: until a thread asks again, if anybody still wants a token."""

FAILURE_HOLDS_S = 5.0
"""So long a failure answers everybody who asks: many connections do, one after the other, on one thread."""

REDIRECTS = (301, 302, 303, 307, 308)


class AccessToken:
    """The token of one access, always one that is good; safe for several threads."""

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._token = ""
        self._renew_s = self._expires_s = 0.0
        self._renewing = False
        self._failure: BrokerError | None = None
        """Why the last attempt gave no token, where it did not."""
        self._failed_s = 0.0
        """When, by the monotonic clock."""

    def get(self) -> tuple[str, float]:
        """(token, when it expires in seconds since 1970). Waits ``FETCH_TIMEOUT_S`` at most, and only for the first.

        Raises:
            BrokerError: there is none; names its source, and no secret.
        """
        with self._lock:
            now_s = time.time()
            if now_s >= self._expires_s:
                self._raise_recent_failure()
                self._fetch()
            elif now_s >= self._renew_s:
                self._renew_soon()
            return self._token, self._expires_s

    def _raise_recent_failure(self) -> None:
        """What the last one who waited was told is told to the next ones at once; a thread asks again meanwhile."""
        since_s = time.monotonic() - self._failed_s
        if self._failure is None or (since_s >= FAILURE_HOLDS_S and not self._renewing):
            return
        if since_s >= ASK_AGAIN_S:
            self._renew_soon()
        raise BrokerError(self._failure.message, hint=self._failure.hint)

    def _renew_soon(self) -> None:
        if not self._renewing:
            self._renewing = True
            threading.Thread(target=self._renew, name="access-token", daemon=True).start()

    def _renew(self) -> None:
        try:
            found = _fetched(self._access)
            with self._lock:
                self._take(*found)
        except BrokerError as error:  # a token that is there is good for a while: the next connection asks again
            self._fail(error)
        finally:
            self._renewing = False

    def _fetch(self) -> None:
        try:
            self._take(*_fetched(self._access))
        except BrokerError as error:
            self._fail(error)
            raise

    def _fail(self, error: BrokerError) -> None:
        self._failed_s, self._failure = time.monotonic(), error

    def _take(self, token: str, expires_s: float | None) -> None:
        now_s = time.time()
        lifetime_s = UNKNOWN_LIFETIME_S if expires_s is None else expires_s - now_s
        if lifetime_s <= 0:
            raise BrokerError(f"the access token for Kafka has expired {-lifetime_s:.0f} s ago", hint="get a new one")
        self._token, self._failure = token, None
        self._expires_s, self._renew_s = now_s + lifetime_s, now_s + RENEW_AT * lifetime_s


@lru_cache(maxsize=4)
def shared_token(access: KafkaAccess) -> AccessToken:
    """The same for all clients of this process."""
    return AccessToken(access)


def _fetched(access: KafkaAccess) -> tuple[str, float | None]:
    """(token, when it expires in seconds since 1970; None where nobody says)."""
    source = access.tokens
    if access.mechanism == AWS_MSK_IAM:
        return _aws_token(access.aws_region)
    if source.url:
        return _granted(source)
    if source.token:
        token = source.token
    elif source.file:
        token = _read(source.file)
    else:
        token = _printed(source.command)
    return token, expiry_s(token)


def expiry_s(token: str) -> float | None:
    """When a JSON web token expires, in seconds since 1970; None for any other token (RFC 7519: ``exp``)."""
    parts = token.split(".")
    if len(parts) not in {3, 5}:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        if isinstance(claims, dict) and isinstance(claims.get("exp"), (int, float)):
            return _seconds(claims["exp"])
    return None


def _read(path: str) -> str:
    try:
        text = read_bounded(Path(path), MAX_TOKEN_BYTES)
    except (OSError, ValueError) as error:
        raise BrokerError(f"the token file {path} cannot be read ({reason_of(error)})") from error
    return _checked(text, f"the token file {path}")


def _printed(command: str) -> str:
    try:
        ended = run_bounded(command, timeout_s=FETCH_TIMEOUT_S, most_bytes=MAX_TOKEN_BYTES)
    except subprocess.TimeoutExpired:
        raise BrokerError(f"the token command printed nothing, or did not end, within {FETCH_TIMEOUT_S:g} s") from None
    except (OSError, ValueError) as error:
        raise BrokerError(f"the token command cannot be started ({reason_of(error)})") from error
    if ended.status and len(ended.output) <= MAX_TOKEN_BYTES:
        raise BrokerError(f"the token command failed with exit status {ended.status}")
    return _checked(ended.output, "the token command")


def _checked(text: bytes, origin: str) -> str:
    token = text.decode(errors="replace").strip()
    if not token or len(text) > MAX_TOKEN_BYTES or not token.isascii() or not token.isprintable() or " " in token:
        raise BrokerError(f"{origin} gives no token: one line of printable ASCII is wanted")
    return token


def _granted(source: TokenSource) -> tuple[str, float | None]:
    """A token of an identity provider (RFC 6749, 4.4: client credentials, in the header of the request)."""
    body = {"grant_type": "client_credentials", **({"scope": source.scope} if source.scope else {})}
    quoted = [urllib.parse.quote(text, safe="") for text in (source.client_id, source.client_secret)]
    request = urllib.request.Request(  # noqa: S310  # http or https, as the parser has checked
        source.url,
        urllib.parse.urlencode(body).encode(),
        {
            "Authorization": "Basic " + base64.b64encode(":".join(quoted).encode()).decode(),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        },
    )
    where = f"the token endpoint {source.url}"
    # What is on this machine is behind no proxy of it.
    direct = [urllib.request.ProxyHandler({})] if is_loopback(urllib.parse.urlsplit(source.url).hostname or "") else []
    try:
        with urllib.request.build_opener(_NoRedirects, *direct).open(request, timeout=FETCH_TIMEOUT_S) as answer:
            granted = json.loads(answer.read(MAX_TOKEN_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in REDIRECTS:
            raise BrokerError(
                f"{where} redirects (HTTP {error.code}), and a client's secret is for no other address",
                hint="give the address that grants tokens itself",
            ) from None
        raise BrokerError(
            f"{where} refused the client {source.client_id!r} (HTTP {error.code})", hint="check its id and secret"
        ) from None
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise BrokerError(
            f"{where} cannot be asked ({getattr(error, 'reason', None) or error or type(error).__name__})"
        ) from None
    token = granted.get("access_token") if isinstance(granted, dict) else None
    if not isinstance(token, str):
        raise BrokerError(f"{where} answered without an access_token")
    lifetime = granted.get("expires_in")
    lifetime_s = _seconds(lifetime) if isinstance(lifetime, (int, float)) else None
    expires_s = expiry_s(token) if lifetime_s is None else time.time() + lifetime_s
    return _checked(token.encode(), where), expires_s


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Has a redirect end as the error that it is: urllib would take the Authorization to whatever host it names."""

    def redirect_request(self, *_args: object) -> None:
        """There is none."""


def _seconds(number: float) -> float | None:
    """A number of JSON, which may have any size; None where it counts no seconds."""
    with contextlib.suppress(OverflowError):
        return float(number) if math.isfinite(number) else None
    return None


def _aws_token(region: str) -> tuple[str, float | None]:
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # type: ignore[import-not-found]
    except ImportError:
        raise BrokerError(
            "AWS_MSK_IAM needs AWS's signer, which is not installed here",
            hint="pip install 'hydra-scaletest[aws]', on the load hosts too",
        ) from None
    try:
        token, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
    except Exception as error:  # noqa: BLE001  # whatever botocore raises where there are no credentials
        raise BrokerError(f"AWS gives no token for Kafka ({type(error).__name__}: {error})") from None
    return str(token), float(expires_ms) / 1000
