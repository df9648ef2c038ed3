"""A comparison for machines: a row for each difference (CSV), a test case for each point (JUnit XML)."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree as ET

from hydra.report.csv_rows import plain_cell
from hydra.report.junit import document, legal
from hydra.sweep.comparison import Comparison


def comparison_csv(found: Comparison) -> str:
    """The rows under a header; ``noise`` is empty where a side has a single run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["point", "metric", "unit", "before", "after", "change_percent", "noise", "state"])
    for item in found.differences:
        noise = "" if item.noise is None else item.noise
        figures = [item.before, item.after, item.change_percent, noise]
        writer.writerow([plain_cell(item.point), item.metric, plain_cell(item.unit), *figures, item.state])
    return text.getvalue()


def comparison_junit(found: Comparison) -> bytes:
    """The document: a point at which something is worse is a failure."""
    names = dict.fromkeys([item.point for item in found.differences] + [name for name, _, _ in found.verdicts])
    worse = {name: [text for text in found.regressions if text.startswith(f"{name}: ")] for name in names}
    suite = ET.Element(
        "testsuite",
        name="hydra compare",
        tests=str(len(names)),
        failures=str(sum(bool(texts) for texts in worse.values())),
        errors="0",
        skipped="0",
    )
    for name, texts in worse.items():
        case = ET.SubElement(suite, "testcase", classname="hydra.compare", name=legal(name))
        if texts:
            ET.SubElement(case, "failure", type="worse", message=legal(texts[0])).text = legal("\n".join(texts))
    return document(suite)
