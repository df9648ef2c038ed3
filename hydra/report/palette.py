"""Colours, symbols and dashes of traces: told apart by everyone, on white and on black paper.

Neighbours differ in lightness as well as in hue (after Okabe and Ito, darkened or lightened until each has a contrast
of 3 to 1 to both backgrounds), and never in colour alone: each trace has a symbol, and each round of colours a dash.
"""

from __future__ import annotations

COLOURS = ("#1b7fc4", "#d55e00", "#0a9973", "#b9629a", "#a67c00", "#7a76d6", "#7d8794")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")

LIGHT_BACKGROUND = "#ffffff"
DARK_BACKGROUND = "#14181d"

HEAT = "Cividis"
"""A scale of one lightness ramp, made for readers who do not see red and green apart."""


def colour(index: int) -> str:
    """The colour of a trace."""
    return COLOURS[index % len(COLOURS)]


def symbol(index: int) -> str:
    """The symbol of a trace's points."""
    return SYMBOLS[index % len(SYMBOLS)]


def dash(index: int) -> str:
    """The dash of a trace's line: another one for each round of colours."""
    return DASHES[index // len(COLOURS) % len(DASHES)]
