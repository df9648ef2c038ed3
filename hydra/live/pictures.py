"""What the server of a live page tells, read by another process of the same user."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from hydra.codec import DecodeError, decode
from hydra.errors import DegradedError
from hydra.live.history import LivePicture

SILENCE_S = 30.0
"""The server says something three times as often."""

MAX_LINE_BYTES = 4 * 1024 * 1024


EVENTS = "text/event-stream"


def pictures(url: str, now_s: Callable[[], float] = time.monotonic) -> Iterator[LivePicture]:
    """One picture after the other, until the last one or until the server is gone.

    Args:
        url: the link of the page.
        now_s: the clock.

    Raises:
        DegradedError: nobody serves there, or something else, or it keeps silent, or what is served is no picture.
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
        if response.status == http.client.FORBIDDEN:
            raise DegradedError(
                "its live page refuses the token of the link",
                hint="another program may have its port",
            )
        if response.status != http.client.OK:
            raise DegradedError(f"its live page answered {response.status} {response.reason}", hint="start it again")
        if not response.getheader("Content-Type", "").startswith(EVENTS):
            raise _something_else()
        try:
            yield from _pictures(response, now_s)
        except TimeoutError as error:
            raise DegradedError(
                f"its live page has said nothing for {SILENCE_S:g} s",
                hint="its process may be stopped: see 'ps'",
            ) from error
        except (OSError, http.client.HTTPException):
            return


def _something_else() -> DegradedError:
    return DegradedError("something else answers where its live page was", hint="the run may just have ended")


def _pictures(response: http.client.HTTPResponse, now_s: Callable[[], float]) -> Iterator[LivePicture]:
    shown, last_s = False, now_s() + SILENCE_S
    while line := response.readline(MAX_LINE_BYTES):
        if not line.startswith(b"data: "):
            # Ours sends comments where nothing happens, and the first picture at once.
            if not line.endswith(b"\n") or line.strip() not in {b"", b":"} or (not shown and now_s() > last_s):
                raise _something_else()
            continue
        try:
            picture = decode(line[len(b"data: ") :], LivePicture)
        except DecodeError as error:
            raise DegradedError(
                f"its live page tells what this Hydra does not understand ({error})", hint="use the Hydra that runs it"
            ) from error
        shown = True
        yield picture
        if picture.over:
            return
