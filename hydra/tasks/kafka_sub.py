"""``kafka-sub``: the subscriber task. Hosts the Kafka clients and answers signals about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hydra import __version__
from hydra.accounting.stats import HostTraffic, ProcessUsage, SubscriberStatus
from hydra.clients.protocols import subscriber_driver
from hydra.codec import decode
from hydra.options.order import RunOrder
from hydra.run.clock import MonotonicClock
from hydra.signals.messages import DrainTo, Ping, Request, SignalError, SignalName, StartAt, success
from hydra.tasks.host import host_traffic, process_usage, read_clock, read_process, read_usage
from hydra.tasks.subscriber_run import SubscriberRun
from hydra.tasks.task import REPLY_TIMEOUT_S, STATS_TIMEOUT_S, MainThreadExecutor, TaskPlace, run_task

POLL_S = 0.1
"""How long one poll may wait for records; signals are carried out in between."""

IDLE_S = 0.5


class KafkaSub:
    """The subscriber's reply to each signal, and the loop of its main thread.

    Args:
        place: who and where this task is.
    """

    def __init__(self, place: TaskPlace) -> None:
        self._place = place
        self._main = MainThreadExecutor()
        self._current: SubscriberRun | None = None
        self._began = read_usage(traffic=True)
        self._used: tuple[ProcessUsage, HostTraffic] | None = None
        """From the start until it was told to drain."""
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
                self._current.poll(POLL_S)
                self._main.serve(0)

    def _update_config(self, request: Request) -> bytes:
        order = decode(request.arguments, RunOrder)
        self._clean_up()
        run = SubscriberRun(order, subscriber_driver(order), MonotonicClock(), read_process)
        run.open()
        self._current = run
        return success()

    def _test_start(self, request: Request) -> bytes:
        self._run().start(decode(request.arguments, StartAt))
        self._began = read_usage(traffic=True)
        self._used = None
        return success()

    def _test_stop(self, request: Request) -> bytes:
        self._run().drain(decode(request.arguments, DrainTo))
        self._used = self._usage()
        return success()

    def _test_status(self, _request: Request) -> bytes:
        return success(self._current.status() if self._current else SubscriberStatus("idle"))

    def _get_stats(self, _request: Request) -> bytes:
        run = self._run()
        used, traffic = self._used or self._usage()
        return success(run.stats(self._place.task_id, used, traffic))

    def _reset_stats(self, _request: Request) -> bytes:
        """Forget the run: its counts and its clients."""
        self._clean_up()
        return success()

    def _usage(self) -> tuple[ProcessUsage, HostTraffic]:
        ended = read_usage(traffic=True)
        return process_usage(self._began, ended), host_traffic(self._began, ended)

    def _clean_up(self) -> None:
        run, self._current = self._current, None
        if run is not None:
            run.close()

    def _run(self) -> SubscriberRun:
        if self._current is None:
            raise SignalError("not configured: send updateconfig first")
        return self._current


def main() -> None:
    """Run as a Marathon task until Marathon ends it."""
    run_task(KafkaSub)
