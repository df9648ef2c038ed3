"""The files of a finished run: written before the clean-up, whatever they are; all that fail are named."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest

from hydra.cli.progress import TerminalProgress, fitting
from hydra.errors import MarathonError, OutputError
from hydra.kafkatest import runtest
from hydra.kafkatest.runtest import RunTestKAFKA
from hydra.run.protocols import LiveCounts
from hydra.sweep.folder import SweepFolder
from tests.cli.test_main import result
from tests.samples import sweep

COMMANDS = {"kafka": ["kafka"], "report": ["report", "a.json"], "compare": ["compare", "a.json", "b.json"]}
FLAGS = ["report", "csv", "junit", "output", "live"]


def test_all_files_that_cannot_be_are_named_at_once(call, stand_in):
    code, _out, err = call("kafka", *(f"--{flag}=none-{flag}/x" for flag in FLAGS))
    assert (code, stand_in.options) == (4, None)
    assert err.count("\n") == 1
    assert all(f"--{flag}=none-{flag}/x: the folder 'none-{flag}' does not exist" in err for flag in FLAGS)
    assert err.count("create it first") == 1


@pytest.mark.parametrize("command", ["kafka", "report", "compare"])
def test_all_files_that_could_not_be_written_are_named_and_the_others_are_written(call, stand_in, command):
    stand_in.result = result("pass")
    stand_in.error = OutputError("--output=r.json cannot be written (No space left on device)")
    if command != "kafka":
        save(call, stand_in)
    code, _out, err = call(*COMMANDS[command], "--csv=/dev/full", "--junit=/dev/full")
    assert code == 4
    assert "--csv=/dev/full cannot be written (No space left on device)" in err
    assert "--junit=/dev/full cannot be written (No space left on device)" in err
    assert ("--output=r.json" in err) == (command == "kafka")


def save(call, stand_in) -> None:
    from hydra.files.atomic_write import write_json
    from hydra.options.options import Options
    from tests.samples import run

    write_json(Path("a.json"), run(Options()))
    write_json(Path("b.json"), dataclasses.replace(run(Options()), started_at="2026-11-26T07:00:00.000+00:00"))


@pytest.mark.parametrize("flag", ["report", "csv", "junit"])
def test_a_file_on_stdout_is_alone_there(call, stand_in, flag):
    stand_in.result = result("pass")
    code, out, err = call("kafka", f"--{flag}=-")
    assert code == 0
    assert out
    assert "RES = {" not in out
    assert "RES = {" in err


def test_lines_on_stdout_are_alone_there(stand_in, tmp_path):
    """Of the descriptor itself, since a line is written while others are."""
    from hydra.files.write_in_place import open_lines

    before = os.dup(1)
    with (tmp_path / "out").open("wb") as file:
        os.dup2(file.fileno(), 1)
        try:
            lines = open_lines(Path("-"), origin="--live=-")
            lines.write(b'{"event": "note"}\n')
            lines.close()
        finally:
            os.dup2(before, 1)
            os.close(before)
    assert json.loads((tmp_path / "out").read_text()) == {"event": "note"}


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        ("-", "-", "both stdout"),
        ("-", "/dev/stdout", "both stdout"),
        ("r", "r", "the same file"),
        ("r", "./r", "the same file"),
        ("r", "link", "the same file"),
    ],
)
@pytest.mark.parametrize("command", ["kafka", "report", "compare"])
def test_two_files_in_one_place_are_refused(call, stand_in, command, first, second, where):
    Path("link").symlink_to("r")
    save(call, stand_in)
    code, out, err = call(*COMMANDS[command], f"--csv={first}", f"--junit={second}")
    assert (code, out, stand_in.options) == (2, "", None)
    assert err == f"hydra: --csv={first} and --junit={second} are {where}: name another one\n"
    assert not Path("r").exists()


def test_two_files_may_go_to_one_device(call, stand_in):
    stand_in.result = result("pass")
    assert call("kafka", "--csv=/dev/null", "--junit=/dev/null")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["report", "a.json", "--csv=a.json"], "a.json"),
        (["report", "a.json", "b.json", "--junit=./b.json"], "b.json"),
        (["report", "folder", "-o", "folder/sweep.json"], "folder/sweep.json"),
        (["report", "folder", "--csv=folder/points/0001.json"], "folder/points/0001.json"),
        (["compare", "a.json", "b.json", "--output=b.json"], "b.json"),
        (["trend", "folder", "--output=folder/sweep.json"], "folder/sweep.json"),
        (["trend", "nights", "--output=nights/a.json"], "nights/a.json"),
        (["kafka", "sweep", "--resume=folder", "--output=folder/sweep.json"], "folder/sweep.json"),
    ],
)
def test_a_file_that_would_replace_a_result_is_refused(call, stand_in, arguments, file):
    save(call, stand_in)
    Path("nights").mkdir()
    Path("nights/a.json").write_bytes(Path("a.json").read_bytes())
    with contextlib.closing(SweepFolder.begin(Path("folder"), sweep([{"clients": 10}]))) as folder:
        folder.keep(sweep([{"clients": 10}]).points[0])
    before = Path(file).read_bytes()
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert " would replace a result (" in err
    assert Path(file).read_bytes() == before


def test_a_new_sweep_has_its_folder_for_itself(call):
    """What is interrupted could not be resumed once all of it was written over its plan."""
    Path("folder").mkdir()
    code, _out, err = call("kafka", "sweep", "--results=folder", "--output=folder/sweep.json")
    assert code == 2
    assert "--output=folder/sweep.json would replace a result (folder): name another file" in err
    assert not os.listdir("folder")


def test_the_result_is_printed_and_written_before_the_clean_up_whatever_comes_of_that(
    call, stand_in, monkeypatch, tmp_path
):
    seen = []

    class Real(stand_in):
        """Cleans up as the real one does."""

        def __init__(self, options, runtest, *, progress):
            super().__init__(options, runtest, progress=progress)
            self._progress = progress

        def __exit__(self, *error):
            RunTestKAFKA.__exit__(self, *error)

        def stop_appserver(self):
            seen.append((sys.stdout.getvalue(), (tmp_path / "r.csv").exists()))
            raise MarathonError("Marathon timed out after 25 s")

    monkeypatch.setattr(runtest, "RunTestKAFKA", Real)
    stand_in.result = result("fail")
    code, out, err = call("kafka", "--csv=r.csv")
    ((printed, written),) = seen
    assert "RES = {" in printed
    assert written
    assert code == 1
    assert out.count("RES = {") == 1
    assert err == "hydra: not everything could be cleaned up: Marathon timed out after 25 s\n"


def test_a_path_that_is_not_utf8_changes_nothing(call, stand_in):
    stand_in.result = result("pass")
    name = os.fsdecode(b"o\xff")
    code, out, _err = call(
        "kafka", f"--output={name}.json", f"--report={name}.html", f"--csv={name}.csv", f"--junit={name}.xml",
        f"--live={name}.jsonl",
    )  # fmt: skip
    assert code == 0
    assert "RES = {" in out
    assert {os.fsencode(each) for each in os.listdir()} == {
        b"o\xff." + end for end in (b"html", b"csv", b"xml", b"jsonl")
    }


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_number_is_shown_whole_or_not_at_all(monkeypatch, columns):
    from io import StringIO

    from rich.console import Console

    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=columns, color_system=None)
    display = TerminalProgress(console)
    with display.live:
        display.phase("sending")
        display.counts(LiveCounts(12.5, 5_083_123, 10_000_000, 5_083_001, 1_016_624_321, 2_345_678, 12))
        display.live.refresh()
    text = screen.getvalue()
    assert "sending" in text
    assert "..." not in text
    assert "…" not in text
    shown = set(text.replace(",", " ").split()) & {"5", "083", "123", "10", "000"}
    assert shown in (set(), {"5", "083", "123", "10", "000"})


def test_parts_that_fit():
    assert fitting("sent 1,000 of 2,000, acked 900, delivered 9", 30) == "sent 1,000 of 2,000, acked 900"
    assert fitting("sent 1,000 of 2,000", 10) == ""
    assert fitting("", 0) == ""


def test_stdout_is_not_the_displays(capsys):
    from rich.console import Console

    display = TerminalProgress(Console(stderr=True, force_terminal=True, color_system=None))
    with display.live:
        display.phase("sending")
        print("a file")
    assert capsys.readouterr().out == "a file\n"


def test_a_display_that_was_hidden_comes_back_with_the_next_phase():
    from io import StringIO

    from rich.console import Console

    display = TerminalProgress(Console(file=StringIO(), force_terminal=True))
    with display.live:
        display.phase("sending")
        display.hide()
        display.hide()
        assert not display.live.is_started
        display.phase("cleaning up")
        assert display.live.is_started
    assert not display.live.is_started
