"""Every driver, the admin and the auditor on every kind of listener of one real broker, and every way to be refused."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
import re
import time

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

from hydra.accounting.evidence import OffsetRange
from hydra.broker import listener_security
from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.embedded import EmbeddedBroker, free_ports
from hydra.broker.first_values import first_values
from hydra.broker.listener_security import ListenerSecurity, make_secrets, signed_token
from hydra.clients.auditor import WireAuditor
from hydra.clients.protocols import publisher_driver, subscriber_driver
from hydra.clients.secured_connection import SecuredConnection
from hydra.errors import BrokerError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess, TokenSource
from hydra.records.identity import identity_prefix
from tests.clients.conftest import START_TIMEOUT_S, close_soon
from tests.kafka_parts import kafka_parts

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("nothing_left"),
    # kafka-python leaves the sockets of refused connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*<(socket.socket|ssl.SSLSocket):pytest.PytestUnraisableExceptionWarning"),
]

MAIN = "sasl_ssl:scram-sha-512"
MECHANISMS = ("plain", "scram-sha-256", "scram-sha-512", "oauthbearer")
LISTENERS = (
    "ssl", "ssl:mtls", *(f"sasl_{below}:{mechanism}" for below in ("plaintext", "ssl") for mechanism in MECHANISMS)
)  # fmt: skip
RENEWED = "sasl_plaintext:scram-sha-256"
DRIVERS = ("wire", "confluent", "kafka-python")
RECORDS = 50
SOON_S = 15.0


class ManyListeners(ListenerSecurity):
    """The listener ``MAIN``, one of each other kind with the same secrets, and those that no client should trust."""

    def __init__(self):
        super().__init__(MAIN, make_secrets())
        self.authority = trustme.CA()
        long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
        self.others = {wanted: ListenerSecurity(wanted, self._secrets) for wanted in LISTENERS if wanted != MAIN}
        self.others |= {
            "plaintext": ListenerSecurity("plaintext", self._secrets),
            "expired": self._with_certificate("127.0.0.1", not_after=long_ago),
            "other name": self._with_certificate("kafka.example.org"),
        }
        self.ports = dict(zip(self.others, free_ports(len(self.others)), strict=True))

    def _with_certificate(self, name, **validity):
        made = self.authority.issue_cert(name, **validity)
        key_pem = listener_security._pkcs8(made.private_key_pem.bytes())
        secrets = dataclasses.replace(
            self._secrets,
            ca_pem=self.authority.cert_pem.bytes().decode(),
            broker_certificate_pem=listener_security._chain(made),
            broker_key_pem=key_pem,
        )
        return ListenerSecurity("ssl", secrets)

    def secured(self, properties, folder):
        settings = super().secured(properties, folder)
        for number, (wanted, other) in enumerate(self.others.items()):
            for name in ("listeners", "advertised.listeners"):
                settings[name] += f",L{number}://127.0.0.1:{self.ports[wanted]}"
            settings["listener.security.protocol.map"] += f",L{number}:{other.protocol}"
            settings |= other.listener_settings(f"L{number}", folder)
        renewed = f"listener.name.l{list(self.others).index(RENEWED)}.scram-sha-256"
        return settings | {f"{renewed}.connections.max.reauth.ms": "1500"}

    def write_files(self, folder):
        super().write_files(folder)
        self.others["sasl_ssl:oauthbearer"].write_files(folder)

    def jvm_flags(self, folder):
        return self.others["sasl_ssl:oauthbearer"].jvm_flags(folder)

    def access_to(self, wanted):
        return self.access if wanted == MAIN else self.others[wanted].access


class Cluster:
    """One broker with all listeners."""

    def __init__(self, broker, security):
        self.security = security
        self.broker = broker
        self.topics = itertools.count()

    def servers(self, wanted):
        return self.broker.bootstrap_servers if wanted == MAIN else f"127.0.0.1:{self.security.ports[wanted]}"

    def access(self, wanted):
        return self.security.access_to(wanted)

    def admin(self, wanted, access):
        return contextlib.closing(KafkaTopicAdmin(self.servers(wanted), SOON_S, access))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    security = ManyListeners()
    folder = tmp_path_factory.mktemp("secured") / "kafka"
    with EmbeddedBroker(**kafka_parts(folder), start_timeout_s=START_TIMEOUT_S, security=security) as broker:
        yield Cluster(broker, security)


@pytest.fixture
def topic(cluster):
    name = f"t-{next(cluster.topics)}"
    with cluster.admin(MAIN, cluster.access(MAIN)) as admin:
        admin.create_topic(name, partitions=1, configs={})
    return name


def read_until(driver, done, timeout_s=20.0):
    deadline_s = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline_s, [tally.error for tally in driver.tallies]
        driver.poll(0.05)


@pytest.mark.parametrize(
    ("wanted", "driver"),
    # What Hydra speaks itself is tried here with each, and a library with what certificates and names need.
    [
        pytest.param(wanted, driver, marks=() if driver == "wire" or wanted == MAIN else pytest.mark.release)
        for wanted in LISTENERS
        for driver in DRIVERS
    ],
)
def test_records_go_through(cluster, topic, sending, reading, wanted, driver):
    servers, access = cluster.servers(wanted), cluster.access(wanted)
    sender = publisher_driver(sending(servers, topic, driver=driver), access)
    reader = subscriber_driver(reading(servers, topic, driver=driver, clients=2), access)
    with contextlib.ExitStack() as closing:
        closing.callback(close_soon, reader)
        closing.callback(close_soon, sender)
        sender.open(20)
        assert sender.send(0, 0, RECORDS) == RECORDS
        assert sender.flush(20).acked == RECORDS
        reader.open()
        read_until(reader, lambda: all(tally.received == RECORDS for tally in reader.tallies))
        assert [tally.error for tally in reader.tallies] == ["", ""]


@pytest.mark.parametrize(
    "wanted",
    [pytest.param(wanted, marks=() if wanted in {MAIN, "ssl:mtls"} else pytest.mark.release) for wanted in LISTENERS],
)
def test_the_admin_and_the_auditor_are_let_in(cluster, topic, sending, wanted):
    servers, access = cluster.servers(wanted), cluster.access(wanted)
    with cluster.admin(wanted, access) as admin:
        assert str(admin.check().brokers[1]) == servers
        assert admin.describe_topic(topic).identity.is_same(admin.look_at_topic(topic))
    audit = WireAuditor(access).audit(sending(servers, topic), {0: OffsetRange(0, 0)}, SOON_S)
    assert (audit.foreign, audit.corrupt) == (0, 0)


@pytest.mark.parametrize("wanted", [MAIN, "ssl:mtls"])
def test_who_asks_for_the_oldest_records_is_let_in(cluster, topic, sending, wanted):
    servers, access = cluster.servers(wanted), cluster.access(wanted)
    order = sending(servers, topic, driver="wire")
    with contextlib.closing(publisher_driver(order, access)) as sender:
        sender.open(20)
        assert sender.send(0, 0, RECORDS) == RECORDS
        assert sender.flush(20).acked == RECORDS
    values = first_values(servers, access, topic, {0: OffsetRange(0, RECORDS)}, SOON_S)
    assert values[0].startswith(identity_prefix(order.run_id))


@pytest.mark.parametrize("wanted", ["sasl_ssl:scram-sha-512", "ssl"])
def test_a_large_batch_goes_through_in_pieces(cluster, topic, sending, reading, wanted):
    """A request of many TLS records, and a reply that fills the buffer again and again."""
    servers, access, records = cluster.servers(wanted), cluster.access(wanted), 400
    large = {"msg_size": 10_000, "msg_batch": 100}
    sender = publisher_driver(sending(servers, topic, driver="wire", **large), access)
    reader = subscriber_driver(reading(servers, topic, clients=3, **large), access)
    with contextlib.ExitStack() as closing:
        closing.callback(close_soon, reader)
        closing.callback(close_soon, sender)
        sender.open(20)
        sent = 0
        while sent < records:
            sent += sender.send(0, sent, records - sent)
            sender.poll()
        assert sender.flush(20).acked == records
        reader.open()
        read_until(reader, lambda: all(tally.received == records for tally in reader.tallies))


@pytest.mark.parametrize("group", ["own", "shared"])
def test_a_group_member_is_let_in_by_the_coordinator(cluster, topic, reading, group):
    order = reading(cluster.servers(MAIN), topic, group_mode="group", group=group)
    reader = subscriber_driver(order, cluster.access(MAIN))
    with contextlib.closing(reader):
        reader.open()
        read_until(reader, lambda: all(tally.positioned for tally in reader.tallies))


def wrong(access: KafkaAccess) -> KafkaAccess:
    """The same access with a secret that the broker does not know."""
    if access.tokens.is_set:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return dataclasses.replace(access, tokens=TokenSource(token=signed_token(key, time.time() + 3600)))
    return dataclasses.replace(access, password="wrong-secret")


def unknown_ca(access: KafkaAccess) -> KafkaAccess:
    return dataclasses.replace(access, ca_pem=trustme.CA().cert_pem.bytes().decode())


def refusal(cluster, wanted, access) -> str:
    """What the user is told: exit code 4, one line, in time, without a secret."""
    begun_s = time.monotonic()
    with cluster.admin(wanted, access) as admin, pytest.raises(BrokerError) as refused:
        admin.check()
    assert time.monotonic() - begun_s < SOON_S
    text = str(refused.value)
    assert refused.value.exit_code == 4
    assert "\n" not in text
    assert "BEGIN" not in text
    for secret in filter(None, (access.password, access.tokens.token, access.key_pem)):
        assert secret not in text
    return text


@pytest.mark.parametrize("wanted", [wanted for wanted in LISTENERS if wanted.startswith("sasl")])
def test_a_wrong_secret_is_told(cluster, wanted):
    access = cluster.access(wanted)
    text = refusal(cluster, wanted, wrong(access))
    assert "SASL_AUTHENTICATION_FAILED" in text
    assert access.mechanism in text


@pytest.mark.parametrize(
    ("wanted", "like", "changed", "told"),
    [
        ("ssl", "ssl", unknown_ca, "certificate is not trusted"),
        ("ssl:mtls", "ssl:mtls", unknown_ca, "certificate is not trusted"),
        (MAIN, MAIN, unknown_ca, "certificate is not trusted"),
        ("expired", "expired", None, "certificate has expired"),
        ("other name", "other name", None, "certificate is not for 127.0.0.1"),
        ("ssl:mtls", "ssl", None, "want a client certificate"),
        ("plaintext", "ssl", None, "does not speak TLS"),
        ("plaintext", MAIN, None, "does not speak TLS"),
        ("sasl_plaintext:plain", "sasl_ssl:plain", None, "does not speak TLS"),
        ("ssl", "plaintext", None, "speaks TLS"),
        (MAIN, "sasl_plaintext:scram-sha-512", None, "speaks TLS"),
        ("plaintext", "sasl_plaintext:plain", None, "wants no SASL"),
        ("ssl", MAIN, None, "wants no SASL"),
        ("sasl_plaintext:plain", "plaintext", None, "wants SASL: use --security_protocol=SASL_PLAINTEXT"),
        ("sasl_ssl:oauthbearer", "ssl", None, "wants SASL: use --security_protocol=SASL_SSL and .*OAUTHBEARER"),
        ("sasl_plaintext:plain", "sasl_plaintext:scram-sha-512", None, "does not offer SCRAM-SHA-512.*PLAIN"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(cluster, wanted, like, changed, told):
    access = NO_SECURITY if like == "plaintext" else cluster.access(like)
    text = refusal(cluster, wanted, changed(access) if changed else access)
    assert re.search(told, text), text


def test_a_name_that_the_certificate_lacks_may_be_allowed(cluster):
    access = dataclasses.replace(cluster.access("other name"), check_hostname=False)
    with cluster.admin("other name", access) as admin:
        assert admin.check().brokers


@pytest.mark.parametrize(
    ("wanted", "changed", "driver"),
    [
        (MAIN, wrong, "wire"),
        ("ssl", unknown_ca, "confluent"),
        *(
            pytest.param(*case, marks=pytest.mark.release)
            for case in [
                ("ssl", unknown_ca, "wire"),
                (MAIN, wrong, "confluent"),
                (MAIN, wrong, "kafka-python"),
                ("ssl", unknown_ca, "kafka-python"),
            ]
        ),
    ],
)
def test_a_driver_that_is_not_let_in_says_so_and_ends(cluster, topic, sending, reading, wanted, changed, driver):
    servers, access = cluster.servers(wanted), changed(cluster.access(wanted))
    sender = publisher_driver(sending(servers, topic, driver=driver), access)
    reader = subscriber_driver(reading(servers, topic, driver=driver), access)
    with contextlib.ExitStack() as closing:
        closing.callback(close_soon, reader)
        closing.callback(close_soon, sender)
        with pytest.raises(BrokerError) as refused:
            sender.open(4)
        reader.open()
        read_until(reader, lambda: any(tally.error for tally in reader.tallies))
        told = f"{refused.value} {reader.tallies[0].error}"
        assert not reader.tallies[0].positioned
        assert "wrong-secret" not in told


def test_a_session_is_renewed_in_mid_connection(cluster, topic, sending, reading, monkeypatch):
    """After a session's end the broker closes a connection with the next request, unless the session was renewed."""
    made, renewed = [], []
    make, renew = SecuredConnection.__init__, SecuredConnection._renew

    def noted_make(connection, *arguments, **named):
        made.append(connection)
        make(connection, *arguments, **named)

    def noted_renew(connection):
        if connection._socket is not None:
            renewed.append(connection)
        renew(connection)

    monkeypatch.setattr(SecuredConnection, "__init__", noted_make)
    monkeypatch.setattr(SecuredConnection, "_renew", noted_renew)
    servers, access = cluster.servers(RENEWED), cluster.access(RENEWED)
    sender = publisher_driver(sending(servers, topic, driver="wire", acks="all"), access)
    reader = subscriber_driver(reading(servers, topic), access)
    with contextlib.ExitStack() as closing:
        closing.callback(close_soon, reader)
        closing.callback(close_soon, sender)
        sender.open(20)
        reader.open()
        read_until(reader, lambda: reader.tallies[0].positioned)
        connections, sent = len(made), 0

        def both_renewed_thrice():
            nonlocal sent
            sent += sender.send(0, sent, 10)
            sender.poll()
            return len(set(renewed)) == 2 and all(renewed.count(each) >= 3 for each in set(renewed))

        read_until(reader, both_renewed_thrice)
        assert sender.flush(20).acked == sent
        read_until(reader, lambda: reader.tallies[0].received == sent)
        assert len(made) == connections, "nothing had to connect again"
        assert reader.tallies[0].error == ""
