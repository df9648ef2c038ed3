"""Brokers' own metrics, read from real servers: good ones, slow ones, wrong ones, and none."""

import http.server
import socket
import threading
import time

import pytest

from hydra.accounting.broker_inside import RequestTimes
from hydra.errors import UsageError
from hydra.kafkatest import metrics_watch
from hydra.kafkatest.metrics_watch import MetricsWatch
from hydra.kafkatest.watches import watches_of
from hydra.options.option_checks import checked
from hydra.options.options import Options
from tests.commands import wait_until

TEXT = b'kafka_network_requestmetrics_requestqueuetimems{request="Produce",quantile="0.99"} 7.5\n'


TIMES = (RequestTimes("Produce", queue_ms=7.5),)


class Exporter(http.server.ThreadingHTTPServer):
    """Answers with what the test says."""

    daemon_threads = True

    def __init__(self, status=200, body=TEXT, wait=None):
        self.asked = 0
        exporter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                exporter.asked += 1
                if wait is not None:
                    wait.wait(30)
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments):
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/metrics"

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        return self

    def __exit__(self, *_error):
        self.shutdown()
        self.thread.join()
        self.server_close()


def read(url, done):
    """What is seen of an address once this is true of its reader."""
    watch = MetricsWatch([url])
    deadline = time.monotonic() + 20
    watch.look()
    while not done(watch._readers[0]):
        assert time.monotonic() < deadline
        watch.look()
        time.sleep(0.02)
    (found,) = watch.seen(0.0).exports
    watch._readers[0]._thread.join(20)
    return found


def test_it_reads_again_and_again_and_ends_with_the_looks(monkeypatch):
    monkeypatch.setattr(metrics_watch, "EVERY_S", 0.05)
    monkeypatch.setattr(metrics_watch, "LEASE_S", 0.2)
    with Exporter() as exporter:
        found = read(exporter.url, lambda reader: len(reader._scrapes) >= 3)
        assert (found.scrapes >= 3, found.times, found.handlers_idle_ratio) == (True, TIMES, None)
        assert found.error == ""
        watch = MetricsWatch([exporter.url])
        watch.look()
        watch._readers[0]._thread.join(20)
        assert not watch._readers[0]._thread.is_alive(), "nobody looks any more"
        assert watch.seen(0.0).exports[0].scrapes >= 1


def test_it_goes_on_after_a_pause_of_the_looks(monkeypatch):
    monkeypatch.setattr(metrics_watch, "EVERY_S", 0.01)
    monkeypatch.setattr(metrics_watch, "LEASE_S", 0.05)
    with Exporter() as exporter:
        watch = MetricsWatch([exporter.url])
        reader = watch._readers[0]
        watch.look()
        reader._thread.join(20)
        assert not reader._thread.is_alive(), "the looks stopped for longer than the lease"
        before = len(reader._scrapes)
        wait_until(lambda: (watch.look(), len(reader._scrapes) > before)[1], 20, "it reads again with the next look")
        watch.seen(0.0)
        reader._thread.join(20)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"status": 404}, "it answered 404 Not Found"),
        ({"status": 302}, "it answered 302 Found"),
        ({"body": b"<html>"}, "its answer is no Prometheus text"),
        ({"body": b"\xff\xfe"}, "its answer is no Prometheus text"),
    ],
)
def test_what_cannot_be_read_is_told_and_is_no_figure(answer, error):
    with Exporter(**answer) as exporter:
        found = read(exporter.url, lambda reader: reader._error)
    assert found.error.startswith(error)
    assert (found.scrapes, found.times) == (0, ())


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = read(f"http://127.0.0.1:{port}/metrics", lambda reader: reader._error)
    assert (found.scrapes, "refused" in found.error) == (0, True)


def test_an_exporter_that_does_not_answer_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(metrics_watch, "TIMEOUT_S", 0.3)
    release = threading.Event()
    with Exporter(wait=release) as exporter:
        found = read(exporter.url, lambda reader: reader._error)
        release.set()
    assert (found.scrapes, found.error) == (0, "no response within 0.3 s")


def test_a_run_that_never_looked_has_read_nothing():
    assert MetricsWatch(["http://127.0.0.1:1/"]).seen(0.0).exports[0].scrapes == 0


def test_an_embedded_kafka_exports_nothing():
    with pytest.raises(UsageError, match="--broker_metrics=http://k1:7071 needs --bootstrap_servers"):
        checked(Options(broker_metrics="http://k1:7071"))
    (watch,) = watches_of(Options(bootstrap_servers="k1:9092", broker_metrics="http://k1:7071,http://k2:7071"), None)
    assert [export.url for export in watch.seen(0.0).exports] == ["http://k1:7071", "http://k2:7071"]
    assert watches_of(Options(bootstrap_servers="k1:9092"), None) == ()


@pytest.mark.integration
@pytest.mark.timeout(200)
def test_a_run_keeps_what_its_brokers_export_and_names_the_exporter_that_it_could_not_read(
    hydra, place, external_kafka
):
    with Exporter() as exporter, Exporter(status=404) as other:
        command = hydra(
            "kafka", f"--bootstrap_servers={external_kafka}", f"--broker_metrics={exporter.url},{other.url}",
            "--total_sub_apps=1", "--clients_per_app=2", "--msg_rate=100", "--test_duration=1", "--warmup=0",
            "--output=result.json",
        )  # fmt: skip
        code = command.end(180)
    assert code in {0, 3}, command.errors
    read, missed = place.record("result.json")["evidence"]["inside"]["exports"]
    assert (read["url"], read["error"], read["scrapes"] >= 1) == (exporter.url, "", True)
    assert [(of["request"], of["queue_ms"], of["local_ms"]) for of in read["times"]] == [("Produce", 7.5, None)]
    assert (missed["url"], missed["scrapes"]) == (other.url, 0)
    assert f"{other.url} (--broker_metrics) was not read: it answered 404 Not Found" in command.text
