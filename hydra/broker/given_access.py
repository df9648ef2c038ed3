"""How the user's own Kafka lets clients in: what the options, their files and the environment say, made one fact.

A flag wins over ``--kafka_config``. A secret is the one of ``--kafka_secrets``, else that of ``--kafka_config``, else
that of the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hydra.broker.key_stores import KeyStore, pem_store, read_store
from hydra.clients.library_access import check_mechanism
from hydra.clients.tls_context import client_context
from hydra.errors import UsageError
from hydra.files.private_file import check_private, read_file
from hydra.options.client_properties import TOKEN_COMMAND, ClientProperties, aws_region
from hydra.options.kafka_access import (
    AWS_MSK_IAM,
    OAUTHBEARER,
    PASSWORD_MECHANISMS,
    PLAINTEXT,
    SASL_PLAINTEXT,
    SASL_SSL,
    SSL,
    KafkaAccess,
    TokenSource,
)
from hydra.options.options import Options
from hydra.options.reader import read_client_properties

SECRET_NAMES = ("password", "key_password", "client_secret")
ENVIRONMENT_PREFIX = "HYDRA_KAFKA_"
_SECRET = re.compile(rf"\s*({'|'.join(SECRET_NAMES)})\s*=\s*(\S|\S.*\S)\s*")


@dataclass(frozen=True)
class _Given:
    """What is said, and by whom."""

    properties: ClientProperties
    secrets: Mapping[str, str] = field(repr=False)


def access_to_brokers(options: Options, environment: Mapping[str, str] = os.environ) -> KafkaAccess:
    """The access to the brokers that ``bootstrap_servers`` names.

    Raises:
        UsageError: something is missing, contradictory or cannot be read; names the option or the setting.
    """
    found = read_client_properties(options.kafka_config) if options.kafka_config is not None else ClientProperties()
    given = _Given(_with_flags(found, options), _secrets(options, environment))
    properties = given.properties
    _check_text({"--sasl_username": properties.username, **given.secrets})
    protocol = properties.protocol or _implied_protocol(properties)
    _check_protocol(protocol, properties)
    access = KafkaAccess(protocol=protocol)
    if access.tls:
        access = _with_tls(access, given)
    if access.sasl:
        servers = options.bootstrap_servers or properties.bootstrap_servers
        access = _with_sasl(access, given, aws_region(servers) or environment.get("AWS_REGION", ""))
    check_mechanism(access, (options.pub_driver, options.sub_driver))
    if access.tls:
        client_context(access)  # what cannot be used shows here, before anything is started
    return access


def _check_text(given: Mapping[str, str]) -> None:
    """See that what goes to a broker is UTF-8: Python keeps other bytes of flags and environment as surrogates."""
    for name, value in given.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{_named(name)} is not UTF-8 text", hint="see the locale of this terminal") from None


def _named(name: str) -> str:
    prefix, environment, variable = name.partition("environment ")
    return f"{ENVIRONMENT_PREFIX}{variable.upper()}" if environment else prefix


def _with_flags(found: ClientProperties, options: Options) -> ClientProperties:
    found = replace(
        found,
        protocol=options.security_protocol or found.protocol,
        mechanism=options.sasl_mechanism or found.mechanism,
        username=options.sasl_username or found.username,
    )
    if options.kafka_ca_file is not None:
        pem = read_file(options.kafka_ca_file, f"--kafka_ca_file={options.kafka_ca_file}")
        found = replace(found, trusted_pem=pem.decode("ascii", "replace"), trusted=type(found.trusted)())
    return found


def _secrets(options: Options, environment: Mapping[str, str]) -> Mapping[str, str]:
    if options.kafka_secrets is None:
        found = {name: environment.get(ENVIRONMENT_PREFIX + name.upper(), "") for name in SECRET_NAMES}
        return {f"environment {name}": value for name, value in found.items() if value}
    origin = f"--kafka_secrets={options.kafka_secrets}"
    content = read_file(options.kafka_secrets, origin)
    check_private(options.kafka_secrets, origin)
    secrets: dict[str, str] = {}
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{origin} is not UTF-8 text") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _SECRET.fullmatch(line)
        if match is None or match[1] in secrets:
            raise UsageError(f"{origin}: line {number} is not {', '.join(SECRET_NAMES)} = value, each once")
        secrets[match[1]] = match[2]
    if not secrets:
        raise UsageError(f"{origin} is empty", hint=f"it holds lines {', '.join(SECRET_NAMES)} = value")
    return secrets


def _secret(given: _Given, name: str, configured: str) -> str:
    return given.secrets.get(name) or configured or given.secrets.get(f"environment {name}", "")


def _implied_protocol(properties: ClientProperties) -> str:
    """What goes without saying: nobody gives a user to a listener that does not ask for one."""
    tls = any((properties.trusted.path, properties.trusted_pem, properties.own.path, properties.certificate_path))
    if properties.mechanism or properties.username:
        return SASL_SSL if tls or properties.mechanism == AWS_MSK_IAM else SASL_PLAINTEXT
    return SSL if tls else PLAINTEXT


def _check_protocol(protocol: str, properties: ClientProperties) -> None:
    if properties.mechanism and protocol not in {SASL_PLAINTEXT, SASL_SSL}:
        raise UsageError(
            f"security.protocol={protocol} does not go with sasl.mechanism={properties.mechanism}",
            hint="use SASL_SSL or SASL_PLAINTEXT, or leave the mechanism out",
        )
    if protocol in {SASL_PLAINTEXT, SASL_SSL} and not properties.mechanism:
        hint = "give --sasl_mechanism, such as PLAIN or SCRAM-SHA-512"
        raise UsageError(f"security.protocol={protocol} needs a sasl.mechanism", hint=hint)


def _with_tls(access: KafkaAccess, given: _Given) -> KafkaAccess:
    properties = given.properties
    ca_pem, own = "", KeyStore()
    if properties.trusted.path:
        ca_pem = read_store(properties.trusted, "ssl.truststore.location").certificates_pem
    elif properties.trusted_pem:
        ca_pem = pem_store(properties.trusted_pem, "--kafka_ca_file (ssl.truststore.certificates)").certificates_pem
    if properties.own.path:
        own = read_store(properties.own, "ssl.keystore.location", private=True)
    elif properties.certificate_pem or properties.key_pem:
        own = pem_store(f"{properties.certificate_pem}\n{properties.key_pem}", "ssl.keystore.certificate.chain")
    elif properties.certificate_path or properties.key_path:
        own = _read_pair(properties)
    if bool(own.certificates_pem) != bool(own.key_pem):
        has, lacks = ("certificate", "key") if own.certificates_pem else ("key", "certificate")
        raise UsageError(f"the client's {has} for Kafka comes without its {lacks}", hint="give both (ssl.keystore.*)")
    return replace(
        access,
        ca_pem=ca_pem,
        certificate_pem=own.certificates_pem,
        key_pem=own.key_pem,
        key_password=_secret(given, "key_password", properties.key_password) if own.is_encrypted else "",
        check_hostname=properties.check_hostname,
        verify_certificate=properties.verify_certificate,
    )


def _read_pair(properties: ClientProperties) -> KeyStore:
    """Certificate and key of two files, as librdkafka has them."""
    for name, path in (
        ("ssl.certificate.location", properties.certificate_path),
        ("ssl.key.location", properties.key_path),
    ):
        if not path:
            raise UsageError(f"{name} is missing beside the other one of certificate and key")
    _check_private_key(properties.key_path)
    both = b"\n".join(
        read_file(path, f"{name}={path}")
        for name, path in (
            ("ssl.certificate.location", properties.certificate_path),
            ("ssl.key.location", properties.key_path),
        )
    )
    return pem_store(both.decode("ascii", "replace"), f"ssl.key.location={properties.key_path}")


def _check_private_key(path: str) -> None:
    """See that a key's file can be read, and by its owner alone.

    Raises:
        UsageError: it cannot, or others may.
    """
    origin = f"ssl.key.location={path}"
    read_file(path, origin)
    check_private(path, origin)


def _with_sasl(access: KafkaAccess, given: _Given, region: str) -> KafkaAccess:
    properties = given.properties
    access = replace(
        access,
        mechanism=properties.mechanism,
        username=properties.username,
        kerberos_service_name=properties.kerberos_service_name,
    )
    if properties.mechanism in PASSWORD_MECHANISMS:
        password = _secret(given, "password", properties.password)
        if not (properties.username and password):
            missing = "password" if properties.username else "user name"
            raise UsageError(
                f"sasl.mechanism={properties.mechanism} needs a {missing}",
                hint=f"give --sasl_username, and the password in --kafka_secrets or {ENVIRONMENT_PREFIX}PASSWORD",
            )
        return replace(access, password=password)
    if properties.mechanism == OAUTHBEARER:
        return replace(access, tokens=_tokens(given), username="")
    if properties.mechanism == AWS_MSK_IAM:
        if not region:
            raise UsageError("sasl.mechanism=AWS_MSK_IAM needs a region", hint="set AWS_REGION")
        return replace(access, aws_region=region, username="")
    return access


def _tokens(given: _Given) -> TokenSource:
    source = given.properties.tokens
    if not source.is_set:
        raise UsageError(
            "sasl.mechanism=OAUTHBEARER needs tokens",
            hint=f"set sasl.oauthbearer.token.endpoint.url (http, https or file) or {TOKEN_COMMAND} in --kafka_config",
        )
    if not source.url:
        return source
    secret = _secret(given, "client_secret", source.client_secret)
    if not (source.client_id and secret):
        missing = "client_secret in --kafka_secrets" if source.client_id else "sasl.oauthbearer.client.id"
        raise UsageError(f"the token endpoint {source.url} needs {missing}")
    return replace(source, client_secret=secret)
