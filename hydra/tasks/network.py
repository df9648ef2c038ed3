"""What has gone over this host's network interfaces, and how fast they are."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

COUNTERS = Path("/proc/net/dev")
"""Linux: a line for each interface, in which the bytes received stand first and the bytes sent ninth."""

INTERFACES = Path("/sys/class/net")
"""Linux: ``NAME/speed`` in Mbit/s; -1, or an error, where the driver does not know it (loopback, most virtual ones)."""

_RECEIVED, _SENT = 0, 8
_BYTES_PER_MBIT = 125_000


@dataclass(frozen=True)
class LinkReading:
    """One interface at one moment."""

    name: str
    sent_bytes: int
    """Since the host started."""
    received_bytes: int
    speed_bytes_per_s: float | None
    """Of each direction; None where it is not known."""


def read_links(counters: Path = COUNTERS, interfaces: Path = INTERFACES) -> tuple[LinkReading, ...]:
    """All interfaces of this host, loopback included.

    Read in each of a hundred tasks: where the system's own files are, psutil is not imported.
    """
    try:
        lines = counters.read_text().splitlines()[2:]
    except OSError:
        return _other_systems_links()
    links = []
    for line in lines:
        name, _, numbers = line.partition(":")
        counted = [int(number) for number in numbers.split()]
        links.append(
            LinkReading(name.strip(), counted[_SENT], counted[_RECEIVED], _speed(interfaces / name.strip() / "speed"))
        )
    return tuple(links)


def _speed(file: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        speed_mbit = int(file.read_text())
        return speed_mbit * _BYTES_PER_MBIT if speed_mbit > 0 else None
    return None


def _other_systems_links() -> tuple[LinkReading, ...]:
    import psutil

    known = psutil.net_if_stats()
    return tuple(
        LinkReading(
            name,
            counted.bytes_sent,
            counted.bytes_recv,
            known[name].speed * _BYTES_PER_MBIT if name in known and known[name].speed > 0 else None,
        )
        for name, counted in psutil.net_io_counters(pernic=True, nowrap=True).items()
    )
