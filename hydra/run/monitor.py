"""What is seen of a run: who is ready before it starts; then the broker, the machine, and how far every task is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from hydra.accounting.connections import somebody_was_not_let_in
from hydra.accounting.evidence import Evidence, RunEvent
from hydra.accounting.live_figures import LiveFigures, LiveSamples
from hydra.accounting.stats import MachineSample, PublisherStatus, SubscriberStatus
from hydra.codec import decode
from hydra.errors import BrokerError, DegradedError, HydraError, NotReadyError
from hydra.kafka_errors import error_hint, final_error_in, is_not_let_in
from hydra.options.connection_limits import ConnectionLimit
from hydra.options.order import RunOrder, TopicIdentity
from hydra.run.clock import Headway, poll_until
from hydra.run.protocols import LiveCounts, RunContext, Task
from hydra.run.task_roster import TaskRoster, told_once
from hydra.run.warm_up import COST_EVERY_S, FetchReading, Warmth
from hydra.signals.messages import NO_SAMPLE, StatusQuestion, request

REPLACED = "its process ended and another one took its place"
SLOWLY_S = 10.0
"""From then on a wait says that connections are let in slowly, where they are."""

TOPIC_EVERY_S = 2.0
"""How often the topic is looked at: somebody else may delete it, or make another one under its name."""

TOPIC_AGAIN_S = 10.0
"""The same after a look that no broker answered: each takes a second then."""

LATENCIES_OF_TASKS = 8
"""As many subscribers a second are asked for their latencies, in turns, where somebody watches the run."""

SUBSCRIBERS_EVERY_S = 1.0
"""How often subscribers are asked how far they are while the publisher sends."""


class Monitor:
    """Looks at a run, and shows what it sees."""

    def __init__(self, order: RunOrder, context: RunContext, publisher: TaskRoster, subscribers: TaskRoster) -> None:
        self._order = order
        self._context = context
        self._publisher = publisher
        self._subscribers = subscribers
        self.start_s: float | None = None
        """When the plan started, on the controller's clock; None before."""
        self._subscribers_seen_s = 0.0
        self._subscribers_every_s = SUBSCRIBERS_EVERY_S
        self._warmth: Warmth | None = None
        self._publisher_status = PublisherStatus("idle")
        self._publisher_seen_s = 0.0
        self._counted: tuple[PublisherStatus, float, int] | None = None
        """What to show next: where the publisher was, when that was, and how many deliveries there were then."""
        self._received: dict[str, int] = {}
        """By task, as it last told: one that is silent, or gone, has received that all the same."""
        self._samples = LiveSamples(context.host.cores) if context.progress.wants_figures else None
        self._samples_due_s = 0.0
        self._latencies_from = 0
        self.topic_error = ""
        """What somebody else did to the topic; empty while it is the run's."""
        self._topic: TopicIdentity | None = None
        self._topic_due_s = 0.0
        self._topic_absent = False
        self.machine: list[MachineSample] = []
        """What the machine used, from the start of the plan on."""
        self._machine_due_s = 0.0

    def begin(self, start_s: float) -> None:
        """The plan starts then, on the controller's clock."""
        self.start_s = self._subscribers_seen_s = start_s

    def watch_warmth(self, warmth: Warmth) -> None:
        """While the publisher sends, note what a fetch costs."""
        self._warmth, self._subscribers_every_s = warmth, COST_EVERY_S

    def events(self) -> tuple[RunEvent, ...]:
        """What was told since the start of the plan."""
        if (start_s := self.start_s) is None:
            return ()
        told = self._context.told()
        return tuple(RunEvent(round(at_s - start_s, 3), text) for at_s, text in told if at_s >= start_s)

    @property
    def gone(self) -> Mapping[str, str]:
        """Why a task is gone, by its id."""
        return {**self._publisher.gone, **self._subscribers.gone}

    def watch_topic(self, identity: TopicIdentity) -> None:
        """From now on the run's topic is there, and is this one."""
        self._topic, self._topic_due_s = identity, self._context.clock.now_s() + TOPIC_EVERY_S

    def look_at_topic(self) -> str:
        """See from time to time whose the topic is; returns ``topic_error``."""
        if not self.topic_error and self._topic is not None and self._context.clock.now_s() >= self._topic_due_s:
            self._look_at_topic(self._topic)
        return self.topic_error

    def confirm_topic(self) -> str:
        """See at once whose the topic is; returns ``topic_error``."""
        for _look in range(2):
            self._topic_due_s = 0.0
            if self.look_at_topic() or not self._topic_absent:
                break
            self._context.clock.sleep(TOPIC_EVERY_S)
        return self.topic_error

    def _look_at_topic(self, identity: TopicIdentity) -> None:
        name, every_s = self._order.topic, TOPIC_EVERY_S
        try:
            found = self._context.admin.look_at_topic(name)
        except BrokerError:
            self._topic_absent, every_s = False, TOPIC_AGAIN_S
        else:
            if found is None and self._topic_absent:
                self.topic_error = f"somebody else deleted the topic {name} while the run used it"
            elif found is not None and not identity.is_same(found):
                self.topic_error = (
                    f"somebody else deleted the topic {name} and made another one under its name while the run used it"
                )
            # A broker that has just come back may not know its topics yet: only the second look in a row counts.
            self._topic_absent = found is None
        self._topic_due_s = self._context.clock.now_s() + every_s

    def check_broker(self) -> None:
        """Raise BrokerError when the broker counts as gone."""
        if reason := self._context.broker_error():
            raise BrokerError(reason)

    def look(self) -> None:
        """See that the broker is there (BrokerError), and from time to time what the machine uses."""
        self.check_broker()
        if self.start_s is None:
            return
        at_s = self._context.clock.now_s() - self.start_s
        if at_s >= self._machine_due_s:
            self._machine_due_s = self._order.next_sample_s(at_s)
            self.machine.append(self._context.host.sample(at_s))

    def publisher_status(self) -> PublisherStatus:
        """Where the publisher is, or was when it last answered."""
        question = StatusQuestion(sample=self._samples is not None and self.start_s is not None)
        for task_id, reply in self._publisher.request_once(lambda _task: request("teststatus", question)).items():
            if reply.ok:
                status = decode(reply.body, PublisherStatus)
                if self._samples is not None and status.sample is not None:
                    self._samples.take_publisher(status.sample)
                if status.phase == "idle":
                    self._publisher.mark_gone(task_id, REPLACED)
                else:
                    self._publisher_status, self._publisher_seen_s = status, self._context.clock.now_s()
        return self._publisher_status

    def subscriber_statuses(self) -> list[SubscriberStatus]:
        """Where those subscribers are that answered; what they received is taken for the backlog."""
        question = self._question()
        replies = self._subscribers.request_once(lambda task: request("teststatus", question(task)))
        statuses = {task_id: decode(reply.body, SubscriberStatus) for task_id, reply in replies.items() if reply.ok}
        if self._samples is not None:
            samples = ((task_id, status.sample) for task_id, status in statuses.items())
            self._samples.take_subscribers([(task_id, sample) for task_id, sample in samples if sample is not None])
        for task_id, status in statuses.items():
            if status.phase == "idle":
                self._subscribers.mark_gone(task_id, REPLACED)
            else:
                self._received[task_id] = status.received
        return [status for status in statuses.values() if status.phase != "idle"]

    def _question(self) -> Callable[[Task], StatusQuestion]:
        """What to ask each subscriber: where somebody watches the run once a second for its sample, too."""
        now_s = self._context.clock.now_s()
        if self._samples is None or self.start_s is None or now_s < self._samples_due_s:
            return lambda _task: NO_SAMPLE
        self._samples_due_s = now_s + SUBSCRIBERS_EVERY_S / 2
        present = [task.task_id for task in self._subscribers.present]
        first, self._latencies_from = self._latencies_from, self._latencies_from + LATENCIES_OF_TASKS
        chosen = {present[index % len(present)] for index in range(first, self._latencies_from) if present}
        return lambda task: StatusQuestion(sample=True, latencies=task.task_id in chosen)

    def watch_sending(self) -> PublisherStatus:
        """One look while the publisher sends; shows what it sees."""
        self.look()
        self.look_at_topic()
        status = self.publisher_status()
        now_s = self._context.clock.now_s()
        flushing = status.phase in {"flushing", "done", "failed"}
        if self.start_s is not None and now_s >= self.start_s and not flushing:
            # What brokers do before the first record and after the last one says nothing about what gave way.
            for watch in self._context.watches:
                watch.look()
        if now_s - self._subscribers_seen_s >= self._subscribers_every_s:
            self._subscribers_seen_s = now_s
            statuses = self.subscriber_statuses()
            self._count(self._publisher_seen_s)
            if self._warmth is not None and len(statuses) == len(self._subscribers.present):
                self._note_costs(self._warmth, now_s, statuses)
        self._show("flushing" if flushing else "sending")
        return status

    def _note_costs(self, warmth: Warmth, now_s: float, statuses: Sequence[SubscriberStatus]) -> None:
        broker = self._context.host.broker_cpu()
        if broker is not None:
            clients_cpu_s = sum(status.cpu_s for status in statuses)
            fetches = sum(status.fetches for status in statuses)
            busy_cpu_s = self._context.host.sample(now_s).busy_cpu_s
            warmth.note(FetchReading(now_s, broker, clients_cpu_s, fetches, busy_cpu_s))

    def watch_draining(self) -> list[SubscriberStatus]:
        """One look while the clients read on to the log's end; shows what it sees."""
        self.look()
        self.look_at_topic()
        statuses = self.subscriber_statuses()
        self._count(self._context.clock.now_s())
        self._show("draining")
        return statuses

    def _count(self, at_s: float) -> None:
        """Take what was delivered, with how far the publisher was at that moment: they are shown together."""
        self._counted = self._publisher_status, at_s, sum(self._received.values())

    def _show(self, phase: str) -> None:
        """Show the phase, and the counts that are new, all of one moment."""
        self._context.progress.phase(phase)
        if self._counted is None or self.start_s is None:
            return
        (seen, at_s, delivered), self._counted = self._counted, None
        due = seen.acked if self._order.has_acks else seen.attempted
        self._context.progress.counts(
            LiveCounts(
                elapsed_s=max(0.0, at_s - self.start_s),
                planned=self._order.send_plan.records,
                sent=seen.attempted,
                acked=seen.acked,
                delivered=delivered,
                backlog=max(0, due * self._order.readers - delivered),
                clients_missing=len(self._subscribers.gone) * self._order.options.clients_per_app,
                copies=self._order.readers,
                left_s=max(0.0, self.start_s + self._order.options.test_duration - at_s),
                figures=LiveFigures() if self._samples is None else self._samples.figures(self.machine),
            )
        )


def wait_until_positioned(order: RunOrder, context: RunContext, monitor: Monitor) -> None:
    """Return once all are ready.

    Raises:
        NotReadyError: a task failed or is gone, or the start deadline passed; names those that are not ready.
        DegradedError: somebody else deleted the topic.
        BrokerError: the broker is gone, or refused someone for a reason that no waiting mends.
    """
    publisher = PublisherStatus("idle")
    statuses: list[SubscriberStatus] = []
    clock, headway, clients = context.clock, Headway(context.clock), order.options.client_count
    began_s, asked, settled = clock.now_s(), False, not order.group_settles

    def all_ready() -> bool:
        nonlocal publisher, statuses, asked, settled
        monitor.check_broker()
        if error := monitor.look_at_topic():
            raise DegradedError(error)
        publisher = monitor.publisher_status()
        statuses = monitor.subscriber_statuses()
        positioned = sum(status.positioned for status in statuses)
        headway.note(positioned)
        waited_s = clock.now_s() - began_s
        told = f"{positioned} of {clients} clients positioned"
        if waited_s >= SLOWLY_S and headway.moving:
            told = f"connections are let in slowly ({positioned} of {clients} after {waited_s:.0f} s)"
        context.progress.phase("configuring", told)
        _check_nobody_is_refused(publisher, statuses)
        _check_nobody_failed(publisher, statuses, monitor)
        if waited_s >= SLOWLY_S and not headway.moving and not asked:
            asked = True
            _check_there_is_room(context, publisher, statuses)
        if positioned < clients or publisher.phase != "ready":
            return False
        if not settled:
            # Everyone is asked once more then: the last change may have been under way.
            group_id = order.clients[0].group_id
            settled = context.admin.is_settled(group_id, members=clients, partitions=order.options.partitions)
            return False
        return True

    if not poll_until(clock, all_ready, order.options.start_deadline_s):
        if not settled and sum(status.positioned for status in statuses) == clients and publisher.phase == "ready":
            raise NotReadyError(
                f"the group {order.clients[0].group_id} did not come to rest in {order.options.start_deadline_s:g} s:"
                f" all {clients} clients have joined, and its coordinator still assigns",
                hint="see who else is in the group, group.consumer.* of the brokers, and the coordinator's log",
            )
        raise _not_positioned(order, publisher, statuses, headway)


def _check_nobody_is_refused(publisher: PublisherStatus, statuses: Sequence[SubscriberStatus]) -> None:
    """Raise BrokerError for an error of Kafka's that stays as it is, however long one waits."""
    waiting = [] if publisher.phase == "ready" else [(publisher.error, "WRITE and DESCRIBE")]
    waiting += [(status.error, "READ and DESCRIBE") for status in statuses if status.positioned < status.clients]
    for text, topic_rights in waiting:
        code = final_error_in(text)
        if code is not None:
            raise BrokerError(f"Kafka refused the load: {text}", hint=error_hint(code, topic_rights))


def limits_met(context: RunContext, evidence: Evidence) -> tuple[ConnectionLimit, ...] | None:
    """What limits connections where somebody was not let in; None where all were, or where nobody may know."""
    if not somebody_was_not_let_in(evidence):
        return None
    with contextlib.suppress(BrokerError):
        limits = context.admin.connection_limits()
        return None if limits is None else tuple(limits)
    return None


def _check_there_is_room(context: RunContext, publisher: PublisherStatus, statuses: Sequence[SubscriberStatus]) -> None:
    """Raise BrokerError where nobody gets any further, and a setting of the brokers limits connections."""
    told = [text for text in (publisher.error, *(status.error for status in statuses)) if is_not_let_in(text)]
    if not told:
        return
    try:
        limits = context.admin.connection_limits()
    except HydraError:
        return
    lasting = [limit for limit in limits or () if limit.of != "a second"]
    if lasting:
        positioned = sum(status.positioned for status in statuses)
        clients = sum(status.clients for status in statuses)
        raise BrokerError(
            f"the brokers let no more connections in than those of {positioned} of {clients} clients:"
            f" {', '.join(map(str, lasting))} ({told[0]})",
            hint="raise that setting of the brokers, see what else is connected, or ask for fewer clients",
        )


def _check_nobody_failed(publisher: PublisherStatus, statuses: Sequence[SubscriberStatus], monitor: Monitor) -> None:
    reasons = [("", publisher.error)] if publisher.phase == "failed" else []
    reasons += [("", status.error) for status in statuses if status.phase == "failed"]
    reasons += monitor.gone.items()
    if reasons:
        raise NotReadyError(
            f"not everyone got ready: {told_once(reasons)}", missing=[task_id or reason for task_id, reason in reasons]
        )


def _not_positioned(
    order: RunOrder, publisher: PublisherStatus, statuses: Sequence[SubscriberStatus], headway: Headway
) -> NotReadyError:
    options = order.options
    positioned = sum(status.positioned for status in statuses)
    waiting = [name for status in statuses for name in status.waiting]
    if publisher.phase != "ready":
        waiting.insert(0, f"the publisher ({publisher.error or publisher.phase})")
    shown = ", ".join(waiting[:5]) + (" ..." if len(waiting) > 5 else "")
    errors = sorted({f" ({status.error})" for status in statuses if status.error}) or [""]
    text = f"{positioned} of {options.client_count} clients were positioned after {options.start_deadline_s:g} s"
    hint = "see what keeps them: the broker's log and limits, the network, and the tasks' stderr"
    if headway.moving:
        text = f"connections are let in slowly: {text}"
        hint = "raise --start_timeout, ask for fewer clients, or see the broker's max.connection.creation.rate"
    return NotReadyError(f"{text}; waiting for {shown}{errors[0]}", hint=hint, missing=waiting)
