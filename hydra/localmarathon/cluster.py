"""All agents together: which of them launches a task, and which of them kills it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hydra.localmarathon.agent import Agent, AgentSettings
from hydra.localmarathon.app_definition import AppDefinition
from hydra.localmarathon.launch_queue import QueueEntry
from hydra.localmarathon.placement import decline_reason
from hydra.localmarathon.ports import HostPorts
from hydra.localmarathon.process_table import ProcessSnapshot
from hydra.localmarathon.task import Task
from hydra.localmarathon.timestamps import timestamp_now


class Cluster:
    """The agents of one machine.

    Args:
        agents: each agent's settings and ports.
        on_change: as for Agent.
    """

    def __init__(self, agents: Iterable[tuple[AgentSettings, HostPorts]], on_change: Callable[[Task], None]) -> None:
        snapshot = ProcessSnapshot()
        self.agents = [Agent(settings, ports, on_change, snapshot) for settings, ports in agents]
        self._agent_of_id = {agent.identity.agent_id: agent for agent in self.agents}

    def launch(self, app: AppDefinition, tasks: Iterable[Task], entry: QueueEntry) -> Task | None:
        """Launch one more task on the suitable agent with the fewest tasks; None if no agent is suitable.

        Args:
            app: the app to launch a task of.
            tasks: the tasks that the app already has.
            entry: gets a note of what happened to the offers.
        """
        placed = [task.agent for task in tasks]
        now, reasons = timestamp_now(), []
        for agent in sorted(self.agents, key=lambda agent: len(agent.tasks)):
            reason = decline_reason(app, agent.offer(), placed)
            task = agent.launch(app) if reason is None else None
            if task is not None:
                entry.note_used(now)
                return task
            reasons.append(reason or "InsufficientPorts")
        entry.note_declined(reasons, now)
        return None

    def kill(self, task: Task, *, grace_s: float | None = None) -> None:
        """As Agent.kill."""
        self._agent_of_id[task.agent.agent_id].kill(task, grace_s=grace_s)

    async def wait_empty(self) -> None:
        """Wait until every task has ended; bounded by the graces of the tasks that are being killed."""
        for agent in self.agents:
            await agent.wait_empty()
