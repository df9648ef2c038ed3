"""The classes that Kafka loads as it boots, in an archive that the JVM maps instead: it boots in half the time.

Class data sharing, as any Java from 17 on has it: a boot that lists the classes it loads, then a dump of those. The
archive holds loaded classes and nothing else, no compiled code and no profile, so that a broker that runs is what it
would be without. A JVM checks it against itself and the jars, and does without it when they do not match.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.broker.cache import cache_folder, staging_dir, try_lock
from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.java import Java
from hydra.broker.jvm import broker_flags, end_jvm, java_command, start_jvm
from hydra.errors import HydraError

BOOT_TIMEOUT_S = 40.0
DUMP_TIMEOUT_S = 40.0
UNUSED_DAYS = 30
"""An archive that nobody used for so long is removed: a Java that was replaced leaves its own behind."""

_HEAP_MB = 512
_SECONDS_A_DAY = 86_400


def class_archive(
    java: Java,
    classpath: Sequence[Path],
    scratch: Path,
    *,
    progress: Callable[[str], None],
    folder: Path | None = None,
) -> Path | None:
    """The archive for this Java and these jars; made where there is none, which takes some seconds.

    Like ``EmbeddedBroker.start`` it belongs on a thread that lives as long as the JVMs shall.

    Args:
        java: what the broker runs with.
        classpath: the checked jars.
        scratch: a folder that does not exist, for the boot that lists the classes; gone afterwards.
        progress: is called with a line of text when one is made.
        folder: the archives; ``<user's cache>/hydra-scaletest/classes`` unless given.

    Returns:
        None where there is none and none can be made: by this Java, in this folder, or while another process makes it.
    """
    archives = cache_folder() / "classes" if folder is None else folder
    try:
        archive = archives / f"{_fingerprint(java, classpath)}.jsa"
        if not archive.exists():
            archives.mkdir(parents=True, exist_ok=True)
            with try_lock(archives) as alone:
                if not alone:
                    return None
                if not archive.exists():  # another process may have made it since
                    progress("preparing Kafka's classes, once, so that it boots in half the time from now on")
                    _make(archive, java, classpath, scratch)
        with contextlib.suppress(OSError):  # a cache that cannot be written can be used all the same
            os.utime(archive)
        empty = not archive.stat().st_size
    except (OSError, HydraError):
        return None
    # An empty one says that this Java can make none: it is not tried again at each start.
    return None if empty else archive


def archive_flags(archive: Path | None) -> tuple[str, ...]:
    """The JVM flags with which a broker uses an archive; none without one."""
    return () if archive is None else (f"-XX:SharedArchiveFile={archive}",)


def _fingerprint(java: Java, classpath: Sequence[Path]) -> str:
    """What an archive is valid for: the JVM compares these itself."""
    home = java.path.resolve().parent.parent
    parts = [str(home)]
    for path in (home / "lib" / "modules", *classpath):
        stat = path.stat()
        parts.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _make(archive: Path, java: Java, classpath: Sequence[Path], scratch: Path) -> None:
    """Put the archive in its place, or an empty one where this Java makes none.

    Raises:
        HydraError: the broker did not boot.
    """
    _remove_unused(archive.parent)
    with staging_dir(archive.parent) as partial:
        # Both of its JVMs write it: what stands in it at last is the list of the second one, the broker itself.
        classes = partial / "classes.txt"
        broker = EmbeddedBroker(
            folder=scratch,
            java=java,
            classpath=classpath,
            heap_mb=_HEAP_MB,
            jvm_flags=(f"-XX:DumpLoadedClassList={classes}",),
        )
        try:
            broker.start(BOOT_TIMEOUT_S)
        finally:
            broker.stop()
        made = partial / archive.name
        _dump(made, classes, java, classpath)
        made.replace(archive)


def _dump(made: Path, classes: Path, java: Java, classpath: Sequence[Path]) -> None:
    """Have a JVM write the archive; an empty file where it does not."""
    flags = (
        "-Xshare:dump",
        *broker_flags(_HEAP_MB),
        f"-XX:SharedClassListFile={classes}",
        f"-XX:SharedArchiveFile={made}",
    )
    folder = made.parent
    process = start_jvm(java_command(java, flags, classpath, folder, []), folder, folder / "dump.log", {})
    try:
        status = process.wait(timeout=DUMP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        end_jvm(process)
    if status != 0:
        made.write_bytes(b"")


def _remove_unused(archives: Path) -> None:
    oldest_s = time.time() - UNUSED_DAYS * _SECONDS_A_DAY
    for archive in archives.glob("*.jsa"):
        with contextlib.suppress(OSError):
            if archive.stat().st_mtime < oldest_s:
                archive.unlink()
