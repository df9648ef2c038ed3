"""Results for other programs: CSV for spreadsheets, JUnit XML for CI servers."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from xml.etree import ElementTree as ET

from hydra.accounting.totals import metric_value
from hydra.options.thresholds import METRICS
from hydra.report.comparison_text import doubt_line, judgement
from hydra.report.contents import ReportContents, ReportPoint, measured_keys
from hydra.report.summary import VERDICT_OF_EXIT_CODE
from hydra.report.text import MEANINGS, number
from hydra.sweep.comparison import Comparison, PointState
from hydra.sweep.metric_change import MetricChange, worse_text
from hydra.sweep.plan import format_value
from hydra.sweep.record import BROKEN_EXIT_CODES, SEARCHES, run_verdict
from hydra.sweep.search import answer_sentence
from hydra.sweep.tuning import tuning_sentence

OWN_METRICS = tuple(name for name in METRICS if name not in MEANINGS)

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def csv_text(contents: ReportContents) -> str:
    """A row for each run: options, verdict, the seed's keys, metrics and limit, reason.

    Without a result the figures are empty, and so are metrics that nobody measured.
    """
    changed = contents.changed_options
    head = ["source", "point", "run", "clients", "msg_rate", *changed, "verdict", "exit_code", *MEANINGS, *OWN_METRICS]
    rows = (
        _row(point, number, index, changed)
        for number, point in enumerate(contents.points, 1)
        for index in range(len(point.runs))
    )
    return _csv([*head, "limit", "reason"], rows)


def _row(point: ReportPoint, number: int, index: int, changed: list[str]) -> list[object]:
    run = point.runs[index]
    result = run.result
    values: list[object] = [""] * (len(MEANINGS) + len(OWN_METRICS) + 1)
    if result is not None:
        keys = measured_keys(result)
        if not result.totals.clients_failing:
            keys["failing_clients_rate"] = None  # of nobody there is no mean
        metrics = (metric_value(name, result.totals, result.latency) for name in OWN_METRICS)
        values = [*(_known(keys[key]) for key in MEANINGS), *map(_known, metrics), result.bottleneck.limit]
    reason = run.error if result is None else "; ".join(result.reasons)
    head = [point.source, number, index + 1, point.clients, format_value(point.msg_rate), *map(point.option, changed)]
    return [*head, run_verdict(run), run.exit_code, *values, reason]


def comparison_csv(found: Comparison) -> str:
    """A row for each difference; what is not known is empty: p below 4 runs a side, the interval below 6.

    There is no change in percent of what was 0.
    """
    rows = (
        [item.point, item.metric, item.unit, *map(_known, (item.before, item.after, _percent(item))), *item.runs,
         item.state, *map(_known, (item.p, *(item.interval or (None, None)), item.smallest)), item.why]
        for item in found.differences
    )  # fmt: skip
    head = ["point", "metric", "unit", "before", "after", "change_percent", "runs_before", "runs_after", "state"]
    return _csv([*head, "p", "difference_low", "difference_high", "smallest", "why"], rows)


def _percent(item: MetricChange) -> float | None:
    percent = item.change_percent
    return percent if percent is not None and math.isfinite(percent) else None


def _known(value: float | None) -> object:
    """A figure as a cell; empty where nobody measured it."""
    return "" if value is None else value


def _csv(head: list[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return text.getvalue()


def _plain(value: object) -> object:
    """A cell's value; text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "\ufffd")  # the csv module of Python 3.10 neither writes nor reads a NUL
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def junit_xml(contents: ReportContents) -> bytes:
    """The document, which is as red as the exit code of the command that measured: a suite for each file.

    A point that failed is a failure; an indeterminate one, or one without a result, is an error. Trials of a search,
    and the sides of a comparison of two settings, are not what is judged: their cases say what was measured, and the
    answers and the judgement have cases of their own. What was cut short has an error.
    """
    return _document([_suite(part) for part in contents.parts or (contents,)])


def _suite(contents: ReportContents) -> ET.Element:
    suite = ET.Element("testsuite", name=f"hydra kafka {contents.kind}")
    suite.set("time", f"{sum(_took_s(point) for point in contents.points):.3f}")
    suite.set("timestamp", _legal(contents.started_at[:19]))
    for point in contents.points:
        suite.append(_case(point, contents.kind))
    for name, verdict, lines in _judgements(contents):
        case = ET.SubElement(suite, "testcase", classname=f"hydra.kafka.{contents.kind}", name=_legal(name))
        text = _legal("\n".join(lines))
        if verdict != "pass":
            _not_passed(case, verdict, text)
        else:
            ET.SubElement(case, "system-out").text = text
    return suite


def _case(point: ReportPoint, kind: str) -> ET.Element:
    case = ET.Element(
        "testcase", classname=f"hydra.kafka.{kind}", name=_legal(point.label), time=f"{_took_s(point):.3f}"
    )
    if point.verdict != "pass" and _is_judged(point, kind):
        _not_passed(case, point.verdict, "\n".join(map(_legal, point.reasons)))
    ET.SubElement(case, "system-out").text = "\n".join(
        [
            *([] if point.verdict == "pass" else map(_legal, (f"verdict: {point.verdict}", *point.reasons))),
            *(
                f"run {index}: {key} = {'not measured' if value is None else number(value)}"
                for index, result in enumerate(point.results, 1)
                for key, value in sorted(measured_keys(result).items())
            ),
        ]
    )
    return case


def _is_judged(point: ReportPoint, kind: str) -> bool:
    """Whether the verdict of a point counts in its command's exit code."""
    if kind in SEARCHES:
        return False
    return kind != "ab" or any(run.exit_code in BROKEN_EXIT_CODES for run in point.runs)


def _judgements(contents: ReportContents) -> Iterator[tuple[str, str, list[str]]]:
    """(name, verdict, sentences) of what a command judges beside its points."""
    for found in contents.answers:
        verdict = VERDICT_OF_EXIT_CODE[found.answer.exit_code]
        yield found.question, verdict, [answer_sentence(found.answer, unit=found.unit)]
    if contents.tuned is not None:
        yield "lowest latency", VERDICT_OF_EXIT_CODE[contents.tuned.exit_code], [tuning_sentence(contents.tuned)]
    if contents.sides is not None:
        verdict, lines = judgement(contents.sides.effect, tolerance_percent=contents.tolerance_percent)
        doubt = doubt_line(contents.sides)
        yield "B / A", "indeterminate" if doubt else verdict, [doubt] if doubt else lines
    if contents.missing:
        yield "complete", "indeterminate", [f"Not complete: {contents.missing}"]


def _not_passed(case: ET.Element, verdict: str, text: str) -> None:
    tag = "failure" if verdict == "fail" else "error"
    ET.SubElement(case, tag, type=verdict, message=text.partition("\n")[0]).text = text


def _took_s(point: ReportPoint) -> float:
    return point.took_s if point.took_s is not None else sum(sum(run.phases_s.values()) for run in point.runs)


def comparison_junit(found: Comparison) -> bytes:
    """The document, which is as red as the command's exit code.

    A point where something is worse is a failure, one without a result in B an error. Other points without an answer
    are skipped where the command ends well all the same, and errors where nothing could be judged.
    """
    points = found.points or {"run": "not judged"}
    unanswered = "skipped" if "not worse" in points.values() else "error"
    tags = {"worse": "failure", "no result in B": "error"}
    suite = ET.Element("testsuite", name="hydra compare")
    of_points: dict[str, list[MetricChange]] = {}
    for item in found.differences:
        of_points.setdefault(item.point, []).append(item)
    verdicts = {name: f"verdict: {was} -> {now}" for name, was, now in found.verdicts}
    for name, state in points.items():
        case = ET.SubElement(suite, "testcase", classname="hydra.compare", name=_legal(name))
        if state == "not worse":
            continue
        told = _point_lines(of_points.get(name, []), verdicts.get(name, ""), state)
        tag = tags.get(state, unanswered)
        # Of a skipped test the schema has no type, and many readers show its message only.
        kind: dict[str, str] = {} if tag == "skipped" else {"type": state}
        ET.SubElement(case, tag, kind, message=_legal(told[0])).text = _legal("\n".join(told))
    if found.missing[1]:
        case = ET.SubElement(suite, "testcase", classname="hydra.compare", name="B is complete")
        _not_passed(case, "indeterminate", _legal(f"not complete: {found.missing[1]}"))
    return _document([suite])


def _point_lines(items: Sequence[MetricChange], verdict: str, state: PointState) -> list[str]:
    """Why a point is not judged to be as good as before; ``verdict``: how that of its runs changed, if it did."""
    if state == "worse":
        return [worse_text(item) for item in items if item.state == "worse"]
    changed = [verdict] if verdict else []
    return [state, *changed, *(f"{item.metric}: {item.state} ({item.why})" for item in items if item.why)]


def _document(suites: Sequence[ET.Element]) -> bytes:
    """The document of suites, whose cases are counted."""
    root = ET.Element("testsuites")
    for suite in suites:
        for attribute, path in (
            ("tests", ""), ("failures", "/failure"), ("errors", "/error"), ("skipped", "/skipped"),
        ):  # fmt: skip
            suite.set(attribute, str(len(suite.findall(f"testcase{path}"))))
        root.append(suite)
    ET.indent(root)
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _legal(text: str) -> str:
    """The text without the characters that an XML document must not hold."""
    return _FORBIDDEN.sub("\ufffd", text)
