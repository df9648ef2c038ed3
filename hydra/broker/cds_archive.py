"""An archive of the classes that Kafka loads at boot: the JVM maps it instead, and the broker boots in half the time.

Class data sharing (CDS) of any Java from 17 on: one boot lists the classes, then a JVM dumps them. The archive has
loaded classes only, no compiled code and no profile, so that a running broker is the same with and without it. A JVM
checks the archive against itself and the jars, and silently does without it if they do not match.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.java import Java, broker_flags, end_jvm, java_command, start_jvm
from hydra.errors import HydraError, InfrastructureError, JavaError
from hydra.files.atomic_write import staging_dir, try_lock
from hydra.files.folders import cache_folder

BOOT_TIMEOUT_S = 40.0
DUMP_TIMEOUT_S = 40.0
KEPT_ARCHIVES = 2
"""An archive takes 64 MB. These are kept beside a new one, those that were used last: of another Java or checkout."""

_HEAP_MB = 512


def cds_archive(
    java: Java,
    classpath: Sequence[Path],
    scratch: Path,
    *,
    note: Callable[[str], None],
    folder: Path | None = None,
) -> Path | None:
    """The archive for this Java and these jars; made if it is missing, which takes some seconds.

    Like ``EmbeddedBroker.start``, call it on a thread that outlives the JVMs. ``scratch`` is a folder for the boot that
    lists the classes; it does not exist before and afterwards. ``note`` is called with a line of text when an archive
    is made, or cannot be. The archives are in the user's cache unless a folder is given.

    Returns:
        None if there is none: this Java cannot make one, the folder cannot be written, or another process is making it.
    """
    try:
        archives = cache_folder() / "classes" if folder is None else folder
        archive = archives / f"{_fingerprint(java, classpath)}.jsa"
        if not archive.exists():
            archives.mkdir(parents=True, exist_ok=True)
            with try_lock(archives / ".lock") as locked:
                if not locked:
                    return None
                if not archive.exists():  # another process may have made it since
                    note("preparing Kafka's classes, once, so that it boots in half the time from now on")
                    _make(archive, java, classpath, scratch, note)
        with contextlib.suppress(OSError):  # an archive in a read-only cache is used as well
            os.utime(archive)
        empty = not archive.stat().st_size
    except (OSError, HydraError) as error:
        _note_failure(note, error.message if isinstance(error, HydraError) else error)
        return None
    # An empty file stands for a Java that cannot make one: it is not tried again at each start.
    return None if empty else archive


def archive_flags(archive: Path | None) -> tuple[str, ...]:
    """The JVM flags with which a broker uses an archive; none without one."""
    return () if archive is None else (f"-XX:SharedArchiveFile={archive}",)


def _note_failure(note: Callable[[str], None], reason: object) -> None:
    note(f"Kafka boots without an archive of its classes, which takes some seconds more ({reason})")


def _fingerprint(java: Java, classpath: Sequence[Path]) -> str:
    """What an archive is valid for: what the JVM compares."""
    home = java.path.resolve().parent.parent
    parts = [str(home)]
    for path in (home / "lib" / "modules", *classpath):
        stat = path.stat()
        parts.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _make(archive: Path, java: Java, classpath: Sequence[Path], scratch: Path, note: Callable[[str], None]) -> None:
    """Put the archive in its place, or an empty file if this Java makes none that it can use."""
    _remove_old(archive.parent)
    with staging_dir(archive.parent) as staging:
        # Both JVMs of the broker's start write this file, the broker itself last.
        classes = staging / "classes.txt"
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
        made = staging / archive.name
        dump = ("-Xshare:dump", f"-XX:SharedClassListFile={classes}", *archive_flags(made))
        try:
            _run(java, dump, [], classpath, staging)
            # With this flag a JVM that cannot map the archive ends with an error, instead of silently going on.
            _run(java, ("-Xshare:on", *archive_flags(made)), ["-version"], classpath, staging)
        except JavaError as error:
            _note_failure(note, error.message)
            made.write_bytes(b"")
        made.replace(archive)


def _run(java: Java, flags: Sequence[str], main: Sequence[str], classpath: Sequence[Path], folder: Path) -> None:
    """Run a short JVM with the broker's flags and these. A JavaError is about this Java, any other about the moment."""
    log = folder / "jvm.log"
    log.unlink(missing_ok=True)
    command = java_command(java, (*broker_flags(_HEAP_MB), *flags), classpath, folder, main)
    process = start_jvm(command, folder, log, {})
    try:
        status = process.wait(timeout=DUMP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        # On a busy machine: another start may try again.
        raise InfrastructureError(f"java {flags[0]} timed out after {DUMP_TIMEOUT_S:g} s") from None
    finally:
        end_jvm(process)
    if status != 0:
        lines = log.read_text(errors="replace").splitlines() or ["no output"]
        raise JavaError(f"java {flags[0]} ended with exit status {status}: {lines[0]}")


def _remove_old(archives: Path) -> None:
    """Remove all archives but those that were used last."""
    by_use = sorted(archives.glob("*.jsa"), key=lambda archive: archive.stat().st_mtime, reverse=True)
    for archive in by_use[KEPT_ARCHIVES:]:
        with contextlib.suppress(OSError):
            archive.unlink()
            archive.with_suffix(".format").unlink(missing_ok=True)
