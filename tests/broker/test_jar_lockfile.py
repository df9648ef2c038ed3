"""The lock file: what is committed, and what a broken one says."""

from __future__ import annotations

import hashlib

import pytest

from hydra.broker.jar_lockfile import (
    LockedJar,
    kafka_version,
    lock_file,
    lock_text,
    read_lock,
    sha256_of,
)
from hydra.errors import JarError
from hydra.options.kafka_versions import VERSIONS

JAR = LockedJar("org.example:thing_2.13:1.0.2:linux", "thing_2.13-1.0.2-linux.jar", "0" * 64, 12)
LINE = f"{JAR.sha256} {JAR.size_bytes} {JAR.file_name} {JAR.coordinate}\n"


def test_the_committed_lock_holds_one_kafka_4_and_a_log_binding():
    jars = read_lock()
    assert kafka_version(jars).startswith("4.")
    kafka = [jar.coordinate.split(":") for jar in jars if jar.coordinate.startswith("org.apache.kafka:")]
    assert {version for _, _, version in kafka} == {kafka_version(jars)}
    assert "kafka-clients" in {artifact for _, artifact, _ in kafka}
    assert any(jar.coordinate.startswith("org.slf4j:slf4j-simple:") for jar in jars)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_committed_lock_is_what_the_tool_writes(version):
    path = lock_file(version)
    assert path.read_text(encoding="utf-8") == lock_text(read_lock(path))


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "some.lock"
    path.write_text(lock_text([JAR]), encoding="utf-8")
    assert read_lock(path) == (JAR,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# a remark only\n",
        "nonsense\n",
        LINE + LINE,
        LINE.replace("0" * 64, "0" * 63),
        LINE.replace("0" * 64, "g" * 64),
        LINE.replace(JAR.file_name, "../escape.jar"),
        LINE.replace(JAR.file_name, "/tmp/escape.jar"),
        LINE.replace(JAR.file_name, "thing.zip"),
        LINE.replace(JAR.coordinate, "thing"),
        LINE.replace(" 12 ", " -1 "),
    ],
)
def test_a_broken_lock_is_refused_by_name(tmp_path, text):
    path = tmp_path / "some.lock"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(JarError, match=r"some\.lock.*hydra\.broker\.jar_lockfile"):
        read_lock(path)


def test_a_missing_or_binary_lock_is_refused_by_name(tmp_path):
    with pytest.raises(JarError, match=r"none\.lock"):
        read_lock(tmp_path / "none.lock")
    (tmp_path / "binary.lock").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JarError, match=r"binary\.lock"):
        read_lock(tmp_path / "binary.lock")


def test_a_lock_without_kafka_has_no_version():
    with pytest.raises(JarError, match=r"has no org\.apache\.kafka"):
        kafka_version([JAR])


def test_the_hash_is_of_all_bytes(tmp_path):
    content = bytes(range(256)) * 9000  # more than one chunk
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
