"""From JSON to an AppDefinition, by the rules of Marathon 1.10; see app_definition for what is honoured."""

from __future__ import annotations

from hydra.localmarathon.app_definition import (
    OUTPUT_ONLY_FIELDS,
    SINGLE_INSTANCE_RULE,
    AppDefinition,
    KillSelection,
    PortDefinition,
    UpgradeStrategy,
)
from hydra.localmarathon.app_ids import absolute_app_id, app_id_fault
from hydra.localmarathon.constraints import read_constraints
from hydra.localmarathon.fetching import read_fetch
from hydra.localmarathon.health_checks import read_health_checks
from hydra.localmarathon.json_fields import JsonFields, Violations
from hydra.localmarathon.refusals import Violation

_KNOWN_FIELDS = OUTPUT_ONLY_FIELDS | {
    "id", "cmd", "args", "instances", "cpus", "mem", "disk", "gpus", "user", "executor", "role", "env", "labels",
    "ports", "portDefinitions", "requirePorts", "backoffSeconds", "backoffFactor", "maxLaunchDelaySeconds",
    "killSelection", "taskKillGracePeriodSeconds", "upgradeStrategy", "constraints", "healthChecks", "container",
    "acceptedResourceRoles", "unreachableStrategy", "networks", "fetch", "uris",
}  # fmt: skip
_DEFAULT_PORT = PortDefinition(port=0, name="default")


def read_app(document: object, *, own_user: str, app_id: str | None = None) -> AppDefinition:
    """Read and check an app.

    Args:
        document: what stood in the request; read-only fields (tasks, version, ...) are passed over.
        own_user: the user that tasks run as; an app that wants another one is refused.
        app_id: the absolute id from the path of the request; then the document needs none, and must not have another.

    Raises:
        RequestRefusedError: 422, with everything that is wrong.
    """
    violations = Violations()
    app = JsonFields(document, "", violations)
    app.refuse_unknown(frozenset(_KNOWN_FIELDS))
    container = app.get("container")
    definition = AppDefinition(
        app_id=_read_id(app, app_id),
        cmd=app.text("cmd"),
        args=app.texts("args"),
        instances=app.whole("instances", 1, minimum=0),
        cpus=app.number("cpus", 1, minimum=0.001),
        mem_mb=app.number("mem", 128, minimum=0),
        disk_mb=app.number("disk", 0, minimum=0),
        gpus=app.whole("gpus", 0, minimum=0),
        user=_only(app, "user", own_user),
        executor=_only(app, "executor", "", "//cmd") or "",
        role=app.text("role") or "*",
        env=_read_env(app),
        labels=app.text_map("labels"),
        ports=_read_ports(app),
        require_ports=app.flag("requirePorts", default=False),
        backoff_s=app.number("backoffSeconds", 1, minimum=0),
        backoff_factor=app.number("backoffFactor", 1.15, minimum=1),
        max_launch_delay_s=app.number("maxLaunchDelaySeconds", 300, minimum=0),
        kill_selection=KillSelection(_only(app, "killSelection", *KillSelection.__members__) or "YOUNGEST_FIRST"),
        kill_grace_s=_read_grace(app),
        upgrade_strategy=_read_upgrade_strategy(app),
        fetch=read_fetch(app),
        constraints=read_constraints(app),
        health_checks=read_health_checks(app, _port_count(app)),
        accepted_roles=app.texts("acceptedResourceRoles") or (),
        echoed=_read_echoed(app, container),
    )
    _check_whole(app, definition, has_container=container is not None)
    violations.raise_any()
    return definition


def _read_id(app: JsonFields, id_from_path: str | None) -> str:
    text = app.text("id")
    if text is None and id_from_path is None:
        app.violations.types.append(Violation("/id", "error.path.missing"))
        return "/"
    app_id = absolute_app_id(text if text is not None else id_from_path or "")
    fault = app_id_fault(app_id)
    if fault:
        app.broken("id", fault)
    elif id_from_path is not None and app_id != id_from_path:
        app.broken("id", f"must be the id of the path, '{id_from_path}': an app cannot be renamed")
    return app_id


def _read_env(app: JsonFields) -> dict[str, str]:
    env = app.text_map("env")
    for name in env:
        if not name or "=" in name:
            app.broken(f"env/{name}", "must be a name that an environment variable can have")
    return env


def _read_grace(app: JsonFields) -> int | float | None:
    if app.get("taskKillGracePeriodSeconds") is None:
        return None
    return app.number("taskKillGracePeriodSeconds", 0, minimum=0)


def _read_upgrade_strategy(app: JsonFields) -> UpgradeStrategy:
    document = app.get("upgradeStrategy")
    if document is None:
        return UpgradeStrategy()
    strategy = JsonFields(document, "/upgradeStrategy", app.violations)
    strategy.refuse_unknown(frozenset({"minimumHealthCapacity", "maximumOverCapacity"}))
    return UpgradeStrategy(
        minimum_health_capacity=strategy.number("minimumHealthCapacity", 1, minimum=0, maximum=1),
        maximum_over_capacity=strategy.number("maximumOverCapacity", 1, minimum=0, maximum=1),
    )


def _read_ports(app: JsonFields) -> tuple[PortDefinition, ...]:
    numbers, definitions = app.items("ports"), app.items("portDefinitions")
    if numbers is None and definitions is None:
        return (_DEFAULT_PORT,)
    ports = tuple(_read_port(port) for port in app.objects("portDefinitions"))
    if numbers:
        as_objects = [{"port": number} for number in numbers]
        plain = tuple(
            _read_port(JsonFields(item, f"/ports({index})", app.violations)) for index, item in enumerate(as_objects)
        )
        if definitions and [port.port for port in plain] != [port.port for port in ports]:
            app.broken("", "ports and portDefinitions must not differ where both are given")
        ports = ports or plain
    names = [port.name for port in ports if port.name is not None]
    fixed = [port.port for port in ports if port.port]
    if len(set(names)) < len(names):
        app.broken("portDefinitions", "Port names must be unique.")
    if len(set(fixed)) < len(fixed):
        app.broken("portDefinitions", "Ports must be unique.")
    return ports


def _port_count(app: JsonFields) -> int:
    numbers, definitions = app.items("ports"), app.items("portDefinitions")
    return 1 if numbers is None and definitions is None else len(definitions or numbers or ())


def _read_port(port: JsonFields) -> PortDefinition:
    port.refuse_unknown(frozenset({"port", "protocol", "name", "labels"}))
    return PortDefinition(
        port=port.whole("port", 0, minimum=0, maximum=65535),
        protocol=_only(port, "protocol", "tcp", "udp", "udp,tcp") or "tcp",
        name=port.text("name"),
        labels=port.text_map("labels"),
    )


def _read_echoed(app: JsonFields, container: object) -> dict[str, object]:
    echoed: dict[str, object] = {
        "networks": [_read_network(network) for network in app.objects("networks")] or [{"mode": "host"}],
        "unreachableStrategy": _read_unreachable_strategy(app),
    }
    if container is not None:
        echoed["container"] = _read_container(JsonFields(container, "/container", app.violations), container)
    return echoed


def _read_network(network: JsonFields) -> dict[str, object]:
    mode = _only(network, "mode", "host", "container", "container/bridge") or "container"
    name = network.text("name")
    return {"mode": mode} if name is None else {"mode": mode, "name": name}


def _read_unreachable_strategy(app: JsonFields) -> object:
    document = app.get("unreachableStrategy")
    if document is None:
        return {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0}
    if document == "disabled":
        return document
    strategy = JsonFields(document, "/unreachableStrategy", app.violations)
    return {
        "inactiveAfterSeconds": strategy.whole("inactiveAfterSeconds", 0, minimum=0),
        "expungeAfterSeconds": strategy.whole("expungeAfterSeconds", 0, minimum=0),
    }


def _read_container(container: JsonFields, document: object) -> object:
    kind = _only(container, "type", "MESOS", "DOCKER")
    docker = container.get("docker")
    if kind == "DOCKER" and docker is None:
        container.broken("docker", "not defined")
    if docker is not None and not JsonFields(docker, "/container/docker", container.violations).text("image"):
        container.broken("docker/image", "must not be empty")
    return document


def _check_whole(app: JsonFields, definition: AppDefinition, *, has_container: bool) -> None:
    has_cmd, has_args = definition.cmd is not None and len(definition.cmd) > 1, bool(definition.args)
    if (has_cmd and has_args) or not (has_cmd or has_args or has_container):
        app.broken("", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
    if definition.has_too_many_instances:
        app.broken("", SINGLE_INSTANCE_RULE)
    networks = definition.echoed["networks"]
    if definition.docker_image is None and networks != [{"mode": "host"}]:
        app.broken("networks", "the local Marathon runs plain processes on the network of the host: mode must be host")


def _only(fields: JsonFields, name: str, *allowed: str) -> str | None:
    """A string that must be one of a few; None if absent or wrong."""
    text = fields.text(name)
    if text is None or text in allowed:
        return text
    fields.broken(name, f"must be one of: {', '.join(repr(choice) for choice in allowed)}")
    return None
