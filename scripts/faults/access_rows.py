"""Faults of being let in: secrets, certificates, rights, and files that are not what they should be."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType
from rows import HONEST, RESULT, SHORT, row, rows
from stage import Stage

from hydra.broker.jar_lockfile import read_lock
from hydra.files.folders import cache_folder
from hydra.options.kafka_access import KafkaAccess
from tests.commands import Command

SOON_S = 20.0
"""What a run that is not let in takes at most, with the start of its interpreter."""


def _run(stage: Stage, access: KafkaAccess, secret: str, *arguments: str, ca: bool = True) -> Command:
    """A run on the secured Kafka as a user starts one, with the secret in the environment."""
    flags = [f"--bootstrap_servers={stage.house.secured().bootstrap_servers}", *arguments]
    if ca:
        (stage.place.work / "ca.pem").write_text(access.ca_pem)
        flags.append("--kafka_ca_file=ca.pem")
    stage.place.environment["HYDRA_KAFKA_PASSWORD"] = secret
    return stage.on_stack().hydra("kafka", *SHORT, *flags, RESULT)


def _let_in(access: KafkaAccess) -> tuple[str, ...]:
    return ("--sasl_mechanism=scram-sha-512", f"--sasl_username={access.username}")


def _not_let_in(stage: Stage, command: Command, secret: str, *told: str) -> None:
    assert command.end(SOON_S) == 4, command.errors
    assert any(each in command.complaint for each in told), command.errors
    assert not any(secret in line for line in (*command.output, *command.errors))
    assert "Traceback" not in "".join(command.errors)
    assert not [name for name in stage.house.admin.topics() if name.startswith("hydra-")]


@row
def let_in_with_a_secret(stage: Stage) -> None:
    """The right secret passes, and is shown nowhere."""
    access = stage.house.secured().access
    command = _run(stage, access, access.password, *_let_in(access))
    assert command.end(90) in HONEST, command.errors
    texts = (*command.output, *command.errors, (stage.place.work / "result.json").read_text())
    assert not any(access.password in text for text in texts)


@row
def wrong_secret(stage: Stage) -> None:
    """It is the secret that is named, and soon."""
    access = stage.house.secured().access
    command = _run(stage, access, "not-the-one", *_let_in(access))
    _not_let_in(stage, command, "not-the-one", "uthentication failed", "invalid credentials")


@row
def unknown_certificate_authority(stage: Stage) -> None:
    """Nobody's certificate is believed without its authority."""
    access = stage.house.secured().access
    protocol = "--security_protocol=SASL_SSL"
    command = _run(stage, access, access.password, protocol, *_let_in(access), ca=False)
    _not_let_in(stage, command, access.password, "certificate")


@row
def plaintext_at_a_tls_port(stage: Stage) -> None:
    """What the broker speaks is told."""
    servers = f"--bootstrap_servers={stage.house.secured().bootstrap_servers}"
    command = stage.on_stack().hydra("kafka", *SHORT, servers)
    _not_let_in(stage, command, "no secret was given", "TLS", "SSL")


def _without(operation: ACLOperation, told: str) -> Callable[[Stage], None]:
    """A user who has every right on the run's topics but one."""

    def play(stage: Stage) -> None:
        servers = stage.house.guarded().bootstrap_servers
        topics = ResourcePattern(ResourceType.TOPIC, "hydra-", ACLResourcePatternType.PREFIXED)
        rules = [
            ACL("User:ANONYMOUS", "*", what, permission, topics)
            for what, permission in ((ACLOperation.ALL, ACLPermissionType.ALLOW), (operation, ACLPermissionType.DENY))
        ]
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=servers)) as client:
            assert not client.create_acls(rules)["failed"]
            try:
                command = stage.on_stack().hydra("kafka", *SHORT, f"--bootstrap_servers={servers}")
                assert command.end(60) == 4, command.errors
                assert told in command.complaint, command.errors
            finally:
                client.delete_acls(rules)

    return play


rows("right-missing", {
    "read": _without(ACLOperation.READ, "Read on topics hydra-* (prefixed)"),
    "write": _without(ACLOperation.WRITE, "Write on topics hydra-* (prefixed)"),
    "delete": _without(ACLOperation.DELETE, "Delete on topics hydra-* (prefixed)"),
})  # fmt: skip


@row
def corrupt_jar(stage: Stage) -> None:
    """A jar that is not what the lock file says is fetched again, or named; never run."""
    cache = stage.place.work / "cache"
    ours = cache_folder()
    for kind in ("jars", "classes"):
        (cache / ours.name / kind).mkdir(parents=True)
        for file in (ours / kind).iterdir():
            if file.is_file() and not file.name.startswith("."):
                os.link(file, cache / ours.name / kind / file.name)
    (clients,) = (jar for jar in read_lock() if ":kafka-clients:" in jar.coordinate)  # of the Kafka that is started
    victim = cache / ours.name / "jars" / clients.file_name
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.unlink()  # the link, not what it shares
    victim.write_bytes(content)
    stage.place.environment["XDG_CACHE_HOME"] = str(cache)
    command = stage.hydra("kafka", *SHORT, RESULT)
    code = command.end(150)
    if code == 4:  # no registry was there to fetch it from
        assert "kafka-clients" in command.complaint, command.errors
    else:
        assert code in HONEST, command.errors
        assert victim.read_bytes() != content, "it was run as it was"
