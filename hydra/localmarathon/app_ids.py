"""App ids: absolute paths such as ``/g1/kafka-sub``; the groups that contain them, and the names made from them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SEGMENT_PATTERN = r"^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])|(\.|\.\.)$"
_SEGMENT = re.compile(r"(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])")
_RESERVED = ("restart", "tasks", "versions", ".", "..")


def absolute_app_id(text: str) -> str:
    """``g1//x/`` and ``/g1/x`` both mean ``/g1/x``."""
    return "/" + "/".join(segment for segment in text.split("/") if segment)


def app_id_error(app_id: str) -> str | None:
    """Why an absolute id is not a valid app id, None if it is."""
    segments = app_id.split("/")[1:]
    if segments == [""]:
        return "must not be the root path"
    if segments[-1] in _RESERVED:
        return f"must not end with any of the reserved words: {', '.join(_RESERVED)}"
    if all(_SEGMENT.fullmatch(segment) for segment in segments):
        return None
    return f"must fully match regular expression '{_SEGMENT_PATTERN}'"


def ids_below(group_id: str, app_ids: Iterable[str]) -> list[str]:
    """The ids that are in a group or in one of its subgroups."""
    return [app_id for app_id in app_ids if app_id.startswith(f"{group_id.rstrip('/')}/")]


def task_id_prefix(app_id: str) -> str:
    """``/g1/kafka-sub`` -> ``g1_kafka-sub``."""
    return app_id[1:].replace("/", "_")


def mesos_task_name(app_id: str) -> str:
    """``/g1/kafka-sub`` -> ``kafka-sub.g1``."""
    return ".".join(reversed(app_id[1:].split("/")))
