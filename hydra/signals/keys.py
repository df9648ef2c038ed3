"""The keys of signals: CURVE key pairs (RFC 26/CurveZMQ), their files, and how a task is told of them.

A task obeys the controller alone. Its app's definition, which others may read, has the controller's *public* key, and a
task does a handshake with nobody who has not the secret one. So the roles are turned round: the controller is the CURVE
server, although it connects, and each task is a CURVE client with a key pair of its own. docs/security.md says how the
controller knows a task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from hydra.codec import DecodeError, decode, encode
from hydra.errors import InfrastructureError, UsageError
from hydra.files.atomic_write import write_secret
from hydra.files.bounded_read import read_bounded

CONTROLLER_KEY = "HYDRA_CONTROLLER_KEY"
"""Variable of a task: the controller's public key, in hexadecimal digits."""

TASK_KEY_FILE = "HYDRA_TASK_KEY_FILE"
"""Variable of a task on its controller's own machine: the file with the key pair of all tasks of a local stack."""

TASK_KEY = "HYDRA_TASK_KEY"
"""Variable of a task in Kubernetes: its key pair itself, which comes from a Secret."""

KEY_BYTES = 32
OWNER_DIGITS = 16
MAX_FILE_BYTES = 4096


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, in hexadecimal digits."""

    public: str
    secret: str = field(repr=False)

    @property
    def public_bytes(self) -> bytes:
        """The 32 bytes of the public key."""
        return bytes.fromhex(self.public)

    @property
    def secret_bytes(self) -> bytes:
        """The 32 bytes of the secret key."""
        return bytes.fromhex(self.secret)


@dataclass(frozen=True)
class SignalKeys:
    """What a controller needs for its signals."""

    controller: KeyPair
    tasks_public: str = ""
    """The one key that tasks may have; empty where each makes its own, and is known by it from its first answer on."""
    task_environment: Mapping[str, str] = field(default_factory=dict)
    """What its tasks are told."""

    @property
    def owner(self) -> str:
        """The controller's name among others."""
        return self.controller.public[:OWNER_DIGITS]


def new_key_pair() -> KeyPair:
    """A key pair that nobody has.

    Raises:
        InfrastructureError: this libzmq was built without CURVE.
    """
    try:
        public, secret = (z85.decode(key).hex() for key in zmq.curve_keypair())
    except zmq.ZMQError as error:
        text = f"libzmq {zmq.zmq_version()} was built without CURVE, which the signals need ({error})"
        raise InfrastructureError(text, hint="install pyzmq from its wheel") from error
    return KeyPair(public, secret)


def read_keys(file: Path) -> KeyPair:
    """The key pair in a file.

    Raises:
        InfrastructureError: it cannot be read, or has none.
    """
    try:
        content = read_bounded(file, MAX_FILE_BYTES, own=True)
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"the keys of the signals in {file} cannot be read ({error})") from error
    return _pair(content, str(file))


def keys_of_controller(file: Path, *, keep: bool) -> SignalKeys:
    """The keys of a controller whose tasks run elsewhere: those in the file, which is made if they are to be kept.

    Raises:
        InfrastructureError: the file cannot be read, or made.
    """
    if file.exists():
        pair = read_keys(file)
    else:
        pair = new_key_pair()
        if keep:
            try:
                write_secret(file, encode(pair))
            except OSError as error:
                raise InfrastructureError(f"the keys of the signals cannot be kept in {file} ({error})") from error
    return SignalKeys(pair, task_environment={CONTROLLER_KEY: pair.public})


def keys_of_tasks(controller: KeyPair) -> KeyPair:
    """The pair that all tasks of a controller have where a secret can be given to them, made of the controller's own.

    So nothing more has to be kept for apps that stay up. From it the controller's secret key cannot be had: it is a
    BLAKE2b digest (RFC 7693), and any 32 bytes are a secret key of CURVE (RFC 7748).
    """
    secret = hashlib.blake2b(controller.secret_bytes, digest_size=KEY_BYTES, person=b"hydra tasks").digest()
    return KeyPair(z85.decode(zmq.curve_public(z85.encode(secret))).hex(), secret.hex())


def make_stack_keys(folder: Path) -> None:
    """Make the keys of a local stack, in its folder.

    Raises:
        OSError: the files cannot be made.
    """
    for name in (_CONTROLLER_FILE, _TASKS_FILE):
        write_secret(folder / name, encode(new_key_pair()))


def stack_keys(folder: Path) -> SignalKeys:
    """The keys of the local stack in a folder.

    Raises:
        InfrastructureError: they cannot be read.
    """
    controller, tasks = read_keys(folder / _CONTROLLER_FILE), read_keys(folder / _TASKS_FILE)
    told = {CONTROLLER_KEY: controller.public, TASK_KEY_FILE: str(folder / _TASKS_FILE)}
    return SignalKeys(controller, tasks.public, told)


def keys_of_task(environment: Mapping[str, str]) -> tuple[bytes, KeyPair]:
    """The controller's public key and a task's own pair, by the environment of the task.

    Raises:
        UsageError: this is none of Hydra's tasks.
        InfrastructureError: the file of its keys cannot be read.
    """
    try:
        controller = _key(environment[CONTROLLER_KEY])
    except (KeyError, ValueError) as error:
        text = f"this command runs as a task of a controller: it is not told the controller's key ({error})"
        raise UsageError(text, hint="run 'hydra kafka'") from error
    if (given := environment.get(TASK_KEY)) is not None:
        return controller, _pair(given.encode(), TASK_KEY)
    file = environment.get(TASK_KEY_FILE)
    return controller, read_keys(Path(file)) if file else new_key_pair()


def _pair(content: bytes, origin: str) -> KeyPair:
    try:
        keys = decode(content, KeyPair)
        _key(keys.public)
        _key(keys.secret)
    except (ValueError, DecodeError) as error:
        raise InfrastructureError(f"the keys of the signals in {origin} cannot be read ({error})") from error
    return keys


def _key(digits: str) -> bytes:
    """The bytes of a key; ValueError where it is none."""
    key = bytes.fromhex(digits)
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, and this has {len(key)}")
    return key


_CONTROLLER_FILE = "controller.key"
_TASKS_FILE = "tasks.key"
