"""Download jars by their Maven coordinates with jgo, several at a time, and check each.

jgo is imported only when something is missing. Only its repository access is used (context, artifact, download): the
lock file says which jars are wanted.
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
    """Download jars; yield each with its file once it has arrived and its checksum is right.

    Args:
        jars: what to download.
        folder: where jgo puts the files.
        deadline: on the monotonic clock, for all of them together.

    Raises:
        JarError: one cannot be downloaded, or differs from the lock file; names its coordinate.
    """
    todo: queue.SimpleQueue[LockedJar] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[LockedJar, Path | JarError]] = queue.SimpleQueue()
    for jar in jars:
        todo.put(jar)
    stop = threading.Event()
    context = repository_context(folder, lambda: stop.is_set() or time.monotonic() > deadline)
    # Daemon threads: a socket read cannot be interrupted, and must not delay a Ctrl-C.
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
    """Jgo's access to the public repository, and to those in the user's jgo settings, which come first.

    Args:
        folder: where jgo keeps files.
        is_over: a download stops once it returns True.
    """
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext, PythonResolver

    # Without a handler Python would print its warnings to the terminal; errors become a JarError.
    logging.getLogger("jgo").addHandler(logging.NullHandler())

    @contextlib.contextmanager
    def watched(_file_name: str, _size_bytes: int) -> Iterator[Callable[[int], None]]:
        def check(_chunk_bytes: int) -> None:
            if is_over():
                raise TimeoutError("the download timed out")

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
        raise JarError(
            "downloading Kafka's jars timed out", hint="try again: jars that have arrived are kept"
        ) from None


def _work(
    context: MavenContext,
    todo: queue.SimpleQueue[LockedJar],
    done: queue.SimpleQueue[tuple[LockedJar, Path | JarError]],
    stop: threading.Event,
) -> None:
    with contextlib.suppress(queue.Empty):
        while not stop.is_set():
            jar = todo.get_nowait()
            done.put((jar, _download_one(context, jar)))


def _download_one(context: MavenContext, jar: LockedJar) -> Path | JarError:
    group, artifact, version, *classifier = jar.coordinate.split(":")
    try:
        wanted = context.project(group, artifact).at_version(version).artifact(*classifier)
        path = Path(wanted.resolve())
        found = sha256_of(path)
    # AssertionError: jgo asserts that a repository's responses are well-formed
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        # Not chained: the frames of the cause would keep jgo's open response alive.
        return JarError(
            f"the jar {jar.coordinate} cannot be downloaded ({error})",
            hint="connect this machine to a Maven repository once (jgo's settings file may name a mirror), or copy"
            " the cache folder of a machine that has the jars",
        )
    if found != jar.sha256:
        return JarError(
            f"the jar {jar.coordinate} has the SHA-256 {found}, and the lock file says {jar.sha256}",
            hint="try again; if that does not help, the repository or mirror serves another file",
        )
    return path
