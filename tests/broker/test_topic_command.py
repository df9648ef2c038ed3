"""Kafka's own tool for topics: what is made of its answers. A script takes the place of Java."""

from __future__ import annotations

import pytest

from hydra.broker.java import Java
from hydra.broker.topic_command import OldJava, TopicCommand
from hydra.errors import BrokerError

pytestmark = pytest.mark.integration


@pytest.fixture
def tool(tmp_path):
    def make(script: str) -> TopicCommand:
        program = tmp_path / "java"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        java = OldJava(Java(program, 25, "--java"), (), tmp_path / "bed")
        java.make_folder()
        return TopicCommand(java, "127.0.0.1:2181")

    return make


def test_topics_that_are_marked_for_deletion_are_still_there(tool):
    lines = ["WARNING: topics with a period", "__consumer_offsets", "a.b-c", "old - marked for deletion"]
    found = tool("\n".join(f"echo '{line}'" for line in lines)).topics()
    assert found == {"__consumer_offsets", "a.b-c", "old"}


def test_it_is_told_what_to_do_with_which_topic(tool, tmp_path):
    command = tool(f'for word; do echo "$word"; done >{tmp_path}/asked')
    command.create("t", 3, {"retention.ms": "5000", "segment.ms": "1000"})
    words = (tmp_path / "asked").read_text().splitlines()
    assert words[words.index("kafka.admin.TopicCommand") :] == [
        "kafka.admin.TopicCommand", "--zookeeper", "127.0.0.1:2181", "--create", "--topic", "t", "--partitions=3",
        "--replication-factor=1", "--config=retention.ms=5000", "--config=segment.ms=1000",
    ]  # fmt: skip
    command.delete("t")
    assert (tmp_path / "asked").read_text().splitlines()[-3:] == ["--delete", "--topic", "t"]


def test_its_failure_is_told_in_its_own_words(tool):
    command = tool("echo 'Topic t already exists.'; echo '\tat kafka.Tool(Tool.scala)'; exit 1")
    with pytest.raises(
        BrokerError, match=r"TopicCommand --create .*exit status 1.*last lines: Topic t already exists\.: see"
    ):
        command.create("t", 1, {})
