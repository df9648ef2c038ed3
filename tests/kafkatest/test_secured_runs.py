"""Whole runs on a secured Kafka: let in or told why not, and no secret is anywhere but where it belongs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psutil
import pytest

from hydra.broker.listener_security import ACCESS_FILE
from hydra.codec import decode
from hydra.engine.marathon_access import local_access
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.kafkatest.running_stack import RunningStack
from hydra.options.kafka_access import KafkaAccess
from tests.commands import Command, Place

# The first one waits for the stack.
pytestmark = [pytest.mark.integration, pytest.mark.release, pytest.mark.timeout(240)]

LOAD = ("--clients=4", "--clients_per_app=2", "--msg_rate=100", "--warmup=0")
FILES = ("output", "report", "csv", "junit", "live")


@pytest.fixture(scope="module")
def secured_stack(tmp_path_factory):
    """A local stack whose Kafka asks for TLS and SCRAM."""
    stack = Place(tmp_path_factory.mktemp("secured"))
    try:
        up = Command(stack, ["local", "up", "--kafka_security=sasl_ssl:scram-sha-512"])
        assert up.end(180) == 0, up.errors
        assert "security    sasl_ssl:scram-sha-512" in up.text
        yield stack
        assert Command(stack, ["local", "down"]).end(30) == 0
        stack.assert_nothing_left()
    finally:
        stack.end_all()


@pytest.fixture
def stack(place, secured_stack) -> RunningStack:
    """What the commands of this test find up."""
    place.use(secured_stack)
    (record,) = secured_stack.state.rglob("stack.json")
    return decode(record.read_bytes(), RunningStack)


@pytest.fixture
def access(stack) -> KafkaAccess:
    file = Path(stack.folder) / ACCESS_FILE
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    return decode(file.read_bytes(), KafkaAccess)


@pytest.fixture
def flags(place, stack, access):
    """How a user reaches that Kafka as one of their own."""
    (place.work / "ca.pem").write_text(access.ca_pem)
    return [
        f"--bootstrap_servers={stack.bootstrap_servers}", "--kafka_ca_file=ca.pem", "--sasl_mechanism=scram-sha-512",
        f"--sasl_username={access.username}",
    ]  # fmt: skip


def seen_by_others(place, stack, command):
    """Arguments and environments of all that the command started, and the definitions of its apps."""
    launcher = MarathonLauncher(local_access(stack.marathon_url, Path(stack.folder)))
    yield from map(repr, launcher.apps())
    launcher.close()
    for process in [*place.processes(), *psutil.Process(stack.process.pid).children(recursive=True)]:
        yield " ".join(process.cmdline())
        if process.pid != command.process.pid:
            yield json.dumps(process.environ())


def written(place, stack, command):
    """What the run wrote, told or logged."""
    yield from ((place.work / name).read_text() for name in FILES)
    yield from (command.text, *command.errors)
    for log in Path(stack.folder).rglob("*"):
        if log.is_file() and log.name in {"stack.log", "broker.log", "stdout", "stderr"}:
            yield log.read_text(errors="replace")


def test_a_run_passes_and_its_secret_is_nowhere(place, hydra, stack, access, flags):
    place.environment["HYDRA_KAFKA_PASSWORD"] = access.password
    command = hydra("kafka", *LOAD, "--test_duration=6", *flags, *(f"--{name}={name}" for name in FILES))
    command.wait_for("sending")
    with command.held():
        seen = list(seen_by_others(place, stack, command))
    assert len([text for text in seen if "kafka-sub" in text]) >= 2
    command.end_well()
    record = place.record("output")
    assert record["cluster"]["kafka_security"] == "SASL_SSL SCRAM-SHA-512 as hydra"
    assert record["result"]["totals"]["records_lost"] == 0
    assert record["evidence"]["audit"] is not None
    seen += written(place, stack, command)
    assert [text[:80] for text in seen if access.password in text] == []


def test_a_run_on_the_stack_finds_how_to_be_let_in(place, hydra, stack, access):
    command = hydra("kafka", *LOAD, "--test_duration=2", "--output=result.json", "--pub_driver=wire")
    command.end_well()
    record = place.record()
    assert record["cluster"]["kafka"] == "embedded"
    assert record["cluster"]["kafka_security"] == "SASL_SSL SCRAM-SHA-512 as hydra"
    assert access.password not in json.dumps(record)
    refused = hydra("kafka", *LOAD, "--kafka_security=ssl")
    assert refused.end() == 2
    assert "--kafka_security=ssl, and it has sasl_ssl:scram-sha-512" in refused.complaint


def test_a_wrong_password_is_told_before_anything_starts(place, hydra, stack, flags):
    (place.work / "secrets").write_text("password = not-the-one\n")
    (place.work / "secrets").chmod(0o600)
    command = hydra("kafka", *LOAD, *flags, "--kafka_secrets=secrets")
    assert command.end(30) == 4
    assert re.search(r"SASL_AUTHENTICATION_FAILED for SCRAM-SHA-512 as 'hydra'", command.complaint)
    assert not [line for line in (*command.errors, command.text) if "not-the-one" in line]
    assert not place.tasks("kafka-sub")


def test_a_secret_that_others_may_read_is_refused(place, hydra, stack, flags):
    (place.work / "secrets").write_text("password = not-the-one\n")
    (place.work / "secrets").chmod(0o640)
    command = hydra("kafka", *LOAD, *flags, "--kafka_secrets=secrets")
    assert command.end(30) == 2
    assert command.complaint.endswith("--kafka_secrets=secrets may be read by others: chmod 600 secrets")


def test_doctor_and_clean_are_let_in_by_a_properties_file(place, hydra, stack, access, flags):
    """The file names the brokers, too."""
    file = place.work / "client.properties"
    file.write_text(
        f"bootstrap.servers={stack.bootstrap_servers}\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n"
        f"ssl.truststore.type=PEM\nssl.truststore.location=ca.pem\nacks=all\n"
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required"
        f' username="{access.username}" password="{access.password}";\n'
    )
    file.chmod(0o600)
    doctor = hydra("doctor", "--kafka_config=client.properties")
    assert doctor.end() == 0, doctor.text
    assert f"brokers {stack.bootstrap_servers}" in doctor.text
    assert "have no effect on runs: acks" in doctor.text
    clean = hydra("clean", "--kafka_config=client.properties")
    assert clean.end() == 0, clean.errors
    assert access.password not in doctor.text + clean.text
