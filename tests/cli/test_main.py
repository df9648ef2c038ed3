"""How a command ends: exit codes, one line, no traceback."""

import dataclasses
import signal
import subprocess
import sys

import pytest

from hydra import __version__, errors
from hydra.accounting import result as accounted
from hydra.cli.commands import COMMANDS
from hydra.cli.help_page import EXIT_CODES
from hydra.cli.main import BUG
from hydra.signals.messages import SignalError
from tests.facts import NO_TOTALS, made_result


def result(verdict, reasons=("because",), notes=()):
    return made_result(verdict, reasons, notes, dataclasses.replace(NO_TOTALS, clients_asked=20))


def test_without_arguments_it_shows_its_help_and_is_a_usage_error(call):
    code, out, err = call()
    assert code == 2
    assert "Usage: hydra" in out + err
    assert all(name in out + err for name in COMMANDS)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(call, flag):
    code, out, err = call(flag)
    assert (code, err) == (0, "")
    assert "Usage: hydra [OPTIONS] COMMAND" in out
    for name, (_module, text) in COMMANDS.items():
        assert name in out
        assert text in out


def test_version_says_which_hydra_it_is(call):
    code, out, _err = call("--version")
    assert code == 0
    assert out.count("\n") == 1
    assert f"hydra-scaletest {__version__}" in out
    assert "not hydra-core" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(call, name):
    code, out, err = call(name, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: hydra {name}" in out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["kafak"], "kafak"), (["--kafka"], "--kafka"), ([""], "''"), (["local", "sideways"], "sideways"),
        (["\x1b[31m"], r"\x1b"), (["local", "up", "--msg_rate=1"], "--msg_rate"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_one_line(call, arguments, word):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("hydra: ")
    assert word in err
    assert "--help'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("indeterminate", 3)])
def test_a_verdict_is_an_exit_code_and_the_result_is_printed(call, stand_in, verdict, code):
    stand_in.result = result(verdict)
    found, out, _err = call("kafka", "--total_sub_apps=2")
    assert found == code
    assert out.startswith(
        f"{verdict.upper()}  20 clients, what was sent of 1,000 records/s not measured, loss not measured\n  because\n"
    )
    assert "RES = {" in out
    assert "20 clients (2 apps x 10)" in out
    assert all(key in out for key in stand_in.result.seed_keys())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.CapacityError("x"), 2),
        (errors.NotReadyError("x"), 3),
        (errors.BrokerError("x"), 4),
        (errors.MarathonError("x"), 4),
        (errors.JavaError("x"), 4),
        (errors.OutputError("x"), 4),
        (errors.InterruptedRunError(2), 130),
        (errors.InterruptedRunError(15), 143),
    ],
)
def test_an_error_is_an_exit_code_and_one_line(call, stand_in, error, code):
    stand_in.error = error
    found, out, err = call("kafka")
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    assert err.startswith("hydra: ")
    assert "Traceback" not in err


def test_a_keyboard_interrupt_outside_of_a_run(call, stand_in):
    stand_in.error = KeyboardInterrupt()
    code, out, err = call("kafka")
    assert (code, out, err.strip()) == (130, "", "hydra: interrupted")


class Interrupting:
    """A field whose class is interrupted while it is made."""

    def __init__(self, error):
        self.error = error

    def __set_name__(self, owner, name):
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (errors.InterruptedRunError(15), 143), (ValueError("x"), 70)]
)
def test_a_signal_while_a_class_is_made_is_a_signal(call, stand_in, error, code):
    try:
        type("Half", (), {"field": Interrupting(error)})
    except BaseException as raised:  # noqa: BLE001  # Python 3.11 and older: a RuntimeError
        stand_in.error = raised
    assert call("kafka")[0] == code


def test_an_error_ends_with_its_hint(call, stand_in):
    stand_in.error = errors.BrokerError("10.0.0.2:9092 refused the connection", hint="is Kafka up?")
    assert call("kafka")[2] == "hydra: 10.0.0.2:9092 refused the connection: is Kafka up?\n"


def test_hostile_text_is_printed_as_text(call, stand_in):
    stand_in.error = errors.BrokerError("topic \x1b]0;owned\x07 [red]x[/red]\nsecond line \ud800")
    _code, _out, err = call("kafka")
    assert err == "hydra: topic \\x1b]0;owned\\x07 [red]x[/red] second line \\ud800\n"


def test_hostile_text_in_a_result_is_printed_as_text(call, stand_in):
    stand_in.result = result("fail", ("lost to \x1b[31mme", "[bold]x[/bold]"), ("a note \x07",))
    _code, out, _err = call("kafka")
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]x[/bold]" in out


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("oh"), AssertionError(), errors.AccountingError("1 is not 2"), RecursionError("deep")]
)
def test_a_bug_is_70_with_a_log_that_holds_the_traceback(call, stand_in, tmp_path, error):
    stand_in.error = error
    code, out, err = call("kafka")
    assert (code, out) == (70, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert type(error).__name__ in err
    (log,) = tmp_path.glob("hydra-bug-*.log")
    assert str(log) in err
    assert "Traceback" in log.read_text()
    assert type(error).__name__ in log.read_text()


def test_an_error_that_is_no_branch_of_the_tree_is_a_bug_of_ours(call, stand_in):
    stand_in.error = SignalError("not a valid PublisherStats")
    code, _out, err = call("kafka")
    assert code == 70
    assert err.startswith("hydra: ")


def test_a_result_that_cannot_be_written_is_printed_all_the_same(call, stand_in):
    stand_in.result = result("pass")
    stand_in.error = errors.OutputError("--output=/full/r.json cannot be written (No space left on device)")
    code, out, err = call("kafka", "--output=r.json")
    assert code == 4
    assert "RES = {" in out
    assert "No space left on device" in err


def test_progress_goes_to_stderr_in_plain_lines(call, stand_in, monkeypatch):
    from hydra.kafkatest import runtest

    class Telling(stand_in):
        def __init__(self, options, runtest, *, progress):
            super().__init__(options, runtest, progress=progress)
            progress.phase("starting", "1 of 2")
            progress.phase("sending")
            progress.note("task \x1b[31m is missing")

    monkeypatch.setattr(runtest, "RunTestKAFKA", Telling)
    stand_in.result = result("pass")
    _code, out, err = call("kafka")
    assert err.splitlines() == ["hydra: starting: 1 of 2", "hydra: sending", r"hydra: task \x1b[31m is missing"]
    assert "starting" not in out


def test_every_exit_code_is_in_the_help_and_in_one_place(call):
    codes = {errors.UsageError.exit_code, errors.DegradedError.exit_code, errors.InfrastructureError.exit_code, BUG}
    codes |= {errors.InterruptedRunError(number).exit_code for number in (1, 2, 3, 15)} | set(
        accounted.EXIT_CODES.values()
    )
    assert {int(code) for text in EXIT_CODES for code in text.split(", ")} == codes
    for page in ([], ["kafka"], ["smoke"]):
        _code, out, _err = call(*page, "--help")
        for code, text in EXIT_CODES.items():
            assert f"{code} {text}" in " ".join(out.split())


def test_a_dumb_terminal_gets_plain_lines(call, stand_in, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    from hydra.cli.progress import PlainProgress, TerminalProgress, shown_progress

    with shown_progress() as display:
        assert isinstance(display, PlainProgress)
    monkeypatch.setenv("TERM", "xterm")
    with shown_progress() as display:
        assert isinstance(display, TerminalProgress)


CTRL_C_AT_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "hydra.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["hydra", "--version"]
from hydra.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("prefix", "code"), [("", -signal.SIGINT), ("import signal; signal.signal(2, signal.SIG_IGN)", 0)]
)
def test_ctrl_c_before_anything_began_is_no_traceback(prefix, code):
    """As for any command, it ends the process at once; below nohup and the like it is ignored."""
    ended = subprocess.run(
        [sys.executable, "-c", prefix + CTRL_C_AT_IMPORT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (code, "")


def test_the_reason_of_a_smoke_test_is_no_control_character(call, stand_in):
    stand_in.result = dataclasses.replace(result("fail"), reasons=("the broker says \b\bno",))
    code, out, _err = call("smoke")
    assert (code, out) == (1, "Hydra does NOT work here as it should: the broker says \\x08\\x08no\n")


@pytest.mark.parametrize(("flags", "output"), [((), None), (("--output=smoke.json",), "smoke.json")])
def test_a_smoke_test_writes_over_no_result_that_hydra_ini_names(call, stand_in, tmp_path, flags, output):
    (tmp_path / "hydra.ini").write_text("[hydra]\noutput = real.json\n", encoding="utf-8")
    stand_in.error = errors.BrokerError("gone")
    code, out, _err = call("smoke", *flags)
    assert (code, stand_in.options.output) == (errors.BrokerError.exit_code, output)
    assert "Hydra does NOT work here" in out
