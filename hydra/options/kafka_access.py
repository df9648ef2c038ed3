"""How Kafka lets its clients in: the fact that the controller makes once, and that tasks get over their signals.

It never stands in an order, a result, an argument or an environment, and ``repr`` shows no secret of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL = PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
"""Kafka's security.protocol."""

SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
PASSWORD_MECHANISMS = ("PLAIN", *SCRAM_MECHANISMS)
OAUTHBEARER, GSSAPI, AWS_MSK_IAM = "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM"
MECHANISMS = (*PASSWORD_MECHANISMS, OAUTHBEARER, GSSAPI, AWS_MSK_IAM)
"""Kafka's sasl.mechanism; AWS_MSK_IAM is OAUTHBEARER with tokens of AWS's own signer."""

EMBEDDED_MECHANISMS = (*PASSWORD_MECHANISMS, OAUTHBEARER)
"""Those that an embedded Kafka can ask for."""

DEFAULT_SERVICE_NAME = "kafka"
"""Of the brokers' Kerberos principals."""


@dataclass(frozen=True)
class TokenSource:
    """Where the tokens of OAUTHBEARER come from; exactly one of ``token``, ``file``, ``command`` and ``url`` is set."""

    token: str = field(default="", repr=False)
    file: str = ""
    """Read again whenever a new token is wanted, on each host."""
    command: str = field(default="", repr=False)
    """Run by a shell on each host whenever a new token is wanted: it prints one."""
    url: str = ""
    """Of an identity provider's token endpoint (OpenID Connect, grant type client_credentials)."""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    scope: str = ""
    extensions: tuple[tuple[str, str], ...] = ()
    """SASL extensions, such as Confluent Cloud's ``logicalCluster``."""

    @property
    def is_set(self) -> bool:
        """Whether there is any."""
        return bool(self.token or self.file or self.command or self.url)


NO_TOKENS = TokenSource()


@dataclass(frozen=True)
class KafkaAccess:
    """What a client needs to be let in; certificates and keys are texts in PEM, not paths: tasks have no files."""

    protocol: str = PLAINTEXT
    mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_pem: str = ""
    """Certificates that the brokers' is checked against; empty: those that the host's system trusts."""
    certificate_pem: str = ""
    """The client's certificate, with those between it and its CA; empty without one."""
    key_pem: str = field(default="", repr=False)
    key_password: str = field(default="", repr=False)
    check_hostname: bool = True
    verify_certificate: bool = True
    tokens: TokenSource = NO_TOKENS
    kerberos_service_name: str = DEFAULT_SERVICE_NAME
    aws_region: str = ""

    @property
    def secured(self) -> bool:
        """Whether there is more to do than to connect."""
        return self.protocol != PLAINTEXT

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol in {SSL, SASL_SSL}

    @property
    def sasl(self) -> bool:
        """Whether the client says who it is by SASL."""
        return self.protocol in {SASL_PLAINTEXT, SASL_SSL}

    @property
    def wire_mechanism(self) -> str:
        """The mechanism by the name that brokers know."""
        return OAUTHBEARER if self.mechanism == AWS_MSK_IAM else self.mechanism

    def __str__(self) -> str:
        """What may be shown: ``SASL_SSL SCRAM-SHA-512 as hydra``, ``SSL with a client certificate``."""
        parts = [self.protocol]
        if self.sasl:
            parts.append(self.mechanism)
            parts += ["as", self.username] if self.username else []
        elif self.certificate_pem:
            parts.append("with a client certificate")
        return " ".join(parts)


NO_SECURITY = KafkaAccess()
