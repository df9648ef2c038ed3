"""What is read of a host's network interfaces."""

import psutil

from hydra.tasks.network import LinkReading, read_links

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
