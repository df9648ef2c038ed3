"""Health checks on real tasks, and the stream of events."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys

import pytest
import requests

from hydra.localmarathon import event_routes, health_checks

pytestmark = pytest.mark.integration

FAST = {"intervalSeconds": 0.05, "timeoutSeconds": 5, "delaySeconds": 0}
# Answers 200 while there is a file "healthy" in its sandbox, and 500 otherwise.
WEB = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/at" and os.path.exists("healthy") else 500)
        self.end_headers()
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT0"])), Answer).serve_forever()
"""
RESOURCES = {"cpus": 0.1, "mem": 16}


def kinds(events):
    return [event["eventType"] for event in events]


def test_an_app_is_deployed_when_it_is_healthy(server, poll):
    check = {"protocol": "HTTP", "path": "/at", "gracePeriodSeconds": 300, **FAST}
    server.create("/x", args=[sys.executable, "-c", WEB], ports=[0], healthChecks=[check], **RESOURCES)
    poll(lambda: server.app("/x")["tasksRunning"] == 1)
    (task,) = server.tasks("/x")
    # Within the grace a failure before the first success is no failure.
    assert task["healthCheckResults"] == []
    assert len(server.deployments()) == 1
    (server.sandbox(task["id"]) / "healthy").touch()
    server.wait_settled()
    app = server.app("/x")
    assert (app["tasksHealthy"], app["tasksUnhealthy"]) == (1, 0)
    (result,) = app["tasks"][0]["healthCheckResults"]
    assert (result["alive"], result["consecutiveFailures"]) == (True, 0)
    assert result["firstSuccess"] <= result["lastSuccess"]
    assert app["healthChecks"][0]["maxConsecutiveFailures"] == 3


def test_a_task_that_turns_unhealthy_is_killed_and_replaced(server, poll, listen):
    events = listen("unhealthy_instance_kill_event", "health_status_changed_event")
    check = {"protocol": "HTTP", "path": "/at", "maxConsecutiveFailures": 2, **FAST}
    cmd = f"touch healthy; exec {sys.executable} -c '{WEB}'"
    (task,) = server.start_app("/x", cmd=cmd, ports=[0], healthChecks=[check], **RESOURCES)
    (server.sandbox(task["id"]) / "healthy").unlink()
    poll(lambda: [one["id"] for one in server.tasks("/x")] not in ([task["id"]], []))
    poll(lambda: "unhealthy_instance_kill_event" in kinds(events))
    killed = next(event for event in events if event["eventType"] == "unhealthy_instance_kill_event")
    assert (killed["taskId"], killed["reason"]) == (task["id"], "HTTP 500")
    assert [event["alive"] for event in events if event["eventType"] == "health_status_changed_event"][:2] == [
        True,
        False,
    ]


@pytest.mark.parametrize("protocol", ["TCP", "MESOS_TCP"])
def test_a_port_that_listens_is_healthy(server, poll, protocol):
    program = "import os, socket, time; s = socket.create_server((os.environ['HOST'], int(os.environ['PORT1'])))\n"
    program += "while True: s.accept()"
    check = {"protocol": protocol, "portIndex": 1, **FAST}
    server.start_app("/x", args=[sys.executable, "-c", program], ports=[0, 0], healthChecks=[check], **RESOURCES)
    assert server.app("/x")["tasksHealthy"] == 1


def test_a_command_is_run_in_the_sandbox_with_the_environment(server, poll):
    check = {"protocol": "COMMAND", "command": {"value": 'test -e ready && test "$OWN" = yes'}, **FAST}
    server.start_app("/x", cmd="touch ready; exec sleep 1000", env={"OWN": "yes"}, healthChecks=[check], **RESOURCES)
    assert server.app("/x")["tasksHealthy"] == 1


def test_a_command_that_hangs_is_ended_with_the_task(server, poll, tmp_path):
    check = {"protocol": "COMMAND", "command": {"value": f"touch {tmp_path}/begun; exec sleep 1001"}, **FAST}
    server.create("/x", cmd="exec sleep 1000", healthChecks=[check], **RESOURCES)
    poll((tmp_path / "begun").exists)
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert server.census() == []


def test_a_command_that_ends_as_it_is_given_up_is_no_error(tmp_path):
    async def pid_of_command():
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.01)
        return int((tmp_path / "pid").read_text())

    async def give_up_at_the_end():
        check = health_checks.HealthCheck(protocol="COMMAND", command="echo $$ > new; mv new pid; exec sleep 1001")
        patient = health_checks.Patient("127.0.0.1", (), tmp_path, os.environ)
        looking = asyncio.create_task(health_checks._look(check, patient))
        pid = await asyncio.wait_for(pid_of_command(), 15)
        # The event loop has no turn in between: it gives up a process that is gone, and has not heard of its end.
        looking.cancel()
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        with pytest.raises(asyncio.CancelledError):
            await looking

    asyncio.run(give_up_at_the_end())


def test_a_watch_ends_at_whatever_moment_it_is_told_to(tmp_path):
    looks = []

    async def end_after(turns, port):
        check = health_checks.HealthCheck(protocol="TCP", port=port, delay_s=0, interval_s=0.01)
        patient = health_checks.Patient("127.0.0.1", (), tmp_path, os.environ)
        health = health_checks.Health("x")
        watching = asyncio.create_task(health_checks.watch(check, patient, health, lambda: looks.append(turns)))
        for _ in range(turns):
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.wait({watching}, timeout=5)
        assert watching.cancelled(), f"told to end after {turns} turns of the event loop, it goes on"

    async def end_after_every_number_of_turns():
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # and does not listen: a look is over after a few turns
            for turns in range(40):
                await end_after(turns, nobody.getsockname()[1])

    asyncio.run(end_after_every_number_of_turns())
    assert 40 > len(set(looks)) > 0, "some came before the end of a look, and some after it"


def test_zero_failures_allowed_means_never_killed(server, poll):
    check = {"protocol": "COMMAND", "command": {"value": "exit 1"}, "maxConsecutiveFailures": 0, **FAST}
    server.create("/x", cmd="exec sleep 1000", healthChecks=[{**check, "gracePeriodSeconds": 0}], **RESOURCES)

    def failures():
        results = [result for task in server.tasks("/x") for result in task["healthCheckResults"]]
        return results[0]["consecutiveFailures"] if results else 0

    poll(lambda: failures() > 5)
    assert server.app("/x")["tasksUnhealthy"] == 1
    assert [task["state"] for task in server.tasks("/x")] == ["TASK_RUNNING"]


def test_events_tell_a_life_of_an_app(server, poll, listen):
    events = listen()
    poll(lambda: events)
    assert (events[0]["eventType"], events[0]["remoteAddress"]) == ("event_stream_attached", "127.0.0.1")
    (task,) = server.start_app("/x", cmd="exec sleep 1000", **RESOURCES)
    deployment = server.call("DELETE", "/v2/apps/x").json()["deploymentId"]
    server.wait_settled()
    poll(lambda: kinds(events).count("deployment_success") == 2)
    assert all(event["timestamp"].endswith("Z") for event in events)
    states = [event["taskStatus"] for event in events if event["eventType"] == "status_update_event"]
    assert states == ["TASK_STAGING", "TASK_RUNNING", "TASK_KILLED"]
    status = next(event for event in events if event["eventType"] == "status_update_event")
    assert (status["taskId"], status["appId"], status["ports"]) == (task["id"], "/x", task["ports"])
    posted = next(event for event in events if event["eventType"] == "api_post_event")
    assert (posted["uri"], posted["appDefinition"]["id"]) == ("/v2/apps", "/x")
    last = [event for event in events if event["eventType"] == "deployment_success"][-1]
    assert (last["id"], last["plan"].keys()) == (deployment, {"id", "version", "steps"})
    assert {"deployment_info", "group_change_success", "app_terminated_event", "instance_changed_event"} <= {
        *kinds(events)
    }


def test_only_the_wanted_events_come(server, poll, listen):
    events = listen("app_terminated_event")
    server.start_app("/x", cmd="exec sleep 1000", **RESOURCES)
    server.call("DELETE", "/v2/apps/x")
    poll(lambda: "app_terminated_event" in kinds(events))
    assert set(kinds(events)) == {"event_stream_attached", "app_terminated_event"}


def test_events_are_for_those_who_accept_them(server):
    assert server.get("/v2/events").status_code == 405


def test_the_client_reads_raw_events(server, poll):
    stream = server.client.event_stream(raw=True)
    first = json.loads(next(stream))
    assert first["eventType"] == "event_stream_attached"
    server.create("/x", cmd="exec sleep 1000", **RESOURCES)
    seen = {json.loads(next(stream))["eventType"] for _ in range(4)}
    assert seen <= {"deployment_info", "group_change_success", "api_post_event", "status_update_event"}
    stream.close()


def test_a_listener_that_has_gone_is_forgotten(monkeypatch, server, poll):
    monkeypatch.setattr(event_routes, "_KEEP_ALIVE_S", 0.05)  # what is sent meanwhile tells that it has gone
    events = server.server._scheduler.events
    with requests.get(f"{server.url}/v2/events", headers={"Accept": "text/event-stream"}, stream=True, timeout=10):
        poll(lambda: events.listener_count == 1)
    poll(lambda: events.listener_count == 0)
