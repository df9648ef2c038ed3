"""Text from elsewhere does nothing to a terminal, and a narrow one cuts no number off."""

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.cli.terminal import Column, print_lines, print_table, printable


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


@pytest.fixture
def terminal(capsys, monkeypatch):
    """What is printed on a terminal that is so many columns wide, line by line."""

    def terminal(columns, work):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        work()
        return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()]

    return terminal


COLUMNS = [Column("host"), Column("bytes", numbers=True), Column("meaning")]
DIM = [*COLUMNS[:2], Column("meaning", dim=True)]
ROWS = [("node1", "9,422,785", "all that was sent"), ("node2\x1b", "7", "")]


def test_a_table_that_fits_is_a_table(terminal):
    lines = terminal(60, lambda: print_table(COLUMNS, ROWS))
    assert lines[1].split() == ["host", "bytes", "meaning"]
    assert lines[3].split() == ["node1", "9,422,785", "all", "that", "was", "sent"]
    assert lines[4].split() == ["node2\\x1b", "7"]


def test_text_is_broken_and_numbers_are_not(terminal):
    lines = terminal(32, lambda: print_table(COLUMNS, ROWS))
    assert max(map(len, lines)) <= 32
    assert any("9,422,785" in line for line in lines)


def test_a_table_that_does_not_fit_is_a_line_for_each_cell(terminal):
    lines = terminal(20, lambda: print_table(COLUMNS, ROWS))
    assert lines == [
        "", "host: node1", "bytes: 9,422,785", "meaning: all that", "    was sent", "", "host: node2\\x1b", "bytes: 7",
    ]  # fmt: skip


def test_dim_columns_are_the_first_to_go(terminal):
    lines = terminal(26, lambda: print_table(DIM, ROWS))
    assert lines[1].split() == ["host", "bytes"]
    assert lines[3].split() == ["node1", "9,422,785"]


def test_lines_are_broken_between_words_and_go_on_indented(terminal):
    assert terminal(24, lambda: print_lines(["p99 32 ms, sent 1,000 of 1,000 records/s"], indent="  ")) == [
        "  p99 32 ms, sent 1,000", "      of 1,000 records/s",
    ]  # fmt: skip


def test_in_a_pipe_a_line_stays_one(capsys):
    print_lines(["x " * 300])
    assert capsys.readouterr().out == "x " * 300 + "\n"


NUMBER = re.compile(r"\d[\d,.]*\d")


@pytest.mark.parametrize("columns", [20, 40, 60, 80])
@pytest.mark.parametrize("what", ["a run", "a sweep"])
def test_no_number_of_a_result_is_shortened(terminal, columns, what):
    from hydra.cli.show_results import print_record, print_sweep
    from hydra.options.options import Options
    from tests.samples import run, sweep

    def work():
        if what == "a run":
            print_record(run(Options(msg_rate=1_234_567.0)))
        else:
            print_sweep(sweep([{"msg_rate": 1000.0}, {"msg_rate": 1_234_567.0}]))

    wide, narrow = terminal(240, work), terminal(columns, work)
    assert set(NUMBER.findall("\n".join(wide))) <= set(NUMBER.findall("\n".join(narrow)))
    assert "…" not in "".join(narrow)
