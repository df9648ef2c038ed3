"""Text that does to a terminal what text does, and nothing else."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with every control character (and so every escape sequence) written out as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
