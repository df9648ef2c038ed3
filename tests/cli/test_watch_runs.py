"""``hydra watch``: which run it finds, what it shows of it, and what it says where there is nothing to show."""

import contextlib
import dataclasses
import os
import socket
import stat
import subprocess
import threading
import time

import pytest

from hydra.accounting.live_figures import LiveFigures
from hydra.cli.live_lines import BARS, live_lines, sparkline
from hydra.cli.watch import measured_run
from hydra.cli.watch_runs import FORMER, chosen_run, follow, see_how_it_ended
from hydra.codec import encode
from hydra.errors import DegradedError, UsageError
from hydra.files.folders import state_folder
from hydra.files.process_identity import ProcessIdentity, identity_of, this_process
from hydra.live.history import MAX_RUNS, LiveHistory, MeasuredRun
from hydra.live.pictures import pictures
from hydra.live.server import PageServer
from hydra.live.underway import RunUnderWay, announced, runs_under_way
from hydra.options.options import Options
from hydra.run.protocols import LiveCounts
from tests.samples import result, run


@pytest.fixture(autouse=True)
def own_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def counts(second, **given):
    return LiveCounts(float(second), 60_000, 1000 * second, 1000 * second, 9000 * second, 100 * second, 0, 10, **given)


def test_who_announces_is_found_for_as_long_as_it_lives_and_its_file_is_private():
    with announced("hydra kafka --ui", 5.0, url="http://127.0.0.1:1/secret/", results="r"):
        (found,) = runs_under_way()
        assert (found.process, found.command, found.results) == (this_process(), "hydra kafka --ui", "r")
        folder = state_folder() / "watch"
        (file,) = folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert runs_under_way() == []


def test_what_a_killed_run_and_others_have_left_is_no_run():
    with announced("one", 1.0):
        folder = state_folder() / "watch"
        gone = RunUnderWay(ProcessIdentity(os.getpid(), 1.0), "another process had this number", 0.0)
        (folder / "gone.json").write_bytes(encode(gone))
        (folder / "broken.json").write_text("{")
        assert [run.command for run in runs_under_way()] == ["one"]
        assert not (folder / "gone.json").exists()


def test_a_state_folder_that_takes_no_file_is_no_reason_not_to_run(monkeypatch):
    from hydra.live import underway

    def refuse(_path, _content):
        raise OSError("full")

    monkeypatch.setattr(underway, "write_secret", refuse)
    with announced("one", 1.0):
        assert runs_under_way() == []


def under_way(pid):
    return RunUnderWay(ProcessIdentity(pid, 1.0), "hydra kafka", 0.0)


@pytest.mark.parametrize(
    ("pids", "asked", "error", "words"),
    [
        ([], None, DegradedError, "no run of yours is under way"),
        ([1, 2], None, UsageError, "2 runs are under way: process 1 since"),
        ([1, 2], 3, UsageError, "no run of yours is under way in the process 3"),
    ],
)
def test_which_run_is_meant_is_asked_where_it_is_not_clear(pids, asked, error, words):
    with pytest.raises(error, match=words):
        chosen_run([under_way(pid) for pid in pids], asked)


def test_the_only_run_or_that_of_a_process_is_watched():
    assert chosen_run([under_way(1)], None).process.pid == 1
    assert chosen_run([under_way(1), under_way(2)], 2).process.pid == 2


def test_a_run_without_a_page_is_said_in_one_line_with_the_way_out(call):
    with announced("hydra kafka sweep", 1.0, results="hydra-sweep-1"):
        code, out, err = call("watch")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "has no live page; 'hydra show hydra-sweep-1' prints the points so far" in err
    assert "--ui" in err
    assert call("watch")[0] == 3


def test_a_run_with_a_page_is_shown_to_its_end(call):
    history = LiveHistory()
    history.phase("sending", "")
    history.counts(counts(1))
    history.note("a task is missing")
    with contextlib.closing(PageServer(0, history, "", None)) as server:
        server.start()
        with announced("hydra kafka --ui", 1.0, url=server.url):
            end = threading.Timer(0.2, history.finish)
            end.start()
            code, out, err = call("watch")
            end.join()
        assert server.watchers == 0
    assert code == 0
    assert server.url in out
    assert "it is over" in out
    assert "sent 1,000 of 60,000" in err
    assert "a task is missing" in err


def test_a_page_that_is_gone_is_told(call):
    with announced("hydra kafka --ui", 1.0, url="http://127.0.0.1:9/x/"):
        code, _out, err = call("watch")
    assert (code, err.count("\n")) == (3, 1)
    assert "its live page cannot be reached" in err


@contextlib.contextmanager
def answering(reply):
    """The port of a server that answers each request with these bytes, and keeps the connection open for a moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        served = threading.Thread(target=serve)
        served.start()
        try:
            yield listener.getsockname()[1]
        finally:
            served.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: "


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (OK + b"text/html\r\n\r\n<html>", "something else answers where its live page was"),
        (OK + b"text/event-stream\r\n\r\nevent: other\ndata: 1\n\n", "something else answers where its live page was"),
        (OK + b"text/event-stream\r\n\r\ndata: {}\n\n", "does not understand"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "answered 302 Found"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be reached"),
        (b"", "cannot be reached"),
    ],
)
def test_what_else_answers_at_its_port_is_told_in_one_line(call, reply, words):
    with answering(reply) as port, announced("hydra kafka --ui", 1.0, url=f"http://127.0.0.1:{port}/x/"):
        code, _out, err = call("watch")
    assert (code, err.count("\n")) == (3, 1)
    assert words in err


def test_a_wrong_token_is_told_in_one_line(call):
    with contextlib.closing(PageServer(0, LiveHistory(), "", None)) as server:
        server.start()
        with announced("hydra kafka --ui", 1.0, url=f"http://127.0.0.1:{server.port}/wrong/"):
            code, _out, err = call("watch")
    assert (code, err.count("\n")) == (3, 1)
    assert "refuses the token of the link" in err


def test_who_sends_comments_and_never_a_picture_is_not_listened_to_for_ever():
    with answering(OK + b"text/event-stream\r\n\r\n" + b": \n\n" * 100) as port:
        told = pictures(f"http://127.0.0.1:{port}/x/", iter(range(0, 10_000, 7)).__next__)
        with pytest.raises(DegradedError, match="something else answers"):
            list(told)


def test_a_page_that_keeps_silent_is_told(monkeypatch):
    monkeypatch.setattr("hydra.live.pictures.SILENCE_S", 0.2)
    with contextlib.closing(PageServer(0, LiveHistory(), "", None)) as server:
        server.start()
        told = pictures(server.url)
        next(told)
        with pytest.raises(DegradedError, match=r"said nothing for 0\.2 s"):
            next(told)


def write_note(process, **given):
    run_under_way = RunUnderWay(process, "hydra kafka --ui", 0.0, **given)
    with announced("makes the folder", 0.0):
        (state_folder() / "watch" / "noted.json").write_bytes(encode(run_under_way))
    return run_under_way


def test_a_run_that_dies_while_it_is_watched_is_no_run_that_is_over(call):
    """As with SIGKILL: the connection ends, and its note stays."""
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = identity_of(process.pid, time.time())
        picture = encode(LiveHistory().picture())
        with answering(OK + b"text/event-stream\r\n\r\ndata: " + picture + b"\n\n") as port:
            write_note(identity, url=f"http://127.0.0.1:{port}/x/", results="s")
            threading.Timer(0.3, process.kill).start()
            code, out, err = call("watch")
    assert (code, "it is over" in out) == (3, False)
    assert f"process {process.pid} died before its run was over: 'hydra show s' prints the points so far" in err


def test_a_process_that_lives_on_without_its_page_is_told():
    noted, pauses = write_note(this_process()), []
    with pytest.raises(DegradedError, match="its process lives on"):
        see_how_it_ended(noted, pauses.append)
    assert sum(pauses) == pytest.approx(5)
    (state_folder() / "watch" / "noted.json").unlink()
    see_how_it_ended(noted, pauses.append)


class Shown:
    """A display that keeps what it is told."""

    def __init__(self):
        self.notes, self.phases, self.moments = [], [], []

    def phase(self, name, detail=""):
        self.phases.append((name, detail))

    def counts(self, live):
        self.moments.append(live.elapsed_s)

    def note(self, text):
        self.notes.append(text)


def test_only_what_is_new_in_a_picture_is_shown():
    history, told = LiveHistory(wall_s=iter(range(100)).__next__), []
    for number in range(10):
        history.note(f"note {number}")
    history.phase("sending", "")
    for second in (1, 2):
        history.counts(counts(second))
    told.append(history.picture())
    history.note("new")
    history.counts(counts(3))
    history.measured(MeasuredRun("clients=10", "fail", 1.0, 1.0, 5, "broker"))
    told.append(history.picture())
    history.counts(counts(1))  # of the next run
    told.append(history.picture())
    display = Shown()
    assert not follow(told, display)
    assert display.notes == [f"note {n}" for n in range(10 - FORMER, 10)] + ["new", "clients=10: fail (limit: broker)"]
    assert display.moments == [1, 2, 3, 1]
    assert set(display.phases) == {("sending", "")}
    assert follow([dataclasses.replace(told[-1], over=True)], Shown())


def test_runs_are_shown_beyond_those_that_a_page_lists():
    history, told = LiveHistory(), []
    for number in range(MAX_RUNS + 2):
        history.measured(MeasuredRun(f"clients={number}", "pass", 1.0, 1.0, 0, ""))
        if number >= MAX_RUNS - 1:
            told.append(history.picture())
    display = Shown()
    follow(told, display)
    assert display.notes[FORMER - 1 :] == [f"clients={MAX_RUNS + more}: pass" for more in (-1, 0, 1)]


FIGURES = LiveFigures(
    e2e_p50_ms=2.0, e2e_p99_ms=12.34, so_far_max_ms=120.0, broker_cpu_percent=81.2, machine_cpu_percent=60.0
)


def test_a_run_is_a_few_lines():
    lines = live_lines([counts(1), counts(2, figures=FIGURES, left_s=58.0)])
    assert lines == [
        "2.0 s, 58 s left",
        "sent 2,000 of 60,000 (1,000/s), delivered 18,000 (9,000/s), acked 2,000",
        "p99 12.3 ms, p50 2 ms, highest so far 120 ms",
        f"backlog 200 deliveries, {BARS[4]}{BARS[7]} up to 200",
        "CPU: broker 81 %, whole machine 60 %",
    ]
    assert live_lines([counts(1)]) == [
        "1.0 s",
        "sent 1,000 of 60,000, delivered 9,000, acked 1,000",
        "backlog 100 deliveries",
    ]
    assert live_lines([]) == []
    assert "up to" not in live_lines([counts(1), counts(2)], bars="")[-1]


def test_a_sparkline_begins_at_zero():
    assert sparkline([0, 5, 10], "abc") == "abc"
    assert sparkline([0, 0], "abc") == "aa"
    assert sparkline([], "abc") == ""


def test_a_run_of_a_sweep_is_listed_without_figures_that_nobody_measured():
    made = result(lost=3)
    unread = dataclasses.replace(made, totals=dataclasses.replace(made.totals, records_unread=20))
    shown = measured_run(run(made=unread), Options())
    assert (shown.sent_per_s, shown.e2e_p99_ms, shown.lost) == (1000.0, 8.0, 10), "unread is no proven loss"
    assert measured_run(run(missing=10), Options()).lost is None
    silent = dataclasses.replace(made, totals=dataclasses.replace(made.totals, records_planned=0, tx_rate_per_s=0.0))
    assert measured_run(run(made=silent), Options()).sent_per_s is None
    gone = measured_run(run(error="gone"), Options())
    assert (gone.sent_per_s, gone.e2e_p99_ms, gone.lost, gone.limit) == (None, None, None, "gone")
