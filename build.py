"""PyBuilder's entry: ``pyb`` checks, tests and packages Hydra, ``pyb install`` installs it.

The tools run in this checkout's .venv, which scripts/python sets up from requirements.lock, whatever interpreter runs
pyb. That lock is made from pyproject.toml, the one place where a dependency is declared:

- ``pyb lock`` after a change in pyproject.toml: what is pinned stays pinned where it can.
- ``pyb upgrade`` moves every pin to the newest version that fits.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from pybuilder.core import Project, depends, description, optional, task
from pybuilder.errors import BuildFailedException

# The names of PyBuilder's life cycle, but not its core plugin: there `install` runs the integration tests first, and
# `-x run_unit_tests` would still leave minutes of them.
name = "hydra-scaletest"
version = re.findall(r'__version__ = "(.*)"', Path(__file__).with_name("hydra").joinpath("__init__.py").read_text())[0]
default_task = ["analyze", "run_unit_tests", "package", "run_integration_tests"]

COMMAND_DEADLINE_S = 3600


@task
@description("Remove target/.")
def clean(project: Project) -> None:
    """Remove what the other tasks made."""
    shutil.rmtree(Path(project.basedir) / "target", ignore_errors=True)


@task
@description("Check format, lint and types.")
def analyze(project: Project) -> None:
    """Run ruff's formatter, ruff and mypy."""
    run_in_venv(project, "ruff", "format", "--check", ".")
    run_in_venv(project, "ruff", "check", ".")
    run_in_venv(project, "mypy")


@task
@description("Run the tests that start no process.")
def run_unit_tests(project: Project) -> None:
    """Run pytest without the tests marked ``integration``."""
    run_in_venv(project, "pytest", "-q", "-m", "not integration")


@task
@depends(optional("run_unit_tests"))
@description("Build the wheel in target/dist.")
def package(project: Project) -> None:
    """Build the wheel, without network."""
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    run_in_venv(project, "pip", "wheel", "--quiet", *offline, "--wheel-dir", "target/dist", ".")


@task
@description("Run the tests with a real broker.")
def run_integration_tests(project: Project) -> None:
    """Run pytest's tests marked ``integration``, but for those of releases (see .ci/run)."""
    run_in_venv(project, "pytest", "-q", "-m", "integration and not release")


@task
@depends("package", "run_integration_tests")
@description("Package, and run the tests with a real broker.")
def verify() -> None:
    """Do nothing beyond the tasks that this one depends on."""


@task
@depends("package")
@description("Install Hydra for the Python that runs pyb.")
def install(project: Project) -> None:
    """Install into pyb's own environment."""
    probe = [sys.executable, "-m", "pip", "--version"]
    if subprocess.run(probe, capture_output=True, timeout=COMMAND_DEADLINE_S, check=False).returncode != 0:
        raise BuildFailedException(f"{sys.executable} has no pip to install with: python -m ensurepip gives it one")
    run(project, sys.executable, "-m", "pip", "install", ".")


@task
@description("Renew requirements.lock after a change in pyproject.toml.")
def lock(project: Project) -> None:
    """Resolve pyproject.toml again, near to the present pins."""
    compile_lock(project)


@task
@description("Renew requirements.lock with the newest versions.")
def upgrade(project: Project) -> None:
    """Resolve pyproject.toml from nothing."""
    compile_lock(project, "--upgrade")


def compile_lock(project: Project, *options: str) -> None:
    """Resolve for every Python and platform that pyproject.toml names; wheels only, as the scripts install no other."""
    resolution = ("--universal", "--generate-hashes", "--no-build", "--group", "dev", "--python-version", "3.10")
    header = ("--quiet", "--no-annotate", "--custom-compile-command", "pyb lock")
    output = ("--output-file", "requirements.lock", "pyproject.toml")
    run_in_venv(project, "uv", "pip", "compile", *resolution, *header, *options, *output)


def run_in_venv(project: Project, module: str, *arguments: str) -> None:
    """Run ``python -m module`` with the Python of .venv."""
    run(project, "scripts/python", "-m", module, *arguments)


def run(project: Project, *command: str) -> None:
    """Run a command in the checkout.

    Raises:
        BuildFailedException: it failed, cannot be started, or took longer than ``COMMAND_DEADLINE_S``.
    """
    sys.stdout.flush()
    try:
        status = subprocess.run(command, cwd=project.basedir, timeout=COMMAND_DEADLINE_S, check=False).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailedException(f"{' '.join(command)}: {error}") from error
    if status != 0:
        raise BuildFailedException(f"{' '.join(command)}: exit code {status}")
