"""What is seen of a broker's threads: by made-up files of /proc, and in a real broker."""

import os
import sys
import time
from pathlib import Path

import pytest

from hydra.accounting.broker_inside import GcPause
from hydra.broker.gc_log import GcLog
from hydra.broker.process_watch import ProcessWatch
from hydra.broker.thread_names import named_threads, thread_names
from hydra.run.cgroups import read_text

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="by Linux's /proc")

DUMP = """0
2026-01-01 00:00:00
Full thread dump OpenJDK 64-Bit Server VM:

"data-plane-kafka-request-handler-3" #81 [1698] daemon prio=5 cpu=107.00ms tid=0x00007f nid=1698 waiting  [0x00007f]
   java.lang.Thread.State: WAITING (parking)
\tat jdk.internal.misc.Unsafe.park(java.base@25/Native Method) nid=7 "no thread" nid=8

"a "quoted" name" #5 prio=5 os_prio=0 tid=0x00007f nid=0x6a3 runnable
"GC Thread#0" os_prio=0 cpu=1.00ms elapsed=9.00s tid=0x00007f nid=1464 runnable
"""


def test_the_names_in_a_thread_dump():
    assert named_threads(DUMP) == {
        1698: "data-plane-kafka-request-handler-3",
        0x6A3: 'a "quoted" name',
        1464: "GC Thread#0",
    }


def test_no_other_process_is_asked(tmp_path):
    """Any other program would end by the signal: this one, its parent, and one that is not there go on."""
    for pid in (os.getpid(), os.getppid(), 1, 2**22 + 1):
        assert thread_names(pid, tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


class MadeUp:
    """A broker in a /proc of its own, under the id of this process."""

    def __init__(self, monkeypatch, folder, threads):
        self.pid, self.now_s, self.folder = os.getpid(), 0.0, folder
        self.states = dict.fromkeys(threads, "S")
        self.times = dict.fromkeys(threads, (0.0, 0.0))
        self.state = "S"
        self.names = threads
        tasks = [Path(str(thread_id)) for thread_id in threads]
        iterdir = Path.iterdir
        monkeypatch.setattr(
            Path, "iterdir", lambda path: iter(tasks) if str(path) == f"/proc/{self.pid}/task" else iterdir(path)
        )
        self.watch = ProcessWatch(
            [(self.pid, folder, "broker 1")], read=self.read, names=lambda *_: threads, now_s=lambda: self.now_s
        )

    def read(self, path):
        own = f"/proc/{self.pid}/"
        if not path.startswith(own):
            return None if path == "/proc/diskstats" else read_text(path)
        rest = path[len(own) :]
        if rest == "stat":
            return f"1 (java) {self.state} " + " ".join(["0"] * 10) + f" {round(100 * self.now_s)} 0 0"
        if rest.startswith("task/"):
            _, thread_id, what = rest.split("/")
            if what == "schedstat":
                return " ".join(str(round(1e9 * seconds)) for seconds in self.times[int(thread_id)]) + " 9"
            return f"{thread_id} (a ) b) {self.states[int(thread_id)]} 0 0"
        return read_text(f"/proc/self/{rest}")

    def pass_time(self, seconds, **shares):
        """By name: (share of the time that it ran, that it waited for a CPU)."""
        for thread_id, name in self.names.items():
            ran, waited = self.times[thread_id]
            more = shares.get(name, (0.0, 0.0))
            self.times[thread_id] = ran + more[0] * seconds, waited + more[1] * seconds
        self.now_s += seconds
        self.watch.look()


HANDLER, NETWORK = "data-plane-kafka-request-handler-{}", "data-plane-kafka-network-thread-1-{}-PLAINTEXT-{}"
THREADS = {
    11: HANDLER.format(0), 12: HANDLER.format(1), 13: NETWORK.format("CONTROLLER", 0), 21: HANDLER.format(0),
    22: HANDLER.format(1), 23: NETWORK.format("PLAINTEXT", 0), 24: NETWORK.format("ListenerName(SSL)", 1),
    31: "GC Thread#0", 32: "main",
}  # fmt: skip


def test_threads_are_counted_by_kind_and_those_of_the_controller_are_not(monkeypatch, tmp_path):
    made_up = MadeUp(monkeypatch, tmp_path, THREADS)
    made_up.watch.look()
    made_up.times[21], made_up.times[22] = (2.0, 1.0), (1.0, 0.0)
    made_up.times[11] = (0.1, 0.0)
    made_up.times[24] = (3.6, 0.2)
    made_up.times[13] = (4.0, 0.0)
    made_up.pass_time(4.0)
    (seen,) = made_up.watch.seen(0.0).processes
    uses = {use.kind: use for use in seen.threads}
    assert set(uses) == {"request handlers", "network threads", "garbage collector"}
    handlers, network = uses["request handlers"], uses["network threads"]
    assert (handlers.threads, handlers.busy_ratio, handlers.cpus) == (2, pytest.approx(0.5), pytest.approx(0.75))
    assert (network.threads, network.busiest_ratio) == (2, pytest.approx(0.95))
    assert network.busiest_cpu_ratio == pytest.approx(0.9)
    assert (seen.cpus_used, seen.window_s) == (pytest.approx(1.0), 4.0)
    assert (seen.throttled_ratio, seen.gc_pauses, seen.disk_busy_ratio) == (None, None, None)


def test_states_are_looked_at_each_time(monkeypatch, tmp_path):
    made_up = MadeUp(monkeypatch, tmp_path, THREADS)
    for look in range(10):
        made_up.states[22] = "D" if look % 2 else "S"
        made_up.state = "T" if look < 3 else "S"
        made_up.pass_time(0.25)
    (seen,) = made_up.watch.seen(0.0).processes
    assert (seen.looks, seen.stopped_ratio) == (10, 0.3)
    assert {use.kind: use.disk_ratio for use in seen.threads}["request handlers"] == 0.5


def test_pauses_after_the_last_look_are_marked_and_take_no_part_of_its_time(monkeypatch, tmp_path):
    made_up = MadeUp(monkeypatch, tmp_path, THREADS)
    log = tmp_path / "gc.log"
    log.write_text("")
    made_up.watch.look()
    with log.open("a") as more:
        for end_s, ms in ((1.5, 500), (3.0, 1000), (4.5, 200), (9.0, 4000)):
            more.write(f"[9.9s][{end_s * 1e9:.0f}ns] GC(1) Pause Full (Allocation Failure) 24M->3M(64M) {ms}.0ms\n")
    made_up.pass_time(4.0)
    (seen,) = made_up.watch.seen(0.0).processes
    assert (seen.gc_pauses, seen.gc_paused_ratio, seen.gc_longest_ms) == (2, pytest.approx(1.5 / 4), 1000)
    assert [pause.ms for pause in seen.long_pauses] == [500, 1000, 200, 4000]


def test_of_one_look_and_of_a_broker_that_is_gone_there_is_nothing_to_tell(monkeypatch, tmp_path):
    made_up = MadeUp(monkeypatch, tmp_path, THREADS)
    made_up.watch.look()
    assert made_up.watch.seen(0.0).processes == ()
    gone = ProcessWatch([(2**22 + 1, tmp_path, "broker 1")])
    gone.look()
    gone.look()
    assert gone.seen(0.0).processes == ()


def test_only_pauses_since_the_beginning_count(tmp_path):
    path = tmp_path / "gc.log"
    log = GcLog(path)
    log.begin()
    assert log.pauses(1.0) is None
    path.write_text("[0.1s][100000000ns] GC(0) Pause Young (Normal) (G1 Evacuation Pause) 24M->3M(64M) 5.123ms\n")
    log.begin()
    with path.open("a") as more:
        more.write(
            "[1.0s][4000000000ns] GC(1) Pause Young (Concurrent Start) (G1 Humongous) 24M->3M(64M) 7.500ms\n"
            "[1.1s][4100000000ns] GC(2) Concurrent Mark Cycle\n"
            "[1.2s][5000500000ns] GC(2) Pause Remark 5M->5M(64M) 0.500ms\n"
            "[1.3s][4300000000ns] GC(2) Concurrent Mark Cycle 123.4ms\n"
            "[1.4s][4400000000ns] GC(3) Pause Full (G1 Compaction Pau"
        )
    assert log.pauses(1.0) == [GcPause(2.993, 7.5), GcPause(4.0, 0.5)]
    path.write_text("[9.0s][9000250000ns] GC(9) Pause Cleanup 5M->5M(64M) 0.250ms\n")  # it began again
    assert log.pauses(1.0) == [GcPause(8.0, 0.25)]


@pytest.mark.integration
def test_the_threads_of_a_real_broker(broker):
    folder = Path(f"/proc/{broker.pid}/cwd").readlink()
    names = thread_names(broker.pid, folder)
    assert sum("kafka-request-handler" in name for name in names.values()) >= 2
    assert sum("kafka-network-thread" in name for name in names.values()) >= 2
    assert thread_names(broker.pid, folder).keys() & names.keys(), "it answers again"
    assert not Path(f"/tmp/.java_pid{broker.pid}").exists()
    watch = ProcessWatch([(broker.pid, folder, "broker 1")])
    watch.look()
    time.sleep(1.1)  # the window itself
    watch.look()
    (seen,) = watch.seen(0.0).processes
    kinds = {use.kind: use.threads for use in seen.threads}
    assert {"request handlers", "network threads", "compiler"} <= set(kinds)
    assert seen.gc_pauses is not None
    assert broker.returncode() is None
