"""The commands below ``hydra kafka``, and what every command can write; on a runner that runs nothing."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from hydra.cli.commands import KAFKA_COMMANDS
from hydra.errors import BrokerError, InterruptedRunError, NotReadyError
from hydra.live.underway import runs_under_way
from hydra.options.options import Options
from hydra.sweep.comparison import compare_sides
from hydra.sweep.record import read_saved
from tests.samples import result, run


@pytest.fixture
def runs(monkeypatch):
    """What is run, one after the other, and how each run ends: ``runs.of(options)`` gives a record or an error."""
    from hydra.kafkatest import runtest

    class Runs:
        def __init__(self):
            self.asked = []
            self.started = 0
            self.of = run

    noted = Runs()

    class Runner:
        def __init__(self, options, runtest, *, progress):
            noted.started += 1
            self.options, self.record, self.progress = options, None, progress

        def set_options(self, options):
            self.options = options

        def scale_sub_app(self):
            return

        def stop_appserver(self):
            return

        def __enter__(self):
            return self

        def __exit__(self, *_exception):
            return

        def run_test(self):
            noted.asked.append(self.options)
            self.progress.phase("sending")
            made = noted.of(self.options)
            if isinstance(made, BaseException):
                raise made
            self.record = made

    monkeypatch.setattr(runtest, "RunTestKAFKA", Runner)
    return noted


def rows(path):
    return list(csv.DictReader(io.StringIO(Path(path).read_text())))


def loads(runs):
    return [(options.client_count, options.msg_rate) for options in runs.asked]


def test_the_originals_batch_is_one_command(call, runs):
    code, out, err = call("kafka", "sweep", "--report=r.html", "--results=s")
    assert code == 0, err
    assert loads(runs) == [(c, r) for c in (10, 50, 300, 500) for r in (1000, 1500, 2000, 3000)]
    assert runs.started == 1
    assert "point 16 of 16" in err
    assert out.count("pass") == 16
    assert len(list(Path("s/points").iterdir())) == 16
    assert "Average Client Rate" in Path("r.html").read_text()


def test_one_run_is_what_it_was(call, runs):
    code, out, _err = call("kafka", "--total_sub_apps=20")
    assert code == 0
    assert runs.asked == [Options(total_sub_apps=20)]
    assert out.startswith("PASS  200 clients, sent 1,000 of 1,000 records/s, lost 0, p99 8 ms")
    assert "RES = {" in out
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--client_set=10,20"], [(c, r) for c in (10, 20) for r in (1000, 1500, 2000, 3000)]),
        (["--client_set=10", "--msg_rate=5"], [(10, 5)]),
        (["--msg_rate_set=7", "--total_sub_apps=2"], [(20, 7)]),
        (["--msg_rate_set=7,8", "--clients=20"], [(20, 7), (20, 8)]),
        (["--clients=6", "--clients_per_app=3", "--msg_rate=9"], [(6, 9)]),
        (["--total_sub_apps=2", "--msg_rate=9"], [(20, 9)]),
        (["--points=10x5,20x7"], [(10, 5), (20, 7)]),
        (["--sweep=clients=10,20", "--sweep=msg_rate=1,2"], [(10, 1), (10, 2), (20, 1), (20, 2)]),
        (["--sweep=clients=10,20", "--sweep=msg_rate=1,2", "--zip"], [(10, 1), (20, 2)]),
        (["--client_set=10", "--msg_rate_set=5", "--repeats=3"], [(10, 5)] * 3),
        (["--client_set=6", "--clients_per_app=3", "--msg_rate_set=5"], [(6, 5)]),
    ],
)
def test_which_points_are_run(call, runs, arguments, expected):
    code, _out, err = call("kafka", "sweep", "--results=s", *arguments)
    assert code == 0, err
    assert loads(runs) == expected


def test_any_option_is_swept(call, runs):
    assert call("kafka", "sweep", "--sweep", "linger_ms=0,5", "--total-sub-apps=1", "--results=s")[0] == 0
    assert [options.linger_ms for options in runs.asked] == [0, 5]
    assert {options.client_count for options in runs.asked} == {10}


def test_a_plan_file(call, runs):
    Path("plan.toml").write_text(
        "repeats = 2\n[options]\nwarmup = 0\ntest_duration = 3\nclients_per_app = 5\n[sweep]\nclients = [5, 10]\n"
        "[[point]]\nclients = 20\nmsg_rate = 50\n"
    )
    code, _out, err = call("kafka", "sweep", "--plan=plan.toml", "--results=s", "--test_duration=2")
    assert code == 0, err
    assert sorted(loads(runs)) == [(5, 1000)] * 2 + [(10, 1000)] * 2 + [(20, 50)] * 2
    assert {options.test_duration for options in runs.asked} == {2.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--client_set=10,15"], "15 clients are not a multiple of --clients_per_app=10: use 10, or"),
        (["--clients=15"], "15 clients are not a multiple of --clients_per_app=10: use 10, or"),
        (["--clients=20", "--total_sub_apps=2"], "--clients and --total_sub_apps are both set: keep one"),
        (["--clients=0"], "--clients = '0' must be a whole number from 1"),
        (["--client_set=ten"], "--client_set: clients = 'ten' must be a whole number"),
        (["--msg_rate_set=0"], "--msg_rate_set: msg_rate = '0' must be a number from 0.1"),
        (["--msg_rate_set=1000,1000"], "--msg_rate_set: duplicate value msg_rate = 1000"),
        (["--sweep=linger_ms"], "--sweep='linger_ms' must be OPTION=VALUE"),
        (["--sweep=output=x"], "cannot be swept"),
        (["--plan=missing.toml"], "--plan=missing.toml does not exist"),
        (["--points=10"], "--points: '10' must be CLIENTSxRATE"),
        (["--repeats=0"], "--repeats = '0' must be a whole number from 1"),
        (["--warmup=-1"], "--warmup = '-1' must be a number from 0"),
        (["--acks=7"], "--acks = '7' must be 0, 1 or all"),
        (["--resume=nowhere"], "'nowhere' is not the folder of a sweep"),
        (["--resume=s", "--acks=0"], "--acks cannot be given with --resume"),
        (["--resume=s", "--threshold=loss==0"], "--threshold cannot be given with --resume"),
        (["--no_such=1"], "see 'hydra kafka sweep --help'"),
        (["stray"], "see 'hydra kafka sweep --help'"),
    ],
)
def test_what_cannot_be_is_one_line_and_starts_nothing(call, runs, arguments, words):
    code, out, err = call("kafka", "sweep", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert runs.asked == []
    assert not list(Path().glob("hydra-*"))


@pytest.mark.parametrize("content", ["a = ", "[sweep]\nx = 1", "\x00", "sweep = 5"])
def test_a_broken_plan_is_one_line_with_its_name(call, runs, content):
    Path("plan.toml").write_text(content)
    code, _out, err = call("kafka", "sweep", "--plan=plan.toml")
    assert (code, err.count("\n")) == (2, 1)
    assert "plan.toml" in err


@pytest.mark.parametrize("flag", ["report", "csv", "junit", "live", "output"])
@pytest.mark.parametrize("command", [["kafka"], ["kafka", "sweep"], ["kafka", "maxrate"]])
def test_a_file_without_a_place_is_refused_before_the_start(call, runs, command, flag):
    code, out, err = call(*command, f"--{flag}=missing/x")
    assert (code, out) == (4, "")
    assert f"--{flag}=missing/x: the folder 'missing' does not exist" in err
    assert runs.asked == []


@pytest.mark.parametrize("command", KAFKA_COMMANDS)
def test_a_flag_before_the_command_is_not_lost_in_silence(call, runs, command):
    code, _out, err = call("kafka", "--msg_rate=5", command)
    assert code == 2
    assert f"--msg_rate must come after '{command}': hydra kafka {command} --msg_rate=..." in err
    assert runs.asked == []


@pytest.mark.parametrize("command", KAFKA_COMMANDS)
def test_help(call, command):
    code, out, err = call("kafka", command, "--help-all")
    assert (code, err) == (0, "")
    for flag in ("--report", "--csv", "--junit", "--live", "--output", "--resume", "--results", "--total_sub_apps"):
        assert flag in out
    assert command in call("kafka", "--help")[1]


OWN_FLAGS = {
    "sweep": ["--client_set", "--msg_rate_set", "--sweep", "--zip", "--points", "--plan", "--repeats"],
    "batchsize": ["--msg_batch_set", "--repeats"],
    "ab": ["--a", "--b", "--repeats", "--tolerance"],
    "maxrate": ["--start", "--lowest", "--highest", "--precision", "--max_runs"],
    "maxclients": ["--start", "--lowest", "--highest", "--precision", "--max_runs"],
    "frontier": ["--client_set", "--start", "--lowest", "--highest", "--precision", "--max_runs"],
    "tune": ["--linger_ms_set", "--fetch_min_bytes_set", "--fetch_wait_max_ms_set"],
}


@pytest.mark.parametrize("command", KAFKA_COMMANDS)
def test_help_begins_with_an_example_and_the_commands_own_flags(call, command):
    _code, out, _err = call("kafka", command, "--help")
    example, rest = out.split("Examples:\n")[1].split("\nOptions:\n")
    assert f"  hydra kafka {command} " in example
    flags = [line.split()[0].rstrip(",") for line in rest.splitlines() if line.startswith("  --")]
    own = OWN_FLAGS[command]
    assert flags[: len(own) + 2] == [*own, "--results", "--resume"]
    assert flags[len(own) + 2] == "--bootstrap_servers"
    assert "--start_timeout" not in flags


@pytest.mark.parametrize("command", KAFKA_COMMANDS)
def test_the_examples_of_the_help_are_commands_that_run(call, runs, command):
    Path("nightly.toml").write_text("[sweep]\nclients = [10]\n")
    _code, out, _err = call("kafka", command, "--help")
    lines = [line.split("hydra ", 1)[1] for line in out.splitlines() if line.startswith("  hydra kafka ")]
    assert lines
    few = ["--max_runs=3"] if "--max_runs" in OWN_FLAGS[command] else []
    for number, line in enumerate(lines):
        code, _out, err = call(*shlex.split(line), *few, f"--results=folder-{number}")
        assert code in {0, 1, 3}, (line, err)


def test_a_command_one_level_too_high_is_suggested_where_it_is(call):
    for command in KAFKA_COMMANDS:
        code, out, err = call(command)
        assert (code, out) == (2, "")
        assert f"did you mean 'hydra kafka {command}'?" in err
    assert "did you mean 'hydra doctor'?" in call("kafka", "doctor")[2]


def test_kafkas_name_of_an_option_is_swept_too(call, runs):
    assert (
        call("kafka", "sweep", "--sweep", "fetch-max-wait-ms=20,100", "--clients=10", "--msg_rate=5", "--results=s")[0]
        == 0
    )
    assert [options.fetch_wait_max_ms for options in runs.asked] == [20, 100]


def test_a_sweep_says_how_long_it_will_take(call, runs):
    _code, _out, err = call("kafka", "sweep", "--clients=10", "--test_duration=60", "--repeats=2", "--results=s")
    assert "hydra: 8 runs, about 8 min 39 s" in err
    _code, _out, err = call("kafka", "maxrate", "--clients=10", "--max_runs=4", "--results=m")
    assert "hydra: at most 4 runs, about 1 min 7 s" in err
    runs.asked.clear()
    _code, _out, err = call("kafka", "tune", "--clients=10", "--fetch_min_bytes_set=1,2", "--results=t")
    assert "hydra: at least 14 runs, about 3 min 17 s" in err
    assert len(runs.asked) == 14


def test_users_brokers_are_told_the_load_that_they_are_about_to_get(call, runs):
    given = ["--bootstrap_servers=k1:9092", "--msg_size=1000", "--partitions=3"]
    _code, _out, err = call("kafka", "--clients=20", "--msg_rate=2000", "--test_duration=60", *given)
    assert err.splitlines()[0] == (
        "hydra: load on k1:9092: 20 clients, 2,000 records/s in (2 MB/s), 40,000 deliveries/s out (40 MB/s) for 60 s,"
        " in a topic hydra-... of 3 partitions that is deleted afterwards"
    )
    _code, _out, err = call("kafka", "sweep", "--client_set=10,20", "--msg_rate_set=100,200", "--results=s", *given)
    assert "hydra: at most, load on k1:9092: 20 clients, 200 records/s in" in err
    assert "load on" not in call("kafka")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["maxclients", "--clients=50", "--max_runs=2"],
        ["frontier", "--clients=50", "--client_set=20,30", "--max_runs=2"],
        ["frontier", "--total_sub_apps=5", "--client_set=20,30", "--max_runs=2"],
        ["sweep", "--clients=10", "--client_set=10,20"],
        ["sweep", "--msg_rate=7", "--points=10x5,20x6"],
        ["sweep", "--linger_ms=3", "--sweep=linger_ms=5"],
        ["batchsize", "--msg_batch=5"],
    ],
)
def test_a_flag_that_has_no_effect_is_named(call, runs, arguments):
    _, _, err = call("kafka", *arguments, "--results=s")
    flag = arguments[1].partition("=")[0]
    assert runs.asked
    assert re.match(rf"hydra: {flag} has no effect: each run has \w+ of its own\n", err)


@pytest.mark.parametrize("flag", ["--clients=50", "--total_sub_apps=5"])
def test_a_frontier_of_so_many_clients_is_of_no_others(call, runs, flag):
    """Whoever names 50 clients does not expect the 500 of the default of another flag."""
    _, _, err = call("kafka", "frontier", flag, "--max_runs=2", "--results=s")
    assert {clients for clients, _ in loads(runs)} == {50}
    assert "no effect" not in err


def test_a_flag_that_some_points_need_or_all_have_is_taken(call, runs):
    Path("p.toml").write_text("[[point]]\nclients = 10\nlinger_ms = 7\n[[point]]\nclients = 10\nmsg_rate = 6\n")
    assert call("kafka", "sweep", "--plan=p.toml", "--msg_rate=5", "--clients=10", "--results=s")[0] == 0
    assert loads(runs) == [(10, 5), (10, 6)]


ONE_VALUE_EACH = ["--linger_ms_set=5", "--fetch_min_bytes_set=1", "--fetch_wait_max_ms_set=500"]


@pytest.mark.parametrize(
    ("arguments", "load"),
    [
        (["maxclients", "--max_runs=2"], "100 clients, 1,000 records/s"),
        (["maxclients", "--start=40", "--clients=50", "--max_runs=2"], "40 clients, 1,000 records/s"),
        (["maxrate", "--clients=20", "--start=20000", "--max_runs=2"], "20 clients, 20,000 records/s"),
        (["frontier", "--client_set=30,60", "--start=500", "--max_runs=2"], "30 clients, 500 records/s"),
        (["tune", "--clients=20", "--msg_rate=300", *ONE_VALUE_EACH], "20 clients, 300 records/s"),
    ],
)
def test_the_load_that_a_search_begins_with_is_that_of_its_first_run(call, runs, arguments, load):
    _code, _out, err = call("kafka", *arguments, "--bootstrap_servers=k1:9092", "--results=s")
    assert f"hydra: to begin with, load on k1:9092: {load} in" in err
    clients, rate = (int(part.split()[0].replace(",", "")) for part in load.split(", "))
    assert loads(runs)[0] == (clients, rate)


def test_a_file_for_everything(call, runs):
    runs.of = lambda options: run(options, result("fail", lost=3, clients=10) if options.msg_rate == 20 else None)
    files = ["--csv=r.csv", "--junit=r.xml", "--report=r.html", "--live=r.jsonl", "--output=r.json"]
    code, out, _err = call("kafka", "sweep", "--client_set=10", "--msg_rate_set=10,20", "--results=s", *files)
    assert code == 1
    assert "10 clients, 20 records/s: FAIL - because" in out
    assert len(rows("r.csv")) == 2
    assert ET.parse("r.xml").getroot().find("testsuite").get("failures") == "1"
    assert [json.loads(line)["event"] for line in Path("r.jsonl").read_text().splitlines()].count("phase") >= 1
    assert json.loads(Path("r.json").read_text())["points"][1]["runs"][0]["result"]["verdict"] == "fail"
    code, _out, _err = call("report", "r.json", "s", "-o", "again.html", "--csv=again.csv", "--junit=again.xml")
    assert code == 0
    assert len(rows("again.csv")) == 4


TWO_POINTS = ["sweep", "--client_set=10", "--msg_rate_set=10,20"]
SEARCH = ["maxrate", "--total_sub_apps=1", "--max_runs=2"]


@pytest.mark.parametrize("command", [TWO_POINTS, SEARCH], ids=lambda command: command[0])
def test_the_output_of_hydra_ini_is_the_whole_sweeps_and_no_runs(call, runs, command):
    Path("hydra.ini").write_text("[hydra]\noutput = ini.json\n")
    call("kafka", *command, "--results=s")
    assert [options.output for options in runs.asked] == [None, None]
    written = json.loads(Path("ini.json").read_text())
    assert (written["format"], len(written["points"]), written["options"]["output"]) == ("hydra-sweep", 2, None)
    Path("ini.json").unlink()
    call("kafka", *command, "--results=t", "--output=flag.json")
    assert (Path("flag.json").exists(), Path("ini.json").exists()) == (True, False)
    call("kafka", command[0], "--resume=s")
    assert json.loads(Path("ini.json").read_text())["points"] == written["points"]


def test_the_output_of_a_plan_wins_over_that_of_hydra_ini(call, runs):
    Path("hydra.ini").write_text("[hydra]\noutput = ini.json\n")
    Path("plan.toml").write_text("options.output = 'plan.json'\nsweep.msg_rate = [10, 20]\n")
    assert call("kafka", "sweep", "--plan=plan.toml", "--results=s")[0] == 0
    assert (Path("plan.json").exists(), Path("ini.json").exists()) == (True, False)
    assert [options.output for options in runs.asked] == [None, None]


@pytest.mark.parametrize("command", [[], TWO_POINTS, SEARCH, ["sweep", "--resume=s"]], ids=" ".join)
def test_an_output_of_hydra_ini_without_a_place_is_refused_before_the_start(call, runs, command):
    call("kafka", *TWO_POINTS, "--results=s")
    runs.asked = []
    Path("hydra.ini").write_text("[hydra]\noutput = missing/x\n")
    code, out, err = call("kafka", *command)
    assert (code, out, runs.asked) == (4, "", [])
    assert "--output=missing/x: the folder 'missing' does not exist" in err


def test_an_output_of_hydra_ini_on_stdout_is_alone_there(call, runs):
    Path("hydra.ini").write_text("[hydra]\noutput = -\n")
    code, out, err = call("kafka", *TWO_POINTS, "--results=s")
    assert (code, json.loads(out)["format"]) == (0, "hydra-sweep")
    assert "   pass" in err
    code, out, err = call("kafka")  # the stand-in writes no file
    assert (code, out) == (0, "")
    assert "RES = {" in err
    assert "--output=- and --csv=- are both stdout" in call("kafka", "--csv=-")[2]


def test_one_run_has_the_same_files(call, runs):
    code, _out, _err = call("kafka", "--csv=r.csv", "--junit=r.xml", "--report=r.html", "--live=r.jsonl")
    assert code == 0
    assert len(rows("r.csv")) == 1
    assert ET.parse("r.xml").getroot().find("testsuite").get("tests") == "1"
    assert "average_rate" in Path("r.html").read_text()
    assert json.loads(Path("r.jsonl").read_text().splitlines()[0])["phase"] == "sending"


def test_a_run_that_failed_is_a_test_case_that_failed(call, runs, monkeypatch):
    from hydra.kafkatest import runtest

    def run_test(self):
        self.record = run(self.options, error="the broker died")
        raise BrokerError("the broker died")

    monkeypatch.setattr(runtest.RunTestKAFKA, "run_test", run_test)
    code, out, err = call("kafka", "--junit=r.xml", "--csv=r.csv", "--report=r.html", "--omb_result=r.json")
    assert (code, out, err) == (4, "", "hydra: the broker died\n")
    assert ET.parse("r.xml").find(".//error").get("message") == "the broker died"
    assert rows("r.csv")[0]["reason"] == "the broker died"
    assert "the broker died" in Path("r.html").read_text()
    assert json.loads(Path("r.json").read_text())["publishRate"] == []


def test_an_interrupted_sweep_goes_on_where_it_was(call, runs):
    def interrupted(options):
        return InterruptedRunError(2) if options.msg_rate == 2000 else run(options)

    runs.of = interrupted
    code, out, err = call("kafka", "sweep", "--client_set=10", "--results=s", "--csv=r.csv")
    assert code == 130
    assert "s" in err
    assert out.count("pass") == 2
    assert len(rows("r.csv")) == 2
    runs.of, runs.asked = run, []
    code, out, err = call("kafka", "sweep", "--resume=s", "--csv=r.csv")
    assert code == 0, err
    assert loads(runs) == [(10, 2000), (10, 3000)]
    assert out.count("pass") == 4
    assert len(rows("r.csv")) == 4
    assert call("kafka", "maxrate", "--resume=s")[0] == 2


@pytest.mark.parametrize("folder", ["--results", "--resume"])
def test_the_folder_of_a_sweep_is_told_as_it_is_found_from_elsewhere(call, runs, folder):
    """By 'hydra watch', whose working folder is another one."""
    seen = []

    def look(options):
        seen.extend(each.results for each in runs_under_way())
        return run(options)

    if folder == "--resume":
        runs.of = lambda options: InterruptedRunError(2)
        call("kafka", *TWO_POINTS, "--results=s")
    runs.of = look
    arguments = ["sweep", "--resume=s"] if folder == "--resume" else [*TWO_POINTS, "--results=s"]
    assert call("kafka", *arguments)[0] == 0
    assert set(seen) == {str(Path("s").absolute())}


def test_a_stack_that_broke_is_started_anew_for_the_next_point(call, runs):
    runs.of = lambda options: BrokerError("the broker died") if options.msg_rate == 1500 else run(options)
    code, out, _err = call("kafka", "sweep", "--client_set=10", "--results=s")
    assert code == 4
    assert runs.started == 2
    assert "10 clients, 1,500 records/s: ERROR - the broker died" in out


def test_a_stack_that_stays_broken_ends_the_sweep_with_what_there_is(call, runs):
    runs.of = lambda options: BrokerError("the broker died")
    code, out, err = call("kafka", "sweep", "--client_set=10", "--results=s")
    assert code == 4
    assert len(runs.asked) == 2
    assert "2 runs in a row could not be measured: the broker died: fix the cause, then continue with --resume" in err
    assert out.count("error") >= 2


def test_a_point_whose_clients_do_not_get_ready_is_one_point(call, runs):
    runs.of = lambda options: NotReadyError("9 of 10 positioned") if options.msg_rate == 1500 else run(options)
    code, _out, _err = call("kafka", "sweep", "--client_set=10", "--results=s")
    assert code == 3
    assert (len(runs.asked), runs.started) == (4, 1)


def carried(limit, above="fail"):
    def of(options):
        enough = options.msg_rate * options.client_count <= limit
        harness = not enough and above == "harness"
        verdict = "pass" if enough else "indeterminate" if harness else "fail"
        lost = 0 if enough or harness else 2
        made = result(verdict, lost=lost, harness_limited=harness, clients=options.client_count, rate=options.msg_rate)
        return run(options, made)

    return of


def test_maxrate(call, runs):
    runs.of = carried(123_000)
    code, out, err = call("kafka", "maxrate", "--total_sub_apps=1", "--report=r.html", "--results=s")
    assert code == 0, err
    assert "highest rate for 10 clients: 12,3" in out.replace("12,2", "12,3").replace("12,1", "12,3")
    assert re.search(r"is too much for the broker; [\d,]+ to [\d,]+ in 95 %; confirmed by a repeat", out)
    assert len(runs.asked) <= 16
    assert json.loads(Path("s/sweep.json").read_text())["answers"][0]["answer"]["limited_by"] == "broker"


def test_maxrate_where_the_harness_is_the_limit(call, runs):
    runs.of = carried(50_000, "harness")
    code, out, _err = call("kafka", "maxrate", "--total_sub_apps=1", "--results=s")
    assert code == 3
    assert "at least" in out
    assert "the limit was the harness, not the broker" in out


def test_maxclients(call, runs):
    runs.of = carried(730_000)
    code, out, _err = call("kafka", "maxclients", "--results=s")
    assert code == 0
    assert "most clients at 1,000 records/s: 7" in out
    assert {options.client_count % 10 for options in runs.asked} == {0}


def test_frontier(call, runs):
    runs.of = carried(100_000)
    code, out, _err = call("kafka", "frontier", "--client_set=10,20", "--results=s", "--report=r.html")
    assert code == 0
    assert "highest rate for 10 clients" in out
    assert "highest rate for 20 clients" in out
    assert '"Frontier"' in Path("r.html").read_text()


def test_batchsize(call, runs):
    code, _out, _err = call("kafka", "batchsize", "--total_sub_apps=1", "--results=s")
    assert code == 0
    assert [options.msg_batch for options in runs.asked] == [1, 10, 50, 100, 500, 1000]


def test_tune(call, runs):
    runs.of = lambda options: run(options, p50_ms=1.0 + options.linger_ms + options.fetch_wait_max_ms / 100)
    code, out, _err = call("kafka", "tune", "--total_sub_apps=1", "--results=s")
    assert code == 0
    assert "linger_ms=0 fetch_min_bytes=1 fetch_wait_max_ms=20: e2e_p99 2.4 ms" in out
    assert "instead of 22 ms" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["maxrate", "--start=5", "--lowest=10"], "does not lie between"),
        (["maxrate", "--max_runs=1"], "--max_runs = '1' must be a whole number from 2"),
        (["maxrate", "--precision=0"], "--precision = '0' must be a number from 0.1"),
        (["maxrate", "--start=x"], "--start = 'x' must be a number"),
        (["maxclients", "--start=15"], "15 clients are not a multiple of --clients_per_app=10: use 10, or"),
        (["frontier", "--client_set=15"], "15 clients are not a multiple of --clients_per_app=10: use 10, or"),
        (["tune", "--linger_ms_set=x"], "linger_ms = 'x' must be a whole number"),
        (["batchsize", "--msg_batch_set=0"], "msg_batch = '0' must be a whole number"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(call, runs, arguments, words):
    code, out, err = call("kafka", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert runs.asked == []


def test_compare(call, runs):
    sweep = ("kafka", "sweep", "--client_set=10", "--msg_rate_set=10,20", "--repeats=6")
    call(*sweep, "--results=a")
    call(*sweep, "--results=again")
    runs.of = lambda options: run(options, p50_ms=9.0)
    call(*sweep, "--results=b", "--linger_ms=20")
    code, out, err = call("compare", "a", "again")
    assert (code, err) == (0, "")
    assert "nothing is shown to be worse by more than 10 %" in out
    code, out, _err = call("compare", "a", "b", "--output=c.json", "--csv=c.csv", "--junit=c.xml", "--report=c.html")
    assert code == 1
    assert "WORSE clients=10 msg_rate=10: e2e_p99 8 -> 18 ms" in out
    assert "unlike: option linger_ms: 5 -> 20" in out
    assert json.loads(Path("c.json").read_text())["regressions"]
    assert {row["state"] for row in rows("c.csv") if row["metric"] == "e2e_p99"} == {"worse"}
    assert ET.parse("c.xml").getroot().find("testsuite").get("failures") == "2"
    assert call("compare", "b", "a")[0] == 0
    assert call("compare", "a", "b", "--tolerance=200")[0] == 0


def test_two_settings_in_turns(call, runs):
    runs.of = lambda options: run(options, p50_ms=4.0 if options.linger_ms == 5 else 9.0)
    command = ("kafka", "ab", "--clients=10", "--a", "linger_ms=5", "--b", "linger_ms=20", "--results=s")
    code, out, _err = call(*command)
    assert code == 1
    assert [sum(asked.linger_ms == ms for asked in runs.asked) for ms in (5, 20)] == [18, 9]
    assert all(sum(asked.linger_ms == 20 for asked in runs.asked[at : at + 3]) == 1 for at in range(0, 27, 3))
    assert runs.started == 1
    assert "WORSE B / A: e2e_p99 8 -> 18 ms" in out
    assert call("show", "s") == (1, out, "")
    code, _out, _err = call("kafka", "ab", "--clients=10", "--a", "linger_ms=20", "--b", "linger_ms=5", "--results=t")
    assert code == 0


def test_two_settings_that_no_stack_serves_both_have_a_stack_each(call, runs):
    options = ("--clients=10", "--repeats=2", "--results=s")
    code, _out, _err = call("kafka", "ab", "--a=broker_heap_mb=256", "--b=broker_heap_mb=512", *options)
    assert code == 3  # two runs a side are not judged
    assert 3 <= runs.started <= 5


def test_a_machine_on_which_a_differs_from_a_gives_no_answer(call, runs):
    call("kafka", "ab", "--clients=10", "--a", "linger_ms=5", "--b", "linger_ms=20", "--results=s", "--output=s.json")
    saved = read_saved(Path("s.json").read_bytes(), name="s.json")
    slow = dataclasses.replace(saved.points[2], runs=tuple(run(p50_ms=9.0) for _ in range(9)))
    unsteady = dataclasses.replace(saved, points=(*saved.points[:2], slow))
    assert compare_sides(saved).exit_code == 0
    assert compare_sides(unsteady).exit_code == 3
    assert "e2e_p99" in compare_sides(unsteady).unsteady


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "neither --a nor --b is given"),
        (["--a", "linger_ms=5", "--b", "linger_ms=5"], "are the same setting"),
        (["--a", "linger_ms"], "--a='linger_ms' must be OPTION=VALUE"),
        (["--a", "x=1"], "--a: 'x' is not an option"),
        (["--b", "output=x"], "--b: 'output' cannot be compared"),
    ],
)
def test_settings_that_cannot_be_compared(call, runs, arguments, words):
    code, out, err = call("kafka", "ab", *arguments)
    assert (code, out, err.count("\n"), runs.asked) == (2, "", 1, [])
    assert words in err


def test_show_prints_a_sweep_as_it_was_printed(call, runs):
    runs.of = carried(123_000)
    code, out, _err = call("kafka", "maxrate", "--total_sub_apps=1", "--results=s", "--output=s.json")
    assert call("show", "s") == (code, out, "")
    assert call("show", "s.json") == (code, out, "")
    code, out, _err = call("show", "s/points/0001.json")
    assert out.startswith("PASS  10 clients")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["report"], 2, "no RESULT"),
        (["report", "x.json"], 2, "nothing to write: name a file: -o report.html"),
        (["report", "x.json", "-o", "r.html"], 2, "x.json cannot be read (No such file or directory)"),
        (["report", "x.json", "-o", "missing/r.html"], 4, "the folder 'missing' does not exist"),
        (["compare", "x.json", "y.json"], 2, "x.json cannot be read"),
        (["compare", "x.json"], 2, "see 'hydra compare --help'"),
        (["compare", "x", "y", "--tolerance=-1"], 2, "--tolerance = '-1' must be a number"),
    ],
)
def test_results_that_are_none(call, arguments, code, words):
    found, out, err = call(*arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert words in err


def test_sweeps_without_a_point_in_common_are_not_compared(call, runs):
    call("kafka", "sweep", "--points=10x5", "--results=a")
    call("kafka", "sweep", "--points=10x6", "--results=b")
    Path("c.xml").write_text("<green/>")
    code, _out, err = call("compare", "a", "b", "--junit=c.xml", "--report=c.html", "--csv=c.csv", "--output=c.json")
    assert code == 3
    assert "have no point in common" in err
    assert ET.parse("c.xml").getroot().find("testsuite").get("errors") == "2", "not that of yesterday"


def test_searches_are_compared_by_their_answers_whatever_values_they_tried(call, runs):
    runs.of = carried(123_000)
    call("kafka", "maxrate", "--total_sub_apps=1", "--start=1000", "--results=a")
    runs.of = carried(60_000)
    call("kafka", "maxrate", "--total_sub_apps=1", "--start=777", "--results=b")
    code, out, _err = call("compare", "a", "b")
    assert code == 1
    assert "highest rate for 10 clients" in out


@pytest.mark.parametrize("broken", [False, True])
def test_a_sweep_is_told_before_the_clean_up(call, runs, monkeypatch, broken, tmp_path):
    from hydra.kafkatest import runtest

    told = []

    def clean_up(self, *_error):
        told.append(((tmp_path / "s.csv").exists(), sys.stdout.getvalue()))

    monkeypatch.setattr(runtest.RunTestKAFKA, "__exit__", clean_up)
    rates = iter([None, BrokerError("x"), InterruptedRunError(15)]) if broken else iter([None] * 10)
    runs.of = lambda options: next(rates) or run(options)
    code, _out, _err = call("kafka", "sweep", "--client_set=10", "--csv=s.csv")
    assert code == (143 if broken else 0)
    written, printed = told[-1]
    assert written
    assert "1,000" in printed
