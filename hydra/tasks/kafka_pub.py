"""``kafka-pub``: the publisher task. Walks the plan on its main thread; signals are answered beside it."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Mapping

from hydra import __version__
from hydra.accounting.stats import PublisherStatus
from hydra.clients.protocols import publisher_driver
from hydra.codec import decode
from hydra.errors import HydraError
from hydra.options.order import RunOrder
from hydra.run.clock import MonotonicClock
from hydra.signals.messages import Ping, Request, SignalError, SignalName, StartAt, success
from hydra.tasks.host import host_traffic, process_usage, read_clock, read_process, read_usage
from hydra.tasks.publisher_run import PublisherRun
from hydra.tasks.task import TaskPlace, run_task

START_POLL_S = 0.05

_log = logging.getLogger(__name__)


class KafkaPub:
    """The publisher's reply to each signal, and the loop of its main thread.

    The main thread works on one order at a time; a newer one (or none) makes it abandon the one before.

    Args:
        place: who and where this task is.
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
        began = read_usage(traffic=True)
        try:
            run.open()
            start = self._wait_for_start(run)
            if start is None:
                return
            began = read_usage(traffic=True)
            run.send(start.start_s)
        except HydraError as error:
            run.fail(str(error))
        except Exception as error:  # noqa: BLE001  # logged, and told to the controller
            _log.exception("the run failed")
            run.fail(f"{type(error).__name__}: {error}")
        finally:
            ended = read_usage(traffic=True)
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
        order = decode(request.arguments, RunOrder)
        self._clean_up()
        self._current = PublisherRun(order, publisher_driver(order), MonotonicClock(), read_process)
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

    def _test_stop(self, _request: Request) -> bytes:
        self._run().stop()
        return success()

    def _test_status(self, _request: Request) -> bytes:
        return success(self._current.status() if self._current else PublisherStatus("idle"))

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


def main() -> None:
    """Run as a Marathon task until Marathon ends it."""
    run_task(KafkaPub)
