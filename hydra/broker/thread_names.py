"""The full names of a JVM's threads by the kernel's ids.

The kernel keeps 15 characters of a name, and those of Kafka's network threads and request handlers begin with the same
15: ``data-plane-kafk``. So the JVM is asked for its thread dump, by HotSpot's attach protocol, which jcmd and jstack
speak: https://github.com/openjdk/jdk/blob/master/src/hotspot/os/posix/attachListener_posix.cpp. A JVM that finds the
file ``.attach_pidN`` in its working folder when it gets SIGQUIT listens on a socket in /tmp, which only its user may
connect to. Both are removed at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

TIMEOUT_S = 3.0
_POLL_S = 0.01
_MAX_DUMP_BYTES = 16 * 1024 * 1024
_COMMAND = b"1\0threaddump\0\0\0\0"
"""Protocol 1, the command, and its three arguments, which are empty."""

_THREAD = re.compile(r'^"(.*)" .*\bnid=(0x[0-9a-f]+|[0-9]+)\b', re.MULTILINE)
"""``nid`` is the kernel's id: hexadecimal up to Java 20."""

_CAUGHT = re.compile(r"^SigCgt:\s*([0-9a-f]+)$", re.MULTILINE)
"""The signals that a process has a handler for, a bit for each (proc(5))."""


def thread_names(pid: int, folder: Path) -> Mapping[int, str]:
    """The threads of the JVM ``pid``, whose working folder is ``folder``; none where it cannot be asked.

    Any other process would end by SIGQUIT, and a JVM with -Xrs, too: so only a process of this user that runs java in
    this folder, and catches the signal, gets it.
    """
    with contextlib.suppress(OSError):
        if sys.platform == "linux" and _is_jvm_in(pid, folder):
            return named_threads(_thread_dump(pid, folder))
    return {}


def named_threads(dump: str) -> Mapping[int, str]:
    """The names in a thread dump, by the kernel's ids."""
    return {int(number, 0): name for name, number in _THREAD.findall(dump)}


def _is_jvm_in(pid: int, folder: Path) -> bool:
    process = Path("/proc", str(pid))
    same_user = process.stat().st_uid == os.geteuid()
    program = (process / "exe").readlink().name
    caught = _CAUGHT.search((process / "status").read_text())
    if caught is None or not int(caught[1], 16) >> (signal.SIGQUIT - 1) & 1:
        return False
    return same_user and program == "java" and (process / "cwd").readlink() == folder.resolve()


def _thread_dump(pid: int, folder: Path) -> str:
    deadline = time.monotonic() + TIMEOUT_S
    listens = Path("/tmp", f".java_pid{pid}")  # noqa: S108  # where HotSpot has it, whatever TMPDIR says
    asks = folder / f".attach_pid{pid}"
    was_there = listens.exists()
    if was_there and listens.lstat().st_uid != os.geteuid():
        raise PermissionError(f"{listens} is somebody else's")
    try:
        if not was_there:
            asks.touch(mode=0o600)
            os.kill(pid, signal.SIGQUIT)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            _connect(connection, listens, deadline)
            connection.sendall(_COMMAND)
            return _read(connection, deadline)
    finally:
        asks.unlink(missing_ok=True)
        if not was_there:
            listens.unlink(missing_ok=True)  # a JVM that is killed would leave it behind; asked again, it makes another


def _connect(connection: socket.socket, listens: Path, deadline: float) -> None:
    while True:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            connection.connect(str(listens))
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _read(connection: socket.socket, deadline: float) -> str:
    content = bytearray()
    while len(content) < _MAX_DUMP_BYTES:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        if not (piece := connection.recv(65536)):
            break
        content += piece
    return content.decode("utf-8", "replace")
