"""The jar lock file: every jar of the embedded broker's classpath, with its SHA-256.

A line has four fields with one space between them; lines that start with ``#`` are comments::

    <sha256, 64 hex digits> <size in bytes> <file name> <group:artifact:version[:classifier]>
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import JarError
from hydra.files.atomic_write import atomic_write
from hydra.options.kafka_versions import BUNDLED_VERSION, OLD_VERSION, VERSIONS

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

LOCK_FILE = Path(__file__).with_name("kafka.lock")
"""Of the bundled version."""

_LINE = re.compile(
    r"(?P<sha256>[0-9a-f]{64}) (?P<size>\d{1,12}) (?P<file>[\w.+-]+\.jar) (?P<coordinate>[\w.-]+(?::[\w.+-]+){2,3})"
)
_COMMENT = """\
# Apache Kafka and its dependencies: the only jars on the embedded broker's classpath.
# Written by `python -m hydra.broker.jar_lockfile`.
# Fields: SHA-256, size in bytes, file name, group:artifact:version[:classifier].
"""
_CHUNK_BYTES = 1 << 20
_READ_TIMEOUT_S = 10

KAFKA = ("org.apache.kafka", "kafka_2.13")
OLD_KAFKA = ("org.apache.kafka", "kafka_2.11")
# Dependencies of log4j 1.2 and of ZooKeeper's shell, which a server never loads.
_UNUSED_BY_OLD = {"mail", "activation", "junit", "jline"}
# Kafka logs through slf4j, without a binding among its dependencies. This one is small, starts at once and is
# configured by system properties. Its version is that of Kafka's slf4j-api.
LOG_BINDING = ("org.slf4j", "slf4j-simple")
LOG_API = ("org.slf4j", "slf4j-api")

_STABLE = re.compile(r"4\.\d+\.\d+")


@dataclass(frozen=True)
class LockedJar:
    """One jar of the lock file."""

    coordinate: str  # group:artifact:version[:classifier], as Maven writes it
    file_name: str
    sha256: str  # of the file's bytes, lower-case hex
    size_bytes: int


def lock_file(version: str | None) -> Path:
    """The lock file of a version of Kafka, with the ZooKeeper that it needs; None: of the bundled one."""
    return LOCK_FILE if version in {None, BUNDLED_VERSION} else LOCK_FILE.with_name(f"kafka-{version}.lock")


def read_lock(path: Path = LOCK_FILE) -> tuple[LockedJar, ...]:
    """The jars of a lock file, in the order of the classpath.

    Raises:
        JarError: the file is missing or empty, has an invalid line, or names a file twice.
    """
    hint = "install hydra-scaletest again, or write the lock file again with `python -m hydra.broker.jar_lockfile`"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JarError(f"the jar lock file {path} cannot be read ({error})", hint=hint) from error
    jars: dict[str, LockedJar] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or match["file"] in jars:
            raise JarError(f"line {number} of the jar lock file {path} is invalid or a duplicate", hint=hint)
        jars[match["file"]] = LockedJar(match["coordinate"], match["file"], match["sha256"], int(match["size"]))
    if not jars:
        raise JarError(f"the jar lock file {path} has no jar", hint=hint)
    return tuple(jars.values())


def lock_text(jars: Iterable[LockedJar]) -> str:
    """The content of a lock file with these jars."""
    lines = (f"{jar.sha256} {jar.size_bytes} {jar.file_name} {jar.coordinate}\n" for jar in jars)
    return _COMMENT + "".join(lines)


def kafka_version(jars: Iterable[LockedJar]) -> str:
    """The version of Kafka among the jars, such as ``4.1.1``."""
    for jar in jars:
        group, artifact, version = jar.coordinate.split(":")[:3]
        if group == "org.apache.kafka" and artifact.startswith("kafka_"):
            return version
    raise JarError("the jar lock file has no org.apache.kafka:kafka_2.13")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def repository_context(folder: Path, is_over: Callable[[], bool]) -> MavenContext:
    """Jgo's access to the public repository, and to those in the user's jgo settings, which come first.

    Its files go to ``folder``, and a download stops once ``is_over`` returns True.
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


def main(arguments: list[str]) -> None:
    """Write the lock file: ``python -m hydra.broker.jar_lockfile [VERSION]``; by default the newest Kafka 4.

    Older versions that can be embedded have a lock file each. For those who work on Hydra. It trusts what the
    repository serves today; everyone else gets exactly the jars that the committed lock files name.

    Raises:
        JarError: no such version, or two jars have the same file name.
    """
    with tempfile.TemporaryDirectory(prefix="hydra-lock-") as folder:
        context = repository_context(Path(folder), lambda: False)
        version = arguments[0] if arguments else _newest_version(context)
        artifacts = _old_artifacts(context) if version == OLD_VERSION else _kafka_artifacts(context, version)
        with ThreadPoolExecutor(max_workers=6) as pool:
            jars = list(pool.map(_locked, artifacts))
    names = [jar.file_name for jar in jars]
    if len(set(names)) != len(names):
        raise JarError(f"two jars of Kafka {version} have the same file name")
    path = lock_file(version if version in VERSIONS else None)
    atomic_write(path, lock_text(jars).encode())
    total_mb = sum(jar.size_bytes for jar in jars) / 1e6
    sys.stdout.write(f"{path.name}: Kafka {version}, {len(jars)} jars, {total_mb:.1f} MB\n")


def _newest_version(context: MavenContext) -> str:
    project = context.project(*KAFKA)
    project.update()
    stable = [c.version for c in project.versions() if _STABLE.fullmatch(c.version)]
    if not stable:
        raise JarError("the repository lists no stable Kafka 4", hint="check the network, or give a version")
    return max(stable, key=lambda version: tuple(map(int, version.split("."))))


def _kafka_artifacts(context: MavenContext, version: str) -> list[Artifact]:
    """Kafka, its run-time dependencies and the log binding, in the order of the classpath."""
    # Not resolved together with Kafka: jgo treats every root as a BOM, and that of slf4j pins an old kafka-clients.
    kafka = context.create_dependency(":".join((*KAFKA, version)))
    roots, transitive = context.resolver.resolve([kafka])
    artifacts = [d.artifact for d in roots] + [d.artifact for d in transitive if d.scope in ("compile", "runtime")]
    log_version = next(a.version for a in artifacts if (a.groupId, a.artifactId) == LOG_API)
    return [*artifacts, context.project(*LOG_BINDING).at_version(log_version).artifact()]


def _old_artifacts(context: MavenContext) -> list[Artifact]:
    """Kafka 0.9.0.1, which names its ZooKeeper and its log binding itself, in the order of the classpath."""
    roots, transitive = context.resolver.resolve([context.create_dependency(":".join((*OLD_KAFKA, OLD_VERSION)))])
    needed = [d.artifact for d in transitive if d.scope in ("compile", "runtime")]
    return [*(d.artifact for d in roots), *(a for a in needed if a.artifactId not in _UNUSED_BY_OLD)]


def _locked(artifact: Artifact) -> LockedJar:
    path = Path(artifact.resolve())
    parts = [artifact.groupId, artifact.artifactId, artifact.version]
    if artifact.classifier:
        parts.append(artifact.classifier)
    return LockedJar(":".join(parts), path.name, sha256_of(path), path.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
