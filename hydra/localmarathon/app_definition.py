"""What an app is: its definition, its canonical JSON, how an update is merged into it; ids and timestamps.

Honoured: ``id cmd args instances env labels ports portDefinitions requirePorts backoffSeconds backoffFactor
maxLaunchDelaySeconds killSelection taskKillGracePeriodSeconds upgradeStrategy fetch uris constraints
acceptedResourceRoles``; ``cpus`` and ``mem`` decide where there is room, but do not limit a task that runs.

Stored and returned, but without effect on one machine without cgroups and Docker: ``disk gpus`` (also in the tasks'
environment), ``container unreachableStrategy networks role``. An app with a Docker image is accepted; its tasks fail to
start, as on a Mesos agent without the Docker containerizer: they never run outside of their image.

Everything else (``healthChecks``, ``secrets``, ``dependencies``, another ``user``, unknown fields, ...) is refused with
422.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hydra.localmarathon.json_fields import Number


class KillSelection(Enum):
    """Which task goes first when an app has too many."""

    YOUNGEST_FIRST = "YOUNGEST_FIRST"
    OLDEST_FIRST = "OLDEST_FIRST"


@dataclass(frozen=True)
class PortDefinition:
    """One port of every task of an app."""

    port: int  # the service port: unique in this Marathon, not the port on the host unless requirePorts; 0 = not chosen
    protocol: str = "tcp"  # or "udp" or "udp,tcp"
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """The JSON object of this port."""
        named = {"name": self.name} if self.name is not None else {}
        return {"labels": dict(self.labels), **named, "port": self.port, "protocol": self.protocol}


@dataclass(frozen=True)
class FetchUri:
    """One file that a task needs."""

    uri: str
    extract: bool = True
    executable: bool = False
    cache: bool = False  # without effect
    dest_path: str | None = None

    @property
    def file_name(self) -> str:
        """Its path in the sandbox; "" if the URI does not name a file."""
        return self.dest_path or Path(unquote(urlsplit(self.uri).path)).name

    def document(self) -> dict[str, object]:
        """The JSON object in ``fetch``."""
        placed = {} if self.dest_path is None else {"destPath": self.dest_path}
        return {
            "uri": self.uri, "extract": self.extract, "executable": self.executable, "cache": self.cache, **placed
        }  # fmt: skip


@dataclass(frozen=True)
class UpgradeStrategy:
    """How far an app may shrink and grow while its tasks are replaced; shares of ``instances``."""

    minimum_health_capacity: Number = 1
    maximum_over_capacity: Number = 1


@dataclass(frozen=True)
class Versions:
    """When an app was changed; timestamps, "" before the app is accepted."""

    version: str = ""
    last_scaling_at: str = ""
    last_config_change_at: str = ""


@dataclass(frozen=True)
class AppDefinition:
    """An app as it was requested, with the defaults filled in."""

    app_id: str
    cmd: str | None = None
    args: tuple[str, ...] | None = None
    instances: int = 1
    cpus: Number = 1
    mem_mb: Number = 128
    disk_mb: Number = 0
    gpus: int = 0
    user: str | None = None
    executor: str = ""
    role: str = "*"
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortDefinition, ...] = ()
    require_ports: bool = False
    backoff_s: Number = 1
    backoff_factor: Number = 1.15
    max_launch_delay_s: Number = 300
    kill_selection: KillSelection = KillSelection.YOUNGEST_FIRST
    kill_grace_s: Number | None = None  # None: that of Mesos' command executor
    upgrade_strategy: UpgradeStrategy = UpgradeStrategy()
    fetch: tuple[FetchUri, ...] = ()
    constraints: tuple[tuple[str, ...], ...] = ()  # (field, OPERATOR) or (field, OPERATOR, value)
    accepted_roles: tuple[str, ...] = ()  # empty: not given
    echoed: Mapping[str, object] = field(default_factory=dict)  # JSON fields that are stored unchanged
    versions: Versions = Versions()

    @property
    def docker_image(self) -> str | None:
        """The image that its tasks need, None for plain processes."""
        container = self.echoed.get("container")
        docker = container.get("docker") if isinstance(container, dict) else None
        return docker.get("image") if isinstance(docker, dict) else None

    @property
    def is_single(self) -> bool:
        """Whether it may never have more than one task, not even while that is replaced."""
        return self.labels.get("MARATHON_SINGLE_INSTANCE_APP") == "true"

    def same_config(self, other: AppDefinition) -> bool:
        """Whether at most the number of instances differs, so that running tasks need not be replaced."""
        return replace(self, instances=0, versions=Versions()) == replace(other, instances=0, versions=Versions())


def app_document(app: AppDefinition) -> dict[str, object]:
    """The canonical JSON object of an app: defaults filled in, deprecated fields translated, absent ones left out.

    The PyPI client ``marathon`` 0.13.0 knows every key; it raises TypeError on any other.
    """
    optional = {
        "cmd": app.cmd,
        "args": None if app.args is None else list(app.args),
        "user": app.user,
        "taskKillGracePeriodSeconds": app.kill_grace_s,
        "acceptedResourceRoles": list(app.accepted_roles) or None,
    }
    strategy, versions = app.upgrade_strategy, app.versions
    return {
        "id": app.app_id,
        **{name: value for name, value in optional.items() if value is not None},
        "instances": app.instances,
        "cpus": app.cpus, "mem": app.mem_mb, "disk": app.disk_mb, "gpus": app.gpus,
        "executor": app.executor, "role": app.role,
        "env": dict(app.env), "labels": dict(app.labels),
        "portDefinitions": [port.document() for port in app.ports],
        "requirePorts": app.require_ports,
        "backoffSeconds": app.backoff_s, "backoffFactor": app.backoff_factor,
        "maxLaunchDelaySeconds": app.max_launch_delay_s,
        "killSelection": app.kill_selection.value,
        "upgradeStrategy": {
            "minimumHealthCapacity": strategy.minimum_health_capacity,
            "maximumOverCapacity": strategy.maximum_over_capacity,
        },
        "dependencies": [], "healthChecks": [],
        "fetch": [item.document() for item in app.fetch],
        "constraints": [list(constraint) for constraint in app.constraints],
        **app.echoed,
        "version": versions.version,
        "versionInfo": {
            "lastScalingAt": versions.last_scaling_at, "lastConfigChangeAt": versions.last_config_change_at
        },
    }  # fmt: skip


def merged_document(app: AppDefinition, update: Mapping[str, object]) -> dict[str, object]:
    """An app's document with the fields of an update merged into it; null means "leave unchanged".

    ``cmd`` replaces ``args`` and vice versa; ``ports`` replaces ``portDefinitions``, and ``uris`` ``fetch``.
    """
    given = {name: value for name, value in update.items() if value is not None}
    replaced = {"cmd": "args", "args": "cmd", "ports": "portDefinitions", "uris": "fetch"}
    dropped = {replaced[name] for name in given if name in replaced}
    kept = {name: value for name, value in app_document(app).items() if name not in dropped}
    return {**kept, **given}


def absolute_app_id(text: str) -> str:
    """``g1//x/`` and ``/g1/x`` both mean ``/g1/x``."""
    return "/" + "/".join(segment for segment in text.split("/") if segment)


def ids_below(group_id: str, app_ids: Iterable[str]) -> list[str]:
    """The ids that are in a group or in one of its subgroups."""
    return [app_id for app_id in app_ids if app_id.startswith(f"{group_id.rstrip('/')}/")]


def utc_now() -> datetime:
    """The time of day, for output only; delays are measured with the monotonic clock."""
    return datetime.now(timezone.utc)


def format_timestamp(moment: datetime) -> str:
    """``2020-01-01T00:00:00.123Z``, as Marathon writes it: these strings sort as the moments do."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def timestamp_now() -> str:
    """The time of day as Marathon writes it."""
    return format_timestamp(utc_now())
