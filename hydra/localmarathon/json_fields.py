"""Reading the fields of a JSON object, where everything that is wrong is collected instead of only the first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from hydra.localmarathon.refusals import Violation, rules_broken, wrong_types

Number = int | float


@dataclass
class Violations:
    """What is wrong with one document."""

    types: list[Violation] = field(default_factory=list)
    rules: list[Violation] = field(default_factory=list)

    def raise_any(self) -> None:
        """Refuse the document if anything is wrong with it.

        Raises:
            RequestRefusedError: 422; types first, since a rule means nothing for a value of the wrong type.
        """
        if self.types:
            raise wrong_types(self.types)
        if self.rules:
            raise rules_broken(self.rules)


class JsonFields:
    """The fields of one JSON object; null counts as absent, as in Marathon.

    Args:
        document: a value as json.loads gives it.
        path: where the object stands in the whole document, "" for the outermost.
        violations: collects what is wrong.
    """

    def __init__(self, document: object, path: str, violations: Violations) -> None:
        self.path = path
        self.violations = violations
        self._fields: Mapping[str, object] = {}
        if isinstance(document, dict):
            self._fields = document
        else:
            self._wrong_type(path, "jsobject")

    def get(self, name: str) -> object:
        """The value as it is, None if absent."""
        return self._fields.get(name)

    def broken(self, name: str, reason: str) -> None:
        """Note that a rule is broken by a field ("" for the object itself)."""
        path = f"{self.path}/{name}" if name else self.path
        self.violations.rules.append(Violation(path, reason))

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """Note every field that this server does not know: nothing is ignored in silence."""
        for name, value in self._fields.items():
            if name not in known and value not in (None, [], {}):
                self.broken(name, f"the local Marathon does not implement the field '{name}'")

    def text(self, name: str) -> str | None:
        """A string that can be handed to a process: without NUL and without lone surrogates."""
        value = self.get(name)
        if value is None:
            return None
        return self._checked_text(f"{self.path}/{name}", value)

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        self._wrong_type(f"{self.path}/{name}", "jsboolean")
        return default

    def number(self, name: str, default: Number, *, minimum: Number, maximum: Number = math.inf) -> Number:
        """A finite number within bounds."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._wrong_type(f"{self.path}/{name}", "jsnumber")
            return default
        if not minimum <= value <= maximum or abs(value) > 1e15:
            most = "" if maximum == math.inf else f" and less than or equal to {maximum}"
            self.broken(name, f"must be greater than or equal to {minimum}{most}")
            return default
        return value

    def whole(self, name: str, default: int, *, minimum: int, maximum: Number = math.inf) -> int:
        """A whole number within bounds."""
        value = self.number(name, default, minimum=minimum, maximum=maximum)
        if isinstance(value, int):
            return value
        self._wrong_type(f"{self.path}/{name}", "jsnumber.int")
        return default

    def items(self, name: str) -> list[object] | None:
        """An array, None if absent."""
        value = self.get(name)
        if value is None or isinstance(value, list):
            return value
        self._wrong_type(f"{self.path}/{name}", "jsarray")
        return None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An array of strings, None if absent."""
        items = self.items(name)
        if items is None:
            return None
        return tuple(self._checked_text(f"{self.path}/{name}({index})", item) for index, item in enumerate(items))

    def text_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings, empty if absent."""
        value = self.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong_type(f"{self.path}/{name}", "jsobject")
            return {}
        path = f"{self.path}/{name}"
        return {
            self._checked_text(f"{path}/{key}", key): self._checked_text(f"{path}/{key}", text)
            for key, text in value.items()
        }

    def objects(self, name: str) -> list[JsonFields]:
        """An array of objects, empty if absent."""
        return [
            JsonFields(item, f"{self.path}/{name}({index})", self.violations)
            for index, item in enumerate(self.items(name) or [])
        ]

    def _checked_text(self, path: str, value: object) -> str:
        if not isinstance(value, str):
            self._wrong_type(path, "jsstring")
            return ""
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            self.violations.rules.append(Violation(path, "must not contain NUL or lone surrogates"))
        return value

    def _wrong_type(self, path: str, expected: str) -> None:
        self.violations.types.append(Violation(path, f"error.expected.{expected}"))
