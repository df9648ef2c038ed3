"""README, docs and hydra.ini say what the code does: options, metrics, commands, files, links and examples."""

from __future__ import annotations

import ast
import configparser
import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import hydra.cli.commands
from hydra.cli.help_page import EXIT_CODES
from hydra.errors import UsageError
from hydra.kafkatest.runtest import RunTestKAFKA
from hydra.options.ini import parse_ini
from hydra.options.options import OPTION_KINDS, Options, parse_option
from hydra.options.thresholds import METRICS
from hydra.report.text import MEANINGS
from hydra.sweep.counted_runs import COMPARED_METRICS
from hydra.sweep.judgement import advised_runs
from hydra.sweep.plan_file import read_plan_file
from tests.samples import latencies, result, run

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "docs" / "reading-results.md").read_text()
README_LINES = 150


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tables(text: str) -> Iterator[list[list[str]]]:
    """Each table as rows of cells, the headings first."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("\n").split("|")[1:-1]] for line in block.splitlines()]
        yield [row for row in rows if not set("".join(row)) <= {"-"} or not any(row)]


def table(text: str, *headings: str) -> list[list[str]]:
    """The rows below the headings that begin like this."""
    found = [rows[1:] for rows in tables(text) if tuple(rows[0][: len(headings)]) == headings]
    assert len(found) == 1, f"{len(found)} tables begin with {headings}"
    return found[0]


def code_blocks(path: Path, *languages: str) -> list[str]:
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", path.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in blocks if language in languages]


def option_rows() -> dict[str, tuple[str, list[str]]]:
    """(section, cells) by the option's name, out of docs/options.md."""
    found: dict[str, tuple[str, list[str]]] = {}
    for rows in tables((ROOT / "docs" / "options.md").read_text()):
        section = re.fullmatch(r"\[(\w+)\]", rows[0][0])
        for row in rows[1:] if section else []:
            name = row[0].strip("`-")
            assert name not in found, f"{name} has two rows"
            found[name] = (section[1], row)
    return found


OPTION_ROWS = option_rows()
DEFAULTS = {item.name: item.default for item in dataclasses.fields(Options)}


def test_every_option_has_a_row_and_every_row_an_option():
    assert set(OPTION_ROWS) == set(OPTION_KINDS)


def default_text(default: object) -> str:
    if default in (None, ()):
        return "-"
    if isinstance(default, tuple):
        return ",".join(default)
    return "no" if default is False else f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("name", OPTION_KINDS)
def test_option_stands_in_the_table_of_its_section_with_its_default(name):
    section, row = OPTION_ROWS[name]
    assert section == OPTION_KINDS[name].section
    assert row[3] == default_text(DEFAULTS[name])


def takes(name: str, text: str) -> bool:
    try:
        parse_option(name, text, origin=name)
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("name", OPTION_KINDS)
def test_option_takes_the_values_that_its_row_names(name):
    values = OPTION_ROWS[name][1][2]
    bounds = re.fullmatch(r"([0-9.]+) to ([0-9]+)", values)
    if bounds is None:
        examples = re.findall("`(.+?)`", values)
        assert examples
        assert all(takes(name, example) for example in examples)
        return
    low, high = float(bounds[1]), int(bounds[2])
    assert takes(name, bounds[1])
    assert takes(name, bounds[2])
    assert not takes(name, f"{low - 1:g}")
    assert not takes(name, str(high + 1 if high < 2**53 else high * 2))


def test_every_metric_has_a_row_with_its_unit():
    documented = {
        name: unit for names, unit, *_ in table(RESULTS, "metric", "unit") for name in re.findall("`(.+?)`", names)
    }
    assert documented == {name: metric.unit for name, metric in METRICS.items()}


def test_every_key_of_the_result_table_has_a_row():
    documented = [key for row in table(RESULTS, "key", "unit") for key in re.findall("`(.+?)`", row[0])]
    assert sorted(documented) == sorted(MEANINGS)


def test_exit_codes_are_said_in_the_same_words_everywhere():
    for text in (README, RESULTS):
        rows = table(text, "exit code", "verdict")
        assert {code: f"{verdict}: {when}" if verdict else when for code, verdict, when in rows} == EXIT_CODES
    command = hydra.cli.commands.hydra.get_command(click.Context(hydra.cli.commands.hydra), "kafka")
    assert command is not None
    context = click.Context(command, info_name="hydra kafka", **hydra.cli.commands.hydra.context_settings)
    help_text = " ".join(command.get_help(context).split())
    assert [code for code, when in EXIT_CODES.items() if f"{code} {when}" not in help_text] == []


def test_readme_is_short_and_begins_with_the_two_commands():
    assert len(README.splitlines()) <= README_LINES
    first, second = code_blocks(ROOT / "README.md", "")[0].splitlines()
    assert first.split("#")[0].split() == ["./scripts/hydra", "kafka", "--total_sub_apps=20"]
    assert second.split("#")[0].split() == ["./scripts/test"]


def all_commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            if not below.hidden:
                yield from all_commands(below, (*path, name))


@pytest.mark.parametrize("path", [*all_commands(hydra.cli.commands.hydra, ())], ids=" ".join)
def test_command_is_documented(path):
    text = README if len(path) == 1 or path[0] == "kafka" else (ROOT / "docs" / "hosts.md").read_text()
    assert re.search(rf"hydra {' '.join(path)}\b", text)


def written_commands() -> Iterator[tuple[str, str]]:
    """(document, what follows the word hydra) of every command line, in code blocks and within sentences."""
    for path in DOCUMENTS:
        found: list[str] = []
        for block in code_blocks(path, "", "sh", "yaml"):
            lines = re.sub(r"\\\n|\n +(?=--)", " ", block)
            found += re.findall(r"(?:^|[\s/])hydra +([a-z].*)$", lines, re.MULTILINE)
        prose = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        inline = re.findall(r"`(?:\./scripts/)?hydra ([a-z][^`]*)`", prose)
        found += [line for line in inline if "..." not in line and " | " not in line]
        yield from ((name_of(path), " ".join(line.split())) for line in found)


NOT_FOR_USERS = ("task",)
"""What tasks are started with; it is in no help page."""


@pytest.mark.parametrize(("document", "line"), sorted(set(written_commands())))
def test_command_line_is_one_that_hydra_takes(document, line):
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    words.whitespace_split = True
    command: click.Command = hydra.cli.commands.hydra
    for word in words:
        if re.fullmatch(r"[|&;<>()]+", word) or word in NOT_FOR_USERS:
            break
        if word.startswith("-"):
            flag = word.partition("=")[0]
            known = {*command.get_help_option_names(click.Context(command))}
            known |= {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
            assert re.sub(r"(?<=\w)-", "_", flag) in {re.sub(r"(?<=\w)-", "_", name) for name in known}, document
        elif isinstance(command, click.Group):
            below = command.get_command(click.Context(command), word)
            assert below is not None, f"{document}: no command {word!r}"
            command = below


def test_every_marker_of_the_suite_is_explained():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    markers = [line.partition(":")[0] for line in settings["tool:pytest"]["markers"].split("\n") if ":" in line]
    rows = table((ROOT / "CONTRIBUTING.md").read_text(), "marker or variable")
    assert sorted(row[0].strip("`") for row in rows if "=" not in row[0]) == sorted(markers)


def links(path: Path) -> list[str]:
    return re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_to_a_file(path):
    assert [link for link in links(path) if "://" not in link and not (path.parent / link).exists()] == []


def test_every_page_is_reached_from_the_readme():
    seen: set[Path] = set()
    left = [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page.is_dir():
            left += page.iterdir()
        elif page.suffix == ".md" and page.is_file() and page not in seen:
            seen.add(page)
            left += [(page.parent / link).resolve() for link in links(page) if "://" not in link]
    assert [name_of(page) for page in DOCUMENTS if page not in seen] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_source_file_that_is_named_is_there(path):
    named = re.findall(r"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:py|css|js|lock))?)`", path.read_text())
    named += re.findall(r"`((?:scripts|tests|\.ci)/[\w/.-]+)`", path.read_text())
    assert [name for name in named if not ((ROOT / name).exists() or (ROOT / "hydra" / name).exists())] == []


def commented_out(text: str) -> str:
    """The text with its examples in place: each comment that is a key and a value; later ones win."""
    lines: list[str] = []
    for line in text.splitlines():
        example = re.fullmatch(r"# (\w+ = .*)", line)
        key = (example[1] if example else line).partition(" =")[0]
        if example:
            while lines and lines[-1].partition(" =")[0] == key:
                lines.pop()
        lines.append(example[1] if example else line)
    return "\n".join(lines)


def test_hydra_ini_changes_nothing_and_its_examples_are_valid():
    text = (ROOT / "hydra.ini").read_text()
    settings = parse_ini(text, name="hydra.ini")
    assert {name: DEFAULTS[name] for name in settings.options} == dict(settings.options)
    assert settings.mesos == settings.appserver == {}
    with_examples = parse_ini(commented_out(text), name="hydra.ini").options
    assert {"acks", "threshold", "appserver_address", "cluster0", "cluster1", "local_agents"} <= set(with_examples)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_examples_of_settings_plans_and_python_are_valid(path, tmp_path):
    for block in code_blocks(path, "ini"):
        assert parse_ini(block, name=path.name).options
    for block in code_blocks(path, "toml"):
        plan = tmp_path / "plan.toml"
        plan.write_text(block)
        read = read_plan_file(str(plan))
        # With fewer repeats 'hydra compare' would judge nothing of it.
        assert (read.repeats or 1) >= advised_runs(len(read.changes) * len(COMPARED_METRICS))
    for block in code_blocks(path, "python"):
        methods = set(re.findall(r"\brunner\.(\w+)", ast.unparse(ast.parse(block))))
        assert {method for method in methods if not hasattr(RunTestKAFKA, method)} <= {"record"}


def test_the_quoted_result_has_every_line_that_is_printed(capsys):
    """Of a run in which all was measured and nothing went wrong: its rows, and the lines below its latencies."""
    from hydra.cli.show_results import print_record

    made = result("pass", clients=20)
    made = dataclasses.replace(made, latency=dataclasses.replace(made.latency, ack=latencies(1.0, 1000)))
    print_record(run(Options(total_sub_apps=2, clients_per_app=10), made))
    printed, _, _ = capsys.readouterr().out.partition("RES = ")
    quoted = next(block for block in code_blocks(ROOT / "README.md", "") if block.startswith("PASS  20 clients"))

    def labels(text: str) -> set[str]:
        return {words[0].strip() for line in text.splitlines() if (words := re.split(r": |  +", line.strip()))}

    rows = labels(printed) & {*MEANINGS, "end to end", "service", "p99 of clients", "ack latency", "limit"}
    assert {"ack latency", "p99 of clients", "packet_tx"} <= rows
    assert rows <= labels(quoted)
