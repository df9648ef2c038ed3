"""What a process and its host used, measured on this process and this host."""

import os
import resource
import socket
import threading

import pytest

from hydra.accounting.stats import LinkTraffic
from hydra.tasks import usage
from hydra.tasks.network import LinkReading
from hydra.tasks.usage import Reading


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
    begin = usage.read()
    burn(0.2)
    end = usage.read()
    found = usage.usage(begin, end)
    assert end.cpu_s - begin.cpu_s >= 0.2
    assert found.window_s >= 0.15
    assert found.cpu_percent == pytest.approx(100 * (end.cpu_s - begin.cpu_s) / found.window_s)
    assert found.cpu_percent > 1


def test_cpu_is_percent_of_one_core_over_the_window():
    found = usage.usage(Reading(10.0, 1.0), Reading(14.0, 3.0))
    assert (found.cpu_percent, found.window_s) == (50.0, 4.0)


def test_memory_is_this_process_s():
    found = usage.usage(usage.read(), usage.read())
    with open(f"/proc/{os.getpid()}/statm") as statm:
        held = int(statm.read().split()[1]) * resource.getpagesize()
    assert found.rss_bytes == pytest.approx(held, rel=0.2)


def test_bytes_over_loopback_show():
    size_bytes = 2_000_000
    begin = usage.read(traffic=True)
    send_over_loopback(size_bytes)
    end = usage.read(traffic=True)
    found = usage.traffic(begin, end)
    window_s = end.at_s - begin.at_s
    assert found.tx_bytes_per_s * window_s >= size_bytes
    assert found.rx_bytes_per_s * window_s >= size_bytes
    assert "lo" not in {link.name for link in found.links}


def test_traffic_is_bytes_a_second():
    begin = Reading(10.0, 0, (LinkReading("lo", 1, 1, None), LinkReading("eth0", 100, 1000, 4000.0)))
    end = Reading(12.0, 0, (LinkReading("lo", 3, 5, None), LinkReading("eth0", 500, 5000, 4000.0), LATER))
    found = usage.traffic(begin, end)
    assert (found.tx_bytes_per_s, found.rx_bytes_per_s) == (201.0, 2002.0)
    assert found.links == (LinkTraffic("eth0", 200.0, 2000.0, 4000.0),)
    assert found.links[0].percent == 50.0


def test_traffic_is_read_only_where_it_is_asked_for():
    assert usage.read().links == ()
    assert usage.read(traffic=True).links


@pytest.mark.parametrize("window_s", [0.0, -1.0])
def test_a_window_of_no_time_gives_zeros(window_s):
    begin, end = Reading(5.0, 1.0, (LATER,)), Reading(5.0 + window_s, 2.0, (LATER,))
    assert usage.usage(begin, end).cpu_percent == 0
    assert (usage.traffic(begin, end).tx_bytes_per_s, usage.traffic(begin, end).rx_bytes_per_s) == (0, 0)
