"""The result file: written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hydra.core.errors import OutputError
from hydra.core.result import RunRecord
from hydra.core.signals import to_builtins


def record_dict(record: RunRecord) -> dict[str, object]:
    """What the file holds: the record, with the seed's eleven keys on top where there is a result."""
    body = to_builtins(record)
    assert isinstance(body, dict)
    if record.result is not None:
        body["seed_keys"] = record.result.seed_keys()
    return body


def check_output(path: str) -> None:
    """See, before anything is started, that the result will have a place.

    Raises:
        OutputError: the folder does not exist or cannot be written to.
    """
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise OutputError(f"--output={path} is a folder", way_out="name a file in it")
    if not folder.is_dir():
        raise OutputError(f"--output={path}: the folder {str(folder)!r} does not exist", way_out="create it first")
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise OutputError(f"--output={path} cannot be written", way_out="choose another place")


def write_record(record: RunRecord, path: str) -> None:
    """Write the record as JSON.

    Raises:
        OutputError: the file could not be written; what was there before is still there.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(record_dict(record), file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OutputError(f"--output={path} cannot be written ({error.strerror or error})") from error
