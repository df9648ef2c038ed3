"""The page of a run that goes on: it looks like the report, and draws what the controller tells it."""

from __future__ import annotations

from markupsafe import Markup

from hydra import __version__
from hydra.report.page_parts import content_policy, page_template, resource


def live_page(command: str, *, can_stop: bool) -> str:
    """The page as text. It asks ``events`` beside it for pictures (hydra/live/history.py), and nobody else.

    Args:
        command: what is watched, as its user typed it.
        can_stop: whether it has a button that stops it.
    """
    script = resource("live.js")
    return page_template("live.html.jinja").render(
        command=command,
        can_stop=can_stop,
        version=__version__,
        policy=content_policy(script, connect="'self'"),
        style=Markup(resource("page.css") + resource("live.css")),  # noqa: S704  # ours
        script=Markup(script),  # noqa: S704  # ours
    )
