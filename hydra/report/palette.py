"""Colours, symbols and dashes of traces, distinguishable for colour-blind readers on light and dark backgrounds.

Neighbouring colours differ in lightness and hue (after Okabe and Ito, adjusted until each has a contrast of 3 to 1 to
both backgrounds). Traces never differ in colour alone: each has its own symbol, and each round of colours its own dash.
"""

from __future__ import annotations

COLOURS = ("#1b7fc4", "#d55e00", "#0a9973", "#b9629a", "#a67c00", "#7a76d6", "#7d8794")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")

LIGHT_BACKGROUND = "#ffffff"
DARK_BACKGROUND = "#14181d"

HEATMAP = "Cividis"
"""Plotly's colour scale with rising lightness, readable without telling red from green."""


def colour(index: int) -> str:
    """The colour of a trace."""
    return COLOURS[index % len(COLOURS)]


def symbol(index: int) -> str:
    """The symbol of a trace's points."""
    return SYMBOLS[index % len(SYMBOLS)]


def dash(index: int) -> str:
    """The dash of a trace's line: the next one for each round of colours."""
    return DASHES[index // len(COLOURS) % len(DASHES)]
