"""The fork server of a machine's tasks: ``hydra task --forking``, a process that has imported what tasks need.

A task that starts as a program spends a quarter of a CPU second on its imports, and a hundred start at once. A task
that is forked from here has them, shares their memory, and is ready after some milliseconds. The local stack asks for
tasks (``kafkatest/forked_tasks.py``) through its standard input, a Unix socket of whole messages: a request has the
role, the environment, the working directory, and two descriptors for the output; the answers say which process began,
and how each one ended.

Nothing here may start a thread or open a connection: a fork copies neither.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from hydra.codec import decode, encode

FORKING = "--forking"
"""As long as the name of a role: a task puts its own in this place, for those who list processes."""

MESSAGE_LIMIT_BYTES = 100_000
STANDARD_STREAMS = (0, 1, 2)
OUTPUTS = 2
"""Descriptors with each request: of standard output and of standard error."""

IMPORTED = ("hydra.tasks.kafka_pub", "hydra.tasks.kafka_sub", "hydra.clients.wire_subscriber")
"""What most tasks have in common. Other drivers bring libraries of their own, which start threads."""

_WAKE_BYTES = 4096


@dataclass(frozen=True)
class ForkRequest:
    """A task to start."""

    number: int
    """Names the request in its answer."""
    role: str
    environment: Mapping[str, str]
    """All of its variables."""
    folder: str
    """Its working directory."""


@dataclass(frozen=True)
class ForkAnswer:
    """What became of a request, or of a task."""

    number: int = 0
    """Of the request; 0 where a task ended."""
    pid: int = 0
    """0 where it could not be started."""
    exit_code: int | None = None
    """Of a task that ended; -N after signal N."""
    error_number: int = 0
    """Why it could not be started."""


class ForkServer:
    """Starts tasks until its socket closes. Single-threaded."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.settimeout(0)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def serve(self) -> str | None:
        """Returns in each task with its role, and here with None when nobody is left who could ask for one."""
        while True:
            ready, _, _ = select.select([self._control, self._woken], [], [])
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(_WAKE_BYTES)
                self._tell_ends()
            if self._control in ready:
                message, outputs, _flags, _address = socket.recv_fds(self._control, MESSAGE_LIMIT_BYTES, OUTPUTS)
                if not message:
                    return None
                try:
                    request = decode(message, ForkRequest)
                    if self._fork(request):
                        self._become(request, outputs)
                        return request.role
                finally:
                    for descriptor in outputs:
                        os.close(descriptor)

    def _fork(self, request: ForkRequest) -> bool:
        """Whether this is the new process."""
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(ForkAnswer(request.number, error_number=error.errno or 0))
            return False
        if pid:
            self._tell(ForkAnswer(request.number, pid))
        return pid == 0

    def _become(self, request: ForkRequest, outputs: list[int]) -> None:
        """Be what a program that was just started is."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self._control, self._woken, self._wake):
            end.close()
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, standard in zip((nothing, *outputs), STANDARD_STREAMS, strict=True):
            if descriptor != standard:
                os.dup2(descriptor, standard)
        os.environ.clear()
        os.environ.update(request.environment)
        os.chdir(request.folder)
        _name_process(request.role)

    def _tell_ends(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._tell(ForkAnswer(pid=pid, exit_code=os.waitstatus_to_exitcode(status)))

    def _tell(self, answer: ForkAnswer) -> None:
        with contextlib.suppress(OSError):  # whoever asked has gone, and the socket will say so
            self._control.send(encode(answer))


def wait_for_role() -> str | None:
    """Be the fork server; returns in each task with its role, and None in the server itself, at its end."""
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()  # what is there is shared by all tasks, as long as nobody writes to it
    with socket.socket(fileno=STANDARD_STREAMS[0]) as control:
        return ForkServer(control).serve()


def _name_process(role: str) -> None:
    """Have ``ps`` show the role in place of FORKING: the arguments of a process are where the kernel has put them."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        arguments_begin = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45])
        arguments = Path("/proc/self/cmdline").read_bytes()
        place = arguments.index(b"\0" + FORKING.encode() + b"\0") + 1
        if len(role) == len(FORKING):
            with open("/proc/self/mem", "r+b", buffering=0) as memory:  # noqa: PTH123  # this is no file with a text
                memory.seek(arguments_begin + place)
                memory.write(role.encode())
