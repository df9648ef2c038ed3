"""From JSON to an AppDefinition, by the rules of Marathon 1.10; app_definition says what is supported."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.localmarathon.app_definition import (
    AppDefinition,
    FetchUri,
    KillSelection,
    PortDefinition,
    UpgradeStrategy,
    absolute_app_id,
)
from hydra.localmarathon.json_fields import JsonFields, Number, Violations

_KNOWN_FIELDS = {
    "id", "cmd", "args", "instances", "cpus", "mem", "disk", "gpus", "user", "executor", "role", "env", "labels",
    "ports", "portDefinitions", "requirePorts", "backoffSeconds", "backoffFactor", "maxLaunchDelaySeconds",
    "killSelection", "taskKillGracePeriodSeconds", "upgradeStrategy", "constraints", "container",
    "acceptedResourceRoles", "unreachableStrategy", "networks", "fetch", "uris",
    # Only in responses: ignored in requests.
    "version", "versionInfo", "deployments", "tasks", "tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy",
    "lastTaskFailure", "readinessCheckResults", "taskStats",
}  # fmt: skip
_ID_PATTERN = r"^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])|(\.|\.\.)$"
_ID_SEGMENT = re.compile(r"(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])")
_RESERVED_IDS = ("restart", "tasks", "versions", ".", "..")
_DEFAULT_PORT = PortDefinition(port=0, name="default")
_DOCKER_NETWORKS = ("BRIDGE", "HOST", "NONE", "USER")
_ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".gz", ".zip")
_NO_UNPACKING = 'the local Marathon does not support unpacking archives: use "fetch" with "extract": false'
_OPERATORS = ("UNIQUE", "CLUSTER", "GROUP_BY", "LIKE", "UNLIKE", "MAX_PER", "IS")
_OPERATORS_WITH_VALUE = ("LIKE", "UNLIKE", "MAX_PER", "IS")


def parse_app(document: object, *, own_user: str, app_id: str | None = None) -> AppDefinition:
    """Parse and check an app.

    Args:
        document: the body of the request; read-only fields (tasks, version, ...) are ignored.
        own_user: the user that tasks run as; an app that names another one is refused.
        app_id: the absolute id from the path of the request; the document's own is ignored then.

    Raises:
        RequestRefusedError: 422, with everything that is wrong.
    """
    violations = Violations()
    app = JsonFields(document, "", violations)
    app.refuse_unknown(_KNOWN_FIELDS)
    app_id = _parse_id(app, app_id)
    role = _parse_role(app, app_id)
    definition = AppDefinition(
        app_id=app_id,
        cmd=app.text("cmd"),
        args=app.texts("args"),
        instances=app.whole("instances", 1, minimum=0),
        cpus=app.number("cpus", 1, minimum=0.001),
        mem_mb=app.number("mem", 128, minimum=0),
        disk_mb=app.number("disk", 0, minimum=0),
        gpus=app.whole("gpus", 0, minimum=0),
        user=app.choice("user", own_user),
        executor=app.choice("executor", "", "//cmd") or "",
        role=role,
        env=_parse_env(app),
        labels=app.text_map("labels"),
        ports=_parse_ports(app),
        require_ports=app.flag("requirePorts", default=False),
        backoff_s=app.number("backoffSeconds", 1, minimum=0),
        backoff_factor=app.number("backoffFactor", 1.15, minimum=1),
        max_launch_delay_s=app.number("maxLaunchDelaySeconds", 300, minimum=0),
        kill_selection=KillSelection(app.choice("killSelection", *KillSelection.__members__) or "YOUNGEST_FIRST"),
        kill_grace_s=_parse_grace(app),
        upgrade_strategy=_parse_upgrade_strategy(app),
        fetch=_parse_fetch(app),
        constraints=_parse_constraints(app),
        accepted_roles=_parse_accepted_roles(app, role),
        echoed=_parse_echoed(app),
    )
    _check_combinations(app, definition)
    violations.raise_any()
    return definition


def _parse_id(app: JsonFields, id_from_path: str | None) -> str:
    text = id_from_path or app.text("id")
    if text is None:
        app.missing("id")
        return "/"
    app_id = absolute_app_id(text)
    error = _id_error(app_id)
    if error:
        app.violate("id", error)
    return app_id


def _id_error(app_id: str) -> str | None:
    segments = app_id.split("/")[1:]
    if segments == [""]:
        return "must not be the root path"
    if segments[-1] in _RESERVED_IDS:
        return f"must not end with any of the reserved words: {', '.join(_RESERVED_IDS)}"
    if all(_ID_SEGMENT.fullmatch(segment) for segment in segments):
        return None
    return f"must fully match regular expression '{_ID_PATTERN}'"


def _parse_role(app: JsonFields, app_id: str) -> str:
    """``*``, or the name of the top-level group that the app is in."""
    top_level_groups = app_id.split("/")[1:-1][:1]
    return app.choice("role", "*", *top_level_groups) or "*"


def _parse_accepted_roles(app: JsonFields, role: str) -> tuple[str, ...]:
    roles = app.texts("acceptedResourceRoles")
    if roles is not None and not roles:
        app.violate("acceptedResourceRoles", "must not be empty")
    elif not {*(roles or ())} <= {"*", role}:
        app.violate("acceptedResourceRoles", f"can contain only '*' and the role of the app, '{role}'")
    return roles or ()


def _parse_env(app: JsonFields) -> dict[str, str]:
    env = app.text_map("env")
    for name in env:
        if not name or "=" in name:
            app.violate(f"env/{name}", "must be a valid name of an environment variable")
    return env


def _parse_grace(app: JsonFields) -> Number | None:
    if app.get("taskKillGracePeriodSeconds") is None:
        return None
    return app.number("taskKillGracePeriodSeconds", 0, minimum=0)


def _parse_upgrade_strategy(app: JsonFields) -> UpgradeStrategy:
    strategy = app.nested("upgradeStrategy")
    if strategy is None:
        return UpgradeStrategy()
    strategy.refuse_unknown({"minimumHealthCapacity", "maximumOverCapacity"})
    return UpgradeStrategy(
        minimum_health_capacity=strategy.number("minimumHealthCapacity", 1, minimum=0, maximum=1),
        maximum_over_capacity=strategy.number("maximumOverCapacity", 1, minimum=0, maximum=1),
    )


def _parse_ports(app: JsonFields) -> tuple[PortDefinition, ...]:
    numbers, definitions = app.items("ports"), app.items("portDefinitions")
    if numbers is None and definitions is None:
        return (_DEFAULT_PORT,)
    ports = tuple(_parse_port(port) for port in app.objects("portDefinitions"))
    if numbers:
        plain = tuple(
            _parse_port(JsonFields({"port": number}, f"/ports({index})", app.violations))
            for index, number in enumerate(numbers)
        )
        if definitions and [port.port for port in plain] != [port.port for port in ports]:
            app.violate("", "ports and portDefinitions must not differ where both are given")
        ports = ports or plain
    names = [port.name for port in ports if port.name is not None]
    fixed = [port.port for port in ports if port.port]
    if len(set(names)) < len(names):
        app.violate("portDefinitions", "Port names must be unique.")
    if len(set(fixed)) < len(fixed):
        app.violate("portDefinitions", "Ports must be unique.")
    return ports


def _parse_port(port: JsonFields) -> PortDefinition:
    port.refuse_unknown({"port", "protocol", "name", "labels"})
    return PortDefinition(
        port=port.whole("port", 0, minimum=0, maximum=65535),
        protocol=port.choice("protocol", "tcp", "udp", "udp,tcp") or "tcp",
        name=port.text("name"),
        labels=port.text_map("labels"),
    )


def _parse_fetch(app: JsonFields) -> tuple[FetchUri, ...]:
    """``fetch``, or the older ``uris``."""
    uris, items = app.texts("uris") or (), app.objects("fetch")
    # A client that reads an app and writes it back may send the fetch it has read beside the uris it has set.
    if uris and items and list(uris) != [item.text("uri") for item in items]:
        app.violate("", "AppDefinition must either contain 'fetch' or 'uris', not both")
    if items:
        return tuple(_parse_fetch_item(item) for item in items)
    for index, uri in enumerate(uris):
        if _is_archive(FetchUri(uri)):
            app.violate(f"uris({index})", _NO_UNPACKING)
    return tuple(FetchUri(uri, extract=False) for uri in uris)


def _parse_fetch_item(item: JsonFields) -> FetchUri:
    item.refuse_unknown({"uri", "extract", "executable", "cache", "destPath"})
    uri, dest_path = item.text("uri"), item.text("destPath")
    if uri is None:
        item.missing("uri")
    if dest_path is not None and (Path(dest_path).is_absolute() or ".." in Path(dest_path).parts):
        item.violate("destPath", "must be a relative path inside the sandbox")
    fetched = FetchUri(
        uri=uri or "",
        extract=item.flag("extract", default=True),
        executable=item.flag("executable", default=False),
        cache=item.flag("cache", default=False),
        dest_path=dest_path,
    )
    if fetched.extract and not fetched.executable and _is_archive(fetched):
        item.violate("extract", _NO_UNPACKING)
    return fetched


def _is_archive(item: FetchUri) -> bool:
    """Whether a cluster would unpack the file, by the suffix of its name."""
    try:
        return item.file_name.lower().endswith(_ARCHIVE_SUFFIXES)
    except ValueError:
        return False  # an invalid URI: fetching it will fail


def _parse_constraints(app: JsonFields) -> tuple[tuple[str, ...], ...]:
    """``((field, OPERATOR, value?), ...)`` with the operator in upper case."""
    constraints = []
    for index, item in enumerate(app.items("constraints") or []):
        name = f"constraints({index})"
        if not isinstance(item, list) or len(item) not in (2, 3) or not all(isinstance(part, str) for part in item):
            app.violate(name, "Each constraint must have either 2 or 3 fields")
            continue
        field, operator, *value = item
        operator = operator.upper()
        error = _constraint_error(operator, value[0] if value else "")
        if error:
            app.violate(name, error)
        constraints.append((field, operator, *value))
    return tuple(constraints)


def _constraint_error(operator: str, value: str) -> str | None:
    """Why a constraint is invalid, None if it is valid; the value is "" if there is none."""
    if operator not in _OPERATORS:
        return "operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS"
    if operator == "UNIQUE" and value:
        return "UNIQUE does not accept a value"
    if operator in _OPERATORS_WITH_VALUE and not value:
        return f"{operator} requires a value"
    if operator in ("MAX_PER", "GROUP_BY") and value and not re.fullmatch("[0-9]{1,9}", value):
        return f"{operator} requires an integer value"
    if operator in ("LIKE", "UNLIKE") and not _is_pattern(value):
        return f"Constraint value {value} is not a valid regular expression"
    return None


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _parse_echoed(app: JsonFields) -> dict[str, object]:
    echoed: dict[str, object] = {
        "networks": [_parse_network(network) for network in app.objects("networks")] or [{"mode": "host"}],
        "unreachableStrategy": _parse_unreachable_strategy(app),
    }
    container = app.nested("container")
    if container is not None:
        _check_container(container)
        echoed["container"] = app.get("container")
    return echoed


def _parse_network(network: JsonFields) -> dict[str, object]:
    mode = network.choice("mode", "host", "container", "container/bridge") or "container"
    name = network.text("name")
    return {"mode": mode} if name is None else {"mode": mode, "name": name}


def _parse_unreachable_strategy(app: JsonFields) -> object:
    if app.get("unreachableStrategy") == "disabled":
        return "disabled"
    strategy = app.nested("unreachableStrategy")
    names = ("inactiveAfterSeconds", "expungeAfterSeconds")
    return {name: 0 if strategy is None else strategy.whole(name, 0, minimum=0) for name in names}


def _check_container(container: JsonFields) -> None:
    kind, docker = container.choice("type", "MESOS", "DOCKER"), container.nested("docker")
    if docker is not None:
        docker.choice("network", *_DOCKER_NETWORKS)
        if not docker.text("image"):
            docker.violate("image", "must not be empty")
    elif kind == "DOCKER":
        container.violate("docker", "not defined")
    else:
        container.refuse_unknown({"type"})


def _check_combinations(app: JsonFields, definition: AppDefinition) -> None:
    has_cmd, has_args = definition.cmd is not None and len(definition.cmd) > 1, bool(definition.args)
    if (has_cmd and has_args) or not (has_cmd or has_args or "container" in definition.echoed):
        app.violate("", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
    if definition.is_single and definition.instances > 1:
        app.violate("", "Single instance app may only have one instance")
    if definition.docker_image is None and definition.echoed["networks"] != [{"mode": "host"}]:
        app.violate("networks", "the local Marathon supports only the network of the host: mode must be host")
