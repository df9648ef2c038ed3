"""The definitions of the two apps, kafka-pub and kafka-sub, and the task bundle by which agents get their code.

The bundle is one file with Hydra and what its tasks need. The command of an app checks it before it runs it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hydra
from hydra.environment import for_own_processes
from hydra.errors import InfrastructureError
from hydra.options.options import Options
from hydra.run.protocols import AppSpec

if TYPE_CHECKING:
    from hydra.engine.code_server import CodeServer

PUBLISHER = "kafka-pub"
SUBSCRIBER = "kafka-sub"
MEM_MIB = {PUBLISHER: 128.0, SUBSCRIBER: 64.0}

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
class Placement:
    """What the apps' definitions depend on, beside the options."""

    code_server: CodeServer | None = None
    """Serves the task bundle to the agents; None if Hydra is installed there."""
    constrained: bool = True
    """Whether the agents may have the attributes that the options name."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the tasks are told beside their command; anyone who may read apps can read it."""
    owner: str = ""
    """Of the apps: the controller that tasks obey."""


def app_id(options: Options, role: str) -> str:
    """The app's absolute id."""
    return f"/{options.app_prefix}/{role}"


def app_spec(options: Options, role: str, instances: int, placement: Placement) -> AppSpec:
    """The app. It is the same for all runs of one version, so that apps that were left up serve the next run.

    With a code server it has the address of the run's own, so that apps that were left up are restarted.
    """
    own = [driver for of_role, driver in own_drivers(options).items() if of_role == role]
    return AppSpec(
        app_id=app_id(options, role),
        command=_command(options, shlex.join(["task", role, *own]), placement.code_server),
        instances=instances,
        mem_mib=MEM_MIB[role],
        env=placement.environment,
        labels={"hydra": hydra.__version__},
        owner=placement.owner,
        constraints=_constraints(options, role, placement),
        fetch=(placement.code_server.url,) if placement.code_server is not None else (),
    )


def own_drivers(options: Options) -> dict[str, str]:
    """By role, the driver of the user's own: a task imports the one that it was launched with, and no other."""
    chosen = {PUBLISHER: options.pub_driver, SUBSCRIBER: options.sub_driver}
    return {role: driver for role, driver in chosen.items() if ":" in driver}


def local_command(arguments: str) -> str:
    """The command line of a task on the controller's own machine: ``hydra`` with arguments, quoted for a shell."""
    return f"exec {shlex.quote(sys.executable)} -m hydra {arguments}"


def _command(options: Options, arguments: str, code_server: CodeServer | None) -> str:
    if code_server is not None:
        return code_server.bundle.command(arguments, options.agent_python)
    if not options.tasks_elsewhere:
        return local_command(arguments)
    return f"exec hydra {arguments}"  # which is installed on the agents


def _constraints(options: Options, role: str, placement: Placement) -> tuple[tuple[str, ...], ...]:
    """As in the original Hydra: one publisher per host, and each role on the agents of its cluster."""
    unique = (("hostname", "UNIQUE"),) if role == PUBLISHER else ()
    cluster = options.cluster0 if role == PUBLISHER else options.cluster1
    if cluster is None or not placement.constrained:
        return unique
    attribute, _dot, value = cluster.partition(".")
    return (*unique, (attribute, "CLUSTER", value))


@dataclass(frozen=True)
class TaskBundle:
    """The file that agents fetch."""

    path: Path
    sha256: str

    def command(self, arguments: str, python: str | None) -> str:
        """The command line of a task that has fetched the file: ``hydra`` with arguments, quoted for a shell."""
        expected = f"{_python_version()} {sysconfig.get_platform()} {self.sha256} {FILE_NAME}"
        return f"{agent_python(python)} -I -c {shlex.quote(CHECK)} {expected} {arguments}"


def agent_python(python: str | None) -> str:
    """The start of a command line that runs an agent's Python: that path, else this Python's version, else any."""
    if python is not None:
        return f"exec {shlex.quote(python)}"
    found = f"$(command -v python{_python_version()} || command -v python3 || command -v python)"
    return f'PYTHON="{found}"; exec "${{PYTHON:?this agent has no python in its PATH}}"'


def build_task_bundle(folder: Path) -> TaskBundle:
    """Pack the code that runs here into a file in the folder, so that the agents run the same; without network.

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
            env=for_own_processes(os.environ),
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
