"""Every option, command and seed key stands in the README."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra.cli.commands import COMMANDS
from hydra.options.options import OPTION_KINDS
from hydra.report.text import MEANINGS

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize("name", OPTION_KINDS)
def test_option_is_documented_in_the_table_of_its_section(name):
    table = README[README.index(f"| flag, or key in [{OPTION_KINDS[name].section}]") :].partition("\n\n")[0]
    assert f"| `--{name}` |" in table


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_documented(command):
    assert f"hydra {command}" in README


@pytest.mark.parametrize("key", MEANINGS)
def test_seed_key_is_shown(key):
    assert f" {key} " in README
