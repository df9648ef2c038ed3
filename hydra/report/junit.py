"""JUnit XML, which CI servers read: a test case for each point of a result, or of a comparison."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hydra.report.contents import ReportContents, ReportPoint
from hydra.report.text import number
from hydra.sweep.comparison import Comparison

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(contents: ReportContents) -> bytes:
    """The document. A failed point is a failure; an indeterminate point, or one without a result, is an error."""
    verdicts = [point.verdict for point in contents.points]
    failures = verdicts.count("fail")
    suite = _suite(f"hydra kafka {contents.kind}", len(verdicts), failures)
    suite.set("errors", str(len(verdicts) - failures - verdicts.count("pass")))
    suite.set("time", f"{sum(_took_s(point) for point in contents.points):.3f}")
    suite.set("timestamp", contents.started_at[:19])
    for point in contents.points:
        suite.append(_case(point, contents.kind))
    return _document(suite)


def _case(point: ReportPoint, kind: str) -> ET.Element:
    case = ET.Element(
        "testcase", classname=f"hydra.kafka.{kind}", name=_legal(point.label), time=f"{_took_s(point):.3f}"
    )
    if point.verdict != "pass":
        tag = "failure" if point.verdict == "fail" else "error"
        reasons = [_legal(reason) for reason in point.reasons]
        ET.SubElement(case, tag, type=point.verdict, message=reasons[0] if reasons else "").text = "\n".join(reasons)
    lines = []
    for index, result in enumerate(point.results, 1):
        lines += [f"run {index}: {key} = {number(value)}" for key, value in sorted(result.seed_keys().items())]
    ET.SubElement(case, "system-out").text = "\n".join(lines)
    return case


def _took_s(point: ReportPoint) -> float:
    if point.took_s is not None:
        return point.took_s
    return sum(sum(run.phases_s.values()) for run in point.runs)


def comparison_junit(found: Comparison) -> bytes:
    """The document: a point where something is worse is a failure."""
    names = dict.fromkeys([item.point for item in found.differences] + [name for name, _, _ in found.verdicts])
    worse = {name: [text for text in found.regressions if text.startswith(f"{name}: ")] for name in names}
    suite = _suite("hydra compare", len(names), sum(bool(texts) for texts in worse.values()))
    for name, texts in worse.items():
        case = ET.SubElement(suite, "testcase", classname="hydra.compare", name=_legal(name))
        if texts:
            ET.SubElement(case, "failure", type="worse", message=_legal(texts[0])).text = _legal("\n".join(texts))
    return _document(suite)


def _suite(name: str, tests: int, failures: int) -> ET.Element:
    return ET.Element("testsuite", name=name, tests=str(tests), failures=str(failures), errors="0", skipped="0")


def _document(suite: ET.Element) -> bytes:
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _legal(text: str) -> str:
    """The text without the characters that an XML document must not hold."""
    return _FORBIDDEN.sub("\ufffd", text)
