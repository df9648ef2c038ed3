"""Who may give orders to a local Marathon: whoever reaches it could start commands as its user. Pure.

The page of a run that can be watched is guarded by the same rules (hydra/live/server.py).

Two kinds of stranger reach an address of this machine: its other users, and web pages in a browser of its user. A page
can send a request that it may not read the answer of (Fetch standard, "CORS-safelisted"), and with a DNS name that it
points at 127.0.0.1 it may even read answers. So requests need the token of this server, its own name in ``Host``, no
``Origin`` but its own, and JSON in the body. See docs/security.md.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hydra.localmarathon.errors import RequestRefusedError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OWN_SITES = frozenset({"none", "same-origin"})
"""Values of ``Sec-Fetch-Site`` (Fetch Metadata): typed in by the user, or asked for by a page of this server."""

CHALLENGE = 'Bearer realm="Hydra local Marathon"'


@dataclass(frozen=True)
class RequestGuard:
    """Which requests a server accepts."""

    host: str
    """The address that it listens on."""
    token: str
    """Empty: anyone who reaches it and is no web page may give orders."""

    def check(self, headers: Mapping[str, str], *, has_body: bool) -> None:
        """Accept a request by its headers (whose names are in any case).

        Raises:
            RequestRefusedError: 403, 401 or 415; says why.
        """
        self.check_origin(headers)
        if self.token and not self._has_token(headers.get("Authorization", "")):
            text = "the token of this server is required: Authorization: Bearer TOKEN"
            raise RequestRefusedError(401, text, headers={"WWW-Authenticate": CHALLENGE})
        if has_body:
            check_is_json(headers)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Accept a request that was sent to this server by its name, and by no page of another site.

        Raises:
            RequestRefusedError: 403; says why.
        """
        name = _host_name(headers.get("Host", ""))
        if name not in LOOPBACK_NAMES and name != self.host:
            raise RequestRefusedError(403, f"this server is not {name or 'without a name'}: ask for {self.host}")
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site", "none")
        if (origin is not None and not self._is_own(origin, headers.get("Host", ""))) or site not in OWN_SITES:
            raise RequestRefusedError(403, "a web page of another site must not give orders here")

    def is_token(self, given: str) -> bool:
        """Whether that is the token of this server; takes as long for a wrong one."""
        return hmac.compare_digest(given.encode(errors="replace"), self.token.encode())

    @staticmethod
    def _is_own(origin: str, host: str) -> bool:
        return origin.lower() == f"http://{host}".lower()

    def _has_token(self, authorization: str) -> bool:
        """Whether it is ``Bearer TOKEN``, or Basic with the token as the password, as ``curl -u :TOKEN`` sends it."""
        scheme, _, given = authorization.strip().partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return self.is_token(given.strip())


def check_is_json(headers: Mapping[str, str]) -> None:
    """Accept a body of JSON: a form of another site can send any other kind.

    Raises:
        RequestRefusedError: 415; says why.
    """
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestRefusedError(415, f"the body must be application/json, and is {kind or 'without a type'}")


def _host_name(host: str) -> str:
    """The name in a ``Host`` header, without its port and brackets; empty where it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
