"""Whether brokers can be reached, by plain TCP connections, and whether they let a client in."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hydra.clients.library_access import token_of
from hydra.clients.tls_context import NO_TLS_REASON
from hydra.clients.wire_connection import CLOSED, SPEAKS_TLS
from hydra.clients.wire_protocol import INT32, METADATA, api_versions_request, frame, metadata_request
from hydra.clients.wire_request import CLIENT_ID, ask, exchange
from hydra.clients.wire_sasl import UNSUPPORTED_MECHANISM, handshake_request, read_handshake
from hydra.endpoints import Endpoint, parse_endpoints
from hydra.errors import BrokerError
from hydra.kafka_errors import final_error_in
from hydra.options.kafka_access import GSSAPI, NO_SECURITY, KafkaAccess

if TYPE_CHECKING:
    from typing_extensions import Self

_REFUSED_FOR_S = 2.5
"""A broker that restarts refuses connections for a while; one that is not there refuses them for good."""

_PAUSE_S = 0.25
_CONNECT_TIMEOUT_S = 5.0

PROBE_EVERY_S = 1.0
PROBE_TIMEOUT_S = 0.5
_JOIN_TIMEOUT_S = 2.0

_METADATA_VERSION = 2


def connection_errors(
    endpoints: Sequence[Endpoint], timeout_s: float, *, until_one_connects: bool = False
) -> dict[Endpoint, OSError]:
    """Try to connect to all endpoints, and to all addresses of each, at the same time, for ``timeout_s`` in all.

    Returns:
        Why a connection failed, by endpoint. With ``until_one_connects`` it is empty as soon as one has connected.
    """
    deadline_s = time.monotonic() + timeout_s
    errors: dict[Endpoint, OSError] = {}
    with contextlib.ExitStack() as closing:
        selector = closing.enter_context(selectors.DefaultSelector())
        for endpoint in endpoints:
            errors[endpoint] = TimeoutError(errno.ETIMEDOUT, "timed out")
            try:
                found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
                for family, kind, _protocol, _name, address in found:
                    attempt = closing.enter_context(socket.socket(family, kind))
                    attempt.settimeout(0)
                    code = attempt.connect_ex(address)
                    if code in {0, errno.EINPROGRESS}:
                        selector.register(attempt, selectors.EVENT_WRITE, endpoint)
                    else:
                        errors[endpoint] = OSError(code, os.strerror(code))
            except OSError as error:
                errors[endpoint] = error
            except UnicodeError:
                errors[endpoint] = OSError(f"invalid host name {endpoint.host!r}")
        while selector.get_map() and (left_s := deadline_s - time.monotonic()) > 0:
            for key, _events in selector.select(left_s):
                selector.unregister(key.fileobj)
                assert isinstance(key.fileobj, socket.socket)
                code = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code and key.data in errors:
                    errors[key.data] = OSError(code, os.strerror(code))
                elif not code:
                    errors.pop(key.data, None)
                    if until_one_connects:
                        return {}
    return errors


def await_reachable(endpoints: Sequence[Endpoint], timeout_s: float) -> None:
    """Wait until one of a cluster's endpoints takes a connection; tries each at least once.

    Refusals and unknown names are given up before ``timeout_s``.

    Raises:
        BrokerError: none does; names each with its cause.
    """
    started_s = time.monotonic()
    while True:
        left_s = max(0.2, started_s + timeout_s - time.monotonic())
        errors = connection_errors(endpoints, min(_CONNECT_TIMEOUT_S, left_s), until_one_connects=True)
        if not errors:
            return
        refused = not any(isinstance(error, TimeoutError) for error in errors.values())
        if time.monotonic() - started_s >= (min(timeout_s, _REFUSED_FOR_S) if refused else timeout_s):
            causes = "; ".join(f"{endpoint}: {error.strerror or error}" for endpoint, error in errors.items())
            hint = "check bootstrap_servers, the network and whether the broker is up"
            raise BrokerError(f"no Kafka broker can be reached ({causes})", hint=hint)
        time.sleep(_PAUSE_S)


def check_access(
    endpoints: Sequence[Endpoint], access: KafkaAccess = NO_SECURITY, timeout_s: float = _CONNECT_TIMEOUT_S
) -> None:
    """See that one of the endpoints lets this client in; one is waited for ``timeout_s`` at most, all for twice that.

    The client libraries say of most of this that no broker is available, and only after a while. A plain endpoint that
    says nothing is left to them.

    Raises:
        BrokerError: none does; names each with its reason, in which no secret stands.
        UsageError: certificates or key of the access cannot be used.
    """
    token_of(access)
    if access.mechanism == GSSAPI:
        return  # only the libraries speak it
    deadline_s = time.monotonic() + 2 * timeout_s
    reasons: list[str] = []
    for number, endpoint in enumerate((*endpoints, *endpoints)):
        if number == len(endpoints) and not any(CLOSED in reason for reason in reasons):
            break  # asked again is only what a broker that is starting may do
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            break
        reason = _no_way_in(endpoint, access, min(timeout_s, left_s))
        if not reason:
            return
        reasons.append(reason)
        if final_error_in(reason) is not None:
            break  # no need to be refused by all
    raise BrokerError(f"Kafka does not let this client in ({'; '.join(dict.fromkeys(reasons))})")


def _no_way_in(endpoint: Endpoint, access: KafkaAccess, timeout_s: float) -> str:
    """Why this endpoint does not let the client in; empty where it does, or where nothing can be said."""
    requests = [api_versions_request(CLIENT_ID), metadata_request(CLIENT_ID)]
    replies, reason = exchange(endpoint, requests, timeout_s, access)
    if not reason:
        return ""
    if replies and not access.sasl:
        answered, _ = exchange(endpoint, [handshake_request(CLIENT_ID, "NONE")], timeout_s, access)
        if answered:
            code, mechanisms = read_handshake(answered[0], INT32.size)
            if code == UNSUPPORTED_MECHANISM:
                wanted = f"SASL_{'SSL' if access.tls else 'PLAINTEXT'}"
                offered = f"--sasl_mechanism={' or '.join(mechanisms)}"
                return f"{endpoint}: the listener wants SASL: use --security_protocol={wanted} and {offered}"
    if not replies and CLOSED in reason:
        if not access.tls and _greets_by_tls(endpoint, timeout_s):
            return f"{endpoint}: {SPEAKS_TLS}"
        if access.tls and exchange(endpoint, requests[:1], timeout_s)[0]:
            return f"{endpoint}: {NO_TLS_REASON}"
    return reason if access.secured or SPEAKS_TLS in reason else ""


def _greets_by_tls(endpoint: Endpoint, timeout_s: float) -> bool:
    """Whether a TLS handshake is answered by TLS, be it by a refusal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=timeout_s) as connection,
            context.wrap_socket(connection),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except (OSError, UnicodeError):
        return False


class _Gone(NamedTuple):
    """That no broker takes a connection."""

    since_s: float
    """On the monotonic clock."""
    reason: str
    silent: bool
    """Whether an attempt found no answer at all: so does one that meets a queue full of connections to be taken."""


class BrokerProbe:
    """Says why the brokers count as gone: none of them has taken a connection for ``grace_s``.

    Connections are plain, whatever the brokers ask for: they take no notice of one that ends before it says anything.
    They are made on a thread of its own, so that asking never blocks, and only while somebody asks. A paused
    broker still takes connections (its kernel does), and a restarted one is back within the grace: neither ends a run.
    One to which thousands of clients connect at once takes no more of them for a while, and says nothing.

    Args:
        bootstrap_servers: host:port, comma separated.
        grace_s: how long all of them may refuse connections, or be unknown.
        silent_grace_s: how long one of them may say nothing while no other takes a connection; as long, unless given.
        note: called, by the thread that asks, once when they become unreachable and once when they are back.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        grace_s: float,
        silent_grace_s: float | None = None,
        note: Callable[[str], None],
    ) -> None:
        self._endpoints = parse_endpoints(bootstrap_servers)
        self._names = ", ".join(map(str, self._endpoints))
        self._grace_s = grace_s
        self._silent_grace_s = grace_s if silent_grace_s is None else silent_grace_s
        self._note = note
        self._asked = threading.Event()
        self._closed = threading.Event()
        self._gone: _Gone | None = None
        self._noted: _Gone | None = None
        self._thread = threading.Thread(target=self._probe_while_asked, name="broker-probe", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closed.set()
        self._asked.set()
        self._thread.join(_JOIN_TIMEOUT_S)

    def __call__(self) -> str:
        """Why the brokers count as gone; empty while they do not."""
        self._asked.set()
        now_s, gone = time.monotonic(), self._gone
        if gone is not None and self._noted is None:
            self._note(f"Kafka at {self._names} cannot be reached ({gone.reason})")
        elif gone is None and self._noted is not None:
            self._note(f"Kafka at {self._names} is back after {now_s - self._noted.since_s:.1f} s")
        self._noted = gone
        if gone is None or now_s - gone.since_s < (self._silent_grace_s if gone.silent else self._grace_s):
            return ""
        return f"Kafka at {self._names} is gone ({gone.reason})"

    def _probe_while_asked(self) -> None:
        while self._asked.wait() and not self._closed.is_set():
            self._asked.clear()
            began_s = time.monotonic()
            errors = connection_errors(self._endpoints, PROBE_TIMEOUT_S, until_one_connects=True)
            if errors:
                reason = next(error.strerror or str(error) for error in errors.values())
                silent = any(isinstance(error, TimeoutError) for error in errors.values())
                before = self._gone
                since_s = before.since_s if before is not None and before.silent == silent else began_s
                self._gone = _Gone(since_s, reason, silent)
            else:
                self._gone = None
            self._closed.wait(PROBE_EVERY_S)


def is_ready(port: int, cluster_id: str, timeout_s: float, access: KafkaAccess = NO_SECURITY, brokers: int = 1) -> bool:
    """Whether the embedded broker serves its cluster of so many.

    Asked by a Metadata request (version 2, of the Kafka protocol guide). A broker that still starts refuses
    connections, or leaves its own id out of the list of brokers; another broker that took the port has another cluster
    id.
    """
    request = frame(CLIENT_ID, METADATA, _METADATA_VERSION, INT32.pack(0))
    try:
        found, found_id = _decode(ask(Endpoint("127.0.0.1", port), request, timeout_s, access))
    except (OSError, struct.error, ValueError):
        return False
    return found >= brokers and found_id == cluster_id


def _decode(reply: bytes) -> tuple[int, str]:
    """How many brokers serve, and the cluster's id."""
    _, brokers = struct.unpack_from(">ii", reply)
    at = 8
    for _ in range(brokers):
        _host, at = _string(reply, at + 4)  # after the node id
        _rack, at = _string(reply, at + 4)  # after the port
    cluster_id, _ = _string(reply, at)
    return brokers, cluster_id


def _string(reply: bytes, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">h", reply, at)
    end = at + 2 + max(0, size)
    return reply[at + 2 : end].decode(), end
