"""Health checks that ask over HTTP and TLS: by which protocol, on which port, and what counts as healthy."""

import contextlib
import socket
import sys
import threading
from datetime import datetime, timedelta

import pytest
import trustme

pytestmark = pytest.mark.integration

# Answers every request with the status in its path; over TLS if there is a certificate.
WEB = """
import http.server, os, ssl, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path.strip("/")))
        self.end_headers()
web = http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT0"])), Answer)
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    web.socket = context.wrap_socket(web.socket, server_side=True)
web.serve_forever()
"""
FAST = {"intervalSeconds": 0.05, "timeoutSeconds": 5, "delaySeconds": 0}
RESOURCES = {"cpus": 0.1, "mem": 16}


@pytest.fixture
def certificate(tmp_path):
    """A file with a key and a certificate that nobody trusts."""
    path = tmp_path / "key.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


@pytest.mark.parametrize("protocol", ["HTTP", "MESOS_HTTP", "HTTPS", "MESOS_HTTPS"])
def test_an_answer_makes_a_task_healthy(server, certificate, protocol):
    args = [sys.executable, "-c", WEB, *([certificate] if "HTTPS" in protocol else [])]
    check = {"protocol": protocol, "path": "/200", **FAST}
    (task,) = server.start_app("/x", args=args, ports=[0], healthChecks=[check], **RESOURCES)
    (result,) = task["healthCheckResults"]
    assert result["alive"] is True
    assert server.app("/x")["tasksHealthy"] == 1


@pytest.mark.parametrize("status", [200, 204, 302, 399])
def test_what_counts_as_healthy(server, status):
    check = {"path": f"/{status}", **FAST}
    server.start_app("/x", args=[sys.executable, "-c", WEB], ports=[0], healthChecks=[check], **RESOURCES)
    assert (server.app("/x")["tasksHealthy"], server.app("/x")["tasksUnhealthy"]) == (1, 0)


@pytest.mark.parametrize("status", [400, 503])
def test_what_does_not(server, poll, status):
    check = {"path": f"/{status}", "maxConsecutiveFailures": 0, "gracePeriodSeconds": 0, **FAST}
    server.create("/x", args=[sys.executable, "-c", WEB], ports=[0], healthChecks=[check], **RESOURCES)

    def causes():
        results = [result for task in server.tasks("/x") for result in task["healthCheckResults"]]
        return [result.get("lastFailureCause") for result in results if not result["alive"]]

    poll(lambda: causes() == [f"HTTP {status}"])
    app = server.app("/x")
    assert (app["tasksHealthy"], app["tasksUnhealthy"]) == (0, 1)
    assert app["tasks"][0]["healthCheckResults"][0].keys() == {
        "instanceId", "alive", "consecutiveFailures", "lastFailure", "lastFailureCause"
    }  # fmt: skip


def test_a_check_may_name_a_port_of_its_own(server, free_ports):
    (port,) = free_ports(1)
    fields = {"ports": [port], "requirePorts": True, "healthChecks": [{"protocol": "TCP", "port": port, **FAST}]}
    server.start_app("/x", args=[sys.executable, "-c", WEB], **fields, **RESOURCES)
    app = server.app("/x")
    assert app["tasksHealthy"] == 1
    assert app["healthChecks"][0]["port"] == port
    assert "portIndex" not in app["healthChecks"][0]


def test_without_a_check_nobody_is_healthy_or_unhealthy(server):
    (task,) = server.start_app("/x", cmd="exec sleep 1000", **RESOURCES)
    app = server.app("/x")
    assert (app["tasksRunning"], app["tasksHealthy"], app["tasksUnhealthy"]) == (1, 0, 0)
    assert task["healthCheckResults"] == []


class Silent:
    """Accepts, reads and never answers; knows what it was asked, and which of its callers have gone."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.requests = []
        self.given_up = 0
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self):
        with contextlib.suppress(OSError):  # the end
            while True:
                connection, _address = self.listener.accept()
                self.threads.append(threading.Thread(target=self._read, args=[connection]))
                self.threads[-1].start()

    def _read(self, connection):
        with connection, contextlib.suppress(ConnectionError):
            connection.settimeout(20)
            self.requests.append(connection.recv(65536))
            while connection.recv(65536):
                pass
            self.given_up += 1

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def silent():
    """Stands in for the port of a task that hangs."""
    server = Silent()
    yield server
    server.close()


HANGING = {"intervalSeconds": 0.05, "delaySeconds": 0, "gracePeriodSeconds": 0}


def test_a_check_that_is_not_answered_in_time_has_failed(server, poll, silent):
    check = {"path": "/silence", "port": silent.port, "timeoutSeconds": 0.2, "maxConsecutiveFailures": 0, **HANGING}
    server.create("/x", cmd="exec sleep 1000", healthChecks=[check], **RESOURCES)

    def result():
        results = [one for task in server.tasks("/x") for one in task["healthCheckResults"]]
        return results[0] if results and results[0]["consecutiveFailures"] >= 2 else None

    found = poll(result)
    assert (found["alive"], found["lastFailureCause"]) == (False, "no answer within 0.2 s")
    assert found.keys() == {"instanceId", "alive", "consecutiveFailures", "lastFailure", "lastFailureCause"}
    assert (server.app("/x")["tasksHealthy"], server.app("/x")["tasksUnhealthy"]) == (0, 1)
    assert [one["affectedApps"] for one in server.deployments()] == [["/x"]]
    assert all(request.startswith(b"GET /silence HTTP/1.1") for request in silent.requests)
    # What is not waited for any longer is closed.
    poll(lambda: silent.given_up >= 2)


def test_a_task_that_hangs_is_killed_after_so_many_failures_and_replaced(server, poll, silent, listen):
    events = listen("unhealthy_instance_kill_event", "status_update_event")
    poll(lambda: events)
    check = {"path": "/silence", "port": silent.port, "timeoutSeconds": 0.2, "maxConsecutiveFailures": 3, **HANGING}
    server.create("/x", cmd="exec sleep 1000", healthChecks=[check], backoffSeconds=600, **RESOURCES)
    ids = poll(lambda: two_tasks(events))
    assert server.deployments()  # the second hangs, too
    (killed, *_later) = [event for event in events if event["eventType"] == "unhealthy_instance_kill_event"]
    assert (killed["taskId"], killed["reason"]) == (ids[0], "no answer within 0.2 s")
    of_first = [event for event in events if event.get("taskId") == ids[0] and "taskStatus" in event]
    assert [event["taskStatus"] for event in of_first] == [
        "TASK_STAGING",
        "TASK_RUNNING",
        "TASK_KILLING",
        "TASK_KILLED",
    ]
    # Not before so many failures; and what was killed has not failed: nothing held its successor back.
    moments = [datetime.strptime(event["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z") for event in of_first]
    assert moments[2] - moments[1] >= timedelta(seconds=3 * 0.2)
    assert "lastTaskFailure" not in server.app("/x")


def two_tasks(events):
    ids = list(dict.fromkeys(event["taskId"] for event in events if "taskId" in event))
    return ids if len(ids) > 1 else None


def test_a_command_that_takes_too_long_is_ended(server, poll):
    check = {
        "protocol": "COMMAND", "command": {"value": "exec sleep 1001"}, "timeoutSeconds": 0.2,
        "maxConsecutiveFailures": 0, **HANGING,
    }  # fmt: skip
    server.create("/x", cmd="exec sleep 1000", healthChecks=[check], **RESOURCES)
    results = poll(lambda: [one for task in server.tasks("/x") for one in failed_thrice(task)])
    assert results[0]["lastFailureCause"] == "no answer within 0.2 s"
    # The task, and the latest command at most.
    assert len(server.census()) <= 2


def failed_thrice(task):
    return [result for result in task["healthCheckResults"] if result["consecutiveFailures"] >= 3]
