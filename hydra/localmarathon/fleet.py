"""All agents together: where a task is launched, and which of them ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hydra.localmarathon.agent import Agent, AgentSettings
from hydra.localmarathon.app_definition import AppDefinition
from hydra.localmarathon.launch_queue import Waiting
from hydra.localmarathon.placement import refusal
from hydra.localmarathon.ports import HostPorts
from hydra.localmarathon.process_table import Census
from hydra.localmarathon.task import Task
from hydra.localmarathon.timestamps import format_timestamp, utc_now


class Fleet:
    """The agents of one machine.

    Args:
        agents: each agent's settings and ports.
        on_change: as for Agent.
    """

    def __init__(self, agents: Iterable[tuple[AgentSettings, HostPorts]], on_change: Callable[[Task], None]) -> None:
        census = Census()
        self.agents = [Agent(settings, ports, on_change, census) for settings, ports in agents]
        self._agent_of_id = {agent.place.agent_id: agent for agent in self.agents}

    def launch(self, app: AppDefinition, tasks: Iterable[Task], waiting: Waiting) -> Task | None:
        """Launch one more task on the agent that has the fewest of those that will do; None while none will.

        Args:
            app: what should be launched.
            tasks: those that the app has already.
            waiting: is told what became of the offers.
        """
        placed = [self._agent_of_id[task.agent_id].place for task in tasks]
        now, reasons = format_timestamp(utc_now()), []
        for agent in sorted(self.agents, key=lambda agent: agent.task_count):
            reason = refusal(app, agent.offer(), placed)
            task = agent.launch(app) if reason is None else None
            if task is not None:
                waiting.used(now)
                return task
            reasons.append(reason or "InsufficientPorts")
        waiting.declined(reasons, now)
        return None

    def kill(self, task: Task, *, grace_s: float | None = None) -> None:
        """As Agent.kill."""
        self._agent_of_id[task.agent_id].kill(task, grace_s=grace_s)

    async def wait_empty(self) -> None:
        """As Agent.wait_empty, for all of them."""
        for agent in self.agents:
            await agent.wait_empty()
