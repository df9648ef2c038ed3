"""What the state of pods means for a run: which are its tasks, and why others are none. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from hydra.endpoints import Endpoint
from hydra.engine.kube_objects import PORT
from hydra.engine.kube_responses import EventResponse, JobResponse, PodResponse, TerminatedState
from hydra.run.protocols import Task

ENDED_PHASES = {"Succeeded", "Failed"}

FINAL = {
    "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError",
    "RunContainerError",
}  # fmt: skip
"""Of a container that waits: what no waiting mends within a run. The kubelet has tried twice to pull, or more."""

HARMLESS = {"ContainerCreating", "PodInitializing", ""}
LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Trouble:
    """Why a pod is no task."""

    text: str
    """In the words of Kubernetes."""
    ended: bool = False
    """It was a task, or was to become one, and is over: it does not come back."""
    final: bool = False
    """Waiting does not help."""
    at: datetime = LONG_AGO


def task_of(pod: PodResponse, app_id: str) -> Task | None:
    """The task that a pod is; None for one that has ended."""
    if pod.status.phase in ENDED_PHASES:
        return None
    running = pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None and _is_ready(pod)
    endpoint = Endpoint(pod.status.pod_ip, PORT) if pod.status.pod_ip else None
    return Task(pod.metadata.name, app_id, running, endpoint)


def _is_ready(pod: PodResponse) -> bool:
    """Whether its container runs, on a node that is there: of a node that is lost, Kubernetes says that it is not."""
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions)


def trouble_of(pod: PodResponse) -> Trouble | None:
    """What is wrong with a pod; None for one that runs, or is about to."""
    if pod.status.phase in ENDED_PHASES:
        return _end_of(pod)
    conditions = {each.type: each for each in pod.status.conditions}
    disruption = conditions.get("DisruptionTarget")
    if pod.metadata.deletion_timestamp is not None:
        why = f" ({disruption.reason}: {disruption.message})" if disruption is not None else ""
        return Trouble(f"it is being deleted{why}", ended=True, at=pod.metadata.deletion_timestamp)
    scheduled = conditions.get("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return Trouble(_joined(scheduled.reason or "Unschedulable", scheduled.message or ""))
    for container in pod.status.container_statuses:
        if (waiting := container.state.waiting) is not None and waiting.reason not in HARMLESS:
            return Trouble(_joined(waiting.reason, waiting.message), final=waiting.reason in FINAL)
    ready = conditions.get("Ready")
    if pod.status.phase == "Running" and ready is not None and ready.status != "True":
        return Trouble(f"its node {pod.spec.node_name} does not report ({ready.reason or 'not ready'})")
    return None


def _end_of(pod: PodResponse) -> Trouble:
    disruption = next((each for each in pod.status.conditions if each.type == "DisruptionTarget"), None)
    found = (container.state.terminated for container in pod.status.container_statuses)
    terminated = next((state for state in found if state is not None), None)
    at = terminated.finished_at if terminated is not None else pod.metadata.creation_timestamp
    if pod.status.reason:
        text = _joined(pod.status.reason, pod.status.message)  # Evicted, DeadlineExceeded, NodeLost
    elif disruption is not None:
        text = _joined(disruption.reason or "DisruptionTarget", disruption.message or "")
    elif terminated is not None:
        text = _exit_of(terminated)
    else:
        text = f"it {pod.status.phase.lower()}"
    return Trouble(text, ended=True, at=at or LONG_AGO)


def _exit_of(terminated: TerminatedState) -> str:
    code = terminated.exit_code
    how = f"exit code {code}"
    if code > 128 and terminated.reason != "StartError":
        how += f", signal {code - 128}"
    reason = terminated.reason or "ended"
    return _joined(f"{reason} ({how})", terminated.message)


def _joined(reason: str, message: str) -> str:
    return f"{reason}: {' '.join(message.split())}" if message else reason


def troubles(pods: Iterable[PodResponse]) -> list[tuple[PodResponse, Trouble]]:
    """The pods that something is wrong with: what ended first, the latest before all others."""
    found = [(pod, trouble) for pod in pods if (trouble := trouble_of(pod)) is not None]
    return sorted(found, key=lambda each: (not each[1].ended, -each[1].at.timestamp()))


def refusal_text(events: Sequence[EventResponse]) -> str:
    """Why Kubernetes makes no pods of a Job (quota, admission, limits), by its events; empty where none says so."""
    failed = [event for event in events if event.reason == "FailedCreate"]
    newest = max(failed, key=lambda event: event.last_timestamp or LONG_AGO, default=None)
    return _joined(newest.reason, newest.message) if newest is not None else ""


def is_spent(job: JobResponse) -> bool:
    """Whether some of a Job's pods have ended: it has them never again, whatever it is scaled to."""
    finished = any(each.type in {"Complete", "Failed"} and each.status == "True" for each in job.status.conditions)
    return finished or bool(job.status.failed_indexes or job.status.completed_indexes)
