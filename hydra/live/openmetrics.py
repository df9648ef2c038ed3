"""The figures of a run that goes on as OpenMetrics text (OpenMetrics 1.0), for Prometheus and what reads its format.

Counters begin again at zero with each run of a sweep, as the format allows. What is not known has no sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hydra import __version__
from hydra.live.history import LivePicture

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

PHASES = (
    "starting", "warming up", "configuring", "sending", "flushing", "draining", "collecting", "auditing", "cleaning up",
)  # fmt: skip


@dataclass(frozen=True)
class _Family:
    name: str
    kind: str
    text: str
    unit: str = ""


def openmetrics(picture: LivePicture) -> str:
    """The text, with its end mark."""
    lines = list(_samples(_Family("hydra", "info", "The harness."), [("_info", {"version": __version__}, 1)]))
    states = [("", {"hydra_phase": phase}, int(phase == picture.phase)) for phase in PHASES]
    lines += _samples(_Family("hydra_phase", "stateset", "What the run is doing."), states)
    lines += _one("hydra_runs", "counter", "Runs of a sweep or search that are over.", picture.runs_over)
    if picture.plan is not None:
        lines += _one("hydra_asked_rate", "gauge", "Records per second asked for.", picture.plan.rate_per_s)
    if picture.moments:
        lines += _figures(picture)
    return "\n".join([*lines, "# EOF", ""])


def _figures(picture: LivePicture) -> Iterator[str]:
    now = picture.moments[-1]
    yield from _one("hydra_elapsed_seconds", "gauge", "Since the first record was due.", now.elapsed_s, "seconds")
    yield from _one("hydra_records_planned", "gauge", "Records of the whole run.", now.planned)
    yield from _one("hydra_records_sent", "counter", "Records handed to the publisher's client.", now.sent)
    yield from _one("hydra_records_acked", "counter", "Records that the brokers acknowledged.", now.acked)
    yield from _one("hydra_deliveries", "counter", "Records received, summed over clients.", now.delivered)
    yield from _one("hydra_backlog_deliveries", "gauge", "Deliveries still to come of what was acked.", now.backlog)
    yield from _one("hydra_clients_missing", "gauge", "Clients of tasks that are gone.", now.clients_missing)
    figures = now.figures
    latencies = {"0.5": figures.e2e_p50_ms, "0.99": figures.e2e_p99_ms, "1": figures.e2e_max_ms}
    text = "Latency from the intended send time, of what arrived at some of the subscribers within a second."
    yield from _samples(
        _Family("hydra_e2e_latency_seconds", "summary", text, "seconds"),
        [("", {"quantile": q}, None if ms is None else ms / 1000) for q, ms in latencies.items()],
    )
    lag_s = None if figures.publisher_lag_max_ms is None else figures.publisher_lag_max_ms / 1000
    yield from _one("hydra_publisher_lag_seconds", "gauge", "The most that a record was late.", lag_s, "seconds")
    shares = {
        "publisher": figures.publisher_cpu_percent,
        "subscribers": figures.subscriber_cpu_percent_sum,
        "busiest_subscriber": figures.subscriber_cpu_percent_max,
        "broker": figures.broker_cpu_percent,
    }
    yield from _samples(
        _Family("hydra_cpu_cores", "gauge", "CPU in use, in cores.", "cores"),
        [("", {"part": part}, None if value is None else value / 100) for part, value in shares.items()],
    )
    machine = None if figures.machine_cpu_percent is None else figures.machine_cpu_percent / 100
    text = "CPU in use of what Hydra's processes may use of its machine, by whoever uses it."
    yield from _one("hydra_machine_cpu_ratio", "gauge", text, machine, "ratio")


def _one(name: str, kind: str, text: str, value: float | None, unit: str = "") -> Iterator[str]:
    return _samples(_Family(name, kind, text, unit), [("_total" if kind == "counter" else "", {}, value)])


def _samples(family: _Family, samples: Sequence[tuple[str, Mapping[str, str], float | None]]) -> Iterator[str]:
    """A family: its metadata and (suffix, labels, value) of each sample; nothing at all where no value is known."""
    known = [(suffix, labels, value) for suffix, labels, value in samples if value is not None]
    if not known:
        return
    yield f"# TYPE {family.name} {family.kind}"
    if family.unit:
        yield f"# UNIT {family.name} {family.unit}"
    yield f"# HELP {family.name} {family.text}"
    for suffix, labels, value in known:
        shown = ",".join(f'{name}="{text}"' for name, text in labels.items())
        yield f"{family.name}{suffix}{f'{{{shown}}}' if shown else ''} {value!r}"
