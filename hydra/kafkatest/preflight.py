"""Whether this machine can hold a run: every limit that a run of its size would meet, looked at before anything starts.

What a run needs is estimated from its options; what there is, is read from the system. The comparison is pure.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from hydra.errors import CapacityError, UsageError
from hydra.files.folders import temporary_folder
from hydra.kafkatest.load import check_load
from hydra.options.connection_limits import check_connections, embedded_connection_limits
from hydra.options.options import Options
from hydra.run.cgroups import limits, read_text, usable_memory_bytes

TASK_DESCRIPTORS = 64
"""What a task has open besides its Kafka connections."""

DESCRIPTORS_PER_CLIENT = {"wire": 1, "confluent": 8, "kafka-python": 8}
"""Of one client: connections, and what else its library has open."""

BROKER_DESCRIPTORS = 500
"""Jars, log segments and listeners of an embedded Kafka, and the connections of publisher and controller."""

BROKER_CONNECTIONS_PER_CLIENT = {"wire": 1, "confluent": 3, "kafka-python": 2}

CONTROLLER_DESCRIPTORS, CONTROLLER_DESCRIPTORS_PER_APP = 64, 3
"""Signals go to all tasks at once, each on a socket of its own."""

STACK_DESCRIPTORS, STACK_DESCRIPTORS_PER_APP = 64, 3
"""Of the process with the local Marathon."""

TASK_MIB = {"wire": 30, "confluent": 45, "kafka-python": 60}
CLIENT_MIB = {"wire": 0.1, "confluent": 2.0, "kafka-python": 2.0}
RECORD_COPIES = {"wire": 1, "confluent": 2}
"""Of a large record that one client holds at a time: while it comes in, and in its library's queue."""

STACK_MIB = 900
"""The embedded Kafka with the default heap, the local Marathon and the publisher."""

BESIDE_HEAP_MIB = 400
"""What the broker's JVM takes beside its heap, with the local Marathon and the publisher."""

BROKER_MIB, BROKER_BESIDE_HEAP_MIB = 600, 250
"""The same of each further broker, which shares nothing with the first one."""

ZOOKEEPER_MIB = 150
"""Of the ZooKeeper beside an old Kafka, which has few topics to keep."""

TASK_THREADS, STACK_THREADS, BROKER_THREADS = 5, 40, 120
CLIENT_THREADS = {"wire": 0, "confluent": 5, "kafka-python": 1}

NATIVE_COMPRESSION = {"zstd", "snappy"}
"""The libraries of Kafka unpack these into the temporary folder and execute them from there."""


@dataclass(frozen=True)
class Room:
    """What this machine has for a run; None where nothing limits it."""

    descriptors: int | None
    """That a process may open: the hard limit, to which Hydra's processes raise their own."""
    memory_mib: int
    memory_free_mib: int
    processes_free: int | None
    """Processes and threads that may still be started."""
    processes_limit: str
    """What allows no more of them, in words."""
    ports: int | None
    """Local ports for connections to one address."""
    executable_folder: bool
    """Whether programs in the temporary folder may be executed."""


def check_capacity(options: Options, present: Options | None = None) -> None:
    """Refuse a run that cannot be made, or that does not fit here; one on a Marathon of the user's own need not fit.

    ``present``: the options of the stack and the tasks that are up already, and whose needs are met.

    Raises:
        UsageError: its records cannot be made.
        CapacityError: names each number that is needed, and the number that is available.
    """
    check_load(options)
    if options.tasks_elsewhere:
        return
    found = list(shortages(options, read_room(), present))
    if found:
        hints = "; ".join(dict.fromkeys(hint for _, hint in found))
        raise CapacityError("; ".join(text for text, _ in found), hint=hints)


def shortages(options: Options, room: Room, present: Options | None = None) -> Iterator[tuple[str, str]]:
    """(what is needed and what there is, the hint) for each limit that the run would meet."""
    yield from _descriptors(options, room)
    yield from _memory(options, room, present)
    yield from _processes(options, room, present)
    yield from _connections(options)
    clients = options.client_count * (1 + _coordinator_connections(options))
    if room.ports is not None and clients > room.ports:
        yield (
            f"{options.client_count} clients need {clients} local ports and the system has {room.ports}",
            "widen net.ipv4.ip_local_port_range, or ask for fewer clients",
        )
    compression = _compression(options)
    if compression and not room.executable_folder:
        yield (
            (
                f"{compression} needs native code, and nothing in the temporary folder may be executed"
                " (it is mounted noexec)"
            ),
            "set TMPDIR to a folder without noexec, or use gzip or lz4",
        )


def descriptors_of_a_subscriber(options: Options) -> int:
    """The most file descriptors that a subscriber task has open."""
    for_each = _coordinator_connections(options) + DESCRIPTORS_PER_CLIENT.get(options.sub_driver, 8)
    return TASK_DESCRIPTORS + options.clients_per_app * for_each * _leaders(options)


def _coordinator_connections(options: Options) -> int:
    """Connections of a client to its group coordinator, where DESCRIPTORS_PER_CLIENT does not include them."""
    return 1 if options.sub_driver == "wire" and options.group_mode == "group" else 0


def _leaders(options: Options) -> int:
    """With how many brokers a client may have connections, as far as that is Hydra's to say."""
    return min(options.brokers, options.partitions)


def _is_embedded(options: Options) -> bool:
    return options.bootstrap_servers is None


def _compression(options: Options) -> str:
    """The setting that has the embedded broker compress, or read what is compressed; empty where there is none."""
    if not _is_embedded(options):
        return ""
    named = dict(text.partition("=")[::2] for text in options.broker_property)
    found = (f"compression.type={named.get('compression.type')}", f"--compression={options.compression}")
    return next((text for text in found if text.partition("=")[2] in NATIVE_COMPRESSION), "")


def _descriptors(options: Options, room: Room) -> Iterator[tuple[str, str]]:
    apps = options.total_sub_apps
    needs = {f"a subscriber of {options.clients_per_app} clients": descriptors_of_a_subscriber(options)}
    if _is_embedded(options):
        for_each = _coordinator_connections(options) + BROKER_CONNECTIONS_PER_CLIENT.get(options.sub_driver, 3)
        needed = BROKER_DESCRIPTORS + options.client_count * for_each
        needs[f"an embedded Kafka with {options.client_count} clients"] = needed
    needs[f"a controller of {apps} apps"] = CONTROLLER_DESCRIPTORS + CONTROLLER_DESCRIPTORS_PER_APP * apps
    needs[f"a local Marathon with {apps} apps"] = STACK_DESCRIPTORS + STACK_DESCRIPTORS_PER_APP * apps
    for what, needed in needs.items():
        if room.descriptors is not None and needed > room.descriptors:
            text = f"{what} needs {needed} file descriptors and a process may open {room.descriptors} here"
            yield text, "raise the hard limit (ulimit -Hn) or ask for fewer clients"


def _connections(options: Options) -> Iterator[tuple[str, str]]:
    """What the user asks of an embedded Kafka may be less than the run needs."""
    try:
        if _is_embedded(options):
            check_connections(options, embedded_connection_limits(options), 1)
    except UsageError as error:
        yield error.message, error.hint


def _tasks_mib(options: Options) -> float:
    tasks_mib = options.total_sub_apps * TASK_MIB.get(options.sub_driver, 60)
    records_mib = RECORD_COPIES.get(options.sub_driver, 3) * options.msg_size / 2**20
    return tasks_mib + options.client_count * max(records_mib, CLIENT_MIB.get(options.sub_driver, 2.0))


def _memory(options: Options, room: Room, present: Options | None) -> Iterator[tuple[str, str]]:
    tasks_mib = _tasks_mib(options)
    more = options.brokers - 1
    zookeeper_mib = ZOOKEEPER_MIB if options.has_zookeeper else 0
    stack_mib = STACK_MIB + more * BROKER_MIB + zookeeper_mib
    needed_mib = round(tasks_mib + (stack_mib if _is_embedded(options) else 0))
    if present is not None:
        needed_mib = round(tasks_mib - _tasks_mib(present))
    who = f"{options.total_sub_apps} apps of {options.clients_per_app} clients"
    if needed_mib > room.memory_free_mib:
        yield (
            f"{who} need about {needed_mib} MiB of memory and {room.memory_free_mib} MiB are free here",
            "ask for fewer apps, or for more clients in each",
        )
    elif _is_embedded(options):
        heap_mib = options.broker_heap_mb
        beside_mib = BESIDE_HEAP_MIB + zookeeper_mib + more * (heap_mib + BROKER_BESIDE_HEAP_MIB)
        most_mib = round(tasks_mib + heap_mib + beside_mib)
        kafka = "an embedded Kafka" if not more else f"an embedded Kafka of {options.brokers} brokers, each"
        if most_mib > room.memory_mib:
            yield (
                (
                    f"{who} and {kafka} with a heap of {heap_mib} MiB may take {most_mib} MiB of memory, and"
                    f" Hydra may have {room.memory_mib} MiB here"
                ),
                f"lower --broker_heap_mb, raise the memory limit, or ask for fewer {'brokers or ' * bool(more)}apps",
            )


def _threads(options: Options) -> int:
    for_clients = options.client_count * CLIENT_THREADS.get(options.sub_driver, 1)
    return (options.total_sub_apps + 1) * TASK_THREADS + for_clients


def _processes(options: Options, room: Room, present: Options | None) -> Iterator[tuple[str, str]]:
    needed = _threads(options) + STACK_THREADS + (options.brokers * BROKER_THREADS if _is_embedded(options) else 0)
    if present is not None:
        needed = _threads(options) - _threads(present)
    if room.processes_free is not None and needed > room.processes_free:
        yield (
            (
                f"{options.total_sub_apps} apps of {options.clients_per_app} clients need about {needed} processes and"
                f" threads, and {room.processes_free} more may be started here ({room.processes_limit})"
            ),
            "raise that limit, or ask for fewer apps",
        )


def read_room() -> Room:
    """What this machine has now."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    memory, free = usable_memory_bytes()
    processes_free, processes_limit = _processes_free()
    return Room(
        descriptors=None if hard == resource.RLIM_INFINITY else hard,
        memory_mib=memory // 2**20,
        memory_free_mib=free // 2**20,
        processes_free=processes_free,
        processes_limit=processes_limit,
        ports=_ports(),
        executable_folder=not os.statvfs(temporary_folder()).f_flag & getattr(os, "ST_NOEXEC", 0),
    )


def _processes_free() -> tuple[int | None, str]:
    """(how many processes and threads may still be started, by which limit)."""
    found: list[tuple[int, str]] = []
    cgroup = limits()
    if cgroup.processes_free is not None:
        found.append((cgroup.processes_free, f"pids.max of its cgroup is {cgroup.processes}"))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard != resource.RLIM_INFINITY and os.getuid() != 0:  # root is not held to it
        found.append((max(0, hard - _threads_of_user()), f"ulimit -u is {hard}"))
    running = (read_text("/proc/loadavg") or "").split()
    for name in ("threads-max", "pid_max"):
        limit = (read_text(f"/proc/sys/kernel/{name}") or "").strip()
        if limit.isdigit() and len(running) > 3 and running[3].partition("/")[2].isdigit():
            used = int(running[3].partition("/")[2])
            found.append((max(0, int(limit) - used), f"kernel.{name.replace('-', '_')} is {limit}"))
    return min(found) if found else (None, "")


def _threads_of_user() -> int:
    """Threads of all processes of this user: what RLIMIT_NPROC counts."""
    import psutil

    own = os.getuid()
    processes = psutil.process_iter(["uids", "num_threads"])
    return sum(
        each.info["num_threads"] or 0 for each in processes if each.info["uids"] and each.info["uids"].real == own
    )


def _ports() -> int | None:
    words = (read_text("/proc/sys/net/ipv4/ip_local_port_range") or "").split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return None
    return int(words[1]) - int(words[0]) + 1
