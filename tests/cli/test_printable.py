"""Text from elsewhere does nothing to a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.cli.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("läuft 日本 ✓", "läuft 日本 ✓"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("\x00\x07\x7f", r"\x00\x07\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202eabc", r"\u202eabc"),
        ("\u2028", r"\u2028"),
        ("\ud800", r"\ud800"),
        ("", ""),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_whatever_comes_in_what_goes_out_is_printable(text):
    assert printable(text).isprintable()
    printable(text).encode()
