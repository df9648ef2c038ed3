"""Groups: the folders of app ids. A group is there as long as an app is below it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hydra.localmarathon.app import App
from hydra.localmarathon.app_definition import SINGLE_INSTANCE_RULE, AppDefinition, Versions
from hydra.localmarathon.app_ids import absolute_app_id
from hydra.localmarathon.app_reading import read_app
from hydra.localmarathon.json_fields import JsonFields, Violations
from hydra.localmarathon.refusals import Violation, rules_broken


@dataclass
class GroupChange:
    """What a request wants of the apps below a group."""

    definitions: list[AppDefinition] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)


def below(group_id: str, app_ids: Iterable[str]) -> list[str]:
    """The ids that are in a group or in one of its groups."""
    return [app_id for app_id in app_ids if app_id.startswith(f"{group_id.rstrip('/')}/")]


def group_document(group_id: str, apps: Mapping[str, Mapping[str, object]], version: str) -> dict[str, object]:
    """The JSON object of a group, with all that is in it.

    Args:
        group_id: absolute.
        apps: the JSON objects of the apps, by id.
        version: of the whole tree.
    """
    prefix = f"{group_id.rstrip('/')}/"
    inside = below(group_id, apps)
    names = dict.fromkeys(app_id[len(prefix) :].split("/")[0] for app_id in inside if "/" in app_id[len(prefix) :])
    return {
        "id": group_id,
        "apps": [dict(apps[app_id]) for app_id in inside if "/" not in app_id[len(prefix) :]],
        "groups": [group_document(prefix + name, apps, version) for name in names],
        "pods": [],
        "dependencies": [],
        "version": version,
    }


def scaled(apps: Iterable[App], factor: float) -> GroupChange:
    """Every app with so many times its instances, rounded up.

    Raises:
        RequestRefusedError: 422 if that is more than one may have.
    """
    definitions = [
        replace(app.definition, instances=math.ceil(app.definition.instances * factor), versions=Versions())
        for app in apps
    ]
    too_large = [one.app_id for one in definitions if one.has_too_many_instances]
    if too_large:
        raise rules_broken([Violation("/", f"{SINGLE_INSTANCE_RULE} ({app_id})") for app_id in too_large])
    return GroupChange(definitions)


def read_group(document: object, group_id: str, known: Iterable[str], *, own_user: str) -> GroupChange:
    """What a definition of a group changes: apps and groups that a level names stay or come, the others go.

    A level that has no ``apps`` keeps its apps, one that has no ``groups`` keeps its groups.

    Args:
        document: what stood in the request.
        group_id: absolute.
        known: ids of the apps that there are.
        own_user: as for read_app.

    Raises:
        RequestRefusedError: 422.
    """
    violations = Violations()
    change = GroupChange()
    _read_level(JsonFields(document, "", violations), group_id, list(known), change, own_user)
    violations.raise_any()
    return change


def scale_factor(document: object) -> float | None:
    """``scaleBy`` of a request, None if there is none.

    Raises:
        RequestRefusedError: 422.
    """
    violations = Violations()
    fields = JsonFields(document, "", violations)
    factor = fields.number("scaleBy", 1, minimum=0) if fields.get("scaleBy") is not None else None
    violations.raise_any()
    return factor


def resolved(text: str, group_id: str) -> str:
    """An id as it is meant inside of a group: ``x`` in ``/g1`` is ``/g1/x``."""
    return absolute_app_id(text if text.startswith("/") else f"{group_id}/{text}")


def _read_level(level: JsonFields, group_id: str, known: list[str], change: GroupChange, own_user: str) -> None:
    level.refuse_unknown(frozenset({"id", "apps", "groups", "pods", "dependencies", "version"}))
    if level.get("version") is not None and level.get("apps") is None and level.get("groups") is None:
        level.broken("version", "the local Marathon rolls apps back, not groups")
    prefix = f"{group_id.rstrip('/')}/"
    named = set()
    for item in level.items("apps") or []:
        app_id = resolved(str(item.get("id") or ""), group_id) if isinstance(item, dict) else "/"
        definition = read_app({**item, "id": app_id} if isinstance(item, dict) else item, own_user=own_user)
        if not app_id.startswith(prefix):
            level.broken("apps", f"{app_id} is not below {group_id}")
        named.add(app_id)
        change.definitions.append(replace(definition, versions=Versions()))
    groups = {resolved(inner.text("id") or "", group_id): inner for inner in level.objects("groups")}
    for inner_id, inner in groups.items():
        if not inner_id.startswith(prefix):
            level.broken("groups", f"{inner_id} is not below {group_id}")
            continue
        _read_level(inner, inner_id, known, change, own_user)
    for app_id in below(group_id, known):
        is_direct = "/" not in app_id[len(prefix) :]
        is_covered = any(app_id.startswith(f"{inner_id}/") for inner_id in groups)
        list_given = level.get("apps" if is_direct else "groups") is not None
        if list_given and app_id not in named and not is_covered:
            change.deleted.append(app_id)
