"""SASL in Kafka's protocol: its requests as bytes, and what each mechanism says.

Requests: SaslHandshake 1, and SaslAuthenticate 1 or, for brokers before 2.2, SaslAuthenticate 0; notation is that of
``wire_protocol.py``. Mechanisms: PLAIN (RFC 4616), SCRAM (RFC 5802) and OAUTHBEARER (RFC 7628).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Generator

from hydra.clients.wire_protocol import INT32, Buffer, Reader, frame, string
from hydra.errors import BrokerError
from hydra.options.kafka_access import OAUTHBEARER, PASSWORD_MECHANISMS, SCRAM_MECHANISMS, KafkaAccess

SASL_HANDSHAKE, SASL_AUTHENTICATE = 17, 36

UNSUPPORTED_MECHANISM, ILLEGAL_SASL_STATE, AUTHENTICATION_FAILED = 33, 34, 58

WIRE_MECHANISMS = (*PASSWORD_MECHANISMS, OAUTHBEARER)
"""Those that are spoken here."""

MAX_ITERATIONS = 10_000_000
"""Of a salted password: a broker that asks for more would keep a task busy for seconds."""

Conversation = Generator[bytes, bytes, None]
"""What a mechanism says, and gets to hear; it ends once the broker has proved itself, where it can."""


def handshake_request(client_id: str, mechanism: str) -> bytearray:
    """Choose a mechanism (SaslHandshake 1)."""
    return frame(client_id, SASL_HANDSHAKE, 1, string(mechanism.encode()))


def read_handshake(buffer: Buffer, start: int) -> tuple[int, tuple[str, ...]]:
    """(error code, the mechanisms that the broker has)."""
    reader = Reader(buffer, start)
    return reader.int16(), tuple(reader.string() for _ in range(reader.int32()))


def authenticate_request(client_id: str, version: int, said: bytes) -> bytearray:
    """Say something in the conversation (SaslAuthenticate 0 or 1)."""
    return frame(client_id, SASL_AUTHENTICATE, version, INT32.pack(len(said)) + said)


def read_authenticated(version: int, buffer: Buffer, start: int) -> tuple[int, str, bytes, int]:
    """(error code, the broker's words about it, what it says, how many milliseconds the session lasts; 0: for ever)."""
    reader = Reader(buffer, start)
    error, words, said = reader.int16(), reader.string(), reader.octets()
    return error, words, said, reader.int64() if version >= 1 else 0


def conversation(access: KafkaAccess, salted: SaltedPassword, token: Callable[[], tuple[str, float]]) -> Conversation:
    """What is to be said with this access; ``token`` is called where the mechanism wants one."""
    if access.wire_mechanism in SCRAM_MECHANISMS:
        return _scram(access, salted)
    if access.wire_mechanism == OAUTHBEARER:
        return _bearer(token()[0], access.tokens.extensions)
    return _plain(access)


def _plain(access: KafkaAccess) -> Conversation:
    yield f"\0{access.username}\0{access.password}".encode()


def _bearer(token: str, extensions: tuple[tuple[str, str], ...]) -> Conversation:
    pairs = "".join(f"\x01{name}={value}" for name, value in (("auth", f"Bearer {token}"), *extensions))
    if (yield f"n,,{pairs}\x01\x01".encode()):
        yield b"\x01"  # it refused; the reason comes as an error of the next reply


class SaltedPassword:
    """The password as SCRAM has it: stretched once a task, since that takes milliseconds."""

    def __init__(self, access: KafkaAccess) -> None:
        self.hash_name = "sha512" if access.mechanism.endswith("512") else "sha256"
        self._password = access.password.encode()
        self._known: dict[tuple[bytes, int], bytes] = {}

    def of(self, salt: bytes, iterations: int) -> bytes:
        """With the salt and the iterations that a broker asks for."""
        found = self._known.get((salt, iterations))
        if found is None:
            found = hashlib.pbkdf2_hmac(self.hash_name, self._password, salt, iterations)
            self._known[salt, iterations] = found
        return found


def _scram(access: KafkaAccess, salted: SaltedPassword) -> Conversation:
    def keyed(key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, salted.hash_name)

    name = access.username.replace("=", "=3D").replace(",", "=2C")
    nonce = secrets.token_urlsafe(24)
    client_first = f"n={name},r={nonce}".encode()
    server_first = yield b"n,," + client_first
    try:
        said = _attributes(server_first)
        salt, iterations = base64.b64decode(said["s"], validate=True), int(said["i"])
    except (KeyError, ValueError, binascii.Error):
        raise BrokerError("the broker's part of SCRAM is malformed") from None
    if not said.get("r", "").startswith(nonce) or not 0 < iterations <= MAX_ITERATIONS:
        raise BrokerError("the broker's part of SCRAM is invalid")
    password = salted.of(salt, iterations)
    client_last = b"c=biws,r=" + said["r"].encode()
    everything = b",".join((client_first, server_first, client_last))
    client_key = keyed(password, b"Client Key")
    signature = keyed(hashlib.new(salted.hash_name, client_key).digest(), everything)
    proof = bytes(mine ^ theirs for mine, theirs in zip(client_key, signature, strict=True))
    server_last = yield client_last + b",p=" + base64.b64encode(proof)
    proved = base64.b64encode(keyed(keyed(password, b"Server Key"), everything)).decode()
    if not hmac.compare_digest(_attributes(server_last).get("v", "").encode(), proved.encode()):
        raise BrokerError("the broker does not know the password itself (SCRAM: wrong server signature)")


def _attributes(text: bytes) -> dict[str, str]:
    """``r=...,s=...,i=...``."""
    return dict(part.partition("=")[::2] for part in text.decode("utf-8", "replace").split(","))


def chosen_version(versions: dict[int, tuple[int, int]]) -> int:
    """The version of SaslAuthenticate that a broker takes.

    Raises:
        BrokerError: it takes none.
    """
    oldest, newest = versions.get(SASL_AUTHENTICATE, (0, -1))
    version = next((version for version in (1, 0) if oldest <= version <= newest), None)
    if version is None:
        raise BrokerError("the broker is too old for SASL by the wire driver", hint="use Kafka 1.0 or later")
    return version
