"""File systems that are full or mounted with an option."""

from tests.mounts import mounted

__all__ = ["mounted"]
