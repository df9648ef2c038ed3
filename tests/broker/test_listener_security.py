"""What ``--kafka_security`` makes of an embedded Kafka: its settings, its secrets, and where those are."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from hydra.broker.listener_security import (
    ListenerSecurity,
    keep_access,
    kept_access,
    listener_security,
    make_secrets,
    write_settings,
)
from hydra.broker.server_properties import BrokerSettings, Ports, server_properties
from hydra.errors import BrokerError, UsageError
from hydra.options.kafka_access import NO_SECURITY
from hydra.options.option_checks import checked
from hydra.options.options import Options, parse_option

FOLDER = Path("/stack/kafka")
KINDS = (
    "ssl",
    "ssl:mtls",
    "sasl_plaintext:plain",
    "sasl_ssl:scram-sha-256",
    "sasl_ssl:scram-sha-512",
    "sasl_ssl:oauthbearer",
)


@pytest.fixture(scope="module")
def secrets():
    return make_secrets()


def settings_of(wanted, secrets):
    plain = server_properties(Ports(15001, 15002), "/stack/kafka/data", 2, {})
    return ListenerSecurity(wanted, secrets).secured(plain, FOLDER)


@pytest.mark.parametrize("wanted", KINDS)
def test_no_listener_of_clients_is_left_open(wanted, secrets):
    settings = settings_of(wanted, secrets)
    assert settings["listeners"] == "CLIENTS://127.0.0.1:15001,CONTROLLER://127.0.0.1:15002"
    assert settings["advertised.listeners"] == "CLIENTS://127.0.0.1:15001"
    protocol = wanted.partition(":")[0].upper()
    assert settings["listener.security.protocol.map"] == f"CLIENTS:{protocol},CONTROLLER:PLAINTEXT"
    assert settings["inter.broker.listener.name"] == "CLIENTS"


@pytest.mark.parametrize("wanted", KINDS)
def test_clients_get_what_the_listener_asks_for(wanted, secrets):
    access = ListenerSecurity(wanted, secrets).access
    settings = settings_of(wanted, secrets)
    assert bool(access.ca_pem) == ("listener.name.clients.ssl.keystore.key" in settings) == access.tls
    assert settings.get("listener.name.clients.sasl.enabled.mechanisms", "") == access.mechanism
    assert bool(access.certificate_pem) == (settings.get("listener.name.clients.ssl.client.auth") == "required")


@pytest.mark.parametrize("wanted", KINDS)
def test_no_argument_has_a_secret_and_files_are_closed_to_others(wanted, secrets, tmp_path):
    security = ListenerSecurity(wanted, secrets)
    security.write_files(tmp_path)
    write_settings(tmp_path / "server.properties", settings_of(wanted, secrets))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    shown = " ".join(
        [*security.format_arguments(tmp_path), *security.jvm_flags(tmp_path), repr(secrets), repr(security)]
    )
    for secret in (secrets.password, secrets.token, secrets.broker_key_pem, secrets.client_key_pem):
        assert secret not in shown
    if security.is_formatted_in:
        (argument,) = security.format_arguments(tmp_path)
        assert f"password={secrets.password}]" in Path(argument.removeprefix("@")).read_text()


def test_each_broker_has_secrets_of_its_own(secrets):
    other = make_secrets()
    mine, theirs = vars(secrets), vars(other)
    assert [name for name in mine if mine[name] == theirs[name]] == []


def test_the_token_is_for_this_user_and_for_a_month(secrets):
    claims = json.loads(base64.urlsafe_b64decode(secrets.token.split(".")[1] + "=="))
    assert claims["sub"] == "hydra"
    assert 29 < (claims["exp"] - time.time()) / 86_400 <= 30
    assert claims["iat"] <= time.time()


def test_the_access_is_found_again(secrets, tmp_path):
    assert kept_access(tmp_path) == NO_SECURITY
    access = ListenerSecurity("ssl:mtls", secrets).access
    keep_access(tmp_path, access)
    assert kept_access(tmp_path) == access
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    with pytest.raises(BrokerError, match="access to the local stack's Kafka cannot be read"):
        kept_access(tmp_path)


def test_no_security_is_none():
    assert listener_security(None) is None
    assert listener_security("plaintext") is None


@pytest.mark.parametrize("text", ["tls", "ssl:scram-sha-512", "sasl_ssl", "sasl_ssl:gssapi", "plaintext:x", "", ":"])
def test_what_there_is_not_is_refused(text):
    with pytest.raises(UsageError, match=r"must be plaintext, ssl, ssl:mtls.*mechanisms are plain, scram-sha-256"):
        parse_option("kafka_security", text, origin="--kafka_security")


def test_another_security_than_that_of_the_stack_is_named():
    there = BrokerSettings(security="ssl")
    assert BrokerSettings().difference(there) == ""
    assert BrokerSettings(security="ssl").difference(there) == ""
    assert BrokerSettings(security="plaintext").difference(BrokerSettings()) == ""
    assert BrokerSettings(security="plaintext").difference(there) == "--kafka_security=plaintext, and it has ssl"
    assert BrokerSettings(security="ssl:mtls").difference(BrokerSettings()).endswith("ssl:mtls, and it has plaintext")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"kafka_security": "ssl", "bootstrap_servers": "k1:9092"},
            "--kafka_security=ssl is a setting of",
        ),
        ({"sasl_username": "a"}, "--sasl_username=a needs --bootstrap_servers: .*--kafka_security"),
        ({"kafka_secrets": "f"}, "--kafka_secrets=f needs --bootstrap_servers"),
    ],
)
def test_whose_security_it_is_is_not_mixed_up(options, told):
    with pytest.raises(UsageError, match=told):
        checked(Options(**options))
