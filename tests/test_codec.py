"""JSON of whatever text there is: names of files need not be UTF-8."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.codec import DecodeError, decode, decode_yaml, encode, to_builtins

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


def test_yaml_is_what_it_says():
    text = "a: &a [1, x, null]\nb: {c: *a, d: *a}\n"
    assert decode_yaml(text) == {"a": [1, "x", None], "b": {"c": [1, "x", None], "d": [1, "x", None]}}
    assert decode_yaml(text.encode()) == decode_yaml(text)
    assert decode_yaml("") is None


@pytest.mark.parametrize(
    "value",
    ['!!int ""', '!!float ""', "!!bool maybe", "!!timestamp soon", "2026-99-99", "!!binary é", "!!set [a]"],
)
def test_a_value_that_yaml_cannot_have_is_an_error_of_ours(value):
    with pytest.raises(DecodeError, match=r"^[^\n]+$"):
        decode_yaml(f"a: {value}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\n".join(f"{' ' * depth}a:" for depth in range(900)), "nested too deeply"),
        (f"a: 0x{'f' * 6000}", "a whole number in it has 24,000 bits"),
        ("a: &a [*a]", "refers to parts of itself"),
        # Ten times ten, nine times over: to print it, or to make a copy of it, would take hours.
        ("\n".join(["a0: &a0 [x]", *(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(9))]),
         "so often that it has 2,345,679,012 values"),
    ],
)  # fmt: skip
def test_yaml_that_would_be_huge_is_an_error_of_ours(text, told):
    with pytest.raises(DecodeError, match=told):
        decode_yaml(text)
