"""What an embedded Kafka asks of its clients (``--kafka_security``), and the secrets for it, made on the spot.

Settings are those of Kafka 4. Brokers speak to each other over the same listener, as the same user.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.broker.server_properties import properties_text
from hydra.codec import DecodeError, decode, encode
from hydra.errors import BrokerError
from hydra.files.atomic_write import write_secret
from hydra.files.bounded_read import read_bounded
from hydra.options.kafka_access import OAUTHBEARER, PLAINTEXT, SCRAM_MECHANISMS, KafkaAccess, TokenSource
from hydra.options.parsers import split_security

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

USER = "hydra"
ACCESS_FILE = "kafka-access"
"""In the folder of a local stack: how its Kafka lets clients in."""

MAX_ACCESS_BYTES = 1024 * 1024
LISTENER = "CLIENTS"
NAMES = ("127.0.0.1", "localhost")
"""What the broker's certificate is for."""

_TOKEN_LIFETIME_S = 30 * 86_400.0
_TOKEN_AUDIENCE = "hydra-kafka"  # noqa: S105
_JWKS_FILE, _TOKEN_FILE, _SCRAM_FILE = "jwks.json", "token.jwt", "format-arguments"
_SECURITY = "org.apache.kafka.common.security"
_LOGIN_MODULES = {
    "PLAIN": f"{_SECURITY}.plain.PlainLoginModule",
    OAUTHBEARER: f"{_SECURITY}.oauthbearer.OAuthBearerLoginModule",
    **dict.fromkeys(SCRAM_MECHANISMS, f"{_SECURITY}.scram.ScramLoginModule"),
}


@dataclass(frozen=True)
class BrokerSecrets:
    """Of one embedded Kafka: certificates and keys (PEM), a password, a signed token and what it is checked by."""

    ca_pem: str
    broker_certificate_pem: str
    broker_key_pem: str = field(repr=False)
    client_certificate_pem: str
    client_key_pem: str = field(repr=False)
    password: str = field(repr=False)
    token: str = field(repr=False)
    jwks: str


def make_secrets() -> BrokerSecrets:
    """New ones."""
    import trustme
    from cryptography.hazmat.primitives.asymmetric import rsa

    authority = trustme.CA(organization_name="Hydra", organization_unit_name="embedded Kafka")
    broker = authority.issue_cert(*NAMES)
    client = authority.issue_cert(f"{USER}@localhost", common_name=USER)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return BrokerSecrets(
        ca_pem=authority.cert_pem.bytes().decode(),
        broker_certificate_pem=_chain(broker),
        broker_key_pem=_pkcs8(broker.private_key_pem.bytes()),
        client_certificate_pem=_chain(client),
        client_key_pem=_pkcs8(client.private_key_pem.bytes()),
        password=secrets.token_urlsafe(24),
        token=signed_token(key, time.time() + _TOKEN_LIFETIME_S),
        jwks=_public_keys(key),
    )


def _chain(certificate: object) -> str:
    return "".join(blob.bytes().decode() for blob in certificate.cert_chain_pems)  # type: ignore[attr-defined]


def _pkcs8(pem: bytes) -> str:
    """A key as Kafka reads it."""
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(pem, None)
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed_token(key: RSAPrivateKey, expires_s: float) -> str:
    """A JSON web token for the user (RFC 7519, signed by RS256)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    times = {"iat": int(min(time.time(), expires_s - 1)), "exp": int(expires_s)}
    claims = {"sub": USER, "iss": USER, "aud": _TOKEN_AUDIENCE, **times, "scope": "kafka"}
    parts = ({"alg": "RS256", "typ": "JWT", "kid": USER}, claims)
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64url(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _public_keys(key: RSAPrivateKey) -> str:
    """What a token's signature is checked by (RFC 7517)."""
    public = key.public_key().public_numbers()
    numbers = {
        name: _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        for name, number in (("n", public.n), ("e", public.e))
    }
    return json.dumps({"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": USER, **numbers}]})


class ListenerSecurity:
    """The security of one embedded Kafka's listener.

    Args:
        wanted: as ``--kafka_security`` says it, such as ``sasl_ssl:scram-sha-512`` (options/parsers.py).
        secrets_of: those of the broker; new ones unless they are given.
    """

    def __init__(self, wanted: str, secrets_of: BrokerSecrets | None = None) -> None:
        self.protocol, self.mechanism, self.wants_certificate = split_security(wanted)
        self._secrets = secrets_of or make_secrets()

    @property
    def access(self) -> KafkaAccess:
        """How a client is let in."""
        made, tls = self._secrets, self.protocol in {"SSL", "SASL_SSL"}
        by_password = self.mechanism not in {"", OAUTHBEARER}
        return KafkaAccess(
            protocol=self.protocol,
            mechanism=self.mechanism,
            username=USER if by_password else "",
            password=made.password if by_password else "",
            ca_pem=made.ca_pem if tls else "",
            certificate_pem=made.client_certificate_pem if self.wants_certificate else "",
            key_pem=made.client_key_pem if self.wants_certificate else "",
            tokens=TokenSource(token=made.token) if self.mechanism == OAUTHBEARER else TokenSource(),
        )

    @property
    def is_formatted_in(self) -> bool:
        """Whether the users are part of the data folder's format."""
        return self.mechanism in SCRAM_MECHANISMS

    def secured(self, properties: Mapping[str, str], folder: Path) -> dict[str, str]:
        """A broker's settings with this security in place of none; ``folder`` has what ``write_files`` writes."""
        settings = dict(properties)
        for name in ("listeners", "advertised.listeners"):
            settings[name] = settings[name].replace("PLAINTEXT://", f"{LISTENER}://")
        protocols = settings["listener.security.protocol.map"].replace(
            "PLAINTEXT:PLAINTEXT", f"{LISTENER}:{self.protocol}"
        )
        settings |= {"listener.security.protocol.map": protocols, "inter.broker.listener.name": LISTENER}
        if self.mechanism:
            settings["sasl.mechanism.inter.broker.protocol"] = self.mechanism
        return settings | self.listener_settings(LISTENER, folder)

    def listener_settings(self, listener: str, folder: Path) -> dict[str, str]:
        """The settings of a listener of this name."""
        made = self._secrets
        settings: dict[str, str] = {}
        if self.protocol in {"SSL", "SASL_SSL"}:
            settings |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.certificate.chain": made.broker_certificate_pem,
                "ssl.keystore.key": made.broker_key_pem,
                "ssl.truststore.type": "PEM",
                "ssl.truststore.certificates": made.ca_pem,
                "ssl.client.auth": "required" if self.wants_certificate else "none",
            }
        if self.mechanism:
            settings["sasl.enabled.mechanisms"] = self.mechanism
            prefix = self.mechanism.lower()
            settings[f"{prefix}.sasl.jaas.config"] = self._jaas()
            if self.mechanism == OAUTHBEARER:
                settings |= {
                    f"{prefix}.sasl.server.callback.handler.class": f"{_SECURITY}.oauthbearer"
                    ".OAuthBearerValidatorCallbackHandler",
                    f"{prefix}.sasl.login.callback.handler.class": f"{_SECURITY}.oauthbearer"
                    ".OAuthBearerLoginCallbackHandler",
                    "sasl.oauthbearer.jwks.endpoint.url": (folder / _JWKS_FILE).as_uri(),
                    "sasl.oauthbearer.token.endpoint.url": (folder / _TOKEN_FILE).as_uri(),
                    "sasl.oauthbearer.expected.audience": _TOKEN_AUDIENCE,
                    "sasl.oauthbearer.expected.issuer": USER,
                }
        return {f"listener.name.{listener.lower()}.{name}": value for name, value in settings.items()}

    def _jaas(self) -> str:
        named = {"username": USER, "password": self._secrets.password}
        if self.mechanism == "PLAIN":
            named[f"user_{USER}"] = self._secrets.password
        elif self.mechanism == OAUTHBEARER:
            named = {}
        pairs = "".join(f' {name}="{value}"' for name, value in named.items())
        return f"{_LOGIN_MODULES[self.mechanism]} required{pairs};"

    def write_files(self, folder: Path) -> None:
        """Write into the broker's folder what its settings name.

        Raises:
            OSError: a file cannot be made.
        """
        if self.mechanism == OAUTHBEARER:
            write_secret(folder / _JWKS_FILE, self._secrets.jwks.encode())
            write_secret(folder / _TOKEN_FILE, self._secrets.token.encode())
        if self.is_formatted_in:
            user = f"[name={USER},password={self._secrets.password}]"
            lines = (f"--add-scram\n{mechanism}={user}\n" for mechanism in SCRAM_MECHANISMS)
            write_secret(folder / _SCRAM_FILE, "".join(lines).encode())

    def format_arguments(self, folder: Path) -> tuple[str, ...]:
        """More arguments of Kafka's tool that formats a data folder; secrets are in a file, as others see arguments."""
        return (f"@{folder / _SCRAM_FILE}",) if self.is_formatted_in else ()

    def jvm_flags(self, folder: Path) -> tuple[str, ...]:
        """More flags of the broker's JVM: which URLs its settings may name."""
        if self.mechanism != OAUTHBEARER:
            return ()
        urls = ",".join((folder / name).as_uri() for name in (_JWKS_FILE, _TOKEN_FILE))
        return (f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={urls}",)


def listener_security(wanted: str | None) -> ListenerSecurity | None:
    """The security that ``--kafka_security`` asks for; None where that is none."""
    return None if wanted is None or wanted == PLAINTEXT.lower() else ListenerSecurity(wanted)


def write_settings(file: Path, properties: Mapping[str, str]) -> None:
    """Write a broker's settings, which may hold secrets, into a new file.

    Raises:
        OSError: it cannot be made.
    """
    write_secret(file, properties_text(properties).encode("ascii"))


def keep_access(folder: Path, access: KafkaAccess) -> None:
    """Keep in a stack's folder how its Kafka lets clients in, for all runs on it.

    Raises:
        OSError: it cannot be written.
    """
    write_secret(folder / ACCESS_FILE, encode(access))


def kept_access(folder: Path) -> KafkaAccess:
    """What ``keep_access`` kept; without security where it kept nothing.

    Raises:
        BrokerError: it cannot be read.
    """
    try:
        return decode(read_bounded(folder / ACCESS_FILE, MAX_ACCESS_BYTES, own=True), KafkaAccess)
    except FileNotFoundError:
        return KafkaAccess()
    except (OSError, ValueError, DecodeError) as error:
        raise BrokerError(f"the access to the local stack's Kafka cannot be read ({error})") from error
