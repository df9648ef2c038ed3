"""Tokens for OAUTHBEARER: from a file, a command, an identity provider or AWS's signer; fetched once a process.

A token is renewed in a thread some time before it expires, so that no connection waits for that in mid-run.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from functools import lru_cache
from pathlib import Path

from hydra.errors import BrokerError
from hydra.options.kafka_access import AWS_MSK_IAM, KafkaAccess, TokenSource

FETCH_TIMEOUT_S = 10.0
MAX_TOKEN_BYTES = 64 * 1024
RENEW_AT = 0.8
"""Of a token's lifetime."""

UNKNOWN_LIFETIME_S = 300.0
"""Of a token that does not say when it expires."""


class AccessToken:
    """The token of one access, always one that is good; safe for several threads."""

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._token = ""
        self._renew_s = self._expires_s = 0.0
        self._renewing = False

    def get(self) -> tuple[str, float]:
        """(token, when it expires in seconds since 1970). Waits ``FETCH_TIMEOUT_S`` at most, and only for the first.

        Raises:
            BrokerError: there is none; names its source, and no secret.
        """
        with self._lock:
            now_s = time.time()
            if now_s >= self._expires_s:
                self._fetch()
            elif now_s >= self._renew_s and not self._renewing:
                self._renewing = True
                threading.Thread(target=self._renew, name="access-token", daemon=True).start()
            return self._token, self._expires_s

    def _renew(self) -> None:
        try:
            with contextlib.suppress(BrokerError):  # what is there is good for a while: the next connection asks again
                found = _fetched(self._access)
                with self._lock:
                    self._take(*found)
        finally:
            self._renewing = False

    def _fetch(self) -> None:
        self._take(*_fetched(self._access))

    def _take(self, token: str, expires_s: float | None) -> None:
        now_s = time.time()
        lifetime_s = UNKNOWN_LIFETIME_S if expires_s is None else expires_s - now_s
        if lifetime_s <= 0:
            raise BrokerError(f"the access token for Kafka has expired {-lifetime_s:.0f} s ago", hint="get a new one")
        self._token = token
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
    with contextlib.suppress(ValueError):
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        if isinstance(claims, dict) and isinstance(claims.get("exp"), (int, float)):
            return float(claims["exp"])
    return None


def _read(path: str) -> str:
    try:
        text = Path(path).read_bytes()[: MAX_TOKEN_BYTES + 1]
    except OSError as error:
        raise BrokerError(f"the token file {path} cannot be read ({error.strerror})") from error
    return _checked(text, f"the token file {path}")


def _printed(command: str) -> str:
    try:
        ended = subprocess.run(  # noqa: S602  # the user's own command line, from the user's own file
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FETCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BrokerError(f"the token command printed nothing within {FETCH_TIMEOUT_S:g} s") from None
    if ended.returncode:
        raise BrokerError(f"the token command failed with exit status {ended.returncode}")
    return _checked(ended.stdout, "the token command")


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
    try:
        with urllib.request.urlopen(request, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310  # as above
            granted = json.loads(answer.read(MAX_TOKEN_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        raise BrokerError(
            f"{where} refused the client {source.client_id!r} (HTTP {error.code})", hint="check its id and secret"
        ) from None
    except (OSError, ValueError) as error:
        raise BrokerError(f"{where} cannot be asked ({getattr(error, 'reason', None) or error})") from None
    token = granted.get("access_token") if isinstance(granted, dict) else None
    if not isinstance(token, str):
        raise BrokerError(f"{where} answered without an access_token")
    lifetime = granted.get("expires_in")
    expires_s = time.time() + float(lifetime) if isinstance(lifetime, (int, float)) else expiry_s(token)
    return _checked(token.encode(), where), expires_s


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
