"""Write the jar lock file: ``python -m hydra.broker.update_jar_lockfile [VERSION]``; by default the newest Kafka 4.

For those who work on Hydra. It trusts what the repository serves today; everyone else gets exactly the jars that the
committed lock file names.
"""

from __future__ import annotations

import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.broker.download import repository_context
from hydra.broker.jar_lockfile import LOCK_FILE, LockedJar, lock_text, sha256_of
from hydra.errors import JarError
from hydra.files.atomic_write import atomic_write

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

KAFKA = ("org.apache.kafka", "kafka_2.13")
# Kafka logs through slf4j, without a binding among its dependencies. This one is small, starts at once and is
# configured by system properties. Its version is that of Kafka's slf4j-api.
LOG_BINDING = ("org.slf4j", "slf4j-simple")
LOG_API = ("org.slf4j", "slf4j-api")

_STABLE = re.compile(r"4\.\d+\.\d+")
_AT_RUN_TIME = ("compile", "runtime")


def main(arguments: list[str]) -> None:
    """Resolve, download, hash and write.

    Args:
        arguments: none, or the version of Kafka.

    Raises:
        JarError: no such version, or two jars have the same file name.
    """
    with tempfile.TemporaryDirectory(prefix="hydra-lock-") as folder:
        context = repository_context(Path(folder), lambda: False)
        version = arguments[0] if arguments else newest_version(context)
        artifacts = kafka_artifacts(context, version)
        with ThreadPoolExecutor(max_workers=6) as pool:
            jars = list(pool.map(_locked, artifacts))
    names = [jar.file_name for jar in jars]
    if len(set(names)) != len(names):
        raise JarError(f"two jars of Kafka {version} have the same file name")
    atomic_write(LOCK_FILE, lock_text(jars).encode())
    total_mb = sum(jar.size_bytes for jar in jars) / 1e6
    sys.stdout.write(f"{LOCK_FILE.name}: Kafka {version}, {len(jars)} jars, {total_mb:.1f} MB\n")


def newest_version(context: MavenContext) -> str:
    """The newest stable version of Kafka 4 that the repository lists.

    Raises:
        JarError: it lists none.
    """
    project = context.project(*KAFKA)
    project.update()
    stable = [c.version for c in project.versions() if _STABLE.fullmatch(c.version)]
    if not stable:
        raise JarError("the repository lists no stable Kafka 4", hint="check the network, or give a version")
    return max(stable, key=lambda version: tuple(map(int, version.split("."))))


def kafka_artifacts(context: MavenContext, version: str) -> list[Artifact]:
    """Kafka, its run-time dependencies and the log binding, in the order of the classpath."""
    # Not resolved together with Kafka: jgo treats every root as a BOM, and that of slf4j pins an old kafka-clients.
    kafka = context.create_dependency(":".join((*KAFKA, version)))
    roots, transitive = context.resolver.resolve([kafka])
    artifacts = [d.artifact for d in roots] + [d.artifact for d in transitive if d.scope in _AT_RUN_TIME]
    log_version = next(a.version for a in artifacts if (a.groupId, a.artifactId) == LOG_API)
    return [*artifacts, context.project(*LOG_BINDING).at_version(log_version).artifact()]


def _locked(artifact: Artifact) -> LockedJar:
    path = Path(artifact.resolve())
    parts = [artifact.groupId, artifact.artifactId, artifact.version]
    if artifact.classifier:
        parts.append(artifact.classifier)
    return LockedJar(":".join(parts), path.name, sha256_of(path), path.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
