"""``hydra cli --engine=kubernetes``: the same few things, where apps are Jobs and tasks are pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hydra.cli.terminal import print_json, print_rows, printable
from hydra.errors import InfrastructureError, UsageError
from hydra.run.clock import MonotonicClock, poll_until

if TYPE_CHECKING:
    from hydra.engine.kube_launcher import KubernetesLauncher
    from hydra.engine.kube_responses import JobResponse

WAIT_S = 60.0
LOOK_EVERY_S = 0.3


def list_apps(launcher: KubernetesLauncher, *, as_json: bool) -> None:
    """Print the apps."""
    from hydra.engine.kube_ours import app_id_of

    rows = [
        {
            "app": app_id_of(job),
            "job": job.metadata.name,
            "instances": job.spec.parallelism,
            "running": job.status.active,
            "ended": job.status.failed,
            "created": f"{job.metadata.creation_timestamp:%Y-%m-%dT%H:%M:%SZ}"
            if job.metadata.creation_timestamp
            else "",
        }
        for job in launcher.jobs()
        if app_id_of(job)
    ]
    print_rows(rows, ("app", "job", "instances", "running", "ended", "created"), as_json=as_json)


def list_tasks(launcher: KubernetesLauncher, app_id: str, *, as_json: bool) -> None:
    """Print the pods of an app."""
    from hydra.engine.kube_states import trouble_of

    _app(launcher, app_id)
    rows = []
    for pod in launcher.pods(app_id):
        trouble = trouble_of(pod)
        rows.append(
            {
                "task": pod.metadata.name,
                "node": pod.spec.node_name,
                "address": pod.status.pod_ip,
                "state": pod.status.phase,
                "reason": trouble.text if trouble is not None else "",
            }
        )
    print_rows(rows, ("task", "node", "address", "state", "reason"), as_json=as_json)


def stop_app(launcher: KubernetesLauncher, app_id: str, *, as_json: bool) -> None:
    """Delete an app, or a group with all that its run has made, and wait until no pod is left."""
    from hydra.engine.kube_controller_objects import secrets_of
    from hydra.engine.kube_ours import app_id_of, group_of

    jobs = launcher.jobs()
    found = [job for job in jobs if app_id_of(job) == app_id] or [job for job in jobs if f"/{group_of(job)}" == app_id]
    if not found:
        raise _no_app(app_id)
    stopped = [app_id_of(job) for job in found if app_id_of(job)]
    for job in found:
        for secret in secrets_of(job):
            launcher.delete_secret(secret)
        launcher.delete(job.metadata.name, job.metadata.uid)
    if not poll_until(MonotonicClock(), lambda: all(map(launcher.removed, stopped)), WAIT_S, every_s=LOOK_EVERY_S):
        raise InfrastructureError(f"pods of {', '.join(stopped)} are still there after {WAIT_S:g} s")
    stopped = stopped or [app_id]  # a group without an app
    if as_json:
        print_json({"stopped": stopped})
    else:
        click.echo(printable(f"stopped {', '.join(stopped)}"))


def scale_app(launcher: KubernetesLauncher, app_id: str, instances: int, *, as_json: bool) -> None:
    """Have so many pods of an app, and wait until they run."""
    launcher.scale(app_id, instances, _app(launcher, app_id).metadata.uid)
    running = 0

    def settled() -> bool:
        nonlocal running
        tasks = launcher.tasks(app_id)
        running = sum(task.running for task in tasks)
        return len(tasks) == running == instances

    if not poll_until(MonotonicClock(), settled, WAIT_S, every_s=LOOK_EVERY_S):
        reason = launcher.waiting_reason(app_id).text
        raise InfrastructureError(f"{running} of {instances} pods of {app_id} run after {WAIT_S:g} s ({reason})")
    if as_json:
        print_json({"app": app_id, "instances": instances, "running": running})
    else:
        click.echo(f"{app_id}: {running} of {instances} tasks run")


def show_log(launcher: KubernetesLauncher, pod: str, limit_bytes: int, *, as_json: bool) -> None:
    """Print the end of a pod's log: stdout and stderr are one there."""
    text = launcher.log(pod, limit_bytes)
    if as_json:
        print_json({"task": pod, "log": text})
        return
    for line in text.splitlines():
        click.echo(printable(line.replace("\t", "    ")))


def _app(launcher: KubernetesLauncher, app_id: str) -> JobResponse:
    from hydra.engine.kube_ours import app_id_of

    for job in launcher.jobs():
        if app_id_of(job) == app_id:
            return job
    raise _no_app(app_id)


def _no_app(app_id: str) -> UsageError:
    return UsageError(f"there is no app {app_id}", hint="see 'hydra cli ls apps --engine=kubernetes'")
