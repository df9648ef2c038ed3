"""Error texts, help pages and documents use plain words, and one class name means one thing."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

import hydra.cli.commands

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "hydra").rglob("*.py"))

INSTEAD: Mapping[str, str] = {
    r"stands? before the first \[section\]": "key before any [section]",
    r"stands? there twice": "duplicate key",
    r"goes on in an indented line": "continuation lines are not supported",
    r"\bsay the same\b": "are both set; keep one",
    r"(?<!there )\bis no (path|id of an app|host:port|address)\b": "invalid ...",
    r"\bno whole number of apps\b": "not a multiple of --clients_per_app",
    r"\bsends to .{1,80}, when asked to\b": "redirects to",
    r"answered what Marathon does not": "unexpected response from Marathon",
    r"wants to know who asks": "authentication required (HTTP 401)",
    r"\bdoes not have that\b": "not found (HTTP 404)",
    r"\bwas not through after\b": "timed out after N s",
    r"own name stands for no address": "hostname does not resolve to a local address",
    r"answered a request that was not asked": "unexpected correlation id",
    r"do not keep the bytes": "checksum mismatch after writing",
    r"\bwithout a word\b": "without a reason; silently",
    r"\bby the publisher's word\b|\bthe publisher's word\b": "according to the publisher",
    r"\btroubles?\b": "error, reason, problem",
    r"\bway[ _]out\b": "hint; of a network: route",
    r"\bgravest\b": "worst",
    r"\bhand(ed|s|ing)?[- ]outs?\b": "serve the code, code server",
    r"table of options in the README": "docs/options.md",
    r"docs/cluster\.md": "docs/hosts.md",
}
"""What to say, by what we do not: in any string of Hydra's code, in help pages and in documents."""

INSTEAD_FOR_READERS: Mapping[str, str] = {
    r"\bthe original('s)?\b|\bthe seed('s)?\b|\bseed's\b": "nobody knows them: say what it is",
    r"(?<!there )\bis no (result|folder|file|number|run|option|command|topic|plan|sweep)\b": "is not a ...",
    r"\bthat (cannot be|there is not)\b": "is invalid, does not exist",
    r"\blet(s|ting)? go of\b": "close, release",
    r"\bdealt out\b|\bdeals? out\b": "assign",
}
"""The same for what users read: help pages and documents."""


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of every string, docstrings too; what an f-string puts in is a pair of braces."""
    parts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(below) for below in ast.walk(node) if below is not node}
            pieces = [piece.value if isinstance(piece, ast.Constant) else "{}" for piece in node.values]
            yield node.lineno, "".join(map(str, pieces))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def found_in(text: str, instead: Mapping[str, str]) -> list[str]:
    """'PHRASE -> what to say', for each phrase that stands in the text, wherever its lines end."""
    plain = " ".join(text.split())
    return [
        f"{match[0]!r} -> {better}"
        for phrase, better in instead.items()
        for match in re.finditer(phrase, plain, re.IGNORECASE)
    ]


def documents() -> Iterator[tuple[str, str]]:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "hydra.ini", ROOT / "scripts" / "python"]:
        yield path.relative_to(ROOT).as_posix(), path.read_text()
    for path in (ROOT / "docs").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        yield path.name, "\n".join("".join(cell["source"]) for cell in cells)


def help_pages(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    # Commands keep the help flag that they make for their first context: it has to be as the command line makes it.
    context = click.Context(command, info_name=name, **hydra.cli.commands.hydra.context_settings)
    flags = [param.help or "" for param in command.params if isinstance(param, click.Option)]
    yield name, "\n".join([command.get_help(context), *flags])
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from help_pages(found, f"{name} {below}")


def test_phrases_are_found_across_lines_and_in_f_strings():
    tree = ast.parse('x = f"{a} sends to {b},\\n when asked to"\n"""Its way\n    out."""')
    found = [(line, text) for line, whole in strings(tree) for text in found_in(whole, INSTEAD)]
    assert [line for line, _ in found] == [1, 2]
    assert found[0][1] == "'sends to {}, when asked to' -> redirects to"
    assert [text for _, whole in strings(ast.parse('"a route"')) for text in found_in(whole, INSTEAD)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_says_it_in_plain_words(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"line {line}: {text}" for line, whole in strings(tree) for text in found_in(whole, INSTEAD)] == []


@pytest.mark.parametrize(("name", "text"), [*documents()], ids=[name for name, _ in documents()])
def test_documents_say_it_in_plain_words(name, text):
    assert found_in(text, {**INSTEAD, **INSTEAD_FOR_READERS}) == []


PAGES = [*help_pages(hydra.cli.commands.hydra, "hydra")]


@pytest.mark.parametrize(("name", "text"), PAGES, ids=[name for name, _ in PAGES])
def test_help_pages_say_it_in_plain_words(name, text):
    assert found_in(text, {**INSTEAD, **INSTEAD_FOR_READERS}) == []


def test_no_two_classes_bear_one_name():
    """The local Marathon has its own App, Task, Deployment: a Marathon's, not those that Hydra sees from outside."""
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        where = path.relative_to(ROOT / "hydra")
        if where.parts[0] == "localmarathon":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{where.as_posix()}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
