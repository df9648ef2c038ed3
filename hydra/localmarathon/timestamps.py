"""Marathon's timestamps: ISO 8601, UTC, milliseconds, ``Z``; an app's version is one of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone


def utc_now() -> datetime:
    """The time of day, for output only; delays are measured with the monotonic clock."""
    return datetime.now(timezone.utc)


def format_timestamp(moment: datetime) -> str:
    """``2020-01-01T00:00:00.123Z``: these strings sort as the moments do."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def timestamp_now() -> str:
    """The time of day as Marathon writes it."""
    return format_timestamp(utc_now())


class VersionClock:
    """Versions, each later than the one before, even if two are asked for in one millisecond.

    Args:
        now: returns the time of day; given by tests.
    """

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._latest = datetime.fromtimestamp(0, timezone.utc)

    @property
    def latest(self) -> str:
        """The latest version so far."""
        return format_timestamp(self._latest)

    def next_version(self) -> str:
        """A timestamp that no other version of this server has."""
        self._latest = max(self._now(), self._latest + timedelta(milliseconds=1))
        return format_timestamp(self._latest)
