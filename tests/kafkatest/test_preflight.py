"""Each limit that a run can meet on its machine, alone; and what of them this machine has."""

import dataclasses
import resource
import subprocess
import sys

import pytest

from hydra.errors import CapacityError
from hydra.kafkatest import preflight
from hydra.kafkatest.preflight import Room, check_capacity, read_room, shortages
from hydra.options.options import Options

ENOUGH = Room(
    descriptors=20_000, memory_mib=8_000, memory_free_mib=6_000, processes_free=5_000, processes_limit="",
    ports=28_000, executable_folder=True,
)  # fmt: skip
HUNDRED = Options(total_sub_apps=100)
OLD = Options(total_sub_apps=1, kafka_version="0.9.0.1", sub_driver="kafka-python")
THREE = Options(total_sub_apps=100, brokers=3)
LARGE = Options(total_sub_apps=100, msg_size=2**20)
ZSTD = Options(broker_property=("compression.type=zstd",))
ELSEWHERE = Options(bootstrap_servers="127.0.0.1:9092", broker_heap_mb=100_000)


def found(options, present=None, **room):
    return [text for text, _ in shortages(options, dataclasses.replace(ENOUGH, **room), present)]


def test_where_there_is_enough_nothing_is_short():
    assert found(HUNDRED) == []
    assert found(HUNDRED, descriptors=None, processes_free=None, ports=None) == []


@pytest.mark.parametrize(
    ("options", "room", "text"),
    [
        (HUNDRED, {"descriptors": 1024}, "an embedded Kafka with 1000 clients needs 1500 file descriptors"),
        (HUNDRED, {"descriptors": 1499}, "a process may open 1499 here"),
        (Options(clients_per_app=1000, bootstrap_servers="h:1"), {"descriptors": 1000}, "a subscriber of 1000 clients"),
        (Options(total_sub_apps=400, clients_per_app=1, bootstrap_servers="h:1"), {"descriptors": 500}, "a controller"),
        (HUNDRED, {"memory_free_mib": 3_000}, "need about 4000 MiB of memory and 3000 MiB are free here"),
        (Options(broker_heap_mb=8_000), {}, "a heap of 8000 MiB may take"),
        (HUNDRED, {"memory_mib": 4_300}, "and Hydra may have 4300 MiB here"),
        (THREE, {"memory_free_mib": 5_000}, "need about 5200 MiB of memory and 5000 MiB are free here"),
        (OLD, {"memory_free_mib": 1_000}, "need about 1130 MiB of memory and 1000 MiB are free here"),
        (OLD, {"memory_mib": 1_600}, "with a heap of 1024 MiB may take 1654 MiB"),
        (THREE, {"memory_mib": 7_000}, "of 3 brokers, each with a heap of 1024 MiB may take 7072 MiB"),
        (LARGE, {"memory_free_mib": 4_000}, "need about 4900 MiB of memory and 4000 MiB are free here"),
        (Options(brokers=3, partitions=8), {"descriptors": 1000}, "an embedded Kafka with 1000 clients"),
        (Options(brokers=3, partitions=2, clients_per_app=500), {"descriptors": 1000}, "500 clients needs 1064"),
        (THREE, {"processes_free": 900, "processes_limit": "x"}, "need about 905 processes"),
        (HUNDRED, {"processes_free": 100, "processes_limit": "pids.max is 120"}, "pids.max is 120"),
        (HUNDRED, {"ports": 999}, "1000 clients need 1000 local ports and the system has 999"),
        (ZSTD, {"executable_folder": False}, "compression.type=zstd needs native code"),
        (Options(compression="snappy"), {"executable_folder": False}, "--compression=snappy needs native code"),
    ],
)  # fmt: skip
def test_each_limit_is_named_with_its_numbers(options, room, text):
    assert any(text in each for each in found(options, **room))


@pytest.mark.parametrize(
    ("options", "room"),
    [
        (ELSEWHERE, {}),
        (Options(), {"executable_folder": False}),
        (Options(broker_property=("compression.type=gzip",)), {"executable_folder": False}),
        (Options(compression="lz4"), {"executable_folder": False}),
        (Options(compression="zstd", bootstrap_servers="h:1"), {"executable_folder": False}),
    ],
)
def test_what_the_run_does_not_need_is_not_looked_at(options, room):
    assert found(options, **room) == []


def test_what_is_up_already_is_not_needed_again():
    more = Options(total_sub_apps=110)
    assert found(more, memory_free_mib=400, processes_free=60, processes_limit="x")
    assert found(more, present=HUNDRED, memory_free_mib=400, processes_free=60) == []


def test_all_limits_are_told_at_once(monkeypatch):
    short = dataclasses.replace(ENOUGH, descriptors=1000, processes_free=10, processes_limit="ulimit -u is 50")
    monkeypatch.setattr(preflight, "read_room", lambda: short)
    with pytest.raises(
        CapacityError, match=r"1500 file descriptors .*; .* processes and threads, and 10 more .*ulimit"
    ) as error:
        check_capacity(HUNDRED)
    assert error.value.exit_code == 2
    check_capacity(dataclasses.replace(HUNDRED, marathon_url="http://m:8080"))


def test_this_machine_has_something():
    room = read_room()
    assert 0 < room.memory_free_mib <= room.memory_mib
    assert room.processes_free is None or room.processes_free > 0


def test_a_soft_limit_of_files_is_no_limit():
    program = (
        "import resource; from hydra.run.cgroups import raise_descriptor_limit;"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard));"
        "raise_descriptor_limit(); print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    soft, hard = map(int, ended.stdout.split())
    assert soft == hard or (hard == resource.RLIM_INFINITY and soft > 1000)


@pytest.mark.parametrize(("option", "executable"), [("noexec", False), ("size=8m", True)])
def test_a_temporary_folder_in_which_nothing_may_be_executed_is_seen(mounted, option, executable):
    program = "from hydra.kafkatest.preflight import read_room; print(read_room().executable_folder)"
    ended = mounted(option, sys.executable, "-c", program)
    assert ended.stdout.split() == [str(executable)], ended.stderr


@pytest.mark.integration
def test_compression_by_native_code_is_refused_where_nothing_may_be_executed(mounted):
    command = [sys.executable, "-m", "hydra", "kafka", "--total_sub_apps=1", "--compression=zstd"]
    ended = mounted("noexec", *command)
    assert ended.returncode == 2, ended.stderr
    assert "--compression=zstd needs native code" in ended.stderr
    assert "set TMPDIR to a folder without noexec" in ended.stderr
