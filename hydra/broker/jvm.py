"""A child JVM that cannot outlive us: how it is started, bound to this process, and ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.broker.java import Java
from hydra.errors import JavaError

_BOUND_CHILD = Path(__file__).with_name("exec_with_pdeathsig.py")
_REAP_TIMEOUT_S = 5.0

# As Kafka's own start script has them, so that what is measured is what people run.
_KAFKA_FLAGS = (
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
)
# For a program of half a second: no time for the second compiler or for more than one collector thread.
SHORT_RUN_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m")


def broker_flags(heap_mb: int) -> tuple[str, ...]:
    """JVM flags for a broker with a heap of this many MiB."""
    return (f"-Xmx{heap_mb}m", *_KAFKA_FLAGS)


def java_command(
    java: Java, flags: Sequence[str], classpath: Sequence[Path], folder: Path, main: Sequence[str]
) -> list[str]:
    """The argument vector of a JVM that keeps all it writes below ``folder``.

    Args:
        java: which Java.
        flags: its flags.
        classpath: the checked jars.
        folder: for temporary files and crash reports; also where the JVM is started.
        main: the main class and its arguments.
    """
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
    """Start a JVM in a session of its own; its output is appended to ``log``.

    On Linux it dies with the *thread* that calls this: call it on one that lives longer than the JVM shall.

    Raises:
        JavaError: no process can be started.
    """
    bound = [sys.executable, "-I", "-S", str(_BOUND_CHILD), str(os.getpid()), *command]
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                bound,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**_inherited(), **env},
                start_new_session=True,
            )
    except OSError as error:
        raise JavaError(f"the Java {command[0]} cannot be started ({error})", hint="see --java") from error


def end_jvm(process: subprocess.Popen[bytes]) -> None:
    """Kill and reap; harmless when it is over. What it wrote is thrown away, so there is nothing to wait for."""
    if process.poll() is None:
        # A stopped process (SIGSTOP) is ended by SIGKILL as well.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    # A process that the kernel holds (a disk that does not answer) ends when it is let go: no more can be done for it.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_REAP_TIMEOUT_S)


def _inherited() -> dict[str, str]:
    """What a JVM may know of our environment: nothing that adds options, jars or agents to it."""
    return {name: os.environ[name] for name in ("TZ", "LD_LIBRARY_PATH") if name in os.environ}
