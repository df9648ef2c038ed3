"""The table in docs/local-marathon.md is the table of routes."""

import re
from pathlib import Path

from hydra.localmarathon.placement import REASONS
from hydra.localmarathon.server import ROUTES

TEXT = (Path(__file__).parents[2] / "docs" / "local-marathon.md").read_text()


def documented():
    table = TEXT[TEXT.index("| method | path |") :].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        methods, paths = row.split("|")[1:3]
        yield from ((method.strip(), path) for method in methods.split(",") for path in re.findall("`(.+?)`", paths))


def served():
    for route in ROUTES:
        for pattern in variants(route.pattern):
            yield route.method, re.sub(r"\(\?P<\w+>[^)]*\)", "{id}", pattern).replace("\\", "")


def variants(pattern):
    """A part that may be left out makes two paths of one pattern."""
    if "(?:" not in pattern:
        return [pattern]
    if pattern.endswith(")?"):
        before, _open, optional = pattern.partition("(?:")
        return [before, before + optional.removesuffix(")?")]
    return [re.sub(r"\(\?:(.*?)\)\?", kept, pattern) for kept in ("", r"\1")]


def test_every_route_is_documented_and_every_documented_route_is_there():
    assert sorted(documented()) == sorted(served())


def test_every_reason_of_the_queue_is_documented():
    assert all(f"`{reason}`" in TEXT for reason in REASONS)
