"""The text of a properties file, and of a JAAS line in it: Java's formats, of which librdkafka's are a part."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_KEY = re.compile(r"((?:\\.|[^\\\s=:])+)\s*[=:]?\s*(.*)", re.DOTALL)

_JAAS_WORD = re.compile(r"""\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"'=;]+|[=;])""", re.DOTALL)


@dataclass(frozen=True)
class Property:
    """One setting of a properties file."""

    line: int
    name: str
    value: str


def parse_properties(text: str) -> tuple[Property, ...]:
    r"""All settings, in their order; a line that ends in ``\`` goes on in the next one (java.util.Properties).

    Raises:
        ValueError: a line has no name, or escapes that are no text.
    """
    found: list[Property] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        begin, line = at + 1, lines[at].lstrip()
        at += 1
        if not line or line[0] in "#!":
            continue
        while _goes_on(line) and at < len(lines):
            line = line[:-1] + lines[at].lstrip()
            at += 1
        match = _KEY.fullmatch(line.rstrip("\\") if _goes_on(line) else line)
        if match is None:
            raise ValueError(f"line {begin} is not name=value")
        try:
            found.append(Property(begin, _plain(match[1]), _plain(match[2]).strip()))
        except UnicodeDecodeError:
            raise ValueError(f"line {begin} has half of a surrogate pair, which is no text") from None
    return tuple(found)


def _goes_on(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _plain(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        named = match[1]
        return chr(int(named[1:], 16)) if named[0] == "u" and len(named) == 5 else _ESCAPES.get(named, named)

    # Java writes a character beyond U+FFFF as two escapes.
    return _ESCAPE.sub(character, text).encode("utf-16", "surrogatepass").decode("utf-16")


def parse_jaas(text: str) -> tuple[str, dict[str, str]]:
    """(login module, its options) of ``sasl.jaas.config``: ``MODULE required name="value" ...;``.

    Raises:
        ValueError: it is not of this form; quotes nothing of it.
    """
    words: list[str] = []
    at, text = 0, text.strip()
    while at < len(text):
        match = _JAAS_WORD.match(text, at)
        if match is None:
            raise ValueError("has a quote that does not end")
        words.append(match[1])
        at = match.end()
    if len(words) < 3 or words[-1] != ";" or words.count(";") != 1:
        raise ValueError('must be MODULE required name="value" ...; with the semicolon')
    named = words[2:-1]
    if len(named) % 3 or any(equals != "=" for equals in named[1::3]):
        raise ValueError('must have options as name="value"')
    return words[0], {name: _unquoted(value) for name, value in zip(named[::3], named[2::3], strict=True)}


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word[0] in "\"'" else word
