"""Write kafka-tools.lock anew: the jar of Kafka's own perf tools, of the version that the broker's lock holds.

All that the two tools need beside it stands in the broker's lock.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from hydra.broker.jar_lockfile import LockedJar, kafka_version, lock_text, read_lock, repository_context, sha256_of

TOOLS_LOCK = Path(__file__).with_name("kafka-tools.lock")


def main() -> None:
    """Fetch, hash, write."""
    version = kafka_version(read_lock())
    with tempfile.TemporaryDirectory(prefix="hydra-lock-") as folder:
        context = repository_context(Path(folder), lambda: False)
        path = Path(context.project("org.apache.kafka", "kafka-tools").at_version(version).artifact().resolve())
        coordinate = f"org.apache.kafka:kafka-tools:{version}"
        jar = LockedJar(coordinate, path.name, sha256_of(path), path.stat().st_size)
    TOOLS_LOCK.write_text(lock_text([jar]), encoding="utf-8")
    sys.stdout.write(f"{TOOLS_LOCK.name}: {coordinate}\n")


if __name__ == "__main__":
    main()
