"""How an API server of Kubernetes is reached: the kubeconfig of the user, or the service account of the pod we are in.

The format is that of kubectl (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/); plugins that fetch
credentials speak client.authentication.k8s.io (v1 and v1beta1), as those of EKS, GKE and AKS do.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from hydra.codec import DecodeError, decode_yaml
from hydra.engine.kube_certificates import check_authority, check_client
from hydra.errors import HydraError, KubernetesError, UsageError
from hydra.files.atomic_write import reason_of, write_secret
from hydra.files.bounded_command import run_bounded
from hydra.files.bounded_read import read_bounded
from hydra.files.folders import make_run_folder, new_run_folder, remove_run_folder

MAX_FILE_BYTES = 4 * 1024 * 1024
PLUGIN_TIMEOUT_S = 60.0
"""A plugin may ask an identity provider."""

KEYS = {
    "ca.crt": "certificate-authority-data", "client.crt": "client-certificate-data", "client.key": "client-key-data",
    "plugin.crt": "clientCertificateData of its plugin", "plugin.key": "clientKeyData of its plugin",
}  # fmt: skip
"""What a private file was in the kubeconfig."""

EXPIRES_EARLY_S = 30.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
EXEC_VERSIONS = {"client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"}

T = TypeVar("T")


class _Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _Variable(msgspec.Struct, frozen=True):
    name: str
    value: str = ""


class _Plugin(msgspec.Struct, frozen=True, rename="camel"):
    command: str
    api_version: str = ""
    args: tuple[str, ...] | None = None
    env: tuple[_Variable, ...] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False


class _User(msgspec.Struct, frozen=True, rename="kebab"):
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    username: str = ""
    password: str = ""
    plugin: _Plugin | None = msgspec.field(default=None, name="exec")
    auth_provider: object = None


class _Context(msgspec.Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: _User


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: _Context


class _Kubeconfig(msgspec.Struct, frozen=True, rename="kebab"):
    current_context: str = ""
    clusters: tuple[_NamedCluster, ...] | None = None
    users: tuple[_NamedUser, ...] | None = None
    contexts: tuple[_NamedContext, ...] | None = None


class _PluginStatus(msgspec.Struct, frozen=True, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _Credential(msgspec.Struct, frozen=True):
    status: _PluginStatus


class KubernetesAccess:
    """What connections to one API server need. ``close`` removes the files that were made of its certificates."""

    def __init__(
        self, context: str, namespace: str, cluster: _Cluster, user: _User, folder: Path, *, user_folder: Path
    ) -> None:
        self.context = context
        """Its name in the kubeconfig; empty within a pod."""
        self.namespace = namespace
        self.server = cluster.server.rstrip("/")
        self.proxy = cluster.proxy_url
        self._cluster, self._user, self._folder, self._user_folder = cluster, user, folder, user_folder
        self._private: Path | None = None
        self._removal: weakref.finalize[[Path], KubernetesAccess] | None = None
        """Removes our files; at the latest when this process ends."""
        self._checked = False
        self._plugin_status: _PluginStatus | None = None
        self._one_at_a_time = threading.Lock()
        self.granted: set[tuple[str, ...]] = set()
        """What any of the connections was let do."""
        self.away_s = float("-inf")
        """When one of them could not reach the server last (monotonic clock)."""
        self.verify: str | bool = not cluster.insecure_skip_tls_verify
        try:
            if self.verify:
                data, path = cluster.certificate_authority_data, cluster.certificate_authority
                self.verify = self._file(data, path, "ca.crt", folder) or True
            certificate = self._file(user.client_certificate_data, user.client_certificate, "client.crt", user_folder)
            key = self._file(user.client_key_data, user.client_key, "client.key", user_folder)
        except HydraError:
            self.close()
            raise
        self._certificate = (certificate, key) if certificate and key else None

    @property
    def certificate(self) -> tuple[str, str] | None:
        """The files of the client's certificate and key, where it has some."""
        return self._certificate

    def check(self) -> None:
        """Look once whether the certificates can be used, before a connection fails by them.

        Raises:
            UsageError: they cannot, or have expired.
        """
        if self._checked:
            return
        try:
            if isinstance(self.verify, str):
                check_authority(self.verify, self._named(self.verify))
            if self._certificate is not None:
                user = self._user
                others = user.token or user.token_file or user.username or user.plugin
                certificate, key = self._certificate
                check_client(certificate, key, (self._named(certificate), self._named(key)), alone=not others)
        except UsageError:
            self.close()
            raise
        self._checked = True

    def authorization(self, *, renew: bool = False) -> str:
        """The Authorization header; empty where a certificate says who we are.

        Args:
            renew: the last one was refused.

        Raises:
            KubernetesError: the plugin failed, or the token's file cannot be read.
        """
        user = self._user
        if user.plugin is not None:
            with self._one_at_a_time:
                token = self._from_plugin(user.plugin, renew=renew)
        elif user.token_file:
            try:
                token = read_bounded(self._user_folder / user.token_file, MAX_FILE_BYTES).decode().strip()
            except (OSError, ValueError) as error:
                raise KubernetesError(f"the token in {user.token_file} cannot be read ({error})") from error
        else:
            token = user.token
        if token:
            return f"Bearer {token}"
        if user.username:
            return f"Basic {base64.b64encode(f'{user.username}:{user.password}'.encode()).decode()}"
        return ""

    def close(self) -> None:
        """Remove the files; harmless the second time."""
        if self._removal is not None:
            self._removal()

    def _file(self, data: str, path: str, name: str, folder: Path) -> str:
        """The path of a file of the kubeconfig, or of a private one with the data that stands in it."""
        if not data:
            return str(folder / path) if path else ""
        try:
            file = self._private_folder() / name
            file.unlink(missing_ok=True)
            write_secret(file, base64.b64decode(data, validate=True))
        except (OSError, ValueError) as error:
            raise UsageError(f"the {KEYS[name]} in the kubeconfig cannot be used ({error})") from error
        return str(file)

    def _private_folder(self) -> Path:
        """The folder of our files, with its owner: the next start removes it where we were killed."""
        if self._private is None:
            self._private = new_run_folder("hydra-kube")
            self._removal = weakref.finalize(self, remove_run_folder, self._private)
            make_run_folder(self._private)
        return self._private

    def _named(self, file: str) -> str:
        """A file as whoever has written the kubeconfig knows it."""
        path = Path(file)
        return KEYS[path.name] if path.parent == self._private else file

    def _from_plugin(self, plugin: _Plugin, *, renew: bool) -> str:
        status = self._plugin_status
        if status is not None and status.expiration_timestamp is not None:
            left_s = (status.expiration_timestamp - datetime.now(timezone.utc)).total_seconds()
            renew = renew or left_s < EXPIRES_EARLY_S
        if status is None or renew:
            status = self._plugin_status = self._run_plugin(plugin)
            if status.client_certificate_data and status.client_key_data:
                pairs = ((status.client_certificate_data, "plugin.crt"), (status.client_key_data, "plugin.key"))
                certificate, key = (
                    self._file(base64.b64encode(text.encode()).decode(), "", name, self._user_folder)
                    for text, name in pairs
                )
                self._certificate = (certificate, key)
        return status.token

    def _run_plugin(self, plugin: _Plugin) -> _PluginStatus:
        if plugin.api_version not in EXEC_VERSIONS:
            raise KubernetesError(f"the plugin {plugin.command} speaks {plugin.api_version or 'no version'}, not v1")
        told: dict[str, object] = {"interactive": False}
        if plugin.provide_cluster_info:
            told["cluster"] = {
                "server": self.server,
                "certificate-authority-data": self._cluster.certificate_authority_data,
            }
        info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": told}
        variables = {each.name: each.value for each in plugin.env or ()}
        variables["KUBERNETES_EXEC_INFO"] = msgspec.json.encode(info).decode()
        # A path with a slash is relative to the kubeconfig; a bare name is looked up in PATH.
        command = str(self._user_folder / plugin.command) if "/" in plugin.command else plugin.command
        words = [command, *(plugin.args or ())]
        try:
            ended = run_bounded(words, timeout_s=PLUGIN_TIMEOUT_S, most_bytes=MAX_FILE_BYTES, variables=variables)
        except subprocess.TimeoutExpired as error:
            raise KubernetesError(f"the plugin {command} gave no answer within {PLUGIN_TIMEOUT_S:g} s") from error
        except (OSError, ValueError) as error:
            hint = " ".join(plugin.install_hint.split())
            raise KubernetesError(f"the plugin {command} does not start ({reason_of(error)})", hint=hint) from error
        if ended.status != 0:
            last = " | ".join(ended.errors.decode(errors="replace").strip().splitlines()[-3:])
            raise KubernetesError(f"the plugin {command} ended with code {ended.status} ({last})")
        try:
            return msgspec.json.decode(ended.output, type=_Credential).status
        except msgspec.MsgspecError as error:
            raise KubernetesError(f"the plugin {command} printed no ExecCredential ({error})") from error


def kubernetes_access(
    context: str | None, namespace: str | None, environment: Mapping[str, str] = os.environ
) -> KubernetesAccess:
    """The access that the environment gives: KUBECONFIG or ~/.kube/config, else the service account of this pod.

    Raises:
        UsageError: there is none, it cannot be read, or has no such context.
    """
    named = environment.get("KUBECONFIG", "")
    files = [Path(part) for part in named.split(os.pathsep) if part]
    if not files:
        with contextlib.suppress(RuntimeError):  # a user without a home folder, as pods have them
            files = [Path.home() / ".kube" / "config"]
    present = [file.absolute() for file in files if _is_there(file)]
    if not present:
        if context is None and (SERVICE_ACCOUNT / "token").exists() and "KUBERNETES_SERVICE_HOST" in environment:
            return _of_service_account(namespace, environment)
        where = ", ".join(str(file) for file in files) or f"user {os.getuid()} has no home folder"
        raise UsageError(f"there is no kubeconfig ({where})", hint="set KUBECONFIG, as for kubectl")
    read = [(file, _read_kubeconfig(file)) for file in present]
    name = context or next((config.current_context for _file, config in read if config.current_context), "")
    origin = ", ".join(str(file) for file in present)
    if not name:
        raise UsageError(f"{origin} has no current-context", hint="give --kube_context")
    # As kubectl has it: of two entries with one name the first counts.
    found = _first({each.name: each.context for each in config.contexts or ()}.get(name) for _f, config in read)
    if found is None:
        known = sorted(each.name for _file, config in read for each in config.contexts or ())
        raise UsageError(f"{origin} has no context {name}", hint=f"it has {', '.join(known) or 'none'}")
    for file, config in read:
        clusters = {each.name: each.cluster for each in config.clusters or ()}
        if (cluster := clusters.get(found.cluster)) is not None:
            user, user_file = _user_of(found, read)
            if user is None:
                raise UsageError(f"{origin}: the context {name} names the user {found.user!r}, which is not there")
            _check_supported(cluster, user, origin)
            place = namespace or found.namespace or "default"
            return KubernetesAccess(name, place, cluster, user, file.parent, user_folder=user_file.parent)
    raise UsageError(f"{origin}: the context {name} names the cluster {found.cluster!r}, which is not there")


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return True  # reading it tells what is wrong


def _user_of(context: _Context, read: Sequence[tuple[Path, _Kubeconfig]]) -> tuple[_User | None, Path]:
    """The user of a context, with the file whose folder its paths are relative to; nobody where none is named."""
    for file, config in read:
        if (user := {each.name: each.user for each in config.users or ()}.get(context.user)) is not None:
            return user, file
    return (None if context.user else _User()), read[0][0]


def _first(found: Iterable[T | None]) -> T | None:
    return next((each for each in found if each is not None), None)


def _check_supported(cluster: _Cluster, user: _User, origin: str) -> None:
    if not _is_url(cluster.server):
        raise UsageError(f"{origin}: the cluster's server is {cluster.server!r}, not a URL")
    if cluster.tls_server_name:
        raise UsageError(f"{origin}: tls-server-name is not supported", hint="name the server as its certificate does")
    if cluster.proxy_url and not cluster.proxy_url.startswith(("https://", "http://")):
        kind = cluster.proxy_url.partition(":")[0]
        raise UsageError(f"{origin}: a proxy-url of {kind} is not supported", hint="use a proxy that speaks HTTP")
    if cluster.proxy_url and not _is_url(cluster.proxy_url):  # which may have a password in it
        raise UsageError(f"{origin}: the cluster's proxy-url is not a URL", hint="give it as http://HOST:PORT")
    if bool(user.client_certificate or user.client_certificate_data) != bool(user.client_key or user.client_key_data):
        raise UsageError(f"{origin}: of the user's client-certificate and client-key one is missing")
    if user.auth_provider is not None and user.plugin is None:
        raise UsageError(f"{origin}: auth-provider is not supported", hint="use an exec plugin, as kubectl does now")


def _is_url(text: str) -> bool:
    with contextlib.suppress(ValueError):
        parts = urlsplit(text)
        return parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.port != 0
    return False


def _of_service_account(namespace: str | None, environment: Mapping[str, str]) -> KubernetesAccess:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    cluster = _Cluster(server=server, certificate_authority=str(SERVICE_ACCOUNT / "ca.crt"))
    user = _User(token_file=str(SERVICE_ACCOUNT / "token"))
    if namespace is None:
        try:
            namespace = read_bounded(SERVICE_ACCOUNT / "namespace", MAX_FILE_BYTES).decode().strip()
        except (OSError, ValueError) as error:
            text = f"the namespace of this pod's service account cannot be read ({reason_of(error)})"
            raise UsageError(text, hint="give --kube_namespace") from error
    return KubernetesAccess("", namespace, cluster, user, SERVICE_ACCOUNT, user_folder=SERVICE_ACCOUNT)


def _read_kubeconfig(file: Path) -> _Kubeconfig:
    try:
        content = read_bounded(file, MAX_FILE_BYTES)
        return msgspec.convert(_without_nulls(decode_yaml(content)) or {}, _Kubeconfig)
    except DecodeError as error:
        raise UsageError(f"the kubeconfig {file} cannot be read ({error.message})") from error
    except (OSError, ValueError) as error:
        reason = " ".join(reason_of(error).split())
        raise UsageError(f"the kubeconfig {file} cannot be read ({reason})") from error


def _without_nulls(value: object) -> object:
    """What kubectl takes for left out is left out."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value if each is not None] if isinstance(value, list) else value
