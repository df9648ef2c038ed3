"""Results on the terminal: of a run, of a sweep or search, and of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra.cli.terminal import Column, print_lines, print_table, stdout_console
from hydra.report import text
from hydra.report.contents import collect
from hydra.run.record import RunRecord
from hydra.sweep.comparison import Comparison, MetricChange, compare_sides
from hydra.sweep.record import SweepRecord
from hydra.sweep.search import answer_sentence
from hydra.sweep.trend import Series
from hydra.sweep.tuning import tuning_sentence

VERDICT_STYLES = {"pass": "green", "fail": "red", "indeterminate": "yellow", "error": "bold red"}
CHANGE_STYLES = {"worse": "red", "better": "green", "no difference shown": "dim"}
SWEEP_KEYS = {
    "average_tx_rate": "tx records/s",
    "average_rate": "rx records/s",
    "average_packet_loss": "loss %",
    "failing_clients": "failing",
}
"""Headings by the seed's key."""


def print_record(record: RunRecord) -> None:
    """Print the verdict, why, the tables and the RES line."""
    options, result = record.order.options, record.result
    if result is None:
        print_lines([text.failure_line(record)], style="bold red")
        print_lines([text.headline(options)], indent="  ")
        return
    publisher = record.evidence.publisher
    verdict = text.verdict_line(result, record.order, publisher.refusals if publisher is not None else ())
    print_lines([verdict], style=f"bold {VERDICT_STYLES[result.verdict]}")
    print_lines(text.reason_lines(result), indent="  ")
    stdout_console().print()
    print_table(
        [Column("key"), Column("value", numbers=True), Column("unit"), Column("meaning", dim=True)],
        text.key_rows(result, options),
        title=text.headline(options),
    )
    if rows := text.latency_rows(result):
        print_table([Column("latency [ms]"), *(Column(name, numbers=True) for name in text.PERCENTILES)], rows)
        print_lines(text.latency_lines(result), indent="  ")
        stdout_console().print()
    stdout_console().print(text.res_line(record.seed_keys), soft_wrap=True)


def print_sweep(sweep: SweepRecord) -> None:
    """Print a row for each point of a sweep or a search, and the answers."""
    contents = collect([("", sweep)])
    points, others = contents.points, contents.changed_options
    headings = ("clients", "records/s", *others, *SWEEP_KEYS.values(), "p99 ms")
    rows = [
        (
            f"{point.clients:,}",
            f"{point.msg_rate:,.10g}",
            *(point.option(name) for name in others),
            *(_shown(point.mean(key)) for key in SWEEP_KEYS),
            _shown(point.metric("e2e_p99")),
            point.verdict,
        )
        for point in points
    ]
    columns = [*(Column(heading, numbers=True) for heading in headings), Column("verdict")]
    print_table(columns, rows, styles=[VERDICT_STYLES[point.verdict] for point in points])
    if not sweep.answers and sweep.tuned is None:
        failed = [point for point in points if point.verdict != "pass"]
        print_lines([f"{point.label}: {point.verdict.upper()} - {' '.join(point.reasons[:1])}" for point in failed])
    print_lines([f"{found.question}: {answer_sentence(found.answer, unit=found.unit)}" for found in sweep.answers])
    if sweep.tuned is not None:
        print_lines([tuning_sentence(sweep.tuned)])
    if sweep.kind == "ab":
        _print_sides(sweep)


def _print_sides(sweep: SweepRecord) -> None:
    """Print what the machine does to A, then what B is against A."""
    assert sweep.plan is not None
    found = compare_sides(sweep)
    for heading, compared in (("A against A: the machine", found.machine), ("B against A", found.effect)):
        print_lines([heading], style="bold")
        print_comparison(compared, tolerance_percent=sweep.plan.tolerance_percent)
    if found.unsteady:
        told = f"NO ANSWER: A differs from A in {', '.join(found.unsteady)}: the machine is not steady enough"
        print_lines([told], style="bold yellow")


def _shown(mean: float | None) -> str:
    return "" if mean is None else text.number(mean)


def print_comparison(found: Comparison, *, tolerance_percent: float) -> None:
    """Print what is different, and what of it is worse."""
    numbers = [Column(name, numbers=True) for name in ("A", "B", "change", "95 % interval", "runs")]
    print_table(
        [Column("point"), Column("metric"), *numbers, Column("unit"), Column(""), Column("", dim=True)],
        [_change_cells(item) for item in found.differences],
        styles=[CHANGE_STYLES.get(item.state, "") for item in found.differences],
    )
    lines = [f"unlike: {told}" for told in found.unlike]
    lines += [f"verdict: {name}: {was} -> {now}" for name, was, now in found.verdicts]
    lines += [f"only in A: {name}" for name in found.only_before] + [f"only in B: {name}" for name in found.only_after]
    lines += [f"no result in B: {name}" for name in found.unmeasured]
    if any(item.state == "not judged" for item in found.differences):
        lines.append(
            f"not judged: too few runs that say something about the broker; --repeats={found.advised} is advised"
        )
    print_lines(lines)
    print_lines([f"WORSE {told}" for told in found.regressions], style="bold red")
    if found.exit_code == 0:
        print_lines([f"nothing is shown to be worse by more than {tolerance_percent:g} %"], style="bold green")
    elif found.exit_code != 1:
        print_lines(["NO ANSWER: not judged"], style="bold yellow")


def _change_cells(item: MetricChange) -> list[str]:
    percent = item.change_percent
    change = "" if percent is None else "new" if math.isinf(percent) else f"{percent:+.1f} %"
    interval = "" if item.interval is None else " to ".join(f"{bound:+.3g}" for bound in item.interval)
    runs = f"{item.runs[0]} | {item.runs[1]}"
    values = [_shown(item.before), _shown(item.after), change, interval, runs]
    return [item.point, item.metric, *values, item.unit, item.state, _beside(item)]


def _beside(item: MetricChange) -> str:
    """What belongs to the state of a metric."""
    if item.state != "no difference shown" or item.p is None:
        return item.why
    if item.smallest is None:
        return item.why or "so few runs could not have shown one"
    least = f"{text.three_digits(item.smallest)} {item.unit} would have been" if item.smallest else ""
    return "; ".join(filter(None, (least, item.why)))


def print_trend(found: Sequence[Series]) -> None:
    """Print a row for each change, and how much did not change."""
    changed = [(series, change) for series in found for change in series.changes]
    if changed:
        numbers = [Column(name, numbers=True) for name in ("before", "after", "change")]
        print_table(
            [Column("since"), Column("point"), Column("metric"), *numbers, Column("unit"), Column("")],
            [
                (
                    change.at[:16],
                    series.point,
                    series.metric,
                    text.number(change.before),
                    text.number(change.after),
                    f"{100 * (change.after / change.before - 1):+.1f} %" if change.before else "new",
                    series.unit,
                    change.state,
                )
                for series, change in sorted(changed, key=lambda each: each[1].at)
            ],
            styles=[CHANGE_STYLES[change.state] for _, change in sorted(changed, key=lambda each: each[1].at)],
        )
    steady = sum(not series.changes for series in found)
    print_lines([f"{steady} of {len(found)} series did not change; the longest has {max(map(_length, found))} results"])


def _length(series: Series) -> int:
    return len(series.values)
