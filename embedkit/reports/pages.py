"""What all pages share: templates that escape, and a policy that lets nothing else in."""

import base64
import hashlib
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("embedkit.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fill(template: str, **values: Any) -> str:
    """Return a template of the folder `templates`, filled in.

    Beside the values it finds `style`, to be set into its `<style>`, and `policy`, which lets in
    that style and pictures that stand in the page, and nothing else.
    """
    style = asset("style.css")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{digest(style)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    page = _environment().get_template(template)
    return page.render(style=style, policy=Markup(policy), **values)


@cache
def asset(name: str) -> Markup:
    """Return a style or script of our own, which is not escaped."""
    environment = _environment()
    source, _, _ = environment.loader.get_source(environment, name)  # type: ignore[union-attr]
    return Markup(source)


def digest(text: str) -> str:
    """Return what a policy calls a style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
