"""What Kafka's own tool writes into a data folder, kept beside the archive of classes: it costs a JVM at each start.

Of the two files one says whose folder it is, which is written anew, and the other one which features the log begins
with, which depends on the version alone. They are those of ``kafka-storage format``, Kafka 4.
"""

from __future__ import annotations

import base64
import contextlib
import uuid
from pathlib import Path

from hydra.errors import OutputError
from hydra.files.atomic_write import atomic_write

_OWNER = "meta.properties"
_FEATURES = Path("__cluster_metadata-0") / "00000000000000000000-0000000000.checkpoint"


def random_id() -> str:
    """An id of Kafka's: 16 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def kept_format(archive: Path | None) -> Path | None:
    """Where the format is kept that goes with an archive of classes; None without one."""
    return None if archive is None else archive.with_suffix(".format")


def keep_format(data: Path, kept: Path) -> None:
    """Keep what the tool wrote into a data folder, if it is what is known here and can be kept."""
    written = {path.relative_to(data) for path in data.rglob("*") if path.is_file()}
    if written != {Path(_OWNER), _FEATURES}:
        return
    with contextlib.suppress(OSError, OutputError):
        atomic_write(kept, (data / _FEATURES).read_bytes())


def restore_format(data: Path, kept: Path, cluster_id: str, node_id: int = 1) -> bool:
    """Make a data folder as the tool would; False if nothing is kept.

    Raises:
        OSError: it cannot be written.
    """
    try:
        features = kept.read_bytes()
    except OSError:
        return False
    (data / _FEATURES).parent.mkdir(parents=True)
    (data / _FEATURES).write_bytes(features)
    owner = {"version": 1, "cluster.id": cluster_id, "node.id": node_id, "directory.id": random_id()}
    (data / _OWNER).write_text("".join(f"{name}={value}\n" for name, value in owner.items()), encoding="ascii")
    return True
