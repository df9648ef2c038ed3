"""``kafka-sub``: the subscriber task. Hosts the Kafka clients, and answers signals about how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hydra import __version__
from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.accounting.latency import SAMPLE_BITS, LatencyCounts, merged
from hydra.accounting.sample_latencies import UnfoldedSamples
from hydra.accounting.stats import HostTraffic, ProcessUsage, SubscriberSample, SubscriberStats, SubscriberStatus
from hydra.accounting.tally import ClientTally
from hydra.clients.protocols import SubscriberDriver, subscriber_driver
from hydra.codec import decode
from hydra.options.order import RunOrder
from hydra.run.clock import Clock, MonotonicClock
from hydra.run.protocols import ProcessReading
from hydra.signals.messages import (
    NO_SAMPLE,
    DrainTo,
    Ping,
    Request,
    SignalError,
    SignalName,
    StartAt,
    StatusQuestion,
    TaskOrder,
    success,
)
from hydra.tasks.host import host_traffic, process_reader, process_usage, read_clock, read_usage
from hydra.tasks.task import REPLY_TIMEOUT_S, STATS_TIMEOUT_S, MainThreadExecutor, TaskPlace

KEPT_CLIENT_ARRIVALS, KEPT_TASK_ARRIVALS = 256, 512
"""So many different arrivals of a client, about 25 KiB, are kept as they came, and so many for each client among those
of all together: a run of ten seconds has hardly more."""

SETTLE_EVERY_S, SETTLE_TURNS, SETTLED_AT_ONCE = 0.05, 20, 256
"""What is beyond goes into buckets: so often, in a turn for a part of the clients, and so many arrivals at a time. That
takes a millisecond, in which nothing is received."""

MAX_NAMES = 20
"""Names of waiting clients in one status."""

POLL_S = 0.1
"""How long one poll may wait for records; signals are carried out in between."""

IDLE_S = 0.5


class SubscriberRun:
    """One run of a subscriber's clients. Everything in here belongs to the task's main thread."""

    def __init__(
        self, order: RunOrder, driver: SubscriberDriver, clock: Clock, usage: Callable[[], ProcessReading]
    ) -> None:
        self.order = order
        self._driver = driver
        self._clock = clock
        self._usage = usage
        self._drain_to: dict[int, int] | None = None
        self._timing: DeliveryTiming | None = None
        self._unpaced: DeliveryTiming | None = None
        """Of the clients that keep no pace."""
        self._start_s = 0.0
        self._next_sample_s = float("inf")
        self._samples: list[SubscriberSample] = []
        self._unfolded = UnfoldedSamples(self._put_latencies)
        self._settle_due_s = 0.0
        self._settle_turn = 0
        self._last_stats: bytes | None = None
        """The answer to ``getstats``, once it was told to drain."""

    def open(self) -> None:
        """Begin to connect all clients."""
        self._driver.open()

    def start(self, start: StartAt) -> None:
        """Learn when the plan starts; what arrives from now on is timed by it. Told again, the last start counts."""
        order = self.order
        self._timing, self._unpaced = (
            DeliveryTiming(order.send_plan, order.partitioner, start.start_s, start.start_wall_s) for _ in range(2)
        )
        for tally, client in zip(self._driver.tallies, order.clients, strict=True):
            tally.time_by(self._timing if client.paced else self._unpaced)
        self._start_s = self._next_sample_s = start.start_s
        self._samples.clear()
        self._unfolded.clear()

    @property
    def has_begun(self) -> bool:
        """Whether the plan has started."""
        return bool(self._samples)

    def poll(self, timeout_s: float) -> None:
        """Move all clients on; waits ``timeout_s`` at most."""
        self._driver.poll(timeout_s)
        now_s = self._clock.now_s()
        if now_s >= self._next_sample_s:
            self._sample(now_s)
        elif now_s >= self._settle_due_s:
            self._settle_due_s = now_s + SETTLE_EVERY_S
            self._settle_some()

    def _sample(self, now_s: float) -> None:
        """Note how far all clients are."""
        tallies = self._driver.tallies
        used = self._usage()
        at_s = now_s - self._start_s
        received = [tally.received for tally in tallies]
        if self._timing is not None and self._unpaced is not None:
            sample = self._timing.take_sample()
            sample.take(self._unpaced.take_sample())
            self._unfolded.add(len(self._samples), sample)
        self._samples.append(
            SubscriberSample(
                at_s=at_s,
                received=sum(received),
                slowest_received=min(received, default=0),
                fetches=sum(tally.fetches for tally in tallies),
                received_bytes=sum(tally.received_bytes for tally in tallies),
                cpu_s=used.cpu_s,
                rss_bytes=used.rss_bytes,
                e2e=LatencyCounts(SAMPLE_BITS),
                rebalances=sum(tally.rebalances for tally in tallies),
                host_cpu=used.host_cpu,
            )
        )
        self._bound_memory()
        self._next_sample_s = self._start_s + self.order.next_sample_s(at_s)

    def _bound_memory(self) -> None:
        """Have latencies go into buckets where there are very many: about as many as came in this second."""
        self._unfolded.bound()
        self._settle(self._driver.tallies, 2)  # where there were too few turns

    def _settle_some(self) -> None:
        """The same for a part of the clients."""
        self._settle_turn = (self._settle_turn + 1) % SETTLE_TURNS
        self._settle(self._driver.tallies[self._settle_turn :: SETTLE_TURNS], 1, SETTLED_AT_ONCE)

    def _settle(self, tallies: Sequence[ClientTally], times: int, most: int | None = None) -> None:
        for timing in (self._timing, self._unpaced):
            if timing is not None:
                timing.settle(times * KEPT_TASK_ARRIVALS * len(self._driver.tallies), most)
        for tally in tallies:
            if tally.latencies is not None:
                tally.latencies.settle(times * KEPT_CLIENT_ARRIVALS, most)

    def _put_latencies(self, number: int, latencies: LatencyCounts) -> None:
        self._samples[number] = replace(self._samples[number], e2e=latencies)

    def _last_sample(self, question: StatusQuestion) -> SubscriberSample | None:
        last = len(self._samples) - 1
        if last < 0 or not question.sample:
            return None
        if question.latencies and last in self._unfolded:
            self._unfolded.fold(last)
        return self._samples[last]

    def drain(self, drain_to: DrainTo) -> None:
        """From now on, ``drained`` means: read up to these end offsets."""
        self._drain_to = drain_to.end_offsets
        self._last_stats = None

    def status(self, question: StatusQuestion = NO_SAMPLE) -> SubscriberStatus:
        """How far the clients are."""
        tallies = self._driver.tallies
        unpositioned = [tally.name for tally in tallies if not tally.positioned]
        error = next((tally.reason for tally in tallies if tally.error), "")
        received = sum(tally.received for tally in tallies)
        if self._drain_to is None:
            phase = "connecting" if unpositioned else "receiving"
            waiting, drained = unpositioned, 0
        else:
            waiting = [tally.name for tally in tallies if not tally.reached(self._drain_to)]
            phase = "receiving" if waiting else "drained"
            drained = len(tallies) - len(waiting)
        return SubscriberStatus(
            phase=phase,
            clients=len(tallies),
            positioned=len(tallies) - len(unpositioned),
            received=received,
            drained=drained,
            waiting=tuple(waiting[:MAX_NAMES]),
            error=error,
            fetches=sum(tally.fetches for tally in tallies),
            cpu_s=time.process_time(),
            sample=self._last_sample(question),
        )

    def stats(self, task_id: str, usage: ProcessUsage, traffic: HostTraffic) -> SubscriberStats:
        """What every client received so far, and how late, with what this task and its host used meanwhile."""
        timings = [timing for timing in (self._timing, self._unpaced) if timing is not None]
        if timings:
            self._sample(self._clock.now_s())
        self._unfolded.fold_all()
        return SubscriberStats(
            run_id=self.order.run_id,
            task_id=task_id,
            clients=tuple(tally.stats() for tally in self._driver.tallies),
            usage=usage,
            e2e=merged(timing.e2e() for timing in timings).fact(),
            service=merged(timing.service() for timing in timings).fact(),
            unpaced=merged(timing.e2e() for timing in timings[1:]).fact(),
            samples=tuple(self._samples),
            traffic=traffic,
        )

    def answer(self, task_id: str, usage: ProcessUsage, traffic: HostTraffic) -> bytes:
        """The reply with the stats. From when it was told to drain it is made once: who asks again waited in vain."""
        if self._last_stats is not None:
            return self._last_stats
        reply = success(self.stats(task_id, usage, traffic))
        if self._drain_to is not None:
            self._last_stats = reply
        return reply

    def close(self) -> None:
        """Let go of all clients."""
        self._driver.close()


class KafkaSub:
    """The subscriber's reply to each signal, and the loop of its main thread."""

    def __init__(self, place: TaskPlace) -> None:
        self._place = place
        self._main = MainThreadExecutor()
        self._current: SubscriberRun | None = None
        self._began = read_usage()
        self._knows_beginning = True
        """Whether that was read when the plan of the current run started."""
        self._used: tuple[ProcessUsage, HostTraffic] | None = None
        """From the start of the plan until it was told to drain."""
        self._signals: Mapping[SignalName, Callable[[Request], bytes]] = {
            "updateconfig": self._update_config,
            "teststart": self._test_start,
            "teststop": self._test_stop,
            "teststatus": self._test_status,
            "getstats": self._get_stats,
            "resetstats": self._reset_stats,
        }

    def answer(self, request: Request) -> bytes:
        """The reply to a signal; called on the signal thread."""
        if request.signal == "ping":
            current = self._current
            run_id = current.order.run_id if current else ""
            return success(Ping(self._place.task_id, "kafka-sub", __version__, run_id, read_clock()))
        timeout_s = STATS_TIMEOUT_S if request.signal == "getstats" else REPLY_TIMEOUT_S
        return self._main.ask(lambda: self._signals[request.signal](request), timeout_s)

    def loop(self) -> None:
        """Move the clients on and carry out signals, for ever: Marathon ends a task with a signal of the system."""
        while True:
            if self._current is None:
                self._main.serve(IDLE_S)
            else:
                self._move_on(self._current)
                self._main.serve(0)

    def _move_on(self, run: SubscriberRun) -> None:
        run.poll(POLL_S)
        if not self._knows_beginning and run.has_begun:
            self._began, self._knows_beginning = read_usage(), True

    def _update_config(self, request: Request) -> bytes:
        told = decode(request.arguments, TaskOrder)
        self._clean_up()
        driver = subscriber_driver(told.order, told.access, self._place.driver)
        run = SubscriberRun(told.order, driver, MonotonicClock(), process_reader(told.order))
        try:
            run.open()
        except BaseException:
            run.close()  # some clients may be open already: members of groups, that nobody would ever end
            raise
        self._current = run
        return success()

    def _test_start(self, request: Request) -> bytes:
        self._run().start(decode(request.arguments, StartAt))
        # What comes before the plan starts is no part of the run: the more tasks, the longer it takes to tell all.
        self._began, self._knows_beginning = read_usage(), False
        self._used = None
        return success()

    def _test_stop(self, request: Request) -> bytes:
        self._run().drain(decode(request.arguments, DrainTo))
        self._used = self._usage()
        return success()

    def _test_status(self, request: Request) -> bytes:
        question = decode(request.arguments, StatusQuestion)
        return success(self._current.status(question) if self._current else SubscriberStatus("idle"))

    def _get_stats(self, _request: Request) -> bytes:
        run = self._run()
        used, traffic = self._used or self._usage()
        return run.answer(self._place.task_id, used, traffic)

    def _reset_stats(self, _request: Request) -> bytes:
        """Forget the run: its counts and its clients."""
        self._clean_up()
        return success()

    def _usage(self) -> tuple[ProcessUsage, HostTraffic]:
        ended = read_usage()
        return process_usage(self._began, ended), host_traffic(self._began, ended)

    def _clean_up(self) -> None:
        run, self._current = self._current, None
        if run is not None:
            run.close()

    def _run(self) -> SubscriberRun:
        if self._current is None:
            raise SignalError("not configured: send updateconfig first")
        return self._current
