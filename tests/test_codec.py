"""JSON of whatever text there is: names of files need not be UTF-8."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from hydra.codec import decode, encode, to_builtins

ANY_TEXT = st.text(st.characters(exclude_categories=[]))


@dataclass(frozen=True)
class Fact:
    name: str
    names: tuple[str, ...] = ()
    by_name: dict[str, str] = field(default_factory=dict)


@given(ANY_TEXT, st.lists(ANY_TEXT), st.dictionaries(ANY_TEXT, ANY_TEXT))
def test_every_text_can_be_written_and_read_again(name, names, by_name):
    found = decode(encode(Fact(name, tuple(names), by_name)), Fact)
    expected = name.encode(errors="backslashreplace").decode()
    assert found.name == expected
    assert len(found.names) == len(names)
    assert decode(json.dumps(to_builtins(Fact(name))).encode(), Fact).name == expected


@given(st.text())
def test_text_that_is_utf8_stays_as_it_is(name):
    assert decode(encode(Fact(name)), Fact).name == name
    assert to_builtins(Fact(name)) == {"name": name, "names": [], "by_name": {}}
