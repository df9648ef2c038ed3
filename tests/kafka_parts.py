"""What an embedded Kafka of the tests is made of; as in a run, with the archive of its classes where there is one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from hydra.broker.cds_archive import archive_flags, cds_archive
from hydra.broker.classpath import resolve_classpath
from hydra.broker.formatting import kept_format
from hydra.broker.java import find_java
from tests.commands import SHORT_LIVED_BROKER

HEAP_MB = 512


def kafka_parts(folder: Path) -> dict[str, Any]:
    """The arguments of an EmbeddedBroker in ``folder``, which must not exist."""
    java, classpath = find_java(), resolve_classpath()
    archive = cds_archive(java, classpath, folder.with_name(f"{folder.name}-classes"), note=print)
    return {
        "folder": folder,
        "java": java,
        "classpath": classpath,
        "heap_mb": HEAP_MB,
        "performance_flags": shlex.split(SHORT_LIVED_BROKER),
        "jvm_flags": archive_flags(archive),
        "kept_format": kept_format(archive),
    }
