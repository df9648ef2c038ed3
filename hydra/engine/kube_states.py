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

NO_IMAGE = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
FINAL = {*NO_IMAGE, "CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
"""Of a container that waits: what no waiting mends within a run. The kubelet has tried twice to pull, or more."""

TASK = "task"
"""The container of a pod that is ours (kube_objects.py); admission webhooks may put others beside it."""

BY_KUBELET = {"ContainersNotReady", "PodCompleted", "PodFailed"}
"""Reasons why a pod is not ready that a node gives; of a node that is lost the control plane says it, without these."""

HARMLESS = {"ContainerCreating", "PodInitializing", ""}
DELETED = "deleted"
"""The kind of problem of a pod that somebody deletes, where nothing says why."""

ENDED_BY_SIGNAL = {137, 143}
"""Exit codes of what the kubelet ends, because its pod is deleted: after SIGKILL and SIGTERM."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Trouble:
    """Why a pod is no task."""

    text: str
    """In the words of Kubernetes."""
    kind: str = ""
    """The same without what differs from pod to pod."""
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


def is_over_and_deleted(pod: PodResponse) -> bool:
    """Whether nothing of a pod runs any more, though it is still listed: for Kubernetes' controllers to take note."""
    over = pod.status.phase in ENDED_PHASES or pod.metadata.deletion_grace_period_seconds == 0
    return pod.metadata.deletion_timestamp is not None and over


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
        kind = DELETED if disruption is None else f"{DELETED} {disruption.reason}"
        return Trouble(f"it is being deleted{why}", kind, ended=True, at=pod.metadata.deletion_timestamp)
    scheduled = conditions.get("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        reason = scheduled.reason or "Unschedulable"
        return Trouble(_joined(reason, scheduled.message or ""), reason)
    for container in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        if (waiting := container.state.waiting) is not None and waiting.reason not in HARMLESS:
            text = _joined(waiting.reason, waiting.message)
            return Trouble(text, waiting.reason, final=waiting.reason in FINAL)
    ready = conditions.get("Ready")
    unready = pod.status.phase == "Running" and ready is not None and ready.status != "True"
    return _unready(pod, (ready.reason if ready is not None else "") or "not ready") if unready else None


def _unready(pod: PodResponse, reason: str) -> Trouble | None:
    if (ended := _terminated(pod)) is not None:  # a container that others have put beside the task still runs
        return _ended_as(_exit_of(ended), ended.message, ended.finished_at)
    if reason in BY_KUBELET:
        return None  # of a node that reports
    return Trouble(f"its node {pod.spec.node_name} does not report ({reason})", "node does not report")


def _end_of(pod: PodResponse) -> Trouble:
    disruption = next((each for each in pod.status.conditions if each.type == "DisruptionTarget"), None)
    terminated = _terminated(pod)
    at = terminated.finished_at if terminated is not None else pod.metadata.creation_timestamp
    message = ""
    if pod.status.reason:
        kind, message = pod.status.reason, pod.status.message  # Evicted, DeadlineExceeded, NodeLost
    elif disruption is not None:
        kind, message = disruption.reason or "DisruptionTarget", disruption.message or ""
    elif terminated is not None and _was_deleted(pod, terminated):
        return Trouble("it is being deleted", DELETED, ended=True, at=at or LONG_AGO)
    elif terminated is not None:
        kind, message = _exit_of(terminated), terminated.message
    else:
        kind = f"it {pod.status.phase.lower()}"
    return _ended_as(kind, message, at)


def _ended_as(kind: str, message: str, at: datetime | None) -> Trouble:
    return Trouble(_joined(kind, message), kind, ended=True, at=at or LONG_AGO)


def _terminated(pod: PodResponse) -> TerminatedState | None:
    """How the task ended, or what was to run before it and failed; None where neither has."""
    own = [each.state.terminated for each in pod.status.container_statuses if each.name == TASK]
    before = [each.state.terminated for each in pod.status.init_container_statuses]
    failed = [state for state in before if state is not None and state.exit_code != 0]
    return next((state for state in (*own, *failed) if state is not None), None)


def _was_deleted(pod: PodResponse, terminated: TerminatedState) -> bool:
    """Whether a container ended because its pod is deleted, and not by itself: the signal is the kubelet's."""
    by_signal = terminated.exit_code in ENDED_BY_SIGNAL and terminated.reason in {"", "Error"}
    return pod.metadata.deletion_timestamp is not None and by_signal


def _exit_of(terminated: TerminatedState) -> str:
    code = terminated.exit_code
    how = f"exit code {code}"
    if code > 128 and terminated.reason != "StartError":
        how += f", signal {code - 128}"
    return f"{terminated.reason or 'ended'} ({how})"


def _joined(reason: str, message: str) -> str:
    return f"{reason}: {' '.join(message.split())}" if message else reason


def troubles(pods: Iterable[PodResponse]) -> list[tuple[PodResponse, Trouble]]:
    """The pods that something is wrong with: what ended first, the latest before all others."""
    found = [(pod, trouble) for pod in pods if (trouble := trouble_of(pod)) is not None]
    return sorted(found, key=lambda each: (not each[1].ended, -each[1].at.timestamp()))


def refusal_text(events: Sequence[EventResponse]) -> str:
    """Why Kubernetes makes no pods of a Job (quota, admission, limits), by its events; empty where none says so."""
    failed = [event for event in events if event.reason == "FailedCreate"]
    newest = max(failed, key=_told_at, default=None)
    return _joined(newest.reason, newest.message) if newest is not None else ""


def _told_at(event: EventResponse) -> datetime:
    """When it was told last; some have only the time at which they were made."""
    return event.last_timestamp or event.metadata.creation_timestamp or LONG_AGO


def is_over(job: JobResponse) -> bool:
    """Whether a Job has ended, well or not."""
    return any(each.type in {"Complete", "Failed"} and each.status == "True" for each in job.status.conditions)


def is_going(job: JobResponse) -> bool:
    """Whether a Job is being deleted, or is about to be, as an anchor is that has ended."""
    return job.metadata.deletion_timestamp is not None or is_over(job)


def is_spent(job: JobResponse) -> bool:
    """Whether some of a Job's pods have ended: it has them never again, whatever it is scaled to."""
    return is_over(job) or bool(job.status.failed_indexes or job.status.completed_indexes)
