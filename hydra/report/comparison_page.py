"""A comparison as a page of its own, and as a part of the report of ``hydra kafka ab``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.report import comparison_text
from hydra.report.comparison_plots import comparison_figures
from hydra.report.plots import Figure
from hydra.report.plotted_page import plotted_page
from hydra.sweep.comparison import Comparison, SidesCompared
from hydra.sweep.metric_change import MetricChange

MAX_ROWS = 2000
"""Rows of the table: those with a difference first."""

MAX_LINES = 12
"""Sentences above the plots; the table has the rest."""

STATE_CLASSES: Mapping[str, str] = {"worse": "fail", "better": "pass", "not judged": "indeterminate"}
"""The look of a state, by the names of the style sheet."""


@dataclass(frozen=True)
class ComparedPart:
    """What a page shows of a comparison."""

    name: str
    heading: str
    verdict: str
    """The look of its sentences."""
    lines: Sequence[str]
    figures: Mapping[str, Figure]
    rows: Sequence[Mapping[str, object]]
    left_out_rows: int
    caption: str
    details: Sequence[str]
    columns: Sequence[tuple[str, bool]] = comparison_text.COMPARED_COLUMNS
    state_column: int = comparison_text.STATE_COLUMN


def compared_part(found: Comparison, *, tolerance_percent: float, name: str, heading: str) -> ComparedPart:
    """What is shown of a comparison; ``name`` is what its plots' names begin with."""
    verdict, lines = comparison_text.judgement(found, tolerance_percent=tolerance_percent)
    more = [f"and {len(lines) - MAX_LINES} more, see the table"] if len(lines) > MAX_LINES else []
    rows = _rows(found.differences)
    return ComparedPart(
        name=name,
        heading=heading,
        verdict=verdict,
        lines=[*lines[:MAX_LINES], *more, comparison_text.counted_line(found)],
        figures=comparison_figures(found, tolerance_percent=tolerance_percent, prefix=name),
        rows=rows,
        left_out_rows=len(found.differences) - len(rows),
        caption=f"Medians over runs; tolerance {tolerance_percent:g} %",
        details=comparison_text.detail_lines(found),
    )


def side_parts(found: SidesCompared, *, tolerance_percent: float) -> list[ComparedPart]:
    """The two comparisons of ``hydra kafka ab``: first what B is against A."""
    named = (
        ("effect", comparison_text.EFFECT_HEADING, found.effect),
        ("machine", comparison_text.MACHINE_HEADING, found.machine),
    )
    return [
        compared_part(compared, tolerance_percent=tolerance_percent, name=name, heading=heading)
        for name, heading, compared in named
    ]


def comparison_page(found: Comparison, *, names: tuple[str, str], tolerance_percent: float) -> str:
    """The page as text.

    Args:
        found: what is shown.
        names: those of the two results' files.
        tolerance_percent: what it was judged by.

    Raises:
        InfrastructureError: the package plotly does not contain its script.
    """
    part = compared_part(found, tolerance_percent=tolerance_percent, name="comparison", heading="")
    return plotted_page(
        "comparison.html.jinja",
        title="comparison",
        heading=["B compared with A", f"A: {names[0]}", f"B: {names[1]}"],
        part=part,
        figures=part.figures,
        run_figures=[],
    )


def _rows(differences: Sequence[MetricChange]) -> list[Mapping[str, object]]:
    shown = {"worse": 0, "better": 1}
    kept = sorted(range(len(differences)), key=lambda index: (shown.get(differences[index].state, 2), index))
    ordered = sorted(kept[:MAX_ROWS])
    return [
        {
            "cells": comparison_text.compared_cells(differences[index]),
            "verdict": STATE_CLASSES.get(differences[index].state, ""),
        }
        for index in ordered
    ]
