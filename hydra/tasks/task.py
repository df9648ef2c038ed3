"""``hydra task ROLE``, what Marathon runs, and what both roles have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import logging
import os
import queue
import resource
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from hydra.endpoints import Endpoint, local_address_towards
from hydra.errors import HydraError, InfrastructureError, UsageError
from hydra.signals.keys import keys_of_task
from hydra.signals.messages import Request, SignalError
from hydra.signals.signal_server import SignalServer
from hydra.tasks.fork_server import FORKING, wait_for_role
from hydra.tasks.host import hold_files

ROLES = {"kafka-pub": ("hydra.tasks.kafka_pub", "KafkaPub"), "kafka-sub": ("hydra.tasks.kafka_sub", "KafkaSub")}
"""Where each is, a SignalledTask."""

REPLY_TIMEOUT_S = 4.0
"""How long the main thread may take to carry out a signal: a little less than the controller waits at most."""

STATS_TIMEOUT_S = 60.0
"""The same for ``getstats``, which adds up what hundreds of clients counted: the controller gives up first."""

ANYWHERE = Endpoint("192.0.2.1", 9)
"""An address for documentation: it stands for whatever lies beyond this machine's own networks."""


@dataclass(frozen=True)
class TaskPlace:
    """Where Marathon put this task."""

    task_id: str
    host: str
    port: int
    driver: str = ""
    """The driver of the user's own that it was launched with."""


def task_place(environment: Mapping[str, str]) -> TaskPlace:
    """Read the place from the environment that Marathon gives its tasks; UsageError when this is none."""
    try:
        return TaskPlace(environment["MESOS_TASK_ID"], environment["HOST"], int(environment["PORT0"]))
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"this command runs as a Marathon task: {error} is not in its environment", hint="run 'hydra kafka'"
        ) from error


def signal_address(host: str) -> str:
    """The one address that a task listens on for signals: its agent's, as others know it.

    Many machines resolve their own name to a loopback address (127.0.1.1 in /etc/hosts), which no controller on another
    machine can reach. Then it is the address of this machine's default route.

    Raises:
        InfrastructureError: the agent's hostname does not resolve.
    """
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise InfrastructureError(f"hostname {host} does not resolve to a local address ({error})") from error
    for address in found:
        if address == host or not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            return address
    if host != "localhost":
        with contextlib.suppress(OSError):
            return local_address_towards(ANYWHERE)
    return found[0]


class SignalledTask(Protocol):
    """What both tasks are."""

    def answer(self, request: Request) -> bytes:
        """The reply to a signal; called on the signal thread."""

    def loop(self) -> None:
        """The work of the main thread; never returns."""


class OrphanWatch:
    """Ends the process when its parent is gone: a task must not outlive the agent that runs it."""

    def __init__(self, parent_id: int) -> None:
        self._parent_id = parent_id

    def __call__(self) -> None:
        """Look once."""
        if os.getppid() != self._parent_id:
            os._exit(1)


class MainThreadExecutor:
    """Lets the signal thread have work done on the main thread, which alone touches the Kafka clients."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()

    def ask(self, work: Callable[[], bytes], timeout_s: float = REPLY_TIMEOUT_S) -> bytes:
        """Have ``work`` done; return what it returns or raise what it raises, SignalError when it took too long."""
        future: Future[bytes] = Future()
        self._work.put((work, future))
        try:
            return future.result(timeout_s)
        except FutureTimeoutError:
            future.cancel()
            raise SignalError(f"busy for more than {timeout_s:g} s") from None

    def serve(self, wait_s: float) -> None:
        """Do what was asked for; waits ``wait_s`` at most for something to do."""
        if wait_s <= 0 and self._work.empty():
            return  # hot path: after each wake-up; an exception would cost more than all else here
        try:
            work, future = self._work.get(block=wait_s > 0, timeout=wait_s or None)
        except queue.Empty:
            return
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it is raised again, in the thread that asked
            future.set_exception(error)


def _run(kind: Callable[[TaskPlace], SignalledTask], driver: str, look: OrphanWatch) -> None:
    """Be a task of this kind until Marathon ends it."""
    place = dataclasses.replace(task_place(os.environ), driver=driver)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the memory of a task has its key
    controller, own = keys_of_task(os.environ)
    task = kind(place)
    address = signal_address(place.host)
    hold_files()
    try:
        server = SignalServer(address, place.port, task.answer, controller=controller, own=own, look=look)
    except OSError as error:
        hint = "see who listens there: the port is the one that this task was given"
        raise InfrastructureError(f"this task cannot listen for signals on {error.strerror}", hint=hint) from error
    server.start()
    task.loop()


def task(arguments: Sequence[str]) -> int:
    """Run as a task of the given role until Marathon ends it. Returns an exit code only when that cannot be."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        role, *driver = arguments or [""]
        parent_id = os.getppid()
        if role == FORKING:
            parent_id = os.getpid()
            forked_as = wait_for_role()
            if forked_as is None:
                return 0
            role = forked_as
        if role not in ROLES or len(driver) > 1:
            raise UsageError(f"hydra task {' '.join(arguments)}", hint=f"must name one of {', '.join(ROLES)}")
        module, name = ROLES[role]
        _run(getattr(import_module(module), name), "".join(driver), OrphanWatch(parent_id))
    except HydraError as error:
        sys.stderr.write(f"hydra: {error}\n")
        return error.exit_code
    return 0
