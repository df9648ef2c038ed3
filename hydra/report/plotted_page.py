"""A page with plots that loads nothing from elsewhere: Plotly's script is in it, and runs by its hash alone."""

from __future__ import annotations

import pkgutil

from markupsafe import Markup

from hydra import __version__
from hydra.errors import InfrastructureError
from hydra.report.page_parts import content_policy, page_template, resource
from hydra.report.plots import COMMON_LAYOUT


def plotted_page(template: str, **values: object) -> str:
    """The page that a template makes of these values, which have all that ``frame.html.jinja`` asks for.

    Raises:
        InfrastructureError: the package plotly does not contain its script.
    """
    plotly, script = _plotly(), resource("page.js")
    return page_template(template).render(
        **values,
        version=__version__,
        policy=content_policy(plotly, script),
        style=Markup(resource("page.css")),  # noqa: S704  # ours
        common=COMMON_LAYOUT,
        plotly=Markup(plotly),  # noqa: S704  # the package's
        script=Markup(script),  # noqa: S704  # ours
    )


def _plotly() -> str:
    script = pkgutil.get_data("plotly", "package_data/plotly.min.js")
    if script is None:
        raise InfrastructureError("Plotly's script is missing", hint="install the package plotly again")
    return script.decode("utf-8")
