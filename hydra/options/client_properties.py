"""A client properties file (``--kafka_config``): what it says of the connection, in Kafka's words and in librdkafka's.

Names are those of Kafka's own clients ("Configuration" of its documentation) and of librdkafka (CONFIGURATION.md). What
says nothing of the connection is known by how it begins, and ignored. No error quotes a value that may be a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from hydra.errors import ConfigurationError
from hydra.options.java_properties import Property, parse_jaas, parse_properties
from hydra.options.kafka_access import (
    AWS_MSK_IAM,
    DEFAULT_SERVICE_NAME,
    GSSAPI,
    NO_TOKENS,
    OAUTHBEARER,
    SCRAM_MECHANISMS,
    TokenSource,
)
from hydra.options.parsers import host_ports, sasl_mechanism, security_protocol, switch

TOKEN_COMMAND = "hydra.sasl.oauthbearer.token.command"  # noqa: S105
"""Hydra's own setting: a command line that prints a token."""

_ALIASES: Mapping[str, str] = {
    "sasl.mechanisms": "sasl.mechanism",
    "metadata.broker.list": "bootstrap.servers",
    "sasl.oauthbearer.client.credentials.client.id": "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.credentials.client.secret": "sasl.oauthbearer.client.secret",
    "ssl.ca.pem": "ssl.truststore.certificates",
    "ssl.certificate.pem": "ssl.keystore.certificate.chain",
    "ssl.key.pem": "ssl.keystore.key",
}
_READ = (
    "bootstrap.servers", "security.protocol", "sasl.mechanism", "sasl.jaas.config", "sasl.username", "sasl.password",
    "sasl.kerberos.service.name", "sasl.kerberos.principal", "sasl.client.callback.handler.class",
    "sasl.login.callback.handler.class", "sasl.oauthbearer.method", "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret", "sasl.oauthbearer.scope", "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.token.endpoint.url", "ssl.truststore.location", "ssl.truststore.type", "ssl.truststore.password",
    "ssl.truststore.certificates", "ssl.keystore.location", "ssl.keystore.type", "ssl.keystore.password",
    "ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.key.password", "ssl.ca.location",
    "ssl.certificate.location", "ssl.key.location", "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification", TOKEN_COMMAND,
)  # fmt: skip
_SECRET = (
    "sasl.password", "sasl.oauthbearer.client.secret", "ssl.keystore.password", "ssl.keystore.key",
    "ssl.key.password", TOKEN_COMMAND,
)  # fmt: skip
_SECRET_OPTIONS = frozenset({"password", "clientSecret"})
"""Of a login module."""

_IGNORED = re.compile(
    r"sasl\.login\.(refresh|retry|connect|read)\..*|sasl\.oauthbearer\.(scope|sub)\.claim\.name"
    r"|sasl\.kerberos\.(kinit|ticket|min|keytab).*|ssl\.(protocol|enabled\.protocols|trustmanager|keymanager)(\..*)?"
    r"|(acks|retries|debug|log_level|client|group|key|value|fetch|max|min|auto|session|heartbeat|reconnect|retry|request"
    r"|socket|log|topic|queue|queued|queuing|message|batch|linger|transaction|transactional|metadata|compression"
    r"|connections|default|delivery|isolation|statistics|api|broker|buffer|send|receive|exclude|allow|check|partitioner"
    r"|partition|interceptor|metric|metrics|schema|basic|bearer|confluent|avro|internal|coordinator|offset|plugin"
    r"|sticky|dr_cb|enable\.(auto|idempotence|metrics|partition|random|gapless)|background|open|builtin|share)(\..*)?"
)
"""What has no say in how a connection is secured, or what Hydra, Python and OpenSSL choose themselves."""

_NAME = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+){1,12}")
"""What a setting of a client of Kafka is called."""

_PLACEHOLDER = re.compile(r"\$\{[^}]*\}|\{\{[^}]*\}\}")
_MODULES: Mapping[str, tuple[str, ...]] = {
    "PlainLoginModule": ("PLAIN",),
    "ScramLoginModule": SCRAM_MECHANISMS,
    "OAuthBearerLoginModule": (OAUTHBEARER,),
    "Krb5LoginModule": (GSSAPI,),
    "IAMLoginModule": (AWS_MSK_IAM,),
}
_AWS_HANDLERS = ("IAMClientCallbackHandler", "IAMOAuthBearerLoginCallbackHandler")
_TOKEN_HANDLERS = ("OAuthBearerLoginCallbackHandler", "OAuthBearerUnsecuredLoginCallbackHandler")
_AWS_REGION = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com")


@dataclass(frozen=True)
class Store:
    """A store of certificates or keys: a path, and the password that it is opened with."""

    path: str = ""
    password: str = field(default="", repr=False)
    kind: str = ""
    """PEM, PKCS12 or JKS where it is said."""


@dataclass(frozen=True)
class ClientProperties:
    """What a client properties file says of the connection; empty or None where it says nothing."""

    bootstrap_servers: str = ""
    protocol: str = ""
    mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    trusted: Store = Store()
    trusted_pem: str = ""
    own: Store = Store()
    """The client's certificate and key in one store."""
    certificate_path: str = ""
    key_path: str = ""
    certificate_pem: str = ""
    key_pem: str = field(default="", repr=False)
    key_password: str = field(default="", repr=False)
    check_hostname: bool = True
    verify_certificate: bool = True
    tokens: TokenSource = NO_TOKENS
    kerberos_service_name: str = DEFAULT_SERVICE_NAME
    has_secrets: bool = False
    """Whether the file itself holds a secret."""
    ignored: tuple[str, ...] = ()
    """Settings that have no effect here."""


def parse_client_properties(text: str, *, name: str) -> ClientProperties:
    """Read the text of the file of this name.

    Raises:
        ConfigurationError: names file, line and setting of what is unknown, contradictory or malformed.
    """
    try:
        settings = parse_properties(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from error
    return _PropertiesReader(settings, name).read()


class _PropertiesReader:
    """Reads the settings of one file."""

    def __init__(self, settings: Iterable[Property], name: str) -> None:
        self._file = name
        self._found: dict[str, Property] = {}
        self._ignored: list[str] = []
        for setting in settings:
            known = _ALIASES.get(setting.name, setting.name)
            if known in _READ:
                self._add(known, setting)
            elif _IGNORED.fullmatch(setting.name):
                self._ignored.append(setting.name)
            else:
                raise self._unknown(setting)

    def _unknown(self, setting: Property) -> ConfigurationError:
        # A key or a password over several lines, of which the first does not end in a backslash, looks like names.
        if not _NAME.fullmatch(setting.name):
            hint = "a value goes on in the next line only behind a backslash; what stands in this line is not shown"
            return ConfigurationError(f"{self._file}:{setting.line}: no setting begins like this line", hint=hint)
        near = difflib.get_close_matches(setting.name, (*_READ, *_ALIASES), n=1, cutoff=0.8)
        hint = f"did you mean {near[0]}?" if near else "leave it out, if the connection does without"
        return ConfigurationError(f"{self._origin(setting)} is not known", hint=hint)

    def _origin(self, setting: Property) -> str:
        return f"{self._file}:{setting.line}: {setting.name}"

    def _add(self, known: str, setting: Property) -> None:
        before = self._found.get(known)
        if before is not None and before.value != setting.value:
            raise ConfigurationError(
                f"{self._origin(setting)} contradicts {before.name} in line {before.line}", hint="keep one of them"
            )
        if _PLACEHOLDER.search(setting.value):
            raise ConfigurationError(
                f"{self._origin(setting)} has a placeholder in place of a value", hint="write the value itself"
            )
        self._found[known] = setting

    def _text(self, name: str) -> str:
        return self._found[name].value if name in self._found else ""

    def _parsed(self, name: str, parse: Callable[[str], object]) -> object:
        """A value that is no secret."""
        setting = self._found.get(name)
        if setting is None or not setting.value:
            return ""
        try:
            return parse(setting.value)
        except ValueError as error:
            raise ConfigurationError(f"{self._origin(setting)} = {setting.value[:80]!r} {error}") from error

    def read(self) -> ClientProperties:
        """What it says."""
        module, named = self._jaas()
        mechanism = self._mechanism(module)
        named_algorithm = self._found.get("ssl.endpoint.identification.algorithm")
        algorithm = str(self._parsed("ssl.endpoint.identification.algorithm", _algorithm))
        verify = self._parsed("enable.ssl.certificate.verification", switch)
        return ClientProperties(
            bootstrap_servers=str(self._parsed("bootstrap.servers", _servers)),
            protocol=str(self._parsed("security.protocol", security_protocol)),
            mechanism=mechanism,
            username=self._either("sasl.username", named, "username")
            or self._either("sasl.kerberos.principal", named, "principal"),
            password=self._either("sasl.password", named, "password"),
            trusted=self._trusted(),
            trusted_pem=self._text("ssl.truststore.certificates"),
            own=self._store("ssl.keystore"),
            certificate_path=self._text("ssl.certificate.location"),
            key_path=self._text("ssl.key.location"),
            certificate_pem=self._text("ssl.keystore.certificate.chain"),
            key_pem=self._text("ssl.keystore.key"),
            key_password=self._text("ssl.key.password"),
            # Kafka's own clients do not check where it is empty.
            check_hostname=named_algorithm is None or algorithm == "https",
            verify_certificate=verify is not False,
            tokens=self._tokens(named) if mechanism == OAUTHBEARER else TokenSource(),
            kerberos_service_name=self._either("sasl.kerberos.service.name", named, "serviceName")
            or DEFAULT_SERVICE_NAME,
            has_secrets=any(self._text(secret) for secret in _SECRET) or not _SECRET_OPTIONS.isdisjoint(named),
            ignored=tuple(self._ignored),
        )

    def _jaas(self) -> tuple[str, Mapping[str, str]]:
        setting = self._found.get("sasl.jaas.config")
        if setting is None or not setting.value:
            return "", {}
        try:
            module, named = parse_jaas(setting.value)
        except ValueError as error:
            raise ConfigurationError(f"{self._origin(setting)} {error}") from error
        module = module.rpartition(".")[2]
        if module not in _MODULES:
            text = f"{self._origin(setting)} names the login module {module}, which is not known here"
            raise ConfigurationError(text, hint=f"one of {', '.join(_MODULES)}")
        return module, named

    def _mechanism(self, module: str) -> str:
        mechanism = str(self._parsed("sasl.mechanism", sasl_mechanism))
        for handler in ("sasl.client.callback.handler.class", "sasl.login.callback.handler.class"):
            kind = self._text(handler).rpartition(".")[2]
            if kind in _AWS_HANDLERS:
                return AWS_MSK_IAM
            if kind and kind not in _TOKEN_HANDLERS:
                raise ConfigurationError(
                    f"{self._origin(self._found[handler])} = {kind} is not known here",
                    hint=f"set {TOKEN_COMMAND} to a command line that prints a token",
                )
        if not module:
            return mechanism
        fitting = _MODULES[module]
        if mechanism and mechanism not in fitting:
            text = f"{self._origin(self._found['sasl.jaas.config'])} is for {' or '.join(fitting)}"
            raise ConfigurationError(f"{text}, and sasl.mechanism is {mechanism}", hint="change one of them")
        if not mechanism and len(fitting) > 1:
            text = f"{self._origin(self._found['sasl.jaas.config'])} needs sasl.mechanism beside it"
            raise ConfigurationError(text, hint=f"one of {', '.join(fitting)}")
        return mechanism or fitting[0]

    def _either(self, name: str, named: Mapping[str, str], option: str) -> str:
        """A setting, or the option of the login module that says the same."""
        value, other = self._text(name), named.get(option, "")
        if value and other and value != other:
            text = f"{self._origin(self._found[name])} contradicts {option} of sasl.jaas.config"
            raise ConfigurationError(text, hint="keep one of them")
        return value or other

    def _trusted(self) -> Store:
        store, location = self._store("ssl.truststore"), self._text("ssl.ca.location")
        names = ("ssl.truststore.location", "ssl.ca.location", "ssl.truststore.certificates")
        given = [self._found[name].name for name in names if self._text(name)]
        if len(given) > 1:
            raise ConfigurationError(f"{self._file}: {' and '.join(given)} are both set", hint="keep one of them")
        if location == "probe":
            return Store()
        return Store(location, kind="PEM") if location else store

    def _store(self, prefix: str) -> Store:
        kind = self._text(f"{prefix}.type").upper()
        return Store(self._text(f"{prefix}.location"), self._text(f"{prefix}.password"), kind)

    def _tokens(self, named: Mapping[str, str]) -> TokenSource:
        command, url = self._text(TOKEN_COMMAND), self._text("sasl.oauthbearer.token.endpoint.url")
        if command and url:
            where = self._origin(self._found[TOKEN_COMMAND])
            text = f"{where} contradicts sasl.oauthbearer.token.endpoint.url"
            raise ConfigurationError(text, hint="keep one of them")
        extensions = {name.removeprefix("extension_"): text for name, text in named.items() if "extension_" in name}
        for pair in filter(None, self._text("sasl.oauthbearer.extensions").split(",")):
            key, _, value = pair.partition("=")
            extensions[key.strip()] = value.strip()
        pairs = tuple(extensions.items())
        if url.startswith("file:"):
            return TokenSource(file=re.sub(r"^file:(//[^/]*)?", "", url), extensions=pairs)
        if not url:
            return TokenSource(command=command, extensions=pairs)
        if not re.match(r"https?://[^@\s]+$", url):
            where = self._origin(self._found["sasl.oauthbearer.token.endpoint.url"])
            raise ConfigurationError(f"{where} must be an http(s) or file URL, without user and password")
        return TokenSource(
            url=url,
            client_id=self._either("sasl.oauthbearer.client.id", named, "clientId"),
            client_secret=self._either("sasl.oauthbearer.client.secret", named, "clientSecret"),
            scope=self._either("sasl.oauthbearer.scope", named, "scope"),
            extensions=pairs,
        )


def _algorithm(text: str) -> str:
    word = text.lower()
    if word not in {"https", "none"}:
        raise ValueError("must be https, none or empty")
    return word


def _servers(text: str) -> str:
    """host:port pairs, also with Kafka's ``PROTOCOL://`` before them."""
    return host_ports(re.sub(r"\b[A-Z_]+://", "", text))


def aws_region(bootstrap_servers: str) -> str:
    """The region in the name of an MSK broker; empty where there is none."""
    match = _AWS_REGION.search(bootstrap_servers)
    return match[1] if match else ""
