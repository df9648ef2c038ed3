"""The embedded broker's jars: downloaded once with jgo, cached, and checked against the lock file at every start.

If every jar is in the cache with the right checksum, jgo is not imported and the network is not used. Otherwise the
missing and the damaged ones are downloaded into a staging folder, checked there, and renamed into the cache.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.broker.jar_lockfile import LockedJar, kafka_version, read_lock, repository_context, sha256_of
from hydra.errors import JarError
from hydra.files.atomic_write import staging_dir, try_lock
from hydra.files.folders import cache_folder

if TYPE_CHECKING:
    from jgo.maven import MavenContext

Progress = Callable[[str], None]

_POLL_S = 0.1
_LINE_EVERY_S = 0.5
_THREADS = 6
_JOIN_TIMEOUT_S = 0.2


def resolve_classpath(
    jars: Sequence[LockedJar] | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    timeout_s: float = 300.0,
) -> tuple[Path, ...]:
    """The jars, of the committed lock file unless given, as files whose checksums have just been verified.

    They are in the user's cache unless a folder is given. All downloads together take ``timeout_s`` at most;
    ``progress`` is called with a line of text, on this thread, while they go on.

    Raises:
        JarError: a jar cannot be downloaded, or differs from the lock file; names it.
        InfrastructureError: there is no home folder for the cache.
    """
    locked = read_lock() if jars is None else tuple(jars)
    cache = cache_folder() / "jars" if folder is None else folder
    if os.pathsep in str(cache):
        raise JarError(
            f"the jar cache {cache} has {os.pathsep!r} in its path, which separates the entries of a Java class path",
            hint=f"set XDG_CACHE_HOME to a folder without {os.pathsep!r}",
        )
    if _bad_jars(locked, cache):
        _repair(locked, cache, progress or (lambda _line: None), time.monotonic() + timeout_s)
    return tuple(cache / jar.file_name for jar in locked)


def _bad_jars(jars: Sequence[LockedJar], cache: Path) -> tuple[LockedJar, ...]:
    """The jars that are missing from the cache, or whose checksum is not that of the lock file."""

    def is_bad(jar: LockedJar) -> bool:
        try:
            return sha256_of(cache / jar.file_name) != jar.sha256
        except OSError:
            return True

    # hashlib releases the GIL: this uses all cores
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return tuple(jar for jar, bad in zip(jars, pool.map(is_bad, jars), strict=True) if bad)


def _repair(jars: Sequence[LockedJar], cache: Path, progress: Progress, deadline: float) -> None:
    hint = "set XDG_CACHE_HOME to a folder that can be written"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _write_lock(cache, progress, deadline):
            bad = _bad_jars(jars, cache)  # again: another process may have downloaded them while this one waited
            for jar in bad:
                (cache / jar.file_name).unlink(missing_ok=True)
            if bad:
                _download(bad, cache, progress, deadline, f"Kafka {kafka_version(jars)}")
            still_bad = _bad_jars(bad, cache)
    except OSError as error:
        raise JarError(f"the jar cache {cache} cannot be written ({error})", hint=hint) from error
    if still_bad:
        names = ", ".join(jar.coordinate for jar in still_bad)
        raise JarError(f"jars in {cache}: checksum mismatch after writing ({names})", hint=hint)


def _download(bad: Sequence[LockedJar], cache: Path, progress: Progress, deadline: float, what: str) -> None:
    total_mb = sum(jar.size_bytes for jar in bad) / 1e6
    progress(f"downloading {what}: {len(bad)} jars, {total_mb:.1f} MB, once")
    got_bytes, next_line = 0, 0.0
    with staging_dir(cache) as staging:
        for count, (jar, path) in enumerate(_fetch(bad, staging, deadline), start=1):
            path.replace(cache / jar.file_name)
            got_bytes += jar.size_bytes
            now = time.monotonic()
            if count == len(bad) or now >= next_line:
                progress(f"downloading {what}: {count} of {len(bad)} jars, {got_bytes / 1e6:.1f} of {total_mb:.1f} MB")
                next_line = now + _LINE_EVERY_S


@contextlib.contextmanager
def _write_lock(cache: Path, progress: Progress, deadline: float) -> Iterator[None]:
    """Hold the lock of the cache; waits for another process that holds it."""
    told = False
    while True:
        with try_lock(cache / ".lock") as locked:
            if locked:
                yield
                return
        if time.monotonic() > deadline:
            raise JarError(
                f"another process has held the lock of the jar cache {cache} for too long", hint="end it, or try again"
            )
        if not told:
            progress("waiting for another process to download Kafka")
            told = True
        time.sleep(_POLL_S)


def _fetch(jars: Sequence[LockedJar], folder: Path, deadline: float) -> Iterator[tuple[LockedJar, Path]]:
    """Download jars into a folder; yield each with its file once it has arrived and its checksum is right.

    Raises:
        JarError: one cannot be downloaded by the deadline, or differs from the lock file; names its coordinate.
    """
    todo: queue.SimpleQueue[LockedJar] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[LockedJar, Path | JarError]] = queue.SimpleQueue()
    for jar in jars:
        todo.put(jar)
    stop = threading.Event()
    context = repository_context(folder, lambda: stop.is_set() or time.monotonic() > deadline)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while not stop.is_set():
                jar = todo.get_nowait()
                done.put((jar, _download_one(context, jar)))

    # Daemon threads: a socket read cannot be interrupted, and must not delay a Ctrl-C.
    threads = [threading.Thread(target=work, name="hydra-jars", daemon=True) for _ in range(min(_THREADS, len(jars)))]
    for thread in threads:
        thread.start()
    try:
        for _ in jars:
            try:
                jar, outcome = done.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                hint = "try again: jars that have arrived are kept"
                raise JarError("downloading Kafka's jars timed out", hint=hint) from None
            if isinstance(outcome, JarError):
                raise outcome
            yield jar, outcome
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=_JOIN_TIMEOUT_S)


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
