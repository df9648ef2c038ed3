"""The options of a run: one table, from which the flags, the keys of hydra.ini and the batch API's attributes are made.

An option's value is the flag's (in the batch API: the attribute's), else that of hydra.ini, else the default.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.errors import UsageError
from hydra.options import parsers as kind
from hydra.options.kafka_versions import BUNDLED_VERSION, OLD_VERSION, VERSIONS, ZOOKEEPERS
from hydra.options.option_kinds import OptionKind, Section
from hydra.records.identity import IDENTITY_BYTES

PUBLISHER_DRIVERS = ("wire", "confluent", "kafka-python")
SUBSCRIBER_DRIVERS = ("wire", "confluent", "kafka-python")

SELF_PACED_DRIVERS = ("confluent", "kafka-python")
"""Subscribers whose client library decides when to fetch: no pace of fetch rounds applies to them."""

MIN_DELIVERY_TIMEOUT_S = 1.0

_hydra, _kafka, _marathon, _mesos, _kubernetes = map(Section, ("hydra", "kafka", "marathon", "mesos", "kubernetes"))

_OFF: bool = False


@dataclass(frozen=True)
class Options:
    """Everything that a run can be asked for; names are the seed's and Kafka's, units are in the help texts."""

    total_sub_apps: int = _hydra(100, kind.whole(1, 10_000), "subscriber apps")
    clients_per_app: int = _hydra(10, kind.whole(1, 10_000), "Kafka clients in each subscriber app")
    test_duration: float = _hydra(10.0, kind.number(0.1, 86_400), "how long to send")
    warmup: float | None = _hydra(
        None,
        kind.number(0, 3600),
        "the same load before the first run, not counted; unset: until a Kafka just started is warm",
    )
    msg_rate: float = _hydra(1000.0, kind.number(0.1, 10_000_000), "rate of the publisher")
    msg_batch: int = _hydra(100, kind.whole(1, 1_000_000), "records that a producer batch has room for")
    msg_size: int = _hydra(
        14,
        kind.whole(IDENTITY_BYTES, 32_000_000, f"{IDENTITY_BYTES} bytes tell a record from all others"),
        "size of a record's value",
    )
    compression: str = _kafka(
        "none", kind.choice("none", "gzip", "snappy", "lz4", "zstd"), "codec that the publisher compresses batches with"
    )
    payload: str = _hydra(
        "zeros",
        kind.payload,
        "what fills a record behind its first 14 bytes: zeros, random (incompressible), or the content of a file",
    )
    idempotence: str = _kafka(
        "auto",
        kind.choice("auto", "yes", "no"),
        "whether brokers drop a batch that they get twice; auto: with acks=all, as Kafka's own producer",
    )
    group: str = _kafka(
        "own",
        kind.choice("own", "shared"),
        "own: every client reads a full copy; shared: all clients together read one",
    )
    group_mode: str = _kafka(
        "assign",
        kind.choice("assign", "group"),
        "assign: partitions are assigned to the clients; group: each client joins its group, heartbeats and commits",
    )
    group_protocol: str = _kafka(
        "classic",
        kind.choice("classic", "consumer"),
        "how members and coordinator agree: classic; consumer: brokers assign, step by step (KIP-848, Kafka 4)",
    )
    topic: str | None = _kafka(
        None,
        kind.topic,
        "topic that is there, to be measured as it is; unset: a new one for each run, deleted after it",
    )
    partitions: int = _kafka(1, kind.whole(1, 10_000), "partitions of the topic")
    acks: str = _kafka("1", kind.choice("0", "1", "all"), "acks that the publisher waits for")
    linger_ms: int = _kafka(5, kind.whole(0, 900_000), "how long the publisher holds a batch back to fill it")
    batch_size: int = _kafka(0, kind.whole(0, 2_147_483_647), "size of a producer batch; 0: msg_size x msg_batch")
    consumer_max_buffer_size: int = _kafka(
        0, kind.whole(0, 2_147_483_647), "the most that one fetch may bring; 0: as much as there is"
    )
    fetch_min_bytes: int = _kafka(
        1, kind.whole(1, 2_147_483_647), "how much the broker waits for before it answers a fetch"
    )
    fetch_wait_max_ms: int = _kafka(500, kind.whole(0, 60_000), "how long the broker waits for that at most")
    fetch_pace_ms: float | None = _kafka(
        None,
        kind.number(0, 10_000),
        "least time between two fetch rounds of the wire driver; 0: none; unset: from the number of clients",
    )
    client_rack: str | None = _kafka(
        None, kind.words, "rack of the subscribers: they read from the closest replica, where brokers say so (KIP-392)"
    )
    retention_ms: int | None = _kafka(None, kind.whole(1000, 2**62), "retention.ms of the topic; unset: the broker's")
    pub_driver: str = _kafka(
        "wire", kind.driver(*PUBLISHER_DRIVERS), "client library of the publisher, or your own class"
    )
    sub_driver: str = _kafka(
        "wire", kind.driver(*SUBSCRIBER_DRIVERS), "client library of the subscribers, or your own class"
    )
    bootstrap_servers: str | None = _kafka(None, kind.host_ports, "brokers under test; unset: an embedded Kafka")
    kafka_version: str | None = _kafka(
        None,
        kind.choice(*VERSIONS),
        f"version of the embedded Kafka; {' and '.join(ZOOKEEPERS)} come with a ZooKeeper; unset: {BUNDLED_VERSION}",
    )
    kafka_config: str | None = _kafka(
        None, kind.path, "client properties file, as Kafka's own tools and librdkafka read it; mode 0600 with a secret"
    )
    security_protocol: str | None = _kafka(
        None, kind.security_protocol, "how the brokers let clients in; unset: as --kafka_config says, or PLAINTEXT"
    )
    kafka_ca_file: str | None = _kafka(
        None, kind.path, "CA certificates (PEM) that the brokers' are checked against; unset: the system's"
    )
    sasl_mechanism: str | None = _kafka(None, kind.sasl_mechanism, "how clients say who they are")
    sasl_username: str | None = _kafka(None, kind.words, "the user, for PLAIN and SCRAM")
    kafka_secrets: str | None = _kafka(
        None, kind.path, "file of mode 0600 with password, key_password or client_secret, for Kafka"
    )
    broker_metrics: str | None = _kafka(
        None, kind.http_urls, "what the brokers export of themselves as Prometheus text, such as by a JMX exporter"
    )
    kafka_security: str | None = _kafka(
        None, kind.kafka_security, "what the embedded Kafka asks of clients, such as sasl_ssl:scram-sha-512"
    )
    client_id_prefix: str = _kafka("", kind.prefix, "what the client.id of each Kafka client begins with")
    group_prefix: str = _kafka("", kind.prefix, "what the name of each consumer group begins with")
    java: str | None = _kafka(
        None, kind.path, "java (>= 17) that runs the embedded Kafka; unset: the one that came with Hydra"
    )
    broker_property: tuple[str, ...] = _kafka(
        (), kind.properties, "setting of the embedded Kafka; several: again, or commas"
    )
    broker_heap_mb: int = _kafka(1024, kind.whole(64, 1_048_576), "heap of the embedded Kafka, of each of its brokers")
    brokers: int = _kafka(1, kind.whole(1, 9), "brokers of the embedded Kafka, each a process of its own")
    replication_factor: int | None = _kafka(
        None, kind.whole(1, 100), "replicas of each partition of the topic; unset: the brokers' default (embedded: 1)"
    )
    min_insync_replicas: int | None = _kafka(
        None, kind.whole(1, 100), "replicas that have to have a record before acks=all acknowledges it"
    )
    engine: str = _hydra(
        "marathon", kind.choice("marathon", "kubernetes"), "where tasks run; kubernetes needs --bootstrap_servers"
    )
    kube_context: str | None = _kubernetes(
        None, kind.path, "context of the kubeconfig; unset: its current one, or the service account of a pod"
    )
    kube_namespace: str | None = _kubernetes(
        None, kind.dns_label, "namespace that everything is made in; unset: that of the context"
    )
    kube_forward: bool = _kubernetes(
        _OFF, kind.switch, "reach pods through the API server (port-forward), where their addresses are out of reach"
    )
    kube_image: str | None = _kubernetes(
        None, kind.path, "image with Hydra in it; unset: python:X.Y-slim, with the code from the controller"
    )
    kube_pull_secret: str | None = _kubernetes(None, kind.path, "Secret of the namespace that the image is pulled with")
    kube_pub_nodes: tuple[str, ...] = _kubernetes((), kind.labels, "labels of the nodes that the publisher goes to")
    kube_sub_nodes: tuple[str, ...] = _kubernetes((), kind.labels, "labels of the nodes that subscribers go to")
    kube_pub_resources: tuple[str, ...] = _kubernetes(
        ("cpu=500m", "memory=256Mi"), kind.resources, "what the publisher's pod requests of its node"
    )
    kube_sub_resources: tuple[str, ...] = _kubernetes(
        ("cpu=100m", "memory=128Mi"), kind.resources, "what each subscriber's pod requests of its node"
    )
    kube_tolerations: tuple[str, ...] = _kubernetes(
        (), kind.tolerations, "taints that the pods tolerate: KEY, KEY=VALUE, each with :EFFECT or without"
    )
    marathon_url: str | None = _marathon(
        None, kind.http_urls, "Marathon that runs the apps, or several addresses of it; unset: a local one"
    )
    app_prefix: str = _marathon("g1", kind.app_group, "Marathon group that the apps are created in")
    marathon_secrets: str | None = _marathon(
        None, kind.path, "file of mode 0600 with user and password, or authorization, for Marathon"
    )
    marathon_ca_file: str | None = _marathon(
        None, kind.path, "CA certificates (PEM) that Marathon's certificate is checked against"
    )
    marathon_timeout: float = _marathon(
        10.0, kind.number(0.1, 20), "how long Marathon may take for an answer before it is asked again"
    )
    mesos_url: str | None = _mesos(
        None, kind.http_url, "Mesos master, for agents and logs; unset: the one that Marathon names"
    )
    cluster0: str | None = _mesos(None, kind.attribute, "agents that the publisher goes to; unset: any")
    cluster1: str | None = _mesos(None, kind.attribute, "agents that the subscribers go to; unset: any")
    local_agents: str | None = _mesos(
        None,
        kind.agents,
        "agents of a local Marathon: addresses of this machine with attributes, cpus and mem; unset: 127.0.0.1",
    )
    appserver: str = _hydra(
        "auto",
        kind.choice("auto", "always", "never"),
        "serve Hydra's code to the agents; auto: where Marathon is not a local one",
    )
    appserver_address: str | None = _hydra(
        None,
        kind.place,
        "address of this machine that agents fetch the code from; unset: the one on the route to Marathon",
    )
    appserver_bind: str | None = _hydra(
        None, kind.place, "address that the code server listens on, such as 0.0.0.0; unset: appserver_address"
    )
    agent_python: str | None = _hydra(
        None, kind.path, "python on the agents; unset: the one of this controller's version"
    )
    start_timeout: float = _hydra(
        60.0, kind.number(1, 86_400), "how long apps and clients may take to be ready; more is allowed above 100 apps"
    )
    drain_timeout: float = _hydra(30.0, kind.number(0, 86_400), "how long clients may read on after the last ack")
    audit: str = _hydra(
        "auto",
        kind.choice("auto", "always", "never"),
        "read the whole log once more after the run; auto: up to 20 million records and 1 GiB",
    )
    threshold: tuple[str, ...] = _hydra(
        (),
        kind.thresholds,
        "what a run must keep, such as 'e2e_p99<50ms'; several: again, or commas; help: lists all metrics",
    )
    keep_running: bool = _hydra(_OFF, kind.switch, "leave apps, local Marathon and embedded Kafka up for the next run")
    output: str | None = _hydra(None, kind.path, "write the result to this file (JSON)")

    @property
    def tasks_elsewhere(self) -> bool:
        """Whether tasks run on other machines than the controller's, or may."""
        return self.marathon_url is not None or self.engine == "kubernetes"

    @property
    def client_count(self) -> int:
        """Clients asked for."""
        return self.total_sub_apps * self.clients_per_app

    @property
    def batch_size_bytes(self) -> int:
        """The producer's batch.size."""
        return self.batch_size or self.msg_size * self.msg_batch

    @property
    def is_old_kafka(self) -> bool:
        """Whether the embedded Kafka is one with messages of format 0 and without admin requests."""
        return self.kafka_version == OLD_VERSION

    @property
    def has_zookeeper(self) -> bool:
        """Whether the embedded Kafka comes with a ZooKeeper."""
        return self.kafka_version in ZOOKEEPERS

    @property
    def start_deadline_s(self) -> float:
        """``start_timeout``, and a quarter of a second more for each app above a hundred."""
        return self.start_timeout + max(0, self.total_sub_apps - 100) * 0.25

    @property
    def delivery_timeout_s(self) -> float:
        """How long a record may wait for its ack before its fate is unknown, and a broker be away."""
        return max(MIN_DELIVERY_TIMEOUT_S, self.drain_timeout)


ACCESS_OPTIONS = (
    "kafka_config", "security_protocol", "kafka_ca_file", "sasl_mechanism", "sasl_username", "kafka_secrets",
)  # fmt: skip
"""How brokers of the user's own let clients in (broker/given_access.py)."""

FIXED_OPTIONS = (
    "engine", "kube_context", "kube_namespace", "kube_forward", "kube_image", "kube_pull_secret", "kube_pub_nodes",
    "kube_sub_nodes", "kube_pub_resources", "kube_sub_resources", "kube_tolerations",
    "marathon_url", "marathon_secrets", "marathon_ca_file", "marathon_timeout", "mesos_url", "cluster0", "cluster1",
    "appserver", "appserver_address", "appserver_bind", "agent_python", "bootstrap_servers", "app_prefix",
    "group_prefix", "java", "broker_property", "broker_heap_mb", "brokers", "client_rack",
    "kafka_security", "kafka_version", *ACCESS_OPTIONS,
)  # fmt: skip
"""Options that cannot change while a stack is up."""

OPTION_KINDS: Mapping[str, OptionKind] = {item.name: item.metadata["kind"] for item in dataclasses.fields(Options)}
"""By the option's name, in the order of the help."""


def parse_option(name: str, text: str, *, origin: str) -> object:
    """The value of one option out of its text; spaces around it do not count.

    ``origin`` is how the error names the option, such as ``--msg_rate`` or ``hydra.ini:7: [kafka] acks``.

    Raises:
        UsageError: when the option's kind does not take the text.
    """
    try:
        return OPTION_KINDS[name].parse(text.strip())
    except ValueError as error:
        raise UsageError(f"{origin} = {quotable(text)!r} {error}") from error


def parse_several(name: str, texts: Sequence[str], *, origin: str) -> object:
    """The value of an option that was given several times, or as a list: what its texts say together.

    Raises:
        UsageError: one of them, or all together, are not what the option's kind takes.
    """
    for text in texts:  # behind another one, what is no setting itself would be taken for the rest of its value
        parse_option(name, text, origin=origin)
    return parse_option(name, ",".join(texts), origin=origin)


def quotable(text: str) -> str:
    """What an error quotes of a text: 80 characters, without the user and the password of a URL.

    All before the last @ may be one: a password may have slashes and commas, and a URL may lack its scheme.
    """
    before, at, rest = text.rpartition("@")
    if ":" in before:
        scheme = re.match(r"[a-z]+://|", text, re.IGNORECASE)
        text = f"{scheme[0] if scheme else ''}***{at}{rest}"
    return text if len(text) <= 80 else text[:77] + "..."


def merged(*layers: Mapping[str, object]) -> Options:
    """Options out of layers of values by name, the later ones first, then defaults; whether they fit is ``checked``."""
    values: dict[str, object] = {}
    for layer in layers:
        values.update(layer)
    return dataclasses.replace(Options(), **values)  # type: ignore[arg-type]  # each kind made its own type


def rack_of(node_id: int) -> str:
    """The rack that a broker of the embedded Kafka stands in: each has one of its own."""
    return f"r{node_id}"


def embedded_max_message_bytes(options: Options) -> int | None:
    """The largest record batch that --broker_property allows the embedded Kafka; None where it says nothing."""
    named = dict(text.partition("=")[::2] for text in options.broker_property)
    value = named.get("message.max.bytes", "")
    return int(value) if value.isascii() and value.isdecimal() else None
