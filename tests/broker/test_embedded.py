"""A real Kafka: started, used, killed, starved, and gone afterwards."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from hydra.broker import embedded
from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.exec_with_pdeathsig import main as bound_child
from hydra.broker.formatting import keep_format, restore_format
from hydra.broker.java import java_command
from hydra.errors import BrokerError, UsageError

pytestmark = pytest.mark.integration


def port_of(bootstrap_servers: str) -> int:
    return int(bootstrap_servers.rpartition(":")[2])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def produce(bootstrap_servers: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(20) == 0


def consume(bootstrap_servers: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "test", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


def create_topic(bootstrap_servers: str, topic: str, **configs: str) -> None:
    admin = KafkaTopicAdmin(bootstrap_servers)
    admin.create_topic(topic, partitions=1, configs={name.replace("_", "."): value for name, value in configs.items()})
    admin.close()


def test_records_go_in_and_come_out(broker):
    create_topic(broker.bootstrap_servers, "in-and-out")
    produce(broker.bootstrap_servers, "in-and-out", b"one", b"two")
    assert consume(broker.bootstrap_servers, "in-and-out", 2) == [b"one", b"two"]
    assert broker.returncode() is None


@pytest.mark.release
def test_what_the_first_start_formats_serves_the_next_one_and_a_port_that_is_taken_is_replaced(
    make_broker, tmp_path, monkeypatch
):
    programs, owners = [], []

    def command(java, flags, classpath, folder, main):
        programs.append(main[0])
        return java_command(java, flags, classpath, folder, main)

    monkeypatch.setattr(embedded, "java_command", command)
    choose = embedded.free_ports
    taken = socket.create_server(("127.0.0.1", 0))
    choices = iter([[taken.getsockname()[1], choose(1)[0]], choose(2), choose(2)])
    monkeypatch.setattr(embedded, "free_ports", lambda _count: next(choices))
    for name in ("first", "second"):
        with make_broker(tmp_path / name, kept_format=tmp_path / "kept") as broker:
            create_topic(broker.bootstrap_servers, name)
            produce(broker.bootstrap_servers, name, b"one")
            assert consume(broker.bootstrap_servers, name, 1) == [b"one"]
            owners.append((tmp_path / name / "data" / "meta.properties").read_text().splitlines())
            assert not is_free(taken.getsockname()[1])
            assert port_of(broker.bootstrap_servers) != taken.getsockname()[1]
    taken.close()
    assert next(choices, None) is None
    assert programs == ["kafka.tools.StorageTool", *["kafka.Kafka"] * 3]
    first, second = ({line for line in lines if not line.startswith("#")} for lines in owners)
    assert first & second == {"version=1", "node.id=1"}
    assert {line.partition("=")[0] for line in first} == {line.partition("=")[0] for line in second}


def test_a_format_that_is_not_known_here_is_not_kept(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "meta.properties").write_text("version=2\n")
    (data / "something.else").write_text("")
    keep_format(data, tmp_path / "kept")
    assert not restore_format(data, tmp_path / "kept", "id")


def test_the_child_is_on_its_own_and_knows_little(broker, monkeypatch):
    process = psutil.Process(broker.pid)
    environment = process.environ()
    assert environment["HYDRA_RUN_ID"] == "shared"
    assert set(environment) <= {"HYDRA_RUN_ID", "TZ", "LD_LIBRARY_PATH", "LC_CTYPE"}
    assert os.getsid(broker.pid) == broker.pid
    assert {c.laddr.ip.removeprefix("::ffff:") for c in process.net_connections() if c.status == "LISTEN"} == {
        "127.0.0.1"
    }
    soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard


def test_a_second_start_is_refused(broker):
    with pytest.raises(BrokerError, match="is already running"):
        broker.start(1)
    assert broker.returncode() is None


def test_nothing_is_left_after_the_stop(make_broker, tmp_path):
    folder = tmp_path / "deep" / "broker"
    broker = make_broker(folder)
    with broker:
        pid, port = broker.pid, port_of(broker.bootstrap_servers)
        listening = [c.laddr.port for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"]
        assert port in listening
        assert (folder / "data" / "meta.properties").exists()
    assert not psutil.pid_exists(pid)
    assert all(is_free(port) for port in listening)
    assert not folder.exists()
    assert not list(Path("/tmp").glob(f"hsperfdata_*/{pid}"))
    assert broker.returncode() == -signal.SIGKILL
    assert broker.last_lines(5) == ()
    broker.stop()


def test_a_broker_that_was_never_started_is_harmless(make_broker, tmp_path):
    broker = make_broker(tmp_path)
    broker.stop()
    assert tmp_path.exists()
    assert broker.returncode() is None
    for ask in (lambda: broker.pid, lambda: broker.bootstrap_servers):
        with pytest.raises(BrokerError, match="not started"):
            ask()


def test_a_folder_of_someone_else_is_refused_and_kept(make_broker, tmp_path):
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(BrokerError, match="cannot be written"):
        make_broker(tmp_path).start()
    assert (tmp_path / "mine").read_text() == "keep"


@pytest.mark.release
def test_a_killed_broker_is_seen_and_comes_back_with_its_data(make_broker, tmp_path, eventually):
    # The controller takes the broker back only when its session before is over.
    with make_broker(tmp_path / "broker", properties={"broker.session.timeout.ms": "2000"}) as broker:
        servers = broker.bootstrap_servers
        create_topic(servers, "kept")
        produce(servers, "kept", b"before")
        os.kill(broker.pid, signal.SIGKILL)
        eventually(lambda: broker.returncode() == -signal.SIGKILL)
        broker.start()
        assert broker.bootstrap_servers == servers
        assert consume(servers, "kept", 1) == [b"before"]
        # The state in which a broker cannot answer a polite signal.
        os.kill(broker.pid, signal.SIGSTOP)
        eventually(lambda: psutil.Process(broker.pid).status() == psutil.STATUS_STOPPED)
        pid = broker.pid
    assert not psutil.pid_exists(pid)


def test_retention_takes_records_within_seconds(broker, eventually):
    create_topic(broker.bootstrap_servers, "expiring", retention_ms="500", segment_ms="500")
    produce(broker.bootstrap_servers, "expiring", b"old")
    admin = KafkaTopicAdmin(broker.bootstrap_servers)
    eventually(lambda: admin.offsets("expiring")[0].start == 1, timeout_s=20)
    admin.close()


@pytest.mark.parametrize(
    ("properties", "quoted"),
    [
        ({"num.io.threads": "zero"}, "Invalid value zero for configuration num.io.threads"),
        pytest.param(
            {"authorizer.class.name": "no.such.Class"},
            "ClassNotFoundException: no.such.Class",
            marks=pytest.mark.release,
        ),
    ],
)
def test_a_bad_property_is_quoted_from_the_brokers_own_words(make_broker, tmp_path, properties, quoted):
    broker = make_broker(tmp_path / "broker", properties=properties)
    with pytest.raises(BrokerError, match=re.escape(quoted)):
        broker.start()
    assert broker.returncode() == 1
    assert not (tmp_path / "broker").exists()


def test_a_property_of_ours_is_refused(make_broker, tmp_path):
    with pytest.raises(UsageError, match="listeners is set by Hydra"):
        make_broker(tmp_path / "broker", properties={"listeners": "PLAINTEXT://0.0.0.0:9092"}).start()
    assert not (tmp_path / "broker").exists()


@pytest.mark.parametrize("timeout_s", [0.1, 1.2])
def test_a_start_that_takes_too_long_leaves_nothing(make_broker, tmp_path, timeout_s):
    broker = make_broker(tmp_path / "broker")
    with pytest.raises(BrokerError, match="timed out"):
        broker.start(timeout_s)
    assert not psutil.pid_exists(broker.pid)
    assert broker.returncode() == -signal.SIGKILL
    assert not (tmp_path / "broker").exists()


def test_a_java_that_fails_at_boot_is_quoted(make_broker, tmp_path, java):
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho no room for a heap >&2\nexit 9\n")
    broken.chmod(0o755)
    kept = tmp_path / "kept"
    kept.write_bytes(b"perhaps the cause")
    broker = make_broker(tmp_path / "broker", java=type(java)(broken, 25, "--java"), kept_format=kept)
    with pytest.raises(BrokerError, match=r"exit status 9.*no room for a heap.*--java"):
        broker.start()
    assert not kept.exists(), "the next start does without"


PARENT = """
import sys, time
from pathlib import Path
from hydra.broker.embedded import EmbeddedBroker
from tests.kafka_parts import kafka_parts

broker = EmbeddedBroker(**kafka_parts(Path(sys.argv[1])))
broker.start()
print(broker.pid, broker.bootstrap_servers, flush=True)
time.sleep(600)
"""


@pytest.mark.release
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_killed_parent_takes_the_broker_with_it(tmp_path, eventually):
    command = [sys.executable, "-c", PARENT, str(tmp_path / "broker")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            pid, servers = parent.stdout.readline().split()
            assert psutil.Process(int(pid)).ppid() == parent.pid
            assert not is_free(port_of(servers))
        finally:
            parent.kill()
    assert parent.returncode == -signal.SIGKILL
    eventually(lambda: is_free(port_of(servers)), timeout_s=5)
    eventually(lambda: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE)


def test_a_child_whose_parent_is_gone_does_not_begin():
    code = "import sys; from hydra.broker.exec_with_pdeathsig import main; sys.exit(main(1, ['/bin/echo', 'begun']))"
    run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False, timeout=30)
    assert (run.returncode, run.stdout) == (127, b"")


def test_a_child_that_cannot_begin_says_so():
    code = f"import os, sys; from {bound_child.__module__} import main; sys.exit(main(os.getppid(), ['/no/such']))"
    run = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False, timeout=30)
    assert run.returncode == 127
    assert b"cannot start /no/such" in run.stderr
