"""The machine of this process: its clocks, its CPU time, and a process that stands in for the broker."""

import os
import resource
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from hydra.accounting.stats import LinkTraffic
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.run.cgroups import affinity, usable_cpus
from hydra.tasks.host import (
    LinkReading,
    LocalHost,
    Reading,
    host_traffic,
    process_reader,
    process_usage,
    read_clock,
    read_links,
    read_usage,
)


def busy_s():
    """CPU time of this process, which is a part of the machine's."""
    return time.process_time()


def test_clocks_are_those_of_this_process():
    before = time.monotonic(), time.time()
    clock = read_clock()
    after = time.monotonic(), time.time()
    assert before[0] <= clock.monotonic_s <= after[0]
    assert before[1] <= clock.wall_s <= after[1]
    assert LocalHost(tuple).clock().boot_id == clock.boot_id


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names a boot")
def test_processes_of_one_host_name_the_same_boot():
    program = "from hydra.tasks.host import read_clock; print(read_clock().boot_id)"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout.strip() == read_clock().boot_id != ""


def test_a_system_that_does_not_name_its_boot(monkeypatch, tmp_path):
    from hydra.files import process_identity

    monkeypatch.setattr(process_identity, "_BOOT_ID", tmp_path / "none")
    process_identity.boot_id.cache_clear()
    try:
        assert read_clock().boot_id == ""
    finally:
        process_identity.boot_id.cache_clear()


def test_a_sample_counts_the_cpu_time_of_the_machine():
    host = LocalHost(tuple)
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
    assert host.cores == usable_cpus() <= psutil.cpu_count()


class Kernel:
    """Files of a machine whose first CPUs do nothing, and of a cgroup that has used up its quota."""

    def __init__(self):
        self.used_s, self.throttled, self.busy_ticks = 0.0, 0, 0

    def __call__(self, path):
        stat = "".join(f"cpu{cpu} {self.busy_ticks} 0 0 100 0 0 0 0 0 0\n" for cpu in affinity())
        return {
            "/proc/self/cgroup": "0::/\n",
            "/proc/self/mountinfo": "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "/sys/fs/cgroup/cpu.max": "50000 100000\n",
            "/sys/fs/cgroup/cpu.stat": f"usage_usec {self.used_s * 1e6:.0f}\nnr_throttled {self.throttled}\n",
            "/proc/stat": f"cpu 1 2 3 4\n{stat}",
        }.get(path)


def test_within_a_quota_what_is_used_up_is_the_quota(monkeypatch):
    kernel, now = Kernel(), [100.0]
    monkeypatch.setattr("hydra.tasks.host.time.monotonic", lambda: now[0])
    host = LocalHost(tuple, kernel)
    first = host.sample(0.0)
    now[0], kernel.used_s, kernel.throttled = 102.0, 1.0, 8
    second = host.sample(2.0)
    assert (host.cores, first.throttled_s) == (0.5, 0.0)
    assert second.busy_cpu_s - first.busy_cpu_s == pytest.approx(0.5 * 2)
    assert second.throttled_s == pytest.approx(0.8)


def test_within_a_quota_cpus_that_others_keep_busy_are_busy(monkeypatch):
    kernel, now = Kernel(), [100.0]
    monkeypatch.setattr("hydra.tasks.host.time.monotonic", lambda: now[0])
    host = LocalHost(tuple, kernel)
    first = host.sample(0.0)
    now[0], kernel.busy_ticks = 102.0, 2 * os.sysconf("SC_CLK_TCK")
    second = host.sample(2.0)
    assert second.busy_cpu_s - first.busy_cpu_s == pytest.approx(0.5 * 2)
    assert second.throttled_s == 0.0


def test_a_task_looks_at_its_host_where_its_controller_may_be_elsewhere():
    here, there = (RunOrder("r", Options(marathon_url=url)) for url in (None, "http://m:8080"))
    assert process_reader(here)().host_cpu is None
    read = process_reader(there)
    first, used = read().host_cpu, time.process_time()
    while time.process_time() < used + 0.2:
        pass
    second = read().host_cpu
    assert second.cpus == LocalHost(tuple).cores
    assert second.busy_s > first.busy_s == 0.0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds a process to CPUs")
def test_a_process_bound_to_one_cpu_has_one():
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from hydra.tasks.host import LocalHost; print(LocalHost(tuple).cores <= 1)"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout.strip() == "True"


def test_a_broker_on_this_machine_is_looked_at():
    sample = LocalHost(lambda: [os.getpid()]).sample(0.0)
    times = os.times()
    assert sample.broker_cpu_s == pytest.approx(times.user + times.system, abs=0.2)
    assert sample.broker_rss_bytes > 1_000_000


def test_a_broker_that_has_ended_is_no_trouble():
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(60)
    sample = LocalHost(lambda: [ended.pid]).sample(0.0)
    assert (sample.broker_cpu_s, sample.broker_rss_bytes) == (None, None)


COMPILER = """
import ctypes, sys, threading, time
def work():
    ctypes.CDLL(None).prctl(15, b"C2 CompilerThread0")  # PR_SET_NAME
    while time.thread_time() < 0.5:
        pass
    print("compiled", flush=True)
    over.wait()
over = threading.Event()
thread = threading.Thread(target=work)
thread.start()
sys.stdin.read()
over.set()
thread.join()
print("ended", flush=True)
time.sleep(60)
"""


def test_what_a_jvms_compilers_use_is_no_work_of_the_broker():
    with subprocess.Popen([sys.executable, "-c", COMPILER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as broker:
        try:
            host = LocalHost(lambda: [broker.pid])
            assert broker.stdout.readline() == b"compiled\n"
            before, used_s = host.broker_cpu(), host.sample(0.0).broker_cpu_s
            assert used_s - before.work_s == pytest.approx(0.5, abs=0.1)
            assert before.compilers_s == pytest.approx(0.5, abs=0.1)
            broker.stdin.close()
            assert broker.stdout.readline() == b"ended\n"
            after = host.broker_cpu()
            assert after.work_s - before.work_s < 0.3
            assert after.compilers_s >= before.compilers_s  # what it used before it ended is not forgotten
        finally:
            broker.kill()
    assert LocalHost(tuple).broker_cpu() is None


@pytest.mark.skipif(sys.platform != "linux", reason="CPUs are chosen by affinity")
def test_compilers_that_others_keep_from_the_cpu_have_waited():
    cpu = min(os.sched_getaffinity(0))
    pinned = f"import os; os.sched_setaffinity(0, {{{cpu}}})\n"
    with (
        subprocess.Popen([sys.executable, "-c", f"{pinned}while True: pass"]) as other,
        subprocess.Popen(
            [sys.executable, "-c", pinned + COMPILER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as broker,
    ):
        try:
            assert broker.stdout.readline() == b"compiled\n"
            used = LocalHost(lambda: [broker.pid]).broker_cpu()
            assert used.compilers_s == pytest.approx(0.5, abs=0.1)
            assert used.compilers_waited_s > 0.1
        finally:
            broker.kill()
            other.kill()


def test_a_broker_that_is_started_again_is_found():
    pids = iter([(), (os.getpid(),)])
    host = LocalHost(lambda: next(pids))
    assert [host.sample(0.0).broker_rss_bytes is None for _ in range(2)] == [True, False]


def test_of_several_brokers_the_cpu_time_is_summed_and_does_not_fall_when_one_ends():
    program = (
        "import time; s = time.process_time()\nwhile time.process_time() - s < 0.1: pass\nprint(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as broker:
        host = LocalHost(lambda: [os.getpid(), broker.pid])
        assert broker.stdout.readline()
        both = host.sample(0.0)
        alone = LocalHost(lambda: [os.getpid()]).sample(0.0)
        broker.communicate(b"\n", timeout=60)
    one = host.sample(1.0)
    assert both.broker_cpu_s >= alone.broker_cpu_s + 0.05
    assert one.broker_cpu_s >= both.broker_cpu_s
    assert one.broker_rss_bytes < both.broker_rss_bytes


COUNTERS = """\
Inter-|   Receive                                                |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 1100 7 0 0 0 0 0 0 1100 7 0 0 0 0 0 0
  eth0:4848204361  180117    0    0    0     0          0         0 12674524  129305    0    0    0     0 0 0
  eth1: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0
"""


def test_counters_and_speeds_of_all_interfaces(tmp_path):
    (tmp_path / "dev").write_text(COUNTERS)
    for name, speed in (("eth0", "1000\n"), ("eth1", "-1\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "speed").write_text(speed)
    assert read_links(tmp_path / "dev", tmp_path) == (
        LinkReading("lo", 1100, 1100, None),
        LinkReading("eth0", 12674524, 4848204361, 125_000_000.0),
        LinkReading("eth1", 6, 5, None),
    )


def test_a_system_without_these_files_is_read_by_another_library(tmp_path):
    assert {link.name for link in read_links(tmp_path / "dev", tmp_path)} == set(psutil.net_io_counters(pernic=True))


def test_both_ways_agree_on_this_host(tmp_path):
    begin = {name: counted.bytes_recv for name, counted in psutil.net_io_counters(pernic=True).items()}
    here = {link.name: link.received_bytes for link in read_links()}
    end = {name: counted.bytes_recv for name, counted in psutil.net_io_counters(pernic=True).items()}
    assert here.keys() == begin.keys()
    assert all(begin[name] <= here[name] <= end[name] for name in here)


def burn(cpu_s):
    """Use that much CPU, on whatever machine."""
    until_s = resource.getrusage(resource.RUSAGE_SELF).ru_utime + cpu_s
    while resource.getrusage(resource.RUSAGE_SELF).ru_utime < until_s:
        sum(range(1000))


def send_over_loopback(size_bytes):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as sender:
            receiver, _ = server.accept()
            thread = threading.Thread(target=lambda: sender.sendall(b"x" * size_bytes))
            thread.start()
            left = size_bytes
            with receiver:
                while left:
                    left -= len(receiver.recv(65536))
            thread.join()


LATER = LinkReading("eth1", 9_000_000, 9_000_000, 4000.0)


def test_cpu_that_was_used_shows():
    begin = read_usage()
    burn(0.2)
    end = read_usage()
    found = process_usage(begin, end)
    assert end.cpu_s - begin.cpu_s >= 0.2
    assert found.window_s >= 0.15
    assert found.cpu_percent == pytest.approx(100 * (end.cpu_s - begin.cpu_s) / found.window_s)
    assert found.cpu_percent > 1


def test_cpu_is_percent_of_one_core_over_the_window():
    found = process_usage(Reading(10.0, 1.0, ()), Reading(14.0, 3.0, ()))
    assert (found.cpu_percent, found.window_s) == (50.0, 4.0)


def test_memory_is_this_process_s():
    found = process_usage(read_usage(), read_usage())
    with open(f"/proc/{os.getpid()}/statm") as statm:
        held = int(statm.read().split()[1]) * resource.getpagesize()
    assert found.rss_bytes == pytest.approx(held, rel=0.2)


def test_bytes_over_loopback_show():
    size_bytes = 2_000_000
    begin = read_usage()
    send_over_loopback(size_bytes)
    end = read_usage()
    found = host_traffic(begin, end)
    window_s = end.at_s - begin.at_s
    assert found.tx_bytes_per_s * window_s >= size_bytes
    assert found.rx_bytes_per_s * window_s >= size_bytes
    assert "lo" not in {link.name for link in found.links}


def test_traffic_is_bytes_a_second():
    begin = Reading(10.0, 0, (LinkReading("lo", 1, 1, None), LinkReading("eth0", 100, 1000, 4000.0)))
    end = Reading(12.0, 0, (LinkReading("lo", 3, 5, None), LinkReading("eth0", 500, 5000, 4000.0), LATER))
    found = host_traffic(begin, end)
    assert (found.tx_bytes_per_s, found.rx_bytes_per_s) == (201.0, 2002.0)
    assert found.links == (LinkTraffic("eth0", 200.0, 2000.0, 4000.0),)
    assert found.links[0].percent == 50.0


@pytest.mark.parametrize("window_s", [0.0, -1.0])
def test_a_window_of_no_time_gives_zeros(window_s):
    begin, end = Reading(5.0, 1.0, (LATER,)), Reading(5.0 + window_s, 2.0, (LATER,))
    assert process_usage(begin, end).cpu_percent == 0
    assert (host_traffic(begin, end).tx_bytes_per_s, host_traffic(begin, end).rx_bytes_per_s) == (0, 0)
