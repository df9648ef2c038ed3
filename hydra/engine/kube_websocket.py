"""WebSockets to pods: the API server's port-forward, each a connection to a port of the pod's own 127.0.0.1.

The protocol is ``v4.channel.k8s.io``, which API servers pass on to the kubelet of the pod's node (k8s.io/cri-streaming,
portforward/websocket.go). Each message begins with the number of a channel: 0 has the bytes, 1 says in words what went
wrong. Each channel begins with the port (16 bits). There is no half-close: when one end closes, all is closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import aiohttp
from urllib3.util import create_urllib3_context

from hydra.engine.kube_access import KubernetesAccess
from hydra.engine.kube_connection import Route
from hydra.engine.kube_refusals import ROLE_HINT, KubernetesUnavailableError, refusal, without_credentials
from hydra.errors import KubernetesError

SUBPROTOCOL = "v4.channel.k8s.io"
DATA, ERROR = 0, 1
PORT_BYTES = 2

OPEN_TIMEOUT_S = 10.0
GOODBYE_S = 1.0
"""How long a WebSocket that we close is waited for."""

HEARTBEAT_S = 20.0
"""A WebSocket is asked for a sign of life that often, so that no proxy on the way takes it for idle."""

MAX_OPENING = 32
REFUSAL_LIMIT_BYTES = 64 * 1024
ERROR_LIMIT_BYTES = 500

WebSocket: TypeAlias = "aiohttp.ClientWebSocketResponse[bool]"


class PodWebSockets:
    """Opens WebSockets, a few at a time, within ``connected``. For one event loop.

    Args:
        access: how the API server lets us in.
        route: how it is reached.
        port: of the pods.
    """

    def __init__(self, access: KubernetesAccess, route: Route, port: int) -> None:
        self._access, self._route, self._port = access, route, port
        self._room, self._renewing = asyncio.Semaphore(MAX_OPENING), asyncio.Lock()
        self._tls: tuple[object, ssl.SSLContext | None] = (None, None)
        self._session: aiohttp.ClientSession

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Within it they can be opened; all are closed at its end."""
        tracing = aiohttp.TraceConfig()
        tracing.on_request_redirect.append(_refuse_redirect)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            raise_for_status=self._check_response,
            trace_configs=[tracing],
            timeout=aiohttp.ClientTimeout(total=None),
        ) as self._session:
            yield

    async def open(self, pod: str) -> WebSocket:
        """One to a pod.

        Raises:
            KubernetesUnavailableError: the API server cannot be reached, or has a problem.
            KubernetesError: it refused, or the plugin of the kubeconfig failed.
        """
        async with self._room:
            try:
                return await asyncio.wait_for(self._connect(pod), OPEN_TIMEOUT_S)
            except asyncio.TimeoutError:
                reason = f"no response within {OPEN_TIMEOUT_S:g} s"
            except (aiohttp.ClientError, OSError) as error:
                reason = _reason(error)
        raise KubernetesUnavailableError(f"the API server at {self._access.server} cannot be reached ({reason})")

    async def _connect(self, pod: str) -> WebSocket:
        header = await self._authorization()
        try:
            return await self._upgrade(pod, header)
        except KubernetesError as error:
            if error.status != 401:
                raise
        return await self._upgrade(pod, await self._authorization(refused=header))

    async def _authorization(self, refused: str | None = None) -> str:
        """The header; a new one, unless another connection has got one since this one was ``refused``."""
        loop = asyncio.get_running_loop()
        async with self._renewing:
            header = await loop.run_in_executor(None, self._access.authorization)
            if header == refused:
                header = await loop.run_in_executor(None, partial(self._access.authorization, renew=True))
            return header

    async def _upgrade(self, pod: str, header: str) -> WebSocket:
        path = f"/api/v1/namespaces/{self._access.namespace}/pods/{quote(pod)}/portforward?ports={self._port}"
        return await self._session.ws_connect(
            self._access.server + path,
            protocols=[SUBPROTOCOL],
            headers={"Authorization": header} if header else {},
            proxy=self._route.proxy,
            ssl=self._tls_context(),
            heartbeat=HEARTBEAT_S,
            timeout=aiohttp.ClientWSTimeout(ws_close=GOODBYE_S),
        )

    def _tls_context(self) -> ssl.SSLContext:
        """TLS as requests has it. Made again when a plugin has brought another certificate."""
        certificate, verify = self._access.certificate, self._route.verify
        made_of = (certificate, *(Path(file).stat().st_mtime_ns for file in certificate or ()))
        known, context = self._tls
        if context is None or made_of != known:
            context = create_urllib3_context()
            if verify is None:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            elif Path(verify).is_dir():
                context.load_verify_locations(capath=verify)
            else:
                context.load_verify_locations(cafile=verify)
            if certificate is not None:
                context.load_cert_chain(*certificate)
            self._tls = (made_of, context)
        return context

    async def _check_response(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 101:
            return
        content = await response.content.read(REFUSAL_LIMIT_BYTES)
        response.close()
        what = "forward a port of a pod (create and get pods/portforward)"
        error = refusal(self._access.server, what, response.status, content, response.headers)
        if error.status == 403 and not error.hint:  # some of these say nothing more
            raise KubernetesError(error.message, hint=ROLE_HINT, status=403)
        raise error


class PodStream:
    """What a WebSocket brings from a pod, without channels and ports."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._begun: set[int] = set()
        self.error = ""
        """Why the pod's port is not reached, in the words of its node."""

    async def read(self) -> bytes:
        """The next bytes of the pod; none once one of the ends is closed."""
        async for message in self._websocket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, content = message.data[0], message.data[1:]
            if channel not in self._begun:
                self._begun.add(channel)
                content = content[PORT_BYTES:]
            if content and channel == ERROR:
                self.error = " ".join(content[:ERROR_LIMIT_BYTES].decode(errors="replace").split())
            elif content and channel == DATA:
                return bytes(content)
        return b""


async def send(websocket: WebSocket, content: bytes) -> None:
    """Send bytes to the pod."""
    await websocket.send_bytes(bytes((DATA,)) + content)


def _reason(error: Exception) -> str:
    """Why there is no connection, without the name and password that a proxy's URL may have."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"its proxy says HTTP {error.status} {error.message}"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return without_credentials(text)


async def _refuse_redirect(*_arguments: object) -> None:
    """Our secrets are not for others."""
    raise KubernetesError("the API server sends us elsewhere (HTTP 3xx)", hint="see the server in the kubeconfig")
