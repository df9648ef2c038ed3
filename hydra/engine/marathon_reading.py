"""From Marathon's answers to what the harness knows: tasks and where to reach them, and why others wait."""

from __future__ import annotations

import ipaddress

from hydra.endpoints import Endpoint
from hydra.engine.marathon_answers import AnsweredApp, AnsweredTask, QueueItem
from hydra.run.app_spec import AppSpec, Task


def queue_text(item: QueueItem) -> str:
    """Why tasks wait, in the words of the queue."""
    summary = item.processed_offers_summary
    rejections = summary.reject_summary_last_offers or summary.reject_summary_launch_attempt
    reasons = [f"{entry.reason} ({entry.declined} of {entry.processed})" for entry in rejections if entry.declined]
    if reasons:
        return f"{item.count} wait in Marathon's queue, offers were declined for {', '.join(reasons)}"
    if not item.delay.overdue:
        return f"{item.count} are held back for {item.delay.time_left_seconds:g} s more after they failed"
    return f"{item.count} wait in Marathon's queue for an offer of an agent"


def same_but_instances(app: AnsweredApp, spec: AppSpec) -> bool:
    """Whether an app is what is wished for, but for the number of its tasks."""
    return (
        app.cmd == spec.command
        and app.cpus == spec.cpus
        and app.mem == spec.mem_mib
        and dict(app.env) == dict(spec.env)
        and dict(app.labels) == dict(spec.labels)
        and app.constraints == spec.constraints
        and tuple(item.uri for item in app.fetch) == spec.fetch
        and app.port_count == spec.port_count
    )


def seen_task(item: AnsweredTask) -> Task:
    """A task as the harness sees it."""
    host = task_host(item)
    endpoint = Endpoint(host, item.ports[0]) if host and item.ports else None
    return Task(task_id=item.id, app_id=item.app_id, running=item.state == "TASK_RUNNING", endpoint=endpoint)


def task_host(item: AnsweredTask) -> str:
    """The address to reach a task at: its own, which needs no name to be known here, or else its agent's name.

    An agent whose name leads to its own loopback address tells that one, which is no address for others.
    """
    for address in item.ip_addresses or ():
        try:
            parsed = ipaddress.ip_address(address.ip_address)
        except ValueError:
            continue
        if not parsed.is_unspecified and (not parsed.is_loopback or address.ip_address == item.host):
            return str(parsed)
    return item.host
