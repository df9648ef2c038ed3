"""Paths that stand for a descriptor of this process: /dev/stdin, /dev/stdout, what a shell makes of ``<(...)``."""

from __future__ import annotations

import os
import re
from pathlib import Path

MAX_LINKS = 40
_OWN_DESCRIPTOR = re.compile(r"/proc/(?:self|thread-self|\d+/task/\d+|\d+)/fd/(\d+)")


def descriptor_of(path: Path) -> int | None:
    """The descriptor of this process that a path such as /dev/stdout or /dev/fd/5 stands for; None for any other."""
    place = os.path.abspath(path)  # noqa: PTH100  # what Path.resolve does would follow the last link
    for _ in range(MAX_LINKS):
        place = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))  # noqa: PTH118, PTH119, PTH120
        if match := _OWN_DESCRIPTOR.fullmatch(place):
            return int(match[1]) if place.startswith(("/proc/self/", f"/proc/{os.getpid()}/")) else None
        if not os.path.islink(place):  # noqa: PTH114
            return None
        place = os.path.join(os.path.dirname(place), os.readlink(place))  # noqa: PTH115, PTH118, PTH120
    return None
