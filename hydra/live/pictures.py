"""What the server of a live page tells, read by another process of the same user."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

from hydra.codec import DecodeError, decode
from hydra.errors import DegradedError
from hydra.live.history import LivePicture

SILENCE_S = 30.0
"""The server says something three times as often."""

MAX_LINE_BYTES = 4 * 1024 * 1024


def pictures(url: str) -> Iterator[LivePicture]:
    """One picture after the other, until the last one or until the server is gone.

    Args:
        url: the link of the page.

    Raises:
        DegradedError: nobody serves there, or what is served is no picture.
    """
    place = urlsplit(url)
    assert place.hostname is not None
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=SILENCE_S)
    with contextlib.closing(connection):
        try:
            connection.request("GET", f"{place.path}pictures")
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise DegradedError(
                f"its live page cannot be reached ({error})", hint="the run may just have ended"
            ) from error
        if response.status != http.client.OK:
            raise DegradedError(f"its live page answered {response.status} {response.reason}", hint="start it again")
        with contextlib.suppress(OSError, http.client.HTTPException):
            yield from _pictures(response)


def _pictures(response: http.client.HTTPResponse) -> Iterator[LivePicture]:
    while line := response.readline(MAX_LINE_BYTES):
        if not line.startswith(b"data: "):
            continue
        try:
            picture = decode(line[len(b"data: ") :], LivePicture)
        except DecodeError as error:
            raise DegradedError(
                f"its live page tells what this Hydra does not understand ({error})", hint="use the Hydra that runs it"
            ) from error
        yield picture
        if picture.over:
            return
