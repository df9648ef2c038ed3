"""What an option is made of, beside its name and its type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from hydra.options.parsers import Parse

T = TypeVar("T")


@dataclass(frozen=True)
class OptionKind:
    """What is known of an option beside its name and default."""

    section: str
    """Section of hydra.ini that its key stands in."""
    parse: Parse
    text: str
    """One line of help."""


class Section:
    """Makes the options whose keys stand in one section of hydra.ini."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, default: T, parse: Parse, text: str) -> T:
        """An option with this default, parser and line of help."""
        return field(default=default, metadata={"kind": OptionKind(self._name, parse, text)})
