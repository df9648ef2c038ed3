"""A page server of a run that goes on."""

from __future__ import annotations

import contextlib

import pytest

from hydra.live.history import LiveHistory
from hydra.live.server import PageServer


@pytest.fixture
def history():
    return LiveHistory()


@pytest.fixture
def stops():
    """Has an element for each time that the page's stop button was pressed."""
    return []


@pytest.fixture
def server(history, stops, shown_page):
    """The server of ``shown_page``, which each module has its own of."""
    with contextlib.closing(PageServer(0, history, shown_page, lambda: stops.append(1))) as made:
        made.start()
        yield made
