"""The task bundle: Hydra and what its tasks need in one file, and the command by which an agent's Python runs it."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hydra
from hydra.errors import InfrastructureError

FILE_NAME = "hydra.pyz"
BUILD_TIMEOUT_S = 120.0

TASK_DISTRIBUTIONS = ("confluent-kafka", "cramjam", "crc32c", "kafka-python", "msgspec", "psutil", "pyzmq")
"""What tasks import beside Hydra itself. Not what only the controller needs: Java alone is five times as large."""

CHECK = """
import hashlib, os, sys, sysconfig
python, platform, digest, name = sys.argv[1:5]
def stop(text):
    sys.exit("hydra: " + text)
def kind(text):
    return text.split("-")[0], text.split("-")[-1]
here = "%d.%d" % sys.version_info[:2]
if here != python or kind(sysconfig.get_platform()) != kind(platform):
    stop("this agent has Python %s on %s (%s), and the code is for Python %s on %s: install that one, or give "
         "--agent_python" % (here, sysconfig.get_platform(), sys.executable, python, platform))
try:
    with open(name, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
except OSError as error:
    stop("the code was not fetched (%s)" % error)
if found != digest:
    stop("%s is not what the controller served: its SHA-256 is %s, not %s" % (name, found, digest))
for variable in [each for each in os.environ if each.startswith("SHIV_")]:
    del os.environ[variable]
os.execv(sys.executable, [sys.executable, "-I", name] + sys.argv[5:])
"""
"""What an agent's Python runs first: no line of the bundle runs unless the bundle is the controller's."""


@dataclass(frozen=True)
class TaskBundle:
    """The file that agents fetch."""

    path: Path
    sha256: str

    def command(self, arguments: str, python: str | None) -> str:
        """The command line of a task that has fetched the file into its folder.

        Args:
            arguments: of ``hydra``, quoted for a shell.
            python: on the agents; None to look for the version that the file is for.
        """
        expected = f"{_python_version()} {sysconfig.get_platform()} {self.sha256} {FILE_NAME}"
        return f"{agent_python(python)} -I -c {shlex.quote(CHECK)} {expected} {arguments}"


def agent_python(python: str | None) -> str:
    """The start of a command line that runs an agent's Python.

    Args:
        python: its path; None to look for this Python's version, else for any.
    """
    if python is not None:
        return f"exec {shlex.quote(python)}"
    found = f"$(command -v python{_python_version()} || command -v python3 || command -v python)"
    return f'PYTHON="{found}"; exec "${{PYTHON:?this agent has no python in its PATH}}"'


def build_task_bundle(folder: Path) -> TaskBundle:
    """Pack the code that runs here, so that the agents run the same; without network.

    Args:
        folder: the file is made in it.

    Raises:
        InfrastructureError: it could not be packed.
    """
    staging, path = folder / "site-packages", folder / FILE_NAME
    try:
        _stage(staging)
        command = ("--site-packages", str(staging), "--entry-point", "hydra.__main__:main", "--output-file", str(path))
        # Unpacked in the task's own sandbox, which Mesos removes, and where no other user of the agent can write.
        options = ("--root", "$MESOS_SANDBOX", "--reproducible", "--compressed")
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "shiv.cli", *command, *options],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
        if ended.returncode != 0:
            last_lines = " | ".join((ended.stdout + ended.stderr).strip().splitlines()[-3:])
            raise InfrastructureError(f"the task bundle could not be packed ({last_lines})")
        return TaskBundle(path, hashlib.sha256(path.read_bytes()).hexdigest())
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InfrastructureError(f"the task bundle could not be packed ({error})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _stage(staging: Path) -> None:
    """Copy Hydra as it runs here, and the distributions as they are installed here, into a folder of packages."""
    package = Path(hydra.__file__).parent
    shutil.copytree(package, staging / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _with_requirements(TASK_DISTRIBUTIONS):
        for file in metadata.distribution(name).files or ():
            if file.parts[0] == ".." or "__pycache__" in file.parts:
                continue
            source = Path(str(file.locate()))
            if source.is_file():
                target = staging / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)


def _with_requirements(names: Sequence[str]) -> list[str]:
    """The distributions and all that they require on this platform."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            required = [Requirement(text) for text in metadata.distribution(name).requires or ()]
        except metadata.PackageNotFoundError as error:
            raise InfrastructureError(f"the task bundle could not be packed: {name} is not installed") from error
        waiting += [
            canonicalize_name(item.name) for item in required if not item.marker or item.marker.evaluate({"extra": ""})
        ]
    return sorted(found)


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
