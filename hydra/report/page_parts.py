"""What all pages have in common: templates that escape every value, the style sheet, and a policy for their scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import pkgutil
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def page_template(name: str) -> jinja2.Template:
    """A template of ours; it escapes what is put in."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"json": _json, "figure_title": figure_title}
    return environment.get_template(name)


def figure_title(figure: Mapping[str, Any]) -> Markup:
    """The title of a figure, as text of the page."""
    return Markup(figure["layout"]["title"]["text"])  # noqa: S704  # escaped for Plotly already


def resource(name: str) -> str:
    """A template, a script or a style sheet of ours."""
    content = pkgutil.get_data("hydra.report", name)
    assert content is not None, name
    return content.decode("utf-8")


def content_policy(*scripts: str, connect: str = "") -> str:
    """The Content-Security-Policy of a page with these scripts, by their hashes, that may ``connect`` there alone."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    connecting = connect and f"; connect-src {connect}"
    return f"{POLICY}; script-src {hashes}{connecting}"


def _visible(value: object) -> object:
    """Text without characters that are invisible or change the direction of the text around them; None as nothing."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value)


def _json(value: object) -> Markup:
    """JSON for a script element: without ``<``, ``>`` and ``&``."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704  # as said
