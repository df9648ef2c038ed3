"""The kernel's files as they look on real machines, and the limits that are in them."""

import pytest

from hydra.run.cgroups import (
    CgroupLimits,
    CpuQuota,
    affinity,
    busy_ticks,
    quota_reader,
    read_limits,
    usable_cores,
    usable_cpus,
)

V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:10 - cgroup cgroup rw,memory\n"
    "33 30 0:29 / /sys/fs/cgroup/pids rw,nosuid shared:11 - cgroup cgroup rw,pids\n"
    "34 30 0:30 / /sys/fs/cgroup/unified rw,nosuid shared:12 - cgroup2 cgroup2 rw\n"
)
OTHERS = "24 23 0:22 / /proc rw,nosuid shared:13 - proc proc rw\n25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"


def limits(mountinfo, cgroup, files=()):
    known = {"/proc/self/mountinfo": OTHERS + mountinfo, "/proc/self/cgroup": cgroup, **dict(files)}
    return read_limits(known.get)


def v2(**files):
    """A process in /user.slice/run.scope, with these files: the folder's last part and "__" before a file's name."""
    folders = {"root": "", "user": "/user.slice", "run": "/user.slice/run.scope"}
    return limits(
        V2,
        "0::/user.slice/run.scope\n",
        {
            f"/sys/fs/cgroup{folders[name.partition('__')[0]]}/{name.partition('__')[2].replace('_', '.', 1)}": text
            for name, text in files.items()
        },
    )


CPU_STAT = """usage_usec 2500000
user_usec 2000000
system_usec 500000
core_sched.force_idle_usec 0
nr_periods 40
nr_throttled 30
throttled_usec 1700000
nr_bursts 0
burst_usec 0
"""


def test_a_quota_of_version_2():
    found = v2(run__cpu_max="60000 100000\n", run__cpu_stat=CPU_STAT)
    assert found == CgroupLimits(quotas=(CpuQuota(0.6, 0.1, 2.5, 40, 30),))


def test_quotas_that_are_there_are_read_again_and_again():
    files = {
        "/proc/self/mountinfo": OTHERS + V2,
        "/proc/self/cgroup": "0::/a/b\n",
        "/sys/fs/cgroup/a/cpu.max": "60000 100000\n",
        "/sys/fs/cgroup/a/cpu.stat": CPU_STAT,
    }
    read = quota_reader(files.get)
    assert read() == (CpuQuota(0.6, 0.1, 2.5, 40, 30),)
    files["/sys/fs/cgroup/a/cpu.stat"] = CPU_STAT.replace("nr_throttled 30", "nr_throttled 31")
    del files["/proc/self/mountinfo"]
    assert read() == (CpuQuota(0.6, 0.1, 2.5, 40, 31),)


def test_max_is_no_limit():
    assert v2(run__cpu_max="max 100000\n", run__memory_max="max\n", run__pids_max="max\n") == CgroupLimits()


def test_every_cgroup_around_counts():
    found = v2(
        run__cpu_max="max 100000\n", user__cpu_max="150000 50000\n", root__cpu_max="400000 100000\n",
        run__memory_max="800\n", run__memory_current="100\n", user__memory_max="1000\n", user__memory_current="900\n",
        run__pids_max="max\n", user__pids_max="50\n", user__pids_current="60\n",
    )  # fmt: skip
    assert [quota.cpus for quota in found.quotas] == [3.0, 4.0]
    assert (found.memory_bytes, found.memory_free_bytes) == (800, 100)
    assert (found.processes, found.processes_free) == (50, 0)


def test_page_cache_that_can_be_dropped_is_free():
    found = v2(
        run__memory_max="1000\n",
        run__memory_current="900\n",
        run__memory_stat="anon 300\nfile 600\ninactive_file 500\n",
    )
    assert (found.memory_bytes, found.memory_free_bytes) == (1000, 600)


def test_processes_killed_for_memory_are_counted():
    assert v2(run__memory_events="low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n").oom_kills == 1


def test_version_1():
    cpu, memory, pids = (f"/sys/fs/cgroup/{name}/docker/abc" for name in ("cpu,cpuacct", "memory", "pids"))
    found = limits(
        V1,
        "11:pids:/docker/abc\n5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n",
        {
            f"{cpu}/cpu.cfs_quota_us": "50000\n", f"{cpu}/cpu.cfs_period_us": "100000\n",
            f"{cpu}/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 300000000\n",
            f"{cpu}/cpuacct.usage": "1500000000\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            f"{memory}/memory.limit_in_bytes": "2000\n", f"{memory}/memory.usage_in_bytes": "1500\n",
            f"{memory}/memory.stat": "cache 900\ntotal_inactive_file 700\n",
            f"{memory}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            f"{pids}/pids.max": "100\n", f"{pids}/pids.current": "40\n",
        },
    )  # fmt: skip
    assert found == CgroupLimits((CpuQuota(0.5, 0.1, 1.5, 10, 4),), 2000, 1200, 100, 60, 3)


def test_a_container_of_version_1_has_its_cgroup_at_the_mount_point():
    """Without a namespace for cgroups /proc tells the path on the host, which is not there inside."""
    mounts = "31 30 0:27 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
    files = {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}
    for path in ("/docker/abc", "/kubepods/xyz", "/../elsewhere"):
        (quota,) = limits(mounts, f"4:cpu,cpuacct:{path}\n", files).quotas
        assert (quota.cpus, quota.used_s) == (0.25, None)


@pytest.mark.parametrize(
    ("mountinfo", "cgroup"),
    [
        ("", ""),
        (V2, ""),
        ("", "0::/\n"),
        ("nonsense - cgroup2\n\x00", "x\n::\n4:cpu"),
        (V1, "0::/\n"),
        (V2, "0::/a/b\n"),
    ],
)
def test_without_the_files_there_is_no_limit(mountinfo, cgroup):
    assert limits(mountinfo, cgroup) == CgroupLimits()


@pytest.mark.parametrize("text", ["", "x y", "0 100000", "-1 100000", "max"])
def test_what_is_no_quota_is_none(text):
    assert v2(run__cpu_max=text).quotas == ()


def test_the_ticks_of_the_cpus_that_count():
    stat = (
        "cpu  100 0 100 999 9 1 1 1 0 0\ncpu0 10 1 5 900 40 2 3 4 7 0\ncpu1 1 1 1 1 1 1 1 1 1 1\n"
        "cpu11 7 0 0 0 0 0 0 0 0 0\nintr 5 0 0\nctxt 77\n"
    )
    assert busy_ticks(stat, {0}) == (25, 1)
    assert busy_ticks(stat, {0, 11, 12}) == (32, 2)


def test_this_process_has_something_to_run_on():
    assert 0 < usable_cpus() <= len(affinity())
    assert usable_cores() >= usable_cpus()
