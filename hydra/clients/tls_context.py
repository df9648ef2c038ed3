"""TLS to brokers: the context of a task's connections, and what its errors mean in plain words."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from typing import IO

from hydra.errors import UsageError
from hydra.options.kafka_access import KafkaAccess

_REASONS = {
    "CERTIFICATE_REQUIRED": "the brokers want a client certificate (ssl.keystore.* of --kafka_config)",
    "HANDSHAKE_FAILURE": "the broker refused the handshake: it may want a client certificate (ssl.keystore.*), or"
    " speak no version of TLS or cipher that is spoken here",
    "BAD_CERTIFICATE": "the broker refused the client certificate",
    "CERTIFICATE_UNKNOWN": "the broker refused the client certificate",
    "UNKNOWN_CA": "the broker does not trust the CA of the client certificate",
    "CERTIFICATE_EXPIRED": "the client certificate has expired, says the broker",
    "CERTIFICATE_REVOKED": "the client certificate was revoked, says the broker",
    "PROTOCOL_VERSION": "the broker speaks no version of TLS that is spoken here",
}
"""By the end of OpenSSL's name for an alert that the broker sent."""

NO_TLS_REASON = "this port does not speak TLS: give a listener with TLS, or --security_protocol=PLAINTEXT"
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "HTTP_REQUEST")
"""OpenSSL's names for an answer that is no TLS."""


def client_context(access: KafkaAccess) -> ssl.SSLContext:
    """The context of connections with this access.

    Raises:
        UsageError: certificates or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = access.check_hostname and access.verify_certificate
    context.verify_mode = ssl.CERT_REQUIRED if access.verify_certificate else ssl.CERT_NONE
    if access.ca_pem:
        try:
            context.load_verify_locations(cadata=access.ca_pem)
        except (ssl.SSLError, ValueError) as error:
            raise UsageError("the CA certificates for Kafka are not PEM", hint="see --kafka_ca_file") from error
    else:
        context.load_default_certs()
    if access.certificate_pem:
        with _as_file(access.certificate_pem + "\n" + access.key_pem) as path:
            try:
                # Without a password OpenSSL would ask for one at the terminal.
                context.load_cert_chain(path, password=lambda: access.key_password)
            except (ssl.SSLError, ValueError) as error:
                text = "the client certificate for Kafka and its key cannot be used together"
                hint = "check that the key belongs to the certificate, and ssl.key.password"
                raise UsageError(text, hint=hint) from error
    return context


@lru_cache(maxsize=4)
def shared_context(access: KafkaAccess, kind: type[ssl.SSLSocket] = ssl.SSLSocket) -> ssl.SSLContext:
    """The same for all connections of this process, since one takes milliseconds; it makes sockets of this kind."""
    context = client_context(access)
    context.sslsocket_class = kind
    return context


@contextlib.contextmanager
def _as_file(pem: str) -> Iterator[str]:
    """A path to read this from: OpenSSL reads keys from files only. It is in memory where the system can do that."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pem"), "wb") as memory:
            _fill(memory, pem)
            yield f"/proc/self/fd/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # of mode 0600
            _fill(file, pem)
            yield file.name


def _fill(file: IO[bytes], pem: str) -> None:
    file.write(pem.encode())
    file.flush()


def tls_reason(error: OSError, host: str) -> str:
    """Why a TLS connection to this host failed, in one sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_reason(error, host)
    reason = getattr(error, "reason", None) or ""
    for name, text in _REASONS.items():
        if reason.endswith(name) and "ALERT" in reason:
            return text
    if any(name in reason for name in _NO_TLS):
        return NO_TLS_REASON
    return f"TLS failed ({reason.lower().replace('_', ' ') or error.strerror or error})"


def _certificate_reason(error: ssl.SSLCertVerificationError, host: str) -> str:
    said = (error.verify_message or str(error)).rstrip(".")
    if error.verify_code in {62, 64}:  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return (
            f"the broker's certificate is not for {host}: use a name that it has, or"
            " ssl.endpoint.identification.algorithm= (empty) in --kafka_config"
        )
    if error.verify_code in {9, 10}:  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
        return f"the broker's {said}: renew it, and check this machine's clock"
    return f"the broker's certificate is not trusted ({said}): give its CA with --kafka_ca_file"
