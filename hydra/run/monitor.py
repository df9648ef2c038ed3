"""What is seen of a run while it goes on: the broker, the machine, and how far every task is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra.accounting.stats import MachineSample, PublisherStatus, SubscriberStatus
from hydra.codec import decode
from hydra.errors import BrokerError
from hydra.options.options import Options
from hydra.run.context import RunContext
from hydra.run.progress import LiveCounts
from hydra.run.task_roster import TaskRoster
from hydra.signals.messages import request

LOOK_EVERY_S = 0.25
REPLACED = "its process ended and another one took its place"


class Watch:
    """Looks at a run, and shows what it sees.

    Args:
        publisher: the publisher's one task.
        subscribers: all subscriber tasks.
        options: what the run measures.
        world: what there is to look at.
        sample_every_s: how often the machine is looked at, about.
    """

    def __init__(
        self,
        publisher: TaskRoster,
        subscribers: TaskRoster,
        options: Options,
        world: RunContext,
        *,
        sample_every_s: float,
    ) -> None:
        self._publisher = publisher
        self._subscribers = subscribers
        self._options = options
        self._world = world
        self._sample_every_s = sample_every_s
        self._start_s: float | None = None
        self._publisher_seen = PublisherStatus("idle")
        self._publisher_seen_s = 0.0
        self._counted: tuple[PublisherStatus, float, int] | None = None
        """What is to be shown next: where the publisher was, when that was, and what had been delivered then."""
        self.machine: list[MachineSample] = []
        """What the machine did, from the start of the plan on."""

    def begin(self, start_s: float) -> None:
        """The plan starts then, on the controller's clock."""
        self._start_s = start_s

    @property
    def gone(self) -> Mapping[str, str]:
        """Why a task is gone, by its id."""
        return {**self._publisher.gone, **self._subscribers.gone}

    def check_broker(self) -> None:
        """See that the broker is there.

        Raises:
            BrokerError: it counts as gone.
        """
        if trouble := self._world.broker_trouble():
            raise BrokerError(trouble)

    def look(self) -> None:
        """See that the broker is there, and from time to time what the machine does.

        Raises:
            BrokerError: as ``check_broker``.
        """
        self.check_broker()
        if self._start_s is None:
            return
        at_s = self._world.clock.now_s() - self._start_s
        if at_s >= len(self.machine) * self._sample_every_s:
            self.machine.append(self._world.host.sample(at_s))

    def publisher_status(self) -> PublisherStatus:
        """Where the publisher is, or was when it last answered."""
        for task_id, answer in self._publisher.ask(lambda _task: request("teststatus")).items():
            if answer.ok:
                status = decode(answer.body, PublisherStatus)
                if status.phase == "idle":
                    self._publisher.miss(task_id, REPLACED)
                else:
                    self._publisher_seen, self._publisher_seen_s = status, self._world.clock.now_s()
        return self._publisher_seen

    def subscriber_statuses(self) -> list[SubscriberStatus]:
        """Where those subscribers are that answered."""
        answers = self._subscribers.ask(lambda _task: request("teststatus"))
        statuses = {task_id: decode(answer.body, SubscriberStatus) for task_id, answer in answers.items() if answer.ok}
        for task_id, status in statuses.items():
            if status.phase == "idle":
                self._subscribers.miss(task_id, REPLACED)
        return [status for status in statuses.values() if status.phase != "idle"]

    def count_deliveries(self, statuses: Sequence[SubscriberStatus]) -> None:
        """Take what was delivered, with how far the publisher was at that moment: they are shown together."""
        self._counted = self._publisher_seen, self._publisher_seen_s, sum(status.received for status in statuses)

    def show(self, phase: str, elapsed_s: float) -> None:
        """Show the phase, and the counts that are new, each of the same moment.

        Args:
            phase: a word for it.
            elapsed_s: how long it has been going on.
        """
        self._world.progress.phase(phase)
        if self._counted is None:
            return
        (seen, seen_s, delivered), self._counted = self._counted, None
        readers = self._options.client_count if self._options.group == "own" else 1
        due = seen.attempted if self._options.acks == "0" else seen.acked
        self._world.progress.counts(
            LiveCounts(
                elapsed_s=max(0.0, elapsed_s - (self._world.clock.now_s() - seen_s)),
                planned=max(1, round(self._options.msg_rate * self._options.test_duration)),
                sent=seen.attempted,
                acked=seen.acked,
                delivered=delivered,
                backlog=max(0, due * readers - delivered),
                clients_missing=len(self._subscribers.gone) * self._options.clients_per_app,
            )
        )
