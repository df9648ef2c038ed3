"""A trend as a page of its own: what changed, and every series of a point that is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra.report.comparison_plots import series_figure
from hydra.report.comparison_text import (
    TREND_COLUMNS,
    changes_in_order,
    shortened,
    steady_lines,
    trend_cells,
    trend_judgement,
)
from hydra.report.page_parts import figure_title
from hydra.report.plots import Figure
from hydra.report.plotted_page import plotted_page
from hydra.sweep.trend import Series

MAX_FIGURES = 60
"""Series with changes that have a plot of their own: those that are worse now first."""

MAX_LINES = 12
"""Sentences above the plots."""

CHANGE_CLASSES: Mapping[str, str] = {"worse": "fail", "better": "pass"}


def trend_page(found: Sequence[Series], unlike: Sequence[str] = (), *, tolerance_percent: float) -> str:
    """The page as text; ``unlike`` is what else differs over time.

    Raises:
        InfrastructureError: the package plotly does not contain its script.
    """
    verdict, lines = trend_judgement(found)
    changed = sorted((series for series in found if series.changes), key=lambda series: not series.worse)
    of_points: dict[str, dict[str, Figure]] = {}
    for series in found:
        of_points.setdefault(series.point, {})[series.metric] = series_figure(series, with_point=False)
    figures = [series_figure(series, with_point=True) for series in changed[:MAX_FIGURES]]
    times = sorted(at for series in found for at in series.times)
    return plotted_page(
        "trend.html.jinja",
        title="trend",
        heading=[
            f"{len({*times})} results of one plan, {times[0][:10]} to {times[-1][:10]}",
            f"a change counts beyond {tolerance_percent:g} %",
        ],
        verdict=verdict,
        summary=[*_shortened(lines), *shortened(unlike), *steady_lines(found)],
        figures={f"changed_{index}": made for index, made in enumerate(figures)},
        left_out_figures=max(0, len(changed) - MAX_FIGURES),
        columns=TREND_COLUMNS,
        rows=[
            {"cells": trend_cells(series, change), "verdict": CHANGE_CLASSES[change.state]}
            for series, change in changes_in_order(found)
        ],
        points=list(of_points),
        titles={name: figure_title(made) for figures in of_points.values() for name, made in figures.items()},
        run_figures=list(of_points.values()),
    )


def _shortened(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - MAX_LINES} more, see the table"] if len(lines) > MAX_LINES else []
    return [*lines[:MAX_LINES], *more]
