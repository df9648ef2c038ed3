"""Who sees the page of a run and its metrics, and who is refused."""

import contextlib
import http.client
import math
import socket
import threading
import time

import pytest

from hydra.errors import UsageError
from hydra.live.openmetrics import CONTENT_TYPE
from hydra.live.server import MetricsServer, PageServer
from hydra.run.protocols import LiveCounts
from tests.commands import wait_until

PAGE = "<!DOCTYPE html><title>live</title>"


@pytest.fixture
def shown_page():
    return PAGE


def ask(server, path, method="GET", headers=(), body=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def below(server, place=""):
    return "/" + server.url.split("/", 3)[3] + place


def test_who_has_the_link_sees_the_page(server):
    status, body, headers = ask(server, below(server))
    assert (status, body.decode()) == (200, PAGE)
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert not [name for name in headers if name.startswith("Access-Control")]


def test_a_wrong_token_sees_nothing(server, history):
    history.finish(b"report")
    token = below(server).strip("/")
    wrong = ["", token[:-1], token + "x", token.swapcase(), "%00", "..", token.replace("a", "%61", 1) + "%20"]
    for place in ("", "events", "pictures", "report", "stop", "nowhere"):
        for each in wrong:
            for method in ("GET", "POST"):
                status, body, _ = ask(server, f"/{each}/{place}", method, {"Content-Type": "application/json"}, b"{}")
                assert status == 403, (each, place)
                assert token.encode() not in body
    assert ask(server, "/")[0] == ask(server, below(server).rstrip("/") + "x")[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("kind", ["page", "metrics"])
def test_pages_of_others_are_refused_also_with_the_token(server, history, headers, kind):
    with contextlib.closing(MetricsServer(0, history)) as metrics:
        metrics.start()
        chosen, path = (server, below(server)) if kind == "page" else (metrics, "/metrics")
        assert ask(chosen, path)[0] == 200
        assert ask(chosen, path, headers=headers)[0] == 403


def test_two_hosts_are_refused(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stranger:
        stranger.sendall(f"GET {below(server)} HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n".encode())
        assert stranger.recv(1000).split()[1] == b"400"


def test_stop_needs_a_post_of_json(server, stops):
    json = {"Content-Type": "application/json"}
    assert ask(server, below(server, "stop"))[0] == 404
    assert ask(server, below(server, "stop"), "POST", {"Content-Type": "text/plain"}, "{}")[0] == 415
    assert ask(server, below(server, "stop"), "POST", {**json, "Origin": "http://evil.example"}, "{}")[0] == 403
    assert stops == []
    assert ask(server, below(server, "stop"), "POST", json, "{}")[0] == 200
    wait_until(lambda: stops == [1], 10, "it was stopped, once")  # after its response
    assert ask(server, below(server, "elsewhere"), "POST", json, "{}")[0] == 404


def test_without_a_button_nothing_stops(history):
    with contextlib.closing(PageServer(0, history, PAGE, None)) as server:
        server.start()
        assert ask(server, below(server, "stop"), "POST", {"Content-Type": "application/json"}, "{}")[0] == 404


def test_metrics_are_at_one_path(history):
    history.counts(LiveCounts(1.0, 10, 9, 8, 7, 6, 0))
    with contextlib.closing(MetricsServer(0, history)) as server:
        server.start()
        status, body, headers = ask(server, "/metrics?any=thing", headers={"Accept": "text/plain"})
        assert (status, headers["Content-Type"]) == (200, CONTENT_TYPE)
        assert b"hydra_records_sent_total 9\n" in body
        assert ask(server, "/")[0] == 404
        assert ask(server, "/metrics", "POST", {"Content-Type": "application/json"}, "{}")[0] == 405


@contextlib.contextmanager
def listening(server):
    """A page that is open: its events, line by line."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", below(server, "events"))
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def test_a_page_hears_of_all_that_is_new_and_of_the_end(server, history):
    with listening(server) as events:
        assert b'"moments":[]' in events.readline()
        events.readline()
        assert server.watchers == 1
        history.counts(LiveCounts(1.0, 10, 9, 8, 7, 6, 0))
        assert b'"delivered":7' in events.readline()
        events.readline()
        history.finish(b"the report")
        assert b'"over":true,"report":true' in events.readline()
    closing = threading.Thread(target=server.close)
    closing.start()
    try:
        assert ask(server, below(server, "report"))[:2] == (200, b"the report")
    finally:
        closing.join(10)
    assert not closing.is_alive()


def test_a_page_stays_open_for_as_long_as_its_run_lasts(server):
    with listening(server) as events:
        assert events.readline()
        assert [held.until_s for held in server._held.values()] == [math.inf]


def test_closing_ends_whatever_is_open(history):
    server = PageServer(0, history, PAGE, None)
    server.start()
    threads = threading.active_count()
    with listening(server) as events, socket.create_connection(("127.0.0.1", server.port), timeout=10) as silent:
        assert events.readline()
        wait_until(lambda: threading.active_count() == threads + 2, 10, "both connections have their threads")
        began_s = time.monotonic()
        server.close()
        server.close()
        assert time.monotonic() - began_s < 20  # nobody waits for the peers' own timeouts of 30 s
        assert silent.recv(1) == b""
    assert threading.active_count() == threads - 1


def test_a_page_that_was_closed_is_not_waited_for(server, history):
    with listening(server) as events:
        events.readline()
    history.note("news")
    history.note("more")
    wait_until(lambda: (history.note("again"), server.watchers == 0)[1], 20, "the page is seen to be gone")


def test_a_port_that_is_taken_is_told(server, history):
    with pytest.raises(UsageError, match=f"--metrics_port={server.port}: cannot listen on 127.0.0.1:{server.port}"):
        MetricsServer(server.port, history)
    with pytest.raises(UsageError, match="--ui="):
        PageServer(server.port, history, PAGE, None)
