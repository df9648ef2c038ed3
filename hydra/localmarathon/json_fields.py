"""Reads the fields of a JSON object and collects everything that is wrong with them, not only the first error."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from hydra.localmarathon.errors import Violation, rules_broken, wrong_types

Number = int | float


@dataclass
class Violations:
    """What is wrong with one document."""

    types: list[Violation] = field(default_factory=list)
    rules: list[Violation] = field(default_factory=list)

    def raise_any(self) -> None:
        """Refuse the document if anything is wrong with it.

        Raises:
            RequestRefusedError: 422; wrong types first, because rules do not apply to values of the wrong type.
        """
        if self.types:
            raise wrong_types(self.types)
        if self.rules:
            raise rules_broken(self.rules)


class JsonFields:
    """The fields of one JSON object; null counts as absent, as in Marathon.

    Args:
        document: a value as json.loads gives it.
        path: the path of the object in the whole document, "" for the outermost.
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

    def missing(self, name: str) -> None:
        """Note that a required field is absent."""
        self.violations.types.append(Violation(self._at(name), "error.path.missing"))

    def get(self, name: str) -> object:
        """The value as it is, None if absent."""
        return self._fields.get(name)

    def violate(self, name: str, reason: str) -> None:
        """Note that a field ("" for the object itself) breaks a rule."""
        self.violations.rules.append(Violation(self._at(name) if name else self.path, reason))

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Note every field that this server does not support: nothing is silently ignored."""
        for name, value in self._fields.items():
            if name not in known and value not in (None, [], {}):
                self.violate(name, f"the local Marathon does not support the field '{name}'")

    def text(self, name: str) -> str | None:
        """A string that a process can take as argument: without NUL and lone surrogates."""
        value = self.get(name)
        return None if value is None else self._check_text(self._at(name), value)

    def choice(self, name: str, *allowed: str) -> str | None:
        """A string out of a few; None if absent or wrong."""
        text = self.text(name)
        if text is None or text in allowed:
            return text
        self.violate(name, f"must be one of: {', '.join(repr(choice) for choice in allowed)}")
        return None

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        self._wrong_type(self._at(name), "jsboolean")
        return default

    def number(self, name: str, default: Number, *, minimum: Number, maximum: Number = math.inf) -> Number:
        """A finite number within bounds."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._wrong_type(self._at(name), "jsnumber")
            return default
        if not minimum <= value <= maximum or abs(value) > 1e15:
            most = "" if maximum == math.inf else f" and less than or equal to {maximum}"
            self.violate(name, f"must be greater than or equal to {minimum}{most}")
            return default
        return value

    def whole(self, name: str, default: int, *, minimum: int, maximum: Number = math.inf) -> int:
        """A whole number within bounds."""
        value = self.number(name, default, minimum=minimum, maximum=maximum)
        if isinstance(value, int):
            return value
        self._wrong_type(self._at(name), "jsnumber.int")
        return default

    def items(self, name: str) -> list[object] | None:
        """An array, None if absent."""
        value = self.get(name)
        if value is None or isinstance(value, list):
            return value
        self._wrong_type(self._at(name), "jsarray")
        return None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An array of strings, None if absent."""
        items = self.items(name)
        if items is None:
            return None
        return tuple(self._check_text(f"{self.path}/{name}({index})", item) for index, item in enumerate(items))

    def text_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings, empty if absent."""
        value = self.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong_type(self._at(name), "jsobject")
            return {}
        checked = ((f"{self._at(name)}/{key}", key, text) for key, text in value.items())
        return {self._check_text(path, key): self._check_text(path, text) for path, key, text in checked}

    def nested(self, name: str) -> JsonFields | None:
        """An object, None if absent."""
        value = self.get(name)
        return None if value is None else JsonFields(value, self._at(name), self.violations)

    def objects(self, name: str) -> list[JsonFields]:
        """An array of objects, empty if absent."""
        return [
            JsonFields(item, f"{self.path}/{name}({index})", self.violations)
            for index, item in enumerate(self.items(name) or [])
        ]

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _check_text(self, path: str, value: object) -> str:
        if not isinstance(value, str):
            self._wrong_type(path, "jsstring")
            return ""
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            self.violations.rules.append(Violation(path, "must not contain NUL or lone surrogates"))
        return value

    def _wrong_type(self, path: str, expected: str) -> None:
        self.violations.types.append(Violation(path, f"error.expected.{expected}"))
