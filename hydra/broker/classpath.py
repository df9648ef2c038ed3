"""The embedded broker's jars: downloaded once with jgo, cached, and checked against the lock file at every start.

If every jar is in the cache with the right checksum, jgo is not imported and the network is not used. Otherwise the
missing and the damaged ones are downloaded into a staging folder, checked there, and renamed into the cache.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hydra.broker.download import download
from hydra.broker.jar_lockfile import LockedJar, kafka_version, read_lock, sha256_of
from hydra.errors import JarError
from hydra.files.atomic_write import staging_dir
from hydra.files.file_lock import try_lock
from hydra.files.user_folders import cache_folder

Progress = Callable[[str], None]

_POLL_S = 0.1
_LINE_EVERY_S = 0.5


def resolve_classpath(
    jars: Sequence[LockedJar] | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    timeout_s: float = 300.0,
) -> tuple[Path, ...]:
    """The jars of the lock file, as files whose checksums have just been verified.

    Args:
        jars: what to resolve; those of the committed lock file unless given.
        folder: the cache; ``<user's cache>/hydra-scaletest/jars`` unless given.
        progress: called with a line of text, on this thread, while jars are downloaded.
        timeout_s: for all downloads together.

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
        _repair(locked, cache, progress or _silent, time.monotonic() + timeout_s)
    return tuple(cache / jar.file_name for jar in locked)


def _silent(_line: str) -> None:
    pass


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
        for count, (jar, path) in enumerate(download(bad, staging, deadline), start=1):
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
