"""Certificates and keys of a kubeconfig, as far as it shows before a connection whether they can be used."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from hydra.errors import UsageError
from hydra.files.atomic_write import reason_of
from hydra.files.bounded_read import read_bounded

MAX_FILE_BYTES = 4 * 1024 * 1024
HINT = "get a new kubeconfig, or log in again"


def check_authority(file: str, named: str) -> None:
    """Raise UsageError, which calls the file as it is ``named``, where it holds no certificate to trust."""
    with _refused("certificate authority", named):
        read_bounded(Path(file), MAX_FILE_BYTES)  # OpenSSL would read a device without end, and wait for a pipe
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)


def check_client(certificate: str, key: str, named: tuple[str, str], *, alone: bool) -> None:
    """Raise UsageError where the files of a client's certificate and key do not let it in.

    Args:
        certificate: PEM.
        key: PEM.
        named: what errors call the two.
        alone: there is nothing else that says who we are, so it has to be valid now.
    """
    from cryptography.x509 import load_pem_x509_certificate

    with _refused("client certificate", named[0]):
        found = load_pem_x509_certificate(read_bounded(Path(certificate), MAX_FILE_BYTES))
    with _refused("client key", named[1]):
        if b"ENCRYPTED" in read_bounded(Path(key), MAX_FILE_BYTES):
            raise ValueError("it is encrypted")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    now, begins, ends = datetime.now(timezone.utc), found.not_valid_before_utc, found.not_valid_after_utc
    if alone and not begins <= now <= ends:
        was = f"expired at {ends:%Y-%m-%d %H:%M}" if now > ends else f"begins at {begins:%Y-%m-%d %H:%M}"
        raise UsageError(f"the client certificate of the kubeconfig {was} UTC", hint=HINT)


@contextlib.contextmanager
def _refused(what: str, named: str) -> Iterator[None]:
    """Within this block errors are raised as a UsageError that names the file."""
    try:
        yield
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").lower().replace("_", " ")
    except OSError as error:
        reason = reason_of(error)
    except ValueError as error:
        reason = "it is encrypted" if "encrypted" in str(error) else "not PEM"
    else:
        return
    raise UsageError(f"the {what} of the kubeconfig cannot be used ({named}: {reason})", hint=HINT)
