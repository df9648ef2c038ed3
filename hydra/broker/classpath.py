"""The embedded broker's jars: fetched once with jgo, kept in a cache folder, checked against the lock at every start.

When every jar of the lock is in the cache with the right bytes, nothing is imported or asked over the network.
Otherwise the missing and the damaged ones are fetched by their coordinates, each into a folder of this process, checked
there, and renamed into the cache: a file under its final name is whole, or damaged later, which the next check sees.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hydra.broker.cache import cache_folder, staging_dir, try_lock
from hydra.broker.download import download
from hydra.broker.jar_lockfile import LockedJar, kafka_version, read_lock, sha256_of
from hydra.errors import JarError

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
    """The jars of the lock as files whose bytes were checked just now.

    Args:
        jars: what to resolve; the committed lock unless given.
        folder: the cache; ``<user's cache>/hydra-scaletest/jars`` unless given.
        progress: is called with a line of text, on this thread, while jars are fetched.
        timeout_s: how long fetching may take in all.

    Raises:
        JarError: a jar cannot be had, or is not the one of the lock; names it.
    """
    locked = read_lock() if jars is None else tuple(jars)
    cache = cache_folder() / "jars" if folder is None else folder
    if _bad_jars(locked, cache):
        _repair(locked, cache, progress or _silent, time.monotonic() + timeout_s)
    return tuple(cache / jar.file_name for jar in locked)


def _silent(_line: str) -> None:
    pass


def _bad_jars(jars: Sequence[LockedJar], cache: Path) -> tuple[LockedJar, ...]:
    """The jars that are missing from the cache or have other bytes than the lock says."""

    def is_bad(jar: LockedJar) -> bool:
        try:
            return sha256_of(cache / jar.file_name) != jar.sha256
        except OSError:
            return True

    # hashlib releases the GIL, so that the hashes run on all cores
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return tuple(jar for jar, bad in zip(jars, pool.map(is_bad, jars), strict=True) if bad)


def _repair(jars: Sequence[LockedJar], cache: Path, progress: Progress, deadline: float) -> None:
    hint = "set XDG_CACHE_HOME to a folder that can be written"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _turn_to_write(cache, progress, deadline):
            bad = _bad_jars(jars, cache)  # again: another process may have fetched them while this one waited
            for jar in bad:
                (cache / jar.file_name).unlink(missing_ok=True)
            if bad:
                _fetch(bad, cache, progress, deadline, f"Kafka {kafka_version(jars)}")
            still_bad = _bad_jars(bad, cache)
    except OSError as error:
        raise JarError(f"the jar cache {cache} cannot be written ({error})", hint=hint) from error
    if still_bad:
        names = ", ".join(jar.coordinate for jar in still_bad)
        raise JarError(f"jars in {cache} do not keep the bytes that were written ({names})", hint=hint)


def _fetch(bad: Sequence[LockedJar], cache: Path, progress: Progress, deadline: float, what: str) -> None:
    total_mb = sum(jar.size_bytes for jar in bad) / 1e6
    progress(f"downloading {what}: {len(bad)} jars, {total_mb:.1f} MB, once")
    got_bytes, next_line = 0, 0.0
    with staging_dir(cache) as partial:
        for count, (jar, path) in enumerate(download(bad, partial, deadline), start=1):
            path.replace(cache / jar.file_name)
            got_bytes += jar.size_bytes
            now = time.monotonic()
            if count == len(bad) or now >= next_line:
                progress(f"downloading {what}: {count} of {len(bad)} jars, {got_bytes / 1e6:.1f} of {total_mb:.1f} MB")
                next_line = now + _LINE_EVERY_S


@contextlib.contextmanager
def _turn_to_write(cache: Path, progress: Progress, deadline: float) -> Iterator[None]:
    """Be the cache's sole writer; waits for the one that is."""
    told = False
    while True:
        with try_lock(cache) as alone:
            if alone:
                yield
                return
        if time.monotonic() > deadline:
            raise JarError(
                f"another process has been filling the jar cache {cache} for too long", hint="end it, or try again"
            )
        if not told:
            progress("waiting for another process that downloads Kafka")
            told = True
        time.sleep(_POLL_S)
