"""``kafka-pub``: the publisher task. Walks the plan on its main thread; signals are answered beside it.

The plan is an open loop: send times come from it, whatever became of earlier records.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Mapping
from dataclasses import replace

from hydra import __version__
from hydra.accounting.latency import SAMPLE_BITS, LatencyCounts, LatencyHistogram, SpacedLatencies, Spacing
from hydra.accounting.sample_latencies import UnfoldedSamples, coarser
from hydra.accounting.stats import HostTraffic, ProcessUsage, PublisherSample, PublisherStats, PublisherStatus
from hydra.clients.protocols import (
    AckCount,
    CooperativePublisher,
    PublisherDriver,
    TimedPublisher,
    publisher_driver,
)
from hydra.codec import decode
from hydra.errors import HydraError
from hydra.options.order import RunOrder
from hydra.run.clock import Clock, MonotonicClock
from hydra.run.protocols import ProcessReading
from hydra.signals.messages import (
    NO_SAMPLE,
    Ping,
    Request,
    SignalError,
    SignalName,
    StartAt,
    StatusQuestion,
    StopSending,
    TaskOrder,
    success,
)
from hydra.tasks.host import host_traffic, process_reader, process_usage, read_clock, read_usage
from hydra.tasks.task import TaskPlace

KEPT_ARRIVALS = 2048
"""So many different lags of hand-overs, about 0.2 MiB, are kept as they came."""

TICK_S = 0.001
"""The plan's granularity: what is due is handed over at most this often."""

MAX_RECORDS_AT_ONCE = 5_000
"""So that acks are taken in often enough while the publisher catches up with its plan."""

IDLE_POLL_S = 0.05
ACK_POLL_S = 0.02
MAX_WATCHED_LINGER_MS = 1000

START_POLL_S = 0.05

_log = logging.getLogger(__name__)


class PublisherRun:
    """One run of the publisher, from the first connection to the last ack.

    The loop belongs to the task's main thread; ``status``, ``stop`` and ``abandon`` may be called from another one.
    """

    def __init__(
        self, order: RunOrder, driver: PublisherDriver, clock: Clock, usage: Callable[[], ProcessReading]
    ) -> None:
        self.order = order
        self.plan = order.send_plan
        self._partitioner = order.partitioner
        self._driver = driver
        self._clock = clock
        self._pause = driver.pause if isinstance(driver, CooperativePublisher) else clock.sleep
        self._phase = "connecting"
        self._error = ""
        self._attempted = 0
        self._queue_full = 0
        self._spacing = Spacing(self.plan.interval_s)
        self._lag, self._sample_lag = SpacedLatencies(self._spacing), SpacedLatencies(self._spacing)
        self._unfolded = UnfoldedSamples(self._put_lag)
        self._take_ack_latencies = driver.take_ack_latencies if isinstance(driver, TimedPublisher) else LatencyHistogram
        self._ack_latencies = LatencyHistogram()
        self._lag_max_s = 0.0
        self._sample_lag_max_s = 0.0
        self._usage = usage
        self._samples: list[PublisherSample] = []
        self._next_sample_s = 0.0
        """Since the start of the plan."""
        self._acks = AckCount(0, 0)
        self._started_s = 0.0
        self._sent_s = 0.0
        self._acked_s = 0.0
        self.stopping = False
        self._abandoned = False
        self.stats: PublisherStats | None = None
        """What was counted, once it is final."""

    def open(self) -> None:
        """Connect; afterwards the publisher is ready, or failed with the reason in its status."""
        self._driver.open(self.order.options.start_deadline_s)
        self._phase = "ready"

    def fail(self, reason: str) -> None:
        """Note that this run cannot go on."""
        self._error = reason
        self._phase = "failed"

    def stop(self) -> None:
        """End the plan here; what was handed over is still flushed."""
        self.stopping = True

    def abandon(self) -> None:
        """End the plan here and wait for no more acks: nobody will ask what became of this run."""
        self._abandoned = True
        self.stopping = True

    def status(self, question: StatusQuestion = NO_SAMPLE) -> PublisherStatus:
        """How far it is."""
        sample = self._samples[-1] if question.sample and self._samples else None
        return PublisherStatus(self._phase, self._attempted, self._acks.acked, self._error or self._acks.error, sample)

    def wait_for(self, start_s: float) -> None:
        """Wait until the plan starts, or until ``stop``."""
        self._phase = "sending"
        while not self.stopping and (early_s := start_s - self._clock.now_s()) > 0:
            self._clock.sleep(min(early_s, IDLE_POLL_S))

    def send(self, start_s: float) -> None:
        """Walk the plan from ``start_s`` to its end, or ``stop``, and wait for all outcomes; then comes ``finish``."""
        self._started_s = self._sent_s = self._acked_s = start_s
        self.wait_for(start_s)
        self._sample()
        while self._attempted < self.plan.records and not self.stopping:
            taken_whole = self._hand_over_due()
            self._take_acks(self._driver.poll())
            self._sample_if_due()
            next_s = self._started_s + self.plan.intended_s(self._attempted)
            pause_s = next_s - self._clock.now_s()
            if not taken_whole:
                self._pause(TICK_S)
            elif pause_s > 0 and self._attempted < self.plan.records:
                self._pause(min(max(pause_s, TICK_S), IDLE_POLL_S))
        self._flush()

    def _hand_over_due(self) -> bool:
        """Hand over what is due by now and not yet sent. Returns whether the driver had room for all of it."""
        now_s = self._clock.now_s()
        first = self._attempted
        due = min(self.plan.due(now_s - self._started_s) - first, MAX_RECORDS_AT_ONCE)
        if due <= 0:
            return True
        taken_whole = True
        for partition, sequence, records in self._partitioner.runs(first, due):
            taken = self._driver.send(partition, sequence, records)
            self._attempted += taken
            if taken < records:
                self._queue_full += 1
                taken_whole = False
                break
        self._sent_s = now_s
        # A record's lag ends when the whole batch that was due with it has been handed to the driver.
        elapsed_s = self._clock.now_s() - self._started_s
        if self._attempted > first:
            self._sample_lag.add(elapsed_s - self.plan.intended_s(self._attempted - 1), self._attempted - first)
        lag_s = elapsed_s - self.plan.intended_s(first)
        self._lag_max_s = max(self._lag_max_s, lag_s)
        self._sample_lag_max_s = max(self._sample_lag_max_s, lag_s)
        return taken_whole

    def _sample_if_due(self) -> None:
        if self._clock.now_s() - self._started_s >= self._next_sample_s:
            self._sample()

    def _sample(self) -> None:
        """Note how far it is."""
        used = self._usage()
        acked = self._take_ack_latencies().fact()
        self._ack_latencies.merge(acked)
        at_s = self._clock.now_s() - self._started_s
        self._next_sample_s = self.order.next_sample_s(at_s)
        self._samples.append(
            PublisherSample(
                at_s=at_s,
                attempted=self._attempted,
                acked=self._acks.acked,
                cpu_s=used.cpu_s,
                rss_bytes=used.rss_bytes,
                lag_max_s=self._sample_lag_max_s,
                host_cpu=used.host_cpu,
                ack=coarser(acked, SAMPLE_BITS),
            )
        )
        self._sample_lag_max_s = 0.0
        self._unfolded.add(len(self._samples) - 1, self._take_sample_lag())
        self._unfolded.bound()
        self._lag.settle(KEPT_ARRIVALS)

    def _take_sample_lag(self) -> SpacedLatencies:
        """How far records were behind since the last call; from now on it is among the whole run's."""
        lag, self._sample_lag = self._sample_lag, SpacedLatencies(self._spacing)
        self._lag.take(lag)
        return lag

    def _put_lag(self, number: int, lag: LatencyCounts) -> None:
        self._samples[number] = replace(self._samples[number], lag=lag)

    def _flush(self) -> None:
        self._phase = "flushing"
        deadline_s = self._clock.now_s() + self.order.options.delivery_timeout_s
        # Nothing is held back for longer than linger.ms: where that is short, acks can be watched as they come in.
        if self.order.has_acks and self.order.options.linger_ms <= MAX_WATCHED_LINGER_MS:
            while not self._settled() and self._clock.now_s() < deadline_s:
                self._pause(ACK_POLL_S)
                self._take_acks(self._driver.poll())
                self._sample_if_due()
        else:
            self._sample()  # what follows holds this loop up until all is settled
        left_s = 0.0 if self._abandoned else deadline_s - self._clock.now_s()
        self._take_acks(self._driver.flush(max(ACK_POLL_S, left_s)))
        self._sample()

    def _settled(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self._abandoned or self._acks.acked + self._acks.failed >= self._attempted

    def _take_acks(self, acks: AckCount) -> None:
        if acks.acked != self._acks.acked:
            self._acked_s = self._clock.now_s()
        self._acks = acks

    def finish(self, task_id: str, usage: ProcessUsage, traffic: HostTraffic) -> PublisherStats:
        """What was counted. From now on the publisher is done, unless it failed."""
        self.stats = stats = self._stats(task_id, usage, traffic)
        if self._phase != "failed":
            self._phase = "done"
        return stats

    def _stats(self, task_id: str, usage: ProcessUsage, traffic: HostTraffic) -> PublisherStats:
        self._take_sample_lag()
        self._unfolded.fold_all()
        outcomes = self._driver.outcomes()
        acked = sum(_size(part.acked) for part in outcomes)
        failed = sum(_size(part.failed) for part in outcomes)
        attempted = sum(part.attempted for part in outcomes)
        # N records at an even rate take N intervals, of which the last one lies behind the last record.
        window_s = self._sent_s - self._started_s + self.plan.interval_s if attempted else 0.0
        return PublisherStats(
            run_id=self.order.run_id,
            task_id=task_id,
            planned=self.plan.records,
            attempted=attempted,
            acked=acked,
            failed=failed,
            unknown=attempted - acked - failed,
            queue_full=self._queue_full,
            send_window_s=window_s,
            ack_window_s=self._acked_s - self._started_s,
            lag_max_s=self._lag_max_s,
            lag=self._lag.fold().fact(),
            partitions=tuple(outcomes),
            usage=usage,
            traffic=traffic,
            samples=tuple(self._samples),
            error=self._error or self._acks.error,
            refusals=self._acks.refusals,
            throttled_s=self._acks.throttled_s,
            own_errors=self._acks.own_errors,
            turned_away=self._acks.turned_away,
            ack=self._ack_latencies.fact(),
        )

    def close(self) -> None:
        """Let go of the client."""
        self._driver.close()


def _size(intervals: tuple[tuple[int, int], ...]) -> int:
    return sum(stop - start for start, stop in intervals)


class KafkaPub:
    """The publisher's reply to each signal, and the loop of its main thread.

    The main thread works on one order at a time; a newer one (or none) makes it abandon the one before.
    """

    def __init__(self, place: TaskPlace) -> None:
        self._place = place
        self._orders: queue.SimpleQueue[PublisherRun] = queue.SimpleQueue()
        self._current: PublisherRun | None = None
        self._start: queue.SimpleQueue[tuple[str, StartAt]] = queue.SimpleQueue()
        self._signals: Mapping[SignalName, Callable[[Request], bytes]] = {
            "ping": self._ping,
            "updateconfig": self._update_config,
            "teststart": self._test_start,
            "teststop": self._test_stop,
            "teststatus": self._test_status,
            "getstats": self._get_stats,
            "resetstats": self._reset_stats,
        }

    def answer(self, request: Request) -> bytes:
        """The reply to a signal; called on the signal thread."""
        return self._signals[request.signal](request)

    def loop(self) -> None:
        """Work on one order after the other, for ever: Marathon ends a task with a signal of the system."""
        while True:
            run = self._orders.get()
            if run is self._current:
                self._work(run)

    def _work(self, run: PublisherRun) -> None:
        """One run. Whatever goes wrong in it ends in its status, never in the end of the task."""
        began = read_usage()
        try:
            run.open()
            start = self._wait_for_start(run)
            if start is None:
                return
            # What comes before the plan starts is no part of the run: the more tasks, the longer it takes to tell all.
            run.wait_for(start.start_s)
            began = read_usage()
            run.send(start.start_s)
        except HydraError as error:
            run.fail(str(error))
        except Exception as error:  # noqa: BLE001  # logged, and told to the controller
            _log.exception("the run failed")
            run.fail(f"{type(error).__name__}: {error}")
        finally:
            ended = read_usage()
            run.finish(self._place.task_id, process_usage(began, ended), host_traffic(began, ended))
            run.close()

    def _wait_for_start(self, run: PublisherRun) -> StartAt | None:
        """When the plan starts; None when the run was stopped before that was told."""
        while not run.stopping:
            try:
                run_id, start = self._start.get(timeout=START_POLL_S)
            except queue.Empty:
                continue
            if run_id == run.order.run_id:
                return start
        return None

    def _ping(self, _request: Request) -> bytes:
        run_id = self._current.order.run_id if self._current else ""
        return success(Ping(self._place.task_id, "kafka-pub", __version__, run_id, read_clock()))

    def _update_config(self, request: Request) -> bytes:
        told = decode(request.arguments, TaskOrder)
        self._clean_up()
        driver = publisher_driver(told.order, told.access, self._place.driver)
        self._current = PublisherRun(told.order, driver, MonotonicClock(), process_reader(told.order))
        self._orders.put(self._current)
        return success()

    def _test_start(self, request: Request) -> bytes:
        run = self._run()
        start = decode(request.arguments, StartAt)
        phase = run.status().phase
        if phase in {"sending", "flushing", "done"}:
            return success()  # the start came twice: the reply to the first one was lost
        if phase != "ready":
            raise SignalError(f"the publisher is {phase}, not ready")
        self._start.put((run.order.run_id, start))
        return success()

    def _test_stop(self, request: Request) -> bytes:
        run = self._run()
        (run.stop if decode(request.arguments, StopSending).await_acks else run.abandon)()
        return success()

    def _test_status(self, request: Request) -> bytes:
        question = decode(request.arguments, StatusQuestion)
        return success(self._current.status(question) if self._current else PublisherStatus("idle"))

    def _get_stats(self, _request: Request) -> bytes:
        stats = self._run().stats
        if stats is None:
            raise SignalError("the run is not over yet")
        return success(stats)

    def _reset_stats(self, _request: Request) -> bytes:
        """Forget the run: its counts and its client."""
        self._clean_up()
        return success()

    def _clean_up(self) -> None:
        run, self._current = self._current, None
        if run is not None:
            run.abandon()

    def _run(self) -> PublisherRun:
        if self._current is None:
            raise SignalError("not configured: send updateconfig first")
        return self._current
