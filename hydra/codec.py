"""JSON for signals, files and pipes: dataclasses to bytes and back, every field checked for its type."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from hydra.errors import HydraError

T = TypeVar("T")


class DecodeError(HydraError):
    """Bytes that are not what they should be; the text names the field."""


def encode(fact: object) -> bytes:
    """A dataclass, a struct or a mapping as JSON; see ``to_builtins`` for names that are not UTF-8."""
    try:
        return msgspec.json.encode(fact)
    except UnicodeEncodeError:
        return msgspec.json.encode(to_builtins(fact))


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """JSON as ``kind``, every field checked for its type; raises DecodeError, which names the field."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"not a valid {kind.__name__}: {error}") from error


def to_builtins(fact: object) -> object:
    """A dataclass as dicts, lists and scalars: what a JSON file holds.

    A name that is not UTF-8 (Python has such bytes of a path as surrogates) is written out with an escape for each.
    """
    return _encodable(msgspec.to_builtins(fact))


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(each) for each in value]
    return value
