"""``--ui`` and ``--metrics_port``: the page and the metrics of what runs, as long as it does."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from hydra.live.underway import announced
from hydra.options.options import Options
from hydra.options.thresholds import PERCENTILES, parse_threshold

if TYPE_CHECKING:
    from hydra.live.history import LiveHistory, MeasuredRun
    from hydra.live.server import PageServer
    from hydra.run.record import RunRecord
    from hydra.sweep.record import SavedRecord


class Watch:
    """What is told to a page and to metrics beside progress; nothing where neither was asked for."""

    def __init__(self, history: LiveHistory | None = None, page: PageServer | None = None) -> None:
        self.history = history
        self.addresses: list[str] = []
        """A line for each server."""
        self._page = page

    def begin(self, options: Options) -> None:
        """A run with these options begins."""
        if self.history is None:
            return
        from hydra.live.history import RunPlan
        from hydra.report.text import headline

        limits = tuple(latency_limits(options))
        self.history.begin(RunPlan(headline(options), options.test_duration, options.msg_rate, limits))

    def measured(self, record: RunRecord, common: Options) -> None:
        """A run of a sweep or search is over; it differs from the options that are common to all by its label."""
        if self.history is not None:
            self.history.measured(measured_run(record, common))

    def limit_so_far(self, text: str) -> None:
        """What a search knows by now of the limit that it looks for."""
        if self.history is not None:
            self.history.limit_so_far(text)

    def finish(self, saved: SavedRecord) -> None:
        """The results are there: whoever has the page open gets their report."""
        if self.history is None:
            return
        report = None
        if self._page is not None and self._page.watchers:
            from hydra.report.contents import collect
            from hydra.report.page import page

            report = page(collect([("", saved)])).encode()
        self.history.finish(report)


@contextlib.contextmanager
def asked_watch(ctx: click.Context, *, results: str = "") -> Iterator[Watch]:
    """Within this block the servers that a command's flags ask for are up, and ``hydra watch`` finds this command.

    Args:
        ctx: the command's.
        results: the folder of a sweep or search.

    Raises:
        UsageError: a port is taken.
    """
    ui, metrics_port = ctx.params["ui"], ctx.params["metrics_port"]
    command = " ".join(["hydra", *sys.argv[1:]])
    if ui is None and metrics_port is None:
        with announced(command, time.time(), results=results):
            yield Watch()
        return
    from hydra.live.history import LiveHistory
    from hydra.live.server import MetricsServer, PageServer, interrupt_this_process
    from hydra.report.live_page import live_page

    history, addresses, page = LiveHistory(), [], None
    with contextlib.ExitStack() as servers:
        if metrics_port is not None:
            metrics = servers.enter_context(contextlib.closing(MetricsServer(metrics_port, history)))
            metrics.start()
            addresses.append(f"metrics: {metrics.url}")
        if ui is not None:
            page = PageServer(ui, history, live_page(command, can_stop=True), interrupt_this_process)
            servers.enter_context(contextlib.closing(page))
            page.start()
            addresses.append(f"live page, for who has this link: {page.url}")
        watch = Watch(history, page)
        watch.addresses = addresses
        servers.enter_context(announced(command, time.time(), url="" if page is None else page.url, results=results))
        yield watch


def latency_limits(options: Options) -> Iterator[tuple[str, float, str]]:
    """Those thresholds of a run that are lines in the plot of latencies: (percentile, limit in ms, text)."""
    for text in options.threshold:
        threshold = parse_threshold(text)
        source, _, percentile = threshold.metric.partition("_")
        if source == "e2e" and percentile in PERCENTILES:
            yield percentile, threshold.limit, str(threshold)


def measured_run(record: RunRecord, common: Options) -> MeasuredRun:
    """A run as the page lists it."""
    from hydra.accounting.totals import metric_value
    from hydra.live.history import MeasuredRun
    from hydra.sweep.record import run_verdict

    result = record.result

    def figure(name: str) -> float | None:
        return None if result is None else metric_value(name, result.totals, result.latency)

    lost = figure("loss")
    return MeasuredRun(
        label=label_of(record.order.options, common),
        verdict=run_verdict(record),
        sent_per_s=figure("tx_rate"),
        e2e_p99_ms=figure("e2e_p99"),
        lost=None if lost is None else round(lost),
        limit=record.error if result is None else result.bottleneck.limit,
    )


def label_of(options: Options, common: Options) -> str:
    """In what a run differs from the options that are common to all."""
    from hydra.sweep.plan import CLIENTS, changes_text

    changes: dict[str, object] = {}
    for item in dataclasses.fields(Options):
        value = getattr(options, item.name)
        if value == getattr(common, item.name) or item.name == "output":
            continue
        if item.name in {"total_sub_apps", "clients_per_app"}:
            changes[CLIENTS] = options.client_count
        else:
            changes[item.name] = value
    return changes_text(changes) or f"{CLIENTS}={options.client_count}"
