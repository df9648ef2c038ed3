"""What a run's records are made of, looked at before anything starts: the file that fills them, and their codec."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hydra.errors import UsageError
from hydra.files.bounded_read import read_bounded
from hydra.options.options import Options
from hydra.options.parsers import PAYLOADS

PAYLOAD_BYTES = 1024 * 1024
"""The most that a file may hold which fills the records: it travels to the publisher in one signal."""

_CODEC_PACKAGES = {"snappy": ("snappy", "python-snappy"), "lz4": ("lz4", "lz4"), "zstd": ("zstandard", "zstandard")}
"""Of kafka-python: what it imports for a codec, and the package that has it."""


def read_payload(options: Options) -> bytes:
    """What fills the records, where that is the content of a file; nothing otherwise.

    Raises:
        UsageError: the file cannot be read, is empty, or larger than ``PAYLOAD_BYTES``.
    """
    path = options.payload
    if path in PAYLOADS:
        return b""
    try:
        content = read_bounded(Path(path), PAYLOAD_BYTES)
    except OSError as error:
        raise UsageError(
            f"--payload={path} cannot be read ({error.strerror or error})",
            hint="name a file of up to 1 MiB of what your records look like, or 'zeros' or 'random'",
        ) from error
    if not content:
        raise UsageError(f"--payload={path} is empty", hint="'zeros' fills the records with zeros")
    return content


def check_load(options: Options) -> None:
    """Raise UsageError if records cannot be made as the options say."""
    _check_codec(options)
    read_payload(options)


def _check_codec(options: Options) -> None:
    """Raise UsageError if kafka-python is to compress, or to read, by a codec whose package is not installed."""
    found = _CODEC_PACKAGES.get(options.compression)
    if found is None or find_spec(found[0]) is not None:
        return
    for name in ("pub_driver", "sub_driver"):
        if getattr(options, name) == "kafka-python":
            raise UsageError(
                f"--compression={options.compression} with --{name}=kafka-python needs the package {found[1]},"
                " which is not installed",
                hint=f"pip install {found[1]}, use gzip, or the drivers confluent and wire, which need no package",
            )
