"""Jars are fetched once, checked always, and never used with other bytes than the lock's.

jgo fetches from a repository of ours on loopback, which the user's jgo settings name; the public one is out of reach.
"""

from __future__ import annotations

import gc
import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import threading
import time
import warnings

import pytest

from hydra.broker import classpath as jars_module
from hydra.broker.classpath import resolve_classpath
from hydra.broker.jar_lockfile import LockedJar, read_lock
from hydra.errors import JarError

# jgo leaves its response to the garbage collection when a download fails.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

KAFKA = "org.apache.kafka:kafka_2.13:4.0.0"
NATIVE = "org.example:native:1.2:linux"
PLAIN = "org.example:plain:3"


class Repository(http.server.ThreadingHTTPServer):
    """A Maven repository: bytes by path, and what to do wrong."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.drip_s = 0.0  # between the bytes of a body
        self.cut = False  # close in the middle of a body

    def add(self, coordinate: str, content: bytes) -> LockedJar:
        group, artifact, version, *classifier = coordinate.split(":")
        file_name = "-".join([artifact, version, *classifier]) + ".jar"
        self.contents["/".join(["", *group.split("."), artifact, version, file_name])] = content
        return LockedJar(coordinate, file_name, hashlib.sha256(content).hexdigest(), len(content))

    def asked_for(self, jar: LockedJar) -> int:
        return sum(path.endswith("/" + jar.file_name) for path in self.asked)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.contents.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        sent = content[: len(content) // 2] if self.server.cut else content
        if not self.server.drip_s:
            self.wfile.write(sent)
            return
        for byte in sent:
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return
            time.sleep(self.server.drip_s)

    def log_message(self, *_args):
        pass


@pytest.fixture
def repository(tmp_path, monkeypatch):
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        settings = tmp_path / "jgo.conf"
        settings.write_text(f"[repositories]\nours = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        cut_off(monkeypatch)
        yield server
        server.shutdown()
        thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def cut_off(monkeypatch) -> None:
    """No way out of this machine: the proxy is a port where nobody listens."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def locked(repository):
    return [
        repository.add(KAFKA, b"kafka" * 5000),
        repository.add(NATIVE, b"native"),
        repository.add(PLAIN, b"plain"),
    ]


def test_the_first_time_all_are_fetched_and_said(tmp_path, repository, locked):
    lines: list[str] = []
    paths = resolve_classpath(locked, folder=tmp_path / "jars", progress=lines.append)
    assert [path.read_bytes() for path in paths] == [b"kafka" * 5000, b"native", b"plain"]
    assert lines[0] == "downloading Kafka 4.0.0: 3 jars, 0.0 MB, once"
    assert lines[-1] == "downloading Kafka 4.0.0: 3 of 3 jars, 0.0 of 0.0 MB"
    assert [repository.asked_for(jar) for jar in locked] == [1, 1, 1]
    assert {entry.name for entry in (tmp_path / "jars").iterdir()} == {".lock", *(jar.file_name for jar in locked)}


def test_the_second_time_nothing_is_asked(tmp_path, repository, locked):
    resolve_classpath(locked, folder=tmp_path / "jars")
    before = len(repository.asked)
    resolve_classpath(locked, folder=tmp_path / "jars", progress=pytest.fail)
    assert len(repository.asked) == before


@pytest.mark.parametrize("damage", [b"", b"kafk", b"kafka" * 4999 + b"kafkb"])
def test_a_damaged_jar_is_fetched_again_and_only_it(tmp_path, repository, locked, damage):
    folder = tmp_path / "jars"
    paths = resolve_classpath(locked, folder=folder)
    paths[0].write_bytes(damage)
    assert resolve_classpath(locked, folder=folder)[0].read_bytes() == b"kafka" * 5000
    assert [repository.asked_for(jar) for jar in locked] == [2, 1, 1]


def test_a_jar_that_is_delivered_wrong_is_named_and_not_kept(tmp_path, repository, locked):
    repository.add(NATIVE, b"something else")
    with pytest.raises(JarError, match=rf"{NATIVE} has the SHA-256 .* the lock file says {locked[1].sha256}"):
        resolve_classpath(locked, folder=tmp_path / "jars")
    assert not (tmp_path / "jars" / locked[1].file_name).exists()
    assert not list((tmp_path / "jars").glob(".partial-*"))


def test_a_damaged_jar_that_cannot_be_had_again_is_named_and_gone(tmp_path, repository, locked):
    paths = resolve_classpath(locked, folder=tmp_path / "jars")
    paths[2].write_bytes(b"damaged")
    repository.contents.clear()
    with pytest.raises(JarError, match=rf"{PLAIN} cannot be downloaded.*copy the cache folder"):
        resolve_classpath(locked, folder=tmp_path / "jars")
    assert not paths[2].exists()
    assert paths[0].exists()


def test_a_download_that_is_cut_is_named(tmp_path, repository, locked):
    repository.cut = True
    with pytest.raises(JarError, match=r"the jar org\..* (cannot be downloaded|has the SHA-256)"):
        resolve_classpath(locked, folder=tmp_path / "jars")
    assert not list((tmp_path / "jars").glob("*.jar"))


def test_what_a_killed_download_left_is_removed(tmp_path, locked):
    left_over = tmp_path / "jars" / ".partial-x"
    left_over.mkdir(parents=True)
    (left_over / "half.jar").write_bytes(b"ha")
    resolve_classpath(locked, folder=tmp_path / "jars")
    assert not left_over.exists()


def test_a_download_that_never_ends_is_given_up(tmp_path, repository, locked):
    repository.drip_s = 0.05  # the first jar would take 20 minutes
    started = time.monotonic()
    with pytest.raises(JarError, match="timed out"):
        resolve_classpath(locked, folder=tmp_path / "jars", timeout_s=1.5)
    assert time.monotonic() - started < 5


def test_other_files_in_the_cache_are_not_on_the_classpath(tmp_path, locked):
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / "evil.jar").write_bytes(b"evil")
    assert resolve_classpath(locked, folder=folder) == tuple(folder / jar.file_name for jar in locked)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, locked):
    (tmp_path / "file").write_text("")
    with pytest.raises(JarError, match=r"file/jars cannot be written.*XDG_CACHE_HOME"):
        resolve_classpath(locked, folder=tmp_path / "file" / "jars")


def test_two_processes_fetch_each_jar_once(tmp_path, repository, locked):
    repository.drip_s = 0.1
    small = [*locked[1:], repository.add(KAFKA, b"kafka")]
    code = (
        "import json, sys; from pathlib import Path\n"
        "from hydra.broker.classpath import resolve_classpath; from hydra.broker.jar_lockfile import LockedJar\n"
        "jars = [LockedJar(*fields) for fields in json.loads(sys.argv[1])]\n"
        "print([p.read_bytes() for p in resolve_classpath(jars, folder=Path(sys.argv[2]))])"
    )
    fields = json.dumps([[jar.coordinate, jar.file_name, jar.sha256, jar.size_bytes] for jar in small])
    command = [sys.executable, "-c", code, fields, str(tmp_path / "jars")]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert outputs == [b"[b'native', b'plain', b'kafka']\n"] * 2
    assert [repository.asked_for(jar) for jar in small] == [1, 1, 1]


def test_one_that_waits_for_another_gives_up_in_time(tmp_path, locked):
    folder = tmp_path / "jars"
    folder.mkdir()
    lines: list[str] = []
    with (
        jars_module._write_lock(folder, lines.append, time.monotonic() + 5),
        pytest.raises(JarError, match="too long"),
    ):
        resolve_classpath(locked, folder=folder, progress=lines.append, timeout_s=0.3)
    assert lines == ["waiting for another process to download Kafka"]


def test_a_separator_of_class_paths_in_the_path_of_the_cache_is_refused(tmp_path, repository, locked):
    with pytest.raises(JarError, match=r"a:b/jars has ':' in its path.*set XDG_CACHE_HOME to a folder without ':'"):
        resolve_classpath(locked, folder=tmp_path / "a:b" / "jars")
    assert (repository.asked, list(tmp_path.glob("a*"))) == ([], [])


class TestTheRealJars:
    def test_a_full_cache_needs_neither_jgo_nor_the_network(self, classpath, monkeypatch):
        cut_off(monkeypatch)
        code = (
            "import sys; from hydra.broker.classpath import resolve_classpath\n"
            "print(len(resolve_classpath()), sorted({'jgo', 'requests', 'kafka'} & set(sys.modules)))"
        )
        run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=30)
        assert run.stdout.decode().split(maxsplit=1) == [str(len(classpath)), "[]\n"]

    def test_a_jar_with_one_wrong_bit_is_named_before_a_jvm_starts(self, classpath, tmp_path, monkeypatch):
        cut_off(monkeypatch)
        copy = tmp_path / "jars"
        shutil.copytree(classpath[0].parent, copy)
        victim = next(jar for jar in read_lock() if "kafka-clients" in jar.coordinate)
        with (copy / victim.file_name).open("r+b") as file:
            file.seek(victim.size_bytes // 2)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 1]))
        with pytest.raises(JarError, match=victim.coordinate):
            resolve_classpath(folder=copy)

    def test_checking_them_is_quick(self, classpath):
        started = time.monotonic()
        assert resolve_classpath(progress=pytest.fail) == classpath
        assert time.monotonic() - started < 2  # 0.05 s on an idle machine
