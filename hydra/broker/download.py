"""Fetch jars by their Maven coordinates with jgo, several at a time, each checked before it is handed on.

jgo is imported here only, and late: a start with a full cache does not pay for it. Of jgo only the repository access is
used (context, artifact, download); which jars are wanted was decided when the lock was written.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.broker.jar_lockfile import LockedJar, sha256_of
from hydra.errors import JarError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

_THREADS = 6
_READ_TIMEOUT_S = 10
_JOIN_TIMEOUT_S = 0.2


def download(jars: Sequence[LockedJar], folder: Path, deadline: float) -> Iterator[tuple[LockedJar, Path]]:
    """Fetch jars; yield each with its file as it arrives and is right.

    Args:
        jars: what to fetch.
        folder: where the files are put, in a layout of jgo's own.
        deadline: on the monotonic clock, for all of them together.

    Raises:
        JarError: one cannot be fetched or is not the one of the lock; names its coordinate.
    """
    todo: queue.SimpleQueue[LockedJar] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[LockedJar, Path | JarError]] = queue.SimpleQueue()
    for jar in jars:
        todo.put(jar)
    stop = threading.Event()
    context = repository_context(folder, lambda: stop.is_set() or time.monotonic() > deadline)
    # Daemon threads: nothing can interrupt a socket read, and it must not hold up a Ctrl-C.
    threads = [
        threading.Thread(target=_work, args=(context, todo, done, stop), name="hydra-jars", daemon=True)
        for _ in range(min(_THREADS, len(jars)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in jars:
            jar, outcome = _next(done, deadline)
            if isinstance(outcome, JarError):
                raise outcome
            yield jar, outcome
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=_JOIN_TIMEOUT_S)


def repository_context(folder: Path, is_over: Callable[[], bool]) -> MavenContext:
    """Jgo's view of the public repository and of those in the user's jgo settings, which are asked first.

    Args:
        folder: where files are kept.
        is_over: a download that sees it true gives up.
    """
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext, PythonResolver

    # Without a handler Python prints warnings to the terminal; what matters of them becomes a JarError.
    logging.getLogger("jgo").addHandler(logging.NullHandler())

    @contextlib.contextmanager
    def watched(_file_name: str, _size_bytes: int) -> Iterator[Callable[[int], None]]:
        def check(_chunk_bytes: int) -> None:
            if is_over():
                raise TimeoutError("the download took too long")

        yield check

    context = MavenContext(
        resolver=PythonResolver(progress_callback=watched), repo_cache=folder, timeout=_READ_TIMEOUT_S
    )
    context.remote_repos = {**GlobalSettings.load().repositories, **context.remote_repos}
    return context


def _next(
    done: queue.SimpleQueue[tuple[LockedJar, Path | JarError]], deadline: float
) -> tuple[LockedJar, Path | JarError]:
    try:
        return done.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise JarError("downloading Kafka's jars took too long", hint="try again: what has arrived is kept") from None


def _work(
    context: MavenContext,
    todo: queue.SimpleQueue[LockedJar],
    done: queue.SimpleQueue[tuple[LockedJar, Path | JarError]],
    stop: threading.Event,
) -> None:
    with contextlib.suppress(queue.Empty):
        while not stop.is_set():
            jar = todo.get_nowait()
            done.put((jar, _fetch_one(context, jar)))


def _fetch_one(context: MavenContext, jar: LockedJar) -> Path | JarError:
    group, artifact, version, *classifier = jar.coordinate.split(":")
    try:
        wanted = context.project(group, artifact).at_version(version).artifact(*classifier)
        path = Path(wanted.resolve())
        found = sha256_of(path)
    # AssertionError: jgo asserts what it takes for granted of a repository's answers
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        # Not chained: the cause's frames would keep jgo's open response alive until some later garbage collection.
        return JarError(
            f"the jar {jar.coordinate} cannot be fetched ({error})",
            hint="connect this machine to a Maven repository once (jgo's settings file may name a mirror), or copy"
            " the cache folder of a machine that has the jars",
        )
    if found != jar.sha256:
        return JarError(
            f"the jar {jar.coordinate} was delivered with the SHA-256 {found}, the lock says {jar.sha256}",
            hint="try again; if it stays, what the repository or the mirror serves is not this release",
        )
    return path
