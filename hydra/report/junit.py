"""A test case for each point, as JUnit XML: what CI servers read."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hydra.report.report_data import ReportData, ReportPoint
from hydra.report.text import number

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(measured: ReportData) -> bytes:
    """The document. Loss is a failure; a point without an answer is an error, and so is one that could not be run."""
    verdicts = [point.verdict for point in measured.points]
    suite = ET.Element(
        "testsuite",
        name=f"hydra kafka {measured.kind}",
        tests=str(len(verdicts)),
        failures=str(verdicts.count("fail")),
        errors=str(len(verdicts) - verdicts.count("fail") - verdicts.count("pass")),
        skipped="0",
        time=f"{sum(_took_s(point) for point in measured.points):.3f}",
        timestamp=measured.started_at[:19],
    )
    for point in measured.points:
        suite.append(_case(point, measured.kind))
    return document(suite)


def document(suite: ET.Element) -> bytes:
    """A whole document with one suite."""
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _case(point: ReportPoint, kind: str) -> ET.Element:
    case = ET.Element(
        "testcase", classname=f"hydra.kafka.{kind}", name=legal(point.label), time=f"{_took_s(point):.3f}"
    )
    if point.verdict != "pass":
        tag = "failure" if point.verdict == "fail" else "error"
        reasons = [legal(reason) for reason in point.reasons]
        trouble = ET.SubElement(case, tag, type=point.verdict, message=reasons[0] if reasons else "")
        trouble.text = "\n".join(reasons)
    lines = []
    for index, result in enumerate(point.results, 1):
        lines += [f"run {index}: {key} = {number(value)}" for key, value in sorted(result.seed_keys().items())]
    ET.SubElement(case, "system-out").text = "\n".join(lines)
    return case


def _took_s(point: ReportPoint) -> float:
    if point.took_s is not None:
        return point.took_s
    return sum(sum(run.phases_s.values()) for run in point.runs)


def legal(text: str) -> str:
    """The text without the characters that no XML document may hold."""
    return _FORBIDDEN.sub("\ufffd", text)
