"""What flags, files and the environment say of a Kafka of the user's own, made one fact; and what is refused of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate

from hydra.broker.given_access import access_to_brokers
from hydra.broker.listener_security import _chain, _pkcs8
from hydra.clients.tls_context import client_context
from hydra.codec import decode, encode
from hydra.errors import UsageError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess, TokenSource
from hydra.options.option_checks import checked
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.options.reader import options_from_attributes, with_kafka_config
from hydra.signals.messages import TaskOrder

SERVERS = "k1:9093"
PASSWORD = "topsecret"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def issued(authority):
    return authority.issue_cert("load@example.org", common_name="load")


@pytest.fixture
def files(tmp_path, monkeypatch, authority, issued):
    """All files that are named below, in the working folder."""
    monkeypatch.chdir(tmp_path)
    chain, key = _chain(issued), _pkcs8(issued.private_key_pem.bytes())
    own = load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
    private = form.load_pem_private_key(key.encode(), None)
    locked = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"lock"))
    store = pkcs12.serialize_key_and_certificates(b"load", private, own, [], form.BestAvailableEncryption(b"changeit"))
    contents = {
        "ca.pem": authority.cert_pem.bytes(), "user.pem": (chain + key).encode(), "user.crt": chain.encode(),
        "user.key": key.encode(), "locked.pem": chain.encode() + locked, "user.p12": store,
        "trust.jks": b"\xfe\xed\xfe\xed\0\0\0\2", "nothing": b"hello", "password": f"password = {PASSWORD}\n".encode(),
        "all": f"# mine\npassword={PASSWORD}\n\nkey_password = lock\nclient_secret = other\n".encode(),
        "strange": b"passwort = x\n", "empty": b"# nothing\n",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def access(config=None, environment=None, mode=0o600, **options):
    """With the lines of a properties file in ``config``."""
    if config is not None:
        with open("client.properties", "w") as file:
            file.write(config)
        Path("client.properties").chmod(mode)
        options["kafka_config"] = "client.properties"
    return access_to_brokers(checked(Options(bootstrap_servers=SERVERS, **options)), environment or {})


def test_a_pipe_is_read_once_and_says_it_all():
    """Such as --kafka_config=<(vault read ...): who names brokers in it is not to meet them in plain text."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"):
        with os.fdopen(writer, "w") as file:
            file.write(f"bootstrap.servers=k1:9093\nsasl.mechanism=PLAIN\nsasl.username=u\nsasl.password={PASSWORD}\n")
        options = with_kafka_config(Options(kafka_config=f"/dev/fd/{reader}"))
        for _ in range(2):
            found = access_to_brokers(options, {})
            assert (options.bootstrap_servers, found.protocol, found.password) == (SERVERS, "SASL_PLAINTEXT", PASSWORD)


def test_nothing_said_is_plaintext():
    assert access() == NO_SECURITY
    assert not NO_SECURITY.secured


def test_three_flags_are_enough(files, authority):
    found = access(
        environment={"HYDRA_KAFKA_PASSWORD": PASSWORD},
        kafka_ca_file="ca.pem", sasl_mechanism="SCRAM-SHA-512", sasl_username="load",
    )  # fmt: skip
    pem = authority.cert_pem.bytes().decode()
    assert found == KafkaAccess("SASL_SSL", "SCRAM-SHA-512", "load", PASSWORD, ca_pem=pem)
    assert str(found) == "SASL_SSL SCRAM-SHA-512 as load"


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ({"kafka_ca_file": "ca.pem"}, "SSL"),
        ({"security_protocol": "SSL"}, "SSL"),
        ({"sasl_mechanism": "PLAIN", "sasl_username": "a", "kafka_secrets": "password"}, "SASL_PLAINTEXT"),
        (
            {
                "sasl_mechanism": "PLAIN", "sasl_username": "a", "kafka_secrets": "password",
                "security_protocol": "SASL_SSL",
            },
            "SASL_SSL",
        ),
    ],
)  # fmt: skip
def test_the_protocol_follows_from_what_is_given(files, options, protocol):
    assert access(**options).protocol == protocol


def test_flags_win_over_the_file_and_a_secrets_file_over_both(files):
    config = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=a\nsasl.password=in-the-file\n"
    environment = {"HYDRA_KAFKA_PASSWORD": "of-the-environment"}
    assert access(config, environment).password == "in-the-file"
    assert access(config, environment, kafka_secrets="password").password == PASSWORD
    changed = access(config, environment, sasl_mechanism="SCRAM-SHA-256", sasl_username="b")
    assert (changed.mechanism, changed.username) == ("SCRAM-SHA-256", "b")
    assert access(config.replace("sasl.password=in-the-file\n", ""), environment).password == "of-the-environment"


@pytest.mark.parametrize(
    "config",
    [
        "ssl.keystore.location=user.pem\n",
        "ssl.keystore.type=PKCS12\nssl.keystore.location=user.p12\nssl.keystore.password=changeit\n",
        "ssl.certificate.location=user.crt\nssl.key.location=user.key\n",
        "ssl.keystore.location=locked.pem\nssl.key.password=lock\n",
    ],
)
def test_a_client_certificate_comes_in_every_form(files, config, issued):
    found = access("security.protocol=SSL\n" + config)
    assert found.certificate_pem.split()[:3] == _chain(issued).split()[:3]
    assert "PRIVATE KEY" in found.key_pem
    assert str(found) == "SSL with a client certificate"
    client_context(found)


def test_a_key_may_be_locked_by_a_secret(files):
    found = access("security.protocol=SSL\nssl.keystore.location=locked.pem\n", kafka_secrets="all")
    assert found.key_password == "lock"


def test_pem_that_lost_its_line_ends_is_read(files, authority, issued):
    one_line = " ".join(authority.cert_pem.bytes().decode().split("\n"))
    found = access(f"security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.certificates={one_line}\n")
    client_context(found)
    assert found.ca_pem == authority.cert_pem.bytes().decode()


def test_a_store_of_javas_own_tool_is_trusted(files):
    """``keytool`` writes certificates that PKCS#12 has no name for."""
    if (keytool := shutil.which("keytool")) is None:
        pytest.skip("there is no keytool here")
    command = "-importcert -noprompt -alias ca -file ca.pem -keystore trust.p12 -storetype PKCS12 -storepass changeit"
    subprocess.run([keytool, *command.split()], check=True, capture_output=True, timeout=60)
    found = access("security.protocol=SSL\nssl.truststore.location=trust.p12\nssl.truststore.password=changeit\n")
    assert "BEGIN CERTIFICATE" in found.ca_pem


def test_a_client_secret_comes_from_where_secrets_are(files):
    config = (
        "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.client.id=app\n"
        "sasl.oauthbearer.token.endpoint.url=https://idp.example/token\n"
    )
    assert access(config, kafka_secrets="all").tokens == TokenSource(
        url="https://idp.example/token", client_id="app", client_secret="other"
    )


REFUSED = {
    "a config that others may read": ({"config": "sasl.password=topsecret\n", "mode": 0o644}, "chmod 600 client.prop"),
    "a key that others may read": ({"config": "security.protocol=SSL\nssl.keystore.location=open.pem\n"}, "chmod 600"),
    "no such config": ({"kafka_config": "no.properties"}, r"--kafka_config=no.properties cannot be read \(No such"),
    "no such CA": ({"kafka_ca_file": "no.pem"}, r"--kafka_ca_file=no.pem cannot be read"),
    "a CA that is none": ({"kafka_ca_file": "nothing"}, "neither certificate nor key in PEM"),
    "a Java key store": (
        {"config": "security.protocol=SSL\nssl.truststore.location=trust.jks\n"},
        r"Java key store .*keytool -importkeystore -srckeystore trust.jks .*-deststoretype PKCS12",
    ),
    "a store that is none": ({"config": "security.protocol=SSL\nssl.truststore.location=nothing\n"}, "neither PEM nor"),
    "a store's wrong password": (
        {"config": "security.protocol=SSL\nssl.keystore.location=user.p12\nssl.keystore.password=topsecret\n"},
        "cannot be opened as PKCS#12: check its password",
    ),
    "a locked key without its password": (
        {"config": "security.protocol=SSL\nssl.keystore.location=locked.pem\n"}, "cannot be used together"
    ),
    "a certificate without a key": (
        {"config": "security.protocol=SSL\nssl.keystore.location=user.crt\n"}, "comes without its key"
    ),
    "a user without a password": ({"sasl_mechanism": "PLAIN", "sasl_username": "a"}, "needs a password: .*secrets"),
    "a password without a user": ({"sasl_mechanism": "PLAIN", "kafka_secrets": "password"}, "needs a user name"),
    "SASL without a mechanism": ({"security_protocol": "SASL_SSL"}, "needs a sasl.mechanism"),
    "a mechanism without SASL": ({"security_protocol": "SSL", "sasl_mechanism": "PLAIN"}, "does not go with"),
    "no source of tokens": ({"sasl_mechanism": "OAUTHBEARER"}, "needs tokens"),
    "an endpoint without a secret": (
        {
            "config": "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.client.id=app\n"
            "sasl.oauthbearer.token.endpoint.url=https://idp.example/token\n"
        },
        "needs client_secret in --kafka_secrets",
    ),
    "Kerberos by the wire": ({"sasl_mechanism": "GSSAPI"}, "not spoken by the wire driver"),
    "Kerberos without its library": (
        {"sasl_mechanism": "GSSAPI", "pub_driver": "confluent", "sub_driver": "confluent"},
        r"pip install 'hydra-scaletest\[kerberos\]'"
    ),
    "AWS without a region": ({"sasl_mechanism": "AWS_MSK_IAM"}, "needs a region: set AWS_REGION"),
    "a strange secret": ({"kafka_secrets": "strange"}, "line 1 is not password, key_password, client_secret"),
    "no secret": ({"kafka_secrets": "empty"}, "--kafka_secrets=empty is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(files, case):
    shutil.copy("user.pem", "open.pem")
    (files / "open.pem").chmod(0o644)
    given, told = REFUSED[case]
    with pytest.raises(UsageError, match=told) as refused:
        access(**given)
    assert (refused.value.exit_code, "\n" in str(refused.value), PASSWORD in str(refused.value)) == (2, False, False)


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        ({"sasl_username": "a\udcff"}, {}, "--sasl_username is not UTF-8 text"),
        ({"sasl_username": "a"}, {"HYDRA_KAFKA_PASSWORD": "topsecret\udcff"}, "HYDRA_KAFKA_PASSWORD is not UTF-8 text"),
        ({"sasl_username": "a", "kafka_secrets": "latin"}, {}, "--kafka_secrets=latin is not UTF-8 text"),
    ],
)
def test_what_is_no_text_is_refused_before_a_broker_is_asked(files, options, environment, told):
    Path("latin").write_bytes(b"password = topsecret\xff\n")
    Path("latin").chmod(0o600)
    with pytest.raises(UsageError, match=told) as refused:
        access(None, environment, sasl_mechanism="PLAIN", **options)
    assert "topsecret" not in str(refused.value)


def test_the_file_may_name_the_brokers(files):
    (files / "c").write_text("bootstrap.servers=k1:9092,k2:9092\n")
    assert options_from_attributes(type("", (), {"kafka_config": "c"})).bootstrap_servers == "k1:9092,k2:9092"
    named = type("", (), {"kafka_config": "c", "bootstrap_servers": "k3:9092"})
    assert options_from_attributes(named).bootstrap_servers == "k3:9092"
    (files / "c").write_text("acks=all\n")
    with pytest.raises(UsageError, match="--kafka_config=c needs --bootstrap_servers"):
        options_from_attributes(type("", (), {"kafka_config": "c"}))


def test_secrets_are_for_tasks_and_never_shown(files):
    found = access(
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.username=load\nsasl.password=topsecret\n"
        "ssl.keystore.location=user.pem\n"
    )
    assert "PRIVATE" in found.key_pem
    told = TaskOrder(RunOrder("run-1", Options()), found)
    assert decode(encode(found), KafkaAccess) == found
    for shown in (repr(found), str(found), repr(told)):
        assert PASSWORD not in shown
        assert "PRIVATE" not in shown
