"""How the text of an option becomes its value. Each kind says what it accepts in the words of its error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hydra.options.kafka_access import (
    AWS_MSK_IAM,
    EMBEDDED_MECHANISMS,
    MECHANISMS,
    PLAINTEXT,
    PROTOCOLS,
    SASL_PLAINTEXT,
    SASL_SSL,
    SSL,
)
from hydra.options.thresholds import parse_threshold
from hydra.records.identity import RUN_ID

Parse = Callable[[str], object]
"""Text to value; raises ValueError with the rest of the sentence 'NAME=TEXT ...'."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", re.ASCII)
_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?(/[!-~]*)?", re.ASCII)
_CLASS_IN_FILE = re.compile(r".*\.py:[^\W\d]\w*")
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?", re.ASCII)
_PROPERTY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)[ \t]*=[ \t]*([^\0]*)", re.ASCII)
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9._:-]{0,100}", re.ASCII)
_SEGMENT = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*=[A-Za-z0-9._-]*", re.ASCII)
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?", re.ASCII)
_TOLERATION = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._/-]*(=[A-Za-z0-9._-]*)?(:(NoSchedule|PreferNoSchedule|NoExecute))?", re.ASCII
)

CPUS = 1000.0
MEM_MIB = 1_000_000.0
"""More than a machine has: nothing holds a task to what it asked for, and an app asks for a whole CPU by default."""

PAYLOADS = ("zeros", "random")
"""What fills records, beside the content of files."""

_ADDRESS = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}", re.ASCII)


@dataclass(frozen=True)
class AgentSpec:
    """One virtual agent."""

    host: str = "127.0.0.1"
    """Address of this machine that its tasks are reached at; also its host name."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    cpus: float = CPUS
    mem_mib: float = MEM_MIB


def parse_agents(text: str) -> tuple[AgentSpec, ...]:
    """Agents with commas between them: an IPv4 address, then attributes ``name:value``, ``cpus:N`` and ``mem:MiB``.

    Raises:
        ValueError: with the rest of the sentence 'NAME=TEXT ...'.
    """
    agents = tuple(_parse_agent(part.split()) for part in text.split(","))
    if len({agent.host for agent in agents}) < len(agents):
        raise ValueError("names an address twice")
    return agents


def _parse_agent(words: list[str]) -> AgentSpec:
    host = words[0] if words else ""
    if not _ADDRESS.fullmatch(host) or not all(int(part) <= 255 for part in host.split(".")):
        raise ValueError("must be agents that begin with an IPv4 address each, such as 127.0.0.2 rack:b cpus:4")
    named: dict[str, str] = {}
    for word in words[1:]:
        name, _colon, value = word.partition(":")
        if not name or not value or name in named or name == "hostname":
            raise ValueError(f"has {word!r} where name:value is wanted, each name once")
        named[name] = value
    cpus, mem_mib = _amount(named, "cpus", CPUS), _amount(named, "mem", MEM_MIB)
    return AgentSpec(host, named, cpus, mem_mib)


def _amount(named: dict[str, str], name: str, default: float) -> float:
    text = named.pop(name, "")
    if not text:
        return default
    amount = float(text) if text.replace(".", "", 1).isdecimal() and text.isascii() else 0.0
    if not 0 < amount <= 1e9:
        raise ValueError(f"has {name}:{text} where a number is wanted")
    return amount


def whole(low: int, high: int, why: str = "") -> Parse:
    """A whole number from ``low`` to ``high``."""
    wanted = f"must be a whole number from {low} to {high}{why and f' ({why})'}"

    def parse(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(wanted)
        return int(text)

    return parse


def number(low: float, high: float) -> Parse:
    """A finite number from ``low`` to ``high``."""
    wanted = f"must be a number from {low:g} to {high:g}"

    def parse(text: str) -> float:
        if not _NUMBER.fullmatch(text):
            raise ValueError(wanted)
        value = float(text)
        if not math.isfinite(value) or not low <= value <= high:
            raise ValueError(wanted)
        return value

    return parse


def choice(*values: str) -> Parse:
    """One of a few words."""
    wanted = f"must be {', '.join(values[:-1])} or {values[-1]}"

    def parse(text: str) -> str:
        word = text.lower().replace("_", "-")
        if word not in values:
            raise ValueError(wanted)
        return word

    return parse


def switch(text: str) -> bool:
    """On or off, in the words that configparser takes."""
    word = text.lower()
    if word in {"1", "yes", "true", "on"}:
        return True
    if word in {"0", "no", "false", "off"}:
        return False
    raise ValueError("must be yes or no")


def thresholds(text: str) -> tuple[str, ...]:
    """Thresholds with commas between them (``options/thresholds.py``), each in its plainest form."""
    found = []
    for part in text.split(","):
        if part.strip():
            try:
                found.append(str(parse_threshold(part)))
            except ValueError as error:
                raise ValueError(str(error) if part == text else f"{error!s} (in {part.strip()!r})") from error
    return tuple(found)


def properties(text: str) -> tuple[str, ...]:
    """Settings of Kafka, NAME=VALUE, with commas or line ends between them; a value may hold commas itself."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        name = ""
        for part in line.split(","):
            if match := _PROPERTY.fullmatch(part.strip()):
                name, value = match[1], match[2]
                if name in found:
                    raise ValueError(f"names {name} twice")
                found[name] = value
            elif name:
                found[name] += f",{part.strip()}"
            elif part.strip():
                raise ValueError("must be NAME=VALUE, such as num.io.threads=4")
    return tuple(f"{name}={value.rstrip(',')}" for name, value in found.items())


def labels(text: str) -> tuple[str, ...]:
    """Labels of Kubernetes, ``NAME=VALUE``, with commas between them."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(_LABEL.fullmatch(part) for part in found):
        raise ValueError("must be LABEL=VALUE, such as kubernetes.io/hostname=node-1")
    return found


def resources(text: str) -> tuple[str, ...]:
    """Quantities of Kubernetes by resource, such as ``cpu=500m,memory=256Mi``, with commas between them."""
    found = properties(text)
    if not all(_QUANTITY.fullmatch(item.partition("=")[2]) for item in found):
        raise ValueError("must be RESOURCE=QUANTITY, such as cpu=500m,memory=256Mi")
    return found


def tolerations(text: str) -> tuple[str, ...]:
    """Taints, ``KEY`` or ``KEY=VALUE``, each with an effect after a colon or without, with commas between them."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(_TOLERATION.fullmatch(part) for part in found):
        raise ValueError("must be KEY, KEY=VALUE, or either with :NoSchedule, :PreferNoSchedule or :NoExecute")
    return found


def driver(*names: str) -> Parse:
    """The name of a driver, or ``package.module:Class`` or ``path/to/file.py:Class`` for one of the user's own."""
    own = "package.module:Class or path/to/file.py:Class of a driver of your own"
    wanted = f"must be {', '.join(names[:-1])} or {names[-1]}, or {own}"

    def parse(text: str) -> str:
        if _CLASS_IN_FILE.fullmatch(text) or _IMPORT_PATH.fullmatch(text):
            return text
        word = text.lower().replace("_", "-")
        if word not in names:
            raise ValueError(wanted)
        return word

    return parse


def topic(text: str) -> str:
    """The name of a topic that is not one which Hydra makes, and deletes."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("must be the name of a topic: letters, digits, dots, dashes and underscores, 249 at most")
    if RUN_ID.fullmatch(text):
        raise ValueError("must be a topic of your own: one of that name is a run's, and 'hydra clean' deletes it")
    return text


def prefix(text: str) -> str:
    """What the names of clients or groups begin with."""
    if not _PREFIX.fullmatch(text):
        raise ValueError("must be letters, digits, dots, dashes, colons and underscores, 100 at most")
    return text


def payload(text: str) -> str:
    """``zeros``, ``random``, or the path of a file."""
    word = text.lower()
    return word if word in PAYLOADS else path(text)


def path(text: str) -> str:
    """A path in the file system."""
    if not text or "\0" in text:
        raise ValueError("must be a path")
    return text


def host_ports(text: str) -> str:
    """host:port pairs with commas between them, as Kafka's ``bootstrap.servers``."""
    pairs = [pair.strip() for pair in text.split(",")]
    for pair in pairs:
        match = _HOST_PORT.fullmatch(pair)
        if not match or not 1 <= int(match[2]) <= 65535:
            raise ValueError("must be host:port, or several with commas between them")
    return ",".join(pairs)


def http_urls(text: str) -> str:
    """The addresses of an HTTP API, with commas between them."""
    return ",".join(http_url(url.strip()) for url in text.split(","))


def http_url(text: str) -> str:
    """The address of an HTTP API."""
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise ValueError("must not carry a user name or password")
    match = _URL.fullmatch(text)
    if not match or not 1 <= int(match["port"] or 80) <= 65535:
        raise ValueError("must be a URL such as http://10.0.0.2:8080")
    return text.rstrip("/")


def kafka_security(text: str) -> str:
    """What an embedded Kafka asks of its clients, such as ``sasl_ssl:scram-sha-512``."""
    word = text.lower()
    split_security(word)
    return word


def split_security(text: str) -> tuple[str, str, bool]:
    """(security.protocol, sasl.mechanism or nothing, whether clients need a certificate) of ``--kafka_security``.

    Raises:
        ValueError: with the rest of the sentence 'NAME=TEXT ...'.
    """
    protocol, _, rest = text.partition(":")
    protocol, mechanism = protocol.upper().replace("-", "_"), rest.upper().replace("_", "-")
    if protocol in {PLAINTEXT, SSL} and mechanism in ({"", "MTLS"} if protocol == SSL else {""}):
        return protocol, "", bool(mechanism)
    if protocol in {SASL_PLAINTEXT, SASL_SSL} and mechanism in EMBEDDED_MECHANISMS:
        return protocol, mechanism, False
    mechanisms = ", ".join(name.lower() for name in EMBEDDED_MECHANISMS)
    raise ValueError(
        f"must be plaintext, ssl, ssl:mtls, or sasl_plaintext or sasl_ssl with a mechanism, such as"
        f" sasl_ssl:scram-sha-512; mechanisms are {mechanisms}"
    )


def security_protocol(text: str) -> str:
    """Kafka's security.protocol."""
    word = text.upper().replace("-", "_")
    if word not in PROTOCOLS:
        raise ValueError(f"must be {', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}")
    return word


def sasl_mechanism(text: str) -> str:
    """Kafka's sasl.mechanism."""
    word = text.upper()
    word = word if word == AWS_MSK_IAM else word.replace("_", "-")
    if word not in MECHANISMS:
        raise ValueError(f"must be {', '.join(MECHANISMS[:-1])} or {MECHANISMS[-1]}")
    return word


def words(text: str) -> str:
    """Any text that can be printed in a line."""
    if not text or not text.isprintable():
        raise ValueError("must be a text that can be printed")
    return text


def app_group(text: str) -> str:
    """The id of a Marathon group: segments of lower case letters, digits and dashes, with slashes between them."""
    segments: Sequence[str] = text.strip("/").split("/")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise ValueError("must be made of lower case letters, digits and dashes, such as g1")
    return "/".join(segments)


def dns_label(text: str) -> str:
    """A name of Kubernetes' namespaces (RFC 1123, a label)."""
    if not _SEGMENT.fullmatch(text) or len(text) > 63:
        raise ValueError("must be 63 lower case letters, digits and dashes at most, such as hydra")
    return text


def place(text: str) -> str:
    """An address, a host name or a network interface of this machine, with a port or without."""
    match = _PLACE.fullmatch(text)
    if not match or not 1 <= int(match["port"] or 1) <= 65535:
        raise ValueError("must be an address or an interface of this machine, such as 10.0.0.5, 10.0.0.5:9800 or eth0")
    return text


def agents(text: str) -> str:
    """The virtual agents of a local Marathon."""
    parse_agents(text)
    return text


def attribute(text: str) -> str:
    """An agent's attribute and its value, split at the first dot."""
    name, _dot, value = text.partition(".")
    if not name or not value or not text.isprintable():
        raise ValueError("must be attribute.value, such as slave_id.slave-set1_0")
    return text
