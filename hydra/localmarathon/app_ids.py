"""App ids: absolute paths such as ``/g1/kafka-sub``, and the beginning of a task's id that is made from one."""

from __future__ import annotations

import re

_SEGMENT_PATTERN = r"^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])|(\.|\.\.)$"
_SEGMENT = re.compile(r"(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])")
_RESERVED = ("restart", "tasks", "versions", ".", "..")


def absolute_app_id(text: str) -> str:
    """``g1//x/`` and ``/g1/x`` both mean ``/g1/x``."""
    return "/" + "/".join(segment for segment in text.split("/") if segment)


def app_id_fault(app_id: str) -> str | None:
    """Why an absolute id cannot be that of an app, None if it can."""
    segments = app_id.split("/")[1:]
    if segments == [""]:
        return "must not be the root path"
    if segments[-1] in _RESERVED:
        return f"must not end with any of the reserved words: {', '.join(_RESERVED)}"
    if all(_SEGMENT.fullmatch(segment) for segment in segments):
        return None
    return f"must fully match regular expression '{_SEGMENT_PATTERN}'"


def task_id_prefix(app_id: str) -> str:
    """``/g1/kafka-sub`` -> ``g1_kafka-sub``."""
    return app_id[1:].replace("/", "_")
