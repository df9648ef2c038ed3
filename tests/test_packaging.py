from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import hydra

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent

UNWANTED = {
    "a registry's host name": re.compile(
        r"\b(?:pypi\.org|pythonhosted\.org|maven\.org|repo1?\.maven|repo\.apache\.org|npmjs\.(?:org|com)|crates\.io)\b"
    ),
    "an index option": re.compile(r"--(?:extra-)?index-url[= ]\w|--find-links[= ]\S*/"),
    "somebody's home folder": re.compile(r"(?<![\w.])/(?:root/|Users/|home/(?!me\b|you\b|user\b))\w"),
}


def normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def declared_dependencies() -> set[str]:
    return {normalised(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in project()["dependencies"]}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


EXTRAS = {"aws_msk_iam_sasl_signer": "aws", "gssapi": "kerberos"}
"""Packages that few need, by what declares them: they are not installed here."""


def distributions_of_packages() -> dict[str, set[str]]:
    """As metadata.packages_distributions(), which sees in Python 3.10 only those with a top_level.txt."""
    found: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        name = normalised(distribution.metadata["Name"])
        for package in {file.parts[0].partition(".")[0] for file in distribution.files or []}:
            found.setdefault(package, set()).add(name)
    return found


def imported_packages(source: str) -> set[str]:
    """What running ``source`` may import: what only a type checker reads is not needed where Hydra runs."""
    tree = ast.parse(source)
    checker_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for statement in block.body
        for node in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in checker_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def project_files() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30).stdout.decode()
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def test_imported_packages_sees_every_form_of_import_that_runs():
    source = """
import a.b, c
from d.e import f
from . import g
if TYPE_CHECKING:
    import i
else:
    import j
def x():
    import h
"""
    assert imported_packages(source) == {"a", "c", "d", "h", "j"}


def test_every_import_of_hydra_is_declared():
    distributions = distributions_of_packages()
    # Python 3.10 has no tomllib: there it is tomli, which is declared.
    known = {*sys.stdlib_module_names, "hydra", "tomllib", *EXTRAS}
    declared = declared_dependencies()
    undeclared = {
        f"{path.relative_to(ROOT)} imports {package}"
        for path in (ROOT / "hydra").rglob("*.py")
        for package in imported_packages(path.read_text()) - known
        if not distributions.get(package, {package}) & declared
    }
    assert undeclared == set()
    assert set(EXTRAS.values()) == set(project()["optional-dependencies"])


def test_every_declared_dependency_is_locked_with_a_hash():
    lock = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", lock)
    locked = {normalised(entry.partition("==")[0]) for entry in entries if "--hash=sha256:" in entry}
    assert locked >= declared_dependencies()
    assert len(locked) > len(declared_dependencies())


def test_installed_version_is_the_packages():
    assert metadata.version("hydra-scaletest") == hydra.__version__


@pytest.mark.parametrize("what", UNWANTED)
def test_no_file_names(what):
    files = project_files()
    assert ROOT / "pyproject.toml" in files
    found = {
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if UNWANTED[what].search(line)
    }
    assert found == set()


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a registry's host name", "see https://" + "pypi" + ".org/project/x"),
        ("a registry's host name", "https://" + "repo1" + ".maven" + ".org/maven2"),
        ("an index option", "--index" + "-url https://mirror.example"),
        ("somebody's home folder", "cd /" + "home/somebody/checkout"),
    ],
)
def test_the_unwanted_is_recognised(what, line):
    assert UNWANTED[what].search(line)
