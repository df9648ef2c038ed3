"""The machine of this process: its clocks, its CPU time, and a process that stands in for the broker."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from hydra.tasks.host import LocalHost, read_clock


def busy_s():
    """CPU time of this process, which is a part of the machine's."""
    return time.process_time()


def test_clocks_are_those_of_this_process():
    before = time.monotonic(), time.time()
    clock = read_clock()
    after = time.monotonic(), time.time()
    assert before[0] <= clock.monotonic_s <= after[0]
    assert before[1] <= clock.wall_s <= after[1]
    assert LocalHost(lambda: 0).clock().boot_id == clock.boot_id


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names a boot")
def test_processes_of_one_host_name_the_same_boot():
    program = "from hydra.tasks.host import read_clock; print(read_clock().boot_id)"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout.strip() == read_clock().boot_id != ""


def test_a_system_that_does_not_name_its_boot(monkeypatch, tmp_path):
    from hydra.tasks import host

    monkeypatch.setattr(host, "_BOOT_ID", tmp_path / "none")
    host._boot_id.cache_clear()
    try:
        assert read_clock().boot_id == ""
    finally:
        host._boot_id.cache_clear()


def test_a_sample_counts_the_cpu_time_of_the_machine():
    host = LocalHost(lambda: 0)
    first, own_s, began_s = host.sample(1.5), busy_s(), time.monotonic()
    while busy_s() - own_s < 0.3:
        sum(range(1000))
    second = host.sample(2.5)
    used_s = second.busy_cpu_s - first.busy_cpu_s
    # The system counts in ticks of 10 ms, on each core.
    assert 0.3 - 0.1 <= used_s <= (time.monotonic() - began_s + 0.1) * host.cores
    assert (first.at_s, second.at_s) == (1.5, 2.5)
    assert 0 < first.memory_available_bytes <= psutil.virtual_memory().total
    assert (first.broker_cpu_s, first.broker_rss_bytes) == (None, None)
    assert host.cores == psutil.cpu_count()


def test_a_broker_on_this_machine_is_looked_at():
    sample = LocalHost(os.getpid).sample(0.0)
    times = os.times()
    assert sample.broker_cpu_s == pytest.approx(times.user + times.system, abs=0.2)
    assert sample.broker_rss_bytes > 1_000_000


def test_a_broker_that_has_ended_is_no_trouble():
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(60)
    sample = LocalHost(lambda: ended.pid).sample(0.0)
    assert (sample.broker_cpu_s, sample.broker_rss_bytes) == (None, None)


def test_a_broker_that_is_started_again_is_found():
    pids = iter([0, os.getpid()])
    host = LocalHost(lambda: next(pids))
    assert [host.sample(0.0).broker_rss_bytes is None for _ in range(2)] == [True, False]
