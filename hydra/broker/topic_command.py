"""Topics of a Kafka 0.9, made and deleted through its ZooKeeper by Kafka's own tool: brokers take no request for it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.broker.java import SHORT_RUN_FLAGS, Java, end_jvm, java_command, start_jvm
from hydra.broker.jvm_log import last_lines, quoted
from hydra.errors import BrokerError

_TIMEOUT_S = 60.0
_QUOTED_LINES = 3
_TOPIC = re.compile(r"[\w.-]+")
_LOG4J = "log4j.properties"
_LOGGING = """\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{HH:mm:ss.SSS} [%t] %p %c - %m%n
"""


@dataclass(frozen=True)
class OldJava:
    """What runs the programs of a Kafka with ZooKeeper: a Java, the verified jars, and the folder that is theirs."""

    java: Java
    classpath: tuple[Path, ...]
    folder: Path

    def make_folder(self) -> None:
        """Make the folder, with the settings of the programs' logs; raises OSError."""
        self.folder.mkdir(parents=True)
        (self.folder / _LOG4J).write_text(_LOGGING, encoding="ascii")

    def start(self, flags: Sequence[str], main: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a program; its output is appended to ``log``. Raises JavaError."""
        logging = f"-Dlog4j.configuration=file:{self.folder / _LOG4J}"
        command = java_command(self.java, (*flags, logging), self.classpath, self.folder, main)
        return start_jvm(command, self.folder, log, {})


class TopicCommand:
    """Runs ``kafka.admin.TopicCommand``, for which a JVM is started each time: a second or two.

    Every method raises a BrokerError if the tool failed or took longer than a minute; it quotes the tool's last lines.
    """

    def __init__(self, java: OldJava, zookeeper: str) -> None:
        self._java = java
        self._zookeeper = zookeeper

    def create(self, name: str, partitions: int, settings: Mapping[str, str]) -> None:
        """Make a topic of one replica, with these settings, such as ``retention.ms``."""
        given = [f"--config={key}={value}" for key, value in settings.items()]
        self._run("--create", "--topic", name, f"--partitions={partitions}", "--replication-factor=1", *given)

    def delete(self, name: str) -> None:
        """Mark a topic for deletion, which has to be there; the broker deletes it soon after."""
        self._run("--delete", "--topic", name)

    def topics(self) -> frozenset[str]:
        """The names that ZooKeeper knows, also of topics that are marked for deletion and not gone yet."""
        lines = self._run("--list").splitlines()
        # As in 'NAME - marked for deletion'; a line of anything else, such as a warning, has other words.
        names = (line.partition(" - marked for deletion")[0] for line in lines)
        return frozenset(name for name in names if _TOPIC.fullmatch(name))

    def _run(self, *arguments: str) -> str:
        log = self._java.folder / "topics.log"
        log.unlink(missing_ok=True)
        main = ["kafka.admin.TopicCommand", "--zookeeper", self._zookeeper, *arguments]
        tool = self._java.start(SHORT_RUN_FLAGS, main, log)
        try:
            status = tool.wait(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise self._failure(arguments[0], f"timed out after {_TIMEOUT_S:g} s", log) from None
        finally:
            end_jvm(tool)
        if status != 0:
            raise self._failure(arguments[0], f"failed (exit status {status})", log)
        return log.read_text(encoding="utf-8", errors="replace")

    def _failure(self, verb: str, what: str, log: Path) -> BrokerError:
        told = quoted(last_lines(log, 200), _QUOTED_LINES)
        text = f"kafka.admin.TopicCommand {verb} (Java {self._java.java.major}) {what}; last lines: {told}"
        return BrokerError(text, hint="see whether its ZooKeeper and its broker are still up")
