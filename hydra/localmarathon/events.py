"""Marathon's events, and those who listen to them (``GET /v2/events``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from hydra.localmarathon.deployments import Deployment
from hydra.localmarathon.task import Task, TaskState
from hydra.localmarathon.timestamps import format_timestamp, utc_now

_MOST_WAITING_BYTES = 8 * 1024 * 1024  # that a listener may be behind; one event more, and it is dropped


class Listener:
    """One who listens.

    Args:
        types: the event types that are wanted; empty for all.
        drop: called when it is too far behind: it must wake up whoever waits for the listener to take a frame.
    """

    def __init__(self, types: Collection[str], drop: Callable[[], None]) -> None:
        self._types = frozenset(types)
        self._drop = drop
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting_bytes = 0
        self._is_over = False

    def wants(self, event_type: str) -> bool:
        """Whether it is to hear of an event."""
        return not self._is_over and (not self._types or event_type in self._types)

    def add(self, frame: bytes) -> None:
        """One more frame; too far behind, it loses all of them: what waits must not grow without bound."""
        if self._waiting_bytes <= _MOST_WAITING_BYTES:
            self._waiting_bytes += len(frame)
            self._frames.put_nowait(frame)
            return
        while not self._frames.empty():
            self._frames.get_nowait()
        self.end()
        self._drop()

    async def next_frame(self) -> bytes | None:
        """The oldest frame that waits; None when nothing more will come."""
        frame = await self._frames.get()
        self._waiting_bytes -= len(frame or b"")
        return frame

    def end(self) -> None:
        """Nothing more will come."""
        if not self._is_over:
            self._is_over = True
            self._frames.put_nowait(None)


class Events:
    """Hands every event to every listener that wants it; costs nothing while nobody listens."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    @property
    def listener_count(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @contextmanager
    def listener(self, types: Collection[str], drop: Callable[[], None]) -> Iterator[Listener]:
        """A listener as long as the block lasts; the arguments are Listener's."""
        listener = Listener(types, drop)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End all listeners."""
        for listener in self._listeners:
            listener.end()

    def publish(self, event_type: str, **fields: object) -> None:
        """Tell of an event."""
        wanting = [one for one in self._listeners if one.wants(event_type)]
        if not wanting:
            return
        frame = event_frame(event_type, **fields)
        for listener in wanting:
            listener.add(frame)

    def publish_task(self, task: Task) -> None:
        """Tell what is new of a task: its state, and what its checks say."""
        instance_id = task.instance_id
        if task.announced is not task.state:
            task.announced = task.state
            self.publish("status_update_event", **_status_fields(task))
            self.publish("instance_changed_event", **_instance_fields(task))
            if task.state is TaskState.KILLING:
                self.publish("unhealthy_instance_kill_event", **_kill_fields(task))
        for health in task.health:
            if health.announced is not health.alive:
                health.announced = health.alive
                fields = {"appId": task.app_id, "instanceId": instance_id, "version": task.version}
                self.publish("health_status_changed_event", alive=health.alive, **fields)
                self.publish("instance_health_changed_event", **_instance_fields(task), healthy=health.alive)

    def publish_deployment(self, event_type: str, deployment: Deployment) -> None:
        """Tell of a deployment: ``deployment_info``, ``deployment_success`` and so on."""
        document = deployment.document()
        plan = {name: document[name] for name in ("id", "version", "steps")}
        if event_type in ("deployment_success", "deployment_failed"):
            self.publish(event_type, id=deployment.deployment_id, plan=plan)
        else:
            self.publish(event_type, plan=plan, currentStep={"actions": document["currentActions"]})


def event_frame(event_type: str, **fields: object) -> bytes:
    """The bytes of an event on the wire."""
    document = {**fields, "eventType": event_type, "timestamp": format_timestamp(utc_now())}
    return f"event: {event_type}\r\ndata: {json.dumps(document)}\r\n\r\n".encode()


def _status_fields(task: Task) -> dict[str, object]:
    return {
        "slaveId": task.agent_id,
        "taskId": task.task_id,
        "taskStatus": task.state.value,
        "message": task.message,
        "appId": task.app_id,
        "host": task.host,
        "ipAddresses": [{"ipAddress": task.host, "protocol": "IPv4"}],
        "ports": list(task.ports),
        "version": task.version,
    }


def _instance_fields(task: Task) -> dict[str, object]:
    return {
        "instanceId": task.instance_id,
        "condition": task.state.value.removeprefix("TASK_").capitalize(),
        "runSpecId": task.app_id,
        "agentId": task.agent_id,
        "host": task.host,
        "runSpecVersion": task.version,
    }


def _kill_fields(task: Task) -> dict[str, object]:
    causes = [health.last_cause for health in task.health if health.alive is False]
    return {
        "appId": task.app_id,
        "taskId": task.task_id,
        "instanceId": task.instance_id,
        "version": task.version,
        "reason": next((cause for cause in causes if cause), ""),
        "host": task.host,
        "slaveId": task.agent_id,
    }
