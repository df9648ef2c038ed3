"""How busy the hosts of tasks were that do not run on the controller's machine, as their samples say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hydra.accounting.evidence import Evidence
from hydra.accounting.stats import PublisherStats, SubscriberStats

LEAST_FREE_CPUS, LEAST_FREE_RATIO = 0.5, 0.15
"""With less free than so many CPUs, and than this share of them, a task that had work to do waited for its turn."""

THROTTLED_RATIO = 0.05
"""A CPU quota that ran out in more than this share of a run slowed whatever it covers."""


@dataclass(frozen=True)
class _HostUse:
    """What was used where a task runs, over the time in which the publisher sent."""

    task_id: str
    cpus: float
    busy_ratio: float
    throttled_ratio: float

    @property
    def free_cpus(self) -> float:
        return max(0.0, self.cpus * (1 - self.busy_ratio))

    @property
    def full(self) -> bool:
        return self.free_cpus < min(LEAST_FREE_CPUS, LEAST_FREE_RATIO * self.cpus)


def hosts_are_known(evidence: Evidence) -> bool:
    """Whether every task that reported says how busy its host was."""
    tasks = len(evidence.subscribers) + (evidence.publisher is not None)
    return tasks > 0 and sum(1 for _use in _uses(evidence)) == tasks


def host_signs(evidence: Evidence) -> list[tuple[str, str]]:
    """(evidence, what to change) where tasks ran out of their quota, or their hosts out of CPUs."""
    uses = list(_uses(evidence))
    found = []
    if throttled := [use for use in uses if use.throttled_ratio > THROTTLED_RATIO]:
        worst = max(throttled, key=lambda use: use.throttled_ratio)
        text = (
            f"the CPU quota of {len(throttled)} of {len(uses)} tasks ran out: that of {worst.task_id}, {worst.cpus:.3g}"
            f" CPUs, in {100 * worst.throttled_ratio:.0f} % of the run"
        )
        found.append((text, "raise the CPU limit of the tasks' containers, or ask for less load"))
    elif full := [use for use in uses if use.full]:
        worst = min(full, key=lambda use: use.free_cpus / use.cpus)
        text = (
            f"the hosts of {len(full)} of {len(uses)} tasks had no CPU free: of the {worst.cpus:.3g} that"
            f" {worst.task_id} may use, {100 * worst.busy_ratio:.0f} % were busy"
        )
        found.append((text, "use more agents, or agents on which neither brokers nor others run"))
    return found


def _uses(evidence: Evidence) -> Iterator[_HostUse]:
    publisher = evidence.publisher
    window_s = publisher.send_window_s if publisher is not None else float("inf")
    tasks: list[PublisherStats | SubscriberStats] = [*evidence.subscribers]
    if publisher is not None:
        tasks.insert(0, publisher)
    for task in tasks:
        known = [(each.at_s, each.host_cpu) for each in task.samples if each.host_cpu is not None]
        sending = [each for each in known if each[0] <= window_s + 1.0]
        if len(sending) < 2:
            continue
        (first_s, first), (last_s, last) = sending[0], sending[-1]
        took_s = last_s - first_s
        if took_s <= 0:
            continue
        throttled_s = (last.throttled_s or 0.0) - (first.throttled_s or 0.0)
        yield _HostUse(
            task.task_id, last.cpus, (last.busy_s - first.busy_s) / (last.cpus * took_s), throttled_s / took_s
        )
