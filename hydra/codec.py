"""JSON for signals, files and pipes: dataclasses to bytes and back, every field checked for its type.

And the YAML of others.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from hydra.errors import HydraError

T = TypeVar("T")

MAX_YAML_VALUES = 1_000_000
MAX_YAML_BITS = 64
"""Python does not even print what has thousands of digits."""


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


def decode_yaml(data: bytes | str) -> object:
    """YAML as dicts, lists and scalars.

    Raises:
        DecodeError: it is no YAML; has a value that is not what its tag says (``!!int ""``), of which PyYAML raises
            what it stumbles over; has a huge number; or refers to itself, or to parts of itself again and again: in
            full it would be huge.
    """
    try:
        found = msgspec.yaml.decode(data)
        values = _values_in_full(found, {})
    except RecursionError as error:
        raise DecodeError("it is nested too deeply") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise DecodeError(" ".join(str(error).split())) from error
    except (LookupError, AttributeError, ArithmeticError, TypeError) as error:
        raise DecodeError("a value in it is not what its tag says") from error
    if values > MAX_YAML_VALUES:
        raise DecodeError(f"it refers to parts of itself so often that it has {values:,} values")
    return found


def _values_in_full(value: object, known: dict[int, int]) -> int:
    """How many values there are, with those of each part as often as it is referred to."""
    if isinstance(value, int) and value.bit_length() > MAX_YAML_BITS:
        raise DecodeError(f"a whole number in it has {value.bit_length():,} bits")
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_YAML_VALUES  # a part that is met again before it is counted is a part of itself
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_values_in_full(part, known) for part in parts)
    return known[id(value)]


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
