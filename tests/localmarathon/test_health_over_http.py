"""Health checks that ask over HTTP and TLS: by which protocol, on which port, and what counts as healthy."""

import sys

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
