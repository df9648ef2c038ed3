"""What a local stack remembers of its broker's warm-up: that there was load, and how fast the machine was then."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hydra.errors import HydraError
from hydra.files.atomic_write import atomic_write
from hydra.files.bounded_read import read_bounded
from hydra.options.fetch_pace import SPEEDS

_FILE = "warm"
_MAX_BYTES = 100


def is_warm(stack_folder: Path) -> bool:
    """Whether the broker has been under load."""
    return (stack_folder / _FILE).exists()


def mark_warm(stack_folder: Path, machine_speed: float | None = None) -> None:
    """The broker was under load; where that was measured, the machine is so fast (``fetch_pace.machine_speed``)."""
    with contextlib.suppress(OSError, HydraError):
        if machine_speed is not None:
            atomic_write(stack_folder / _FILE, f"{machine_speed:g}\n".encode())
        else:
            (stack_folder / _FILE).touch()


def marked_speed(stack_folder: Path) -> float:
    """The speed that ``mark_warm`` noted last; 1 where none was measured."""
    with contextlib.suppress(OSError, ValueError, HydraError):
        speed = float(read_bounded(stack_folder / _FILE, _MAX_BYTES))
        return speed if speed in SPEEDS else 1.0
    return 1.0
