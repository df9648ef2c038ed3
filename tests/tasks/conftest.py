"""The in-memory clock, broker and drivers of the tests of runs."""

from tests.run.conftest import clock, progress, twins

__all__ = ["clock", "progress", "twins"]
