"""What stands in every kind of event, and what else a listener gets."""

import json

import pytest
import requests

from hydra.localmarathon import event_routes

pytestmark = pytest.mark.integration

SLEEP = {"cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16}
NEVER = {"cmd": "exec sleep 1000", "cpus": 1e6}
ALWAYS = {"eventType", "timestamp"}
INSTANCE = {"instanceId", "condition", "runSpecId", "agentId", "host", "runSpecVersion"}
KEYS = {
    "event_stream_attached": {"remoteAddress"},
    "api_post_event": {"clientIp", "uri", "appDefinition"},
    "app_terminated_event": {"appId"},
    "group_change_success": {"groupId", "version"},
    "deployment_info": {"plan", "currentStep"},
    "deployment_step_success": {"plan", "currentStep"},
    "deployment_success": {"id", "plan"},
    "deployment_failed": {"id", "plan"},
    "status_update_event": {
        "slaveId", "taskId", "taskStatus", "message", "appId", "host", "ipAddresses", "ports", "version",
    },
    "instance_changed_event": INSTANCE,
    "instance_health_changed_event": INSTANCE | {"healthy"},
    "health_status_changed_event": {"appId", "instanceId", "version", "alive"},
    "unhealthy_instance_kill_event": {"appId", "taskId", "instanceId", "version", "reason", "host", "slaveId"},
}  # fmt: skip


@pytest.fixture
def events(listen):
    """All events, as they come."""
    return listen()


def kinds(events):
    return {event["eventType"] for event in list(events)}


def test_every_kind_of_event_has_its_fields(server, events, poll):
    healthy_once = "test ! -e sick"
    check = {
        "protocol": "COMMAND", "command": {"value": healthy_once}, "maxConsecutiveFailures": 1,
        "intervalSeconds": 0.05, "delaySeconds": 0, "timeoutSeconds": 5,
    }  # fmt: skip
    (task,) = server.start_app("/x", healthChecks=[check], **SLEEP)
    (server.sandbox(task["id"]) / "sick").touch()
    poll(lambda: "unhealthy_instance_kill_event" in kinds(events))
    server.call("DELETE", "/v2/apps/x")
    poll(lambda: "app_terminated_event" in kinds(events))
    never = server.create("/never", **NEVER)
    server.call("DELETE", "/v2/apps/never")
    poll(lambda: "deployment_failed" in kinds(events))
    found = list(events)
    assert kinds(events) == KEYS.keys()
    for event in found:
        assert event.keys() == KEYS[event["eventType"]] | ALWAYS, event
    of_task = [event for event in found if event.get("taskId") == task["id"]]
    assert [event["taskStatus"] for event in of_task if event["eventType"] == "status_update_event"] == [
        "TASK_STAGING", "TASK_RUNNING", "TASK_KILLING", "TASK_KILLED",
    ]  # fmt: skip
    assert all(event["slaveId"] == task["slaveId"] for event in of_task)
    (failed,) = [event for event in found if event["eventType"] == "deployment_failed"]
    assert failed["id"] == failed["plan"]["id"] == never
    info = next(event for event in found if event["eventType"] == "deployment_info")
    assert info["plan"].keys() == {"id", "version", "steps"}
    assert info["currentStep"]["actions"][0]["action"] == "StartApplication"
    healths = [event["healthy"] for event in found if event["eventType"] == "instance_health_changed_event"]
    assert healths[:2] == [True, False]
    conditions = [event["condition"] for event in found if event["eventType"] == "instance_changed_event"]
    assert conditions[:4] == ["Staging", "Running", "Killing", "Killed"]


def test_an_app_is_terminated_when_its_last_task_is(server, events, poll):
    cmd = "trap '' TERM; echo ready; while true; do sleep 0.1; done"
    (task,) = server.start_app("/x", cmd=cmd, cpus=0.1, mem=16, taskKillGracePeriodSeconds=0.5)
    server.wait_text(task["id"])
    deployment = server.call("DELETE", "/v2/apps/x").json()["deploymentId"]
    poll(lambda: "app_terminated_event" in kinds(events))
    server.wait_settled()
    poll(lambda: any(event.get("id") == deployment for event in list(events)))
    order = [
        event["eventType"]
        for event in list(events)
        if event["eventType"] == "app_terminated_event" or event.get("taskStatus") == "TASK_KILLED"
    ]
    assert order == ["status_update_event", "app_terminated_event"]


def test_frames_are_separated_as_marathon_does_and_a_blank_line_keeps_alive(monkeypatch, server):
    monkeypatch.setattr(event_routes, "_KEEP_ALIVE_S", 0.05)
    with requests.get(
        f"{server.url}/v2/events", headers={"Accept": "text/event-stream"}, stream=True, timeout=20
    ) as answer:
        pieces, text = answer.iter_content(chunk_size=None), b""
        while text.count(b"\r\n") < 5:
            text += next(pieces)
    name, data, *blank = text.split(b"\r\n")
    assert name == b"event: event_stream_attached"
    assert json.loads(data.removeprefix(b"data: "))["remoteAddress"] == "127.0.0.1"
    assert set(blank) == {b""}


def test_several_types_may_be_asked_for(server):
    wanted = {"event_type": ["deployment_info", "app_terminated_event"]}
    with requests.get(
        f"{server.url}/v2/events", params=wanted, headers={"Accept": "text/event-stream"}, stream=True, timeout=20
    ) as answer:
        names = (line for line in answer.iter_lines(chunk_size=1) if line.startswith(b"event: "))
        assert next(names) == b"event: event_stream_attached"
        server.start_app("/x", **SLEEP)
        server.call("DELETE", "/v2/apps/x")
        assert [next(names) for _ in range(3)] == [
            b"event: deployment_info", b"event: deployment_info", b"event: app_terminated_event",
        ]  # fmt: skip
