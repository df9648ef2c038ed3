"""The result file, written whole or not at all (``sweep/load_results.py`` reads it)."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from hydra.codec import to_builtins
from hydra.errors import OutputError
from hydra.run.record import RunRecord


def check_output(path: str) -> None:
    """See, before anything is started, that the result will have a place.

    Raises:
        OutputError: the folder does not exist or cannot be written to.
    """
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise OutputError(f"--output={path} is a folder", hint="name a file in it")
    if not folder.is_dir():
        raise OutputError(f"--output={path}: the folder {str(folder)!r} does not exist", hint="create it first")
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise OutputError(f"--output={path} cannot be written", hint="choose another place")


def write_record(record: RunRecord, path: str) -> None:
    """Write the record as JSON; docs/result.schema.json says what it holds.

    Raises:
        OutputError: the file could not be written; what was there before is still there.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(to_builtins(record), file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        raise OutputError(f"--output={path} cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
