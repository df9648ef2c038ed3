"""The jar lock file: every jar of the embedded broker's classpath, with its SHA-256.

A line has four fields with one space between them; lines that start with ``#`` are comments::

    <sha256, 64 hex digits> <size in bytes> <file name> <group:artifact:version[:classifier]>
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import JarError

LOCK_FILE = Path(__file__).with_name("kafka.lock")

_LINE = re.compile(
    r"(?P<sha256>[0-9a-f]{64}) (?P<size>\d{1,12}) (?P<file>[\w.+-]+\.jar) (?P<coordinate>[\w.-]+(?::[\w.+-]+){2,3})"
)
_COMMENT = """\
# Apache Kafka and its dependencies: the only jars on the embedded broker's classpath.
# Written by `python -m hydra.broker.update_jar_lockfile`.
# Fields: SHA-256, size in bytes, file name, group:artifact:version[:classifier].
"""
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class LockedJar:
    """One jar of the lock file."""

    coordinate: str  # group:artifact:version[:classifier], as Maven writes it
    file_name: str
    sha256: str  # of the file's bytes, lower-case hex
    size_bytes: int


def read_lock(path: Path = LOCK_FILE) -> tuple[LockedJar, ...]:
    """The jars of a lock file, in the order of the classpath.

    Raises:
        JarError: the file is missing or empty, has an invalid line, or names a file twice.
    """
    hint = (
        "install hydra-scaletest again, or write the lock file again with `python -m hydra.broker.update_jar_lockfile`"
    )
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
    """The version of Kafka among the jars, such as ``4.1.1``.

    Raises:
        JarError: Kafka is not among them.
    """
    for jar in jars:
        group, artifact, version = jar.coordinate.split(":")[:3]
        if group == "org.apache.kafka" and artifact.startswith("kafka_"):
            return version
    raise JarError("the jar lock file has no org.apache.kafka:kafka_2.13")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, lower-case hex.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
