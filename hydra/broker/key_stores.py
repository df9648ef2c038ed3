"""Certificates and keys as users keep them: PEM, and PKCS#12; a Java key store (JKS) is told how to convert."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hydra.errors import UsageError
from hydra.files.private_file import check_private, read_file
from hydra.options.client_properties import Store

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_JKS = b"\xfe\xed\xfe\xed"
_LINE = 64


@dataclass(frozen=True)
class KeyStore:
    """What a store holds, in PEM."""

    certificates_pem: str = ""
    """A client's own certificate comes first."""
    key_pem: str = field(default="", repr=False)
    is_encrypted: bool = False
    """Whether the key needs a password."""


def pem_store(text: str, origin: str) -> KeyStore:
    """What a text in PEM holds; one that lost its line ends, as properties files make them, is taken too.

    Raises:
        UsageError: it holds nothing of that; names the origin.
    """
    certificates, keys = [], []
    for kind, body in _PEM.findall(text):
        block = _block(kind, body)
        if kind.endswith("CERTIFICATE"):
            certificates.append(block)
        elif kind.endswith("PRIVATE KEY"):
            keys.append(block)
    if not certificates and not keys:
        raise UsageError(f"{origin} holds neither certificate nor key in PEM")
    if len(keys) > 1:
        raise UsageError(f"{origin} holds {len(keys)} keys", hint="keep one")
    key = "".join(keys)
    return KeyStore("".join(certificates), key, is_encrypted="ENCRYPTED" in key)


def _block(kind: str, body: str) -> str:
    if ":" not in body:  # no headers of the older form
        packed = "".join(body.split())
        body = "\n" + "\n".join(packed[at : at + _LINE] for at in range(0, len(packed), _LINE)) + "\n"
    return f"-----BEGIN {kind}-----{body}-----END {kind}-----\n"


def read_store(store: Store, name: str, *, private: bool = False) -> KeyStore:
    """What the store holds that the setting of this name names; a ``private`` one only its owner may read.

    Raises:
        UsageError: it cannot be read or opened, may be read by others, or is a Java key store.
    """
    origin = f"{name}={store.path}"
    content = read_file(store.path, origin)
    if private:
        check_private(store.path, origin)
    if content.startswith(_JKS):
        raise UsageError(
            f"{origin} is a Java key store (JKS), which only Java reads",
            hint=f"keytool -importkeystore -srckeystore {store.path} -destkeystore {store.path}.p12"
            " -deststoretype PKCS12, and name that file",
        )
    if b"-----BEGIN" in content:
        return pem_store(content.decode("ascii", "replace"), origin)
    if content[:1] == b"\x30":
        return _pkcs12(content, store, origin)
    raise UsageError(f"{origin} is neither PEM nor PKCS#12")


def _pkcs12(content: bytes, store: Store, origin: str) -> KeyStore:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.serialization import pkcs12

    try:
        opened = pkcs12.load_pkcs12(content, store.password.encode() or None)
    except (ValueError, TypeError) as error:
        hint = "check its password (ssl.truststore.password, ssl.keystore.password)"
        raise UsageError(f"{origin} cannot be opened as PKCS#12", hint=hint) from error
    held = [opened.cert] if opened.cert is not None else []
    certificates = [
        each.certificate.public_bytes(form.Encoding.PEM).decode() for each in (*held, *opened.additional_certs)
    ]
    key = ""
    if opened.key is not None:
        key = opened.key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
    return KeyStore("".join(certificates), key)
