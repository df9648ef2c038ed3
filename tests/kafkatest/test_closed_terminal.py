"""A terminal that is closed in the middle of a run, on a Marathon and a Kafka that stay."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from hydra.engine.marathon_access import local_access
from hydra.engine.marathon_launcher import MarathonLauncher

pytestmark = pytest.mark.integration

COMMAND = [sys.executable, "-m", "hydra", "kafka", "--warmup=0", "--total_sub_apps=1", "--test_duration=60"]


def own_topics(servers: str) -> list[str]:
    topics = AdminClient({"bootstrap.servers": servers}).list_topics(timeout=10).topics
    return [name for name in topics if name.startswith("hydra-")]


def apps(stack) -> list[str]:
    (file,) = stack.state.rglob("stack.json")
    record = json.loads(file.read_text())
    launcher = MarathonLauncher(local_access(record["marathon_url"], Path(record["folder"])))
    with contextlib.closing(launcher):
        return [app.id for app in launcher.apps()]


@pytest.mark.usefixtures("on_running_stack")
def test_it_leaves_neither_apps_nor_topic(place, running_stack, external_kafka) -> None:
    """The kernel sends SIGHUP, and from then on every line that is written to the terminal fails."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        COMMAND, stdin=theirs, stdout=theirs, stderr=theirs, env=place.environment, cwd=place.work,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        deadline_s = time.monotonic() + 60
        while not re.search(rb"sending", shown):
            assert time.monotonic() < deadline_s, shown
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 65536)
        assert len(own_topics(external_kafka)) == 1
        assert apps(running_stack) == ["/g1/kafka-pub", "/g1/kafka-sub"]
        os.close(ours)
        assert process.wait(20) == 128 + signal.SIGHUP
    finally:
        process.kill()
        process.wait()
    assert own_topics(external_kafka) == []
    assert apps(running_stack) == []
    place.assert_nothing_left()
